"""Scenes and a geobox to DN and labels on one grid; the only module that imports stackstac."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import stackstac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import DEFAULT_GDAL_ENV, AutoParallelRioReader

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.profiles import profile_named
from spaceeye_stac.query import Json
from spaceeye_stac.region import footprint

LABELS = "labels"
READ_THREADS = 8
COARSER = 0.75
DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")

Signer = Callable[[Scene], Callable[[str], str]]


@dataclass(frozen=True)
class Stacked:
    """DN `(scene, band, y, x)` and labels `(scene, y, x)`, both uint16, 0 where there is no data."""

    values: NDArray[np.uint16]
    labels: NDArray[np.uint16]


class _AssetError(Exception):
    """An asset, by the href it was opened with, and what went wrong."""

    def __init__(self, href: str, reason: str) -> None:
        super().__init__(href, reason)
        self.href, self.reason = href, reason


class _StrictReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, for which any failure names the asset and none becomes nodata."""

    def _open(self) -> object:
        opened = super()._open()
        driver = getattr(opened, "_driver", None) or opened.ds.driver
        if driver not in DRIVERS:
            raise _AssetError(self.url, f"is of the kind {driver}, and only GeoTIFF and JPEG 2000 are read")
        return opened

    def read(self, window: Window, **options: object) -> NDArray[np.uint16]:
        try:
            return np.asarray(super().read(window, **options))
        except _AssetError:
            raise
        except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; none may pass
            gone = "No such file" in f"{error!r} {error.__cause__!r}"
            raise _AssetError(self.url, "does not exist" if gone else "cannot be read") from None


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
    items = [_plain_item(scene, names, sign(scene)) for scene in scenes]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stackstac's own use of older pandas and pyproj calls
            array = stackstac.stack(
                items,
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
                reader=_StrictReader,
                gdal_env=_environment(scenes),
            )
            return np.asarray(array.data.compute(scheduler="threads", num_workers=READ_THREADS))
    except _AssetError as error:
        raise _read_error(error, scenes, items) from None  # the cause's text holds a signed href


def _environment(scenes: Sequence[Scene]) -> LayeredEnv:
    """Return stackstac's GDAL settings with those of the scenes' profiles; credentials come from the environment."""
    options: dict[str, str] = {}
    for name in sorted({scene.profile for scene in scenes if scene.profile}):
        options |= profile_named(name).gdal_env
    return DEFAULT_GDAL_ENV.updated(always=options)


def _plain_item(scene: Scene, names: Sequence[str], sign: Callable[[str], str]) -> Json:
    """Return what stackstac needs and nothing it could misread: no scale, one EPSG code, signed hrefs."""
    # stackstac leaves out, without a word, what this box does not touch; over 180 degrees a bbox would say nothing
    place = footprint(scene.item)
    assets = {name: {"href": sign(_asset(scene, name).href), "type": "image/tiff"} for name in names}
    return {
        "id": scene.id,
        "bbox": place.bounds if place is not None else None,
        "properties": {"datetime": scene.datetime.isoformat(), "proj:epsg": scene.epsg},
        "assets": assets,
    }


def _asset(scene: Scene, name: str) -> BandAsset:
    return scene.labels if name == LABELS else scene.bands[name]


def _read_error(error: _AssetError, scenes: Sequence[Scene], items: Sequence[Json]) -> ReadError:
    """Name scene and unsigned href of the asset that failed."""
    scene, name = next(
        (scene, name)
        for scene, item in zip(scenes, items, strict=True)
        for name, asset in item["assets"].items()
        if asset["href"] == error.href
    )
    return ReadError(
        f"Scene {scene.id}: asset {_asset(scene, name).href} {error.reason}; "
        "mend the source, or leave the scene out, and run again."
    )
