"""A GeoCatalog of Microsoft Planetary Computer Pro: a STAC API that accepts what it is sent and ingests it later.

Its requests are those of the API of 2026-04-15, as the client library `azure-planetarycomputer` makes them.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from spaceeye_stac.errors import PublishError
from spaceeye_stac.publishing.api import EXISTS, SMALL_PAGE, Outcome, PublishedItem, StacApi, segment
from spaceeye_stac.publishing.credentials import TOKEN_COMMAND
from spaceeye_stac.publishing.digests import DIGEST, is_our_item
from spaceeye_stac.publishing.http_client import READING, HttpClient, Reply
from spaceeye_stac.publishing.report import FOREIGN
from spaceeye_stac.query import Json

API_VERSION = "2026-04-15"
INGESTION = "inma/"  # paths of what is not STAC begin so
SCOPE = "https://geocatalog.spatio.azure.com/.default"
OPERATION_SECONDS = 900.0
STREAM_SECONDS = 1.0  # of a day while a run is at work, which need not wait for it
BULK_ITEMS = 50
KNOWN = frozenset({EXISTS})


class GeoCatalogClient(HttpClient):
    """Requests to one GeoCatalog, each with the version of its API."""

    login: ClassVar[str] = (
        f"it wants a token of Microsoft Entra ID for {SCOPE}, as {TOKEN_COMMAND}='az account get-access-token --scope "
        f"{SCOPE} --query accessToken --output tsv' gives it, of one who has the role GeoCatalog Administrator"
    )

    def address_of(self, path: str) -> str:
        """The address of a path of its STAC API, or of its ingestion, with the version."""
        below = path if path.startswith(INGESTION) else f"stac/{path}".rstrip("/")
        address = path if "://" in path else f"{self.url}/{below}"
        query = urlsplit(address).query
        if "api-version" in parse_qs(query):
            return address
        return f"{address}{'&' if query else '?'}api-version={API_VERSION}"

    def operation_of(self, named: str, base: str) -> str:
        """Where an operation is followed; at this host, whatever host the answer names."""
        name = urlsplit(named).path.rstrip("/").rpartition("/")[2]
        return super().operation_of(named, base) or f"{INGESTION}operations/{segment(name)}"


class GeoCatalog(StacApi):
    """The collections and items of one GeoCatalog, which copies the assets of each item that it is sent."""

    client: ClassVar[type[HttpClient]] = GeoCatalogClient
    usual_wait: ClassVar[float] = OPERATION_SECONDS
    bulk_items: ClassVar[int] = BULK_ITEMS
    searched: ClassVar[Json] = {"limit": SMALL_PAGE}

    def check(self) -> None:
        """Raise TargetError unless it answers as a STAC API does; every GeoCatalog takes changes."""
        _ = self._root

    @cached_property
    def _bulk(self) -> bool:
        return True

    def put_collection(self, document: Json, *, there: Json | None) -> None:
        """Create a collection, or replace the one that is `there`; PublishError where it cannot be read back."""
        if there is None:
            super().put_collection(document, there=None)
        else:
            self._client.call("PUT", f"collections/{segment(document['id'])}", document)

    def put_item(self, item: Json) -> Reply:
        """Create an item, or replace it where it is one of this package; PublishError otherwise.

        An earlier publication that was killed may have sent it, so what is there is looked at again where it fails.
        """
        items = f"collections/{segment(item['collection'])}/items"
        path = f"{items}/{segment(item['id'])}"
        there = self._document(path)
        if there is None:
            try:
                reply = self._client.call("POST", items, item, known=KNOWN)
            except PublishError:
                there = self._document(path)
                if there is None:
                    raise
            else:
                if reply.status != EXISTS:
                    return reply
                there = self._document(path)
        return self._replaced(path, item, there)

    def _replaced(self, path: str, item: Json, there: Json | None) -> Reply:
        if there is None:
            raise PublishError(f"{self.url} says that it is there and does not show it")
        if not is_our_item(there.get("properties")):
            raise PublishError(FOREIGN)
        if there["properties"].get(DIGEST) == item["properties"][DIGEST]:
            return Reply(200, there, "")
        return self._client.call("PUT", path, item)

    def _put_many(self, items: Sequence[Json]) -> list[Outcome]:
        """Those that are not there in one operation; where that fails one by one, to know which."""
        there = self.held(items)
        new = [item for item in items if item["id"] not in there]
        old = self._put_each([item for item in items if item["id"] in there])
        if not new:
            return old
        path = f"collections/{segment(new[0]['collection'])}/items"
        try:
            reply = self._client.call("POST", path, {"type": "FeatureCollection", "features": new}, known=KNOWN)
        except PublishError:
            return old + self._put_each(new)
        if reply.status == EXISTS:
            return old + self._put_each(new)
        return old + [Outcome(item["id"], answer=str(reply)) for item in new]

    def held(self, items: Sequence[Json]) -> dict[str, PublishedItem]:
        """Those of some items of one collection that are there, by id."""
        collection = items[0]["collection"]
        body = {"collections": [collection], "ids": [item["id"] for item in items], **self.searched}
        return self._listed(collection, "POST", "search", body)

    def configure(self, collection: str, kind: str, wanted: Sequence[Json]) -> dict[str, str]:
        """Create or replace a collection's configurations of one kind; says of each that failed why."""
        path = f"collections/{segment(collection)}/configurations/{kind}"
        found = self._client.call(READING, path).document
        there = {str(one.get("id")): one for one in found} if isinstance(found, list) else {}
        todo = [one for one in wanted if not one.items() <= there.get(one["id"], {}).items()]
        failed = {}
        for one in todo:
            outcome = self._tried(f"{kind}/{one['id']}", lambda one=one: self._configured(path, one, there))  # type: ignore[misc]
            if outcome.failure is not None:
                failed[outcome.id] = outcome.failure
        return failed

    def _configured(self, path: str, one: Json, there: Json) -> Reply:
        if one["id"] not in there:
            reply = self._client.call("POST", path, one, known=KNOWN)
            if reply.status != EXISTS:
                return reply
        return self._client.call("PUT", f"{path}/{segment(one['id'])}", one)
