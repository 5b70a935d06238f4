"""Zones of a grid: named polygons, and how much of each pixel they cover."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry
from shapely.geometry import mapping, shape

from spaceeye_stac.days import Pixels
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import Grid

if TYPE_CHECKING:
    from pyproj import CRS

REGION = "region"
PARTS_OF_A_SIDE = 100
AREAS = ("Polygon", "MultiPolygon")
NO_ZONES = "zones is no GeoJSON geometry, feature or feature collection; name a GeoJSON file, or what has polygons."


@dataclass(frozen=True)
class Zone:
    """A part of a grid: the pixels it has a share in, those shares `weights` `(pixel,)` above 0 to 1, and its `area`.

    `area`: in pixels, with what lies outside the grid.
    """

    name: str
    pixels: Pixels
    weights: NDArray[np.float64]
    area: float


def whole_grid(grid: Grid) -> list[Zone]:
    """All pixels of a grid as one zone, "region"."""
    rows, columns = (found.ravel() for found in np.indices(grid.shape, np.int64))
    return [Zone(REGION, Pixels(rows, columns), np.ones(len(rows)), float(len(rows)))]


def zones_of(source: object, grid: Grid, name: str | None = None) -> list[Zone]:
    """The zones that a source describes, with the shares of the grid's pixels that they cover, by exactextract.

    Parameters
    ----------
    source
        GeoJSON as a file, a text or a dict, or anything with `__geo_interface__`, whose `crs` counts; else degrees.
    grid
        What the zones are carried over to.
    name
        Property that names the zones; left out, it is a feature's `id`, or else its number, from 1.

    Raises InvalidInputError for what holds no polygons, names them twice, or lies wholly outside the grid.

    """
    features, crs = _features(source)
    if not features:
        raise InvalidInputError("zones holds no feature; give at least one polygon.")
    named = {_name(feature, number, name): feature for number, feature in enumerate(features, 1)}
    if len(named) < len(features):
        by = "their id" if name is None else f"property {name!r}"
        raise InvalidInputError(f"Several zones have the same name by {by}; choose a property that tells them apart.")
    shapes = {key: _placed(_area(feature, key), crs, grid) for key, feature in named.items()}
    zones = _covered(shapes, grid)
    if not any(len(zone.pixels) for zone in zones):
        raise InvalidInputError("All zones lie outside the grid of the run; check their place and CRS.")
    return zones


def _features(source: object) -> tuple[list[Mapping[str, Any]], "CRS | None"]:
    """The features of a source, and their CRS; None where they are in degrees."""
    if isinstance(source, str | Path):
        source = _json(source)
    found: Any = getattr(source, "__geo_interface__", source)
    crs = getattr(source, "crs", None)
    try:
        if crs is None and found.get("crs") is not None:
            crs = found["crs"]["properties"]["name"]
        parts = found["features"] if found["type"] == "FeatureCollection" else [found]
        features = [part if part["type"] == "Feature" else {"geometry": part} for part in parts]
    except (AttributeError, LookupError, TypeError) as error:
        raise InvalidInputError(NO_ZONES) from error
    return features, _crs(crs)


def _json(source: str | Path) -> object:
    text = str(source)
    try:
        if not text.lstrip().startswith("{"):
            text = Path(source).read_text(encoding="utf-8-sig")
        return json.loads(text)
    except OSError as error:
        raise InvalidInputError(f"zones file {source} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"zones {str(source)[:80]} is no GeoJSON: {error}.") from error


def _crs(named: object) -> "CRS | None":
    from pyproj import CRS  # noqa: PLC0415 - only where zones name one
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    if named is None:
        return None
    try:
        return CRS.from_user_input(named)
    except CRSError as error:
        raise InvalidInputError(f"zones has the CRS {str(named)[:80]!r}, which is not known.") from error


def _name(feature: Mapping[str, Any], number: int, by: str | None) -> str:
    if by is None:
        return str(number if feature.get("id") is None else feature["id"])
    found = (feature.get("properties") or {}).get(by)
    if found is None:
        known = ", ".join(feature.get("properties") or {}) or "none"
        raise InvalidInputError(f"Zone {number} has no property {by!r} to be named by; its properties are {known}.")
    return str(found)


def _area(feature: Mapping[str, Any], name: str) -> Geometry:
    try:
        found = shapely.force_2d(shape(feature["geometry"]))
    except Exception as error:
        raise InvalidInputError(f"Zone {name!r} has no geometry that can be read; give it a polygon.") from error
    if found.geom_type not in AREAS or found.is_empty:
        raise InvalidInputError(f"Zone {name!r} is a {found.geom_type} without an area; give it a polygon.")
    if not found.is_valid:
        raise InvalidInputError(f"Zone {name!r} is no valid polygon: {shapely.is_valid_reason(found)}; mend it.")
    return found


def _placed(area: Geometry, crs: "CRS | None", grid: Grid) -> Geometry:
    """Carry a zone over to the CRS of the grid, with points on its sides where they bend."""
    from pyproj import CRS, Transformer  # noqa: PLC0415

    here, there = CRS.from_user_input(crs or 4326), CRS.from_user_input(str(grid.geobox.crs))
    if here == there:
        return area
    west, south, east, north = area.bounds
    dense = shapely.segmentize(area, max(east - west, north - south) / PARTS_OF_A_SIDE)
    carry = Transformer.from_crs(here, there, always_xy=True).transform
    return shapely.transform(dense, carry, interleaved=False)


def _covered(shapes: Mapping[str, Geometry], grid: Grid) -> list[Zone]:
    from exactextract import exact_extract  # noqa: PLC0415 - takes a while to load
    from exactextract.raster import NumPyRasterSource  # noqa: PLC0415

    box, (_, columns) = grid.geobox.boundingbox, grid.shape
    raster = NumPyRasterSource(np.broadcast_to(np.uint8(0), grid.shape), box.left, box.bottom, box.right, box.top)
    pixel = abs(grid.geobox.resolution.x * grid.geobox.resolution.y)
    zones = []
    for name, area in shapes.items():
        if shapely.box(*box).intersects(area):  # what was carried over to nowhere is infinite, and meets nothing
            feature = {"type": "Feature", "properties": {}, "geometry": mapping(area)}
            (found,) = exact_extract(raster, [feature], ["cell_id", "coverage"])
            cells, weights = (np.asarray(found["properties"][key]) for key in ("cell_id", "coverage"))
        else:
            cells, weights = np.zeros(0, np.int64), np.zeros(0)
        rows, places = np.divmod(cells.astype(np.int64), columns)
        zones.append(Zone(name, Pixels(rows, places), weights.astype(np.float64), float(area.area / pixel)))
    return zones
