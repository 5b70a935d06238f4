"""How a grid is cut into cells, and how the cells' results are blended where they overlap; pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Block, Cell, Grid


@dataclass(frozen=True)
class Share:
    """What a cell gives to another's core: the block they share and the cell's weights along y and x there."""

    cell: Cell
    block: Block
    y: NDArray[np.float32]
    x: NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
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
        around = [
            self.cell(y, x)
            for y in range(max(i - 1, 0), min(i + 2, rows))
            for x in range(max(j - 1, 0), min(j + 2, columns))
        ]
        return tuple(cell for cell in around if min(cell.reach.shared(core.core).shape) > 0)

    def blend(self, core: Cell, tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give `(..., y, x)` over a cell's core: its own `tile` faded into its neighbours' across their borders.

        Weights are linear over twice the margin and add up to 1; cells are added in a fixed order.
        """
        shares = self._shares(core)
        if len(shares) == 1:
            return tile(core)[..., *core.core.within(core.reach)]
        out = None
        for share in shares:
            part = tile(share.cell)[..., *share.block.within(share.cell.reach)] * share.y[:, None] * share.x
            if out is None:
                out = np.zeros((*part.shape[:-2], *core.core.shape), np.float32)
            out[..., *share.block.within(core.core)] += part
        return np.asarray(out)

    @cached_property
    def _known(self) -> dict[tuple[int, int], tuple[Share, ...]]:
        return {}

    def _shares(self, core: Cell) -> tuple[Share, ...]:
        if core.index not in self._known:
            found = []
            for cell in self.near(core):
                block = cell.reach.shared(core.core)
                found.append(Share(cell, block, *(self._weight(cell, block, axis) for axis in (0, 1))))
            self._known[core.index] = tuple(found)
        return self._known[core.index]

    def _weight(self, cell: Cell, shared: Block, axis: int) -> NDArray[np.float32]:
        """Weight of a cell along one axis of a block that it reaches."""
        core, part = ((b.y, b.x)[axis] for b in (cell.core, shared))
        out = np.ones(part.stop - part.start)
        at = np.arange(part.start, part.stop) + 0.5
        if self.margin and cell.index[axis]:
            out *= np.clip((at - core.start + self.margin) / (2 * self.margin), 0, 1)
        if self.margin and cell.index[axis] < self.counts[axis] - 1:
            out *= np.clip((core.stop + self.margin - at) / (2 * self.margin), 0, 1)
        return out.astype(np.float32)


def around(cells: Sequence[Cell]) -> Block:
    """Return the block that holds the cores of all these cells."""
    return _hull([cell.core for cell in cells])


def seen_by(cells: Sequence[Cell]) -> Block:
    """Return the block that holds all that these cells see."""
    return _hull([cell.view for cell in cells])


def _hull(blocks: Sequence[Block]) -> Block:
    return Block(
        slice(min(b.y.start for b in blocks), max(b.y.stop for b in blocks)),
        slice(min(b.x.start for b in blocks), max(b.x.stop for b in blocks)),
    )
