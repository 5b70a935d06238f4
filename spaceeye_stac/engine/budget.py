"""What fits into memory: how cells are read and solved, how many days are written together; pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from spaceeye_stac.days import LARGE_BYTES
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.keyframes import CellLayout, views_of
from spaceeye_stac.methods import Places, cached_rows, method_of
from spaceeye_stac.model import Block, Cell, GridJob, Window
from spaceeye_stac.pixels import (
    AHEAD_BYTES,
    LARGEST_REQUEST,
    READ_THREADS,
    asking_bytes,
    file_bytes,
    files_at_once,
    network_use,
)
from spaceeye_stac.resources import Output

PROGRAM_BYTES = 420 * 2**20
SPARE = 1.05  # what is taken varies by as much
WORKER_BYTES = 50 * 2**20  # of threads that read, and between what is in use
OVERLAP = 0.8  # of what they need at most, all workers but one together: they do not need it at the same moment
WRITER_BYTES = 48 * 2**20  # of a worker that writes, between what is in use
DN_BYTES, FLOAT_BYTES, VERDICT_BYTES = 2, 4, 1
READ_COPIES = 2  # images on their way into the array of what is read
STRIP_ROWS = (128, 64, 32)
MOST_CELLS_A_SIDE = 4
SQUARES_EACH = 2  # at least, for a worker: squares at the borders are smaller, and all should end together
STRIPS = 18  # rows of cells in float32 that stand in memory while bands are written
RASTER_PIXEL_BYTES = 3  # of the largest of the rasters of a day that are open together
DAY_PIXEL_BYTES = 3 * DN_BYTES + RASTER_PIXEL_BYTES
QUALITY_PIXEL_BYTES = 2  # clear_distance and flags
ENCODED_COPIES = 2.4  # of a raster that is encoded
MOST_DAYS = 8


@dataclass(frozen=True)
class Batching:
    """How cells are solved: in squares of `side` cells, `at_work` squares at once, about so many `rows` of a cell.

    `cached`: the pixels of a square are read once and kept in memory; otherwise they are read strip by strip.
    """

    side: int = 1
    at_work: int = 1
    rows: int = STRIP_ROWS[0]
    cached: bool = True


@dataclass(frozen=True)
class Budget:
    """Bytes for workers that share memory, how many these are at most, and in how many processes, with the main one.

    `apart`: how often there are such, each with memory of its own. What is at work is counted in each of them.
    """

    memory: int
    workers: int
    programs: int = 1
    apart: int = 1

    @property
    def at_once(self) -> int:
        """Workers in all."""
        return self.workers * self.apart

    @property
    def reading(self) -> int:
        """Processes that read."""
        return self.apart * max(1, self.programs - 1)

    @property
    def free(self) -> float:
        """Bytes that may be taken beside the programs themselves."""
        return (self.memory - self.taken) / SPARE

    @property
    def taken(self) -> int:
        """Bytes of the programs themselves."""
        return self.programs * PROGRAM_BYTES

    def _free_for(self, job: GridJob) -> float:
        """Bytes that the workers of a job may take, beside what is on its way from stores."""
        return self.free - network_bytes(job)

    def solving(self, job: GridJob, layout: CellLayout) -> Batching:
        """How the cells of a job are solved; InvalidInputError where one alone is too much even strip by strip.

        Pixels are cached where that fits; of the workers there are, rather all with lower strips than fewer.
        """
        rows = STRIP_ROWS if method_of(job.settings).strips else STRIP_ROWS[:1]
        cells, most, free = layout.groups(1)[0], min(self.workers, len(layout.cells)), self._free_for(job)
        for cached in (True, False):
            each = {r: solving_bytes(job, layout, cells, Batching(rows=r, cached=cached)) for r in rows}
            for at_work, r in product(range(most, 0, -1), rows):
                if together([each[r]] * at_work) <= free:
                    one = Batching(at_work=at_work, rows=r, cached=cached)
                    return replace(one, side=self._side(job, layout, one)) if cached else one
        raise InvalidInputError(
            f"memory {self.memory / 1e9:.2g} GB is too little: {_least(job, rows)} of {layout.size} pixels "
            f"with {len(job.scenes)} scenes and {len(job.bands)} bands takes "
            f"{(self.taken + SPARE * (each[rows[-1]] + network_bytes(job))) / 1e9:.2g} GB; "
            f"give more, or fewer bands{'' if self.programs == 1 else ' or workers'}."
        )

    def _side(self, job: GridJob, layout: CellLayout, how: Batching) -> int:
        """Side of the largest squares that leave work for all, and fit."""
        side, free = 1, self._free_for(job)
        while side < MOST_CELLS_A_SIDE and side < max(layout.counts):
            squares = layout.groups(side + 1)
            taken = together([solving_bytes(job, layout, squares[0], how)] * how.at_work)
            if len(squares) < SQUARES_EACH * how.at_work * self.apart or taken > free:
                break
            side += 1
        return side

    def holds_all(self, job: GridJob, layout: CellLayout) -> bool:
        """Whether the pixels of all scenes fit into memory while one cell is solved."""
        view = layout.cells[0].view
        more = len(job.scenes) - max(scenes_in(job))
        taken = solving_bytes(job, layout, layout.cells, Batching()) + _dn_bytes(job, view, more)
        return len(layout.cells) == 1 and taken <= self._free_for(job)

    def days_together(self, job: GridJob, output: Output) -> tuple[int, int]:
        """How many days of a group are written together, and how many groups are at work at once."""
        alone = writing_bytes(job, 0, output)
        day = writing_bytes(job, 1, output) - alone
        at_work = int(max(1, min(self.workers, self.free // (alone + day))))
        return int(max(1, min(MOST_DAYS, (self.free / at_work - alone) // day))), at_work


def _least(job: GridJob, rows: Sequence[int]) -> str:
    return f"{rows[-1]} rows of one cell" if method_of(job.settings).strips else "one cell"


def writing_bytes(job: GridJob, days: int, output: Output) -> int:
    """Memory of one worker that writes so many days together, and encodes one raster after the other."""
    height, width = job.grid.shape
    each = DN_BYTES * (1 + len(job.bands) * (output.uncertainty == "bands"))
    together_bytes = max(DAY_PIXEL_BYTES, QUALITY_PIXEL_BYTES + each)
    day, encoding = ((n * height * width) for n in (together_bytes, ENCODED_COPIES * RASTER_PIXEL_BYTES))
    if DN_BYTES * height * width > LARGE_BYTES:
        day, encoding = LARGE_BYTES, ENCODED_COPIES * LARGE_BYTES
    return int(WRITER_BYTES + encoding + STRIPS * FLOAT_BYTES * min(height, 512) * width + days * day)


def together(each: Sequence[float]) -> int:
    """Memory of workers that need so much at most, the most first."""
    return int(each[0] + OVERLAP * sum(each[1:]))


def looks_in(job: GridJob) -> list[int]:
    """Acquisition days in each window."""
    return [sum(day in window.read for day in job.acquisition_days) for window in job.windows]


def scenes_in(job: GridJob) -> list[int]:
    """Scenes in each window."""
    days = list(zip(job.acquisition_days, job.acquisitions, strict=True))
    return [sum(len(one.scenes) for day, one in days if day in window.read) for window in job.windows]


def solved_together(job: GridJob) -> dict[tuple[int, ...], list[Window]]:
    """Windows by the days that they are solved on: those of the same acquisitions are solved once."""
    every_day = method_of(job.settings).every_day
    found: dict[tuple[int, ...], list[Window]] = {}
    for window in job.windows:
        days = window.read if every_day else [day for day in job.acquisition_days if day in window.read]
        found.setdefault(tuple(days), []).append(window)
    return found


def images_in(job: GridJob) -> int:
    """Knots, times their images, of the windows that are solved together and have the most, as all are kept at once."""
    method = method_of(job.settings)
    knots = [sum(len(w.knots(days)) for w in windows) for days, windows in solved_together(job).items()]
    return max(knots) * (2 if method.shows and job.settings.shows_looks else 1)


def solving_bytes(job: GridJob, layout: CellLayout, cells: tuple[Cell, ...], how: Batching) -> int:
    """Memory that one worker takes to read and solve some cells."""
    method, bands = method_of(job.settings), len(job.bands)
    view = max((cell.view for cell in cells), key=lambda view: math.prod(view.shape))
    looks = max(map(len, solved_together(job)))
    taken = method.memory(job.settings)
    around = layout.halo if taken.around is None else taken.around
    strip = _strip_pixels(view, how.rows, around) if method.strips else math.prod(view.shape)
    values = taken.worked * strip
    if method.learns:
        places = Places.of(view.shape)
        values += taken.learnt * len(places.rows) * len(places.columns)
    kept = images_in(job) * (bands + 1) * FLOAT_BYTES * strip
    read = views_of(cells) if how.cached else Block(slice(0, min(how.rows, view.shape[0])), view.x)
    return int(reading_bytes(job, read) + values * looks * bands * FLOAT_BYTES + kept)


def reading_bytes(job: GridJob, block: Block) -> int:
    """Memory of one worker that reads and holds the pixels of a block in one window."""
    dn = held_bytes(job, block)
    coming: float = min(READ_THREADS * READ_COPIES * DN_BYTES * math.prod(block.shape), dn)
    if is_remote(job):
        files = max(scenes_in(job)) * (len(job.bands) + 1)
        at_once = files_at_once(block.shape, network_use().connections)
        coming = max(coming, min(files, at_once) * file_bytes(block.shape))
    return int(WORKER_BYTES + asking_bytes(job) + dn + coming)


def network_bytes(job: GridJob) -> int:
    """Memory of what is on its way from stores: an answer for each connection, and what is read ahead."""
    files = len(job.scenes) * (len(job.bands) + 1)
    return AHEAD_BYTES + min(files, network_use().connections) * LARGEST_REQUEST if is_remote(job) else 0


def is_remote(job: GridJob) -> bool:
    """Whether bands of a job are in stores."""
    return any("://" in band.href for scene in job.scenes for band in scene.bands.values())


def held_bytes(job: GridJob, block: Block) -> int:
    """Memory of the pixels of a block in one window."""
    return _dn_bytes(job, block, max(scenes_in(job)))


def _dn_bytes(job: GridJob, block: Block, scenes: int) -> int:
    verdict = 0 if job.settings.mask_model is None else VERDICT_BYTES
    return scenes * ((len(job.bands) + 1) * DN_BYTES + verdict) * math.prod(block.shape)


def _strip_pixels(view: Block, rows: int, around: int) -> int:
    """Pixels of the view that are worked on at once, those above and below that are looked at with them."""
    height, width = view.shape
    whole = max(rows, cached_rows(width))
    return min(height, whole + around) * width
