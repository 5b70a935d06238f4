"""Every item of a static catalog or ItemCollection over a region."""

import warnings
from collections.abc import Iterator, Sequence
from typing import cast

import pystac
from shapely import Geometry
from shapely.errors import ShapelyError
from shapely.geometry import shape

from spaceeye_stac.errors import NoScenesError
from spaceeye_stac.outlines import footprint, split
from spaceeye_stac.query import Json
from spaceeye_stac.sources.catalog import CatalogRoot, refusal_or
from spaceeye_stac.sources.transport import UNREADABLE, PatientFiles, reason


def from_static(root: CatalogRoot, area: Geometry) -> tuple[list[Json], str, list[str]]:
    """Every item of a static catalog that intersects the region, asset hrefs made absolute, as `from_api`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated extensions of old catalogs are migrated, not refused
            items, notes = _static_items(root)
    except UNREADABLE as error:
        raise refusal_or(error, f"Catalog {root.redacted} cannot be read: {reason(error)}.") from None
    near, odd = _touching(items, area)
    if not near:
        raise NoScenesError(
            f"No scene found: {len(items)} items in the catalog, 0 of them intersect the region; "
            f"compare bbox {_bounds(area)} with {_extent(items)}."
        )
    found, strange = _as_dicts(near)
    return (
        found,
        f"{len(items)} items in the catalog, {len(near)} of them intersect the region",
        [*notes, *odd, *strange],
    )


def _as_dicts(items: Sequence[pystac.Item]) -> tuple[list[Json], list[str]]:
    """The items as they are served, asset hrefs made absolute, and a note on each that cannot be written so."""
    found, notes = [], []
    for item in items:
        try:
            item.make_asset_hrefs_absolute()
            found.append(item.to_dict(transform_hrefs=False))
        except UNREADABLE as error:
            notes.append(f"Item {item.id} left out: it is malformed ({reason(error)}).")
    return found, notes


def _touching(items: Sequence[pystac.Item], area: Geometry) -> tuple[list[pystac.Item], list[str]]:
    """The items that intersect the region, and a note on each whose geometry is none."""
    near, notes = [], []
    for item in items:
        try:
            if _covers(item, area):
                near.append(item)
        except (ShapelyError, *UNREADABLE):
            notes.append(f"Item {item.id} left out: its geometry is malformed.")
    return near, notes


def _static_items(root: CatalogRoot) -> tuple[list[pystac.Item], list[str]]:
    """The items of a catalog's files, and a note on each feature of an ItemCollection that is none."""
    if root.document["type"] == "FeatureCollection":
        return _features(root)
    found = PatientFiles(root.trust.check_link).stac_object_from_dict(root.document, root.href)
    found.set_self_href(root.href)
    if isinstance(found, pystac.Item):
        return [found], []
    catalog = cast("pystac.Catalog", found)
    catalog.set_root(catalog)  # the root it names itself may lie anywhere, and is not needed
    return list(_walked(catalog, catalog, set())), []


def _features(root: CatalogRoot) -> tuple[list[pystac.Item], list[str]]:
    items, notes = [], []
    for feature in root.document["features"]:
        try:
            item = pystac.Item.from_dict(feature)
            item.set_self_href(item.get_self_href() or root.href)
            items.append(item)
        except UNREADABLE as error:
            notes.append(f"Item {feature.get('id')} left out: it is malformed ({reason(error)}).")
    return items, notes


def _walked(catalog: pystac.Catalog, root: pystac.Catalog, seen: set[str]) -> Iterator[pystac.Item]:
    """Every item below a catalog, each file once, whatever circles its links make."""
    for link in [*catalog.get_item_links(), *catalog.get_child_links()]:
        href = str(link.get_absolute_href())
        if href in seen:
            continue
        seen.add(href)
        target = link.resolve_stac_object(root=root).target
        if isinstance(target, pystac.Item):
            yield target
        elif isinstance(target, pystac.Catalog):
            yield from _walked(target, root, seen)


def _covers(item: pystac.Item, area: Geometry) -> bool:
    """Whether an item's geometry meets the region, both cut at 180 degrees; an item without one does not.

    Raises ValueError for a geometry that is no area.
    """
    if item.geometry is None:
        return False
    place = footprint({"geometry": item.geometry, "bbox": None})
    if place is None:
        raise ValueError(item.geometry)
    return bool(shape(split(place)).intersects(area))


def _bounds(area: Geometry) -> str:
    return ",".join(f"{v:g}" for v in area.bounds)


def _extent(items: Sequence[pystac.Item]) -> str:
    places = [footprint({"geometry": None, "bbox": item.bbox}) for item in items]
    boxes = [place.bounds for place in places if place is not None]
    if not boxes:
        return "an empty catalog"
    west, south = (min(box[i] for box in boxes) for i in (0, 1))
    east, north = (max(box[i] for box in boxes) for i in (2, 3))
    return f"the catalog's {west:g},{south:g},{east:g},{north:g}"
