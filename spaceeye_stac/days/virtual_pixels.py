"""The pixels that GDAL makes of the VRTs of virtual days, made here, and whether they are those that files would hold.

The values of a keyframe's COG are whole units, so that each is wrong by half a unit at most, and a day between two by

    share_0 ratio_0 / 2 + share_1 ratio_1 / 2

before it is rounded, where a ratio is the unit of a keyframe in DN under the day's illuminance, and the shares are how
near they are. Two numbers that are less than 1 apart are 1 apart at most once both are rounded. So where that sum and
what float32 adds stay below 1, and nodata is the same in both, no pixel needs to be looked at but those that were cut
off to be kept (at 1 and 65535), and those so dark that they may be rounded to 0, which is nodata. These are compared
one by one with what a file would hold; all pixels are, where the sum is larger. And of one band of one day of each two
keyframes GDAL itself reads a part, so that a build that reads VRTs otherwise is found out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from spaceeye_stac.days.blending import DayView
from spaceeye_stac.days.cog import CACHED_VALUES, HIGHEST_DN, NODATA, quantise
from spaceeye_stac.days.vrt import KnotCog, Recipe
from spaceeye_stac.keyframes import cores_of
from spaceeye_stac.model import Cell
from spaceeye_stac.pixels import Clip

LARGEST_DIFFERENCE_DN = 1
FLOAT32_DN = 0.05  # by which the largest value may be wrong after a few steps in float32
SURELY_ONE_DN = 0.6
PART = 64  # pixels a side, within one block of a COG
Values = NDArray[np.uint16]


def interpolated(values: Sequence[Values], made: Recipe) -> Values:
    """DN of sources of one shape, step by step as GDAL makes them: of one in float32, of two in float64."""
    flat = [np.ascontiguousarray(one).reshape(-1) for one in values]
    out = np.empty(flat[0].shape, np.uint16)
    one, two = np.empty((2, min(out.size, CACHED_VALUES)), np.float64 if made.between else np.float32)
    ratios = [ratio for _, ratio in made.sources]
    for start in range(0, out.size, CACHED_VALUES):
        part = slice(start, start + CACHED_VALUES)
        total, first = one[: out[part].size], two[: out[part].size]
        np.multiply(flat[-1][part], ratios[-1], out=total, dtype=np.float64, casting="unsafe")
        if made.between is not None:
            day, gap, now = made.between
            total -= np.multiply(flat[0][part], ratios[0], out=first, dtype=np.float64)
            total *= now - day
            total /= gap
            total += first
        total += total.dtype.type(0.5)  # halves are rounded up
        np.minimum(total, HIGHEST_DN, out=total)
        np.copyto(out[part], total, casting="unsafe")
    return out.reshape(values[0].shape)


class VirtualPixels:
    """DN of one band on some days of a group as GDAL reads them from their VRTs.

    `wrong`: the days that were found not to be what a file would hold, within 1 DN and nodata exactly. If a day and its
    VRT are given as `guard`, a part of it is read by GDAL; where that is not the same, `misread` is set.
    """

    def __init__(
        self,
        view: DayView,
        band: int,
        recipes: Mapping[int, Recipe],
        clip: Clip,
        guard: tuple[int, Path] | None,
    ) -> None:
        self._view, self._band, self._clip, self._recipes = view, band, clip, recipes
        self._guard = guard
        self.wrong, self.misread = set[int](), False

    def rows(self, cells: Sequence[Cell]) -> Iterator[Values]:
        """Yield `(y, x)` over the cores of `cells`, one array for each day."""
        images: dict[KnotCog, NDArray[np.float32]] = {}
        kept: dict[KnotCog, Values] = {}
        doubtful: dict[tuple[KnotCog, ...], NDArray[np.intp] | None] = {}
        outside = self._clip.outside(cores_of(cells))
        for day, made in self._recipes.items():
            if not np.isfinite(made.weights).all():  # a day of no known illuminance
                self.wrong.add(day)
                yield np.full(cores_of(cells).shape, NODATA, np.uint16)
                continue
            cogs = tuple(cog for cog, _ in made.sources)
            for cog in cogs:
                if cog not in kept:
                    images[cog] = self._view.image(cog.kind, cog.knot, self._band, cells)
                    if outside is not None:
                        images[cog][outside] = np.nan
                    kept[cog] = quantise(images[cog], cog.unit)
            if cogs not in doubtful:
                doubtful[cogs] = self._doubtful([kept[cog] for cog in cogs], cogs)
            found = interpolated([kept[cog] for cog in cogs], made)
            if not self._holds(day, [images[cog] for cog in cogs], found, doubtful[cogs]):
                self.wrong.add(day)
            if self._guard is not None and day == self._guard[0] and found.any():
                self.misread = not _is_read(self._guard[1], found, cells[0].core.y.start)
                self._guard = None
            yield found

    def _doubtful(self, values: Sequence[Values], cogs: tuple[KnotCog, ...]) -> NDArray[np.intp] | None:
        """Index of the pixels of these COGs that are to be looked at; None where some have nodata in one alone."""
        if len(values) > 1 and not np.array_equal(values[0] == NODATA, values[1] == NODATA):
            return None
        least = max(_least(made) for made in self._recipes.values() if tuple(cog for cog, _ in made.sources) == cogs)
        found = np.empty(0, np.intp)
        for one in values:
            lower = one - np.uint16(1)  # nodata wraps around
            if lower.min() < least - 1 or one.max() == HIGHEST_DN:
                found = np.union1d(found, np.flatnonzero((lower < np.uint16(least - 1)) | (one == HIGHEST_DN)))
        return found

    def _holds(
        self, day: int, images: Sequence[NDArray[np.float32]], found: Values, doubtful: NDArray[np.intp] | None
    ) -> bool:
        """Whether the doubtful pixels of a day are those of a file."""
        if doubtful is None:
            return False
        if not doubtful.size:
            return True
        file = quantise(self._view.lit([image.reshape(-1)[doubtful] for image in images], day, self._band))
        return _alike(found.reshape(-1)[doubtful], file)


def _is_read(vrt: Path, found: Values, top: int) -> bool:
    """Whether GDAL reads the part around the middle pixel with data, of the rows from `top` on, so as well."""
    valid = np.flatnonzero(found)
    row, column = (int(n) // PART * PART for n in np.unravel_index(valid[valid.size // 2], found.shape))
    mine = found[row : row + PART, column : column + PART]
    with rasterio.open(vrt) as source:
        read = source.read(1, window=Window(column, top + row, mine.shape[1], mine.shape[0]))
    return _alike(mine, read)


def _least(made: Recipe) -> int:
    """The smallest value of its sources by which a day is surely as a file has it; more than any where none is."""
    whole = sum(made.weights)
    if whole <= 0 or whole / 2 + FLOAT32_DN >= LARGEST_DIFFERENCE_DN:
        return HIGHEST_DN + 1
    return min(HIGHEST_DN, max(2, math.ceil(SURELY_ONE_DN / whole)))


def _alike(one: Values, other: Values) -> bool:
    """Whether DN are at most 1 apart, and nodata the same."""
    difference = np.abs(one.astype(np.int32) - other)
    same_nodata = np.array_equal(one == NODATA, other == NODATA)
    return same_nodata and int(difference.max(initial=0)) <= LARGEST_DIFFERENCE_DN
