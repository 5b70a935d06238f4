"""What a window keeps of one cell."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Window


@dataclass(frozen=True)
class KeyframeRows:
    """Some rows of what a window keeps of one cell, as in `WindowKeyframes`.

    `images`, `as_seen` and `spread` lie on the `rows` of the cell's reach, `look_flags` on the `core_rows` of its core.
    """

    rows: slice
    images: NDArray[np.float32]
    as_seen: NDArray[np.float32] | None
    spread: NDArray[np.float32] | None
    core_rows: slice
    look_flags: NDArray[np.uint8]


@dataclass(frozen=True)
class WindowFacts:
    """What a window keeps of one cell but the images: its `knots` and the days `looked` on, by index.

    `looks` `(scene,)`: clear pixels taken from each scene of the job. `noise` `(knot, band)`: 68 % half width of one
    look, in reflectance; `unseen` `(band,)`: that of a day without an acquisition; None where the method does not know.
    `damping_factor`: of this cell, where the method finds one for each.
    """

    window: Window
    knots: tuple[int, ...]
    looked: tuple[int, ...]
    looks: NDArray[np.int64]
    noise: NDArray[np.float32] | None = None
    unseen: NDArray[np.float32] | None = None
    damping_factor: float | None = None


@dataclass(frozen=True)
class WindowKeyframes:
    """What a window keeps of one cell, on the days of its knots, over the cell's reach; NaN where never clear.

    `images` `(knot, band, y, x)` float32, normalised, linear in between; `as_seen` the same, replacing `images` on
    acquisition days, NaN elsewhere. `spread` `(knot, y, x)`: standard deviation of the state in units of the noise of
    one look. `look_flags` `(look, y, x)` uint8, see `LookFlag`, of the cell's core on the days looked on.
    """

    facts: WindowFacts
    images: NDArray[np.float32]
    look_flags: NDArray[np.uint8]
    as_seen: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None
