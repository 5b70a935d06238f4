"""Some pixels of many days: where they lie, what is known of them, and what they are read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Block, Grid
from spaceeye_stac.query import DateRange

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """Where some pixels lie in a grid: `rows` and `columns` `(pixel,)`; one may stand there twice."""

    rows: Places
    columns: Places

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Places) -> "Pixels":
        return Pixels(self.rows[which], self.columns[which])

    def inside(self, block: Block) -> Places:
        """Which of the pixels lie in a block."""
        found = (self.rows >= block.y.start) & (self.rows < block.y.stop)
        return np.flatnonzero(found & (self.columns >= block.x.start) & (self.columns < block.x.stop))

    @property
    def around(self) -> Block:
        """The smallest block that holds all of them."""
        return Block(*(slice(int(some.min()), int(some.max()) + 1) for some in (self.rows, self.columns)))

    def within(self, block: Block) -> tuple[Places, Places]:
        """Where they lie in an array of the block."""
        return self.rows - block.y.start, self.columns - block.x.start


@dataclass(frozen=True)
class PixelDays:
    """Some days at some pixels, as the files of the days hold them.

    `dn` and `uncertainty` `(day, band, pixel)` uint16 in units of 0.0001, 0 where there is none; `flags` `(day, pixel)`
    uint8, bits of `Flag`, 0 where there is no data.
    """

    dn: NDArray[np.uint16]
    uncertainty: NDArray[np.uint16]
    flags: NDArray[np.uint8]

    @classmethod
    def empty(cls, days: int, bands: int, pixels: int) -> "PixelDays":
        """Nothing but nodata, to be filled."""
        shape = days, bands, pixels
        return cls(np.zeros(shape, np.uint16), np.zeros(shape, np.uint16), np.zeros((days, pixels), np.uint8))


class DaySource(Protocol):
    """Where days come from: the `grid` they lie on, the `bands` they have, from which day to which they go."""

    @property
    def grid(self) -> Grid:
        """The grid of every day."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""

    @property
    def days(self) -> DateRange:
        """From the first day to the last; one that was not published is nodata."""

    def pixels_of(self, days: range, bands: Sequence[str], pixels: Pixels) -> PixelDays:
        """Some days, by index, of some bands."""
