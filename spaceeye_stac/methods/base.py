"""What a method is: how it turns one window of one cell into a state on days, and what it needs around it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaceeye_stac.methods.bridge import bridged
from spaceeye_stac.methods.uncertainty import Scales
from spaceeye_stac.settings import Settings

CELL_PIXELS = 512
SAMPLE_SIDE = 128
PATCHES = 4
PER_PIXEL = ("clear", "smooth", "as_seen", "information", "weights", "suspect")


@dataclass(frozen=True)
class CellLooks:
    """One window of one cell, or of some of its pixels: values `(band, time, y, x)` float32, 0 where not clear.

    `clear` `(time, y, x)`; `days`: the acquisition days; `read`: the days of the window.
    `carried` `(band, time)`: each day's illuminance as the other days would give it, over its own. `bands`: their
    names, where they are known.
    `patches` `(y, x)`: how many patches of neighbouring pixels lie beside each other, as `Places` picks them.
    `origin`: row and column of the cell's first pixel, counted from a border of cells: what a method tiles with a side
    that divides its cells is tiled alike in all.
    """

    values: Tensor
    clear: Tensor
    days: tuple[int, ...]
    read: range
    carried: Tensor | None = None
    bands: tuple[str, ...] = ()
    patches: tuple[int, int] = (1, 1)
    origin: tuple[int, int] = (0, 0)

    def at(self, places: "Places") -> "CellLooks":
        """Patches of a whole cell alone."""
        rows, columns = (torch.from_numpy(along) for along in (places.rows, places.columns))
        values, clear = (image[..., rows, :][..., columns] for image in (self.values, self.clear))
        return replace(self, values=values, clear=clear, patches=places.patches)


@dataclass(frozen=True)
class Places:
    """Rows and columns of a cell's view that are learnt from; they make `patches` `(y, x)` of neighbours."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    patches: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> "Places":
        """All of a small cell; of a larger one four runs of 32 along each side, evenly spread."""
        rows, columns = (_runs(side) for side in shape)
        return cls(rows.ravel(), columns.ravel(), (len(rows), len(columns)))

    def among(self, rows: slice) -> "Places":
        """Those among some rows of the view, counted in these."""
        inside = (self.rows >= rows.start) & (self.rows < rows.stop)
        return replace(self, rows=self.rows[inside] - rows.start)


def _runs(side: int) -> NDArray[np.int64]:
    """Runs of neighbours `(run, pixel)` along a side."""
    if side <= SAMPLE_SIDE:
        return np.arange(side)[None]
    length = SAMPLE_SIDE // PATCHES
    starts = np.linspace(0, side - length, PATCHES).round().astype(np.int64)
    return starts[:, None] + np.arange(length)


@dataclass(frozen=True)
class State:
    """What a method makes of a cell, or of some of its rows: `smooth` `(band, time, y, x)` on `days`, linear between.

    `clear` `(time, y, x)`: where it was made from a look. `as_seen` replaces `smooth` on those days where it is given.
    `information` Q and `weights` `(time, y, x)`, `widths` (of the whole cell) and `damping_factor` say how far to trust
    it, where the method knows. `suspect` `(time, y, x)`: how strongly a look that is labelled clear contradicts what is
    around it in space and time as cloud, haze or shadow would, in standard deviations, 0 where it does not. Never-clear
    pixels are NaN.
    """

    days: tuple[int, ...]
    clear: Tensor
    smooth: Tensor
    as_seen: Tensor | None = None
    information: Tensor | None = None
    weights: Tensor | None = None
    suspect: Tensor | None = None
    widths: Scales | None = None
    damping_factor: float = 1.0

    def part(self, rows: slice) -> "State":
        """Some rows alone."""
        images = {name: getattr(self, name) for name in PER_PIXEL if getattr(self, name) is not None}
        return replace(self, **{name: image[..., rows, :] for name, image in images.items()})

    @classmethod
    def joined(cls, strips: "list[State]") -> "State":
        """Of strips above each other."""
        joined = {
            name: torch.cat([getattr(strip, name) for strip in strips], dim=-2)
            for name in PER_PIXEL
            if getattr(strips[0], name) is not None
        }
        return replace(strips[0], **joined)  # type: ignore[arg-type]

    def at(self, day: int) -> Tensor:
        """Value of the smooth state on any day `(band, y, x)`: linear between `days`, constant outside."""
        before, after = self._around(day)
        if before == after:
            return self.smooth[:, before]
        start, stop = self.days[before], self.days[after]
        return torch.lerp(self.smooth[:, before], self.smooth[:, after], (day - start) / (stop - start))

    def spread(self, day: int) -> Tensor | None:
        """Standard deviation of the state on any day `(y, x)`, in units of one look's noise: see `bridged`."""
        before, after = self._around(day)
        left, right = self._deviation(before), self._deviation(after)
        if left is None or right is None or self.days[before] == day:
            return left
        if before == after:
            return (left.square() + abs(day - self.days[before]) / self.damping_factor).sqrt()
        gaps = day - self.days[before], self.days[after] - day
        return torch.from_numpy(bridged(left.numpy(), right.numpy(), gaps, self.damping_factor))

    def _around(self, day: int) -> tuple[int, int]:
        """Indices of the days at or before and after a day; the same one twice on it and outside all."""
        after = min(int(np.searchsorted(self.days, day)), len(self.days) - 1)
        return (after, after) if after == 0 or self.days[after] <= day else (after - 1, after)

    def _deviation(self, index: int) -> Tensor | None:
        if self.information is None or self.weights is None:
            return None
        return (self.information[index] + self.weights[index]).rsqrt()


@dataclass(frozen=True)
class WorkingMemory:
    """What a method takes while it works, in float32 numbers for each value (band, look, pixel), input and result too.

    `worked`: of pixels that are worked on at once; `learnt`: of those that are learnt from. `around`: rows that are
    worked on beside those of a strip, where a method makes strips; None stands for the cell's halo.
    """

    worked: float = 8.0
    learnt: float = 3.0
    around: int | None = None


class MethodRun(Protocol):
    """A method at work on one window of one cell."""

    def learn(self, few: CellLooks) -> None:
        """See the `Places` of the cell; asked for first, where the method `learns`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """Make the cell from its strips, top to bottom; gives strips of any height. One is good until the next."""

    def widths(self) -> Scales | None:
        """How far to trust it, where the method knows, once all rows are made."""


@dataclass(frozen=True)
class Method:
    """How a method is run.

    `start`: called for each window of each cell, with settings and the rows and columns of the cell's view. `cell`:
    side of the fixed cells in pixels; `halo`: pixels around a cell that it also sees; `margin`: how far its result goes
    into its neighbours, where they are blended. `strips`: a cell can be made strip by strip, of whole
    `solver.cached_rows`; `learns`: from some pixels of the whole cell first. `normalised`: wants values divided by the
    illuminance. `every_day`: its result is not linear between acquisitions, so that all days are kept. `shows`:
    acquisition days may have an image of their own. `doubts`: it tells looks that may be cloud, as `suspect`.
    `truncates`: to uint16. `memory`: what it takes with some settings.
    """

    name: str
    start: Callable[[Settings, tuple[int, int]], MethodRun]
    cell: int = CELL_PIXELS
    halo: int = 0
    margin: int = 0
    strips: bool = False
    learns: bool = False
    normalised: bool = False
    every_day: bool = False
    shows: bool = False
    doubts: bool = False
    truncates: bool = False
    memory: Callable[[Settings], WorkingMemory] = lambda _settings: WorkingMemory()

    def solve(self, looks: CellLooks, settings: Settings) -> State:
        """Make a whole cell at once."""
        shape = int(looks.clear.shape[1]), int(looks.clear.shape[2])
        one = self.start(settings, shape)
        if self.learns:
            one.learn(looks.at(Places.of(shape)))
        whole = State.joined(list(one.rows([looks])))
        return replace(whole, widths=one.widths())


def thinned(image: Tensor, steps: tuple[int, int], top: int = 0) -> Tensor:
    """Every so many rows and columns of an image `(..., y, x)` that begins at row `top` of its cell."""
    return image[..., -top % steps[0] :: steps[0], :: steps[1]]


def learning_steps(shape: tuple[int, int]) -> tuple[int, int]:
    """Steps along y and x to a sample of a cell of that shape: at least 128 pixels a side, all of a small one."""
    height, width = shape
    return max(1, height // SAMPLE_SIDE), max(1, width // SAMPLE_SIDE)


class WholeCellRun:
    """A method that sees a whole cell at once and does not know how far to trust itself."""

    def __init__(self, make: Callable[[CellLooks], tuple[tuple[int, ...], Tensor]]) -> None:
        self._make = make

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        (looks,) = strips
        days, found = self._make(looks)
        yield State(days, looks.clear, found)

    def widths(self) -> None:
        """See `MethodRun`."""
