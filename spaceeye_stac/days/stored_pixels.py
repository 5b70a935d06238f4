"""Some pixels of the days of a keyframe store: knots alone are read, and the days between are blended at the pixels."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.days.blending import DayGroup, DayView, day_groups
from spaceeye_stac.days.cog import NODATA, quantise, truncate
from spaceeye_stac.days.day_pixels import PixelDays, Pixels, Places
from spaceeye_stac.keyframes import KeyframeStore, Tiles, cores_of
from spaceeye_stac.model import Cell
from spaceeye_stac.pixels import inside

Key = tuple[str, int, int, int]  # name, window, knot or look, band
Run = tuple[tuple[Cell, ...], Places]


class PixelView(DayView):
    """A view of some pixels of a run of cells, `(1, pixel)` in place of `(y, x)`.

    All that a day is made of is done pixel by pixel, so that each is what the whole day has there, to the bit. `at`:
    rows and columns in the cells' cores; `kept`: what views of other groups have read of these pixels.
    """

    def __init__(self, tiles: Tiles, group: DayGroup, at: tuple[Places, Places], kept: dict[Key, NDArray[Any]]) -> None:
        super().__init__(tiles, group)
        self._at, self._kept = at, kept

    def image(self, name: str, knot: int, band: int, cells: Sequence[Cell]) -> NDArray[np.float32]:
        """See DayView."""
        key = (name, self.group.window, knot, band)
        return self._once(key, lambda: super(PixelView, self).image(name, knot, band, cells)).copy()

    def blended(self, cells: Sequence[Cell], tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """See DayView."""
        return super().blended(cells, tile)[self._at][None]

    def look(self, index: int, cells: Sequence[Cell]) -> NDArray[np.uint8]:
        """See DayView."""
        key = ("look", self.group.window, index, 0)
        return self._once(key, lambda: super(PixelView, self).look(index, cells)[self._at][None])

    def shape(self, cells: Sequence[Cell]) -> tuple[int, int]:  # noqa: ARG002
        """See DayView."""
        return 1, len(self._at[0])

    def _once(self, key: Key, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        if key not in self._kept:
            self._kept[key] = read()
        return self._kept[key]

    def forget_what_is_past(self) -> None:
        """Drop what the groups to come have no use for: knots before this one's, and all of other windows."""
        window, knot = self.group.window, self.group.knot
        for name, its_window, index, band in list(self._kept):
            if its_window != window or (name != "look" and index < knot):
                del self._kept[name, its_window, index, band]


class StoredDays:
    """The days of a store as a DaySource; DN, flags, and the uncertainty of each band are what a run writes."""

    def __init__(self, folder: Path) -> None:
        self._store = KeyframeStore.open(folder)
        known = self._store.contents
        self.grid, self.bands, self.days = known.grid, known.bands, known.days
        self._to_dn = truncate if known.truncates else quantise

    def pixels_of(self, days: range, bands: Sequence[str], pixels: Pixels) -> PixelDays:
        """See DaySource; run of cells by run of cells, so that a cell's tile is let go before the next is read."""
        out = PixelDays.empty(len(days), len(bands), len(pixels))
        numbers = [self.bands.index(name) for name in bands]
        for cells, which in self._runs(pixels):
            whole, kept = cores_of(cells), dict[Key, NDArray[Any]]()
            at = pixels[which].within(whole)
            is_outside = ~inside(self.grid, whole)[at]
            for group in day_groups(self._store.contents):
                some = range(max(group.days.start, days.start), min(group.days.stop, days.stop))
                if some:
                    view = PixelView(self._store, group, at, kept)
                    view.forget_what_is_past()
                    place = slice(some.start - days.start, some.stop - days.start)
                    for array, part in zip(_arrays(out), self._made(view, some, numbers, cells), strict=True):
                        part[..., is_outside] = NODATA
                        array[place, ..., which] = part
        return out

    def _made(
        self, view: PixelView, days: Sequence[int], bands: Sequence[int], cells: Sequence[Cell]
    ) -> tuple[NDArray[Any], ...]:
        """DN and uncertainty `(day, band, pixel)` and flags `(day, pixel)` of days of one group."""
        images = [[self._to_dn(one[0]) for one in view.reflectance(days, band, cells)] for band in bands]
        quality, known = list(view.quality(days, cells)), view.uncertainty(cells)
        dn, flags = np.stack(images, axis=1), np.stack([one.flags[0] for one in quality])
        widths = np.zeros_like(dn)
        if view.has_uncertainty:
            for n, (day, one) in enumerate(zip(days, quality, strict=True)):
                for place, band in enumerate(bands):
                    widths[n, place] = quantise(known.of(day, one.distance, band)[0])
        return dn, widths, flags

    def _runs(self, pixels: Pixels) -> Iterator[Run]:
        """Cells beside each other in a row that hold pixels, and which pixels these are."""
        layout = self._store.contents.layout
        for row in range(layout.counts[0]):
            found = [(cell, which) for cell in layout.row(row) if len(which := pixels.inside(cell.core))]
            for _, run in groupby(enumerate(found), lambda one: one[1][0].index[1] - one[0]):
                cells, places = zip(*(one for _, one in run), strict=True)
                yield cells, np.concatenate(places)


def _arrays(days: PixelDays) -> tuple[NDArray[Any], ...]:
    return days.dn, days.uncertainty, days.flags
