"""What a keyframe store takes over from that of an earlier run: whole windows that were made from the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spaceeye_stac.errors import OutputError
from spaceeye_stac.keyframes.files import Files
from spaceeye_stac.keyframes.store import KeyframeStore
from spaceeye_stac.model import Cell

Copy = Callable[[Sequence[tuple[Path, Path]]], object]


@dataclass(frozen=True)
class SameWindow:
    """One window by its index in the earlier store and in the new one, which differ where the range grew."""

    earlier: int
    own: int
    key: str


def reuse_windows(earlier: Path, files: Files, store: KeyframeStore, keys: Sequence[str], copy: Copy) -> None:
    """Bring into a store what that in the folder `earlier` has, whole, of the windows of these keys, if there is one.

    `files`: where those of the earlier one have their place. `copy` is given pairs of files: those there, and those
    here that they are to be.
    """
    try:
        old = KeyframeStore.open(earlier, files)
    except OutputError:
        return
    if old.contents.cut != store.contents.cut:
        return
    old.bring_marks(old.contents.layout.cells)
    windows = _windows(old, store, keys)
    for cell in store.contents.layout.cells:
        taken = [window for window in windows if _take(old, store, window, cell, copy)]
        _take_sample(old, store, taken, cell)


def _windows(old: KeyframeStore, store: KeyframeStore, keys: Sequence[str]) -> list[SameWindow]:
    """Windows of both stores; a key leaves open on which days the next window takes over, which the knots tell."""
    cells = old.contents.layout.cells
    known = {old.key(cell, w): w for w in range(len(old.contents.windows)) for cell in cells}
    found = [SameWindow(known[key], own, key) for own, key in enumerate(keys) if key in known]
    return [one for one in found if old.contents.knot_dates(one.earlier) == store.contents.knot_dates(one.own)]


def _take(old: KeyframeStore, store: KeyframeStore, window: SameWindow, cell: Cell, copy: Copy) -> bool:
    """Whether a cell of a window is now in the store; the file that says so comes last."""
    if store.has(cell, window.own, window.key):
        return True
    if not old.has(cell, window.earlier, window.key) or not old.is_whole(cell, window.earlier):
        return False
    for name in old.kept(cell, window.earlier):
        files = old.chunks(name, window.earlier, cell), store.chunks(name, window.own, cell)
        copy(list(zip(*files, strict=True)))
    copy([(old.mark_file(cell, window.earlier), store.mark_file(cell, window.own))])
    return store.has(cell, window.own, window.key)


def _take_sample(old: KeyframeStore, store: KeyframeStore, windows: Sequence[SameWindow], cell: Cell) -> None:
    """Take the few pixels of a cell that are of the scenes of these windows, which have other indices there."""
    before = old.sample(cell)
    if before is None or not windows or len(before[0]) != len(old.contents.scene_days):
        return
    values = np.full((len(store.contents.scene_days), *before[0].shape[1:]), np.nan, np.float32)
    for window in windows:
        values[store.contents.scenes_in(window.own)] = before[0][old.contents.scenes_in(window.earlier)]
    store.write_sample(cell, values, *before[1:])
