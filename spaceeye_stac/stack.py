"""Scenes and a geobox to DN and labels on one grid; the only module that imports stackstac."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import stackstac
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import DEFAULT_GDAL_ENV, AutoParallelRioReader, ThreadLocalRioDataset

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import NO_LABEL, BandAsset, Scene
from spaceeye_stac.profiles import profile_named
from spaceeye_stac.query import Json

LABELS = "labels"
LABEL_TYPES = ("uint8", "uint16")
READ_THREADS = 8
COARSER = 0.75
DRIVERS = ("GTiff", "COG", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")

Signer = Callable[[Scene], Callable[[str], str]]


@dataclass(frozen=True)
class Stacked:
    """DN `(scene, band, y, x)` and labels `(scene, y, x)`, both uint16.

    DN are 0 where there is no data. Labels are the raster's own values, NO_LABEL outside it and where a scene has no
    mask; they may reach farther than the DN, by the same number of pixels on every side.
    """

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


class _RawReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, giving values as they stand whatever nodata the raster declares, NO_LABEL outside it.

    Masks of cloud probability often declare 0 as nodata, which is a sure clear look.
    """

    def _open(self) -> object:
        opened = super()._open()
        if isinstance(opened, ThreadLocalRioDataset):
            if opened._vrt_params is not None:  # noqa: SLF001 - stackstac offers no way to say it
                opened._vrt_params |= {"src_nodata": None, "nodata": None, "add_alpha": True}  # noqa: SLF001
                opened.close()  # every thread opens it anew, as now said
            kind = opened.dataset.dtypes[0]
        else:
            kind = opened.ds.dtypes[0]
            if opened.vrt is not None and opened.ds.nodata is not None:
                with self.gdal_env.open_vrt:
                    options = {"resampling": self.resampling, "src_nodata": None, "add_alpha": True}
                    opened.vrt = WarpedVRT(opened.ds, sharing=False, **options, **self.spec.vrt_params)
        if kind not in LABEL_TYPES:
            raise _AssetError(self.url, f"holds {kind}, and masks are read as {' or '.join(LABEL_TYPES)}")
        return opened

    def read(self, window: Window, **options: object) -> NDArray[np.uint16]:
        found = self.dataset.read(window=window, out_dtype=self.dtype, masked=False, **options)
        inside = found[1] != 0 if len(found) > 1 else True  # a second band is the alpha of a warped raster
        return np.asarray(np.where(inside, found[0], np.uint16(NO_LABEL)))


class _LabelReader(_StrictReader, _RawReader):
    """Both: raw values, and a failure that names the asset."""


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
    labels = _load_labels(scenes, geobox.pad(label_halo), sign)
    layers: dict[str, NDArray[np.uint16]] = {}
    for method in sorted(set(resampling.values())):
        names = [name for name in resampling if resampling[name] == method]
        array = _stack(scenes, names, geobox, method, sign)
        if len(names) == len(resampling):
            return Stacked(array, labels)
        layers |= {name: array[:, i] for i, name in enumerate(names)}
    return Stacked(np.stack([layers[name] for name in resampling], axis=1), labels)


def _load_labels(scenes: Sequence[Scene], geobox: GeoBox, sign: Signer) -> NDArray[np.uint16]:
    """Labels `(scene, y, x)`; NO_LABEL all over where a scene has no mask."""
    labels = np.full((len(scenes), *geobox.shape), NO_LABEL, np.uint16)
    masked = [n for n, scene in enumerate(scenes) if scene.labels is not None]
    if masked:
        labels[masked] = _stack([scenes[n] for n in masked], [LABELS], geobox, "nearest", sign)[:, 0]
    return labels


def _stack(
    scenes: Sequence[Scene], names: list[str], geobox: GeoBox, resampling: str, sign: Signer
) -> NDArray[np.uint16]:
    box = geobox.boundingbox
    reader, fill = (_LabelReader, NO_LABEL) if names == [LABELS] else (_StrictReader, 0)
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
                fill_value=np.uint16(fill),
                rescale=False,
                sortby_date=False,
                xy_coords="center",
                properties=False,
                band_coords=False,
                errors_as_nodata=(),
                reader=reader,
                gdal_env=_environment(scenes),
            )
            return np.asarray(array.data.compute(scheduler="threads", num_workers=READ_THREADS))
    except _AssetError as error:
        raise _read_error(error, scenes, items) from None  # the cause's text holds a signed href


def _environment(scenes: Sequence[Scene]) -> LayeredEnv:
    """Return stackstac's GDAL settings with those of the scenes' profiles; credentials come from the environment."""
    options: dict[str, str] = {}
    masks = [scene.labels for scene in scenes if scene.labels is not None]
    names = {scene.profile for scene in scenes} | {mask.source.profile for mask in masks if mask.source is not None}
    for name in sorted(names - {""}):
        options |= profile_named(name).gdal_env
    return DEFAULT_GDAL_ENV.updated(always=options)


def _plain_item(scene: Scene, names: Sequence[str], sign: Callable[[str], str]) -> Json:
    """Return what stackstac needs and nothing it could misread: no scale, one EPSG code, signed hrefs."""
    assets = {name: {"href": sign(_asset(scene, name).href), "type": "image/tiff"} for name in names}
    return {
        "id": scene.id,
        "bbox": scene.item.get("bbox"),
        "properties": {"datetime": scene.datetime.isoformat(), "proj:epsg": scene.epsg},
        "assets": assets,
    }


def _asset(scene: Scene, name: str) -> BandAsset:
    if name != LABELS:
        return scene.bands[name]
    if scene.labels is None:
        raise KeyError(f"scene {scene.id} has no mask")
    return scene.labels


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
