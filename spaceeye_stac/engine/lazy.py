"""The days of a job as a lazy cube: dask reads and solves a cell when something of it is computed."""

import warnings
from typing import TYPE_CHECKING

from dask.delayed import delayed

from spaceeye_stac.days import clipped, solved_days
from spaceeye_stac.engine.cell import CellSolve, stretches
from spaceeye_stac.engine.jobs import layout_of, retention_of
from spaceeye_stac.errors import SourceWarning
from spaceeye_stac.keyframes import CellLayout, WindowKeyframes
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import Cell, GridJob, Illuminance
from spaceeye_stac.pixels import MemoryPixels, PixelSource, ScenePixels, read_part, survey

if TYPE_CHECKING:
    import xarray as xr


def lazy_days(job: GridJob, source: PixelSource | None = None) -> "xr.Dataset":
    """Every day of a job, over cells that are solved when they are first needed; see `interpolate`.

    `source`: the pixels of the job's scenes on the whole grid, where they are at hand and not in files.
    """
    layout = layout_of(job)
    if source is None:
        read = [delayed(read_part)(job, job.grid.part(cell.view)) for cell in layout.cells]
        illuminance = delayed(_surveyed)(job, layout, read[0] if len(layout.cells) == 1 else None)
    else:
        held = delayed(source, pure=False, traverse=False)  # what of it is on dask is computed where it is needed
        read = [held.pixels(range(len(job.scenes)), cell.view) for cell in layout.cells]
        illuminance = delayed(survey)(job, held)
    solved = [
        delayed(solved_windows, nout=len(job.windows))(job, illuminance, cell, part)
        for part, cell in zip(read, layout.cells, strict=True)
    ]
    return clipped(solved_days(job, layout, retention_of(job.settings), illuminance, solved), job.grid)


def _surveyed(job: GridJob, layout: CellLayout, whole: ScenePixels | None) -> Illuminance:
    return survey(job, None if whole is None else MemoryPixels(whole, layout.cells[0].view))


def solved_windows(job: GridJob, illuminance: Illuminance, cell: Cell, read: ScenePixels) -> list[WindowKeyframes]:
    """Every window of one cell from what was read of its view; doubts of files are SourceWarnings."""
    for doubt in (doubt for doubts in read.doubts for doubt in doubts):
        warnings.warn(doubt, SourceWarning, stacklevel=2)
    source = MemoryPixels(read, cell.view)
    with one_torch_thread():
        return [
            part
            for stretch in stretches(job, illuminance)
            for part in CellSolve(source, illuminance, job, cell, stretch).whole()
        ]
