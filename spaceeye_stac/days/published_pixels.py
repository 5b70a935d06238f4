"""Some pixels of the days of a published collection: of each file the blocks that they lie in, and no more."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import UNCERTAINTY, uncertainty_of
from spaceeye_stac.days.cog import BLOCK
from spaceeye_stac.days.day_pixels import PixelDays, Pixels
from spaceeye_stac.days.published_cube import PublishedDays
from spaceeye_stac.model import Grid
from spaceeye_stac.pixels import read_day_blocks
from spaceeye_stac.query import DateRange

THREADS = 16  # days at once: most of the time is waiting where their files lie in a store


class FileDays:
    """Published days as a DaySource; uncertainty is that of each band where it was written, else the largest."""

    def __init__(self, found: PublishedDays) -> None:
        self._found = found

    @property
    def grid(self) -> Grid:
        """See DaySource."""
        return self._found.grid

    @property
    def bands(self) -> tuple[str, ...]:
        """See DaySource."""
        return self._found.bands

    @property
    def days(self) -> DateRange:
        """See DaySource."""
        return self._found.days

    def pixels_of(self, days: range, bands: Sequence[str], pixels: Pixels) -> PixelDays:
        """See DaySource; each file is opened once."""
        out, read = PixelDays.empty(len(days), len(bands), len(pixels)), _reader(self.grid, pixels)
        published = {self.days.index(one.day): one.hrefs for one in self._found.found}

        def fill(day: int) -> None:
            n, hrefs = day - days.start, published.get(day, {})
            for place, band in enumerate(bands):
                if band in hrefs:
                    out.dn[n, place] = read(hrefs[band])
            each = [hrefs[uncertainty_of(band)] for band in bands if uncertainty_of(band) in hrefs]
            if len(each) == len(bands):
                out.uncertainty[n] = [read(href) for href in each]
            elif UNCERTAINTY in hrefs:
                out.uncertainty[n] = read(hrefs[UNCERTAINTY])
            if "flags" in hrefs:
                out.flags[n] = read(hrefs["flags"])

        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(fill, days):
                pass
        return out


def _reader(grid: Grid, pixels: Pixels) -> Callable[[str], NDArray[Any]]:
    """What reads `(pixel,)` of a file: from each of its blocks that holds pixels, the least that holds them."""
    squares = (pixels.inside(cell.core) for cell in grid.cells(BLOCK))
    parts = [(which, pixels[which]) for which in squares if len(which)]

    def read(href: str) -> NDArray[Any]:
        out = np.zeros(len(pixels), np.uint16)
        found = read_day_blocks(href, [part.around for _, part in parts])
        for (which, part), image in zip(parts, found, strict=True):
            out[which] = image[part.within(part.around)]
        return out

    return read
