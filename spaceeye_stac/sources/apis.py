"""Every item of a STAC API over a region and time range."""

import json
from collections.abc import Iterator

from pystac_client import Client

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.query import DateRange, Json, Query
from spaceeye_stac.sources.catalog import CatalogRoot, refusal_or
from spaceeye_stac.sources.profiles import shipped_profiles
from spaceeye_stac.sources.transport import UNREADABLE, patient, reason

PAGE_SIZE = 250


def from_api(root: CatalogRoot, query: Query, days: DateRange) -> tuple[list[Json], str, list[str]]:
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
        raise refusal_or(error, f"Search at {root.redacted} failed: {reason(error)}; try again later.") from None
    return items, f"{len(items)} items of {', '.join(collections)} intersect the region around these days", short


def _distinct(pages: Iterator[Json], root: CatalogRoot) -> tuple[list[Json], list[str]]:
    """The items of all pages, each once; CatalogError when paging goes on without anything new."""
    found: dict[str, Json] = {}
    received = matched = strange = 0
    for number, page in enumerate(pages, start=1):
        before = len(found)
        items = [item for item in page["features"] if isinstance(item, dict)]
        for item in items:
            found.setdefault(_identity(item), item)
        goes_on = any(link.get("rel") == "next" for link in page.get("links", ()))
        if goes_on and len(found) == before:
            raise CatalogError(
                f"Search at {root.redacted} goes round in circles: page {number} repeats items of earlier pages; "
                f"ask for fewer days, or tell who runs it."
            )
        received += len(page["features"])
        strange += len(page["features"]) - len(items)
        matched = page.get("numberMatched") or page.get("context", {}).get("matched") or matched
    short = (
        [f"The server counts {matched} items and gave {received}; search again to be sure."]
        if received < matched
        else []
    )
    odd = [f"{strange} answers of the server left out: they are no items."] if strange else []
    return list(found.values()), [*short, *odd]


def _identity(item: Json) -> str:
    """Collection and id, or all of an item that has no id."""
    return json.dumps([item.get("collection"), item["id"]] if "id" in item else item)


def _collections(root: CatalogRoot, client: Client) -> list[str]:
    if root.collection is not None:
        return [root.collection]
    return [root.profile.collection] if root.profile else _collection_of(root, client)


def _collection_of(root: CatalogRoot, client: Client) -> list[str]:
    """The collection to search in an API that no profile names: the one whose id a profile knows."""
    known = {profile.collection for profile in shipped_profiles().values()}
    ids = [collection.id for collection in client.get_collections()]
    wanted = [name for name in ids if name in known] or (ids if len(ids) == 1 else [])
    if len(wanted) != 1:
        raise CatalogError(
            f"{root.redacted} has collections {', '.join(ids) or '(none)'}; name a profile that says which."
        )
    return wanted
