"""A query to scenes: static catalogs, ItemCollections and STAC APIs, none of which is trusted."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pystac
from pystac_client import Client
from shapely import Geometry
from shapely.errors import ShapelyError
from shapely.geometry import shape

from spaceeye_stac import region
from spaceeye_stac.duplicates import without_duplicates
from spaceeye_stac.errors import CatalogError, ItemError, NoMaskError, NoScenesError, shown
from spaceeye_stac.model import MaskItem, Scene, SceneList
from spaceeye_stac.pairing import own_masks, paired, settled
from spaceeye_stac.profiles import Profile, masks_from_items, profile_named, profiles, scenes_from_items
from spaceeye_stac.query import DEFAULT_BANDS, DateRange, Json, Query, Settings
from spaceeye_stac.transport import UNREADABLE, PatientFiles, patient, reason
from spaceeye_stac.trust import Trust

PAGE_SIZE = 250


@dataclass(frozen=True)
class _Root:
    """Where the catalog is and what its first document says."""

    href: str
    document: Json
    profile: Profile | None
    trust: Trust
    collection: str | None = None

    @property
    def shown(self) -> str:
        """The href without anything that could be secret."""
        return shown(self.href)

    @property
    def is_api(self) -> bool:
        """Whether items are found by searching rather than by walking links."""
        return any(link.get("rel") == "search" for link in self.document.get("links", ()))

    @property
    def method(self) -> str:
        """How to search: POST where the API offers it, as a region may be too long for a URL."""
        offered = {link.get("method") for link in self.document.get("links", ()) if link.get("rel") == "search"}
        return "POST" if "POST" in offered else "GET"


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
    root = _open(query)
    days = query.days.widened(settings.context_days(query.days))
    area = shape(query.geometry)  # cut at 180 degrees, as items are
    items, counted, short = _from_api(root, query, days) if root.is_api else _from_static(root, area)
    scenes, bad = _mapped(_scene_items(items, query), root, query, region.middle(query.geometry))
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
    return SceneList(found, [*short, *bad, *notes, *without, *found.left_out])


def _mapped(items: Sequence[Json], root: _Root, query: Query, lon: float) -> tuple[list[Scene], list[str]]:
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
    """The items but for those of the collection of masks, which may stand in the same catalog."""
    name = query.mask_collection
    return [item for item in items if name is None or item.get("collection") != name]


def _masks(root: _Root, items: Sequence[Json], query: Query, days: DateRange) -> list[MaskItem]:
    """The items of the collection of masks for the same region and days; `items` are what the scenes' search found."""
    area, where = shape(query.geometry), root
    if query.mask_catalog is not None:
        where = _open_named(str(query.mask_catalog), None, query)
    where = replace(where, collection=query.mask_collection)
    if where.is_api:
        found, _, _ = _from_api(where, query, days)
    elif query.mask_catalog is None:
        found = list(items)
    else:
        found = _masks_near(where, area)
    wanted = [item for item in found if query.mask_collection in {None, item.get("collection")}]
    name = where.profile.name if where.profile else None
    masks = masks_from_items(wanted, name, lon=region.middle(query.geometry), mask=query.mask_choice)
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


def _masks_near(where: _Root, area: Geometry) -> list[Json]:
    """The items of a static catalog of masks; none where none is near, which pairing says of each scene by name."""
    try:
        return _from_static(where, area)[0]
    except NoScenesError:
        return []


def _open(query: Query) -> _Root:
    return _open_named(str(query.catalog), query.profile, query)


def _open_named(named: str, naming: str | None, query: Query) -> _Root:
    """A catalog by its profile's name, URL or path, and how it names things, where that is said."""
    known = profile_named(named) if named.endswith(".toml") else profiles().get(named)
    profile = profile_named(naming) if naming else known
    url = known.url if known is not None else named
    href = url if "://" in url else str(_catalog_file(Path(named)))
    trust = Trust(href, query.allow_hrefs or ())
    return _Root(href, _read(href, trust), profile, trust)


def _catalog_file(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        found = [path / name for name in ("catalog.json", "collection.json") if (path / name).is_file()]
        if found:
            return found[0].resolve()
        raise CatalogError(f"Folder {path} holds no catalog.json or collection.json; name the catalog's file.")
    raise CatalogError(f"Catalog {str(path)!r} is no profile ({', '.join(profiles())}), no URL and no file or folder.")


def _read(href: str, trust: Trust) -> Json:
    """The first document of a catalog; CatalogError when it cannot be had or is no STAC."""
    try:
        document = json.loads(PatientFiles(trust.check_link).read_text(href))
    except ValueError:
        raise CatalogError(f"Catalog {shown(href)} is no STAC: it is not JSON.") from None
    except UNREADABLE as error:
        raise _trouble(error, f"Catalog {shown(href)} cannot be reached: {reason(error)}.") from None
    if not isinstance(document, dict) or not _is_stac(document):
        raise CatalogError(f"Catalog {shown(href)} is no STAC catalog, collection, item or item collection.")
    return document


def _trouble(error: Exception, otherwise: str) -> CatalogError:
    """The refusal to follow a link that is wrapped in an error, or a new error that says `otherwise`."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, CatalogError):
        inner = inner.__cause__ or inner.__context__
    return inner or CatalogError(otherwise)


def _is_stac(document: Json) -> bool:
    if document.get("type") == "FeatureCollection":
        return all(isinstance(found, dict) and "assets" in found for found in document.get("features", ()))
    return "stac_version" in document and document.get("type") in {"Catalog", "Collection", "Feature"}


def _from_api(root: _Root, query: Query, days: DateRange) -> tuple[list[Json], str, list[str]]:
    """Every item of the region and days (a day more at both ends: solar days are cut afterwards).

    Returns the items, how many there are in words, and a note where the server counts more than it gave.
    """
    wide = days.widened(1)
    try:
        io = patient(check=root.trust.check_link)
        client = Client.open(root.href, stac_io=io, timeout=io.timeout)  # which else forgets the timeout
        collections = _collections(root, client)
        found = client.search(
            method=root.method,
            collections=collections,
            intersects=query.geometry,
            datetime=f"{wide.start}T00:00:00Z/{wide.stop}T23:59:59Z",
            limit=PAGE_SIZE,
        )
        items, short = _distinct(found.pages_as_dicts(), root)
    except UNREADABLE as error:
        raise _trouble(error, f"Search at {root.shown} failed: {reason(error)}; try again later.") from None
    return items, f"{len(items)} items of {', '.join(collections)} intersect the region around these days", short


def _distinct(pages: Iterator[Json], root: _Root) -> tuple[list[Json], list[str]]:
    """The items of all pages, each once; CatalogError when paging goes on without anything new."""
    found: dict[str, Json] = {}
    given = matched = strange = 0
    for number, page in enumerate(pages, start=1):
        before = len(found)
        items = [item for item in page["features"] if isinstance(item, dict)]
        for item in items:
            found.setdefault(_identity(item), item)
        goes_on = any(link.get("rel") == "next" for link in page.get("links", ()))
        if goes_on and len(found) == before:
            raise CatalogError(
                f"Search at {root.shown} goes round in circles: page {number} repeats items of earlier pages; "
                f"ask for fewer days, or tell who runs it."
            )
        given += len(page["features"])
        strange += len(page["features"]) - len(items)
        matched = page.get("numberMatched") or page.get("context", {}).get("matched") or matched
    short = [f"The server counts {matched} items and gave {given}; search again to be sure."] if given < matched else []
    odd = [f"{strange} answers of the server left out: they are no items."] if strange else []
    return list(found.values()), [*short, *odd]


def _identity(item: Json) -> str:
    """Collection and id, or all of an item that has no id."""
    return json.dumps([item.get("collection"), item["id"]] if "id" in item else item)


def _collections(root: _Root, client: Client) -> list[str]:
    if root.collection is not None:
        return [root.collection]
    return [root.profile.collection] if root.profile else _collection_of(root, client)


def _collection_of(root: _Root, client: Client) -> list[str]:
    """The collection to search in an API that no profile names: the one whose id a profile knows."""
    known = {profile.collection for profile in profiles().values()}
    ids = [collection.id for collection in client.get_collections()]
    wanted = [name for name in ids if name in known] or (ids if len(ids) == 1 else [])
    if len(wanted) != 1:
        raise CatalogError(
            f"{root.shown} has collections {', '.join(ids) or '(none)'}; name a profile that says which."
        )
    return wanted


def _from_static(root: _Root, area: Geometry) -> tuple[list[Json], str, list[str]]:
    """Every item of a static catalog that intersects the region, asset hrefs made absolute, as `_from_api`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated extensions of old catalogs are migrated, not refused
            items, notes = _static_items(root)
    except UNREADABLE as error:
        raise _trouble(error, f"Catalog {root.shown} cannot be read: {reason(error)}.") from None
    near, odd = _touching(items, area)
    if not near:
        raise NoScenesError(
            f"No scene found: {len(items)} items in the catalog, 0 of them intersect the region; "
            f"compare bbox {_bounds(area)} with {_extent(items)}."
        )
    for item in near:
        item.make_asset_hrefs_absolute()
    found = [item.to_dict(transform_hrefs=False) for item in near]
    return found, f"{len(items)} items in the catalog, {len(near)} of them intersect the region", [*notes, *odd]


def _touching(items: Sequence[pystac.Item], area: Geometry) -> tuple[list[pystac.Item], list[str]]:
    """The items that intersect the region, and a note on each whose geometry is none."""
    near, notes = [], []
    for item in items:
        try:
            if _covers(item, area):
                near.append(item)
        except (ShapelyError, IndexError, *UNREADABLE):
            notes.append(f"Item {item.id} left out: its geometry is malformed.")
    return near, notes


def _static_items(root: _Root) -> tuple[list[pystac.Item], list[str]]:
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


def _features(root: _Root) -> tuple[list[pystac.Item], list[str]]:
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
    place = region.footprint({"geometry": item.geometry, "bbox": None})
    if place is None:
        raise ValueError(item.geometry)
    return bool(shape(region.split(place)).intersects(area))


def _bounds(area: Geometry) -> str:
    return ",".join(f"{v:g}" for v in area.bounds)


def _extent(items: Sequence[pystac.Item]) -> str:
    boxes = [item.bbox for item in items if item.bbox]
    if not boxes:
        return "an empty catalog"
    west, south = (min(box[i] for box in boxes) for i in (0, 1))
    east, north = (max(box[len(box) // 2 + i] for box in boxes) for i in (0, 1))
    return f"the catalog's {west:g},{south:g},{east:g},{north:g}"


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
            "bands": {name: shown(asset.href) for name, asset in s.bands.items()},
            "labels": None if s.labels is None else shown(s.labels.href),
            "mask": None if s.labels is None else s.labels.kind,
            "mask_item": None if s.labels is None or s.labels.source is None else s.labels.source.id,
        }
        for s in scenes
    ]
