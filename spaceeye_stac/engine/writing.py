"""Phase 2: groups of days between two keyframes to COGs and items, row of cells by row of cells."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import rasterio

from spaceeye_stac.collection import (
    FINGERPRINT,
    UNCERTAINTY,
    DayFiles,
    DayImages,
    Statistics,
    day_item,
    item_id,
    uncertainty_of,
    write_json,
)
from spaceeye_stac.days import (
    CACHE_MB,
    NODATA,
    DayGroup,
    DayView,
    Encoding,
    FilePixels,
    Knots,
    Raster,
    VirtualPixels,
    VirtualRaster,
    WrittenRaster,
    bring_knot_cogs,
    description_of,
    description_of_picture,
    display_bands,
    picture_vrt_of,
    quantise,
    recipe,
    shades_of,
    visual,
    vrt_of,
)
from spaceeye_stac.engine.drafts import Draft
from spaceeye_stac.engine.run_files import LOCAL_RUN_FILES, RunFiles
from spaceeye_stac.keyframes import KeyframeStore, cores_of
from spaceeye_stac.model import NO_LOOK, GridJob, Scene
from spaceeye_stac.pixels import Clip
from spaceeye_stac.query import DateRange

logger = logging.getLogger(__name__)
QUALITY = ("clear_distance", "flags")
_Open = dict[str, Raster | VirtualRaster]


@dataclass(frozen=True)
class WriteTask:
    """Write the days of a group that are not there yet.

    `folder`: of the run, where they are written; `out`: where they will stand; `files`: where they have their place;
    `keys`: what each day is made from; `stretch`: how `visual` is made; `at_once`: days whose rasters are open
    together; `knots`: for virtual days, where the COGs of their keyframes are; `each_uncertainty`: of every band, not
    only the largest; `doubts`: the method tells looks that may be cloud.
    """

    job: GridJob
    store: Path
    folder: Path
    out: Path
    created: datetime
    keys: Mapping[int, str]
    encoding: Encoding
    stretch: str
    at_once: int
    knots: Knots | None = None
    files: RunFiles = LOCAL_RUN_FILES
    each_uncertainty: bool = False
    doubts: bool = False

    def __call__(self, group: DayGroup) -> list[int]:
        """Write a group; returns the days that hold nothing."""
        todo = [day for day in group.days if not self.files.finished(self._place(day), self.keys[day])]
        empty: list[int] = []
        if todo:
            self._store.bring_knots(group.window, (group.knot, group.knot + 1))
            if self.knots is not None:
                bring_knot_cogs(self.knots, self._store.contents, group, self.files)
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            for start in range(0, len(todo), self.at_once):
                empty += self._write(group, todo[start : start + self.at_once])
        return empty

    def moved(self, folder: Path, files: RunFiles) -> "WriteTask":
        """The same in a folder that is an image of the run's."""
        knots = None if self.knots is None else replace(self.knots, folder=folder)
        store = folder / self.store.relative_to(self.folder)
        return replace(self, folder=folder, store=store, knots=knots, files=files)

    def _place(self, day: int) -> Path:
        return self.folder / item_id(self.job, self.job.days.day(day))

    def _write(self, group: DayGroup, days: Sequence[int]) -> list[int]:
        view = DayView(self._store, group)
        with ExitStack() as cleaning:
            drafts = {day: Draft(self._place(day), cleaning) for day in days}
            _write_quality(self, view, drafts)
            seen = {day: draft for day, draft in drafts.items() if draft.seen.any_look}
            _write_bands(self, view, seen)
            full = {day: draft for day, draft in seen.items() if not draft.is_empty}
            for day, draft in full.items():
                self._publish(day, group, draft)
        return [day for day in days if day not in full]

    @cached_property
    def _store(self) -> KeyframeStore:
        return KeyframeStore.open(self.store, self.files)

    @cached_property
    def clip(self) -> Clip:
        """What lies outside the outline, for all days and bands."""
        return Clip(self.job.grid)

    @cached_property
    def uncertainties(self) -> dict[str, int | None]:
        """Keys of the rasters of uncertainty, and the band of each, None being the one that has the largest."""
        each = {uncertainty_of(name): band for band, name in enumerate(self.job.bands)}
        return {UNCERTAINTY: None, **(each if self.each_uncertainty else {})}

    def _publish(self, day: int, group: DayGroup, draft: "Draft") -> None:
        """Describe a written day and put it in its place, whole."""
        read = self.job.windows[group.window].read
        keys = (*self.job.bands, "visual", *QUALITY, *self.uncertainties)
        written = {key: draft.written[key] for key in keys if key in draft.written}
        draft.add_pictures(written)
        images = DayImages(
            day=self.job.days.day(day),
            window=DateRange(self.job.days.day(read.start), self.job.days.day(read.stop - 1)),
            written=DayFiles(
                {key: one.file for key, one in written.items()},
                {key: found for key, one in written.items() if (found := _statistics(key, one))},
                display_bands(self.job.bands),
            ),
            quality=draft.seen.quality(doubts=self.doubts),
            scenes=self._shaping(group.window),
        )
        place = self._place(day)
        item = day_item(self.job, images, self.out / place.name, self.created)
        item.properties[FINGERPRINT] = self.keys[day]
        write_json(draft.folder / f"{item.id}.json", item.to_dict(include_self_link=False))
        draft.put_in_place()
        self.files.publish(place)
        logger.debug("%s: %d files", item.id, len(written))

    def _shaping(self, window: int) -> tuple[Scene, ...]:
        """Return the scenes with a clear look that was used in this window."""
        looks = self._store.looks(window)
        return tuple(scene for scene, count in zip(self.job.scenes, looks, strict=True) if count)


def _statistics(key: str, raster: WrittenRaster) -> list[Statistics]:
    """Those of a raster's bands; none of bit fields, of which a mean says nothing."""
    return [] if key == "flags" else [found for found in raster.statistics if found is not None]


def _write_quality(task: WriteTask, view: DayView, drafts: Mapping[int, Draft]) -> None:
    """`clear_distance`, `flags`, and `uncertainty` where the method knows it."""
    rasters = {day: _quality_rasters(task, view, (day, draft.folder)) for day, draft in drafts.items()}
    for cells in _rows(view):
        top = cells[0].core.y.start
        outside, uncertainty = task.clip.outside(cores_of(cells)), view.uncertainty(cells)
        for day, found in zip(drafts, view.quality(list(drafts), cells), strict=True):
            if outside is not None:
                found.forget(outside)
            drafts[day].seen.add(found, 0 if outside is None else int(outside.sum()))
            open_ = rasters[day]
            open_["clear_distance"].write(found.distance, top)
            open_["flags"].write(found.flags, top)
            for key, band in task.uncertainties.items():
                if key in open_:
                    open_[key].write(quantise(uncertainty.of(day, found.distance, band)), top)
    for day, draft in drafts.items():
        for key, raster in rasters[day].items():
            draft.close(key, raster)
        for key in set(task.uncertainties) & set(draft.written):
            if draft.written[key].is_empty:
                draft.written.pop(key).file.path.unlink()


def _quality_rasters(task: WriteTask, view: DayView, at: tuple[int, Path]) -> dict[str, Raster]:
    """Open the rasters of a day that say how far to trust it."""
    found = {
        "clear_distance": _raster(task, at, "clear_distance", "uint8", nodata=NO_LOOK),
        "flags": _raster(task, at, "flags", "uint8"),
    }
    if view.has_uncertainty:
        found |= {key: _raster(task, at, key, "uint16") for key in task.uncertainties}
    return found


def _raster(task: WriteTask, at: tuple[int, Path], key: str, dtype: str, *, nodata: int = NODATA) -> Raster:
    """Open the COG of an asset of one band, which says what it is."""
    day, folder = at
    said = description_of(key, task.job.days.day(day))
    path, geobox = folder / f"{key}.tif", task.job.grid.geobox
    return Raster(path, geobox, dtype, nodata=nodata, encoding=task.encoding, said=said)


def _rows(view: DayView) -> Iterator[tuple]:  # type: ignore[type-arg]
    layout = view.contents.layout
    return (layout.row(i) for i in range(layout.counts[0]))


def _write_bands(task: WriteTask, view: DayView, drafts: Mapping[int, Draft]) -> None:
    """The bands that are shown together with `visual`, the others one by one; as files where VRTs are misread."""
    rgb_bands = display_bands(task.job.bands)
    task = _write_together(task, view, drafts, tuple(dict.fromkeys(rgb_bands)), rgb_bands)
    for name in task.job.bands:
        if name not in rgb_bands:
            _write_together(task, view, drafts, (name,), ())


def _write_together(
    task: WriteTask, view: DayView, drafts: Mapping[int, Draft], names: Sequence[str], rgb_bands: Sequence[str]
) -> WriteTask:
    """Write some bands of all days, and those of the days that turn out not to be had by VRTs once more as files.

    Gives the task for the other bands, which makes files where GDAL reads VRTs otherwise.
    """
    rasters = {day: _opened(task, view, (day, draft.folder), names, rgb_bands) for day, draft in drafts.items()}
    pixels = [_pixels(task, view, drafts, name) for name in names]
    _write_rows(view, rasters, dict(zip(names, pixels, strict=True)), _Picture(rgb_bands, task.stretch))
    for day, open_ in rasters.items():
        for key, raster in open_.items():
            drafts[day].close(key, raster)
    as_files, misread = replace(task, knots=None), any(one.misread for one in pixels)
    wrong = drafts.keys() if misread else set[int]().union(*(one.wrong for one in pixels))
    for day in wrong:
        for key in rasters[day]:
            drafts[day].written.pop(key).file.path.unlink()
    if wrong:
        left = {day: draft for day, draft in drafts.items() if day in wrong}
        _write_together(as_files, view, left, names, rgb_bands)
    return as_files if misread else task


@dataclass(frozen=True)
class _Picture:
    """Bands that are shown, or none, and how."""

    bands: Sequence[str]
    stretch: str


def _write_rows(
    view: DayView, rasters: Mapping[int, _Open], pixels: Mapping[str, FilePixels | VirtualPixels], picture: _Picture
) -> None:
    """Fill the rasters of all days, row of cells by row of cells."""
    for cells in _rows(view):
        top = cells[0].core.y.start
        images = zip(*(one.rows(cells) for one in pixels.values()), strict=True)
        for open_, image in zip(rasters.values(), images, strict=True):
            dn = dict(zip(pixels, image, strict=True))
            for name, values in dn.items():
                open_[name].write(values, top)
            if picture.bands:
                shown = visual([dn[name] for name in picture.bands], picture.bands, picture.stretch)
                open_["visual"].write(shown, top)


def _pixels(task: WriteTask, view: DayView, drafts: Mapping[int, Draft], name: str) -> FilePixels | VirtualPixels:
    """Where the DN of a band come from; of the first one shown, a virtual day between two keyframes is read back."""
    band = task.job.bands.index(name)
    if task.knots is None:
        return FilePixels(view, band, list(drafts), task.clip)
    made = {day: recipe(task.knots, view, day, (band, name)) for day in drafts}
    between = max(made, key=lambda day: len(made[day].sources))
    is_first = name == display_bands(task.job.bands)[0]
    guard = (between, drafts[between].folder / f"{name}.vrt") if is_first else None
    return VirtualPixels(view, band, made, task.clip, guard)


def _opened(
    task: WriteTask, view: DayView, at: tuple[int, Path], names: Sequence[str], rgb_bands: Sequence[str]
) -> _Open:
    """Open what the bands of a day go to, in its folder, and `visual` where it is made with them."""
    found: _Open = {name: _band_raster(task, view, at, name) for name in names}
    if rgb_bands:
        found["visual"] = _picture_raster(task, at, rgb_bands)
    return found


def _band_raster(task: WriteTask, view: DayView, at: tuple[int, Path], name: str) -> Raster | VirtualRaster:
    """Open what a band of a day goes to: a COG, or a VRT over the COGs of the keyframes."""
    if task.knots is None:
        return _raster(task, at, name, "uint16")
    day, folder = at
    made = recipe(task.knots, view, day, (task.job.bands.index(name), name))
    said = description_of(name, task.job.days.day(day))
    return VirtualRaster(folder / f"{name}.vrt", vrt_of(made, task.job.grid, folder, said))


def _picture_raster(task: WriteTask, at: tuple[int, Path], rgb_bands: Sequence[str]) -> Raster | VirtualRaster:
    """Open what `visual` of a day goes to: a COG, or a VRT over those of its bands."""
    (day, folder), grid = at, task.job.grid
    said = description_of_picture(rgb_bands, task.job.days.day(day))
    if task.knots is None:
        path, encoding = folder / "visual.tif", task.encoding.of_pictures
        return Raster(path, grid.geobox, "uint8", count=len(rgb_bands), encoding=encoding, said=said)
    names, shades = [f"{name}.vrt" for name in rgb_bands], shades_of(rgb_bands, task.stretch)
    return VirtualRaster(folder / "visual.vrt", picture_vrt_of(names, shades, grid, said), len(rgb_bands))
