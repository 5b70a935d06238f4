"""Which internal tiles of a file hold the pixels of a region, and where these lie in it; pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from spaceeye_stac.pixels.headers import SAME_PIXELS, Bounds

HEADER_BYTES = 2**14  # that are asked for first of a file


@dataclass(frozen=True)
class TileLevel:
    """The image of a file, or an overview of it: its shape, that of its tiles, and `(row, column)` of these.

    `starts` and `counts`: where in the file each tile begins, and its bytes, 0 where that is not known.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def usual(cls, shape: tuple[int, int], side: int) -> "TileLevel":
        """Of an image in tiles of that side, of which nothing else is known."""
        nothing = np.zeros([-(-length // side) for length in shape], np.int64)
        return cls(shape, (side, side), nothing, nothing)


@dataclass(frozen=True)
class TileTable:
    """What a file's header says of its tiles: the full image first, then its overviews, each coarser than the last.

    `transform`: where the full image lies, None where the header does not say it plainly.
    """

    transform: Affine | None
    levels: tuple[TileLevel, ...]

    @property
    def size(self) -> int:
        """Bytes of the tiles of all levels, which is about the file's size."""
        return int(sum(level.counts.sum() for level in self.levels))

    @property
    def first(self) -> int:
        """Where the first tile begins."""
        return min(int(level.starts[level.counts > 0].min(initial=HEADER_BYTES)) for level in self.levels)

    @property
    def cut(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """How it is cut into tiles: shape and tile of every level."""
        return [(level.shape, level.tile) for level in self.levels]


@dataclass(frozen=True)
class TilePart:
    """A rectangle of tiles of a level: rows `top` to before `bottom`, columns `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def inside(cls, transform: Affine, bounds: Bounds, full: TileLevel, level: TileLevel) -> "TilePart | None":
        """Tiles of a level of a file that lies so that hold pixels inside bounds in its CRS; None where none does."""
        if transform.is_degenerate:  # an item may say what it likes
            return None
        corners = [~transform * corner for corner in ((bounds[0], bounds[3]), (bounds[2], bounds[1]))]
        ends = []
        for axis, along in ((1, 0), (0, 1)):  # rows count along y
            first, last = sorted(corner[axis] * level.shape[along] / full.shape[along] for corner in corners)
            if not (math.isfinite(first) and math.isfinite(last)):
                return None
            start, stop = (
                max(0, math.floor(first + SAME_PIXELS)),
                min(level.shape[along], math.ceil(last - SAME_PIXELS)),
            )
            if start >= stop:
                return None
            ends += [start // level.tile[along], (stop - 1) // level.tile[along] + 1]
        return cls(*ends)

    @classmethod
    def anywhere(cls, sides: Sequence[float], level: TileLevel) -> "TilePart":
        """As many tiles as so many rows and columns of pixels meet on the average, wherever they lie."""
        counts = [
            min(-(-length // tile), max(1, round(side / tile + 1)))
            for side, tile, length in zip(sides, level.tile, level.shape, strict=True)
        ]
        return cls(0, counts[0], 0, counts[1])

    @property
    def count(self) -> int:
        """How many tiles."""
        return (self.bottom - self.top) * (self.right - self.left)

    def ranges(self, level: TileLevel, header: int) -> list[tuple[int, int]]:
        """First byte and the one after the last of each tile, in the order of the file.

        Left out are tiles that are empty, and those that came with so many bytes of the header.
        """
        found = zip(*(self._of(values) for values in (level.starts, level.counts)), strict=True)
        return sorted((start, start + count) for start, count in found if count and start + count > header)

    def _of(self, values: NDArray[np.int64]) -> list[int]:
        return [int(value) for value in values[self.top : self.bottom, self.left : self.right].ravel()]
