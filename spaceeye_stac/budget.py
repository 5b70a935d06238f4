"""What fits into memory: how many cells are read together, how many days are written together; pure arithmetic."""

from dataclasses import dataclass

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.layout import Layout, seen_by
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import Cell, Job

PROGRAM_BYTES = 440 * 2**20
DN_BYTES, FLOAT_BYTES = 2, 4
LOADING = 1.3  # DN as read, and what is on its way into their array
WORKING = {"damped": 3.9, "guided": 11.0, "reference": 14.0}
OTHER_WORKING = 8.0
MOST_CELLS_A_SIDE = 4
STRIPS = 8  # rows of cells in float32 that are held while a band is written
RASTER_COPIES = 2.5
MOST_DAYS = 8
LARGEST_IN_MEMORY = 96 * 2**20


@dataclass(frozen=True)
class Budget:
    """Bytes for all workers together, and how many workers there are at most."""

    memory: int
    workers: int

    def cells_together(self, job: Job, layout: Layout) -> tuple[int, int]:
        """Side of the squares of cells that are read together, and how many such squares are at work at once.

        Raises InvalidInputError where one cell alone is too much.
        """
        one = group_bytes(job, layout, layout.groups(1)[0])
        free = self.memory - PROGRAM_BYTES
        at_work = min(self.workers, free // one, len(layout.cells))
        if at_work < 1:
            raise InvalidInputError(
                f"memory {self.memory / 1e9:.2g} GB is too little: one cell of {layout.size} pixels with "
                f"{len(job.scenes)} scenes and {len(job.bands)} bands takes {(one + PROGRAM_BYTES) / 1e9:.2g} GB; "
                "give more, or fewer bands."
            )
        side = 1
        while side < MOST_CELLS_A_SIDE and side < max(layout.counts):
            squares = layout.groups(side + 1)
            if len(squares) < at_work or at_work * group_bytes(job, layout, squares[0]) > free:
                break
            side += 1
        return side, int(at_work)

    def days_together(self, job: Job) -> tuple[int, int]:
        """How many days of a group are written together, and how many groups are at work at once."""
        strip = writing_bytes(job, 0)
        day = writing_bytes(job, 1) - strip
        free = self.memory - PROGRAM_BYTES
        at_work = int(max(1, min(self.workers, free // (strip + day))))
        return int(max(1, min(MOST_DAYS, (free / at_work - strip) // day))), at_work


def writing_bytes(job: Job, days: int) -> int:
    """Memory of one worker that writes so many days together."""
    height, width = job.grid.shape
    rasters = (3 * DN_BYTES + 3) * height * width * RASTER_COPIES
    if DN_BYTES * height * width > LARGEST_IN_MEMORY:
        rasters = LARGEST_IN_MEMORY
    return int(STRIPS * FLOAT_BYTES * min(height, 512) * width + days * rasters)


def looks_in(job: Job) -> list[int]:
    """Acquisition days in each window."""
    return [sum(day in window.read for day in job.acquisition_days) for window in job.windows]


def group_bytes(job: Job, layout: Layout, cells: tuple[Cell, ...]) -> int:
    """Memory that reading and solving some cells takes."""
    height, width = seen_by(cells).shape
    read = len(job.scenes) * (len(job.bands) + 1) * DN_BYTES * height * width * LOADING
    method = method_of(job.settings)
    looks = max(looks_in(job))
    if method.every_day:
        looks = max(len(window.read) for window in job.windows)
    side = layout.size + 2 * layout.halo
    pixels = min(side, job.grid.shape[0]) * min(side, job.grid.shape[1])
    factor = WORKING.get(method.name, OTHER_WORKING)
    return int(read + factor * looks * len(job.bands) * FLOAT_BYTES * pixels)
