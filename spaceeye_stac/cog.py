"""One day's images to Cloud Optimized GeoTIFFs, a visual and a thumbnail; the only module that writes rasters."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import ColorInterp

from spaceeye_stac.model import NO_LOOK, DayFiles, Statistics, WrittenFile

SCALE = 0.0001
NODATA = 0
HIGHEST_DN = 65535
OVERVIEWS_ABOVE_PIXELS = 512
THUMBNAIL_PIXELS = 256
TILE_MULTIPLE = 16
SMALLEST_TILE = 128
TRUE_COLOUR = ("B04", "B03", "B02")
FALSE_COLOURS = (("B11", "B8A", "B05"), ("B12", "B8A", "B05"), ("B08", "B04", "B03"), ("B8A", "B06", "B05"))
BRIGHTEST_DN = {"B02": 3558, "B03": 3558, "B04": 3558}
BRIGHTEST_INFRARED_DN = 6000


def write_day(
    place: Path,
    geobox: GeoBox,
    bands: Iterable[tuple[str, NDArray[np.uint16]]],
    distance: NDArray[np.uint8],
    uncertainty: NDArray[np.float32] | None,
) -> DayFiles:
    """Write one day into the folder `place`: a COG per band, `visual`, `clear_distance`, `uncertainty`, `thumbnail`.

    `bands` gives names and DN `(y, x)`, one at a time, so that only the shown ones are held; `uncertainty` `(y, x)` is
    in reflectance.
    """
    rasters: dict[str, NDArray[np.unsignedinteger]] = {}
    files, found = {}, {}

    def put(key: str, values: NDArray[np.unsignedinteger], nodata: int = NODATA) -> None:
        files[key] = write_cog(place / f"{key}.tif", values, geobox, nodata=nodata)
        found[key] = [statistics(layer, nodata) for layer in (values if values.ndim == 3 else values[None])]  # noqa: PLR2004

    wanted = {name for three in (TRUE_COLOUR, *FALSE_COLOURS) for name in three}
    for name, values in bands:
        put(name, values)
        if name in wanted or not rasters:
            rasters[name] = values
    shown = display_bands(list(rasters))
    rgb = visual(rasters, shown)
    put("visual", rgb)
    put("clear_distance", distance, NO_LOOK)
    if uncertainty is not None and np.isfinite(uncertainty).any():
        put("uncertainty", quantise(uncertainty))
    files["thumbnail"] = write_thumbnail(place / "thumbnail.png", rgb)
    return DayFiles(files, found, shown)


def quantise(reflectance: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round reflectance to DN of 0.0001, at least 1 and at most 65535; NaN becomes 0, which is nodata."""
    scaled = np.rint(reflectance.astype(np.float64) / SCALE)
    return np.where(np.isnan(scaled), NODATA, np.clip(np.nan_to_num(scaled), 1, HIGHEST_DN)).astype(np.uint16)


def statistics(values: NDArray[np.unsignedinteger], nodata: int) -> Statistics:
    """Statistics of the pixels that are not nodata; at least one must be valid."""
    valid = values[values != nodata]
    return Statistics(
        minimum=float(valid.min()),
        maximum=float(valid.max()),
        mean=round(float(valid.mean(dtype=np.float64)), 4),
        stddev=round(float(valid.std(dtype=np.float64)), 4),
        valid_percent=round(100 * valid.size / values.size, 4),
    )


def write_cog(path: Path, values: NDArray[np.unsignedinteger], geobox: GeoBox, *, nodata: int) -> WrittenFile:
    """Write `(band, y, x)` or `(y, x)` as a COG: DEFLATE, overviews above 512 pixels, the same bytes every time."""
    layers = values if values.ndim == 3 else values[None]  # noqa: PLR2004
    count, height, width = layers.shape
    largest = max(height, width)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=count,
        height=height,
        width=width,
        dtype=values.dtype,
        crs=geobox.crs.to_wkt() if geobox.crs else None,
        transform=geobox.transform,
        nodata=nodata,
        compress="DEFLATE",
        level=1,
        predictor="STANDARD",
        blocksize=min(OVERVIEWS_ABOVE_PIXELS, max(SMALLEST_TILE, -(-largest // TILE_MULTIPLE) * TILE_MULTIPLE)),
        overviews="AUTO" if largest > OVERVIEWS_ABOVE_PIXELS else "NONE",
        overview_resampling="average" if values.dtype == np.uint16 else "nearest",
    ) as target:
        if count > 1:
            target.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        target.write(layers)
    return written(path)


def written(path: Path) -> WrittenFile:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(path, path.stat().st_size, f"1220{digest}")


def display_bands(bands: Sequence[str]) -> tuple[str, str, str]:
    """Return the bands shown as red, green and blue: true colour where possible, else a false colour or grey."""
    fitting = [three for three in (TRUE_COLOUR, *FALSE_COLOURS) if set(three) <= set(bands)]
    return fitting[0] if fitting else (bands[0],) * 3


def visual(images: Mapping[str, NDArray[np.uint16]], shown: Sequence[str]) -> NDArray[np.uint8]:
    """Stretch DN `(y, x)` of three bands to 8-bit RGB `(3, y, x)`, the same on every day; 0 is nodata."""
    layers = []
    for name in shown:
        top = BRIGHTEST_DN.get(name, BRIGHTEST_INFRARED_DN)
        stretched = np.clip(images[name].astype(np.float32) / top * 254 + 1, 1, 255)
        layers.append(np.where(images[name] == NODATA, 0, stretched).astype(np.uint8))
    return np.stack(layers)


def write_thumbnail(path: Path, rgb: NDArray[np.uint8]) -> WrittenFile:
    """Write `(3, y, x)` as a PNG with transparent nodata, about 256 pixels on its longer side."""
    alpha = np.where((rgb == 0).all(axis=0), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.dstack([*rgb, alpha]))
    height, width = rgb.shape[1:]
    factor = THUMBNAIL_PIXELS / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX).save(path)
    return written(path)
