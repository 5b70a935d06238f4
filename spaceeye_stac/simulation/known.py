"""Looks at ground whose surface is known on every day, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class PlantedEvent:
    """What changed the ground at once: "mow", "harvest", "burn" or "flood", its first day, and where `(y, x)`."""

    kind: str
    day: int
    pixels: Bool


@dataclass(frozen=True)
class KnownStack:
    """What a satellite saw on some days, and what there was to see.

    Attributes
    ----------
    bands
        Names of the bands.
    values, clear
        `(band, time, y, x)` float32 reflectance of the pixels that are labelled clear, 0 elsewhere; `(time, y, x)`.
    acquisition_days
        `(time,)` days of the looks.
    truth, days
        `(band, day, y, x)` float32 reflectance of the surface on each of `days`.
    undetected
        `(time, y, x)`: labelled clear, though there is cloud or its shadow.
    events
        What changed the ground at once, on any day.

    """

    bands: tuple[str, ...]
    values: Float
    clear: Bool
    acquisition_days: Sequence[int]
    truth: Float
    days: range
    undetected: Bool
    events: tuple[PlantedEvent, ...]
