"""Every item of a STAC API over a region and time range: by its search, or page by page of a list of items."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pystac_client import ItemSearch
from pystac_client.exceptions import APIError
from shapely.geometry import shape

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.query import DateRange, Json, Query
from spaceeye_stac.sources.catalog import CatalogRoot, refusal_or
from spaceeye_stac.sources.hrefs import absolute, links_of
from spaceeye_stac.sources.nearby import boxes_of, explain_swapped, near
from spaceeye_stac.sources.pages import Collected, collected, following
from spaceeye_stac.sources.profiles import shipped_profiles
from spaceeye_stac.sources.transport import UNREADABLE, PatientIO, patient, reason

PAGE_SIZE = 250
SMALLEST_PAGE = 15
NO_POST = frozenset({405, 415, 501})
TOO_LARGE = frozenset({400, 413, 422, 500, 502, 504})
TOO_LONG = 414
LESS_PATIENT_SECONDS = 20.0
SHORT_ENOUGH = 1500  # letters of a region in a URL


@dataclass(frozen=True)
class _Asking:
    """How the search is asked: by which method, for how many items a page, and with the region's box alone or not."""

    method: str
    page_size: int = PAGE_SIZE
    boxed: bool = False


def from_api(root: CatalogRoot, query: Query, days: DateRange) -> tuple[list[Json], str, list[str]]:
    """Every item of the region and days (a day more at both ends: solar days are cut afterwards).

    Returns the items, how many there are in words, and a note on what is missing and on what was not asked for.
    """
    wide = days.widened(1)
    try:
        if root.listing is not None:
            found, whose = _listed(root, query, wide), "in the list"
        else:
            io = patient(check=root.trust.check_link)
            names = _collections(root, io)
            found, whose = _searched(root, query, wide, names), f"of {', '.join(names)}"
            if not found.items:
                _explain_nothing(root, query, names)
    except UNREADABLE as error:
        raise refusal_or(error, f"Search at {root.redacted} failed: {reason(error)}; try again later.") from None
    items, away = near(list(found.items.values()), query, wide)
    if not items:
        explain_swapped(shape(query.geometry), [item.get("bbox") for item in found.items.values()])
    return items, f"{len(items)} items {whose} intersect the region around these days", [*found.notes, *away]


def _searched(root: CatalogRoot, query: Query, days: DateRange, names: list[str]) -> Collected:
    """The answers of the search, asked in another way where the server does not take the first."""
    asking = _Asking(root.method)
    while True:
        seconds = None if asking.page_size == PAGE_SIZE else LESS_PATIENT_SECONDS
        io = patient(retry_seconds=seconds, check=root.trust.check_link)
        try:
            return collected(io, _search_pages(io, root, query, days, names, asking), root)
        except APIError as error:
            asking = _easier(asking, error)


def _search_pages(
    io: PatientIO, root: CatalogRoot, query: Query, days: DateRange, names: list[str], asking: _Asking
) -> Iterator[tuple[str, Json]]:
    region = query.geometry
    boxed = asking.boxed or (asking.method == "GET" and len(json.dumps(region)) > SHORT_ENOUGH)
    asked = ItemSearch(
        url=root.search_href,
        method=asking.method,
        stac_io=io,
        collections=names,
        intersects=None if boxed else region,
        bbox=shape(region).bounds if boxed else None,
        datetime=_interval(days),
        limit=asking.page_size,
    )
    parameters = asked.get_parameters()
    page = io.read_json(asked.url, method=asking.method, parameters=parameters)
    yield from following(io, page, asked.url, parameters)


def _easier(asking: _Asking, error: APIError) -> _Asking:
    """Another way to ask a server that answered with an error; that error where there is none."""
    status = getattr(error, "status_code", None)
    if asking.method == "POST" and status in NO_POST:
        return replace(asking, method="GET")
    if asking.method == "GET" and status == TOO_LONG and not asking.boxed:
        return replace(asking, boxed=True)
    if status in TOO_LARGE and asking.page_size > SMALLEST_PAGE:
        return replace(asking, page_size=asking.page_size // 2)
    raise error


def _listed(root: CatalogRoot, query: Query, days: DateRange) -> Collected:
    """The items of a list at an address, which is asked for the region and days alone."""
    together = Collected()
    for sides in _boxes(query):
        own = {"bbox": ",".join(f"{side:g}" for side in sides), "datetime": _interval(days)}
        size = PAGE_SIZE
        while True:
            io = patient(check=root.trust.check_link)
            href = _with_parameters(str(root.listing), {**own, "limit": f"{size}"})
            try:
                found = collected(io, following(io, io.read_json(href), href), root)
                break
            except APIError as error:
                size = _easier(_Asking("LIST", size), error).page_size
        together.items |= found.items
        together.received += found.received
        together.strange += found.strange
        together.matched = None if found.matched is None else (together.matched or 0) + found.matched
    return together


def _boxes(query: Query) -> list[tuple[float, float, float, float]]:
    """The region's envelope; two where it goes over 180 degrees."""
    parts = [shape(query.geometry)]
    west, _, east, _ = parts[0].bounds
    if query.geometry["type"] == "MultiPolygon" and (west, east) == (-180, 180):
        parts = list(parts[0].geoms)
    return [part.bounds for part in parts]


def _with_parameters(href: str, wanted: Json) -> str:
    """An address with parameters; those that it has already stay as they are."""
    parts = urlsplit(href)
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(query=urlencode({**wanted, **own})))


def _interval(days: DateRange) -> str:
    return f"{days.start}T00:00:00Z/{days.stop}T23:59:59Z"


def _collections(root: CatalogRoot, io: PatientIO) -> list[str]:
    if root.collection is not None:
        return [root.collection]
    return [root.profile.collection] if root.profile else _collection_of(root, io)


def _collection_of(root: CatalogRoot, io: PatientIO) -> list[str]:
    """The collection to search in an API that no profile names: the one whose id a profile knows."""
    known = {profile.collection for profile in shipped_profiles().values()}
    ids = list(_extents(root, io))
    wanted = [name for name in ids if name in known] or (ids if len(ids) == 1 else [])
    if len(wanted) != 1:
        raise CatalogError(
            f"{root.redacted} has collections {', '.join(ids) or '(none)'}; name one of them with collection, "
            "or a profile that says which."
        )
    return wanted


def _extents(root: CatalogRoot, io: PatientIO) -> dict[str, list[Any]]:
    """Ids of an API's collections, on all pages of its list or among its links, with the boxes they lie in."""
    data = next(links_of(root.document, "data"), None)
    if data is None:
        links = links_of(root.document, "child", "collection")
        return {urlsplit(link["href"]).path.rstrip("/").rpartition("/")[2]: [] for link in links}
    href, found = absolute(data["href"], root.href), {}
    for number, (_, page) in enumerate(following(io, io.read_json(href), href), start=1):
        io.limits.check("pages", number, f"List of collections {root.redacted}")
        for one in page.get("collections") or ():
            if isinstance(one, dict) and "id" in one:
                found[str(one["id"])] = boxes_of(one)
    return found


def _explain_nothing(root: CatalogRoot, query: Query, names: list[str]) -> None:
    """Raise what is wrong where a search finds nothing: no such collection, or a region with swapped coordinates."""
    try:
        extents = _extents(root, patient(retry_seconds=LESS_PATIENT_SECONDS, check=root.trust.check_link))
    except UNREADABLE:
        return
    if extents and not set(names) & extents.keys():
        raise CatalogError(f"{root.redacted} has no collection {', '.join(names)}; it has {', '.join(extents)}.")
    explain_swapped(shape(query.geometry), [box for name in names for box in extents.get(name, ())])
