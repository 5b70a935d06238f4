"""Phase 1: groups of cells to keyframes in the store, from pixels that are read once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import TILES
from spaceeye_stac.engine.budget import Batching
from spaceeye_stac.engine.cell import CellSolve, Stretch, stretches
from spaceeye_stac.engine.memory import keep_few_heaps
from spaceeye_stac.keyframes import LOCAL_FILES, CellWriter, Files, KeyframeStore, views_of
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import Block, Cell, GridJob, Illuminance, Scene
from spaceeye_stac.pixels import (
    CachedPixels,
    NetworkUse,
    OnRead,
    Sample,
    ScenePixels,
    StreamedPixels,
    cache_place,
    sampled,
    use_network,
)

logger = logging.getLogger(__name__)
SAMPLE_ARRAYS = 3  # of those that are kept of a cell; what follows are sentences


@dataclass(frozen=True)
class SolveTask:
    """Solve groups of cells, window after window, so that memory does not grow with the time range.

    `folder`: of the run, in which `store` is; `files`: where its files have their place. `keys` stand for what each
    window is made from; a cell that has it already is left alone. `how`: whether the pixels of a group are kept in
    memory, or read anew for every strip of a cell that memory is too small for. `whole`: all pixels, where they are in
    memory already. `use`: what each process may use of the network.
    """

    job: GridJob
    illuminance: Illuminance
    folder: Path
    store: Path
    keys: tuple[str, ...]
    how: Batching
    whole: CachedPixels | None = None
    use: NetworkUse = field(default_factory=NetworkUse)
    files: Files = LOCAL_FILES

    def __call__(self, index: tuple[tuple[int, int], ...]) -> None:
        """Solve the cells of these indices."""
        keep_few_heaps()
        use_network(self.use)
        store = KeyframeStore.open(self.store, self.files)
        todo = self.cells_left(store, index)
        cells = [store.contents.layout.cell(*place) for place in todo]
        if not cells:
            return
        samples = _Samples(self.job)
        source = self._source(cells, samples.add)
        with one_torch_thread():
            for stretch in stretches(self.job, self.illuminance):
                for cell in cells:
                    left = _only(stretch, todo[cell.index])
                    if left.windows:
                        self._solve((store, source, samples), cell, left)

    def moved(self, folder: Path, files: Files) -> "SolveTask":
        """The same in a folder that is an image of the run's, where what is read is kept if it cannot be elsewhere."""
        use = self.use
        if use.cache is not None and not use.cache.folder.is_dir():
            use = replace(use, cache=cache_place(folder / TILES, use.cache.most))
        return replace(self, folder=folder, store=folder / self.store.relative_to(self.folder), use=use, files=files)

    def cells_left(self, store: KeyframeStore, index: Sequence[tuple[int, int]]) -> dict[tuple[int, int], set[int]]:
        """Of the cells of these indices those that have windows to solve, and which."""
        cells = [store.contents.layout.cell(*place) for place in index]
        store.bring_marks(cells)
        wanted = {w: key for w, key in enumerate(self.keys) if key}
        todo = {c.index: {w for w, key in wanted.items() if not store.has(c, w, key)} for c in cells}
        return {place: windows for place, windows in todo.items() if windows}

    def _source(self, cells: Sequence[Cell], on_read: OnRead) -> CachedPixels | StreamedPixels:
        if self.whole is not None:
            self.whole.set_on_read(on_read)
            return self.whole
        return (
            CachedPixels(self.job, views_of(cells), on_read) if self.how.cached else StreamedPixels(self.job, on_read)
        )

    def _solve(
        self, at: "tuple[KeyframeStore, CachedPixels | StreamedPixels, _Samples]", cell: Cell, stretch: Stretch
    ) -> None:
        store, source, samples = at
        if self.whole is None:
            source.hold(stretch.scenes)
        solve = CellSolve(source, self.illuminance, self.job, cell, stretch, self.how.rows)
        writers = [CellWriter(store, cell, w) for w in stretch.windows]
        for strips in solve:
            for writer, strip in zip(writers, strips, strict=True):
                writer.add(strip)
        # before a mark says that a window is done: a run that dies in between takes them again
        samples.write(store, cell)
        for w, writer, facts in zip(stretch.windows, writers, solve.facts(), strict=True):
            writer.finish(facts, self.keys[w])
        logger.debug("cell %s: windows %s solved", cell.index, stretch.windows)


def _only(stretch: Stretch, windows: set[int]) -> Stretch:
    return replace(stretch, windows=tuple(w for w in stretch.windows if w in windows))


class _Samples:
    """A few pixels of every scene that was read, for each cell, NaN where one was not read; and doubts of its files."""

    def __init__(self, job: GridJob) -> None:
        self._job = job
        self._parts: dict[int, dict[int, Sample]] = {}
        self._doubts: dict[str, None] = {}

    def add(self, scene: int, pixels: ScenePixels, block: Block) -> None:
        """Take some of a block's pixels of a scene, once."""
        self._doubts |= dict.fromkeys(doubt for doubts in pixels.doubts for doubt in doubts)
        parts = self._parts.setdefault(scene, {})
        if block.y.start not in parts:
            parts[block.y.start] = sampled(pixels, [self._job.scenes[scene]], self._job, self._job.grid.part(block))

    def write(self, store: KeyframeStore, cell: Cell) -> None:
        """Put those of a cell into the store, beside what an earlier call found."""
        found = {n: _stacked([part.inside(cell.core) for part in p.values()]) for n, p in self._parts.items()}
        if not found:
            return
        one = next(iter(found.values()))
        values = np.full((len(self._job.scenes), *one.values.shape[1:]), np.nan, np.float32)
        before = store.sample(cell)
        if before is not None and before[0].shape == values.shape:
            values[:] = before[0]
        for n, sample in found.items():
            values[n] = sample.values[0]
        doubts = dict.fromkeys([] if before is None else doubts_in(before)) | self._doubts
        store.write_sample(cell, values, one.rows, one.columns, np.array(list(doubts), np.str_))


def doubts_in(arrays: Sequence[NDArray[Any]]) -> list[str]:
    """Sentences on the files of a cell, among the arrays that are kept of it."""
    return [str(doubt) for array in arrays[SAMPLE_ARRAYS:] for doubt in array]


def doubts_of(scenes: Sequence[Scene], kept: Sequence[Sequence[NDArray[Any]]]) -> dict[str, tuple[str]]:
    """Sentences on the files of these scenes, from what is kept of all cells, each with the id of its scene."""
    found = dict.fromkeys(doubt for arrays in kept for doubt in doubts_in(arrays))
    ids = {f"Scene {scene.id}:": scene.id for scene in scenes}
    return {doubt: (ids[start],) for doubt in found if (start := doubt.partition(": ")[0] + ":") in ids}


def _stacked(parts: Sequence[Sample]) -> Sample:
    """Of several blocks above each other."""
    return Sample(
        np.concatenate([part.values for part in parts], axis=-1),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
    )
