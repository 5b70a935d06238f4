"""Phase 1: groups of cells, each read once, to keyframes in the store."""

from dataclasses import dataclass
from pathlib import Path

from spaceeye_stac import stack
from spaceeye_stac.fill import fill, sampled
from spaceeye_stac.keyframes import KeyframeStore
from spaceeye_stac.layout import seen_by
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import Cell, Illuminance, Job, WindowKeyframes
from spaceeye_stac.reading import read_part


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
        job, view = self.job, seen_by(cells)
        read = self.given or read_part(job, job.grid.part(view))
        halo = (read.labels.shape[1] - view.shape[0]) // 2
        with one_torch_thread():
            for cell in cells:
                rows, columns = cell.view.within(view)
                values = read.values[..., rows, columns]
                labels = read.labels[:, rows.start : rows.stop + 2 * halo, columns.start : columns.stop + 2 * halo]
                few = sampled(values, labels, job, job.grid.part(cell.view)).inside(cell.core)
                store.write_sample(cell, few.values, few.rows, few.columns)
                wanted = todo[cell.index]
                parts = fill(values, labels, self.light, job, cell, [job.windows[w] for w in wanted])
                for w, part in zip(wanted, parts, strict=True):
                    store.write(cell, part, self.keys[w])


def solved_windows(job: Job, light: Illuminance, cell: Cell, read: stack.Stacked) -> list[WindowKeyframes]:
    """Every window of one cell from what was read of its view."""
    return list(fill(read.values, read.labels, light, job, cell, job.windows))
