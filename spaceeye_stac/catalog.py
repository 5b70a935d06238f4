"""A query to scenes: static catalogs, ItemCollections and STAC APIs; the only module that knows how to sign hrefs."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pystac
import requests
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely import Geometry
from shapely.geometry import shape
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from spaceeye_stac import region
from spaceeye_stac.duplicates import without_duplicates
from spaceeye_stac.errors import CatalogError, NoScenesError, ReadError
from spaceeye_stac.model import Scene, SceneList
from spaceeye_stac.profiles import Profile, profile_named, profiles, scenes_from_items
from spaceeye_stac.query import DEFAULT_BANDS, DateRange, Json, Query, Settings

TIMEOUT_SECONDS = 60.0
MAX_RETRIES = 5
RETRY_SECONDS = 180.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
SIGNING_TIMEOUT_SECONDS = 8.0
SIGNING_RETRY_SECONDS = 14.0
FRESH_SECONDS = 120
PAGE_SIZE = 250
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
BLOB_DOMAIN = ".blob.core.windows.net"
PUBLIC_ACCOUNT = "ai4edatasetspublicassets"
UNREADABLE = (
    OSError,
    APIError,
    requests.RequestException,
    pystac.STACError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
)


@dataclass(frozen=True)
class _Root:
    """Where the catalog is and what its first document says."""

    href: str
    document: Json
    profile: Profile | None

    @property
    def shown(self) -> str:
        """The href without anything that could be secret."""
        return _shown(self.href)

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
    items, counted, short = _from_api(root, query, days) if root.is_api else (*_from_static(root, area), [])
    name = root.profile.name if root.profile else None
    scenes = scenes_from_items(items, name, lon=region.middle(query.geometry))
    inside = [scene for scene in scenes if days.start <= scene.day <= days.stop]
    counted += f", {len(inside)} of them from {days.start} to {days.stop}"
    if not inside:
        raise NoScenesError(f"No scene found: {counted}.")
    chosen, notes = _chosen(sorted(inside, key=lambda s: (s.datetime, s.id)), query, counted)
    found = _with_bands(chosen, query)
    return SceneList(found, [*short, *notes, *found.left_out])


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
    shown = _shown(href)
    try:
        text = _io().read_text(href) if "://" in href else Path(href).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, APIError, requests.RequestException) as error:
        raise CatalogError(f"Catalog {shown} cannot be reached: {_reason(error)}.") from None
    except ValueError:
        raise CatalogError(f"Catalog {shown} is no STAC: it is not JSON.") from None
    if not isinstance(document, dict) or not _is_stac(document):
        raise CatalogError(f"Catalog {shown} is no STAC catalog, collection, item or item collection.")
    return document


def _is_stac(document: Json) -> bool:
    if document.get("type") == "FeatureCollection":
        return all("assets" in feature for feature in document.get("features", ()))
    return "stac_version" in document and document.get("type") in {"Catalog", "Collection", "Feature"}


def _shown(href: str) -> str:
    """A path as it is; a URL without user, password, query and fragment."""
    if "://" not in href:
        return href
    parts = urlsplit(href)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _reason(error: Exception) -> str:
    """What went wrong, without a URL that might be signed and without what a server echoes."""
    if isinstance(error, APIError):
        status = getattr(error, "status_code", None)
        return f"the server answers {status}" if status else _transport(error.__context__)
    if isinstance(error, json.JSONDecodeError):
        return "the answer is not JSON"
    text = str(error.args[0]) if error.args else ""
    return re.sub(r"\?\S*", "", f"{type(error).__name__} {text}".split("http")[0]).strip().rstrip(":(. ")


def _transport(error: BaseException | None) -> str:
    """What happened to a request that was never answered in full."""
    text = f"{error!r}"
    if isinstance(error, requests.Timeout) or "ReadTimeout" in text:
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _io(timeout: float | None = None, retry_seconds: float | None = None) -> "_PatientIO":
    return _PatientIO(timeout or TIMEOUT_SECONDS, retry_seconds or RETRY_SECONDS)


class _PatientIO(StacApiIO):
    """pystac-client's requests, tried again when the server is busy or the connection fails, GET and POST alike.

    Bounded by `MAX_RETRIES` and by `retry_seconds`; a Retry-After that goes beyond ends it at once.
    """

    def __init__(self, timeout: float, retry_seconds: float) -> None:
        super().__init__(timeout=timeout, max_retries=None)
        self.retry_after = ""
        self.session.hooks["response"].append(self._keep_retry_after)
        self._patiently = retry(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(MAX_RETRIES + 1) | stop_before_delay(retry_seconds),
            wait=_Asked(self),
            reraise=True,
        )

    def request(self, *arguments: Any, **options: Any) -> str:  # noqa: ANN401 - as pystac-client's own
        """Return the text of an answer; APIError when there is none."""
        return self._patiently(super().request)(*arguments, **options)

    def _keep_retry_after(self, response: requests.Response, **_options: object) -> None:
        self.retry_after = response.headers.get("Retry-After", "")


class _Asked(wait_base):
    """As long as the server asks for, at least as long as exponential backoff."""

    def __init__(self, io: _PatientIO) -> None:
        self.io = io
        self.backoff = wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        asked, self.io.retry_after = self.io.retry_after, ""
        try:
            seconds = Retry().parse_retry_after(asked) if asked else 0.0
        except InvalidHeader:
            seconds = 0.0
        return max(seconds, self.backoff(retry_state))


def _may_pass(error: BaseException) -> bool:
    """Whether another try could succeed: a busy server, no connection, a cut one, or no answer in time."""
    if not isinstance(error, APIError):
        return False
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return getattr(error, "status_code", None) in TRY_AGAIN or isinstance(error.__context__, lost)


def _from_api(root: _Root, query: Query, days: DateRange) -> tuple[list[Json], str, list[str]]:
    """Every item of the region and days (a day more at both ends: solar days are cut afterwards).

    Returns the items, how many there are in words, and a note where the server counts more than it gave.
    """
    wide = days.widened(1)
    try:
        client = Client.open(root.href, stac_io=_io(), timeout=TIMEOUT_SECONDS)  # which else forgets the timeout
        collections = [root.profile.collection] if root.profile else _collection_of(root, client)
        found = client.search(
            method=root.method,
            collections=collections,
            intersects=query.geometry,
            datetime=f"{wide.start}T00:00:00Z/{wide.stop}T23:59:59Z",
            limit=PAGE_SIZE,
        )
        items, short = _distinct(found.pages_as_dicts(), root)
    except UNREADABLE as error:
        raise CatalogError(f"Search at {root.shown} failed: {_reason(error)}; try again later.") from None
    return items, f"{len(items)} items of {', '.join(collections)} intersect the region around these days", short


def _distinct(pages: Iterator[Json], root: _Root) -> tuple[list[Json], list[str]]:
    """The items of all pages, each once; CatalogError when paging goes on without anything new."""
    found: dict[tuple[str | None, str], Json] = {}
    given = matched = 0
    for number, page in enumerate(pages, start=1):
        before = len(found)
        for item in page["features"]:
            found.setdefault((item.get("collection"), item["id"]), item)
        goes_on = any(link.get("rel") == "next" for link in page.get("links", ()))
        if goes_on and len(found) == before:
            raise CatalogError(
                f"Search at {root.shown} goes round in circles: page {number} repeats items of earlier pages; "
                f"ask for fewer days, or tell who runs it."
            )
        given += len(page["features"])
        matched = page.get("numberMatched") or page.get("context", {}).get("matched") or matched
    short = [f"The server counts {matched} items and gave {given}; search again to be sure."] if given < matched else []
    return list(found.values()), short


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


def _from_static(root: _Root, area: Geometry) -> tuple[list[Json], str]:
    """Every item of a static catalog that intersects the region, asset hrefs made absolute."""
    try:
        items = list(_static_items(root))
    except UNREADABLE as error:
        raise CatalogError(f"Catalog {root.shown} cannot be read: {_reason(error)}.") from None
    near = [item for item in items if _covers(item, area)]
    if not near:
        raise NoScenesError(
            f"No scene found: {len(items)} items in the catalog, 0 of them intersect the region; "
            f"compare bbox {_bounds(area)} with {_extent(items)}."
        )
    for item in near:
        item.make_asset_hrefs_absolute()
    found = [item.to_dict(transform_hrefs=False) for item in near]
    return found, f"{len(items)} items in the catalog, {len(near)} of them intersect the region"


def _covers(item: pystac.Item, area: Geometry) -> bool:
    """Whether an item's geometry meets the region, both cut at 180 degrees; an item without one does not."""
    place = region.footprint({"geometry": item.geometry, "bbox": None})
    return place is not None and shape(region.split(place)).intersects(area)


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
    signing = profile_named(scene.profile).signing if scene.profile else "none"
    if signing != "planetary-computer":
        return _as_it_is
    return _signed_href


def _signed_href(href: str) -> str:
    """The href with a token where it lies in Azure's blob storage and has none; other hrefs as they are.

    Raises ReadError, within half a minute, when no token can be had.
    """
    parts = urlsplit(href)
    account = parts.netloc.removesuffix(BLOB_DOMAIN)
    if account in {parts.netloc, PUBLIC_ACCOUNT} or parse_qs(parts.query).keys() & {"st", "se", "sp"}:
        return href
    container = parts.path.lstrip("/").partition("/")[0]
    try:
        return _token_query(href, account, container)
    except (APIError, ValueError) as error:
        raise ReadError(
            f"Assets at {parts.netloc} cannot be signed: {_reason(error)}; check the network and try again."
        ) from None


def _token_query(href: str, account: str, container: str) -> str:
    """Sign with planetary-computer's own cache and settings, but with requests that end.

    Its `get_token` has no timeout and tries eleven times.
    """
    from planetary_computer.sas import TOKEN_CACHE, SASToken  # noqa: PLC0415 - only its own scenes need it
    from planetary_computer.settings import Settings as Service  # noqa: PLC0415

    service = Service.get()
    place = f"{service.sas_url}/{account}/{container}"
    token = TOKEN_CACHE.get(place)
    if token is None or token.ttl() < FRESH_SECONDS:
        key = {"Ocp-Apim-Subscription-Key": service.subscription_key} if service.subscription_key else None
        text = _io(SIGNING_TIMEOUT_SECONDS, SIGNING_RETRY_SECONDS).request(place, headers=key)
        token = TOKEN_CACHE[place] = SASToken(**json.loads(text))
    return str(token.sign(href).href)


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
