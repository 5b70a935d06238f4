"""A query to scenes: static catalogs, ItemCollections and STAC APIs, none of which is trusted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from shapely import Geometry
from shapely.geometry import shape

from spaceeye_stac.errors import ItemError, NoMaskError, NoScenesError, redacted
from spaceeye_stac.model import Scene
from spaceeye_stac.outlines import middle
from spaceeye_stac.query import DateRange, Json, Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources.apis import from_api
from spaceeye_stac.sources.catalog import CatalogRoot, checked_scenes, open_catalog, open_named
from spaceeye_stac.sources.choosing import Candidates
from spaceeye_stac.sources.folders import from_static
from spaceeye_stac.sources.nearby import region_notes
from spaceeye_stac.sources.pairing import MaskItem
from spaceeye_stac.sources.scene_list import SceneList
from spaceeye_stac.sources.scenes import masks_from_items, scenes_from_items

SAID = 3
Found = TypeVar("Found")


def search(query: Query, settings: Settings | None = None) -> SceneList:
    """Find the scenes of a query, with those outside its days that serve as context.

    Parameters
    ----------
    query
        Region, days, bands and catalog.
    settings
        Their `duration` sets how far outside the days context is looked for (half a window).

    Returns scenes sorted by time and id, each with the wanted bands and its mask. Raises CatalogError, ItemError and
    NoScenesError, each with the value and the remedy.

    """
    root, days = open_catalog(query), _searched_days(query, settings)
    area = shape(query.geometry)  # cut at 180 degrees, as items are
    items, counted, short = from_api(root, query, days) if root.is_api else from_static(root, area)
    items, absent = _without_excluded(items, query)
    scenes, bad = _mapped(_scene_items(items, query), root, query, middle(query.geometry))
    ordered, counted = _in_time(scenes, days, counted)
    masks, unpairable = _masks(root, items, query, days) if query.mask_choice.separate else (None, [])
    notes = (*short, *absent, *bad, *unpairable, *region_notes(area, [scene.item for scene in ordered]))
    return Candidates(ordered, None if masks is None else tuple(masks), query, counted, notes).chosen()


def scenes_for(query: Query, settings: Settings | None, found: object) -> SceneList:
    """The scenes of a query among those that somebody has found already, without a search.

    `found`: scenes, which keep their masks, or items in any form in which `Query.catalog` takes them. Both are chosen
    from, and checked, as if a search had found them.
    """
    scenes = list(found) if isinstance(found, Sequence) else []
    if not scenes or not all(isinstance(one, Scene) for one in scenes):
        return search(replace(query, catalog=found), settings)
    checked = checked_scenes(scenes, query)
    ordered, counted = _in_time(checked, _searched_days(query, settings), f"{len(scenes)} scenes were given")
    notes = tuple(region_notes(shape(query.geometry), [scene.item for scene in ordered]))
    return Candidates(ordered, None, query, counted, notes).chosen()


def _searched_days(query: Query, settings: Settings | None) -> DateRange:
    """The days of the query and those around them that serve as context."""
    return (settings or Settings()).context_of(query.days)


def _in_time(scenes: Sequence[Scene], days: DateRange, counted: str) -> tuple[tuple[Scene, ...], str]:
    """The scenes of some days, in order, and how many there are; NoScenesError where there is none."""
    inside = [scene for scene in scenes if days.start <= scene.day <= days.stop]
    counted += f", {len(inside)} of them from {days.start} to {days.stop}"
    if not inside:
        raise NoScenesError(f"No scene found: {counted}.")
    return tuple(sorted(inside, key=lambda s: (s.datetime, s.id))), counted


def _mapped(items: Sequence[Json], root: CatalogRoot, query: Query, lon: float) -> tuple[list[Scene], list[str]]:
    """The items' scenes, and a note on each item that is none or names a place it may not.

    Raises the first one's ItemError where no item is good, and NoMaskError for a scene without the mask it must have.
    """
    name = root.profile.name if root.profile else None

    def read(item: Json) -> Scene:
        (scene,) = scenes_from_items([item], name, lon=lon, mask=query.mask_choice)
        return root.trust.checked_scene(scene)

    scenes, notes = _usable(items, read)
    return scenes, [f"{len(notes)} of {len(items)} items cannot be used.", *notes] if notes else []


def _usable(items: Iterable[Json], read: Callable[[Json], Found]) -> tuple[list[Found], list[str]]:
    """What `read` makes of each item, and a note on each of which it makes nothing.

    Raises the first one's ItemError where no item is good, and NoMaskError for a scene without the mask it must have.
    """
    found, bad, notes = list[Found](), list[ItemError](), list[str]()
    for item in items:
        try:
            found.append(read(item))
        except NoMaskError:
            raise
        except ItemError as error:
            bad.append(error)
            notes.append(_left_out(item, error))
    if bad and not found:
        raise _none_usable(bad)
    return found, notes


def _none_usable(errors: Sequence[ItemError]) -> ItemError:
    """The error of a search in which no item is good: why each of the first ones is not."""
    if len(errors) == 1:
        return errors[0]
    return ItemError(f"{' '.join(map(str, errors[:SAID]))} None of {len(errors)} items can be used.")


def _without_excluded(items: Sequence[Json], query: Query) -> tuple[list[Json], list[str]]:
    """The items but for those that the query excludes, and a note on each of these, and on each that was not there.

    Where masks are items of their own, a name that is not there may be that of a mask.
    """
    names = query.exclude or ()
    here = {item.get("id") for item in items if isinstance(item.get("id"), str)}
    notes = [f"Scene {name} left out: exclude names it." for name in names if name in here]
    if not query.mask_choice.separate:
        notes += [f"exclude names {name}, which was not found." for name in names if name not in here]
    return [item for item in items if not (isinstance(item.get("id"), str) and item["id"] in names)], notes


def _left_out(item: Json, error: ItemError) -> str:
    """What an ItemError says, as a note; it begins with the item's id."""
    name = item.get("id")
    said = (
        str(error).removeprefix("Mask item ").removeprefix("Item ").removeprefix(f"{name} ").removeprefix(f"{name!r} ")
    )
    return f"Item {name} left out: it {said}"


def _scene_items(items: Sequence[Json], query: Query) -> list[Json]:
    """The items of the collection that is named, but for those of masks, which may stand in the same catalog."""
    masks, own = query.mask_collection, query.collection
    named = [item for item in items if own is None or item.get("collection") == own]
    return [item for item in named if masks is None or item.get("collection") != masks]


def _masks(root: CatalogRoot, items: Sequence[Json], query: Query, days: DateRange) -> tuple[list[MaskItem], list[str]]:
    """The masks of a collection of them for the same region and days, and a note on each item that is none.

    `items` are what the scenes' search found. Raises the first one's ItemError where no item is a mask.
    """
    area, where = shape(query.geometry), root
    if query.mask_catalog is not None:
        where = open_named(query.mask_catalog, None, query)
    where = replace(where, collection=query.mask_collection or where.collection)
    if where.is_api:
        found, _, _ = from_api(where, query, days)
    elif query.mask_catalog is None:
        found = list(items)
    else:
        found = _masks_near(where, area)
    name, lon = where.profile.name if where.profile else None, middle(query.geometry)

    def read(item: Json) -> MaskItem:
        (mask,) = masks_from_items([item], name, lon=lon, mask=query.mask_choice)
        return replace(mask, mask=where.trust.checked_asset(mask.source.id, mask.mask))

    kept = _without_excluded(found, query)[0]
    return _usable((item for item in kept if query.mask_collection in {None, item.get("collection")}), read)


def _masks_near(where: CatalogRoot, area: Geometry) -> list[Json]:
    """The items of a static catalog of masks; none where none is near, which pairing says of each scene by name."""
    try:
        return from_static(where, area)[0]
    except NoScenesError:
        return []


def as_records(scenes: SceneList) -> list[dict[str, Any]]:
    """Scenes as plain JSON values, unsigned."""
    return [
        {
            "id": s.id,
            "tile": s.tile,
            "day": s.day.isoformat(),
            "datetime": s.datetime.isoformat(),
            "epsg": s.epsg,
            "baseline": s.baseline,
            "platform": s.platform,
            "use": scenes.use_of(s),
            "cloud_cover": s.cloud_cover,
            "clear_share": s.clear_share,
            "bands": {name: redacted(asset.href) for name, asset in s.bands.items()},
            "labels": None if s.labels is None else redacted(s.labels.href),
            "mask": None if s.labels is None else s.labels.kind,
            "mask_item": None if s.labels is None or s.labels.source is None else s.labels.source.id,
        }
        for s in scenes
    ]
