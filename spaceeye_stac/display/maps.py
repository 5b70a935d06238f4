"""Outlines drawn as a small map: inline SVG in the notebook's own colours."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shapely import Geometry

from spaceeye_stac.display.html import Html, element
from spaceeye_stac.outlines import footprint, joined, middle, polygons

SIDE = 220.0
EDGE = 8.0
SMALLEST = 6.0  # pixels; what is smaller gets a ring
REGION_COLOUR = "#e07b28"  # to be seen on white and on black
STYLE = "display:block;color:inherit;max-width:100%"


@dataclass(frozen=True)
class _View:
    """Degrees to pixels: the west and north end, and pixels in a degree of longitude and of latitude."""

    west: float
    north: float
    scale: tuple[float, float]
    size: tuple[float, float]

    @classmethod
    def of(cls, bounds: Sequence[float]) -> "_View":
        west, south, east, north = bounds
        shrunk = max(math.cos(math.radians((south + north) / 2)), 0.05)
        wide, high = max((east - west) * shrunk, 1e-9), max(north - south, 1e-9)
        unit = (SIDE - 2 * EDGE) / max(wide, high)
        return cls(west, north, (unit * shrunk, unit), (wide * unit + 2 * EDGE, high * unit + 2 * EDGE))

    def point(self, x: float, y: float) -> tuple[float, float]:
        return EDGE + (x - self.west) * self.scale[0], EDGE + (self.north - y) * self.scale[1]

    def path(self, outline: Geometry) -> str:
        """The outline's rings as an SVG path, without points that nobody would see."""
        plain = outline.simplify(0.5 / self.scale[1])
        return "".join(self._ring(ring.coords) for part in polygons(plain) for ring in (part.exterior, *part.interiors))

    def _ring(self, points: Any) -> str:  # noqa: ANN401 - shapely's coordinates have no type
        at = (self.point(*point[:2]) for point in points)
        return f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y in at)}Z"


def map_of(region: Mapping[str, Any] | None, items: Sequence[Mapping[str, Any]] = ()) -> Html:
    """The footprints of items, each place once and darker where many lie, under the outline of a region.

    `region` is a GeoJSON geometry in degrees, `items` are STAC items. An empty text where there is nothing to draw.
    """
    area = None if region is None else joined(dict(region))
    near = None if area is None else middle(area)
    prints = [found for item in items if (found := footprint(dict(item), near)) is not None]
    drawn = [*prints, *([] if area is None else [area])]
    if not drawn:
        return Html()
    bounds = [side([one.bounds[i] for one in drawn]) for i, side in enumerate((min, min, max, max))]
    view = _View.of(bounds)
    parts = [*_footprints(view, prints), *([] if area is None else _region(view, area))]
    size = {"width": f"{view.size[0]:.0f}", "height": f"{view.size[1]:.0f}"}
    named = {"viewBox": f"0 0 {size['width']} {size['height']}", "role": "img", "aria_label": "map of the region"}
    return element("svg", *parts, **size, **named, style=STYLE)


def _footprints(view: _View, prints: Sequence[Geometry]) -> Iterator[Html]:
    counts: dict[str, int] = {}
    for one in prints:
        path = view.path(one)
        counts[path] = counts.get(path, 0) + 1
    for path, count in counts.items():
        title = element("title", f"{count} scene{'s' if count > 1 else ''}")
        style = {"stroke": "currentColor", "stroke_opacity": ".55", "fill": "currentColor", "fill_opacity": ".07"}
        yield element("path", title, d=path, **style)


def _region(view: _View, area: Geometry) -> Iterator[Html]:
    west, south, east, north = area.bounds
    (left, top), (right, bottom) = view.point(west, north), view.point(east, south)
    colour = {"stroke": REGION_COLOUR, "stroke_width": "1.5"}
    yield element("path", d=view.path(area), **colour, fill=REGION_COLOUR, fill_opacity=".25", fill_rule="evenodd")
    if max(right - left, bottom - top) < SMALLEST:
        yield element("circle", cx=f"{(left + right) / 2:.1f}", cy=f"{(top + bottom) / 2:.1f}", r="7", **colour,
                      fill="none")  # fmt: skip
