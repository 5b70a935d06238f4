"""One grid of a run: every cell to keyframes, then every day to files."""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from spaceeye_stac.collection import KEYFRAMES, SCRATCH, TILES, collection_of, item_id, read_item
from spaceeye_stac.days import (
    DayGroup,
    Encoding,
    Knots,
    KnotTask,
    day_groups,
    display_bands,
    knot_groups,
    reuse_knot_cogs,
)
from spaceeye_stac.engine.budget import Budget
from spaceeye_stac.engine.drafts import finished
from spaceeye_stac.engine.jobs import layout_of, retention_of
from spaceeye_stac.engine.memory import give_back
from spaceeye_stac.engine.request import RunRequest
from spaceeye_stac.engine.run_files import LOCAL_RUN_FILES, RunFiles, link
from spaceeye_stac.engine.schedulers import Workers
from spaceeye_stac.engine.solving import SAMPLE_ARRAYS, SolveTask, doubts_of
from spaceeye_stac.engine.squares import solve_all
from spaceeye_stac.engine.surveying import surveyed
from spaceeye_stac.engine.writing import WriteTask
from spaceeye_stac.errors import DamagedCellError, NoClearLookError
from spaceeye_stac.keyframes import (
    Contents,
    KeyframeStore,
    contents_of,
    day_key,
    reuse_windows,
    window_keys,
)
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import GridJob, Progress
from spaceeye_stac.pixels import (
    CachedPixels,
    Sample,
    empty_cache,
    network_use,
    offset_warnings,
)
from spaceeye_stac.query import Json
from spaceeye_stac.resources import Output

logger = logging.getLogger(__name__)
EachDay = Callable[[Path, Json, Json], None]


@dataclass(frozen=True)
class GridWork:
    """A run at work: what is made, in which folder, where it will stand, and how."""

    job: GridJob
    folder: Path
    out: Path
    request: RunRequest
    output: Output
    budget: "Budget"
    each_day: EachDay | None = None
    files: RunFiles = LOCAL_RUN_FILES

    @property
    def encoding(self) -> Encoding:
        """How rasters are compressed."""
        return Encoding.of(self.output)

    @property
    def store(self) -> Path:
        """Folder of the keyframes."""
        return self.folder / SCRATCH / self.job.grid.name

    def place(self, day: int) -> Path:
        """Folder of a day."""
        return self.folder / item_id(self.job, self.job.days.day(day))


@dataclass(frozen=True)
class FilledGrid:
    """Days of a grid by index, those that were there already and those that hold nothing; and what looks wrong.

    `warnings`: sentences, each with the ids of the scenes that it is about. `keys`: what each day is made from.
    """

    work: GridWork
    kept: tuple[int, ...]
    empty: tuple[int, ...]
    keys: Mapping[int, str] = field(default_factory=dict)
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def full(self) -> list[int]:
        """Days that hold something."""
        return [day for day in range(len(self.work.job.days)) if day not in self.empty]

    @property
    def nothing(self) -> dict[str, str]:
        """Names of the days that hold nothing, and what they are made from."""
        return {self.work.place(day).name: self.keys[day] for day in self.empty if day in self.keys}

    def named(self, days: Sequence[int]) -> list[str]:
        """Some days as dates, after the tile where there is one."""
        job = self.work.job
        dates = [job.days.day(day).isoformat() for day in sorted(days)]
        return dates if job.grid.tile is None else [f"{job.grid.tile} {day}" for day in dates]


def fill_grid(work: GridWork, workers: Workers, progress: Progress, *, update: bool) -> FilledGrid:
    """Fill the folder with a grid's days; a tile that is never clear is one of several and has none."""
    tile = work.job.grid.tile
    try:
        return _fill_folder(work, workers, _named(progress, tile), update=update)
    except NoClearLookError:
        if tile is None:
            raise
        return FilledGrid(work, (), tuple(range(len(work.job.days))))


def _named(progress: Progress, tile: str | None) -> Progress:
    """Progress under the name of the tile, where there is one."""
    return progress if tile is None else lambda stage, done, total: progress(f"{tile} {stage}", done, total)


def _fill_folder(work: GridWork, workers: Workers, progress: Progress, *, update: bool) -> FilledGrid:
    """Both phases: every cell to keyframes, then every day to files, leaving alone what is there."""
    job, layout = work.job, layout_of(work.job)
    how = work.budget.solving(job, layout)
    whole = CachedPixels(job, layout.cells[0].view) if work.budget.holds_all(job, layout) else None
    illuminance = surveyed(job, layout, whole, work.folder, work.out if update else None)
    give_back()
    contents = contents_of(job, illuminance, layout, retention_of(job.settings))
    shape = "grid %s: %d x %d pixels, %d bands, %d acquisitions, %d windows, %d cells"
    counts = len(job.bands), len(job.acquisitions), len(job.windows), len(layout.cells)
    logger.info(shape, job.grid.name, *job.grid.shape, *counts)
    windows_from = window_keys(job, illuminance, (layout.size, layout.halo, layout.margin, layout.anchor))
    keys = _day_keys(work, contents, windows_from)
    if update:
        _take_over(work, keys)
    kept = _kept(work, keys)
    nothing = [day for day, key in keys.items() if work.request.empty.get(work.place(day).name) == key]
    groups = [group for group in day_groups(contents) if not set(group.days) <= {*kept, *nothing}]
    # a store that is kept is whole, whatever days are there already
    needed = set(range(len(job.windows))) if work.output.keep_keyframes else {group.window for group in groups}
    store = KeyframeStore.create(work.store, contents, work.files)
    wanted = tuple(key if w in needed else "" for w, key in enumerate(windows_from))
    if update:
        earlier, files = work.out / KEYFRAMES / job.grid.name, work.files.of_earlier(work.out)
        reuse_windows(earlier, files, store, wanted, partial(work.files.take_over, work.out))
    solving = SolveTask(
        job=job,
        illuminance=illuminance,
        folder=work.folder,
        store=store.path,
        keys=wanted,
        how=how,
        whole=whole,
        use=network_use().among(work.budget.reading),
        files=work.files,
    )
    empty, found = _solved_and_written(work, workers, solving, _DayPlan(groups, windows_from, keys), progress)
    return FilledGrid(work, kept, tuple({*nothing, *empty}), keys, _warnings(work, found))


def _warnings(work: GridWork, found: Sequence[Sequence[NDArray[Any]]]) -> Mapping[str, Sequence[str]]:
    """What is said of files and pixels: of those read now, and before of those of the days that were kept.

    In the order of a run that reads all: of each scene, then of every two.
    """
    scenes = sorted(work.job.scenes, key=lambda scene: (scene.tile or "", scene.day))
    order = {scene.id: n for n, scene in enumerate(scenes)}
    samples = [Sample(*arrays[:SAMPLE_ARRAYS]) for arrays in found]
    before = {text: ids for text, ids in work.request.warnings.items() if order.keys() >= set(ids)}
    now = doubts_of(scenes, found) | (offset_warnings(work.job.scenes, samples) if samples else {})
    said: dict[str, Sequence[str]] = {**before, **now}
    return dict(sorted(said.items(), key=lambda one: (len(one[1]), [order[name] for name in one[1]])))


@dataclass(frozen=True)
class _DayPlan:
    """Days that are to be written, and what windows and days are made from."""

    groups: Sequence[DayGroup]
    windows_from: Sequence[str]
    keys: Mapping[int, str]


def _solved_and_written(
    work: GridWork, workers: Workers, solving: SolveTask, days: _DayPlan, progress: Progress
) -> tuple[tuple[int, ...], list[list[NDArray[Any]]]]:
    """Do both phases; a cell that cannot be read back while days are written is solved again, once.

    Returns the days that hold nothing, and, cell by cell, a few pixels of every scene and doubts of their files.
    """
    store, again = KeyframeStore.open(solving.store, work.files), set[tuple[int, int]]()
    reporting = progress if work.each_day is None else _with_each_day(work, work.each_day, days.keys, progress)
    while True:
        start = time.perf_counter()
        solve_all(workers, solving, store.contents.layout, progress, work.files.away)
        empty_cache(work.folder / TILES)  # before there are days, which take their place
        logger.info("solving: %.1f s", time.perf_counter() - start)
        start = time.perf_counter()
        try:
            knots = _write_knots(work, workers, days.groups, (store, days.windows_from), progress)
            empty = _write(work, workers, days.groups, _DaySources(store.path, days.keys, knots), reporting)
            count = sum(len(group.days) for group in days.groups) - len(empty)
            logger.info("writing: %d days in %.1f s", count, time.perf_counter() - start)
            return empty, store.samples()
        except DamagedCellError as error:
            if error.cell in again:
                raise
            again.add(error.cell)
            store.forget(error.cell)


def _day_keys(work: GridWork, contents: Contents, windows_from: Sequence[str]) -> dict[int, str]:
    """What each day is made from: its window, and the knots around it, which move where the range grows."""
    job, keys = work.job, dict[int, str]()
    for group in day_groups(contents):
        knots, key = contents.knot_dates(group.window)[group.knot : group.knot + 2], windows_from[group.window]
        for date in map(job.days.day, group.days):
            written = work.output.days, work.output.uncertainty, work.output.stretch
            how = job.settings.collection_id, work.encoding, *written
            day, around = job.days.index(date), knots[:1] if date == knots[0] else knots
            # the key of a window knows the illuminance of the days that it reads
            lit = () if day in job.windows[group.window].read else (contents.illuminance.at(day).tobytes().hex(),)
            keys[day] = day_key(key, date, *how, *around, *lit)
    return keys


def _take_over(work: GridWork, keys: Mapping[int, str]) -> None:
    """Link the days of the earlier run that still hold into the work folder."""
    for day, key in keys.items():
        place = work.place(day)
        if finished(work.out / place.name, key) and not finished(place, key):
            shutil.rmtree(place, ignore_errors=True)
            reuse_knot_cogs(work.out / place.name, work.folder, link)
            shutil.copytree(work.out / place.name, place, copy_function=link)


def _kept(work: GridWork, keys: Mapping[int, str]) -> tuple[int, ...]:
    """Days that are there and whole to the last byte; a folder that is not is removed, and its day made again."""
    with ThreadPoolExecutor() as pool:
        whole = list(pool.map(lambda day: work.files.intact(work.place(day), keys[day]), keys))
    for day, is_whole in zip(keys, whole, strict=True):
        if not is_whole:
            shutil.rmtree(work.place(day), ignore_errors=True)
    return tuple(day for day, is_whole in zip(keys, whole, strict=True) if is_whole)


@dataclass(frozen=True)
class _DaySources:
    """What days are written from: the folder of the keyframes, what each day is made from, and COGs of the knots."""

    store: Path
    keys: Mapping[int, str]
    knots: Knots | None


def _write_knots(
    work: GridWork,
    workers: Workers,
    groups: Sequence[DayGroup],
    solved: tuple[KeyframeStore, Sequence[str]],
    progress: Progress,
) -> Knots | None:
    """Write the COGs that virtual days read; None where days are files."""
    if work.output.days != "virtual":
        return None
    store, windows_from = solved
    knots = Knots(work.folder, tuple(windows_from), work.encoding)
    _, count = work.budget.days_together(work.job, work.output)
    task = KnotTask(work.job, store.path, knots, work.files)
    workers.map(work.files.away(task), knot_groups(store.contents, groups), "writing keyframes", progress, most=count)
    return knots


def _write(
    work: GridWork, workers: Workers, groups: Sequence[DayGroup], sources: _DaySources, progress: Progress
) -> tuple[int, ...]:
    at_once, count = work.budget.days_together(work.job, work.output)
    task = WriteTask(
        job=work.job,
        store=sources.store,
        folder=work.folder,
        out=work.out.resolve(),
        created=work.request.created,
        keys=sources.keys,
        encoding=work.encoding,
        stretch=work.output.stretch,
        at_once=at_once,
        knots=sources.knots,
        each_uncertainty=work.output.uncertainty == "bands",
        doubts=method_of(work.job.settings).doubts,
        files=work.files,
    )
    # the longest first, so that all workers end together
    longest = sorted(groups, key=lambda group: -len(group.days))
    empty = workers.map(work.files.away(task), longest, "writing days", progress, most=count)
    return tuple(day for days in empty for day in days)


def _with_each_day(work: GridWork, each_day: EachDay, keys: Mapping[int, str], progress: Progress) -> Progress:
    """Progress that also hands over each day that was finished since it was last called, or was there before."""
    waiting = dict(keys)

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, done, total)
        for day in [day for day, key in waiting.items() if finished(work.place(day), key)]:
            del waiting[day]
            item = read_item(work.place(day))
            known = collection_of([work.job], [item], display_bands(work.job.bands))
            each_day(work.folder, known.to_dict(), item.to_dict(include_self_link=False))

    return report
