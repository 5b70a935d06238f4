"""Scenes and a geobox to DN and labels on one grid; the only module that imports stackstac."""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import stackstac
from dask import threaded
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import DatasetReader
from rasterio.coords import disjoint_bounds
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import DEFAULT_GDAL_ENV, AutoParallelRioReader

from spaceeye_stac.errors import ReadError, keep_secrets_from, shown
from spaceeye_stac.model import NO_LABEL, BandAsset, Scene
from spaceeye_stac.profiles import profile_named
from spaceeye_stac.query import Json

LABELS = "labels"
READ_THREADS = 8
COARSER = 0.75
DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")
BAND_TYPES = ("uint16", "int16")
LABEL_TYPES = ("uint8", "uint16", "int16")
SAME_PIXELS = 0.01
EXACT_PIXELS = 1e-9  # 0 is none at all for GDAL
MAX_SIDE = 110_000
MAX_BLOCK_PIXELS = 2**27
REFUSED = re.compile(
    r"HTTP response code: 40[13]\b|AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch"
)
CUT_OFF = re.compile(r"Read failed")  # in the middle of a file GDAL does not tell a refusal from a damage
GONE = re.compile(r"No such file|HTTP response code: 404\b|does not exist|NoSuchKey|NoSuchBucket")
KEYLESS = re.compile(r"configuration options? not defined|InvalidCredentials|credentials not filled")
STRANGE = re.compile(r"not recognized as being in a supported file format")
# a store that is busy is asked again; one that does not answer is not waited for without end
PATIENCE = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}

keep_secrets_from(f"rasterio.{name}" for name in ("_base", "_env", "_err", "_io", "_path", "_warp", "vrt", "env"))


class Signing(Protocol):
    """What makes the hrefs of a scene readable."""

    def __call__(self, href: str) -> str:
        """Return the href with whatever it needs to be read now."""

    def renewed(self, href: str, refused: str) -> str | None:
        """Return the href with a fresh token where the store refused `refused`; None where there is no fresh one."""


Signer = Callable[[Scene], Signing]


@dataclass(frozen=True)
class Stacked:
    """DN `(scene, band, y, x)` uint16, 0 where there is no data, and labels `(scene, y, x)`, NO_LABEL where none is."""

    values: NDArray[np.uint16]
    labels: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class _Source:
    """One asset to read, and how its href is signed."""

    scene: Scene
    name: str
    asset: BandAsset
    signing: Signing
    resampling: Resampling

    @property
    def is_label(self) -> bool:
        """Whether it tells what a pixel shows, not how bright it is."""
        return self.name == LABELS

    def is_away_from(self, spec: RasterSpec) -> bool:
        """Whether the item says that the raster lies wholly outside of what is read."""
        asset = self.asset
        if asset.origin is None or asset.shape is None or asset.resolution is None:
            return False
        (left, top), (rows, columns), size = asset.origin, asset.shape, asset.resolution
        here = (left, top - rows * size, left + columns * size, top)
        if self.scene.epsg != spec.epsg:
            here = transform_bounds(self.scene.epsg, spec.epsg, *here, densify_pts=21)
        return bool(disjoint_bounds(here, spec.bounds))

    def error(self, why: str) -> ReadError:
        """Return the error that names scene and unsigned href."""
        return ReadError(
            f"Scene {self.scene.id}: asset {shown(self.asset.href)} {why}; "
            "mend the source, or leave the scene out, and run again."
        )

    def check(self, header: DatasetReader) -> None:
        """Compare a file's header with what the item says of it; ReadError names both."""
        why = next(filter(None, (_absurd(header), _misfit(header, self))), None)
        if why is not None:
            raise self.error(why)


def _absurd(header: DatasetReader) -> str | None:
    """Why a file cannot be a Sentinel-2 band whatever its item says, before anything is allocated for it."""
    if header.count != 1:
        return f"has {header.count} bands, and a band's file has one"
    if max(header.shape) > MAX_SIDE:
        return f"claims {header.height} x {header.width} pixels, and at most {MAX_SIDE} a side are read"
    rows, columns = header.block_shapes[0]
    if rows * columns > MAX_BLOCK_PIXELS:
        return f"is in blocks of {rows} x {columns} pixels, which is too much to read at once"
    return None


def _misfit(header: DatasetReader, source: _Source) -> str | None:
    """How a file differs from what its item says."""
    asset, types = source.asset, LABEL_TYPES if source.is_label else BAND_TYPES
    epsg = header.crs.to_epsg() if header.crs else None
    if epsg != source.scene.epsg:
        return f"is in {f'EPSG:{epsg}' if epsg else 'no known CRS'}, its item says EPSG:{source.scene.epsg}"
    if asset.shape is not None and header.shape != asset.shape:
        return f"has {_by(header.shape)} pixels, its item says {_by(asset.shape)}"
    if asset.origin is not None and asset.resolution is not None:
        here, said = header.transform, (asset.resolution, *asset.origin)
        found = (here.a, here.c, here.f)
        off = max(abs(a - b) for a, b in zip(found, said, strict=True)) / asset.resolution
        if off > SAME_PIXELS:
            return f"has {_lies(*found)}, its item says {_lies(*said)}"
    kind = header.dtypes[0]
    if asset.dtype is not None and kind != asset.dtype:
        return f"holds {kind}, its item says {asset.dtype}"
    return None if kind in types else f"holds {kind}, and {' or '.join(types)} is read"


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _lies(size: float, left: float, top: float) -> str:
    return f"pixels of {size:g} m from ({left:.10g}, {top:.10g})"


Sources = Mapping[str, _Source]
"""Assets to read, by what stackstac takes for their URL: never an address."""


class _Opaque:
    """No dataclass, and alike to itself alone: dask would hash all that one holds, which takes longer than to read."""

    def __dask_tokenize__(self) -> int:
        return id(self)


class _Readers(_Opaque):
    """Makes stackstac's readers."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def __call__(self, *, url: str, **options: Any) -> "_StrictReader":  # noqa: ANN401 - as stackstac hands them
        """Return the reader of the source that is called so."""
        return _StrictReader(self.sources[url], url=url, **options)


class _StrictReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, for which any failure names the asset and none becomes nodata.

    The href is signed when the file is opened; where the store refuses the token, once more with a fresh one. Bands
    give 0 where there is no data; labels stand as they are whatever nodata the file declares, NO_LABEL outside it:
    masks of cloud probability often declare 0, which is a sure clear look.
    """

    def __init__(self, source: _Source, **options: Any) -> None:  # noqa: ANN401 - as stackstac hands them
        super().__init__(**options | {"fill_value": NO_LABEL if source.is_label else 0})
        self.source, self.resampling = source, source.resampling
        self.raw = source.is_label

    def read(self, window: Window, **_options: object) -> NDArray[np.uint16]:
        """Read a window; ReadError where that fails, without a cause, as the cause may tell the signed address."""
        if self.source.is_away_from(self.spec):
            return np.full((window.height, window.width), self.fill_value, np.uint16)
        href, signing = self.source.asset.href, self.source.signing
        place = signing(href)
        why, pixels = self._tried(place, window)
        again = signing.renewed(href, place) if REFUSED.search(why) or CUT_OFF.search(why) else None
        if again is not None:
            why, pixels = self._tried(again, window)
        if pixels is None:
            raise self.source.error(_in_words(why))
        return pixels

    def _tried(self, place: str, window: Window) -> tuple[str, NDArray[np.uint16] | None]:
        """Pixels, or what GDAL said; nothing stays open."""
        try:
            # one environment for all: each new one searches the disk for GDAL's data
            with self.gdal_env.open, self._opened(place) as dataset:
                return "", self._pixels(dataset, window)
        except ReadError:
            raise
        except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; none may pass
            said, cause = [repr(error)], error.__cause__
            while cause is not None:
                said.append(repr(cause))
                cause = cause.__cause__
        return "; ".join(said), None

    def _opened(self, place: str) -> DatasetReader:
        """Open the file, nothing but GeoTIFF or JPEG 2000, and look at its header once."""
        dataset = DatasetReader(_gdal_name(place), driver=list(DRIVERS), sharing=False)
        try:
            self.source.check(dataset)
        except ReadError:
            dataset.close()
            raise
        return dataset

    def _pixels(self, dataset: DatasetReader, window: Window) -> NDArray[np.uint16]:
        lattice = _lattice(dataset, self.spec)
        if lattice is not None and (lattice.factor == 1 or self.resampling == Resampling.nearest):
            return self._copied(dataset, window, lattice)
        with WarpedVRT(dataset, sharing=False, **self._warp(dataset), **self.spec.vrt_params) as vrt:
            found = vrt.read(window=window, out_dtype=np.uint16, masked=not self.raw)
        # a second band is the alpha of a warped raster
        inside = found[1] != 0 if len(found) > 1 else ~np.ma.getmaskarray(found[0])
        return np.where(inside, np.ma.getdata(found[0]), np.uint16(self.fill_value))

    def _warp(self, dataset: DatasetReader) -> dict[str, Any]:
        """Exact for every pixel, so that the result does not depend on how the grid is cut."""
        options: dict[str, Any] = {"resampling": self.resampling, "tolerance": EXACT_PIXELS}
        if self.resampling in {Resampling.bilinear, Resampling.cubic}:
            scale = dataset.transform.a / self.spec.transform.a
            options |= {"XSCALE": scale, "YSCALE": scale}
        nodata = {"src_nodata": None, "add_alpha": True} if self.raw else {"add_alpha": dataset.nodata is None}
        return options | nodata

    def _copied(self, dataset: DatasetReader, window: Window, lattice: "_Lattice") -> NDArray[np.uint16]:
        """The file's pixels as they are, each so many times, the fill value outside."""
        rows = _Span.of(lattice.top + window.row_off, window.height, lattice.factor, dataset.height)
        columns = _Span.of(lattice.left + window.col_off, window.width, lattice.factor, dataset.width)
        if rows.count <= 0 or columns.count <= 0:
            return np.full((window.height, window.width), self.fill_value, np.uint16)
        source = Window(columns.start, rows.start, columns.count, rows.count)
        found = dataset.read(1, window=source, out_dtype=np.uint16, masked=not self.raw and _is_masked(dataset))
        values: NDArray[np.uint16] = np.ma.filled(found, self.fill_value)
        if values.shape == (window.height, window.width) and lattice.factor == 1:
            return values
        if lattice.factor > 1:
            values = values.repeat(lattice.factor, axis=0).repeat(lattice.factor, axis=1)
        out = np.full((window.height, window.width), self.fill_value, np.uint16)
        out[rows.target, columns.target] = values[rows.part, columns.part]
        return out


def _is_masked(dataset: DatasetReader) -> bool:
    """Whether the file has nodata other than 0, or a mask."""
    flags = dataset.mask_flag_enums[0]
    return MaskFlags.all_valid not in flags and not (MaskFlags.nodata in flags and dataset.nodata == 0)


@dataclass(frozen=True)
class _Lattice:
    """A file whose pixels are `factor` of the grid's wide and fall on its lines.

    `left`, `top`: where the grid's corner lies in the file, in the grid's pixels.
    """

    factor: int
    left: int
    top: int


def _lattice(dataset: DatasetReader, spec: RasterSpec) -> _Lattice | None:
    """How a file fits the grid; None where it has to be warped."""
    here, there = dataset.transform, spec.transform
    if dataset.crs is None or dataset.crs.to_epsg() != spec.epsg or here.b or here.d or here.e != -here.a:
        return None
    exact = here.a / there.a, (there.c - here.c) / there.a, (there.f - here.f) / there.e
    factor, left, top = (round(value) for value in exact)
    off = max(abs(a - b) for a, b in zip(exact, (factor, left, top), strict=True))
    return _Lattice(factor, left, top) if factor >= 1 and off < SAME_PIXELS else None


@dataclass(frozen=True)
class _Span:
    """Along one axis: `count` file pixels from `start`; the `part` of them, repeated, that goes to the `target`."""

    start: int
    count: int
    part: slice
    target: slice

    @classmethod
    def of(cls, first: int, length: int, factor: int, size: int) -> "_Span":
        """Cover `length` grid pixels from `first`, which counts from the file's edge, by a file of `size` pixels."""
        start, stop = max(first, 0), min(first + length, size * factor)
        low, high = start // factor, -(-stop // factor)
        part = slice(start - low * factor, stop - low * factor)
        return cls(low, high - low, part, slice(start - first, stop - first))


def _in_words(said: str) -> str:
    """What GDAL said, without an address."""
    if REFUSED.search(said):
        return "is refused by its store"
    if KEYLESS.search(said):
        return "needs keys that the environment does not give (see Access and trust in the README)"
    if GONE.search(said):
        return "does not exist"
    return "is no GeoTIFF or JPEG 2000, and only these are read" if STRANGE.search(said) else "cannot be read"


def _gdal_name(href: str) -> str:
    """What GDAL calls an href; rasterio knows all kinds but abfs, as container@account/path or container/path."""
    if not href.startswith(("abfs://", "abfss://")):
        return href
    parts = urlsplit(href)
    return f"/vsiaz/{parts.netloc.partition('@')[0]}{parts.path}"


def resampling_of(scenes: Sequence[Scene], geobox: GeoBox, choice: str) -> dict[str, str]:
    """Return how each band gets onto the grid: averaged where the grid is coarser than its pixels, else by `choice`."""
    size = abs(geobox.resolution.x)
    return {
        name: "average" if any((s.bands[name].resolution or size) < COARSER * size for s in scenes) else choice
        for name in scenes[0].bands
    }


def load(
    scenes: Sequence[Scene], geobox: GeoBox, *, resampling: Mapping[str, str], sign: Signer, label_halo: int = 0
) -> Stacked:
    """Read every band and the labels of the scenes on the grid of `geobox`, labels with `label_halo` pixels around it.

    Bands on that grid already are copied bit for bit; others are warped as `resampling` says for each (nodata never
    mixes in), labels always by nearest neighbour. Hrefs are signed here, at read time. Raises ReadError with the
    scene's id and the unsigned href when an asset is missing or unreadable: a failed read is never nodata.
    """
    padded = geobox.pad(label_halo)
    found = Stacked(
        np.empty((len(scenes), len(resampling), *geobox.shape), np.uint16),
        np.full((len(scenes), *padded.shape), NO_LABEL, np.uint16),
    )
    how, bands = {**resampling, LABELS: "nearest"}, list(resampling)
    parts = [(bands, geobox), ([LABELS], padded)] if label_halo else [([*bands, LABELS], geobox)]
    for names, box in parts:
        sources = _sources(scenes, {name: how[name] for name in names}, sign)
        _read(_Into(found, sources), scenes, names, box)
    return found


def _sources(scenes: Sequence[Scene], resampling: Mapping[str, str], sign: Signer) -> Sources:
    """Assets to read; not every scene has labels."""
    found = {}
    for i, scene in enumerate(scenes):
        signing = sign(scene)
        for n, (name, method) in enumerate(resampling.items()):
            asset = scene.labels if name == LABELS else scene.bands[name]
            if asset is not None:
                found[_called(i, n)] = _Source(scene, name, asset, signing, Resampling[method])
    return found


class _Into(_Opaque):
    """Arrays of bands and labels, as what is read of some sources is put there."""

    def __init__(self, found: Stacked, sources: Sources) -> None:
        self.found, self.sources = found, sources

    def __setitem__(self, at: tuple[slice, ...], chunk: NDArray[np.uint16]) -> None:
        scene = at[0].start
        for name, image in enumerate(chunk[0]):
            source = self.sources.get(_called(scene, name))
            if source is not None:
                target = self.found.labels[scene] if source.is_label else self.found.values[scene, name]
                target[at[2:]] = image


def _read(into: _Into, scenes: Sequence[Scene], names: Sequence[str], geobox: GeoBox) -> None:
    """Read by stackstac, scene by scene into its place."""
    box = geobox.boundingbox
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stackstac's own use of older pandas and pyproj calls
        array = stackstac.stack(
            _plain_items(into.sources, scenes, names, geobox),
            assets=list(names),
            epsg=geobox.crs.epsg if geobox.crs else None,
            bounds=(box.left, box.bottom, box.right, box.top),
            resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
            snap_bounds=False,
            chunksize=(1, -1, -1, -1),
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            sortby_date=False,
            xy_coords="center",
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            reader=_Readers(into.sources),
            gdal_env=_environment(scenes),
        )
        array.data.store(into, lock=False, scheduler=threaded.get, num_workers=READ_THREADS)


def _environment(scenes: Sequence[Scene]) -> LayeredEnv:
    """Return stackstac's GDAL settings with those of the scenes' profiles; what the environment sets goes before both.

    Credentials (AWS_ACCESS_KEY_ID ...) are GDAL's own affair, which finds them in the environment.
    """
    options = dict(PATIENCE)
    masks = [scene.labels for scene in scenes if scene.labels is not None]
    names = {scene.profile for scene in scenes} | {mask.source.profile for mask in masks if mask.source is not None}
    for name in sorted(names - {""}):
        options |= profile_named(name).gdal_env
    return DEFAULT_GDAL_ENV.updated(always={key: value for key, value in options.items() if key not in os.environ})


def _plain_items(sources: Sources, scenes: Sequence[Scene], names: Sequence[str], geobox: GeoBox) -> list[Json]:
    """Return what stackstac needs and nothing it could misread: places instead of hrefs, no scale.

    Every item is said to lie on the grid, as stackstac drops those that do not, and the rest would change places.
    """
    grid = {"proj:epsg": geobox.crs.epsg if geobox.crs else None, "proj:bbox": geobox.boundingbox.bbox}
    return [
        {
            "id": scene.id,
            "properties": {"datetime": scene.datetime.isoformat(), **grid},
            "assets": {
                name: {"href": _called(i, n), "type": "image/tiff"}
                for n, name in enumerate(names)
                if _called(i, n) in sources
            },
        }
        for i, scene in enumerate(scenes)
    ]


def _called(scene: int, name: int) -> str:
    """What stackstac takes for the URL of the asset in this place."""
    return f"{scene}-{name}"
