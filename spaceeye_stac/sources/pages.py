"""The pages of a search or of a list of items, one after the other, until there is no next one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pystac import Link

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.query import Json
from spaceeye_stac.sources.catalog import CatalogRoot
from spaceeye_stac.sources.hrefs import links_of, next_href, self_href, with_absolute_assets
from spaceeye_stac.sources.transport import ContentError, PatientIO
from spaceeye_stac.sources.trust import Trust


@dataclass
class Collected:
    """The items of all pages, each once, and what the server says of their number."""

    items: dict[str, Json] = field(default_factory=dict)
    received: int = 0
    strange: int = 0
    matched: int | None = None

    def add(self, page: Json, base: str, root: CatalogRoot) -> int:
        """Take the items of a page, and return how many of them are new."""
        features, before = features_of(page), len(self.items)
        for item in features:
            if isinstance(item, dict):
                self.items.setdefault(_identity(item), _placed(item, base, root.trust))
            else:
                self.strange += 1
        self.received += len(features)
        self.matched = matched(page) or self.matched
        return len(self.items) - before

    @property
    def notes(self) -> list[str]:
        """What is missing, and what was no item."""
        short = [missing("The server", self.matched, self.received)] if self.received < (self.matched or 0) else []
        odd = [f"{self.strange} answers of the server left out: they are no items."] if self.strange else []
        return [*short, *odd]


def missing(who: str, counted: int | None, received: int) -> str:
    """The sentence on items that are counted but were not received."""
    return f"{who} counts {counted} items and gave {received}; search again to be sure."


def features_of(page: Json) -> Sequence[Any]:
    """The items of a page; ContentError where it is none."""
    found = page.get("features") if isinstance(page, dict) else None
    if not isinstance(found, list):
        raise ContentError("the answer is no list of items")
    return found


def matched(page: Json) -> int | None:
    """How many items there are on all pages, where it is said."""
    context = page.get("context")
    told = (page.get("numberMatched"), context.get("matched") if isinstance(context, dict) else None)
    return next((count for count in told if type(count) is int), None)


def next_page(page: Json) -> Json | None:
    """The link to the next page."""
    return next(links_of(page, "next"), None)


def _placed(item: Json, base: str, trust: Trust) -> Json:
    """An item whose assets are named from its own address; as it is where it has none."""
    if not any(links_of(item, "self")):
        return item
    return with_absolute_assets(item, self_href(item, base), lambda href: trust.refusal(href) is None)


def collected(io: PatientIO, pages: Iterator[tuple[str, Json]], root: CatalogRoot) -> Collected:
    """The items of all pages; CatalogError when paging goes on without anything new, or beyond a bound."""
    found, where = Collected(), f"Search at {root.redacted}"
    followed: set[str] = set()
    for number, (base, page) in enumerate(pages, start=1):
        io.limits.check("pages", number, where)
        new = found.add(page, base, root)
        io.limits.check("items", len(found.items), where)
        link = next_page(page)
        again = link is not None and json.dumps(link, sort_keys=True) in followed
        if link is not None and (again or (not new and features_of(page))):
            raise CatalogError(
                f"{where} goes round in circles: page {number} repeats items of earlier pages; "
                f"ask for fewer days, or tell who runs it."
            )
        followed.add(json.dumps(link, sort_keys=True))
    return found


def following(io: PatientIO, page: Json, href: str, parameters: Json | None = None) -> Iterator[tuple[str, Json]]:
    """A page and all those after it, each with the address it was read from.

    An empty page may have a next one. `parameters` are those of the first request, for links that are merged with it.
    """
    yield href, page
    link = next_page(page)
    while link is not None:
        href = next_href(link["href"], href)
        page = io.read_json(Link.from_dict({**link, "href": href}), parameters=parameters or {})
        yield href, page
        link = next_page(page)


def _identity(item: Json) -> str:
    """Collection and id, or all of an item that has no id."""
    return json.dumps([item.get("collection"), item["id"]] if "id" in item else item)
