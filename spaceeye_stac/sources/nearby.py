"""Which items meet the region and days: servers may ignore both, and files know of neither."""

from collections.abc import Sequence
from datetime import UTC, date
from typing import Any

import shapely
from shapely import Geometry
from shapely.errors import ShapelyError
from shapely.geometry import shape

from spaceeye_stac.errors import NoScenesError
from spaceeye_stac.outlines import MAX_LATITUDE, footprint, split
from spaceeye_stac.query import DateRange, Json, Query
from spaceeye_stac.sources.sensing import time_of

MOSTLY = 0.5


def near(items: Sequence[Json], query: Query, days: DateRange) -> tuple[list[Json], list[str]]:
    """The items that a server was asked for, and a note on how many others it gave.

    Items that do not say where or when they are stay: what is wrong with them is said where they become scenes.
    """
    area = shape(query.geometry)
    shapely.prepare(area)
    here = [item for item in items if meets(item, area) is not False]
    now = [item for item in here if _is_within(item, days)]
    notes = []
    if len(here) < len(items):
        notes.append(_ignored(len(items) - len(here), len(items), "lie away from the region"))
    if len(now) < len(here):
        notes.append(_ignored(len(here) - len(now), len(items), "are not of the days asked for"))
    return now, notes


def _ignored(count: int, received: int, why: str) -> str:
    return f"{count} of {received} items that the server gave are left out: they {why}."


def meets(item: Json, area: Geometry) -> bool | None:
    """Whether an item's outline meets the region, both cut at 180 degrees; None where it has none that is an area."""
    place = footprint(item)
    try:
        return None if place is None else bool(area.intersects(shape(split(place))))
    except ShapelyError:
        return None


def _is_within(item: Json, days: DateRange) -> bool:
    """Whether an item is of these days, or does not say of which it is."""
    said = item.get("properties")
    if not isinstance(said, dict):
        return True
    start, stop = (_day(said.get("datetime") or said.get(name)) for name in ("start_datetime", "end_datetime"))
    return start is None or stop is None or (start <= days.stop and stop >= days.start)


def _day(text: object) -> date | None:
    when = time_of(text)
    try:
        return None if when is None else when.astimezone(UTC).date()
    except OverflowError:
        return None


def boxes_of(collection: Json) -> list[Any]:
    """The boxes of a collection's extent; none where it says nothing."""
    try:
        return list(collection["extent"]["spatial"]["bbox"])
    except (KeyError, TypeError):
        return []


def explain_swapped(area: Geometry, boxes: Sequence[Any]) -> None:
    """Raise NoScenesError where the region meets none of these boxes, but would with its coordinates swapped."""
    west, south, east, north = area.bounds
    if max(abs(west), abs(east)) > MAX_LATITUDE:
        return  # they can be no latitudes
    swapped = shapely.transform(area, lambda points: points[:, ::-1])
    extents = [place for place in (footprint({"geometry": None, "bbox": box}) for box in boxes) if place is not None]
    if any(place.intersects(swapped) for place in extents) and not any(place.intersects(area) for place in extents):
        raise NoScenesError(
            f"No scene found: {west:g},{south:g},{east:g},{north:g} lies outside of the catalog, and "
            f"{south:g},{west:g},{north:g},{east:g} lies within; write longitudes before latitudes."
        )


def region_notes(area: Geometry, items: Sequence[Json]) -> list[str]:
    """A sentence where the region lies mostly outside of all scenes, whose items these are."""
    places = [shape(split(place)) for place in map(footprint, items) if place is not None]
    if len(places) < len(items) or not places:
        return []
    try:
        share = shapely.union_all(places).intersection(area).area / area.area
    except ShapelyError:
        return []
    return [f"All scenes together cover {share:.1%} of the region."] if share < MOSTLY else []
