"""A query to scenes: static catalogs, ItemCollections and STAC APIs; the only module that knows how to sign hrefs."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac
import requests
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely import Geometry
from shapely.geometry import shape

from spaceeye_stac.errors import CatalogError, NoScenesError
from spaceeye_stac.model import Scene, SceneList
from spaceeye_stac.profiles import Profile, profile_named, profiles, scenes_from_items
from spaceeye_stac.query import DEFAULT_BANDS, DateRange, Json, Query, Settings

TIMEOUT_SECONDS = 60
MAX_RETRIES = 5
PAGE_SIZE = 250


@dataclass(frozen=True)
class _Root:
    """Where the catalog is and what its first document says."""

    href: str
    document: Json
    profile: Profile | None

    @property
    def is_api(self) -> bool:
        """Whether items are found by searching rather than by walking links."""
        return any(link.get("rel") == "search" for link in self.document.get("links", ()))


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
    area = shape(query.geometry)
    items, counted = _from_api(root, query, days) if root.is_api else _from_static(root, area)
    name = root.profile.name if root.profile else None
    scenes = scenes_from_items(items, name, lon=area.centroid.x)
    inside = [scene for scene in scenes if days.start <= scene.day <= days.stop]
    if not inside:
        raise NoScenesError(f"No scene found: {counted}, {len(inside)} of them from {days.start} to {days.stop}.")
    return _with_bands(sorted(inside, key=lambda s: (s.datetime, s.id)), query)


def _open(query: Query) -> _Root:
    named = str(query.catalog)
    known = profiles().get(named)
    profile = profile_named(query.profile) if query.profile else known
    if known is not None:
        return _Root(known.url, _read(known.url), profile)
    if "://" in named:
        return _Root(named, _read(named), profile)
    path = _catalog_file(Path(named))
    return _Root(str(path), _read(str(path)), profile)


def _catalog_file(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        found = [path / name for name in ("catalog.json", "collection.json") if (path / name).is_file()]
        if found:
            return found[0].resolve()
        raise CatalogError(f"Folder {path} holds no catalog.json or collection.json; name the catalog's file.")
    raise CatalogError(f"Catalog {str(path)!r} is no profile ({', '.join(profiles())}), no URL and no file or folder.")


def _read(href: str) -> Json:
    """The first document of a catalog; CatalogError when it cannot be had or is no STAC."""
    try:
        text = _io().read_text(href) if "://" in href else Path(href).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, APIError, requests.RequestException) as error:
        raise CatalogError(f"Catalog {href} cannot be reached: {_reason(error)}.") from error
    except ValueError as error:
        raise CatalogError(f"Catalog {href} is no STAC: it is not JSON.") from error
    if not isinstance(document, dict) or not _is_stac(document):
        raise CatalogError(f"Catalog {href} is no STAC catalog, collection, item or item collection.")
    return document


def _is_stac(document: Json) -> bool:
    if document.get("type") == "FeatureCollection":
        return all("assets" in feature for feature in document.get("features", ()))
    return "stac_version" in document and document.get("type") in {"Catalog", "Collection", "Feature"}


def _reason(error: Exception) -> str:
    """What went wrong, without a URL that might be signed."""
    text = str(error.args[0]) if error.args else ""
    return f"{type(error).__name__} {text}".split("http")[0].strip().rstrip(":(. ")


def _io() -> StacApiIO:
    return StacApiIO(timeout=TIMEOUT_SECONDS, max_retries=MAX_RETRIES)


def _from_api(root: _Root, query: Query, days: DateRange) -> tuple[list[Json], str]:
    """Every item of the region and days (a day more at both ends: solar days are cut afterwards)."""
    wide = days.widened(1)
    collections = [root.profile.collection] if root.profile else _collection_of(root)
    try:
        client = Client.open(root.href, stac_io=_io())
        found = client.search(
            collections=collections,
            intersects=query.geometry,
            datetime=f"{wide.start}T00:00:00Z/{wide.stop}T23:59:59Z",
            limit=PAGE_SIZE,
        )
        items = list(found.items_as_dicts())
    except (OSError, APIError, requests.RequestException) as error:
        raise CatalogError(f"Search at {root.href} failed: {_reason(error)}.") from error
    return items, f"{len(items)} items of {', '.join(collections)} intersect the region around these days"


def _collection_of(root: _Root) -> list[str]:
    """The collection to search in an API that no profile names: the one whose id a profile knows."""
    known = {profile.collection for profile in profiles().values()}
    client = Client.open(root.href, stac_io=_io())
    ids = [collection.id for collection in client.get_collections()]
    wanted = [name for name in ids if name in known] or (ids if len(ids) == 1 else [])
    if len(wanted) != 1:
        raise CatalogError(f"{root.href} has collections {', '.join(ids) or '(none)'}; name a profile that says which.")
    return wanted


def _from_static(root: _Root, area: Geometry) -> tuple[list[Json], str]:
    """Every item of a static catalog that intersects the region, asset hrefs made absolute."""
    try:
        items = list(_static_items(root))
    except (OSError, pystac.STACError, requests.RequestException, ValueError, KeyError) as error:
        raise CatalogError(f"Catalog {root.href} cannot be read: {_reason(error)}.") from error
    near = [item for item in items if item.geometry is not None and shape(item.geometry).intersects(area)]
    if not near:
        raise NoScenesError(
            f"No scene found: {len(items)} items in the catalog, 0 of them intersect the region; "
            f"compare bbox {_bounds(area)} with {_extent(items)}."
        )
    for item in near:
        item.make_asset_hrefs_absolute()
    found = [item.to_dict(transform_hrefs=False) for item in near]
    return found, f"{len(items)} items in the catalog, {len(near)} of them intersect the region"


def _static_items(root: _Root) -> Iterator[pystac.Item]:
    kind = root.document["type"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated extensions of old catalogs are migrated, not refused
        if kind == "FeatureCollection":
            for feature in root.document["features"]:
                item = pystac.Item.from_dict(feature)
                item.set_self_href(item.get_self_href() or str(Path(root.href).parent / f"{item.id}.json"))
                yield item
        elif kind == "Feature":
            yield pystac.Item.from_file(root.href)
        else:
            reader = pystac.Catalog if kind == "Catalog" else pystac.Collection
            yield from reader.from_file(root.href).get_items(recursive=True)


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


def signed(scene: Scene) -> Callable[[str], str]:
    """Return the function that turns an href of this scene into one that can be read now; its result is never kept."""
    signing = profiles()[scene.profile].signing if scene.profile in profiles() else "none"
    if signing != "planetary-computer":
        return _as_it_is
    import planetary_computer  # noqa: PLC0415 - only its own scenes need it

    return planetary_computer.sign_url  # type: ignore[no-any-return]


def _as_it_is(href: str) -> str:
    return href


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
            "bands": {name: asset.href for name, asset in s.bands.items()},
            "labels": s.labels.href,
        }
        for s in scenes
    ]
