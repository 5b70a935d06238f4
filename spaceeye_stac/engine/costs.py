"""What a job will read, keep in memory and write, before any pixel is read; from counts and the files' own sizes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from spaceeye_stac.collection import UNCERTAINTY, uncertainty_of
from spaceeye_stac.days import OVERVIEWS_ABOVE_PIXELS, THUMBNAIL_PIXELS, display_bands
from spaceeye_stac.engine.budget import (
    Budget,
    held_bytes,
    looks_in,
    network_bytes,
    reading_bytes,
    solved_together,
    solving_bytes,
    together,
    writing_bytes,
)
from spaceeye_stac.engine.jobs import layout_of, retention_of
from spaceeye_stac.keyframes import keyframe_bytes
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import BandAsset, GridJob, Scene, metres_per_pixel, pixel_metres
from spaceeye_stac.resources import Output

# bytes a pixel of full resolution, deflate level 1; measured on real and on simulated scenes
TYPICAL_RATE = 1.6
TYPICAL_LABEL_RATE = 0.1
HIGHEST_RATE = 2.6
# what a pixel costs that is written several times over, in sizes of the one it repeats: others add finer detail
REPEATED = {"damped": 1.35, "reference": 1.35}
OTHER_REPEATED = 2.0
OVERVIEW = 0.7  # averaging takes noise away
VISUAL = 0.47  # of the three bands together
DISTANCE_RATE = 0.03
UNCERTAINTY_RATE = {"damped": 0.07, "surface": 0.32}
THUMBNAIL_RATE, ENLARGED_RATE = 1.7, 3.6
HEADER_BYTES = 1400  # with what each file says of itself
PALETTE_BYTES = 1536
ITEM_BYTES, ASSET_BYTES, LINK_BYTES = 15_500, 900, 220  # the style of the flags is 10 kB of the first
COLLECTION_ASSET_BYTES, COLLECTION_DAY_BYTES = 11_000, 1000
DAY_TOTAL_BYTES, SUM_BYTES = 150, 24
COLLECTION_FILES = 7  # collection, catalog, parquet, schema, record, thumbnail and report
REPORT_BYTES, REPORT_RATE = 30_000, 0.5  # of a pixel of its frames
REPORT_FRAMES, REPORT_EDGE = 120, 480
SURVEY_SHARE = 1 / 16


@dataclass(frozen=True)
class Cost:
    """Bytes `read`, the peak of `memory`, bytes of the published `files` on `disk` and of `scratch` beside them.

    `seconds` is what it takes on this machine, None where that was not measured.
    """

    read: int
    memory: int
    disk: int
    scratch: int
    files: int
    seconds: float | None = None

    @classmethod
    def together(cls, costs: "Iterable[Cost]") -> "Cost":
        """Of grids that are made one after the other: the memory of the greediest, all else added."""
        each = list(costs)
        known = [cost.seconds for cost in each if cost.seconds is not None]
        return cls(
            sum(cost.read for cost in each),
            max(cost.memory for cost in each),
            sum(cost.disk for cost in each),
            sum(cost.scratch for cost in each),
            sum(cost.files for cost in each),
            sum(known) if len(known) == len(each) else None,
        )


class SourceRates:
    """Bytes of the sources: of whole files where they are known, and by pixel."""

    def __init__(self, job: GridJob) -> None:
        self._job = job
        self._sizes = {asset.href: size for scene in job.scenes for asset, size in _known_sizes(scene)}

    def of_band(self, name: str) -> float:
        """Bytes a source pixel of full resolution, the median over scenes; the typical rate where none is known."""
        rates = [
            size / math.prod(asset.shape) / _pyramid(asset.shape)
            for asset in ({**scene.spare, **scene.bands}.get(name) for scene in self._job.scenes)
            if asset is not None and asset.shape is not None and (size := self._sizes.get(asset.href))
        ]
        return min(median(rates), HIGHEST_RATE) if rates else TYPICAL_RATE

    def size_of(self, asset: BandAsset) -> int | None:
        """Bytes of a file, where they are known."""
        return self._sizes.get(asset.href)


def _assets(scene: Scene) -> list[BandAsset]:
    return [*scene.bands.values(), *([] if scene.labels is None else [scene.labels])]


def _known_sizes(scene: Scene) -> Iterable[tuple[BandAsset, int]]:
    """Sizes that the item declares, or that files of this machine have."""
    declared = {asset.get("href"): asset.get("file:size") for asset in scene.item.get("assets", {}).values()}
    for asset in _assets(scene):
        size = declared.get(asset.href)
        path = Path(asset.href.removeprefix("file://"))
        if isinstance(size, int) and size > 0:
            yield asset, size
        elif "://" not in str(path) and path.is_file():
            yield asset, path.stat().st_size


def _pyramid(shape: tuple[int, int], repeats: float = 1.0, repeated: float = 1.0) -> float:
    """Bytes a pixel of an image with its overviews, in sizes of a source pixel that it shows `repeats` x `repeats`."""
    total = _share(repeats, repeated)
    level, longest = 2, max(shape)
    while longest > OVERVIEWS_ABOVE_PIXELS:
        total += OVERVIEW * _share(repeats / level, repeated) / level**2
        level, longest = level * 2, longest // 2
    return total


def _share(repeats: float, repeated: float) -> float:
    return repeated / repeats**2 if repeats > 1 else 1.0


def day_bytes(job: GridJob, sources: SourceRates, output: Output, squeezed: float) -> Mapping[str, float]:
    """Bytes of each raster of one published day; `squeezed`: bytes of its compression over those of the default."""
    shape = job.grid.shape
    pixels = math.prod(shape)
    metres = metres_per_pixel(job.grid.geobox)
    repeated = REPEATED.get(job.settings.method_name, OTHER_REPEATED)
    found = {}
    for name in job.bands:
        finest = min((pixel_metres(s.bands[name], s) or metres for s in job.scenes), default=metres)
        found[name] = pixels * sources.of_band(name) * _pyramid(shape, finest / metres, repeated) * squeezed
    rgb_bands = set(display_bands(job.bands))  # a single one where it is grey, of which the rest is a repetition
    found["visual"] = VISUAL * sum(found[name] for name in rgb_bands)
    found |= dict.fromkeys(("clear_distance", "flags"), pixels * DISTANCE_RATE * squeezed)
    found["flags"] += PALETTE_BYTES
    method = job.settings.method_name
    if method in UNCERTAINTY_RATE:
        each = [uncertainty_of(name) for name in job.bands if output.uncertainty == "bands"]
        found |= dict.fromkeys((UNCERTAINTY, *each), pixels * UNCERTAINTY_RATE[method] * squeezed)
    height, width = (max(1, round(side * THUMBNAIL_PIXELS / max(shape))) for side in shape)
    small = len(rgb_bands) / 3 * min(height, shape[0]) * min(width, shape[1])
    found["thumbnail"] = small * (THUMBNAIL_RATE if max(shape) >= THUMBNAIL_PIXELS else ENLARGED_RATE)
    return {name: size + HEADER_BYTES for name, size in found.items()}


def disk_of(job: GridJob, days: int, output: Output, squeezed: float) -> tuple[int, int]:
    """Bytes and number of the files of so many published days and their collection."""
    rasters = day_bytes(job, SourceRates(job), output, squeezed)
    scenes = max(looks_in(job))
    item = ITEM_BYTES + len(rasters) * ASSET_BYTES + scenes * LINK_BYTES
    collection = len(rasters) * COLLECTION_ASSET_BYTES + days * COLLECTION_DAY_BYTES + rasters["thumbnail"]
    totals = method_of(job.settings).normalised  # which stay in a file, for the next run
    collection += totals * len(job.acquisitions) * (DAY_TOTAL_BYTES + len(job.bands) * SUM_BYTES)
    shrunk = min(1, REPORT_EDGE / max(job.grid.shape)) ** 2 * job.grid.shape[0] * job.grid.shape[1]
    collection += REPORT_BYTES + REPORT_RATE * shrunk * min(days, REPORT_FRAMES)
    count = days * (len(rasters) + 2) + COLLECTION_FILES + totals
    return int(days * (sum(rasters.values()) + item) + collection), count


def all_knots(job: GridJob) -> list[tuple[int, ...]]:
    """Days on which each window keeps an image, where every acquisition takes part."""
    days = {window: days for days, windows in solved_together(job).items() for window in windows}
    return [window.knots(days[window]) for window in job.windows]


def scratch_of(job: GridJob) -> int:
    """Bytes of the keyframe store."""
    images = 2 if retention_of(job.settings).as_seen else 1
    return keyframe_bytes(layout_of(job), all_knots(job), sum(looks_in(job)), len(job.bands), images)


def memory_of(job: GridJob, budget: Budget, output: Output) -> int:
    """Peak of the memory of all workers together; InvalidInputError where the budget is too small for a cell."""
    layout = layout_of(job)
    how = budget.solving(job, layout)
    each = sorted((solving_bytes(job, layout, group, how) for group in layout.groups(how.side)), reverse=True)
    solving = together(each[: how.at_work]) + network_bytes(job)
    if budget.holds_all(job, layout):  # its pixels are read before it is solved
        view = layout.cells[0].view
        solving -= reading_bytes(job, view) - held_bytes(job, view)
    groups = sum(len(knots) for knots in all_knots(job))
    at_once, writers = budget.days_together(job, output)
    writers = min(writers, groups)
    writing = writers * writing_bytes(job, min(at_once, _longest(job)), output)
    return budget.taken + max(solving, writing)


def _longest(job: GridJob) -> int:
    """Days between two knots, at most."""
    steps = [
        after - before
        for window, knots in zip(job.windows, all_knots(job), strict=True)
        for before, after in zip(knots, [*knots[1:], window.write.stop], strict=True)
    ]
    return max(steps)
