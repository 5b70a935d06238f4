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
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio import DatasetReader
from rasterio.coords import disjoint_bounds
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import DEFAULT_GDAL_ENV, AutoParallelRioReader, SingleThreadedRioDataset

from spaceeye_stac.errors import ReadError, keep_secrets_from, shown
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.profiles import profile_named
from spaceeye_stac.query import Json

LABELS = "labels"
READ_THREADS = 8
COARSER = 0.75
DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")
BAND_TYPES = ("uint16", "int16")
LABEL_TYPES = ("uint8", "uint16", "int16")
SAME_PIXELS = 0.01
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
    """DN `(scene, band, y, x)` and labels `(scene, y, x)`, both uint16, 0 where there is no data."""

    values: NDArray[np.uint16]
    labels: NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class _Source:
    """One asset to read, and how its href is signed."""

    scene: Scene
    name: str
    asset: BandAsset
    signing: Signing

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
    asset, types = source.asset, LABEL_TYPES if source.name == LABELS else BAND_TYPES
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


class _Readers:
    """Makes stackstac's readers: what it takes for an asset's URL is a number in `sources`, never an address.

    No dataclass, as dask would look for arrays in all that one holds, which takes longer than to read.
    """

    def __init__(self, sources: Sequence[_Source]) -> None:
        self.sources = sources

    def __call__(self, *, url: str, **options: Any) -> "_StrictReader":  # noqa: ANN401 - as stackstac hands them
        """Return the reader of source number `url`."""
        return _StrictReader(self.sources[int(url)], url=url, **options)

    def __dask_tokenize__(self) -> int:
        return id(self)


class _StrictReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, for which any failure names the asset and none becomes nodata.

    The href is signed when the file is opened; where the store refuses the token, once more with a fresh one.
    """

    def __init__(self, source: _Source, **options: Any) -> None:  # noqa: ANN401 - as stackstac hands them
        super().__init__(**options)
        self.source = source
        self.place = ""

    def _open(self) -> SingleThreadedRioDataset:
        """Open the file, nothing but GeoTIFF or JPEG 2000, and look at its header once."""
        with self.gdal_env.open:
            dataset = DatasetReader(_gdal_name(self.place), driver=list(DRIVERS), sharing=False)
            self.source.check(dataset)
        here = {"crs": self.source.scene.epsg, "transform": dataset.transform}
        if self.spec.vrt_params == {**here, "height": dataset.height, "width": dataset.width}:
            return SingleThreadedRioDataset(self.gdal_env, dataset)
        options = {"resampling": self.resampling, "add_alpha": dataset.nodata is None}
        with self.gdal_env.open_vrt:  # never inside the other: it may be the same, and then its settings would stay
            vrt = WarpedVRT(dataset, sharing=False, **options, **self.spec.vrt_params)
        return SingleThreadedRioDataset(self.gdal_env, dataset, vrt=vrt)

    def read(self, window: Window, **options: object) -> NDArray[np.uint16]:
        """Read a window; ReadError where that fails, without a cause, as the cause may tell the signed address."""
        if self.source.is_away_from(self.spec):
            return np.zeros((window.height, window.width), np.uint16)
        href, signing = self.source.asset.href, self.source.signing
        self.place = signing(href)
        why, pixels = self._tried(window, options)
        again = signing.renewed(href, self.place) if REFUSED.search(why) or CUT_OFF.search(why) else None
        if again is not None:
            self.place = again
            why, pixels = self._tried(window, options)
        if pixels is None:
            raise self.source.error(_in_words(why))
        return pixels

    def _tried(self, window: Window, options: Mapping[str, object]) -> tuple[str, NDArray[np.uint16] | None]:
        """Pixels, or what GDAL said; nothing stays open after a failure."""
        try:
            return "", np.asarray(super().read(window, **options))
        except ReadError:
            raise
        except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; none may pass
            said, cause = [repr(error)], error.__cause__
            while cause is not None:
                said.append(repr(cause))
                cause = cause.__cause__
        self.close()
        return "; ".join(said), None


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


def load(scenes: Sequence[Scene], geobox: GeoBox, *, resampling: Mapping[str, str], sign: Signer) -> Stacked:
    """Read every band and the labels of the scenes on the grid of `geobox`.

    Bands on that grid already are copied bit for bit; others are warped as `resampling` says for each (nodata never
    mixes in), labels always by nearest neighbour. Hrefs are signed here, at read time. Raises ReadError with the
    scene's id and the unsigned href when an asset is missing or unreadable: a failed read is never nodata.
    """
    how = {**resampling, LABELS: "nearest"}
    layers: dict[str, NDArray[np.uint16]] = {}
    for method in sorted(set(how.values())):
        names = [name for name in how if how[name] == method]
        array = _stack(scenes, names, geobox, method, sign)
        if len(names) == len(how):
            return Stacked(array[:, :-1], array[:, -1])
        layers |= {name: array[:, i] for i, name in enumerate(names)}
    return Stacked(np.stack([layers[name] for name in resampling], axis=1), layers[LABELS])


def _stack(
    scenes: Sequence[Scene], names: list[str], geobox: GeoBox, resampling: str, sign: Signer
) -> NDArray[np.uint16]:
    box = geobox.boundingbox
    signing = [sign(scene) for scene in scenes]
    sources = [
        _Source(scene, name, _asset(scene, name), own)
        for scene, own in zip(scenes, signing, strict=True)
        for name in names
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stackstac's own use of older pandas and pyproj calls
        array = stackstac.stack(
            [_plain_item(scene, names, i * len(names), geobox) for i, scene in enumerate(scenes)],
            assets=names,
            epsg=geobox.crs.epsg if geobox.crs else None,
            bounds=(box.left, box.bottom, box.right, box.top),
            resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
            snap_bounds=False,
            resampling=Resampling[resampling],
            chunksize=(1, 1, -1, -1),
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            sortby_date=False,
            xy_coords="center",
            properties=False,
            band_coords=False,
            errors_as_nodata=(),
            reader=_Readers(sources),
            gdal_env=_environment(scenes),
        )
        return np.asarray(array.data.compute(scheduler="threads", num_workers=READ_THREADS))


def _environment(scenes: Sequence[Scene]) -> LayeredEnv:
    """Return stackstac's GDAL settings with those of the scenes' profiles; what the environment sets goes before both.

    Credentials (AWS_ACCESS_KEY_ID ...) are GDAL's own affair, which finds them in the environment.
    """
    options = dict(PATIENCE)
    for name in sorted({scene.profile for scene in scenes if scene.profile}):
        options |= profile_named(name).gdal_env
    return DEFAULT_GDAL_ENV.updated(always={key: value for key, value in options.items() if key not in os.environ})


def _plain_item(scene: Scene, names: Sequence[str], first: int, geobox: GeoBox) -> Json:
    """Return what stackstac needs and nothing it could misread: numbers from `first` on instead of hrefs, no scale.

    Every item is said to lie on the grid, as stackstac drops those that do not, and the rest would change places.
    """
    return {
        "id": scene.id,
        "properties": {
            "datetime": scene.datetime.isoformat(),
            "proj:epsg": geobox.crs.epsg if geobox.crs else None,
            "proj:bbox": geobox.boundingbox.bbox,
        },
        "assets": {name: {"href": str(i), "type": "image/tiff"} for i, name in enumerate(names, start=first)},
    }


def _asset(scene: Scene, name: str) -> BandAsset:
    return scene.labels if name == LABELS else scene.bands[name]
