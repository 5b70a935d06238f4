"""A catalog by its profile's name, URL or path, or as Python holds it, opened; its first document is not trusted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pystac

from spaceeye_stac.errors import CatalogError, redacted
from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json, Query
from spaceeye_stac.sources.hrefs import absolute, as_path, links_of
from spaceeye_stac.sources.profiles import Profile, profile_named, shipped_profiles
from spaceeye_stac.sources.saved import address_of, document_of, held
from spaceeye_stac.sources.transport import UNREADABLE, ContentError, PatientFiles, reason
from spaceeye_stac.sources.trust import NOWHERE, Trust

BROWSED = re.compile(r"#/external/(?:(https?):/{1,2})?(.+)")
OF_A_COLLECTION = re.compile(r"(.*)/collections/([^/]+)(?:/items)?/?")
LIST_OF_ITEMS = re.compile(r".*/(?:collections/[^/]+/items|search)/?")
NO_ITEMS: Json = {"type": "FeatureCollection", "features": []}


@dataclass(frozen=True)
class CatalogRoot:
    """Where the catalog is and what its first document says.

    `listing`: the address of a list of items, where that is what is read. `held`: a catalog that Python holds.
    """

    href: str
    document: Json
    profile: Profile | None
    trust: Trust
    collection: str | None = None
    listing: str | None = None
    held: pystac.Catalog | None = None

    @property
    def redacted(self) -> str:
        """The href without anything that could be secret."""
        return redacted(self.href)

    @property
    def is_api(self) -> bool:
        """Whether items are found by asking a server rather than by walking links."""
        return self.listing is not None or any(links_of(self.document, "search"))

    @property
    def method(self) -> str:
        """How to search: POST where the API offers it, as a region may be too long for a URL."""
        return "POST" if "POST" in [link.get("method") for link in links_of(self.document, "search")] else "GET"

    @property
    def search_href(self) -> str:
        """Where to search by that method."""
        links = list(links_of(self.document, "search"))
        own = [link for link in links if link.get("method", "GET") == self.method]
        return absolute((own or links)[0]["href"], self.href)


def open_catalog(query: Query) -> CatalogRoot:
    """Open the catalog of a query."""
    found = open_named(query.catalog, query.profile, query)
    return found if query.collection is None else replace(found, collection=query.collection)


def open_named(named: object, naming: str | None, query: Query) -> CatalogRoot:
    """A catalog by its profile's name, URL or path, or as it is held, and how it names things, where that is said."""
    address = named if isinstance(named, str | Path) else address_of(named)
    if address is None:
        return _held(named, naming, query)
    text = str(address)
    known = profile_named(text) if text.endswith(".toml") else shipped_profiles().get(text)
    profile = profile_named(naming) if naming else known
    href = _href_of(known.url if known is not None else text)
    trust = Trust(href, query.allow_hrefs or ())
    if "://" in href and LIST_OF_ITEMS.fullmatch(urlsplit(href).path):
        return _of_list(CatalogRoot(href, NO_ITEMS, profile, trust, listing=href))
    return _located(CatalogRoot(href, read_root(href, trust), profile, trust))


def _held(catalog: object, naming: str | None, query: Query) -> CatalogRoot:
    href, document = held(catalog)
    trust, profile = Trust(href, query.allow_hrefs or ()), profile_named(naming) if naming else None
    if isinstance(document, pystac.Catalog):
        return CatalogRoot(href, {"type": "Catalog"}, profile, trust, held=document)
    if document.get("type") != "FeatureCollection" or not isinstance(document.get("features"), list):
        document = {"type": "FeatureCollection", "features": [document]}
    return CatalogRoot(href, document, profile, trust)


def _unbrowsed(url: str) -> str:
    """The address that a stac-browser shows, where the address is the browser's."""
    found = BROWSED.search(url)
    return f"{found[1] or 'https'}://{found[2]}" if found else url


def _of_list(root: CatalogRoot) -> CatalogRoot:
    """The API and collection of a list of items, where its address says no more than that; else the list itself."""
    parts = urlsplit(root.href)
    found = OF_A_COLLECTION.fullmatch(parts.path)
    api = _api_above(root) if found is not None and parse_qs(parts.query).keys() <= {"limit"} else None
    return root if api is None or found is None else replace(api, collection=unquote(found[2]), listing=None)


def _located(root: CatalogRoot) -> CatalogRoot:
    """The API whose collection a document is, or the list of that collection's items; else the root itself."""
    if root.document["type"] != "Collection" or root.is_api or "://" not in root.href:
        return root
    items = next(links_of(root.document, "items"), None)
    if items is None or any(links_of(root.document, "item", "child")):
        return root
    api = _api_above(root)
    if api is not None:
        return replace(api, collection=str(root.document.get("id")))
    return replace(root, listing=absolute(items["href"], root.href))


def _api_above(root: CatalogRoot) -> CatalogRoot | None:
    """The API that a collection names as its root, or below whose address it or the list of its items lies."""
    hrefs = [absolute(link["href"], root.href) for link in links_of(root.document, "root", "parent")]
    found = OF_A_COLLECTION.fullmatch(urlsplit(root.href).path)
    if found is not None:
        hrefs.append(urlsplit(root.href)._replace(path=found[1] or "/", query="", fragment="").geturl())
    for href in dict.fromkeys(hrefs):
        try:
            root.trust.check_link(href)
            api = replace(root, href=href, document=read_root(href, root.trust), listing=None)
        except CatalogError:
            continue
        if api.is_api:
            return api
    return None


def _href_of(named: str) -> str:
    """The address or absolute path of a catalog that is named."""
    url = as_path(_unbrowsed(named))
    return url if "://" in url else str(_catalog_file(Path(url)))


def checked_scenes(scenes: Sequence[Scene], query: Query) -> list[Scene]:
    """The scenes; those that come from no search are checked first, as if the query's catalog had named them.

    Where that is no catalog, they may name public stores alone, and what `allow_hrefs` lifts. Raises ItemError.
    """
    if all(scene.is_checked for scene in scenes):
        return list(scenes)
    known = shipped_profiles().get(str(query.catalog))
    try:
        root = _href_of(known.url if known is not None else str(query.catalog))
    except CatalogError:
        root = NOWHERE
    trust = Trust(root, query.allow_hrefs or ())
    return [scene if scene.is_checked else trust.checked_scene(scene) for scene in scenes]


def _catalog_file(path: Path) -> Path:
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        found = [path / name for name in ("catalog.json", "collection.json") if (path / name).is_file()]
        if found:
            return found[0].resolve()
        raise CatalogError(f"Folder {path} holds no catalog.json or collection.json; name the catalog's file.")
    if path.exists():
        raise CatalogError(f"Catalog {path} is no regular file; save it as one.")
    raise CatalogError(
        f"Catalog {str(path)!r} is no profile ({', '.join(shipped_profiles())}), no URL and no file or folder."
    )


def read_root(href: str, trust: Trust) -> Json:
    """The first document of a catalog; CatalogError when it cannot be had or is no STAC."""
    try:
        document = document_of(href, PatientFiles(trust.check_link))
    except ContentError as error:
        raise CatalogError(f"Catalog {redacted(href)} is no STAC: {reason(error)}.") from None
    except ValueError:
        raise CatalogError(f"Catalog {redacted(href)} is no STAC: it is not JSON.") from None
    except UNREADABLE as error:
        raise refusal_or(error, f"Catalog {redacted(href)} cannot be reached: {reason(error)}.") from None
    if not isinstance(document, dict) or not _is_stac(document):
        raise CatalogError(f"Catalog {redacted(href)} is no STAC catalog, collection, item or item collection.")
    return document


def refusal_or(error: Exception, otherwise: str) -> CatalogError:
    """The refusal to follow a link that is wrapped in an error, or a new error that says `otherwise`."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, CatalogError):
        inner = inner.__cause__ or inner.__context__
    return inner or CatalogError(otherwise)


def _is_stac(document: Json) -> bool:
    if document.get("type") == "FeatureCollection":
        features: Any = document.get("features")
        return features == [] or (isinstance(features, list) and any(map(_is_item, features)))
    return "stac_version" in document and document.get("type") in ("Catalog", "Collection", "Feature")


def _is_item(found: object) -> bool:
    return isinstance(found, dict) and "assets" in found
