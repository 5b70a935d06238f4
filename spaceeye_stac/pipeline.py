"""Straight-line composition of the stages: search, observe, fill, blend, write, publish."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pystac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac import cog, items, stack, static
from spaceeye_stac.catalog import search, signed
from spaceeye_stac.errors import InvalidInputError, ItemError, NoClearLookError, NoScenesError
from spaceeye_stac.fill import Observations, fill, observe
from spaceeye_stac.grid import inside, output_grid, tile_grid
from spaceeye_stac.illumination import DayTotals, illuminance, uniform, untouched
from spaceeye_stac.keyframes import KeyframeStore, Layout, daily_view, keyframe_bytes
from spaceeye_stac.methods import method_of, one_torch_thread
from spaceeye_stac.model import NO_LOOK, Acquisition, Block, Cell, DayImages, Grid, Illuminance, Job, Scene
from spaceeye_stac.query import DateRange, Json, Query, Settings
from spaceeye_stac.reference import truncate
from spaceeye_stac.windows import windows

if TYPE_CHECKING:
    import xarray as xr

SURVEY_PIXELS = 1024
SURVEY_STRIDE = 4
KEYFRAMES_IN_MEMORY_BYTES = 512 * 2**20
SCRATCH = ".keyframes"

Progress = Callable[[str, int, int], None]
Holdout = Callable[[Sequence[Scene], Query, Settings], Json]
T = TypeVar("T")
R = TypeVar("R")


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Result:
    """What a run published: the collection, where it is, and the days that hold nothing and were not published.

    With `tiling`, `days` are those that some tile holds, and `skipped` says tile and day.
    """

    collection: pystac.Collection
    path: Path
    days: tuple[str, ...]
    skipped: tuple[str, ...]


def plan_job(scenes: Sequence[Scene], query: Query, settings: Settings) -> Job:
    """Decide grid, acquisitions and windows of a run on one grid, before any pixel is read."""
    near = _near(scenes, query, settings)
    return _job(output_grid(query, near, settings), near, query, settings)


def plan_jobs(scenes: Sequence[Scene], query: Query, settings: Settings) -> tuple[Job, ...]:
    """Decide the jobs of a run, one a grid: a single one, or with `tiling` one for each tile that covers some of it.

    Raises NoScenesError where none is left, and ItemError for a scene without a tile where tiles are asked for.
    """
    if settings.tiling is None:
        return (plan_job(scenes, query, settings),)
    tiles: dict[str, list[Scene]] = {}
    for scene in _near(scenes, query, settings):
        if scene.tile is None:
            raise ItemError(f"Scene {scene.id} does not say its MGRS tile; leave out tiling, or the scene.")
        tiles.setdefault(scene.tile, []).append(scene)
    laid = [(tile_grid(query, tiles[name], settings), tiles[name]) for name in sorted(tiles)]
    jobs = tuple(_job(grid, near, query, settings) for grid, near in laid if grid is not None)
    if not jobs:
        raise NoScenesError(f"No scene found: those of {', '.join(sorted(tiles))} cover nothing of the region.")
    return jobs


def _near(scenes: Sequence[Scene], query: Query, settings: Settings) -> list[Scene]:
    """Return the scenes that some window reads."""
    read = [day for window in windows(query.days, settings) for day in (window.read.start, window.read.stop - 1)]
    near = [s for s in scenes if min(read) <= query.days.index(s.day) <= max(read)]
    if not near:
        raise NoScenesError(f"No scene found: {len(scenes)} scenes, none in the windows of {query.datetime}.")
    return near


def _job(grid: Grid, scenes: Sequence[Scene], query: Query, settings: Settings) -> Job:
    """Scenes of a day are merged in this order: those that need no resampling first, then by time and id."""
    ordered = sorted(scenes, key=lambda s: (s.day, s.epsg != grid.epsg, s.datetime, s.id))
    return Job(
        days=query.days,
        grid=grid,
        bands=tuple(scenes[0].bands),
        acquisitions=tuple(Acquisition(day, tuple(group)) for day, group in groupby(ordered, key=lambda s: s.day)),
        windows=tuple(windows(query.days, settings)),
        settings=settings,
    )


def interpolate(scenes: Sequence[Scene], query: Query, settings: Settings | None = None) -> "xr.Dataset":
    """Every requested day as a lazy cube; nothing is read before something is computed.

    Returns a Dataset on dask with `reflectance` `(time, band, y, x)` float32 (NaN = nodata) and `clear_distance`
    `(time, y, x)` uint8 (days to the nearest clear look, 255 = none), one step a day, and its CRS in `spatial_ref`.
    Raises InvalidInputError and NoScenesError here, ReadError and NoClearLookError when it is computed.
    """
    from dask.delayed import delayed  # noqa: PLC0415 - the lazy cube is its only user

    job = _only(plan_jobs(_checked(scenes), query, settings or Settings()))
    layout = layout_of(job)
    seen = [delayed(observe_part)(job, job.grid.part(cell.view)) for cell in layout.cells]
    light = delayed(survey)(job, seen[0] if len(layout.cells) == 1 else None)
    filled = [delayed(fill)(part, light, job, cell) for part, cell in zip(seen, layout.cells, strict=True)]
    whole = daily_view(job, light, layout, filled)
    return whole if job.grid.outline is None else _clipped(whole, job.grid)


def _only(jobs: Sequence[Job]) -> Job:
    """Return the job of a run on one grid, which is what fits one Dataset."""
    if len(jobs) > 1:
        names = ", ".join(job.grid.name for job in jobs)
        raise InvalidInputError(
            f"tiling 'mgrs' gives grids {names}, and interpolate gives one Dataset; name one of them with tiles."
        )
    return jobs[0]


def _clipped(cube: "xr.Dataset", grid: Grid) -> "xr.Dataset":
    """The cube with nodata outside the grid's outline, part by part."""
    import dask.array as da  # noqa: PLC0415 - the lazy cube is its only user

    def part(block_info: Mapping[object, Any]) -> NDArray[np.bool_]:
        (top, bottom), (left, right) = block_info[None]["array-location"]
        return inside(grid, Block(slice(top, bottom), slice(left, right)))

    one_day = cube.clear_distance.isel(time=0, drop=True)
    parts = da.map_blocks(part, chunks=one_day.chunks, dtype=bool)  # type: ignore[no-untyped-call]
    within = one_day.copy(data=parts)
    return cube.assign(
        reflectance=cube.reflectance.where(within), clear_distance=cube.clear_distance.where(within, np.uint8(NO_LOOK))
    )


def layout_of(job: Job) -> Layout:
    """Cut a job's grid into the cells of its method."""
    method = method_of(job.settings)
    return Layout.of(job, method.cell, method.halo, method.margin)


def _checked(scenes: Sequence[Scene]) -> Sequence[Scene]:
    names = {tuple(scene.bands) for scene in scenes}
    if len(names) != 1:
        raise InvalidInputError("scenes must be at least one and have the same bands; use what search returned.")
    return scenes


def observe_part(job: Job, geobox: GeoBox) -> Observations:
    """Read every scene on a part of the grid and mask it."""
    return _observe(job, geobox, stack.resampling_of(job.scenes, geobox, job.settings.resampling))


def _observe(job: Job, geobox: GeoBox, resampling: Mapping[str, str]) -> Observations:
    stacked = stack.load(job.scenes, geobox, resampling=resampling, sign=signed)
    return observe(stacked.values, stacked.labels, job)


def survey(job: Job, whole: Observations | None = None) -> Illuminance:
    """Illuminance over the region: from `whole` where it is one cell, else from a decimated first pass.

    A method that makes its own of each day takes the days as they are. Raises NoClearLookError when no day has enough
    clear pixels.
    """
    if not method_of(job.settings).normalised:
        return untouched(len(job.bands), len(job.acquisitions), job.span)
    total = whole.totals if whole is not None else _coarse_totals(job)
    compute = illuminance if job.settings.normalize_illuminance else uniform
    light = compute(total, job.acquisition_days, job.span, job.settings.min_clear_ratio)
    if not light.used.any():
        best = float((total.clear / np.maximum(total.observed, 1)).max())
        raise NoClearLookError(
            f"None of {len(job.acquisitions)} days has a clear share above min_clear_ratio "
            f"{job.settings.min_clear_ratio:g} (the best has {best:.3f}); widen datetime or lower min_clear_ratio."
        )
    return light


def _coarse_totals(job: Job) -> DayTotals:
    """Totals from a grid at least four times coarser, read by nearest neighbour."""
    stride = max(SURVEY_STRIDE, -(-max(job.grid.shape) // SURVEY_PIXELS))
    return _observe(job, job.grid.geobox.zoom_out(stride), dict.fromkeys(job.bands, "nearest")).totals


def run(
    query: Query,
    settings: Settings | None = None,
    *,
    out: str | Path,
    overwrite: bool = False,
    progress: Progress = _silent,
    holdout: Holdout | None = None,
) -> Result:
    """Do everything: search, solve, and publish one item a day as a static collection in the folder `out`.

    `progress` is called with a stage's name, the steps done and their number. `holdout` scores the method on hidden
    pixels of the scenes; what it returns stands in the collection as `spaceeye:holdout`. Nothing appears in `out`
    before the run is complete. Raises SpaceEyeError's children, each with the value and the remedy.
    """
    settings = settings or Settings()
    with static.staging(Path(out), overwrite=overwrite) as folder:
        scenes = search(query, settings)
        jobs = plan_jobs(scenes, query, settings)
        scored = holdout(scenes, query, settings) if holdout else None
        target = Target(folder, Path(out), scored, datetime.now(UTC).replace(microsecond=0))
        return _publish([_write_grid(job, target, _named(progress, job)) for job in jobs], target)


def _named(progress: Progress, job: Job) -> Progress:
    """Progress under the name of the job's tile, where it has one."""
    tile = job.grid.tile
    return progress if tile is None else lambda stage, done, total: progress(f"{tile} {stage}", done, total)


@dataclass(frozen=True)
class Target:
    """Where a run is written (`folder`), where it will stand (`out`), the scores to publish with it, and its time."""

    folder: Path
    out: Path
    scored: Json | None
    created: datetime


@dataclass(frozen=True)
class Written:
    """The days of one grid in their order, None where a day holds nothing."""

    job: Job
    days: tuple[DayImages | None, ...]

    @property
    def skipped(self) -> list[str]:
        """The days that hold nothing, after the tile where there is one."""
        empty = [day.isoformat() for day, images in zip(self.job.days, self.days, strict=True) if images is None]
        return empty if self.job.grid.tile is None else [f"{self.job.grid.tile} {day}" for day in empty]


def _write_grid(job: Job, target: Target, progress: Progress) -> Written:
    """Phases 1 and 2 of one grid; a tile that is never clear is one of several and has no days."""
    scratch = target.folder / SCRATCH
    try:
        solved = solve_blocks(job, progress, scratch)
    except NoClearLookError:
        if job.grid.tile is None:
            raise
        return Written(job, (None,) * len(job.days))

    def task(index: int) -> DayImages | None:
        return write_day(job, solved, index, target.folder)

    written = _on_threads(task, range(len(job.days)), "writing days", progress)
    shutil.rmtree(scratch, ignore_errors=True)
    return Written(job, tuple(written))


@dataclass(frozen=True)
class Solved:
    """What phase 1 leaves for phase 2: keyframes, and the clear pixels taken from each scene `(scene,)`."""

    store: KeyframeStore
    looks: NDArray[np.int64]


def solve_blocks(job: Job, progress: Progress, scratch: Path) -> Solved:
    """Phase 1: every cell of the grid to keyframes, in memory or, where that is much, in the folder `scratch`."""
    layout = layout_of(job)
    whole = observe_part(job, job.grid.geobox) if len(layout.cells) == 1 else None
    light = survey(job, whole)
    every_day = method_of(job.settings).every_day
    path = scratch if keyframe_bytes(job, every_day=every_day) > KEYFRAMES_IN_MEMORY_BYTES else None
    store = KeyframeStore(job, light, layout, every_day=every_day, path=path)

    def task(cell: Cell) -> NDArray[np.int64]:
        seen = whole if whole is not None else observe_part(job, job.grid.part(cell.view))
        filled = fill(seen, light, job, cell)
        store.write(cell, filled)
        return filled.looks

    with one_torch_thread():
        looks = _on_threads(task, layout.cells, "solving", progress)
    return Solved(store, np.sum(looks, axis=0))


def _on_threads(task: Callable[[T], R], todo: Sequence[T], stage: str, progress: Progress) -> list[R]:
    """Run independent tasks on threads; the first error ends it. Results in the order of `todo`."""
    progress(stage, 0, len(todo))
    with ThreadPoolExecutor(max_workers=cpu_count() or 1) as pool:
        futures = [pool.submit(task, one) for one in todo]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                progress(stage, done, len(todo))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _publish(grids: Sequence[Written], target: Target) -> Result:
    """Phase 3: items and one collection of what is written of every grid."""
    days = [images for grid in grids for images in grid.days if images is not None]
    if not days:
        raise NoClearLookError("No requested day has a clear look in its window; widen datetime or duration.")
    documents = [item for grid in grids for item in _items(grid, target)]
    whole = items.collection([grid.job for grid in grids], documents, days[0].written.shown)
    _add_thumbnail(whole, days, target.folder)
    if target.scored is not None:
        whole.extra_fields["spaceeye:holdout"] = target.scored
    static.write_static(target.folder, whole, documents)
    whole.set_self_href(str(target.out / static.COLLECTION_FILE))
    for item in documents:
        item.set_self_href(str(target.out / item.id / f"{item.id}.json"))
    published = sorted({images.day.isoformat() for images in days})
    return Result(whole, target.out, tuple(published), tuple(day for grid in grids for day in grid.skipped))


def _items(grid: Written, target: Target) -> list[pystac.Item]:
    """Items of one grid, linked from day to day."""
    job, stands = grid.job, target.out.resolve()
    images = [images for images in grid.days if images is not None]
    found = [items.day_item(job, one, stands / items.item_id(job, one.day), target.created) for one in images]
    items.link_in_order(found)
    return found


def _add_thumbnail(collection: pystac.Collection, days: Iterable[DayImages], folder: Path) -> None:
    """Give the collection the thumbnail of the day that was seen best."""
    best = max(days, key=lambda images: images.observed_share)
    (folder / static.THUMBNAIL_FILE).write_bytes(best.written.files["thumbnail"].path.read_bytes())
    asset = pystac.Asset(f"./{static.THUMBNAIL_FILE}", "Thumbnail", media_type="image/png", roles=["thumbnail"])
    collection.add_asset("thumbnail", asset)


def write_day(job: Job, solved: Solved, index: int, folder: Path) -> DayImages | None:
    """Phase 2: blend, quantise and write one day; None, and no file, where it holds nothing."""
    day = job.days.day(index)
    distance = solved.store.distance(index)
    pixels = _clip(distance, job)
    if (distance == NO_LOOK).all():
        return None
    place = folder / items.item_id(job, day)
    place.mkdir()
    method, store = method_of(job.settings), solved.store
    quantise = truncate if method.truncates else cog.quantise
    images = ((name, quantise(store.band(index, i))) for i, name in enumerate(job.bands))
    bands = ((name, np.where(distance == NO_LOOK, np.uint16(cog.NODATA), image)) for name, image in images)
    alpha = method.damping_factor or job.settings.damping_factor
    trusted = store.uncertainty(index, distance, alpha) if store.has_uncertainty else None
    written = cog.write_day(place, job.grid.geobox, bands, distance, trusted)
    window = job.window_of(index).read
    return DayImages(
        day=day,
        window=DateRange(job.days.day(window.start), job.days.day(window.stop - 1)),
        written=written,
        observed_share=float((distance == 0).sum() / pixels),
        median_clear_distance=float(np.median(distance[distance != NO_LOOK])),
        scenes=_shaping(job, solved.looks, window),
    )


def _clip(distance: NDArray[np.uint8], job: Job) -> int:
    """Set pixels outside the grid's outline to no look, part by part; returns how many are inside.

    What has no look is nodata in every published raster.
    """
    if job.grid.outline is None:
        return distance.size
    pixels = 0
    for cell in layout_of(job).cells:
        within = inside(job.grid, cell.core)
        distance[cell.core.y, cell.core.x][~within] = NO_LOOK
        pixels += int(within.sum())
    return pixels


def _shaping(job: Job, looks: NDArray[np.int64], window: range) -> tuple[Scene, ...]:
    """Return the scenes with a clear look that was used in this window."""
    return tuple(
        scene for scene, count in zip(job.scenes, looks, strict=True) if count and job.days.index(scene.day) in window
    )
