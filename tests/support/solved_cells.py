"""What a run solves, as opposed to what it takes over."""

import pytest

from spaceeye_stac.keyframes.parts import WindowFacts
from spaceeye_stac.keyframes.store import KeyframeStore
from spaceeye_stac.model import Cell


def solved_from_now(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int]]]:
    """Windows and cells that are solved from now on."""
    found, mark = list[tuple[int, tuple[int, int]]](), KeyframeStore.mark

    def counted(self: KeyframeStore, cell: Cell, window: int, part: WindowFacts, key: str) -> None:
        found.append((window, cell.index))
        mark(self, cell, window, part, key)

    monkeypatch.setattr(KeyframeStore, "mark", counted)
    return found
