"""What an asset says of its raster, in any version of STAC."""

import math
from typing import Any, TypedDict

from spaceeye_stac.model import unit_metres
from spaceeye_stac.query import Json

FINEST_METRES, COARSEST_METRES = 1.0, 1000.0
METRE, DEGREE_METRES = 1.0, 111_320.0


class RasterFields(TypedDict):
    """The fields of `BandAsset` that say how a raster lies."""

    resolution: float | None
    origin: tuple[float, float] | None
    shape: tuple[int, int] | None
    dtype: str | None
    height: float | None
    shear: tuple[float, float]
    epsg: int | None


def declared(asset: Json, name: str) -> Any | None:  # noqa: ANN401 - STAC fields are of any type
    """A raster field of an asset, wherever the STAC version at hand puts it (1.1 `bands`, 1.0 `raster:bands`)."""
    places = [asset, *(asset.get("bands") or [])[:1], *(asset.get("raster:bands") or [])[:1]]
    return next(
        (place[key] for place in places for key in (f"raster:{name}", name) if place.get(key) is not None), None
    )


def transform_of(asset: Json) -> tuple[float, ...] | None:
    """The six numbers of `proj:transform`, also where they stand in GDAL's order; None where it is absent.

    Without a rotation the fifth number is never 0, but in GDAL's order it is.
    """
    found = asset.get("proj:transform")
    if not found:
        return None
    first, second, third, fourth, fifth, sixth = (float(value) for value in found[:6])
    if fifth == 0 and first != 0 and second and sixth:
        first, second, third, fourth, fifth, sixth = second, third, first, fifth, sixth, fourth
    if not all(map(math.isfinite, (first, second, third, fourth, fifth, sixth))):
        raise ValueError(f"proj:transform {found} is not of six numbers")
    return first, second, third, fourth, fifth, sixth


def resolution_of(asset: Json, epsg: int | None = None) -> float | None:
    """Width of a pixel in units of the CRS, which are metres, feet or degrees.

    One that is absurd, in metres or in degrees where the CRS is not known, would lay an absurd grid: ValueError.
    """
    transform = transform_of(asset)
    found = transform[0] if transform else (asset.get("gsd") or declared(asset, "spatial_resolution"))
    if found is None:
        return None
    size = float(found)
    units = (METRE, DEGREE_METRES) if epsg is None else (unit_metres(epsg),)
    if not transform:  # what is measured on the ground is in metres, whatever the CRS
        size, units = size / (METRE if epsg is None else unit_metres(epsg)), units[:1]
    if not any(FINEST_METRES <= size * unit <= COARSEST_METRES for unit in units):
        raise ValueError(f"a pixel of {float(found):g} {_unit_name(units[0])} is no Sentinel-2 pixel")
    return size


def _unit_name(metres: float) -> str:
    return "m" if metres == METRE else "degrees" if metres > COARSEST_METRES else "units of its CRS"


def origin_of(asset: Json) -> tuple[float, float] | None:
    """Corner of the first pixel, in the CRS; None where the asset has no `proj:transform`."""
    transform = transform_of(asset)
    return (transform[2], transform[5]) if transform else None


def height_of(asset: Json) -> float | None:
    """Extent of a pixel from row to row; None where that is as high as it is wide and rows go from north to south."""
    transform = transform_of(asset)
    return transform[4] if transform and transform[4] != -transform[0] else None


def shear_of(asset: Json) -> tuple[float, float]:
    """The two numbers of `proj:transform` that turn a raster."""
    transform = transform_of(asset)
    return (transform[1], transform[3]) if transform else (0.0, 0.0)


def shape_of(asset: Json) -> tuple[int, int] | None:
    """Rows and columns; None where the asset has no `proj:shape`."""
    found = asset.get("proj:shape")
    return (int(found[0]), int(found[1])) if found else None


def dtype_of(asset: Json) -> str | None:
    """Type of the pixels; None where the asset does not say it."""
    found = declared(asset, "data_type")
    return None if found is None else str(found)


def raster_of(asset: Json, epsg: int | None) -> RasterFields:
    """What an asset says of its raster in a CRS, by the names of `BandAsset`."""
    return RasterFields(
        resolution=resolution_of(asset, epsg),
        origin=origin_of(asset),
        shape=shape_of(asset),
        dtype=dtype_of(asset),
        height=height_of(asset),
        shear=shear_of(asset),
        epsg=epsg,
    )
