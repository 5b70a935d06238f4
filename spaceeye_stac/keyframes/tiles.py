"""Where keyframes are read from, one cell at a time."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.keyframes.contents import Contents
from spaceeye_stac.keyframes.parts import WindowKeyframes
from spaceeye_stac.model import Cell

BANDED = ("images", "as_seen")


class Tiles(Protocol):
    """Where keyframes are read from, one cell at a time."""

    contents: Contents

    def tile(self, name: str, window: int, index: int, cell: Cell, band: int = 0) -> NDArray[Any]:
        """Give one cell of one knot over its reach.

        `name` is "images" or "as_seen" (of a band), or "spread"; for "look_flags" the index counts the window's
        looks, and the tile is that of the cell's core.
        """

    def noise(self, window: int, index: int, cell: Cell) -> NDArray[np.float32] | None:
        """68 % half width of one look `(band,)` on a knot, or, for index -1, of a day without one; None: not known."""

    def damping_factor(self, window: int, cell: Cell) -> float:
        """Damping factor of a cell's state between two knots."""


class MemoryTiles:
    """Keyframes of some cells as they were solved."""

    def __init__(self, contents: Contents, solved: dict[tuple[int, int], dict[int, WindowKeyframes]]) -> None:
        self.contents, self._solved = contents, solved

    def tile(self, name: str, window: int, index: int, cell: Cell, band: int = 0) -> NDArray[Any]:
        """See `Tiles`."""
        values = getattr(self._solved[cell.index][window], name)[index]
        return np.asarray(values[band] if name in BANDED else values)

    def noise(self, window: int, index: int, cell: Cell) -> NDArray[np.float32] | None:
        """See `Tiles`."""
        found = self._solved[cell.index][window].facts
        return found.unseen if found.noise is None or index < 0 else found.noise[index]

    def damping_factor(self, window: int, cell: Cell) -> float:
        """See `Tiles`."""
        return self._solved[cell.index][window].facts.damping_factor or self.contents.damping_factor
