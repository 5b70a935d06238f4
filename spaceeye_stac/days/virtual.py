"""Virtual days: COGs of the keyframes, and for each band and day a small VRT that GDAL interpolates as it is read.

A folder of keyframe COGs is named by its day and what it is made from, so that neighbouring days, a run that goes on
and one that is brought up to date share it. It stands whole or not at all, with the checksums of its files: a power cut
may still empty what stood whole.
"""

import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import unescape

import numpy as np
import rasterio
from numpy.typing import NDArray

from spaceeye_stac.collection import KEYFRAME_COGS, WrittenFile, keyframe_item, write_json
from spaceeye_stac.days.blending import DayGroup, DayView
from spaceeye_stac.days.cog import (
    NODATA,
    SHA256,
    Encoding,
    Raster,
    quantise,
    written_file,
)
from spaceeye_stac.days.descriptions import SCALE, description_of_keyframe
from spaceeye_stac.days.encoder import CACHE_MB
from spaceeye_stac.days.vrt import KnotCog, Recipe
from spaceeye_stac.keyframes import LOCAL_FILES, Contents, Files, KeyframeStore, cores_of, digest
from spaceeye_stac.model import GridJob
from spaceeye_stac.pixels import Clip

UNIT_DN = math.sqrt(2)  # so days are within 0.71 DN before they are rounded, and none lies half-way between two DN
NAME_DIGITS = 12
CHECKSUMS = "SHA256SUMS"  # as sha256sum -c reads it
SOURCE = re.compile(r"<SourceFilename [^>]*>([^<]+)</SourceFilename>")


@dataclass(frozen=True)
class Knots:
    """Where the COGs of each knot stand: in `folder`, named by the `keys` of the windows."""

    folder: Path
    keys: tuple[str, ...]
    encoding: Encoding

    def place(self, contents: Contents, window: int, knot: int) -> Path:
        """Folder of one knot."""
        day = contents.days.day(contents.knots[window][knot])
        units = [float(unit) for unit in _units(contents, window, knot)]
        made_from = digest(self.keys[window], day, _kinds(contents, window, knot), units, str(self.encoding))
        return self.folder / KEYFRAME_COGS / f"{day}-{made_from[:NAME_DIGITS]}"


def knot_groups(contents: Contents, groups: Iterable[DayGroup]) -> list[tuple[int, int]]:
    """Window and index of every knot that the days of some groups are made from, each once."""
    found = {(group.window, group.knot) for group in groups}
    found |= {(group.window, group.knot + 1) for group in groups if len(group.days) > 1}
    return sorted((w, k) for w, k in found if k < len(contents.knots[w]))


def _around(contents: Contents, window: int, knot: int) -> range:
    """Days from the knot before to the knot after."""
    days = contents.knots[window]
    return range(days[max(knot - 1, 0)], days[min(knot + 1, len(days) - 1)] + 1)


def _kinds(contents: Contents, window: int, knot: int) -> tuple[str, ...]:
    """Images of a knot that some day is made from: "images" for the days between, "as_seen" for its own day."""
    days = contents.knots[window]
    day, near = days[knot], days[max(knot - 1, 0) : knot + 2]
    own = contents.as_seen and day in contents.acquired
    between = any(abs(other - day) > 1 for other in near) or (
        day == days[-1] and day + 1 in contents.windows[window].write
    )
    return (*(["images"] if between or not own else []), *(["as_seen"] if own else []))


def _units(contents: Contents, window: int, knot: int) -> NDArray[np.float64]:
    """Normalised value `(band,)` that is `UNIT_DN` under the strongest illuminance on the way to the neighbours."""
    illuminance = np.stack([contents.illuminance.at(day) for day in _around(contents, window, knot)]).astype(np.float64)
    strongest = np.nan_to_num(illuminance, nan=0).max(axis=0)
    return UNIT_DN * SCALE / np.where(strongest > 0, strongest, 1)


def _file(name: str, kind: str) -> str:
    return f"{name}.tif" if kind == "images" else f"{name}-{kind}.tif"


@dataclass(frozen=True)
class KnotTask:
    """Write the COGs of knots that are not there yet: uint16, nodata 0, with their unit as the scale."""

    job: GridJob
    store: Path
    knots: Knots
    files: Files = LOCAL_FILES

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.knots.folder

    def moved(self, folder: Path, files: Files) -> "KnotTask":
        """The same in a folder that is an image of the run's."""
        store = folder / self.store.relative_to(self.folder)
        return replace(self, store=store, knots=replace(self.knots, folder=folder), files=files)

    def __call__(self, at: tuple[int, int]) -> None:
        """Write those of one window and knot."""
        store = KeyframeStore.open(self.store, self.files)
        window, knot = at
        place = self.knots.place(store.contents, window, knot)
        kinds = _kinds(store.contents, window, knot)
        self.files.bring([place / CHECKSUMS])  # which comes last
        if place.is_dir():
            return
        store.bring_knots(window, (knot,))
        draft, day = place.with_name(f".{place.name}.partial"), store.contents.knots[window][knot]
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        view = DayView(store, DayGroup(window, knot, range(day, day + 1)))
        with ExitStack() as cleaning, rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            cleaning.callback(shutil.rmtree, draft, ignore_errors=True)
            files = {}
            for band, name in enumerate(self.job.bands):
                for kind in kinds:
                    path = draft / _file(name, kind)
                    files[path.stem] = self._write(view, path, kind, band)
            document = draft / f"{place.name}.json"
            write_json(document, keyframe_item(self.job, place.name, self.job.days.day(day), files))
            written = [*(file for file, _ in files.values()), written_file(document)]
            (draft / CHECKSUMS).write_bytes(_checksums(written))
            draft.rename(place)
            self.files.keep(place, last=CHECKSUMS)

    @cached_property
    def _clip(self) -> Clip:
        return Clip(self.job.grid)

    def _write(self, view: DayView, path: Path, kind: str, band: int) -> tuple[WrittenFile, float]:
        """Write one; gives its file, and the unit of its values."""
        known, group, grid = view.contents, view.group, self.job.grid
        unit = float(_units(known, group.window, group.knot)[band])
        if kind == "as_seen":  # the very image of its day, in its DN
            unit = SCALE / float(known.illuminance.at(group.days[0])[band])
        said = description_of_keyframe(self.job.bands[band], self.job.days.day(group.days[0]), unit)
        encoding = replace(self.knots.encoding, overviews="FORCE_USE_EXISTING")
        raster = Raster(path, grid.geobox, "uint16", encoding=encoding, said=said)
        for i in range(known.layout.counts[0]):
            cells = known.layout.row(i)
            values = quantise(view.image(kind, group.knot, band, cells), unit)
            outside = self._clip.outside(cores_of(cells))
            if outside is not None:
                values[outside] = NODATA
            raster.write(values, cells[0].core.y.start)
        return raster.close().file, unit


def recipe(knots: Knots, view: DayView, day: int, band: tuple[int, str]) -> Recipe:
    """How to make a band (index and name) of one day of a view."""
    known, window, knot, days = view.contents, view.group.window, view.group.knot, view.knots
    index, name = band
    illuminance = float(known.illuminance.at(day)[index])

    def source(at: int, kind: str) -> tuple[KnotCog, float]:
        unit = SCALE / illuminance if kind == "as_seen" else float(_units(known, window, at)[index])
        return KnotCog(kind, at, unit, knots.place(known, window, at) / _file(name, kind)), illuminance * unit / SCALE

    if known.as_seen and day in known.acquired:
        return Recipe((source(days.index(day), "as_seen"),))
    if day == days[knot] or view.is_after(day):
        return Recipe((source(knot, "images"),))
    span = days[knot], days[knot + 1] - days[knot], day
    return Recipe((source(knot, "images"), source(knot + 1, "images")), span)


def _checksums(files: Iterable[WrittenFile]) -> bytes:
    """The names of COGs and of their item, each with its sha256, as sha256sum writes them."""
    sums = sorted((file.path.name, file.checksum.removeprefix(SHA256)) for file in files)
    return "".join(f"{found}  {name}\n" for name, found in sums).encode()


def _is_intact(folder: Path) -> bool:
    """Whether a folder of keyframe COGs holds those that were written, byte by byte."""
    paths = [*folder.glob("*.tif"), *folder.glob("*.json")]
    try:
        return (folder / CHECKSUMS).read_bytes() == _checksums(map(written_file, paths)) != b""
    except OSError:
        return False


def drop_torn_knot_cogs(folder: Path) -> None:
    """Remove from a run's folder the keyframe COGs that are not what was written; they are made anew."""
    places = [place for place in (folder / KEYFRAME_COGS).glob("*/") if not place.name.startswith(".")]
    with ThreadPoolExecutor() as pool:
        for place, is_intact in zip(places, pool.map(_is_intact, places), strict=True):
            if not is_intact:
                shutil.rmtree(place)


def bring_knot_cogs(knots: Knots, contents: Contents, group: DayGroup, files: Files) -> None:
    """Have here the keyframe COGs that the days of a group read."""
    ends = (group.knot, group.knot + 1)[: len(contents.knots[group.window]) - group.knot]
    sums = [knots.place(contents, group.window, knot) / CHECKSUMS for knot in ends]
    files.bring(sums)
    named = [path.parent / line.split(maxsplit=1)[1] for path in sums if path.is_file() for line in _lines(path)]
    files.bring(named)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def knot_cogs_of(place: Path) -> list[Path]:
    """Return the keyframe COGs that the VRTs of a day's folder read, each once."""
    return sorted(set(_sources(place)))


def _sources(place: Path) -> Iterator[Path]:
    for vrt in place.glob("*.vrt"):
        for name in SOURCE.findall(vrt.read_text(encoding="utf-8", errors="replace")):
            if "/" in name:  # not one of the day's own bands
                yield Path(os.path.normpath(place / unescape(name)))


def reuse_knot_cogs(place: Path, folder: Path, copy: Callable[[str, str], None]) -> None:
    """Bring the keyframe COGs of a day's folder `place` into the run's folder `folder`, but for torn ones."""
    for earlier in sorted({source.parent for source in knot_cogs_of(place)}):
        target = folder / KEYFRAME_COGS / earlier.name
        draft = target.with_name(f".{target.name}.partial")
        if not target.is_dir() and _is_intact(earlier):
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(earlier, draft, copy_function=copy)
            draft.rename(target)


def drop_unused_knot_cogs(folder: Path, places: Sequence[Path]) -> None:
    """Remove the keyframe COGs that no day of a run's folder reads."""
    used = {source.parent for place in places for source in knot_cogs_of(place)}
    for entry in (folder / KEYFRAME_COGS).glob("*/"):
        if entry not in used:
            shutil.rmtree(entry)
    if not used:
        shutil.rmtree(folder / KEYFRAME_COGS, ignore_errors=True)
