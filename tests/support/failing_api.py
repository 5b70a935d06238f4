"""A small STAC API on loopback, over a list of items, that can fail in the ways real ones do."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.support.loopback import Handler

Json = dict[str, Any]
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
        elif parts.path.startswith("/stall"):
            time.sleep(self.served.stall_seconds)
        elif parts.path.startswith("/token"):
            self._answer({"msft:expiry": "2999-01-01T00:00:00Z", "token": "sig=secret"})
        else:
            self._answer(self.served.root())

    def _post(self) -> None:
        self._search(json.loads(self.body()))

    do_GET, do_POST = _get, _post  # noqa: N815 - http.server's names

    def _search(self, asked: Json) -> None:
        self.served.searches.append((time.monotonic(), self.command, asked))
        self._failing(self.served.page(asked, self.command))

    def _failing(self, document: Json) -> None:
        failure = self.served.failures.pop(0) if self.served.failures else ""
        if failure == "stall":
            time.sleep(self.served.stall_seconds)
        elif failure == "nonsense":
            self.send(200, b"<html>busy</html>")
        elif failure.isdecimal():
            headers = {"Retry-After": self.served.retry_after} if self.served.retry_after else {}
            self.send(int(failure), b"see https://example.org/?token=secret", headers)
        else:
            self._answer(document, cut=failure == "cut")

    def _answer(self, document: Json, *, cut: bool = False) -> None:
        body = json.dumps(document).encode()
        self.send(200, body[: len(body) // 2] if cut else body, promised=len(body))


@dataclass
class FlakyApi:
    """What the server holds and how it fails.

    `folder` is a static catalog, served below /static/; `moved` redirects. `failures` are used up by it and by
    /search, one a request: a status ("429", "500" ...), "cut" (the connection ends in the middle of the body), "stall"
    (no answer), "nonsense" (no JSON), or "" (answer as usual). `retry_after` goes with statuses. `paging`: "all" ends,
    "repeat" gives one page for ever, "overlap" repeats an item on each next page.
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
            "conformsTo": CONFORMANCE,
            "links": [*links, *({**search, "method": method} for method in methods)],
        }

    def collections(self) -> Json:
        """One collection."""
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        collection = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": "sentinel-2-l2a",
            "description": "Items.",
            "license": "CC0-1.0",
            "extent": extent,
            "links": [],
        }
        return {"collections": [collection], "links": []}

    def page(self, asked: Json, method: str) -> Json:
        """The items from the asked `start`, and a link to the next page."""
        start = int(asked.get("start", 0))
        features = self.items[start : start + self.page_size]
        follow = start + self.page_size - (self.paging == "overlap")
        answer: Json = {"type": "FeatureCollection", "features": features, "links": []}
        if self.matched is not None:
            answer["numberMatched"] = self.matched
        if self.paging == "repeat":
            answer["features"], follow = self.items[: self.page_size], 0
        if follow < len(self.items) and start + self.page_size < len(self.items):
            answer["links"] = [self._next({**asked, "start": follow}, method)]
        return answer

    def _next(self, asked: Json, method: str) -> Json:
        if method == "POST":
            return {"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": asked}
        return {"rel": "next", "href": f"{self.url}/search?start={asked['start']}"}
