"""Phase 1: groups of cells, each read once, to keyframes in the store."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spaceeye_stac import stack
from spaceeye_stac.fill import fill
from spaceeye_stac.keyframes import KeyframeStore
from spaceeye_stac.layout import seen_by
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import Cell, Illuminance, Job
from spaceeye_stac.signing import signed


@dataclass(frozen=True)
class SolveTask:
    """Solve groups of cells: every scene of a group's view is read once, then cell by cell, window by window.

    `keys` stand for what each window is made from; a cell that has it already is left alone.
    """

    job: Job
    light: Illuminance
    store: Path
    keys: tuple[str, ...]
    given: stack.Stacked | None = None

    def __call__(self, index: tuple[tuple[int, int], ...]) -> None:
        """Solve the cells of these indices."""
        store = KeyframeStore.open(self.store)
        cells = [store.contents.layout.cell(*place) for place in index]
        todo = {c.index: [w for w, key in enumerate(self.keys) if key and not store.has(c, w, key)] for c in cells}
        cells = [cell for cell in cells if todo[cell.index]]
        if not cells:
            return
        view = seen_by(cells)
        read = self.given or stack.load(
            self.job.scenes,
            self.job.grid.part(view),
            resampling=stack.resampling_of(self.job.scenes, self.job.grid.part(view), self.job.settings.resampling),
            sign=signed,
        )
        with one_torch_thread():
            for cell in cells:
                rows, columns = cell.view.within(view)
                values, labels = read.values[..., rows, columns], read.labels[..., rows, columns]
                for w in todo[cell.index]:
                    part = fill(values, labels, self.light, self.job, cell, self.job.windows[w])
                    store.write(cell, part, self.keys[w])


def solved_windows(job: Job, light: Illuminance, cell: Cell, read: stack.Stacked) -> list[object]:
    """Every window of one cell from what was read of its view."""
    return [fill(read.values, read.labels, light, job, cell, window) for window in job.windows]


def memory_of(job: Job, pixels: int) -> int:
    """Bytes of DN and labels of all scenes on so many pixels."""
    return int(len(job.scenes) * (len(job.bands) + 1) * pixels * np.dtype(np.uint16).itemsize)
