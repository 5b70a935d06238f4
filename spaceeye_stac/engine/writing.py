"""Phase 2: groups of days between two keyframes to COGs and items, row of cells by row of cells."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from spaceeye_stac.collection import FINGERPRINT, DayFiles, DayImages, day_item, item_id, write_json
from spaceeye_stac.days import (
    CACHE_MB,
    NODATA,
    DayGroup,
    DayView,
    Encoding,
    Knots,
    Raster,
    VirtualRaster,
    WrittenRaster,
    display_bands,
    histogram,
    knot_cogs_of,
    quantise,
    recipe,
    truncate,
    visual,
    write_thumbnail,
    written_file,
)
from spaceeye_stac.keyframes import KeyframeStore, cores_of
from spaceeye_stac.model import NO_LOOK, GridJob, Scene
from spaceeye_stac.pixels import Clip
from spaceeye_stac.query import DateRange, Json

logger = logging.getLogger(__name__)
OTHER_RASTERS = ("visual", "clear_distance", "uncertainty")
_Open = dict[str, Raster | VirtualRaster]


@dataclass(frozen=True)
class WriteTask:
    """Write the days of a group that are not there yet.

    `folder`: where they are written; `out`: where they will stand; `keys`: what each day is made from; `at_once`: days
    whose rasters are open together; `knots`: for virtual days, where the COGs of their keyframes are.
    """

    job: GridJob
    store: Path
    folder: Path
    out: Path
    created: datetime
    keys: Mapping[int, str]
    encoding: Encoding
    at_once: int
    knots: Knots | None = None

    def __call__(self, group: DayGroup) -> list[int]:
        """Write a group; returns the days that hold nothing."""
        todo = [day for day in group.days if not finished(self._place(day), self.keys[day])]
        empty: list[int] = []
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            for start in range(0, len(todo), self.at_once):
                empty += self._write(group, todo[start : start + self.at_once])
        return empty

    def _place(self, day: int) -> Path:
        return self.folder / item_id(self.job, self.job.days.day(day))

    def _write(self, group: DayGroup, days: Sequence[int]) -> list[int]:
        view = DayView(self._store, group)
        with ExitStack() as cleaning:
            drafts = {day: _Draft(self._place(day), cleaning) for day in days}
            _write_trust(self, view, drafts)
            seen = {day: draft for day, draft in drafts.items() if draft.seen.any_look}
            _write_bands(self, view, seen)
            full = {day: draft for day, draft in seen.items() if not draft.is_empty}
            for day, draft in full.items():
                self._publish(day, group, draft)
        return [day for day in days if day not in full]

    @cached_property
    def _store(self) -> KeyframeStore:
        return KeyframeStore.open(self.store)

    @cached_property
    def clip(self) -> Clip:
        """What lies outside the outline, for all days and bands."""
        return Clip(self.job.grid)

    def _publish(self, day: int, group: DayGroup, draft: "_Draft") -> None:
        """Describe a written day and put it in its place, whole."""
        read = self.job.windows[group.window].read
        written = {key: draft.written[key] for key in (*self.job.bands, *OTHER_RASTERS) if key in draft.written}
        written["thumbnail"] = WrittenRaster(
            write_thumbnail(draft.folder / "thumbnail.png", draft.folder / "visual.tif"), ()
        )
        images = DayImages(
            day=self.job.days.day(day),
            window=DateRange(self.job.days.day(read.start), self.job.days.day(read.stop - 1)),
            written=DayFiles(
                {key: one.file for key, one in written.items()},
                {key: [s for s in one.statistics if s is not None] for key, one in written.items() if one.statistics},
                display_bands(self.job.bands),
            ),
            observed_share=draft.seen.share_on_the_day,
            median_clear_distance=draft.seen.median,
            scenes=self._shaping(group.window),
        )
        place = self._place(day)
        item = day_item(self.job, images, self.out / place.name, self.created)
        item.properties[FINGERPRINT] = self.keys[day]
        write_json(draft.folder / f"{item.id}.json", item.to_dict(include_self_link=False))
        draft.put_in_place()
        logger.debug("%s: %d files", item.id, len(written))

    def _shaping(self, window: int) -> tuple[Scene, ...]:
        """Return the scenes with a clear look that was used in this window."""
        looks = self._store.looks(window)
        return tuple(scene for scene, count in zip(self.job.scenes, looks, strict=True) if count)


def finished(place: Path, key: str) -> bool:
    """Whether a day's folder holds the item of this key and all its files, by size, and what its VRTs read is there.

    It is quick, and enough for what this run has written itself; `intact` says it of what an earlier one has left.
    """
    try:
        item = _document(place)
        sizes = {asset["href"]: asset["file:size"] for asset in item["assets"].values()}
        return (
            item["properties"].get(FINGERPRINT) == key
            and all((place / href).stat().st_size == size for href, size in sizes.items())
            and all(source.is_file() for source in knot_cogs_of(place))
        )
    except (OSError, ValueError, KeyError):
        return False


def intact(place: Path, key: str) -> bool:
    """Whether a day's folder is `finished` and each file has the checksum that its item says."""
    if not finished(place, key):
        return False
    item = _document(place)
    files = [(place / asset["href"], asset["file:checksum"]) for asset in item["assets"].values()]
    return all(written_file(path).checksum == checksum for path, checksum in files)


def _document(place: Path) -> Json:
    """The item in a day's folder."""
    return dict(json.loads((place / f"{place.name}.json").read_text(encoding="utf-8")))


@dataclass
class _Seen:
    """How many pixels are so many days from a clear look."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NO_LOOK + 1, np.int64))

    def add(self, distance: NDArray[np.uint8], outside: int) -> None:
        """Count a part, of which so many pixels are not of the region."""
        self.counts += histogram(distance)
        self.counts[NO_LOOK] -= outside

    @property
    def any_look(self) -> bool:
        return bool(self.counts[:NO_LOOK].any())

    @property
    def share_on_the_day(self) -> float:
        return float(self.counts[0] / self.counts.sum())

    @property
    def median(self) -> float:
        """Median distance of the pixels with a look, the mean of the middle two where there are two."""
        ends = np.cumsum(self.counts[:NO_LOOK])
        middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
        return float(np.searchsorted(ends, middle, side="right").mean())


class _Draft:
    """One day on its way: a hidden folder beside its place, removed unless it is put there."""

    def __init__(self, place: Path, cleaning: ExitStack) -> None:
        self.place, self.folder = place, place.with_name(f".{place.name}.partial")
        self.seen, self.written = _Seen(), dict[str, WrittenRaster]()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        cleaning.callback(shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def is_empty(self) -> bool:
        """Whether some raster that every day must have holds nothing."""
        return any(one.is_empty for one in self.written.values())

    def close(self, key: str, raster: "Raster | VirtualRaster") -> None:
        """Finish a raster of this day."""
        self.written[key] = raster.close()

    def put_in_place(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.folder.rename(self.place)


def _write_trust(task: WriteTask, view: DayView, drafts: Mapping[int, _Draft]) -> None:
    """`clear_distance`, and `uncertainty` where the method knows it."""
    geobox, encoding, days = task.job.grid.geobox, task.encoding, list(drafts)
    distances = {
        day: Raster(draft.folder / "clear_distance.tif", geobox, "uint8", nodata=NO_LOOK, encoding=encoding)
        for day, draft in drafts.items()
    }
    widths = {}
    if view.has_uncertainty:
        widths = {
            day: Raster(draft.folder / "uncertainty.tif", geobox, "uint16", encoding=encoding)
            for day, draft in drafts.items()
        }
    for cells in _rows(view):
        top = cells[0].core.y.start
        outside, uncertainty = task.clip.outside(cores_of(cells)), view.uncertainty(cells)
        for day, distance in zip(days, view.distances(days, cells), strict=True):
            if outside is not None:
                distance[outside] = NO_LOOK
            drafts[day].seen.add(distance, 0 if outside is None else int(outside.sum()))
            distances[day].write(distance, top)
            if widths:
                widths[day].write(quantise(uncertainty.of(day, distance)), top)
    for day, draft in drafts.items():
        draft.close("clear_distance", distances[day])
        if widths:
            draft.close("uncertainty", widths[day])
            if draft.written["uncertainty"].is_empty:
                draft.written.pop("uncertainty").file.path.unlink()


def _rows(view: DayView) -> Iterator[tuple]:  # type: ignore[type-arg]
    layout = view.contents.layout
    return (layout.row(i) for i in range(layout.counts[0]))


def _write_bands(task: WriteTask, view: DayView, drafts: Mapping[int, _Draft]) -> None:
    """The bands that are shown together with `visual`, the others one by one."""
    rgb_bands = display_bands(task.job.bands)
    _write_together(task, view, drafts, tuple(dict.fromkeys(rgb_bands)), rgb_bands)
    for name in task.job.bands:
        if name not in rgb_bands:
            _write_together(task, view, drafts, (name,), ())


def _write_together(
    task: WriteTask, view: DayView, drafts: Mapping[int, _Draft], names: Sequence[str], rgb_bands: Sequence[str]
) -> None:
    """Write some bands of all days, and those that turn out not to be had by a VRT once more as files."""
    rasters = {day: _opened(task, view, (day, draft.folder), names, rgb_bands) for day, draft in drafts.items()}
    _write_rows(task, view, rasters, names, rgb_bands)
    for day, open_ in rasters.items():
        for key, raster in open_.items():
            drafts[day].close(key, raster)
    for name in names:
        left = {day: drafts[day] for day, open_ in rasters.items() if not open_[name].holds}
        for draft in left.values():
            draft.written.pop(name).file.path.unlink()
        if left:
            _write_together(replace(task, knots=None), view, left, (name,), ())


def _write_rows(
    task: WriteTask, view: DayView, rasters: Mapping[int, _Open], names: Sequence[str], rgb_bands: Sequence[str]
) -> None:
    """Fill the rasters of all days, row of cells by row of cells."""
    to_dn = truncate if view.contents.truncates else quantise
    bands = [task.job.bands.index(name) for name in names]
    for cells in _rows(view):
        top = cells[0].core.y.start
        outside = task.clip.outside(cores_of(cells))
        images = zip(*(view.reflectance(list(rasters), band, cells) for band in bands), strict=True)
        for open_, image in zip(rasters.values(), images, strict=True):
            dn = {name: to_dn(band) for name, band in zip(names, image, strict=True)}
            for name, values in dn.items():
                if outside is not None:
                    values[outside] = NODATA
                open_[name].write(values, top)
            if rgb_bands:
                open_["visual"].write(visual([dn[name] for name in rgb_bands], rgb_bands), top)


def _opened(
    task: WriteTask, view: DayView, at: tuple[int, Path], names: Sequence[str], rgb_bands: Sequence[str]
) -> _Open:
    """Open what the bands of a day go to, in its folder, and `visual` where it is made with them."""
    day, folder = at
    found: _Open = {name: _band_raster(task, view, folder, (day, name)) for name in names}
    if rgb_bands:
        geobox = task.job.grid.geobox
        found["visual"] = Raster(folder / "visual.tif", geobox, "uint8", count=3, encoding=task.encoding)
    return found


def _band_raster(task: WriteTask, view: DayView, folder: Path, what: tuple[int, str]) -> Raster | VirtualRaster:
    """Open what a band of a day goes to: a COG, or a VRT over the COGs of the keyframes."""
    day, name = what
    if task.knots is None:
        return Raster(folder / f"{name}.tif", task.job.grid.geobox, "uint16", encoding=task.encoding)
    made = recipe(task.knots, view, day, (task.job.bands.index(name), name))
    return VirtualRaster(folder / f"{name}.vrt", task.job.grid, made)
