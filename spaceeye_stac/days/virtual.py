"""Virtual days: COGs of the keyframes, and for each band and day a small VRT that GDAL interpolates as it is read.

A folder of keyframe COGs is named by its day and what it is made from, so that neighbouring days, a run that goes on
and one that is brought up to date share it. It stands whole or not at all, with the checksums of its files: a power cut
may still empty what stood whole.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from xml.sax.saxutils import escape, unescape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from spaceeye_stac.collection import KEYFRAME_COGS
from spaceeye_stac.days.blending import DayGroup, DayView
from spaceeye_stac.days.cog import (
    NODATA,
    SHA256,
    Encoding,
    Moments,
    Raster,
    WrittenRaster,
    quantise,
    written_file,
)
from spaceeye_stac.days.descriptions import (
    SCALE,
    Description,
    band_xml,
    dataset_xml,
    description_of_keyframe,
)
from spaceeye_stac.days.encoder import CACHE_MB
from spaceeye_stac.keyframes import Contents, KeyframeStore, cores_of, digest
from spaceeye_stac.model import Grid, GridJob
from spaceeye_stac.pixels import Clip

UNIT_DN = 0.5
COARSER = 2
HIGHEST = 65535
NAME_DIGITS = 12
LARGEST_DIFFERENCE_DN = 1
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
    """Normalised value `(band,)` that is half a DN under the strongest illuminance on the way to the neighbours."""
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

    def __call__(self, at: tuple[int, int]) -> None:
        """Write those of one window and knot."""
        store = KeyframeStore.open(self.store)
        window, knot = at
        place = self.knots.place(store.contents, window, knot)
        kinds = _kinds(store.contents, window, knot)
        if place.is_dir():
            return
        draft, day = place.with_name(f".{place.name}.partial"), store.contents.knots[window][knot]
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        view = DayView(store, DayGroup(window, knot, range(day, day + 1)))
        with ExitStack() as cleaning, rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            cleaning.callback(shutil.rmtree, draft, ignore_errors=True)
            for band, name in enumerate(self.job.bands):
                for kind in kinds:
                    self._write(view, draft / _file(name, kind), kind, band)
            (draft / CHECKSUMS).write_bytes(_checksums(draft))
            draft.rename(place)

    @cached_property
    def _clip(self) -> Clip:
        return Clip(self.job.grid)

    def _write(self, view: DayView, path: Path, kind: str, band: int) -> None:
        known, group = view.contents, view.group
        if kind == "as_seen":  # the very image of its day, in its DN
            illuminance = float(known.illuminance.at(group.days[0])[band])
            self._write_in_units(view, path, (kind, band), SCALE / illuminance)
            return
        unit = float(_units(known, group.window, group.knot)[band])
        if not self._write_in_units(view, path, (kind, band), unit):
            self._write_in_units(view, path, (kind, band), COARSER * unit)

    def _write_in_units(self, view: DayView, path: Path, what: tuple[str, int], unit: float) -> bool:
        """Whether every value is small enough for the unit; those that are not are cut off."""
        grid, layout, (kind, band) = self.job.grid, view.contents.layout, what
        day = self.job.days.day(view.group.days[0])
        said = description_of_keyframe(self.job.bands[band], day, unit)
        raster = Raster(path, grid.geobox, "uint16", encoding=self.knots.encoding, said=said)
        fits = True
        for i in range(layout.counts[0]):
            cells = layout.row(i)
            image = view.image(kind, view.group.knot, band, cells)
            fits &= not bool((image > HIGHEST * unit).any())
            values = quantise(image, unit)
            outside = self._clip.outside(cores_of(cells))
            if outside is not None:
                values[outside] = NODATA
            raster.write(values, cells[0].core.y.start)
        raster.close()
        return fits


@dataclass(frozen=True)
class Recipe:
    """What a day's band is made from: COGs, each with what its values are multiplied by to be DN.

    `between`: the first one's day, the days from there to the second's, and the day.
    """

    sources: tuple[tuple[Path, float], ...]
    between: tuple[int, int, int] | None = None


def recipe(knots: Knots, view: DayView, day: int, band: tuple[int, str]) -> Recipe:
    """How to make a band (index and name) of one day of a view."""
    known, window, knot, days = view.contents, view.group.window, view.group.knot, view.knots
    index, name = band
    illuminance = float(known.illuminance.at(day)[index])

    def source(at: int, kind: str) -> tuple[Path, float]:
        path = knots.place(known, window, at) / _file(name, kind)
        return path, illuminance * _unit_of(path) / SCALE

    if known.as_seen and day in known.acquired:
        return Recipe((source(days.index(day), "as_seen"),))
    if day == days[knot] or view.is_after(day):
        return Recipe((source(knot, "images"),))
    span = days[knot], days[knot + 1] - days[knot], day
    return Recipe((source(knot, "images"), source(knot + 1, "images")), span)


@lru_cache(maxsize=4096)
def _unit_of(path: Path) -> float:
    """What a keyframe COG's values are in; the same for every file of that name, which stands for its content."""
    with rasterio.open(path) as cog:
        return float(cog.scales[0])


def vrt_of(found: Recipe, grid: Grid, folder: Path, said: Description) -> str:
    """Write a recipe down as a VRT that lies in `folder`: uint16, nodata 0, on the grid of its sources."""
    height, width = grid.shape
    place = ", ".join(repr(float(value)) for value in grid.geobox.transform.to_gdal())
    kind, function = "", ""
    if found.between:
        start, gap, day = found.between
        kind = ' subClass="VRTDerivedRasterBand"'
        function = (
            "  <PixelFunctionType>interpolate_linear</PixelFunctionType>\n"
            f'  <PixelFunctionArguments t0="{start}" dt="{gap}" t="{day}"/>\n'
            "  <SourceTransferType>Float64</SourceTransferType>\n"
        )
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">\n'
        f" <SRS>EPSG:{grid.epsg}</SRS>\n <GeoTransform>{place}</GeoTransform>\n{dataset_xml(said)}"
        f' <VRTRasterBand dataType="UInt16" band="1"{kind}>\n'
        f"  <NoDataValue>{NODATA}</NoDataValue>\n{band_xml(said)}{function}"
        + "".join(_source(path, ratio, folder, (width, height)) for path, ratio in found.sources)
        + " </VRTRasterBand>\n</VRTDataset>\n"
    )


def _source(path: Path, ratio: float, folder: Path, size: tuple[int, int]) -> str:
    """One source; not shared, as readers of several threads would then share one file handle."""
    name = escape(Path(os.path.relpath(path, folder)).as_posix())
    return (
        f'  <ComplexSource>\n   <SourceFilename relativeToVRT="1" shared="0">{name}</SourceFilename>\n'
        "   <SourceBand>1</SourceBand>\n"
        f'   <SourceProperties RasterXSize="{size[0]}" RasterYSize="{size[1]}" DataType="UInt16"/>\n'
        f"   <NODATA>{NODATA}</NODATA>\n   <ScaleOffset>0</ScaleOffset>\n   <ScaleRatio>{ratio!r}</ScaleRatio>\n"
        "  </ComplexSource>\n"
    )


class VirtualRaster:
    """A VRT in the place of a `Raster`: what would be written is compared with what GDAL reads from it.

    `holds`: whether all was the same within 1 DN, nodata exactly.
    """

    def __init__(self, path: Path, grid: Grid, found: Recipe, said: Description) -> None:
        self.path, self.holds = path, True
        self._moments = Moments(NODATA)
        path.write_text(vrt_of(found, grid, path.parent, said), encoding="utf-8")
        self._source = rasterio.open(path)

    def write(self, values: NDArray[np.unsignedinteger], top: int) -> None:
        """Compare `(y, x)` over the whole width, from row `top` on."""
        found = self._source.read(1, window=Window(0, top, values.shape[1], values.shape[0]))
        self._moments.add(found)
        difference = np.abs(found.astype(np.int32) - values)
        same_nodata = np.array_equal(found == NODATA, values == NODATA)
        self.holds &= same_nodata and int(difference.max()) <= LARGEST_DIFFERENCE_DN

    def close(self) -> WrittenRaster:
        """Finish; the statistics are those of the pixels as they are read."""
        self._source.close()
        return WrittenRaster(written_file(self.path), (self._moments.statistics(),))


def _checksums(folder: Path) -> bytes:
    """The names of the COGs in a folder, each with its sha256, as sha256sum writes them."""
    sums = ((written_file(path).checksum.removeprefix(SHA256), path.name) for path in sorted(folder.glob("*.tif")))
    return "".join(f"{found}  {name}\n" for found, name in sums).encode()


def _is_intact(folder: Path) -> bool:
    """Whether a folder of keyframe COGs holds those that were written, byte by byte."""
    try:
        return (folder / CHECKSUMS).read_bytes() == _checksums(folder) != b""
    except OSError:
        return False


def drop_torn_knot_cogs(folder: Path) -> None:
    """Remove from a run's folder the keyframe COGs that are not what was written; they are made anew."""
    places = [place for place in (folder / KEYFRAME_COGS).glob("*") if not place.name.startswith(".")]
    with ThreadPoolExecutor() as pool:
        for place, is_intact in zip(places, pool.map(_is_intact, places), strict=True):
            if not is_intact:
                shutil.rmtree(place)


def knot_cogs_of(place: Path) -> list[Path]:
    """Return the keyframe COGs that the VRTs of a day's folder read, each once."""
    return sorted(set(_sources(place)))


def _sources(place: Path) -> Iterator[Path]:
    for vrt in place.glob("*.vrt"):
        for name in SOURCE.findall(vrt.read_text(encoding="utf-8")):
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
    for entry in (folder / KEYFRAME_COGS).glob("*"):
        if entry not in used:
            shutil.rmtree(entry)
    if not used:
        shutil.rmtree(folder / KEYFRAME_COGS, ignore_errors=True)
