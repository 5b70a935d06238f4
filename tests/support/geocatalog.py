"""A small GeoCatalog of Planetary Computer Pro on loopback, in memory: what it accepts it does a moment later.

Paths, statuses and documents are those that the client library `azure-planetarycomputer` 1.0.0 sends and reads.
"""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar
from urllib.parse import parse_qs, urljoin, urlsplit

import rustac

from tests.support.loopback import Handler

Json = dict[str, Any]
Answer = tuple[int, Any]
API_VERSION = "2026-04-15"
NOW = "2026-11-26T12:00:00Z"
PAGE = 3
DONE, RUNNING, FAILED = "Succeeded", "Running", "Failed"
PAGES = "<html>Sign in</html>"


class _Handler(Handler):
    served: "GeoCatalog"
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body, address = self.body(), urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        with self.served.lock:
            status, document, headers = self.served.answer(
                self.command, address.path, query, json.loads(body or b"{}"), self.headers.get("Authorization", "")
            )
        if isinstance(document, str):
            headers = {**headers, "Content-Type": "text/html"}
        self.send(status, document.encode() if isinstance(document, str) else json.dumps(document).encode(), headers)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names


def problem(status: int, code: str, message: str) -> Answer:
    return status, {"error": {"code": code, "message": message}}


@dataclass
class Work:
    """Something that was accepted: done at `due`, by `action`, which gives an error's code and message."""

    id: str
    kind: str
    collection: str
    due: float
    action: Callable[[], tuple[str, str] | None]
    status: str = RUNNING
    error: tuple[str, str] | None = None
    totals: Json = field(default_factory=dict)


@dataclass
class GeoCatalog:
    """What it holds, and how it behaves.

    A request without its `token`, if it has one, gets 401. `fault` gives a status to fail with, or 0, for each
    changing request's number, method and path; 200 is a login page. What was accepted takes `seconds`. Items of ids
    in `bad` fail with the code and message there. `elsewhere` is a host that is named in operation-location in place
    of its own.
    """

    handler: ClassVar[type[Handler]] = _Handler
    token: str = "secret-token"  # noqa: S105 - of the fake
    fault: Callable[[int, str, str], int] = lambda _number, _method, _path: 0
    retry_after: str = ""
    seconds: float = 0.05
    bad: dict[str, tuple[str, str]] = field(default_factory=dict)
    elsewhere: str = ""
    collections: dict[str, Json] = field(default_factory=dict)
    items: dict[tuple[str, str], Json] = field(default_factory=dict)
    configured: dict[tuple[str, str], dict[str, Json]] = field(default_factory=dict)
    ingestions: dict[str, Json] = field(default_factory=dict)
    works: dict[str, Work] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    asked: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def changes(self) -> list[tuple[str, str]]:
        """The changing requests since the last call: method, path."""
        found, self.log = self.log, []
        return found

    def answer(self, method: str, path: str, query: Json, body: Json, token: str) -> tuple[int, Any, dict[str, str]]:
        """Do what a request asks; status, document, headers."""
        self._advance()
        self.asked += 1
        if method != "GET" and path != "/stac/search":
            self.log.append((method, path))
            fault = self.fault(len(self.log), method, path)
            if fault == 200:
                return 200, PAGES, {}
            if fault:
                headers = {"Retry-After": self.retry_after} if self.retry_after else {}
                return *problem(fault, "Trouble", f"as you sent {token}"), headers
        if self.token and token != f"Bearer {self.token}":
            return *problem(401, "Unauthorized", f"who is {token}?"), {}
        if query.get("api-version") != API_VERSION:
            return *problem(400, "MissingApiVersionParameter", "The api-version query parameter is required."), {}
        found = self._routed(method, path.strip("/").split("/"), query, body)
        if isinstance(found, Work):
            operation = f"{self.elsewhere or self.url}/inma/operations/{found.id}?api-version={API_VERSION}"
            return 202, self._operation(found), {"operation-location": operation, "location": operation}
        return *found, {}

    def _routed(self, method: str, parts: list[str], query: Json, body: Json) -> Answer | Work:
        match [method, *parts]:
            case ["GET", "stac"]:
                return 200, {"type": "Catalog", "id": "fake", "stac_version": "1.0.0", "description": "x",
                             "conformsTo": ["https://api.stacspec.org/v1.0.0/core"], "links": []}  # fmt: skip
            case ["POST", "stac", "search"]:
                return self._search(body)
            case [_, "stac", "collections", *below]:
                return self._stac(method, below, query, body)
            case [_, "inma", "operations", *below]:
                return self._operations(below)
            case [_, "inma", "collections", collection, "ingestions", *below]:
                return self._ingestion(method, collection, below, body)
        return problem(404, "NotFound", "no such path")

    def _stac(self, method: str, below: list[str], query: Json, body: Json) -> Answer | Work:  # noqa: PLR0911 - routes
        match [method, *below]:
            case ["POST"]:
                if body["id"] in self.collections:
                    return problem(409, "CollectionExists", "it is there")
                return self._work("CreateCollection", body["id"], lambda: self._put(self.collections, body["id"], body))
            case ["GET", name] if name in self.collections:
                return 200, self.collections[name]
            case ["PUT", name] if name in self.collections:
                self.collections[name] = body
                return 200, body
            case ["DELETE", name] if name in self.collections:
                return self._work("DeleteCollection", name, lambda: self._drop(name))
            case [_, name, "configurations", kind, *rest] if name in self.collections:
                return self._configuration(method, self.configured.setdefault((name, kind), {}), rest, body)
            case ["GET", name, "items"] if name in self.collections:
                return self._search({"collections": [name], **query})
            case ["POST", name, "items"] if name in self.collections:
                features = body["features"] if body["type"] == "FeatureCollection" else [body]
                return self._work("CreateItem", name, lambda: self._created(name, features))
            case [_, name, "items", item] if (name, item) in self.items:
                return self._item(method, (name, item), body)
        return problem(404, "NotFound", "/".join(below))

    def _item(self, method: str, key: tuple[str, str], body: Json) -> Answer | Work:
        if method == "GET":
            return 200, self.items[key]
        if method == "PUT":
            return self._work("UpdateItem", key[0], lambda: self._put(self.items, key, self._copied(body)))
        return self._work("DeleteItem", key[0], lambda: self._put(self.items, key, None))

    def _configuration(self, method: str, held: dict[str, Json], rest: list[str], body: Json) -> Answer:
        if not rest and method == "GET":
            return 200, list(held.values())
        if not rest:
            if body["id"] in held:
                return problem(409, "AlreadyExists", "it is there")
            held[body["id"]] = {"minZoom": None, **body}
            return 201, held[body["id"]]
        if method == "PUT":
            held[rest[0]] = {"minZoom": None, **body}
        return (200, held[rest[0]]) if rest[0] in held else problem(404, "NotFound", rest[0])

    def _search(self, body: Json) -> Answer:
        found = [item for (name, _), item in self.items.items() if name in body["collections"]]
        found = [item for item in found if item["id"] in body.get("ids", [item["id"]])]
        start = int(str(body.get("token", "next:0")).partition(":")[2])
        onward = {"rel": "next", "method": "POST", "href": f"{self.url}/stac/search", "merge": True}
        links = [{**onward, "body": {"token": f"next:{start + PAGE}"}}] if start + PAGE < len(found) else []
        return 200, {"type": "FeatureCollection", "features": found[start : start + PAGE], "links": links}

    def _work(self, kind: str, collection: str, action: Callable[[], tuple[str, str] | None], **totals: int) -> Work:
        work = Work(f"work-{len(self.works)}", kind, collection, time.monotonic() + self.seconds, action, totals=totals)
        self.works[work.id] = work
        return work

    def _advance(self) -> None:
        for work in self.works.values():
            if work.status == RUNNING and time.monotonic() >= work.due:
                work.error = work.action()
                work.status = FAILED if work.error else DONE

    def _operations(self, below: list[str]) -> Answer:
        if not below:
            return 200, {"value": [self._operation(work) for work in self.works.values()]}
        work = self.works.get(below[0])
        return (200, self._operation(work)) if work else problem(404, "NotFound", below[0])

    def _operation(self, work: Work) -> Json:
        known = {"id": work.id, "status": work.status, "creationTime": NOW, **work.totals}
        history: Json = {"timestamp": NOW, "status": work.status}
        if work.error:
            history |= {"errorCode": work.error[0], "errorMessage": work.error[1]}
        known["statusHistory"] = [history]
        if work.kind == "Run":
            return known
        error = {"error": {"code": work.error[0], "message": work.error[1]}} if work.error else None
        return {**known, "type": work.kind, "collectionId": work.collection, "error": error}

    def _put(self, held: dict[Any, Json], key: object, document: Json | None) -> None:
        if document is None:
            held.pop(key, None)
        else:
            held[key] = document

    def _drop(self, name: str) -> None:
        self.collections.pop(name, None)
        self.items = {key: item for key, item in self.items.items() if key[0] != name}
        self.configured = {key: one for key, one in self.configured.items() if key[0] != name}

    def _created(self, name: str, features: Iterable[Json]) -> tuple[str, str] | None:
        errors = [error for item in features if (error := self._create(name, item)) is not None]
        return errors[0] if len(errors) <= 1 and errors else ("ErrorsInBatchOperation", "some") if errors else None

    def _create(self, name: str, item: Json) -> tuple[str, str] | None:
        if item["id"] in self.bad:
            return self.bad[item["id"]]
        if (name, item["id"]) in self.items:
            return "ItemAlreadyExistsInCollection", item["id"]
        odd = [href for asset in item["assets"].values() if "://" not in (href := asset["href"])]
        if odd:
            return "InvalidAssetHref", odd[0]
        self.items[name, item["id"]] = self._copied(item)
        return None

    def _copied(self, item: Json) -> Json:
        """An item whose assets lie in its own storage."""
        assets = {
            key: {**asset, "href": f"{self.url}/copies/{item['id']}/{asset['href'].rpartition('/')[2]}"}
            for key, asset in item["assets"].items()
        }
        return {**item, "assets": assets, "_msft:ts": NOW}

    def _ingestion(self, method: str, collection: str, below: list[str], body: Json) -> Answer:
        match [method, *below]:
            case ["GET"]:
                return 200, {"value": list(self.ingestions.values())}
            case ["POST"]:
                name = f"ingestion-{len(self.ingestions)}"
                self.ingestions[name] = {**body, "id": name, "creationTime": NOW, "status": "Ready"}
                return 201, self.ingestions[name]
            case ["GET", _, "runs"]:
                return 200, {"value": [self._run(work) for work in self.works.values() if work.kind == "Run"]}
            case ["POST", name, "runs"]:
                return 201, self._run(self._started(collection, self.ingestions[name]))
            case ["GET", _, "runs", run]:
                return 200, self._run(self.works[run])
        return problem(404, "NotFound", "/".join(below))

    def _run(self, work: Work) -> Json:
        return {"id": work.id, "creationTime": NOW, "operation": self._operation(work)}

    def _started(self, collection: str, ingestion: Json) -> Work:
        items = _fetched(ingestion)
        new = [
            item for item in items if not (ingestion["skipExistingItems"] and (collection, item["id"]) in self.items)
        ]
        bad = len(self.bad.keys() & {item["id"] for item in new})
        totals = {"totalItems": len(items), "totalPendingItems": 0, "totalFailedItems": bad}
        totals["totalSuccessfulItems"] = len(items) - bad
        return self._work("Run", collection, lambda: self._created(collection, new), **totals)


def _fetched(ingestion: Json) -> list[Json]:
    """The items of a static catalog or of stac-geoparquet, as they are read from there by HTTP."""
    if ingestion["importType"] == "StacGeoparquet":
        with NamedTemporaryFile(suffix=".parquet") as file:
            file.write(_bytes(ingestion["stacGeoparquetUrl"]))
            file.flush()
            return asyncio.run(_table(file.name))
    address = ingestion["sourceCatalogUrl"]
    links = [link["href"] for link in _json(address)["links"] if link["rel"] == "item"]
    return [_json(urljoin(address, href)) for href in links]


async def _table(path: str) -> list[Json]:
    return list((await rustac.read(path))["features"])


def _json(address: str) -> Json:
    return dict(json.loads(_bytes(address)))


def _bytes(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - loopback
        return bytes(answer.read())
