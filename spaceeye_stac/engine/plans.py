"""What a run would do and cost, found without reading a pixel: the scenes of each window, bytes, memory and time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, cast

from spaceeye_stac.days import Encoding
from spaceeye_stac.display import Html, card, folded, notes, paragraph, table
from spaceeye_stac.engine.budget import Budget
from spaceeye_stac.engine.costs import Cost, disk_of, memory_of, scratch_of
from spaceeye_stac.engine.jobs import grid_jobs, layout_of
from spaceeye_stac.engine.reads import ASSUMED, HEADER, FileRead, KnownTables, known_tables, no_tables, reads_of
from spaceeye_stac.engine.schedulers import budget_of
from spaceeye_stac.errors import printable
from spaceeye_stac.model import GridJob
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources import SceneList, search

if TYPE_CHECKING:
    from spaceeye_stac.engine.calibration import Speed


UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
MINUTE, HOUR = 60, 3600
MOST_LISTED = 2000  # files of which the requests are listed
Tables = Callable[[GridJob], KnownTables]


@dataclass(frozen=True)
class WindowPlan:
    """First and last day that a window reads and writes, and the scenes and acquisition days it reads."""

    read: tuple[date, date]
    write: tuple[date, date]
    scenes: int
    acquisitions: int


@dataclass(frozen=True)
class GridPlan:
    """What is made on one grid: `shape` is rows and columns, `resolution` in units of the CRS.

    `unseen`: requested days in whose window there is no scene at all; clouds are not known before pixels are read.
    `reads`: what is asked of each file.
    """

    name: str
    crs: str
    shape: tuple[int, int]
    resolution: float
    bands: tuple[str, ...]
    scenes: int
    windows: tuple[WindowPlan, ...]
    unseen: tuple[date, ...]
    cost: Cost
    reads: tuple[FileRead, ...]

    @property
    def read_known(self) -> str:
        """How well it is known what is read, in words."""
        count = sum(read.known == HEADER for read in self.reads)
        assumed = sum(read.known == ASSUMED for read in self.reads)
        if not count:
            return "an estimate from the usual size of tiles: no header was read"
        rest = f", and usual tiles of {assumed}" if assumed else ""
        return f"by the headers of {count} of {len(self.reads)} files{rest}"


@dataclass(frozen=True)
class Plan:
    """What a run would do and cost, grid by grid; prints as a table.

    Memory is the peak of all workers together, disk what is published, scratch what stands beside it until the end.
    """

    days: tuple[date, date]
    grids: tuple[GridPlan, ...]
    warnings: tuple[str, ...]
    workers: int

    @property
    def cost(self) -> Cost:
        """Of all grids together, which are made one after the other."""
        return Cost.together(grid.cost for grid in self.grids)

    @property
    def short(self) -> str:
        """One or two lines."""
        cost, days = self.cost, (self.days[1] - self.days[0]).days + 1
        grids = ", ".join(f"{grid.shape[0]} x {grid.shape[1]} pixels in {grid.crs}" for grid in self.grids)
        scenes = sum(grid.scenes for grid in self.grids)
        return (
            f"{days} days, {grids}, {scenes} scenes\n"
            f"Expected: {_size(cost.disk)} on disk (and {_size(cost.scratch)} until the end), "
            f"{_size(cost.memory)} of memory, {_time(cost.seconds)}"
        )

    def as_json(self) -> Json:
        """Everything as plain JSON: dates as text, sizes in bytes; of each grid what the first 2000 files are asked."""
        found = cast("Json", _plain(asdict(self)))
        for grid, plain in zip(self.grids, found["grids"], strict=True):
            reads = plain.pop("reads")
            plain["read_known"], plain["requests"] = grid.read_known, reads[:MOST_LISTED]
            plain["requests_left_out"] = max(0, len(reads) - MOST_LISTED)
        return found | {"cost": asdict(self.cost)}

    def __str__(self) -> str:
        lines = [line for grid in self.grids for line in (*_lines(grid), "")]
        if len(self.grids) > 1:
            lines += ["all grids", *_costs(self.cost), ""]
        lines[-1:] = [f"Time is of {self.workers} at once, without the network's; no pixel was read."]
        return "\n".join([*lines, *(f"Warning: {printable(text)}" for text in self.warnings)])

    def __repr__(self) -> str:
        first, last = self.days
        scenes, cost = sum(grid.scenes for grid in self.grids), self.cost
        said = f"{first} to {last}, {scenes} scenes, {_size(cost.disk)} on disk, {_time(cost.seconds)}"
        return f"Plan({said}{f', {len(self.warnings)} warnings' if self.warnings else ''})"

    def _repr_html_(self) -> str:
        head = ("grid", "pixels", "bands", "scenes", "windows", "reads", "memory", "disk", "scratch", "time")
        rows = [_html_row(grid) for grid in self.grids]
        windows = (folded(f"windows of {grid.name}", _html_windows(grid)) for grid in self.grids)
        first, last = self.days
        work = f"Time is of {self.workers} at once, without the network's; no pixel was read."
        title = f"Plan, {first} to {last}"
        return card(title, table(head, rows, range(2, len(head))), notes(self.warnings), *windows, paragraph(work))


def plan(
    query: Query,
    settings: Settings | None = None,
    *,
    resources: Resources | None = None,
    output: Output | None = None,
) -> Plan:
    """Say what `run` would do and cost with the same arguments, before any pixel is read.

    Searches the catalog, reads the headers of a few files where that is possible, and measures this machine for about a
    second a grid.

    Parameters
    ----------
    query, settings
        What to look for, and how to compute.
    resources, output
        What may be used, and how the days are written: memory, time and disk follow from these.

    Returns the Plan, which prints as a table. Raises what `run` raises before it reads: CatalogError, ItemError,
    NoScenesError, and InvalidInputError where the memory is too little for one cell.

    """
    settings, resources, output = settings or Settings(), resources or Resources(), output or Output()
    budget = budget_of(resources)
    return plan_of_scenes(search(query, settings), query, settings, output, budget, tables=known_tables)


def plan_of_scenes(
    scenes: SceneList, query: Query, settings: Settings, output: Output, budget: Budget, *, tables: Tables = no_tables
) -> Plan:
    """Plan a run with the scenes that its search found, within a budget; `tables`: how headers are read, if at all."""
    jobs = grid_jobs(scenes, query, settings)
    memory = [memory_of(job, budget, output) for job in jobs]  # first: it refuses what is too little
    reads = [tuple(reads_of(job, layout_of(job), tables(job))) for job in jobs]
    grids = tuple(_grid(*one, output, budget.at_once) for one in zip(jobs, memory, reads, strict=True))
    found = [*scenes.left_out, *scenes.doubts, *(text for job in jobs for text in _gaps(job)), *_holes(grids)]
    return Plan((query.days.start, query.days.stop), grids, tuple(found), budget.at_once)


def _grid(job: GridJob, memory: int, reads: tuple[FileRead, ...], output: Output, count: int) -> GridPlan:
    unseen = tuple(
        job.days.day(day)
        for window in job.windows
        if not any(seen in window.read for seen in job.acquisition_days)
        for day in window.write
    )
    return GridPlan(
        name=job.grid.name,
        crs=f"EPSG:{job.grid.epsg}",
        shape=job.grid.shape,
        resolution=abs(float(job.grid.geobox.resolution.x)),
        bands=job.bands,
        scenes=len(job.scenes),
        windows=tuple(_windows(job)),
        unseen=unseen,
        cost=_cost(job, len(job.days) - len(unseen), (sum(read.bytes for read in reads), memory), output, count),
        reads=reads,
    )


def _windows(job: GridJob) -> Iterator[WindowPlan]:
    for window in job.windows:
        inside = [found for found in job.acquisitions if job.days.index(found.day) in window.read]
        read, write = ((job.days.day(days.start), job.days.day(days.stop - 1)) for days in (window.read, window.write))
        yield WindowPlan(read, write, sum(len(found.scenes) for found in inside), len(inside))


def _cost(job: GridJob, days: int, taken: tuple[int, int], output: Output, count: int) -> Cost:
    """All that a job costs; `taken`: bytes that it reads, and its memory."""
    from spaceeye_stac.engine.calibration import measured_speed  # noqa: PLC0415 - torch, which the errors above need not wait for

    speed: Speed = measured_speed(job, Encoding.of(output))
    disk, files = disk_of(job, days, output, speed.squeezed)
    scratch = scratch_of(job)
    if output.keep_keyframes:
        disk, scratch = disk + scratch, 0
    seconds = round(speed.seconds(job, days, count), 1)
    return Cost(*taken, disk, scratch, files, seconds)


def _gaps(job: GridJob) -> Iterator[str]:
    """Sentences on acquisitions that are farther apart than a window is long."""
    length = max(len(window.read) for window in job.windows)
    where = "" if job.grid.tile is None else f" of tile {job.grid.tile}"
    for before, after in pairwise(found.day for found in job.acquisitions):
        if (after - before).days > length:
            yield (
                f"No scene{where} between {before} and {after}: {(after - before).days} days, and a window has "
                f"{length}; give a longer duration."
            )


def _holes(grids: Sequence[GridPlan]) -> Iterator[str]:
    for grid in grids:
        if grid.unseen:
            yield f"{len(grid.unseen)} days of grid {grid.name} have no scene in their window: {_ranges(grid.unseen)}."


def _ranges(days: Sequence[date]) -> str:
    """Days as text, consecutive ones as their first and last."""
    runs = [[day for _, day in run] for _, run in groupby(enumerate(days), lambda at: at[1].toordinal() - at[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _lines(grid: GridPlan) -> Iterator[str]:
    yield (
        f"{grid.name}: {grid.shape[0]} x {grid.shape[1]} pixels of {grid.resolution:g} in {grid.crs}, "
        f"{len(grid.bands)} bands, {grid.scenes} scenes"
    )
    yield f"  {'window reads':24}  {'writes':24}  {'scenes':>6}  {'days with scenes':>16}"
    for window in grid.windows:
        read, write = (f"{first} to {last}" for first, last in (window.read, window.write))
        yield f"  {read:24}  {write:24}  {window.scenes:>6}  {window.acquisitions:>16}"
    yield f"  days without any scene in their window: {_ranges(grid.unseen) or 'none'}"
    yield from _costs(grid.cost)
    yield f"  what is read: {grid.read_known}"


def _costs(cost: Cost) -> Iterator[str]:
    yield f"  read {_size(cost.read)}, memory {_size(cost.memory)}, time {_time(cost.seconds)}"
    yield f"  disk {_size(cost.disk)} in {cost.files:,} files, and {_size(cost.scratch)} of keyframes until the end"


def _html_row(grid: GridPlan) -> tuple[object, ...]:
    cost, (rows, columns) = grid.cost, grid.shape
    sizes = map(_size, (cost.read, cost.memory, cost.disk, cost.scratch))
    pixels = f"{rows} x {columns} of {grid.resolution:g} in {grid.crs}"
    return grid.name, pixels, len(grid.bands), grid.scenes, len(grid.windows), *sizes, _time(cost.seconds)


def _html_windows(grid: GridPlan) -> Html:
    head = ("reads", "writes", "scenes", "days with scenes")
    rows = [(*(f"{a} to {b}" for a, b in (w.read, w.write)), w.scenes, w.acquisitions) for w in grid.windows]
    return table(head, rows, numbers=(2, 3))


def _size(count: int) -> str:
    return next((f"{count / size:.2g} {unit}" if count / size < 10 else f"{count / size:.0f} {unit}"  # noqa: PLR2004
                 for size, unit in UNITS if count >= size), f"{count} B")  # fmt: skip


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    if seconds < 2 * MINUTE:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"about {seconds / HOUR:.1f} h"


def _plain(value: object) -> object:
    """Dates to text, tuples to lists."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value
