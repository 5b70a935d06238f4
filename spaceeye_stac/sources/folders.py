"""Every item of a static catalog, a file of items or what Python holds, over a region."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pystac
from pystac_client.exceptions import APIError
from shapely import Geometry

from spaceeye_stac.errors import CatalogError, NoScenesError, redacted
from spaceeye_stac.outlines import footprint
from spaceeye_stac.query import Json
from spaceeye_stac.sources.catalog import CatalogRoot, refusal_or
from spaceeye_stac.sources.hrefs import absolute, links_of, self_href, with_absolute_assets
from spaceeye_stac.sources.nearby import explain_swapped, meets
from spaceeye_stac.sources.pages import features_of, following, matched, missing, next_page
from spaceeye_stac.sources.saved import IN_PYTHON, document_of
from spaceeye_stac.sources.transport import TRY_AGAIN, UNREADABLE, ContentError, PatientFiles, patient, reason

NEXT_PAGE_SECONDS = 15.0
GONE = frozenset(range(400, 500)) - TRY_AGAIN


def from_static(root: CatalogRoot, area: Geometry) -> tuple[list[Json], str, list[str]]:
    """Every item of a static catalog that intersects the region, asset hrefs made absolute, as `from_api`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated extensions of old catalogs are migrated, not refused
            items, notes = _static_items(root)
    except UNREADABLE as error:
        raise refusal_or(error, f"Catalog {root.redacted} cannot be read: {reason(error)}.") from None
    if notes and not items:
        raise CatalogError(
            f"Catalog {root.redacted} has no item that can be read; the first of {len(notes)}: {notes[0]}"
        )
    near, odd = _touching(items, area)
    if not near:
        explain_swapped(area, [item.get("bbox") for item in items])
        raise NoScenesError(
            f"No scene found: {len(items)} items in the catalog, 0 of them intersect the region; "
            f"compare bbox {_bounds(area)} with {_extent(items)}{_first(odd)}."
        )
    return near, f"{len(items)} items in the catalog, {len(near)} of them intersect the region", [*notes, *odd]


def _touching(items: Sequence[Json], area: Geometry) -> tuple[list[Json], list[str]]:
    """The items that intersect the region, and a note on each whose geometry is none."""
    near, notes = [], []
    for item in items:
        said = item.get("geometry")
        here = meets(item if said is None else {"geometry": said, "bbox": None}, area)
        if here:
            near.append(item)
        elif here is None:
            why = "it has no geometry and no bbox" if said is None else "its geometry is malformed"
            notes.append(f"Item {item.get('id')} left out: {why}.")
    return near, notes


def _first(notes: Sequence[str]) -> str:
    return f"; {len(notes)} cannot be placed, the first: {notes[0].rstrip('.')}" if notes else ""


def _static_items(root: CatalogRoot) -> tuple[list[Json], list[str]]:
    """The items of a catalog's files, and a note on each part of it that cannot be used."""
    if root.document["type"] == "FeatureCollection":
        return _features(root)
    walk = _Walk(PatientFiles(root.trust.check_link))
    if root.held is not None:
        return list(walk.held(root.held)), walk.notes
    found = list(walk.below(root.href, root.document))
    return found, walk.notes


def _features(root: CatalogRoot) -> tuple[list[Json], list[str]]:
    """The features of a file of items and of all its further pages."""
    items: list[Json] = []
    notes: list[str] = []
    received = 0
    pages, lost = _pages(root)
    for base, page in pages:
        found = page.get("features")
        for number, feature in enumerate(found if isinstance(found, list) else (), start=received + 1):
            received = number
            try:
                items.append(
                    _item(feature, self_href(feature, base) if isinstance(feature, dict) else base, _of_feature)
                )
            except UNREADABLE as error:
                notes.append(_broken(feature, number, error))
    counted = max((matched(page) or 0 for _, page in pages), default=0)
    if lost or counted > received:
        notes.insert(0, lost or missing(f"Catalog {root.redacted}", counted, received))
    return items, notes


def _broken(feature: Any, number: int, error: Exception) -> str:  # noqa: ANN401 - JSON of any type
    if not isinstance(feature, dict):
        return f"Feature {number} left out: it is no item."
    return f"Item {feature.get('id')} left out: it is malformed ({reason(error)})."


def _pages(root: CatalogRoot) -> tuple[list[tuple[str, Json]], str]:
    """A file of items and the pages after it, and a sentence where those cannot be had."""
    first = (root.href, root.document)
    if next_page(root.document) is None:
        return [first], ""
    io = patient(retry_seconds=NEXT_PAGE_SECONDS, check=root.trust.check_link)
    pages: list[tuple[str, Json]] = []
    seen: set[str] = set()
    try:
        for base, page in following(io, root.document, root.href):
            ids = {repr(item) for item in page.get("features") or ()}
            if pages and ids and ids <= seen:
                break
            seen |= ids
            pages.append((base, page))
            io.limits.check("pages", len(pages), f"Catalog {root.redacted}")
    except UNREADABLE as error:
        received = sum(len(page.get("features") or ()) for _, page in pages)
        total = matched(root.document)
        of = f" of {total}" if total else ""
        return pages, (
            f"Catalog {root.redacted} is one page of a search, {received}{of} items, and the next cannot be had "
            f"({reason(error)}); save all pages, or name the search's address."
        )
    return pages, ""


def _item(document: Any, href: str, read: Callable[[Json, str], Any]) -> Json:  # noqa: ANN401 - JSON of any type
    """An item as pystac brings it to today's version, which knows where it is from."""
    if not isinstance(document, dict):
        raise ContentError("it is no object")
    item: pystac.Item = read(with_absolute_assets(document, href), href)
    if href != IN_PYTHON:  # which is no address
        item.set_self_href(href)
    return item.to_dict(transform_hrefs=False)


def _of_feature(document: Json, _href: str) -> pystac.Item:
    """A feature alone, without what its collection may say."""
    return pystac.Item.from_dict(document)


class _Walk:
    """A way through a catalog's files, each once, whatever circles its links make; what cannot be used is noted."""

    def __init__(self, files: PatientFiles) -> None:
        self.notes: list[str] = []
        self._files = files
        self._limits = files.requests.limits
        self._seen: set[str] = set()

    def below(self, href: str, document: Json, depth: int = 1) -> Iterator[Json]:
        """Every item at and below a document."""
        self._limits.check("depth", depth, f"Catalog {redacted(href)}")
        if document.get("type") == "Feature":
            yield from self._item(href, document)
            return
        if document.get("type") == "FeatureCollection":
            for feature in features_of(document):
                yield from self._item(self_href(feature, href) if isinstance(feature, dict) else href, feature)
            return
        self._note_strange_links(href, document)
        below = [*links_of(document, "item"), *links_of(document, "child")]
        for link in below or links_of(document, "items"):
            place = self._place(link["href"], href)
            if place is not None:
                yield from self._behind(place, depth)

    def held(self, catalog: pystac.Catalog, depth: int = 1) -> Iterator[Json]:
        """Every item at and below a catalog that Python holds, where parts of it may still be files."""
        self._limits.check("depth", depth, f"Catalog {catalog.id}")
        for link in [*catalog.get_item_links(), *catalog.get_child_links()]:
            target = link.target if link.is_resolved() else None
            if isinstance(target, pystac.Item):
                yield with_absolute_assets(target.to_dict(transform_hrefs=False), target.get_self_href() or "")
            elif isinstance(target, pystac.Catalog):
                if f"{id(target)}" not in self._seen:
                    self._seen.add(f"{id(target)}")
                    yield from self.held(target, depth + 1)
            else:
                yield from self._behind(str(link.get_absolute_href()), depth)

    def _place(self, href: str, base: str) -> str | None:
        try:
            place = absolute(href, base)
            urlsplit(place)
        except ValueError:  # as http://[
            self.notes.append(f"A link of {redacted(base)} left out: it is no address.")
            return None
        return place

    def _behind(self, href: str, depth: int) -> Iterator[Json]:
        if href in self._seen:
            return
        self._seen.add(href)
        self._limits.check("files", len(self._seen), f"Catalog {redacted(href)}")
        try:
            document = document_of(href, self._files)
            if not isinstance(document, dict):
                raise ContentError("it is no object")
        except UNREADABLE as error:
            if _may_come_back(error):
                raise
            self.notes.append(f"File {redacted(href)} left out: {_why(error)}.")
            return
        yield from self.below(href, document, depth + 1)

    def _item(self, href: str, document: Any) -> Iterator[Json]:  # noqa: ANN401 - JSON of any type
        try:
            yield _item(document, href, self._files.stac_object_from_dict)
        except UNREADABLE as error:
            name = document.get("id") if isinstance(document, dict) else None
            self.notes.append(f"Item {name or redacted(href)} left out: it is malformed ({reason(error)}).")

    def _note_strange_links(self, href: str, document: Json) -> None:
        links = document.get("links")
        if not isinstance(links, list):
            self.notes.append(f"File {redacted(href)} left out: it has no list of links.")
            return
        strange = sum(not (isinstance(link, dict) and isinstance(link.get("href"), str)) for link in links)
        if strange:
            self.notes.append(f"{strange} links of {redacted(href)} left out: they name no file.")


def _may_come_back(error: Exception) -> bool:
    """Whether a server may answer another time, so that leaving the file out would be by chance."""
    return isinstance(error, APIError) and getattr(error, "status_code", None) not in GONE


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return "it is not JSON" if type(error).__name__ == "JSONDecodeError" else reason(error)


def _bounds(area: Geometry) -> str:
    return ",".join(f"{v:g}" for v in area.bounds)


def _extent(items: Sequence[Json]) -> str:
    places = [footprint({"geometry": None, "bbox": item.get("bbox")}) for item in items]
    boxes = [place.bounds for place in places if place is not None]
    if not boxes:
        return "an empty catalog" if not items else "the catalog's, which no item says"
    west, south = (min(box[i] for box in boxes) for i in (0, 1))
    east, north = (max(box[i] for box in boxes) for i in (2, 3))
    return f"the catalog's {west:g},{south:g},{east:g},{north:g}"
