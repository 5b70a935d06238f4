"""A catalog by its profile's name, URL or path, opened; its first document is not trusted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spaceeye_stac.errors import CatalogError, redacted
from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json, Query
from spaceeye_stac.sources.profiles import Profile, profile_named, shipped_profiles
from spaceeye_stac.sources.transport import UNREADABLE, PatientFiles, reason
from spaceeye_stac.sources.trust import NOWHERE, Trust


@dataclass(frozen=True)
class CatalogRoot:
    """Where the catalog is and what its first document says."""

    href: str
    document: Json
    profile: Profile | None
    trust: Trust
    collection: str | None = None

    @property
    def redacted(self) -> str:
        """The href without anything that could be secret."""
        return redacted(self.href)

    @property
    def is_api(self) -> bool:
        """Whether items are found by searching rather than by walking links."""
        return any(link.get("rel") == "search" for link in self.document.get("links", ()))

    @property
    def method(self) -> str:
        """How to search: POST where the API offers it, as a region may be too long for a URL."""
        offered = {link.get("method") for link in self.document.get("links", ()) if link.get("rel") == "search"}
        return "POST" if "POST" in offered else "GET"


def open_catalog(query: Query) -> CatalogRoot:
    """Open the catalog of a query."""
    return open_named(str(query.catalog), query.profile, query)


def open_named(named: str, naming: str | None, query: Query) -> CatalogRoot:
    """A catalog by its profile's name, URL or path, and how it names things, where that is said."""
    known = profile_named(named) if named.endswith(".toml") else shipped_profiles().get(named)
    profile = profile_named(naming) if naming else known
    href = _href_of(known.url if known is not None else named)
    trust = Trust(href, query.allow_hrefs or ())
    return CatalogRoot(href, read_root(href, trust), profile, trust)


def _href_of(named: str) -> str:
    return named if "://" in named else str(_catalog_file(Path(named)))


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
    raise CatalogError(
        f"Catalog {str(path)!r} is no profile ({', '.join(shipped_profiles())}), no URL and no file or folder."
    )


def read_root(href: str, trust: Trust) -> Json:
    """The first document of a catalog; CatalogError when it cannot be had or is no STAC."""
    try:
        document = json.loads(PatientFiles(trust.check_link).read_text(href))
    except ValueError:
        raise CatalogError(f"Catalog {redacted(href)} is no STAC: it is not JSON.") from None
    except UNREADABLE as error:
        raise refusal_or(error, f"Catalog {redacted(href)} cannot be reached: {reason(error)}.") from None
    if not isinstance(document, dict) or not _is_stac(document):
        raise CatalogError(f"Catalog {redacted(href)} is no STAC catalog, collection, item or item collection.")
    return {**document, "links": _links(document)}


def refusal_or(error: Exception, otherwise: str) -> CatalogError:
    """The refusal to follow a link that is wrapped in an error, or a new error that says `otherwise`."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, CatalogError):
        inner = inner.__cause__ or inner.__context__
    return inner or CatalogError(otherwise)


def _links(document: Json) -> list[Json]:
    """The links of a document that are some."""
    found = document.get("links")
    return [link for link in found if isinstance(link, dict)] if isinstance(found, list) else []


def _is_stac(document: Json) -> bool:
    if document.get("type") == "FeatureCollection":
        features = document.get("features", [])
        return isinstance(features, list) and all(isinstance(one, dict) and "assets" in one for one in features)
    return "stac_version" in document and document.get("type") in ("Catalog", "Collection", "Feature")
