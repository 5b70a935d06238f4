"""How a grid is cut into cells, and how the cells' results are blended where they overlap; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Block, Cell, Grid


@dataclass(frozen=True)
class Fade:
    """Where along an axis a cell and one beside it fade into each other: pixels of the grid, and the weights of both.

    The weights `(pixel,)` float32 add to 1.
    """

    zone: slice
    own: NDArray[np.float32]
    other: NDArray[np.float32]


@dataclass(frozen=True)
class CellLayout:
    """Fixed cells of `size` pixels, `halo` more that they see, and the `margin` that is blended at their borders.

    `anchor` `(y, x)`: pixels from the first cell's border to the grid's upper left corner, below `size`.
    """

    grid: Grid
    size: int
    halo: int
    margin: int
    anchor: tuple[int, int] = (0, 0)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, row by row."""
        return tuple(self.grid.cells(self.size, self.halo, self.margin, self.anchor))

    @cached_property
    def counts(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.cells[-1].index[0] + 1, self.cells[-1].index[1] + 1

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of the largest reach of a cell."""
        height, width = self.grid.shape
        return min(height, self.size + 2 * self.margin), min(width, self.size + 2 * self.margin)

    def cell(self, row: int, column: int) -> Cell:
        """Return the cell of these indices."""
        return self.cells[row * self.counts[1] + column]

    def row(self, row: int) -> tuple[Cell, ...]:
        """Return the cells of one row, from left to right."""
        return self.cells[row * self.counts[1] : (row + 1) * self.counts[1]]

    def groups(self, side: int) -> list[tuple[Cell, ...]]:
        """Cells in squares of `side` by `side`, row by row."""
        rows, columns = self.counts
        return [
            tuple(
                self.cell(i, j)
                for i in range(top, min(top + side, rows))
                for j in range(left, min(left + side, columns))
            )
            for top in range(0, rows, side)
            for left in range(0, columns, side)
        ]

    def near(self, core: Cell) -> tuple[Cell, ...]:
        """Return the cells that reach into a cell's core, itself among them, in a fixed order."""
        (i, j), (rows, columns) = core.index, self.counts
        cores_of = [
            self.cell(y, x)
            for y in range(max(i - 1, 0), min(i + 2, rows))
            for x in range(max(j - 1, 0), min(j + 2, columns))
        ]
        return tuple(cell for cell in cores_of if min(cell.reach.shared(core.core).shape) > 0)

    def blend(self, cells: Sequence[Cell], tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give `(y, x)` over the cores of neighbouring `cells` of a row: their tiles faded across the cells' borders.

        `tile` gives a cell's values over its reach, and is asked once for each cell that reaches into the cores.
        Weights are linear over twice the margin. A pixel is the same whichever cells are asked for: at most two tiles
        along x, then two of such rows along y, are added, in which the order makes no difference.
        """
        row, block = cells[0].index[0], cores_of(cells)
        out = self._strip(row, block, tile)
        for other, fade in zip((row - 1, row + 1), self._fades(0, row), strict=True):
            zone = _common(fade.zone, block.y)
            if zone.start < zone.stop:
                within, weights = _from(zone, block.y), _from(zone, fade.zone)
                out[within] *= fade.own[weights, None]
                strip = self._strip(other, Block(zone, block.x), tile)
                strip *= fade.other[weights, None]
                out[within] += strip
        return out

    def _strip(self, row: int, block: Block, tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give `(y, x)` over a block that the cells of one row reach, faded along x, from left to right."""
        out = np.empty(block.shape, np.float32)
        for cell in self.row(row):
            if min(cell.reach.shared(block).shape) > 0:
                self._put(out, block, cell, tile(cell)[_from(block.y, cell.reach.y)])
        return out

    def _put(self, out: NDArray[np.float32], block: Block, cell: Cell, values: NDArray[np.float32]) -> None:
        """Put a cell's values, those of its reach along x, into a block where the cell on its left already is."""
        before, after = self._fades(1, cell.index[1])
        alone = _common(slice(before.zone.stop, after.zone.start), block.x)
        if alone.start < alone.stop:
            out[:, _from(alone, block.x)] = values[:, _from(alone, cell.reach.x)]
        zone = _common(before.zone, block.x)
        if zone.start < zone.stop:
            out[:, _from(zone, block.x)] += values[:, _from(zone, cell.reach.x)] * before.own[_from(zone, before.zone)]
        zone = _common(after.zone, block.x)
        if zone.start < zone.stop:
            out[:, _from(zone, block.x)] = values[:, _from(zone, cell.reach.x)] * after.own[_from(zone, after.zone)]

    @cached_property
    def _known(self) -> dict[tuple[int, int], tuple[Fade, Fade]]:
        return {}

    def _fades(self, axis: int, index: int) -> tuple[Fade, Fade]:
        """Fades of the cells of this index along an axis into those before and after; of no width where none is."""
        if (axis, index) not in self._known:
            cell = self.cell(index, 0) if axis == 0 else self.cell(0, index)
            core = (cell.core.y, cell.core.x)[axis]
            before = self._fade(axis, core.start, self.margin if index else 0)
            after = self._fade(axis, core.stop, self.margin if index < self.counts[axis] - 1 else 0)
            self._known[axis, index] = before, Fade(after.zone, after.other, after.own)
        return self._known[axis, index]

    def _fade(self, axis: int, border: int, margin: int) -> Fade:
        """Fade across a border of cells, `own` being the one after it."""
        zone = slice(max(border - margin, 0), min(border + margin, self.grid.shape[axis]))
        rising = 0.5 + (np.arange(zone.start, zone.stop) + 0.5 - border) / (2 * margin or 1)
        return Fade(zone, rising.astype(np.float32), (1 - rising).astype(np.float32))


def _common(one: slice, other: slice) -> slice:
    """Return what two stretches of pixels share, empty (or less) where they share nothing."""
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _from(part: slice, whole: slice) -> slice:
    """Where a stretch lies in an array of a `whole` one."""
    return slice(part.start - whole.start, part.stop - whole.start)


def cores_of(cells: Sequence[Cell]) -> Block:
    """Return the block that holds the cores of all these cells."""
    return _hull([cell.core for cell in cells])


def views_of(cells: Sequence[Cell]) -> Block:
    """Return the block that holds all that these cells see."""
    return _hull([cell.view for cell in cells])


def _hull(blocks: Sequence[Block]) -> Block:
    return Block(
        slice(min(b.y.start for b in blocks), max(b.y.stop for b in blocks)),
        slice(min(b.x.start for b in blocks), max(b.x.stop for b in blocks)),
    )
