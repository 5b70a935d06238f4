"""A small STAC API with transactions on loopback, in memory, that can refuse and fail in the ways real ones do."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.support.loopback import Handler

Json = dict[str, Any]
CORE = "https://api.stacspec.org/v1.0.0/"
PAGE = 50
HEADERS = "(headers)"  # of an answer, in its document
PAGE_BYTES = "(page)"  # an answer that is no JSON


class _Handler(Handler):
    served: "SmallApi"
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.body()
        wanted, changing = self.served.header, self.command != "GET" and self.path != "/search"
        with self.served.lock:
            if wanted is not None and self.headers.get(wanted[0]) != wanted[1]:
                status: int | str = self.served.refusal
                document: Json = {"description": f"refused: {self.headers.get('Authorization')}"}
            else:
                if changing:
                    self.served.log.append((self.command, self.path))
                fault = self.served.fault(len(self.served.log), self.command, self.path) if changing else 0
                status, document = (fault, {}) if isinstance(fault, int) and fault else self._done(body)
                if fault == "cut":
                    self.close_connection = True
                    return
        answer: Json = dict(document)
        headers, page = answer.pop(HEADERS, {}), answer.get(PAGE_BYTES)
        self.send(int(status), json.dumps(answer).encode() if page is None else page, headers)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

    def _done(self, body: bytes) -> tuple[int, Json]:
        return self.served.answer(self.command, self.path.split("?")[0], json.loads(body or b"{}"))


@dataclass
class SmallApi:
    """What the server holds, and how it behaves.

    `header` is what every request must carry, else it gets `refusal`. `fault` gives a status to fail with, or 0, for
    each changing request's number, method and path; "cut" ends the connection after the work is done. `rejects` holds
    ids of items that get 400, with `reason`. `bulk` and `transactions` say what is offered.
    """

    handler: ClassVar[type[Handler]] = _Handler
    header: tuple[str, str] | None = None
    refusal: int = 401
    fault: Callable[[int, str, str], int | str] = lambda _number, _method, _path: 0
    rejects: set[str] = field(default_factory=set)
    reason: str = ""
    bulk: bool = False
    transactions: bool = True
    collections: dict[str, Json] = field(default_factory=dict)
    items: dict[str, Json] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        """Do what a request asks."""
        _, _, collection, _, item = [*path.split("/"), "", "", "", ""][:5]
        pages: dict[str, Callable[[], Json]] = {
            "/": self._root,
            "/api": lambda: {"paths": {"/collections/{collection_id}/bulk_items": {}} if self.bulk else {}},
            "/search": lambda: self._page(body),
        }
        if path in pages or not path.startswith("/collections"):
            return (200, pages[path]()) if path in pages else (404, {"description": "not found"})
        if path.endswith("/bulk_items"):
            return self._bulk(body)
        if method == "GET" and path.endswith("/items"):
            return 200, self._page({"collections": [collection]})
        held, name = (self.items, item) if "/items" in path else (self.collections, collection)
        return self._change(held, method, name, body) if name else self._create(held, body)

    def _root(self) -> Json:
        parts = ["core", "collections", *(["ogcapi-features/extensions/transaction"] if self.transactions else [])]
        links = [{"rel": "service-desc", "href": f"{self.url}/api"}, {"rel": "search", "href": f"{self.url}/search"}]
        return {"type": "Catalog", "id": "small", "conformsTo": [f"{CORE}{p}" for p in parts], "links": links}

    def _page(self, body: Json) -> Json:
        start = int(body.get("start", 0))
        held = [item for item in self.items.values() if item["collection"] in body["collections"]]
        onward = {"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": {"start": start + PAGE}}
        links = [{**onward, "merge": True}] if start + PAGE < len(held) else []
        return {"type": "FeatureCollection", "features": held[start : start + PAGE], "links": links}

    def _create(self, held: dict[str, Json], body: Json) -> tuple[int, Json]:
        if body["id"] in self.rejects:
            return 400, {"description": f"item {body['id']} is not wanted here{self.reason}"}
        if body["id"] in held:
            return 409, {"description": "there already"}
        held[body["id"]] = body
        return 201, body

    def _change(self, held: dict[str, Json], method: str, name: str, body: Json) -> tuple[int, Json]:
        if name not in held:
            return 404, {"description": "not found"}
        if method == "PUT":
            held[name] = body
        elif method == "DELETE":
            del held[name]
            return 200, {}
        return 200, held[name]

    def _bulk(self, body: Json) -> tuple[int, Json]:
        assert body["method"] == "upsert"
        refused = self.rejects & body["items"].keys()
        if refused:
            return 400, {"description": "some item is not wanted here"}
        self.items |= body["items"]
        return 200, {}
