"""Outlines that cross themselves, made valid in a time that does not grow without bound.

shapely's `make_valid` takes 80 s for a star of 200 points: it cuts ring by ring. Where crossings are many, the faces
between all sides are found at once and those are kept that lie inside by the same rule, an odd number of sides away.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Geometry, Polygon

FEW_CROSSINGS = 2  # of a side with others, on average
SAMPLED_SIDES = 100
MOST_SIDES = 250


def valid(outline: Geometry) -> Geometry:
    """The outline without crossings, its area by the even-odd rule; one with too many sides becomes its hull."""
    if outline.is_valid or not np.isfinite(shapely.get_coordinates(outline)).all():
        return shapely.make_valid(outline)
    parts = shapely.get_parts(outline)
    tangled = [isinstance(part, Polygon) and _crosses_itself_often(part) for part in parts]
    if not any(tangled):
        return shapely.make_valid(outline)
    found = [
        _untangled(part) if often else shapely.make_valid(part) for part, often in zip(parts, tangled, strict=True)
    ]
    return found[0] if len(found) == 1 else shapely.union_all(found)


def is_tangled(outline: Geometry) -> bool:
    """Whether the sides of a polygon in it cross many others."""
    if outline.is_valid:
        return False
    return any(isinstance(part, Polygon) and _crosses_itself_often(part) for part in shapely.get_parts(outline))


def _crosses_itself_often(part: Polygon) -> bool:
    sides = _sides(part)
    if not len(sides):
        return False
    lines = shapely.linestrings(sides)
    some = lines[:: max(1, len(lines) // SAMPLED_SIDES)]
    crossings = shapely.STRtree(lines).query(some, predicate="crosses").shape[1]
    return bool(crossings > FEW_CROSSINGS * len(some))


def _untangled(part: Polygon) -> Geometry:
    sides = _sides(part)
    if len(sides) > MOST_SIDES:
        return part.convex_hull
    faces = shapely.get_parts(shapely.polygonize([shapely.union_all([part.boundary])]))
    inside = faces[_are_inside(shapely.point_on_surface(faces), sides)]
    apart = shapely.multipolygons(inside)  # each side is between inside and outside, unless it is there twice
    return apart if apart.is_valid else shapely.coverage_union_all(inside)


def _are_inside(points: NDArray[np.object_], sides: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points have an odd number of sides to their east."""
    x, y = shapely.get_x(points)[:, None], shapely.get_y(points)[:, None]
    (x0, y0), (x1, y1) = sides[:, 0].T, sides[:, 1].T
    across = (y0 > y) != (y1 > y)
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    return np.asarray((across & (x < (x1 - x0) * (y - y0) / rise + x0)).sum(axis=1) % 2 == 1)


def _sides(part: Polygon) -> NDArray[np.float64]:
    """Start and end of every side of every ring `(side, 2, xy)`."""
    rings = [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
    return np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
