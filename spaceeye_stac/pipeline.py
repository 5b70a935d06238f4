"""Straight-line composition of the stages: search, survey, solve, write, publish."""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pystac

from spaceeye_stac import budget, inheritance, items, static, virtual
from spaceeye_stac.catalog import search
from spaceeye_stac.cog import Encoding, display_bands
from spaceeye_stac.daily import DayGroup, day_groups
from spaceeye_stac.encoder import encoders
from spaceeye_stac.errors import DamagedCellError, InvalidInputError, NoClearLookError, OutputError
from spaceeye_stac.fill import Source
from spaceeye_stac.fingerprint import day_key, window_keys
from spaceeye_stac.jobs import kept_of, layout_of, plan_jobs
from spaceeye_stac.keyframes import Contents, KeyframeStore, contents_of
from spaceeye_stac.layout import Layout, seen_by
from spaceeye_stac.model import Illuminance, Job, Pixels, Scene
from spaceeye_stac.offset_check import Sample, offset_warnings
from spaceeye_stac.output import Output
from spaceeye_stac.planner import Plan, planned
from spaceeye_stac.progress import Progress, silent
from spaceeye_stac.query import Json, Query, Settings
from spaceeye_stac.reading import Given, Held, Passing, read_part, survey
from spaceeye_stac.record import Record
from spaceeye_stac.resources import Resources, give_back, keep_few_heaps
from spaceeye_stac.schedule import Workers, workers
from spaceeye_stac.solving import SolveTask, solved_windows
from spaceeye_stac.writing import WriteTask, finished

if TYPE_CHECKING:
    import xarray as xr

SCRATCH = ".keyframes"
WORTH_PIXELS = 2**19  # of a grid, to start processes that encode it

Announce = Callable[[Plan], None]
EachDay = Callable[[Path, Json, Json], None]
Holdout = Callable[[Sequence[Scene], Query, Settings], Json]


@dataclass(frozen=True)
class Result:
    """What a run published: the collection, where it is, and the days that hold nothing and were not published.

    `kept`: days that were there already, from an interrupted or an earlier run, and still hold. `warnings`: sentences
    on scenes whose pixels contradict each other; they stand in the collection, too. With `tiling`, `days` are those
    that some tile holds, and `skipped` and `kept` say tile and day.
    """

    collection: pystac.Collection
    path: Path
    days: tuple[str, ...]
    skipped: tuple[str, ...]
    kept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def interpolate(scenes: Sequence[Scene], query: Query, settings: Settings | None = None) -> "xr.Dataset":
    """Every requested day as a lazy cube; nothing is read before something is computed.

    Returns a Dataset on dask with `reflectance` `(time, band, y, x)` float32 (NaN = nodata) and `clear_distance`
    `(time, y, x)` uint8 (days to the nearest clear look, 255 = none), one step a day, and its CRS in `spatial_ref`.
    Raises InvalidInputError and NoScenesError here, ReadError and NoClearLookError when it is computed.
    """
    from dask.delayed import delayed  # noqa: PLC0415 - the lazy cube is its only user

    from spaceeye_stac.cube import clipped, solved_days  # noqa: PLC0415

    job = _only(plan_jobs(_checked(scenes), query, settings or Settings()))
    layout = layout_of(job)
    read = [delayed(read_part)(job, job.grid.part(cell.view)) for cell in layout.cells]
    light = delayed(_surveyed)(job, layout, read[0] if len(layout.cells) == 1 else None)
    solved = [
        delayed(solved_windows, nout=len(job.windows))(job, light, cell, part)
        for part, cell in zip(read, layout.cells, strict=True)
    ]
    whole = solved_days(job, layout, kept_of(job.settings), light, solved)
    return clipped(whole, job.grid)


def _surveyed(job: Job, layout: Layout, whole: Pixels | None) -> Illuminance:
    return survey(job, None if whole is None else Given(whole, layout.cells[0].view))


def _only(jobs: Sequence[Job]) -> Job:
    """Return the job of a run on one grid, which is what fits one Dataset."""
    if len(jobs) > 1:
        names = ", ".join(job.grid.name for job in jobs)
        raise InvalidInputError(
            f"tiling 'mgrs' gives grids {names}, and interpolate gives one Dataset; name one of them with tiles."
        )
    return jobs[0]


def _checked(scenes: Sequence[Scene]) -> Sequence[Scene]:
    names = {tuple(scene.bands) for scene in scenes}
    if len(names) != 1:
        raise InvalidInputError("scenes must be at least one and have the same bands; use what search returned.")
    return scenes


def run(
    query: Query,
    settings: Settings | None = None,
    *,
    out: str | Path,
    overwrite: bool = False,
    update: bool = False,
    output: Output | None = None,
    resources: Resources | None = None,
    progress: Progress = silent,
    holdout: Holdout | None = None,
    each_day: EachDay | None = None,
    announce: Announce | None = None,
) -> Result:
    """Do everything: search, solve, and publish one item a day as a static collection in the folder `out`.

    A run that was interrupted goes on where it was when it is called again: what is finished is known by what it was
    made from. `update` does the same with a finished run in `out`: new or changed scenes, or more days, redo only what
    they touch; `overwrite` starts anew. `resources` and `output` change no value. `progress` is called with a stage's
    name, the steps done and their number. `holdout` scores the method on hidden pixels of the scenes; what it returns
    stands in the collection as `spaceeye:holdout`. `each_day` is called soon after a day is finished, with the folder
    its files are in, the collection as far as it is known, and its item. `announce` is called with the plan of the
    whole run before any pixel is read. Nothing appears in `out` before the run is
    complete. Raises SpaceEyeError's children, each with the value and the remedy.
    """
    settings, output = settings or Settings(), output or Output()
    if overwrite and update:
        raise InvalidInputError("overwrite and update exclude each other; give one.")
    if output.days == "virtual" and kept_of(settings).every_day:
        raise InvalidInputError(
            f"days 'virtual' needs a method that is linear between acquisitions, and {settings.method_name!r} keeps "
            "every day; choose another method, or days 'files'."
        )
    keep_few_heaps()
    place, resources = Path(out), resources or Resources()
    with static.staging(place, overwrite=overwrite, update=update) as folder, workers(resources) as crew:
        if (folder / static.KEYFRAMES).exists():  # a run died just before its end
            (folder / static.KEYFRAMES).rename(folder / SCRATCH)
        record = _recorded(Record.of(query, settings, output), folder, place if update else None)
        scenes = search(query, settings)
        fits = budget.Budget(resources.memory_bytes, crew.count, crew.programs)
        if announce is not None:
            announce(planned(scenes, query, settings, output, fits))
        scored = holdout(scenes, query, settings) if holdout else None
        works = [Work(job, folder, place, record, output, fits, each_day) for job in plan_jobs(scenes, query, settings)]
        return _publish([_filled(work, crew, progress, update=update) for work in works], scored)


def _recorded(asked: Record, folder: Path, earlier: Path | None) -> Record:
    """Return the record of the run that is gone on with, or this one's; OutputError where they ask for other things."""
    before = Record.read(folder)
    changed = before.changes(asked) if before else []
    if changed:
        raise OutputError(
            f"An unfinished run in {folder} was asked for another {', '.join(changed)}; "
            "ask for the same to go on with it, or overwrite it."
        )
    old = Record.read(earlier) if earlier else None
    changed = [name for name in old.changes(asked) if name != "datetime"] if old else []
    if changed:
        raise OutputError(f"The run in {earlier} was asked for another {', '.join(changed)}; overwrite it instead.")
    record = before or asked
    record.write(folder)
    return record


@dataclass(frozen=True)
class Work:
    """A run at work: what is made, in which folder, where it will stand, and how."""

    job: Job
    folder: Path
    out: Path
    record: Record
    output: Output
    budget: "budget.Budget"
    each_day: EachDay | None = None

    @property
    def encoding(self) -> Encoding:
        """How rasters are compressed."""
        return Encoding(self.output.compress.upper(), self.output.compression_level)

    @property
    def store(self) -> Path:
        """Folder of the keyframes."""
        return self.folder / SCRATCH / self.job.grid.name

    def place(self, day: int) -> Path:
        """Folder of a day."""
        return self.folder / items.item_id(self.job, self.job.days.day(day))


@dataclass(frozen=True)
class Filled:
    """Days of a grid by index, those that were there already and those that hold nothing; and what looks wrong."""

    work: Work
    kept: tuple[int, ...]
    empty: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    @property
    def full(self) -> list[int]:
        """Days that hold something."""
        return [day for day in range(len(self.work.job.days)) if day not in self.empty]

    def named(self, days: Sequence[int]) -> list[str]:
        """Some days as dates, after the tile where there is one."""
        job = self.work.job
        dates = [job.days.day(day).isoformat() for day in sorted(days)]
        return dates if job.grid.tile is None else [f"{job.grid.tile} {day}" for day in dates]


def _filled(work: Work, crew: Workers, progress: Progress, *, update: bool) -> Filled:
    """Fill the folder with a grid's days; a tile that is never clear is one of several and has none."""
    tile = work.job.grid.tile
    try:
        with _encoders(work, crew):
            return _fill_folder(work, crew, _named(progress, tile), update=update)
    except NoClearLookError:
        if tile is None:
            raise
        return Filled(work, (), tuple(range(len(work.job.days))))


def _encoders(work: Work, crew: Workers) -> AbstractContextManager[None]:
    """Processes that encode, each started when it is first needed: where threads would wait, and it is worth it."""
    height, width = work.job.grid.shape
    _, writers = work.budget.days_together(work.job)
    return encoders(writers) if crew.shares_lock and height * width > WORTH_PIXELS else nullcontext()


def _named(progress: Progress, tile: str | None) -> Progress:
    """Progress under the name of the tile, where there is one."""
    return progress if tile is None else lambda stage, done, total: progress(f"{tile} {stage}", done, total)


def _fill_folder(work: Work, crew: Workers, progress: Progress, *, update: bool) -> Filled:
    """Both phases: every cell to keyframes, then every day to files, leaving alone what is there."""
    job, layout = work.job, layout_of(work.job)
    how = work.budget.solving(job, layout)
    whole = Held(job, layout.cells[0].view) if work.budget.holds_all(job, layout) else None
    light = survey(job, _whole_source(job, layout, whole))
    give_back()
    contents = contents_of(job, light, layout, kept_of(job.settings))
    windows_from = window_keys(job, light, (layout.size, layout.halo, layout.margin, layout.anchor))
    keys = _day_keys(work, contents, windows_from)
    if update:
        _take_over(work, keys)
    kept = tuple(day for day, key in keys.items() if finished(work.place(day), key))
    groups = [group for group in day_groups(contents) if not set(group.days) <= set(kept)]
    # a store that is kept is whole, whatever days are there already
    needed = set(range(len(job.windows))) if work.output.keep_keyframes else {group.window for group in groups}
    store = KeyframeStore.create(work.store, contents)
    wanted = tuple(key if w in needed else "" for w, key in enumerate(windows_from))
    if update:
        inheritance.take_over(work.out / static.KEYFRAMES / job.grid.name, store, wanted, _link)
    solving = SolveTask(job, light, store.path, wanted, how, whole)
    empty, samples = _solved_and_written(work, crew, solving, _Days(groups, windows_from, keys), progress)
    return Filled(work, kept, empty, offset_warnings(job.scenes, samples) if samples else ())


@dataclass(frozen=True)
class _Days:
    """Days that are to be written, and what windows and days are made from."""

    groups: Sequence[DayGroup]
    windows_from: Sequence[str]
    keys: Mapping[int, str]


def _solved_and_written(
    work: Work, crew: Workers, solving: SolveTask, days: _Days, progress: Progress
) -> tuple[tuple[int, ...], list[Sample]]:
    """Do both phases; a cell that cannot be read back while days are written is solved again, once.

    Returns the days that hold nothing, and a few pixels of every scene.
    """
    store, again = KeyframeStore.open(solving.store), set[tuple[int, int]]()
    told = progress if work.each_day is None else _telling(work, work.each_day, days.keys, progress)
    while True:
        _solve(crew, solving, store.contents.layout, progress)
        try:
            knots = _write_knots(work, crew, days.groups, (store, days.windows_from), progress)
            empty = _write(work, crew, days.groups, _Making(store.path, days.keys, knots), told)
            return empty, [Sample(*arrays) for arrays in store.samples()]
        except DamagedCellError as error:
            if error.cell in again:
                raise
            again.add(error.cell)
            store.forget(error.cell)


def _day_keys(work: Work, contents: Contents, windows_from: Sequence[str]) -> dict[int, str]:
    """What each day is made from: its window, and the knots around it, which move where the range grows."""
    job, keys = work.job, dict[int, str]()
    for group in day_groups(contents):
        knots, key = contents.knot_dates(group.window)[group.knot : group.knot + 2], windows_from[group.window]
        for date in map(job.days.day, group.days):
            how = job.settings.collection_id, work.encoding, work.output.days
            keys[job.days.index(date)] = day_key(key, date, *how, *(knots[:1] if date == knots[0] else knots))
    return keys


def _take_over(work: Work, keys: Mapping[int, str]) -> None:
    """Link the days of the earlier run that still hold into the work folder."""
    for day, key in keys.items():
        place = work.place(day)
        if finished(work.out / place.name, key) and not finished(place, key):
            shutil.rmtree(place, ignore_errors=True)
            virtual.take_over(work.out / place.name, work.folder, _link)
            shutil.copytree(work.out / place.name, place, copy_function=_link)


def _link(source: str, target: str) -> None:
    """Another name for the same file; documents are copied, since they are written again."""
    if source.endswith(".json"):
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _whole_source(job: Job, layout: Layout, held: Held | None) -> Source | None:
    """Where the pixels of a region of one cell are surveyed; None for a larger one."""
    if len(layout.cells) > 1:
        return None
    return held or Passing(job)


def _solve(crew: Workers, task: SolveTask, layout: Layout, progress: Progress) -> None:
    # the largest first, so that all workers end together
    squares = sorted(layout.groups(task.how.side), key=lambda cells: -math.prod(seen_by(cells).shape))
    groups = [tuple(cell.index for cell in cells) for cells in squares]
    if task.whole is not None:
        task(groups[0])
        progress("solving", 1, 1)
        return
    crew.map(task, groups if any(task.keys) else [], "solving", progress, most=task.how.at_work)
    give_back()


@dataclass(frozen=True)
class _Making:
    """What days are written from: the folder of the keyframes, what each day is made from, and COGs of the knots."""

    store: Path
    keys: Mapping[int, str]
    knots: virtual.Knots | None


def _write_knots(
    work: Work,
    crew: Workers,
    groups: Sequence[DayGroup],
    solved: tuple[KeyframeStore, Sequence[str]],
    progress: Progress,
) -> virtual.Knots | None:
    """Write the COGs that virtual days read; None where days are files."""
    if work.output.days != "virtual":
        return None
    store, windows_from = solved
    knots = virtual.Knots(work.folder, tuple(windows_from), work.encoding)
    _, crew_size = work.budget.days_together(work.job)
    task = virtual.KnotTask(work.job, store.path, knots)
    crew.map(task, virtual.knots_of(store.contents, groups), "writing keyframes", progress, most=crew_size)
    return knots


def _write(
    work: Work, crew: Workers, groups: Sequence[DayGroup], making: _Making, progress: Progress
) -> tuple[int, ...]:
    at_once, crew_size = work.budget.days_together(work.job)
    task = WriteTask(
        job=work.job,
        store=making.store,
        folder=work.folder,
        out=work.out.resolve(),
        created=work.record.created,
        keys=making.keys,
        encoding=work.encoding,
        at_once=at_once,
        knots=making.knots,
    )
    # the longest first, so that all workers end together
    longest = sorted(groups, key=lambda group: -len(group.days))
    empty = crew.map(task, longest, "writing days", progress, most=crew_size)
    return tuple(day for days in empty for day in days)


def _telling(work: Work, each_day: EachDay, keys: Mapping[int, str], progress: Progress) -> Progress:
    """Progress that also hands over each day that was finished since it was last called, or was there before."""
    waiting = dict(keys)

    def told(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        for day in [day for day, key in waiting.items() if finished(work.place(day), key)]:
            del waiting[day]
            item = static.read_item(work.place(day))
            known = items.collection([work.job], [item], display_bands(work.job.bands))
            each_day(work.folder, known.to_dict(), item.to_dict(include_self_link=False))

    return told


def _publish(grids: Sequence[Filled], scored: Json | None) -> Result:
    """Link the days' items, describe them together, and leave nothing else in the folder."""
    work = grids[0].work
    folder, out = work.folder, work.out
    documents = [item for grid in grids for item in _items(grid)]
    if not documents:
        raise NoClearLookError("No requested day has a clear look in its window; widen datetime or duration.")
    whole = items.collection([grid.work.job for grid in grids], documents, display_bands(work.job.bands))
    _add_thumbnail(whole, documents, folder)
    warnings = tuple(warning for grid in grids for warning in grid.warnings)
    found = {"spaceeye:holdout": scored, "spaceeye:warnings": list(warnings)}
    whole.extra_fields |= {name: value for name, value in found.items() if value}
    static.write_static(folder, whole, documents)
    if work.output.keep_keyframes:
        (folder / SCRATCH).rename(folder / static.KEYFRAMES)
    static.drop_strangers(folder, {item.id for item in documents})
    virtual.drop_unused(folder, [folder / item.id for item in documents])
    whole.set_self_href(str(out / static.COLLECTION_FILE))
    for item in documents:
        item.set_self_href(str(out / item.id / f"{item.id}.json"))
    days = sorted({grid.work.job.days.day(day).isoformat() for grid in grids for day in grid.full})
    skipped, kept = (tuple(day for grid in grids for day in grid.named(getattr(grid, of))) for of in ("empty", "kept"))
    return Result(whole, out, tuple(days), skipped, kept, warnings)


def _items(grid: Filled) -> list[pystac.Item]:
    """Items of one grid, linked from day to day."""
    found = [static.read_item(grid.work.place(day)) for day in grid.full]
    items.link_in_order(found)
    return found


def _add_thumbnail(collection: pystac.Collection, documents: Sequence[pystac.Item], folder: Path) -> None:
    """Give the collection the thumbnail of the day that was seen best."""
    best = max(documents, key=lambda item: float(item.properties["spaceeye:observed_share"]))
    (folder / static.THUMBNAIL_FILE).write_bytes((folder / best.id / "thumbnail.png").read_bytes())
    asset = pystac.Asset(f"./{static.THUMBNAIL_FILE}", "Thumbnail", media_type="image/png", roles=["thumbnail"])
    collection.add_asset("thumbnail", asset)
