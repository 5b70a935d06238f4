"""A query to scenes: static catalogs, ItemCollections and STAC APIs, none of which is trusted."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from shapely import Geometry
from shapely.geometry import shape

from spaceeye_stac.errors import CatalogError, ItemError, NoMaskError, NoScenesError, redacted
from spaceeye_stac.model import Scene
from spaceeye_stac.outlines import middle
from spaceeye_stac.query import DEFAULT_BANDS, DateRange, Json, Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources.apis import from_api
from spaceeye_stac.sources.catalog import CatalogRoot, open_catalog, open_named
from spaceeye_stac.sources.duplicates import without_duplicates
from spaceeye_stac.sources.folders import from_static
from spaceeye_stac.sources.nearby import region_notes
from spaceeye_stac.sources.pairing import MaskItem, own_masks, paired, settled
from spaceeye_stac.sources.scenes import SceneList, masks_from_items, scenes_from_items


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
    settings = settings or Settings()
    root = open_catalog(query)
    days = query.days.widened(settings.context_days(query.days))
    area = shape(query.geometry)  # cut at 180 degrees, as items are
    items, counted, short = from_api(root, query, days) if root.is_api else from_static(root, area)
    scenes, bad = _mapped(_scene_items(items, query), root, query, middle(query.geometry))
    inside = [scene for scene in scenes if days.start <= scene.day <= days.stop]
    counted += f", {len(inside)} of them from {days.start} to {days.stop}"
    if not inside:
        raise NoScenesError(f"No scene found: {counted}.")
    chosen, notes = _chosen(sorted(inside, key=lambda s: (s.datetime, s.id)), query, counted)
    masks = _masks(root, items, query, days) if query.mask_choice.separate else None
    masked, without = settled(own_masks(chosen) if masks is None else paired(chosen, masks), query.unmasked)
    if not masked:
        raise NoScenesError(
            f"No scene found: {counted}, 0 of them with a mask; look at mask_collection and mask_asset."
        )
    found = _with_bands(masked, query)
    far = region_notes(area, [scene.item for scene in found])
    return SceneList(found, [*short, *bad, *notes, *without, *found.left_out, *far])


def _mapped(items: Sequence[Json], root: CatalogRoot, query: Query, lon: float) -> tuple[list[Scene], list[str]]:
    """The items' scenes, and a note on each item that is none or names a place it may not.

    Raises the first one's ItemError where no item is good, and NoMaskError for a scene without the mask it must have.
    """
    name = root.profile.name if root.profile else None
    scenes: list[Scene] = []
    bad: list[ItemError] = []
    notes: list[str] = []
    for item in items:
        try:
            (scene,) = scenes_from_items([item], name, lon=lon, mask=query.mask_choice)
            root.trust.check_scene(scene)
            scenes.append(scene)
        except NoMaskError:
            raise
        except ItemError as error:
            bad.append(error)
            notes.append(_left_out(item, error))
    if bad and not scenes:
        raise bad[0]
    return scenes, [f"{len(bad)} of {len(items)} items cannot be used.", *notes] if bad else []


def _left_out(item: Json, error: ItemError) -> str:
    """What an ItemError says, as a note; it begins with the item's id."""
    name = item.get("id")
    said = str(error).removeprefix(f"Item {name} ").removeprefix(f"Item {name!r} ")
    return f"Item {name} left out: it {said}"


def _scene_items(items: Sequence[Json], query: Query) -> list[Json]:
    """The items of the collection that is named, but for those of masks, which may stand in the same catalog."""
    masks, own = query.mask_collection, query.collection
    named = [item for item in items if own is None or item.get("collection") == own]
    return [item for item in named if masks is None or item.get("collection") != masks]


def _masks(root: CatalogRoot, items: Sequence[Json], query: Query, days: DateRange) -> list[MaskItem]:
    """The items of the collection of masks for the same region and days; `items` are what the scenes' search found."""
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
    wanted = [item for item in found if query.mask_collection in {None, item.get("collection")}]
    name = where.profile.name if where.profile else None
    masks = masks_from_items(wanted, name, lon=middle(query.geometry), mask=query.mask_choice)
    for mask in masks:
        where.trust.check_assets(mask.source.id, [mask.mask])
    return masks


def _chosen(scenes: Sequence[Scene], query: Query, counted: str) -> tuple[list[Scene], list[str]]:
    """Scenes that pass the query's filters, without duplicates, and what was left out; `counted` starts the error."""
    notes: list[str] = []
    left = list(scenes)
    for text, keep in _filters(query):
        if keep is None:
            left, twins = without_duplicates(left)
            notes += twins
            counted += f", {len(left)} of them no duplicates" if twins else ""
            continue
        passed = [scene for scene in left if keep(scene)]
        counted += f", {len(passed)} of them {text}"
        if not passed:
            raise NoScenesError(f"No scene found: {counted}; widen or leave out that filter.")
        if len(passed) < len(left):
            notes.append(f"{len(left) - len(passed)} of {len(left)} scenes left out: not {text}.")
        left = passed
    return left, notes


def _filters(query: Query) -> Iterator[tuple[str, Callable[[Scene], bool] | None]]:
    """The filters in their order, as words and test; None stands for the removal of duplicates.

    Cloud comes last, so that an older version of a scene never replaces a newer one that is too cloudy.
    """
    tiles, platforms, orbits, most = query.tiles, query.platforms, query.orbits, query.max_cloud_cover
    if tiles is not None:
        yield f"in tiles {','.join(tiles)}", lambda s: (s.tile or "").upper().zfill(5) in tiles
    if platforms is not None:
        yield f"of platforms {','.join(platforms)}", lambda s: (s.platform or "").lower() in platforms
    if orbits is not None:
        yield f"in orbits {','.join(map(str, orbits))}", lambda s: _orbit(s) in orbits
    yield "", None
    if most is not None:
        yield f"at max_cloud_cover {most:g} or below", lambda s: s.cloud_cover is None or s.cloud_cover <= most


def _orbit(scene: Scene) -> int | None:
    """Relative orbit: the scene's own, or what its product name says."""
    if scene.relative_orbit is not None:
        return scene.relative_orbit
    found = re.search(r"_R(\d{3})_", str(scene.item["properties"].get("s2:product_uri") or scene.id))
    return int(found[1]) if found else None


def _masks_near(where: CatalogRoot, area: Geometry) -> list[Json]:
    """The items of a static catalog of masks; none where none is near, which pairing says of each scene by name."""
    try:
        return from_static(where, area)[0]
    except NoScenesError:
        return []


def _with_bands(scenes: Sequence[Scene], query: Query) -> SceneList:
    have = {name for scene in scenes for name in scene.bands}
    if query.bands is not None:
        unknown = [name for name in query.bands if name not in have]
        if unknown:
            raise CatalogError(
                f"Bands {','.join(unknown)} are in no scene of the catalog; it has {','.join(sorted(have))}."
            )
        short = next((s for s in scenes if not set(query.bands) <= set(s.bands)), None)
        if short is not None:
            missing = ",".join(b for b in query.bands if b not in short.bands)
            raise CatalogError(f"Scene {short.id} lacks bands {missing}; leave them out of bands.")
        return SceneList([scene.with_bands(query.bands) for scene in scenes])
    common = [name for name in DEFAULT_BANDS if all(name in scene.bands for scene in scenes)]
    if not common:
        raise CatalogError("The scenes have no band in common; name bands.")
    partly = [name for name in DEFAULT_BANDS if name in have and name not in common]
    notes = [f"Bands {','.join(partly)} left out: not in every scene."] if partly else []
    return SceneList([scene.with_bands(common) for scene in scenes], notes)


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
            "cloud_cover": s.cloud_cover,
            "bands": {name: redacted(asset.href) for name, asset in s.bands.items()},
            "labels": None if s.labels is None else redacted(s.labels.href),
            "mask": None if s.labels is None else s.labels.kind,
            "mask_item": None if s.labels is None or s.labels.source is None else s.labels.source.id,
        }
        for s in scenes
    ]
