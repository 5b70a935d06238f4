"""Straight-line composition of the stages: search, observe, fill, blend, write, publish."""

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pystac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac import cog, items, stack, static
from spaceeye_stac.catalog import search, signed
from spaceeye_stac.errors import InvalidInputError, NoClearLookError, NoScenesError
from spaceeye_stac.fill import Observations, fill, observe
from spaceeye_stac.grid import output_grid
from spaceeye_stac.illumination import DayTotals, illuminance, uniform, untouched
from spaceeye_stac.keyframes import KeyframeStore, Layout, daily_view, keyframe_bytes
from spaceeye_stac.methods import method_of, one_torch_thread
from spaceeye_stac.model import NO_LOOK, Acquisition, Cell, DayImages, Illuminance, Job, Scene, metres_per_pixel
from spaceeye_stac.offset_check import Sample, offset_warnings
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

    `warnings` are sentences on scenes whose pixels contradict each other; they stand in the collection, too.
    """

    collection: pystac.Collection
    path: Path
    days: tuple[str, ...]
    skipped: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def plan_job(scenes: Sequence[Scene], query: Query, settings: Settings) -> Job:
    """Decide grid, acquisitions and windows of a run, before any pixel is read."""
    laid = windows(query.days, settings)
    read = [day for window in laid for day in (window.read.start, window.read.stop - 1)]
    near = [s for s in scenes if min(read) <= query.days.index(s.day) <= max(read)]
    if not near:
        raise NoScenesError(f"No scene found: {len(scenes)} scenes, none in the windows of {query.datetime}.")
    ordered = sorted(near, key=lambda s: (s.day, s.datetime, s.id))
    acquisitions = tuple(Acquisition(day, tuple(group)) for day, group in groupby(ordered, key=lambda s: s.day))
    return Job(
        days=query.days,
        grid=output_grid(query, near, settings),
        bands=tuple(near[0].bands),
        acquisitions=acquisitions,
        windows=tuple(laid),
        settings=settings,
    )


def interpolate(scenes: Sequence[Scene], query: Query, settings: Settings | None = None) -> "xr.Dataset":
    """Every requested day as a lazy cube; nothing is read before something is computed.

    Returns a Dataset on dask with `reflectance` `(time, band, y, x)` float32 (NaN = nodata) and `clear_distance`
    `(time, y, x)` uint8 (days to the nearest clear look, 255 = none), one step a day, and its CRS in `spatial_ref`.
    Raises InvalidInputError and NoScenesError here, ReadError and NoClearLookError when it is computed.
    """
    from dask.delayed import delayed  # noqa: PLC0415 - the lazy cube is its only user

    job = plan_job(_checked(scenes), query, settings or Settings())
    layout = layout_of(job)
    seen = [delayed(observe_part)(job, job.grid.part(cell.view)) for cell in layout.cells]
    light = delayed(survey)(job, seen[0] if len(layout.cells) == 1 else None)
    filled = [delayed(fill)(part, light, job, cell) for part, cell in zip(seen, layout.cells, strict=True)]
    return daily_view(job, light, layout, filled)


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
    halo = math.ceil(job.settings.mask_dilation / metres_per_pixel(geobox))
    stacked = stack.load(job.scenes, geobox, resampling=resampling, sign=signed, label_halo=halo)
    return observe(stacked.values, stacked.labels, job, geobox)


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
    """Totals from a grid at least four times coarser, read by nearest neighbour and dilated by as many metres."""
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
        job = plan_job(scenes, query, settings)
        scored = holdout(scenes, query, settings) if holdout else None
        scratch = folder / SCRATCH
        result = _publish(job, solve_blocks(job, progress, scratch), Target(folder, Path(out), scored), progress)
        shutil.rmtree(scratch, ignore_errors=True)
        return result


@dataclass(frozen=True)
class Solved:
    """What phase 1 leaves for phase 2: keyframes, the clear pixels taken from each scene `(scene,)`, and warnings."""

    store: KeyframeStore
    looks: NDArray[np.int64]
    warnings: tuple[str, ...] = ()


def solve_blocks(job: Job, progress: Progress, scratch: Path) -> Solved:
    """Phase 1: every cell of the grid to keyframes, in memory or, where that is much, in the folder `scratch`."""
    layout = layout_of(job)
    whole = observe_part(job, job.grid.geobox) if len(layout.cells) == 1 else None
    light = survey(job, whole)
    every_day = method_of(job.settings).every_day
    path = scratch if keyframe_bytes(job, every_day=every_day) > KEYFRAMES_IN_MEMORY_BYTES else None
    store = KeyframeStore(job, light, layout, every_day=every_day, path=path)

    def task(cell: Cell) -> tuple[NDArray[np.int64], Sample]:
        seen = whole if whole is not None else observe_part(job, job.grid.part(cell.view))
        filled = fill(seen, light, job, cell)
        store.write(cell, filled)
        return filled.looks, seen.sample.inside(cell.core)

    with one_torch_thread():
        looks, samples = zip(*_on_threads(task, layout.cells, "solving", progress), strict=True)
    return Solved(store, np.sum(looks, axis=0), offset_warnings(job.scenes, samples))


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


@dataclass(frozen=True)
class Target:
    """Where a run is written (`folder`), where it will stand (`out`), and the scores to publish with it."""

    folder: Path
    out: Path
    scored: Json | None


def _publish(job: Job, solved: Solved, target: Target, progress: Progress) -> Result:
    folder, out = target.folder, target.out
    created = datetime.now(UTC).replace(microsecond=0)

    def task(index: int) -> DayImages | None:
        return write_day(job, solved, index, folder)

    written = _on_threads(task, range(len(job.days)), "writing days", progress)
    days = [images for images in written if images is not None]
    if not days:
        raise NoClearLookError("No requested day has a clear look in its window; widen datetime or duration.")
    documents = [
        items.day_item(job, images, out.resolve() / items.item_id(job, images.day), created) for images in days
    ]
    items.link_in_order(documents)
    whole = items.collection(job, documents, days[0].written.shown)
    _add_thumbnail(whole, days, folder)
    if target.scored is not None:
        whole.extra_fields["spaceeye:holdout"] = target.scored
    if solved.warnings:
        whole.extra_fields["spaceeye:warnings"] = list(solved.warnings)
    static.write_static(folder, whole, documents)
    whole.set_self_href(str(out / static.COLLECTION_FILE))
    for item in documents:
        item.set_self_href(str(out / item.id / f"{item.id}.json"))
    empty = [day.isoformat() for day, images in zip(job.days, written, strict=True) if images is None]
    published = tuple(images.day.isoformat() for images in days)
    return Result(whole, out, published, tuple(empty), solved.warnings)


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
    if (distance == NO_LOOK).all():
        return None
    place = folder / items.item_id(job, day)
    place.mkdir()
    method, store = method_of(job.settings), solved.store
    quantise = truncate if method.truncates else cog.quantise
    bands = ((name, quantise(store.band(index, i))) for i, name in enumerate(job.bands))
    alpha = method.damping_factor or job.settings.damping_factor
    trusted = store.uncertainty(index, distance, alpha) if store.has_uncertainty else None
    written = cog.write_day(place, job.grid.geobox, bands, distance, trusted)
    window = job.window_of(index).read
    return DayImages(
        day=day,
        window=DateRange(job.days.day(window.start), job.days.day(window.stop - 1)),
        written=written,
        observed_share=float((distance == 0).mean()),
        median_clear_distance=float(np.median(distance[distance != NO_LOOK])),
        scenes=_shaping(job, solved.looks, window),
    )


def _shaping(job: Job, looks: NDArray[np.int64], window: range) -> tuple[Scene, ...]:
    """Return the scenes with a clear look that was used in this window."""
    return tuple(
        scene for scene, count in zip(job.scenes, looks, strict=True) if count and job.days.index(scene.day) in window
    )
