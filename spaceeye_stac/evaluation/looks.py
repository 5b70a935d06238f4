"""What a stack of looks says by itself: its index, the line between neighbours in time, and its good dates; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import Bool, Float, linear_on
from spaceeye_stac.query import BANDS

RED_AND_NIR = (("B04", "B08"), ("B05", "B8A"))
CLEAR_SHARE = 0.6
GOOD_DAYS = 16
GOOD_SHARE = 0.3
GOOD_INDEX = 0.04
GOOD_REFLECTANCE = 0.012


@dataclass(frozen=True)
class LookStack:
    """Looks on days: values `(band, time, y, x)` float32 reflectance, 0 where not `clear` `(time, y, x)`.

    `days` `(time,)` increasing; `observed` `(time,)` pixels with data, of which the clear share is taken.
    """

    values: Float
    clear: Bool
    days: tuple[int, ...]
    observed: NDArray[np.int64]

    def inside(self, read: range) -> "LookStack":
        """Return the dates in a window of days alone, without a copy."""
        start, stop = (int(n) for n in np.searchsorted(self.days, (read.start, read.stop)))
        part = slice(start, stop)
        return LookStack(self.values[:, part], self.clear[part], self.days[part], self.observed[part])

    def hiding(self, days: range) -> "LookStack":
        """Return a copy without any look on these days."""
        seen = self.clear & ~np.array([day in days for day in self.days], bool)[:, None, None]
        return replace(self, values=np.where(seen, self.values, np.float32(0)), clear=seen)

    def every(self, step: int) -> "LookStack":
        """Return every so many rows and columns alone, without a copy."""
        return replace(self, values=self.values[..., ::step, ::step], clear=self.clear[..., ::step, ::step])


@dataclass(frozen=True)
class VegetationIndex:
    """NDVI of two bands of a stack: `(nir - red) / (nir + red)`."""

    names: tuple[str, str]
    red: int
    nir: int

    def of(self, values: Float) -> Float:
        """`(...)` of reflectance `(band, ...)`, NaN where that is."""
        red, nir = values[self.red], values[self.nir]
        return np.asarray((nir - red) / np.maximum(nir + red, np.float32(1e-3)))


def vegetation_index(bands: Sequence[str]) -> VegetationIndex | None:
    """NDVI from B04 and B08, else from B05 and B8A; None where a stack has neither pair."""
    for names in RED_AND_NIR:
        if set(names) <= set(bands):
            return VegetationIndex(names, *(list(bands).index(name) for name in names))
    return None


@dataclass(frozen=True)
class Line:
    """Straight line in time between each pixel's looks before and after a date, without that date.

    `values` `(band, y, x)`, which count where it is `valid` `(y, x)`: where both looks are near enough.
    """

    values: Float
    valid: Bool


def line_between(looks: LookStack, target: int, most: int) -> Line:
    """Line through each pixel's last look before the date of index `target` and its first after, each `most` days away.

    Source: metrics of the daily film (`line(t, g)`) in the specification of the surface method.
    """
    day = looks.days[target]
    before, after = looks.inside(range(day - most, day)), looks.inside(range(day + 1, day + most + 1))
    valid = np.asarray(before.clear.any(axis=0) & after.clear.any(axis=0))
    if not valid.any():
        return Line(np.full_like(looks.values[:, target], np.nan), valid)
    values = np.concatenate([before.values, after.values], axis=1)
    clear = np.concatenate([before.clear, after.clear])
    return Line(linear_on(values, clear, (*before.days, *after.days), day).values, valid)


def clear_dates(clear: Bool) -> list[int]:
    """Indices of the dates of which at least 60 % is clear."""
    return [int(t) for t in np.flatnonzero(clear.mean(axis=(1, 2)) >= CLEAR_SHARE)]


def bluest_band(bands: Sequence[str]) -> int:
    """Index of the band of the shortest wavelength, on which haze and cloud tell most."""
    return min(range(len(bands)), key=lambda n: BANDS.index(bands[n]))


def good_dates(looks: LookStack, index: VegetationIndex | None, bluest: int = 0) -> list[int]:
    """Indices of clear dates that agree with the looks within 16 days before and after them.

    On at least 30 % of the pixels that line must be valid, its median |NDVI difference| at most 0.04 and the median
    difference of the `bluest` band at most 0.012 either way. Most of them hold no undetected cloud; the rule
    favours linear interpolation a little, so figures are given for all dates, too.
    """
    return [t for t in clear_dates(looks.clear) if _agrees(looks, t, index, bluest)]


def _agrees(looks: LookStack, target: int, index: VegetationIndex | None, bluest: int) -> bool:
    line = line_between(looks, target, GOOD_DAYS)
    where = looks.clear[target] & line.valid
    if where.mean() < GOOD_SHARE:
        return False
    seen, expected = looks.values[:, target][:, where], line.values[:, where]
    calm = index is None or np.median(np.abs(index.of(seen) - index.of(expected))) <= GOOD_INDEX
    return bool(calm and abs(np.median(seen[bluest] - expected[bluest])) <= GOOD_REFLECTANCE)


def spread_evenly(items: Sequence[int] | NDArray[np.intp], count: int | None) -> list[int]:
    """At most `count` of the items, spread evenly over them; None is all."""
    if count is None or count >= len(items):
        return [int(item) for item in items]
    return [int(items[n]) for n in np.linspace(0, len(items) - 1, count).round().astype(int)]
