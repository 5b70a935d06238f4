"""A small STAC API on loopback, over a list of items, that can fail in the ways real ones do."""

import contextlib
import gzip
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Handler

Json = dict[str, Any]
COLLECTION = "sentinel-2-l2a"
CORE = "https://api.stacspec.org/v1.0.0/"
CONFORMANCE = [f"{CORE}{part}" for part in ("core", "collections", "ogcapi-features", "item-search")]


class _Handler(Handler):
    served: "FlakyApi"

    def _get(self) -> None:
        parts = urlsplit(self.path)
        self.served.paths.append(self.path)
        if parts.path == "/search":
            self._search({key: values[0] for key, values in parse_qs(parts.query).items()})
        elif parts.path in self.served.moved:
            self.send(302, headers={"Location": self.served.moved[parts.path]})
        elif parts.path.startswith("/static/") and self.served.folder is not None:
            self._failing(json.loads((self.served.folder / parts.path.removeprefix("/static/")).read_text()))
        elif parts.path == "/collections":
            self._answer(self.served.collections())
        elif parts.path == f"/collections/{COLLECTION}":
            self._answer(self.served.collection())
        elif parts.path.endswith("/items"):
            self._search({key: values[0] for key, values in parse_qs(parts.query).items()}, parts.path)
        elif parts.path.startswith("/stall"):
            time.sleep(self.served.stall_seconds)
        elif parts.path.startswith("/token"):
            self._answer({"msft:expiry": "2999-01-01T00:00:00Z", "token": "sig=secret"})
        else:
            self._answer(self.served.root())

    def _post(self) -> None:
        asked = json.loads(self.body())
        if self.served.refused_post:
            self.served.searches.append((time.monotonic(), self.command, asked))
            self.send(self.served.refused_post)
        else:
            self._search(asked)

    do_GET, do_POST = _get, _post  # noqa: N815 - http.server's names

    def _search(self, asked: Json, path: str = "/search") -> None:
        self.served.searches.append((time.monotonic(), self.command, asked))
        if int(asked.get("limit", 0)) > self.served.most_items:
            self.send(self.served.too_many)
        else:
            self._failing(self.served.page(asked, self.command, path))

    def _failing(self, document: Json) -> None:
        failure = self.served.failures.pop(0) if self.served.failures else ""
        if failure == "stall":
            time.sleep(self.served.stall_seconds)
        elif failure == "drip":
            self._dripped(b"", b"Content-Length: 999\r\n\r\n" + b" " * 60)
        elif failure == "drip headers":
            self._dripped(b"X-Slow: " + b"x" * 60, b"")
        elif failure == "bomb":
            self.send(200, gzip.compress(b" " * 30_000_000), {"Content-Encoding": "gzip"})
        elif failure == "nonsense":
            self.send(200, b"<html>busy</html>")
        elif failure.isdecimal():
            headers = {"Retry-After": self.served.retry_after} if self.served.retry_after else {}
            self.send(int(failure), b"see https://example.org/?token=secret", headers)
        else:
            self._answer(document, cut=failure == "cut")

    def _dripped(self, header: bytes, body: bytes) -> None:
        with contextlib.suppress(OSError):  # a client that gave up
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for byte in (*header, *body):
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)

    def _answer(self, document: Json, *, cut: bool = False) -> None:
        body = json.dumps(document).encode()
        self.send(200, body[: len(body) // 2] if cut else body, promised=len(body))


@dataclass
class FlakyApi:
    """What the server holds and how it fails.

    `folder` is a static catalog, served below /static/; `moved` redirects. `failures` are used up by it and by
    /search, one a request: a status ("429", "500" ...), "cut" (the connection ends in the middle of the body), "stall"
    (no answer), "drip" (a byte now and then), "bomb" (far more than it seems), "nonsense" (no JSON), or "" (answer as
    usual). A page of more than `most_items` is answered with `too_many`, a POST with `refused_post` where that is set.
    `retry_after` goes with statuses. `paging`: "all" ends, "repeat" gives one page for ever, "overlap" repeats an item
    on each next page, "empty first" begins with nothing, "relative" links from the server's root.
    """

    handler: ClassVar[type[Handler]] = _Handler
    items: Sequence[Json]
    page_size: int = 4
    method: str = "POST"
    failures: list[str] = field(default_factory=list)
    retry_after: str | None = None
    paging: str = "all"
    matched: int | None = None
    stall_seconds: float = 1.0
    searches: list[tuple[float, str, Json]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""
    folder: Path | None = None
    moved: dict[str, str] = field(default_factory=dict)
    most_items: int = 10_000
    too_many: int = 400
    refused_post: int = 0
    conformance: bool = True
    extent: Sequence[float] = (-180, -90, 180, 90)
    with_root: bool = True

    def root(self) -> Json:
        """The landing page."""
        links = [
            {"rel": "root", "href": self.url},
            {"rel": "self", "href": self.url},
            {"rel": "data", "href": f"{self.url}/collections"},
        ]
        methods = ("GET", "POST") if self.method == "POST" else ("GET",)
        search = {"rel": "search", "type": "application/geo+json", "href": f"{self.url}/search"}
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "flaky",
            "description": "A server that fails.",
            **({"conformsTo": CONFORMANCE} if self.conformance else {}),
            "links": [*links, *({**search, "method": method} for method in methods)],
        }

    def collections(self) -> Json:
        """One collection."""
        return {"collections": [self.collection()], "links": []}

    def collection(self) -> Json:
        """The collection, as a stac-browser shows it."""
        extent = {"spatial": {"bbox": [list(self.extent)]}, "temporal": {"interval": [[None, None]]}}
        root = [{"rel": "root", "href": self.url}] if self.with_root else []
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": COLLECTION,
            "description": "Items.",
            "license": "CC0-1.0",
            "extent": extent,
            "links": [*root, {"rel": "items", "href": f"{self.url}/collections/{COLLECTION}/items"}],
        }

    def page(self, asked: Json, method: str, path: str = "/search") -> Json:
        """The items from the asked `start`, and a link to the next page."""
        start = int(asked.get("start", 0))
        features = self.items[start : start + self.page_size]
        follow = start + self.page_size - (self.paging == "overlap")
        answer: Json = {"type": "FeatureCollection", "features": features, "links": []}
        if self.matched is not None:
            answer["numberMatched"] = self.matched
        if self.paging == "repeat":
            answer["features"], follow = self.items[: self.page_size], 0
        if self.paging == "empty first" and not start:
            answer["features"], follow = [], 1
        if follow < len(self.items) and start + self.page_size < len(self.items):
            answer["links"] = [self._next({**asked, "start": follow}, method, path)]
        return answer

    def _next(self, asked: Json, method: str, path: str) -> Json:
        if method == "POST":
            return {"rel": "next", "method": "POST", "href": f"{self.url}{path}", "body": asked}
        where = "" if self.paging == "relative" else self.url
        return {"rel": "next", "href": f"{where}{path}?start={asked['start']}"}
