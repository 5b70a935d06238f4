"""A store of GeoTIFFs on loopback, with HTTP Range, that can demand Azure tokens or S3 keys, and fail."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import ClassVar
from urllib.parse import quote, unquote, urlsplit

from tests.support.loopback import Handler

SECRET = "geheim"  # noqa: S105 - nobody's
CUT = -1
ACCOUNT = "http://made.blob.core.windows.net/container"


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    served: "Store"
    usual: ClassVar[Mapping[str, str]] = {"Accept-Ranges": "bytes"}

    def _get(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/token/"):
            self.send(200, json.dumps(self.served.issue()).encode())
            return
        name = path.removeprefix("/container/").removeprefix("/")
        with self.served.one_at_a_time:
            reads = sum(1 for method, _, _ in self.served.requests if method == "GET")
            if self.served.tokens is not None and reads == self.served.ends_at:
                self.served.tokens.clear()
                self.served.ends_at = None
            status = self.served.demands(self.command, self.path, dict(self.headers.items()))
            status = self.served.answers.get(name, status)
            self.served.requests.append((self.command, self.path, status))
        if status == 200:
            self._file(name)
        else:
            self.send(status)

    do_GET = do_HEAD = _get  # noqa: N815 - http.server's names

    def _file(self, name: str) -> None:
        fault = next(self.served.faults, 0) if self.command == "GET" else 0
        if fault > 0:
            self.send(fault)
            return
        path = self.served.root / name
        if name not in self.served.pages and not path.is_file():
            self.send(404)
            return
        data = self.served.pages.get(name) or path.read_bytes()
        data = data[: self.served.parts.get(name, len(data))]
        asked, facts = self.headers.get("Range"), self.served.facts(data)
        if "ETag" in facts and self.headers.get("If-None-Match") == facts["ETag"]:
            self.served.unchanged += 1
            self.send(304, headers=facts)
            return
        if asked is None:
            self.send(200, data, facts)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
        if start >= len(data):
            self.send(416)
            return
        place = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", **facts}
        self.served.sent.append((name, start, stop))
        if fault == CUT:
            self.send(206, data[start : (start + stop) // 2], place, promised=stop - start)
        else:
            self.send(206, data[start:stop], place)


@dataclass
class Store:
    """What the server holds and demands.

    Addressed as `<url>/<path>`, as a proxy for Azure's `ACCOUNT/<path>`, or as S3's `<url>/<bucket>/<path>`. `tokens`:
    every read needs one that `/token/...` has issued and that is in here (a test takes it out to let it expire).
    `keys`: S3 id and secret that signatures are checked against. `payer`: the requester must offer to pay. `answers`
    gives a status instead of the file of that name, `pages` its bytes, and `parts` how many bytes of it are left;
    at the GET of number `ends_at`, from 0, every token ends. `faults`: of each GET of a file, 0 for none, a status, or
    CUT for half of what it promises. `tells`: what it says of a file's version, "ETag", "Last-Modified" or nothing. Of
    what it sent, `sent` has names, first bytes and those after the last, and `unchanged` counts what was not needed.
    """

    handler: ClassVar[type[Handler]] = _Handler
    root: Path
    tokens: set[str] | None = None
    keys: tuple[str, str] | None = None
    payer: bool = False
    lifetime: timedelta = timedelta(hours=1)
    answers: dict[str, int] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    ends_at: int | None = None
    faults: Iterator[int] = field(default_factory=lambda: iter(()))
    same_token: bool = False
    issued: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    tells: str = "ETag"
    modified: str = "Wed, 01 Nov 2023 00:00:00 GMT"
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    unchanged: int = 0
    url: str = ""
    one_at_a_time: Lock = field(default_factory=Lock)

    def facts(self, data: bytes) -> dict[str, str]:
        """Headers that say which version of a file this is."""
        said = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Last-Modified": self.modified}
        return {self.tells: said[self.tells]} if self.tells else {}

    def issue(self) -> dict[str, str]:
        """A token as Planetary Computer's service gives it."""
        token = self.issued[0] if self.same_token and self.issued else f"sig={SECRET}{secrets.token_hex(4)}"
        self.issued.append(token)
        if self.tokens is not None:
            self.tokens.add(token)
        return {"msft:expiry": (datetime.now(UTC) + self.lifetime).isoformat(), "token": token}

    def demands(self, method: str, target: str, headers: Mapping[str, str]) -> int:
        """The status of a request by what it brings along: 200 or 403."""
        query = urlsplit(target).query
        if self.tokens is not None and query not in self.tokens:
            return 403
        if self.payer and headers.get("x-amz-request-payer") != "requester":
            return 403
        return 200 if self.keys is None or self._is_signed(method, target, headers) else 403

    def _is_signed(self, method: str, target: str, headers: Mapping[str, str]) -> bool:
        """Check AWS's signature, version 4, as its documentation computes it."""
        headers = {name.lower(): value for name, value in headers.items()}
        given = headers.get("authorization", "")
        if not given.startswith("AWS4-HMAC-SHA256 ") or self.keys is None:
            return False
        parts = dict(part.strip().split("=", 1) for part in given.split(" ", 1)[1].split(","))
        key_id, day, region, service, last = parts["Credential"].split("/")
        names = parts["SignedHeaders"].split(";")
        fields = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
        where = urlsplit(target)
        body = headers.get("x-amz-content-sha256", hashlib.sha256(b"").hexdigest())
        canonical = "\n".join([method, quote(unquote(where.path)), where.query, fields, ";".join(names), body])
        scope = f"{day}/{region}/{service}/{last}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, digest])
        key = b"AWS4" + self.keys[1].encode()
        for part in (day, region, service, last, text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key_id == self.keys[0] and hmac.compare_digest(key.hex(), parts["Signature"])
