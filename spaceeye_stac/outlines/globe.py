"""Outlines in degrees on a globe that is cut at 180 degrees: in one piece while working, split when written (RFC 7946).

In one piece, longitudes go on beyond 180 or below -180; nothing else here knows of any CRS.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry, MultiPolygon, Polygon
from shapely.affinity import translate
from shapely.errors import ShapelyError
from shapely.geometry import box, mapping, shape
from shapely.geometry.polygon import orient

from spaceeye_stac.outlines.crossings import valid

Json = dict[str, Any]
TURN = 360.0
HALF_TURN = 180.0
# what reading a document of others raises where something in it is not what it should be
MALFORMED = (
    ShapelyError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def joined(outline: Json | Geometry) -> Geometry:
    """A GeoJSON geometry in one piece: where its parts are closer over 180 degrees, western ones go on beyond it."""
    whole = outline if isinstance(outline, Geometry) else shape(outline)
    if _width(whole) <= HALF_TURN:
        return whole
    parts = [translate(part, TURN if part.centroid.x < 0 else 0) for part in shapely.get_parts(whole)]
    over = shapely.union_all(parts)
    return over if _width(over) < HALF_TURN else whole


def split(outline: Geometry) -> Json:
    """Return the GeoJSON geometry of an outline in one piece, cut where it crosses 180 degrees."""
    west, _, east, _ = outline.bounds
    if west >= -HALF_TURN and east <= HALF_TURN:
        return dict(mapping(outline))
    pieces = []
    for turns in (-1, 0, 1):
        globe = box(turns * TURN - HALF_TURN, -90, turns * TURN + HALF_TURN, 90)
        pieces += [translate(part, -turns * TURN) for part in polygons(outline.intersection(globe))]
    return dict(mapping(pieces[0] if len(pieces) == 1 else MultiPolygon(pieces)))


def bbox(outlines: Iterable[Json | Geometry]) -> tuple[float, float, float, float]:
    """(west, south, east, north) of geometries together; west > east where they lie on both sides of 180 degrees."""
    parts = [part for outline in outlines for part in shapely.get_parts(joined(outline))]
    west, south, east, north = joined(shapely.union_all(parts)).bounds
    return _in_range(west), float(south), _in_range(east), float(north)


def right_handed(outline: Json) -> Json:
    """The same polygons by RFC 7946: outer rings counterclockwise, holes clockwise, two numbers a position."""
    flat = shapely.force_2d(shape(outline))
    parts = [orient(part) for part in polygons(flat)]
    return dict(mapping(parts[0] if isinstance(flat, Polygon) else MultiPolygon(parts)))


def middle(outline: Json | Geometry) -> float:
    """Longitude of the middle, from -180 to 180."""
    west, _, east, _ = joined(outline).bounds
    return _in_range((west + east) / 2)


def unwrapped(outline: Geometry) -> Geometry:
    """Join an outline whose longitudes jump from one side of 180 degrees to the other between two points."""

    def steady(points: NDArray[np.float64]) -> NDArray[np.float64]:
        turns = np.rint((np.unwrap(points[:, 0], period=TURN) - points[:, 0]) / TURN)
        return np.column_stack([points[:, 0] + turns * TURN, points[:, 1]])

    if _width(outline) <= HALF_TURN:
        return outline
    return joined(shapely.union_all(polygons(valid(shapely.transform(outline, steady)))))


def footprint(item: Json, near: float | None = None) -> Geometry | None:
    """Where an item says it is, in one piece: its geometry, else its bbox, else None.

    Where `near`, a longitude, is given, it lies on the same turn of the globe.
    """
    found = _geometry_of(item) or _box_of(item)
    if found is None or near is None:
        return found
    west, _, east, _ = found.bounds
    return translate(found, TURN * round((near - (west + east) / 2) / TURN))


def polygons(outline: Geometry) -> list[Polygon]:
    """Return the polygons of an outline, without the points and lines in which outlines touch."""
    parts = shapely.get_parts(shapely.get_parts(outline))
    return [part for part in parts if isinstance(part, Polygon) and part.area > 0]


def _geometry_of(item: Json) -> Geometry | None:
    """The geometry of an item, where it is a valid area."""
    try:
        with np.errstate(all="ignore"):  # infinite coordinates are refused below
            found = unwrapped(joined(valid(shapely.force_2d(shape(item["geometry"])))))
    except MALFORMED:
        return None
    return found if polygons(found) and np.isfinite(found.bounds).all() else None


def _box_of(item: Json) -> Geometry | None:
    """The bbox of an item; where west > east it goes over 180 degrees, unless its corners are swapped."""
    try:
        west, south, east, north = (float(item["bbox"][i]) for i in (0, 1, len(item["bbox"]) // 2, -1))
        if len(item["bbox"]) > 4:  # noqa: PLR2004 - with heights
            north = float(item["bbox"][4])
        if west > east:
            west, east = (west, east + TURN) if west - east > HALF_TURN else (east, west)
        return box(west, south, east, north)
    except MALFORMED:
        return None


def _width(outline: Geometry) -> float:
    west, _, east, _ = outline.bounds
    return float(east - west)


def _in_range(longitude: float) -> float:
    """The longitude from -180 to 180; only what is beyond is turned, so that others keep every digit."""
    turned = longitude - TURN * round(longitude / TURN) if abs(longitude) > HALF_TURN else longitude
    return float(turned)
