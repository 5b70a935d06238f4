"""A STAC API with the Transaction extension: its collections and items; what it holds is what it lists."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote

from spaceeye_stac.collection import is_ours
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.digests import DIGEST, is_our_item
from spaceeye_stac.publishing.http_client import MISSING, OPERATION_SECONDS, READING, RETRY_SECONDS, HttpClient, Reply
from spaceeye_stac.publishing.report import FOREIGN
from spaceeye_stac.publishing.run_folder import is_plain_name
from spaceeye_stac.publishing.targets import Target
from spaceeye_stac.publishing.threads import CONNECTIONS, at_once
from spaceeye_stac.query import Json

EXISTS = 409
PAGE_SIZE = 500
SMALL_PAGE = 100
BULK_ITEMS = 250
BULK_FROM = 20
BULK_TRIES = 3
FAILURES_IN_A_ROW = 16
SETTLE_SECONDS = 15.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 2.0
ITEM_FIELDS = {"include": ["id", "collection", "bbox", "properties"], "exclude": ["assets", "links", "geometry"]}


@dataclass(frozen=True)
class PublishedItem:
    """What an API holds of one item: enough to know whose it is, whether it changed, and for the extent."""

    id: str
    bbox: Sequence[float]
    properties: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether this package made it."""
        return is_our_item(self.properties)

    @property
    def digest(self) -> str | None:
        """What it is by its content, where it says so."""
        return self.properties.get(DIGEST)


@dataclass(frozen=True)
class Outcome:
    """What became of a request about one item: why it failed, or what the server answered, which proves nothing."""

    id: str
    failure: str | None = None
    answer: str = ""


def segment(name: str) -> str:
    """An id as a part of a URL; TargetError for one that would lead elsewhere."""
    if not is_plain_name(name):
        raise TargetError(f"Id {name!r} cannot stand in the address of an API; it stays as it is.")
    return quote(name, safe="")


class StacApi:
    """The collections and items of one API.

    TargetError where the API cannot be written to (address, credentials, no Transaction extension), PublishError for
    what it refuses or when it stays away. `wait`: seconds for what it has only accepted.
    """

    client: ClassVar[type[HttpClient]] = HttpClient
    usual_wait: ClassVar[float] = OPERATION_SECONDS
    bulk_items: ClassVar[int] = BULK_ITEMS
    searched: ClassVar[Json] = {"limit": PAGE_SIZE, "fields": ITEM_FIELDS}

    def __init__(self, target: Target, wait: float | None = None) -> None:
        self.url = target.address
        self._wait = self.usual_wait if wait is None else wait
        self._client = self.client(target, RETRY_SECONDS, self._wait)

    @cached_property
    def _root(self) -> Json:
        found = self._client.call(READING, "", known=MISSING).document
        if not isinstance(found, dict) or "links" not in found or "conformsTo" not in found:
            raise TargetError(f"{self.url} is no STAC API; give the address of its landing page.")
        return found

    def check(self) -> None:
        """Raise TargetError unless this is a STAC API that says it takes transactions."""
        if not any("transaction" in str(name) for name in self._root["conformsTo"]):
            raise TargetError(f"{self.url} takes no changes: it does not offer the Transaction extension.")

    @cached_property
    def _bulk(self) -> bool:
        """Whether its own description has the path for many items at once."""
        href = next((link.get("href") for link in self._root["links"] if link.get("rel") == "service-desc"), None)
        own = self._client.within(href) if href else None
        if own is None:
            return False
        try:
            described = self._client.call(READING, own, known=MISSING).document
        except (PublishError, TargetError):
            return False
        paths = described.get("paths", {}) if isinstance(described, dict) else {}
        return any(str(path).endswith("/bulk_items") for path in paths)

    def collection(self, name: str) -> Json | None:
        """Return a collection, or None where there is none."""
        return self._document(f"collections/{segment(name)}")

    def item(self, collection: str, name: str) -> Json | None:
        """Return an item, or None where there is none."""
        return self._document(f"collections/{segment(collection)}/items/{segment(name)}")

    def _document(self, path: str) -> Json | None:
        reply = self._client.call(READING, path, known=MISSING)
        if reply.status in MISSING:
            return None
        if not isinstance(reply.document, dict) or "id" not in reply.document:
            raise PublishError(f"{self.url}/{path} answers {reply}, which is no STAC document; is a login in between?")
        return reply.document

    def put_collection(self, document: Json, *, there: Json | None) -> None:
        """Create a collection, or replace the one that is `there`; PublishError where it cannot be read back."""
        reply = self._client.call("POST", "collections", document, known=frozenset({EXISTS}))
        path = f"collections/{segment(document['id'])}"
        if reply.status == EXISTS:
            found = there or self._document(path)
            if found is None:
                raise PublishError(f"{self.url} says that collection {document['id']} exists and does not show it.")
            if not (there or is_ours(found) or found.get("description") == document["description"]):
                raise TargetError(
                    f"{self.url} has a collection {document['id']} that this package did not make; publish under "
                    "another collection_id."
                )
            reply = self._client.call("PUT", path, document)
        if there is None and not self._soon(path, lambda found: found is not None):
            raise PublishError(
                f"{self.url} answers {reply} to collection {document['id']} and does not hold it afterwards; nothing "
                "was sent into it."
            )

    def _soon(self, path: str, wanted: Callable[[Json | None], bool]) -> bool:
        """Whether a document that is read back is as wanted, at once or soon."""
        end, pause = time.monotonic() + SETTLE_SECONDS, FIRST_PAUSE_SECONDS
        while not wanted(self._document(path)):
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return True

    def put_item(self, item: Json) -> Reply:
        """Create an item, or replace it where it is one of this package; PublishError otherwise."""
        path = f"collections/{segment(item['collection'])}/items"
        name = segment(item["id"])
        reply = self._client.call("POST", path, item, known=frozenset({EXISTS}))
        if reply.status != EXISTS:
            return reply
        there = self._document(f"{path}/{name}")
        if there is not None and not is_our_item(there.get("properties")):
            raise PublishError(FOREIGN)
        return self._client.call("PUT", f"{path}/{name}", item)

    def put_items(self, items: Sequence[Json]) -> Iterator[Outcome]:
        """Create or replace items, many at once where the API offers it.

        Raises TargetError, and nothing more is sent, when the API refuses the credentials.
        """
        many = len(items) >= BULK_FROM and self._bulk
        size = self.bulk_items if many else 1
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        for found in at_once(self._put_many if many else self._put_each, parts):
            yield from found

    def _put_many(self, items: Sequence[Json]) -> list[Outcome]:
        """At once; where the API refuses that, one by one, to know which."""
        path = f"collections/{segment(items[0]['collection'])}/bulk_items"
        try:
            body = {"items": {item["id"]: item for item in items}, "method": "upsert"}
            reply = self._client.call("POST", path, body, tries=BULK_TRIES)
        except PublishError:
            return self._put_each(items)
        return [Outcome(item["id"], answer=str(reply)) for item in items]

    def _put_each(self, items: Sequence[Json]) -> list[Outcome]:
        return [self._tried(item["id"], lambda item=item: self.put_item(item)) for item in items]  # type: ignore[misc]

    def _tried(self, name: str, action: Callable[[], Reply]) -> Outcome:
        """Do something with one item; not where a server has failed at everything before it."""
        if self._client.failures >= FAILURES_IN_A_ROW:
            return Outcome(name, f"not sent, as {self.url} failed at the {FAILURES_IN_A_ROW} requests before it")
        try:
            return Outcome(name, answer=str(action()))
        except PublishError as error:
            return Outcome(name, str(error))

    def items(self, collection: str) -> dict[str, PublishedItem]:
        """Every item of a collection that the API lists, by id; PublishError when its paging goes round in circles."""
        body: Json = {"collections": [collection], **self.searched}
        try:
            return self._listed(collection, "POST", "search", body)
        except PublishError:
            path = f"collections/{segment(collection)}/items?limit={SMALL_PAGE}"
            return self._listed(collection, READING, path, None)

    def _listed(self, collection: str, method: str, path: str, body: Json | None) -> dict[str, PublishedItem]:
        found: dict[str, PublishedItem] = {}
        while True:
            page = self._client.call(method, path, body).document
            if not isinstance(page, dict) or not isinstance(page.get("features"), list):
                raise PublishError(f"{self.url} does not list the items of {collection}; is its search in order?")
            before = len(found)
            found |= {one.id: one for feature in page["features"] if (one := _item_of(feature, collection))}
            onward = next((link for link in page.get("links") or () if link.get("rel") == "next"), None)
            if onward is None:
                return found
            if len(found) == before:
                raise PublishError(f"{self.url} gives the same page of items again and again; its paging is broken.")
            method, path = onward.get("method", READING), self._next(str(onward.get("href")))
            body = {**body, **onward.get("body", {})} if onward.get("merge") and body else onward.get("body")

    def _next(self, href: str) -> str:
        own = self._client.within(href)
        if own is None:
            raise PublishError(f"{self.url} lists the rest of its items at another host, which is not asked.")
        return own

    def settled(
        self, collection: str, missing: Callable[[Mapping[str, PublishedItem]], int]
    ) -> dict[str, PublishedItem]:
        """What the API lists once nothing is `missing`, or nothing more has come for some time."""
        least, since, pause = None, time.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            found = self.items(collection)
            count = missing(found)
            if least is None or count < least:
                least, since = count, time.monotonic()
            if not count or time.monotonic() - since >= SETTLE_SECONDS:
                return found
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def read_back(self, collection: str, names: Sequence[str]) -> dict[str, PublishedItem]:
        """Items by their own addresses, which an API may know before it lists them."""

        def read(name: str) -> PublishedItem | None:
            try:
                return _item_of(self.item(collection, name), collection)
            except PublishError:
                return None

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return {one.id: one for one in pool.map(read, names) if one is not None}

    def delete_items(self, collection: str, names: Sequence[str]) -> dict[str, str]:
        """Remove items, well where there are none; says why each failed one did."""
        path = f"collections/{segment(collection)}/items"

        def delete(name: str) -> Outcome:
            try:
                inside = segment(name)
            except TargetError as error:
                return Outcome(name, str(error))
            return self._tried(name, lambda: self._client.call("DELETE", f"{path}/{inside}", known=MISSING))

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return {one.id: one.failure for one in pool.map(delete, names) if one.failure is not None}

    def delete_collection(self, name: str) -> None:
        """Remove a collection, well where there is none; PublishError where it is there afterwards."""
        path = f"collections/{segment(name)}"
        reply = self._client.call("DELETE", path, known=MISSING)
        if not self._soon(path, lambda found: found is None):
            raise PublishError(f"{self.url} answers {reply} to the removal of collection {name} and still holds it.")


def _item_of(feature: object, collection: str) -> PublishedItem | None:
    """What an API says of an item; None where it says no id, or is of another collection than was asked for."""
    if not isinstance(feature, dict) or not isinstance(feature.get("id"), str):
        return None
    if feature.get("collection") not in {None, collection}:
        return None
    properties = feature.get("properties")
    return PublishedItem(feature["id"], feature.get("bbox") or (), properties if isinstance(properties, dict) else {})
