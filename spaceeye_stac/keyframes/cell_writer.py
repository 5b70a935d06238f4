"""One cell of one window on its way into a keyframe store, row by row."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.keyframes.chunks import GrowingChunk
from spaceeye_stac.keyframes.parts import KeyframeRows, WindowFacts
from spaceeye_stac.keyframes.store import LOOKS, KeyframeStore
from spaceeye_stac.keyframes.tiles import BANDED
from spaceeye_stac.model import Cell


class CellWriter:
    """What a window keeps of one cell, on its way into a store from top to bottom; it counts once it is finished."""

    def __init__(self, store: KeyframeStore, cell: Cell, window: int) -> None:
        self._store, self._cell, self._window = store, cell, window
        self._growing: dict[Path, GrowingChunk] = {}

    def add(self, part: KeyframeRows) -> None:
        """Keep the next rows."""
        known = self._store.contents
        for name in (*BANDED, "spread"):
            values = getattr(part, name)
            if values is not None:
                self._grow(name, known.first_knots[self._window], values, known.layout.tile)
        self._grow(LOOKS, known.first_looks[self._window], part.look_flags, self._store.core_tile)

    def _grow(self, name: str, first: int, values: NDArray[Any], tile: tuple[int, int]) -> None:
        """Add `(..., y, x)` to the chunks of an array, of which the first index begins at `first`."""
        for at in np.ndindex(values.shape[:-2]):
            path = self._store.chunk_file(name, (first + at[0], *at[1:]), self._cell)
            if path not in self._growing:
                fill = 0 if values.dtype == np.uint8 else np.nan
                self._growing[path] = GrowingChunk(path, tile, values.dtype, fill)
            self._growing[path].add(values[at])

    def finish(self, facts: WindowFacts, key: str) -> None:
        """Say that all is there; `key` stands for what it was made from."""
        for chunk in self._growing.values():
            chunk.finish()
        self._store.send(self._growing)
        self._store.mark(self._cell, self._window, facts, key)
