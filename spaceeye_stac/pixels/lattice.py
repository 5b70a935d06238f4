"""Files whose pixels fall on the lines of a grid, so that they are copied as they are; pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window

from spaceeye_stac.pixels.headers import SAME_PIXELS, code_of


class GridLines(Protocol):
    """What pixels are read on: EPSG code and transform."""

    @property
    def epsg(self) -> int | None:
        """EPSG code."""

    @property
    def transform(self) -> Affine:
        """Of its pixels."""


class PlacedRaster(Protocol):
    """What lies somewhere."""

    @property
    def transform(self) -> Affine:
        """Of its pixels."""


@dataclass(frozen=True)
class Lattice:
    """A file whose pixels are `factor` of the grid's wide and fall on its lines.

    `left`, `top`: where the grid's corner lies in the file, in the grid's pixels.
    """

    factor: int
    left: int
    top: int

    def placed(self, window: Window, shape: Sequence[int]) -> "Placed | None":
        """What a window of the grid has of a file of that shape; None where it has none."""
        rows = _Span.of(self.top + window.row_off, window.height, self.factor, shape[0])
        columns = _Span.of(self.left + window.col_off, window.width, self.factor, shape[1])
        return Placed(self.factor, window, rows, columns) if rows.count > 0 and columns.count > 0 else None


@dataclass(frozen=True)
class Placed:
    """A part of a file in a window of the grid."""

    factor: int
    target: Window
    rows: "_Span"
    columns: "_Span"

    @property
    def window(self) -> Window:
        """The part, in the file's pixels."""
        return Window(self.columns.start, self.rows.start, self.columns.count, self.rows.count)

    @property
    def down(self) -> range:
        """Its rows in the file."""
        return range(self.rows.start, self.rows.start + self.rows.count)

    @property
    def right(self) -> range:
        """Its columns in the file."""
        return range(self.columns.start, self.columns.start + self.columns.count)

    def laid(self, found: NDArray[np.uint16], fill: int) -> NDArray[np.uint16]:
        """The pixels of that part as the window has them, each so many times, the fill value outside."""
        shape = self.target.height, self.target.width
        if found.shape == shape and self.factor == 1:
            return found
        if self.factor > 1:
            found = found.repeat(self.factor, axis=0).repeat(self.factor, axis=1)
        out = np.full(shape, fill, np.uint16)
        out[self.rows.target, self.columns.target] = found[self.rows.part, self.columns.part]
        return out


def lattice_of(raster: PlacedRaster, crs: CRS, grid: GridLines) -> Lattice | None:
    """How a file in that CRS fits the grid; None where it has to be warped."""
    here, there = raster.transform, grid.transform
    if code_of(crs) != grid.epsg or here.b or here.d or here.e != -here.a:
        return None
    exact = here.a / there.a, (there.c - here.c) / there.a, (there.f - here.f) / there.e
    factor, left, top = (round(value) for value in exact)
    off = max(abs(a - b) for a, b in zip(exact, (factor, left, top), strict=True))
    return Lattice(factor, left, top) if factor >= 1 and off < SAME_PIXELS else None


@dataclass(frozen=True)
class Thinned:
    """The file's pixels in which the centres of a coarser grid of that `shape` lie: their rows and columns.

    `first`: row and column of the grid at which they begin.
    """

    shape: tuple[int, int]
    down: range
    right: range
    first: tuple[int, int] = (0, 0)

    def laid(self, found: NDArray[np.uint16], fill: int) -> NDArray[np.uint16]:
        """Those pixels as the grid has them, the fill value where it has none."""
        if found.shape == self.shape:
            return found
        out, (top, left) = np.full(self.shape, fill, np.uint16), self.first
        out[top : top + len(self.down), left : left + len(self.right)] = found
        return out


class CoarseLines(GridLines, Protocol):
    """A grid of some size."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""


def thinned(raster: PlacedRaster, crs: CRS, grid: CoarseLines, size: Sequence[int]) -> Thinned | None:
    """What a grid, of pixels a whole number of a file's wide, takes of it by nearest neighbour; None for others.

    A centre on the line between two pixels takes the latter, as GDAL does.
    """
    here, there = raster.transform, grid.transform
    if code_of(crs) != grid.epsg or here.b or here.d or here.e != -here.a:
        return None
    exact = there.a / here.a, (there.f - here.f) / here.e, (there.c - here.c) / here.a
    step, *corner = (round(value) for value in exact)
    off = max(abs(a - b) for a, b in zip(exact, (step, *corner), strict=True))
    if step <= 1 or off >= SAME_PIXELS:
        return None
    centres = [range(at + step // 2, at + step // 2 + n * step, step) for at, n in zip(corner, grid.shape, strict=True)]
    (top, down), (left, right) = (_inside(along, most) for along, most in zip(centres, size, strict=True))
    return Thinned(grid.shape, down, right, (top, left))


def _inside(pixels: range, size: int) -> tuple[int, range]:
    """How many of some pixels lie before a file of that size, and those that lie in it."""
    before = min(len(pixels), max(0, -(pixels.start // pixels.step)))
    return before, pixels[before : max(before, -(-(size - pixels.start) // pixels.step))]


@dataclass(frozen=True)
class _Span:
    """Along one axis: `count` file pixels from `start`; the `part` of them, repeated, that goes to the `target`."""

    start: int
    count: int
    part: slice
    target: slice

    @classmethod
    def of(cls, first: int, length: int, factor: int, size: int) -> "_Span":
        """Cover `length` grid pixels from `first`, which counts from the file's edge, by a file of `size` pixels."""
        start, stop = max(first, 0), min(first + length, size * factor)
        low, high = start // factor, -(-stop // factor)
        part = slice(start - low * factor, stop - low * factor)
        return cls(low, high - low, part, slice(start - first, stop - first))
