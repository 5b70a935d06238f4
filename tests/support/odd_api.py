"""A STAC API on loopback that says of changes what is not so, and another host that it sends clients on to."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tests.support.loopback import Handler
from tests.support.transactions_api import HEADERS, PAGE_BYTES, Json, SmallApi

LOGIN: Json = {PAGE_BYTES: b"<html><form action=login></form></html>", HEADERS: {"Content-Type": "text/html"}}
KEPT = (
    "id",
    "stac_version",
    "title",
    "description",
    "license",
    "extent",
    "keywords",
    "providers",
    "summaries",
    "links",
)
POLLS = 2


class _Recorder(Handler):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        self.body()
        self.served.requests.append((self.command, self.path, dict(self.headers.items())))
        self.send(200, b'{"type": "Feature", "id": "x", "features": [], "conformsTo": ["transaction"], "links": []}')

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names


@dataclass
class OtherHost:
    """A server that writes down what it is asked, and agrees to everything."""

    handler: ClassVar[type[Handler]] = _Recorder
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


@dataclass
class OddApi(SmallApi):
    """An API that answers changes of items, or with `everything` of collections too, in its `manner`.

    `page` and `ok`: 200 with HTML or JSON, and nothing is done; `forgets`: 201 and nothing; `empty`: done, 201 without
    a body; `later`: 202 and done after some looks at its operation, `never`: it fails there, `silent`: 202, done after
    some listings; `mangles`: stored without what is not STAC's; `conflict`: 409 for ever; `moved` and `login`: 307 and
    302 to `elsewhere`; `keeps`: DELETE is agreed to and not done; `plain`: none of these. `reading`: which paths are
    read at `elsewhere`. `drops`: fields of collections that STAC does not know are not kept.
    """

    manner: str = "plain"
    everything: bool = False
    elsewhere: str = ""
    reading: str = "(none)"
    drops: tuple[str, ...] | None = None
    waiting: list[list[Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        """Do what a request asks, or say so."""
        if path.startswith("/operations/"):
            return self._operation(int(path.rsplit("/", 1)[1]))
        if path == self.reading:
            return 307, {HEADERS: {"Location": f"{self.elsewhere}{path}"}}
        changes = method != "GET" and path != "/search"
        if not changes or not (self.everything or "items" in path):
            self._overdue(path)
            return self._kept(*super().answer(method, path, body))
        return self._oddly(method, path, body)

    def _oddly(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        if self.manner in {"later", "never", "silent"}:
            self.waiting.append([POLLS, method, path, body])
            where = {"Location": f"/operations/{len(self.waiting) - 1}"} if self.manner != "silent" else {}
            return 202, {HEADERS: where, "status": "accepted"}
        if self.manner == "mangles":
            for item in body.get("items", {"": body}).values():
                item["properties"] = {k: v for k, v in item["properties"].items() if ":" not in k}
        if self.manner == "keeps" and method == "DELETE":
            return 200, {}
        said: Mapping[str, tuple[int, Json]] = {
            "page": (200, copy.copy(LOGIN)),
            "ok": (200, {"ok": True}),
            "forgets": (201, dict(body)),
            "conflict": (409, {"description": "there already"}),
            "moved": (307, {HEADERS: {"Location": f"{self.elsewhere}{path}"}}),
            "login": (302, {HEADERS: {"Location": f"{self.elsewhere}/login"}}),
        }
        if self.manner in said:
            return said[self.manner]
        status, document = self._kept(*super().answer(method, path, body))
        return (status, {PAGE_BYTES: b""}) if self.manner == "empty" and status == 201 else (status, dict(document))

    def _operation(self, number: int) -> tuple[int, Json]:
        one = self.waiting[number]
        one[0] -= 1
        if one[0] > 0:
            return 200, {"status": "Running"}
        if self.manner == "never":
            return 200, {"status": "Failed", "error": {"code": "BadItem"}}
        if one[0] == 0:
            super().answer(*one[1:])
        return 200, {"status": "Succeeded"}

    def _overdue(self, path: str) -> None:
        """Do at last what was accepted in silence, when the items are listed."""
        for one in self.waiting if self.manner == "silent" and path == "/search" else ():
            one[0] -= 1
            if one[0] == 0:
                super().answer(*one[1:])

    def _kept(self, status: int, document: Json) -> tuple[int, Json]:
        if self.drops is not None:
            for collection in self.collections.values():
                for name in set(collection) - set(self.drops):
                    del collection[name]
        return status, dict(document)
