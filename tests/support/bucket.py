"""A small S3 server on loopback, in memory, that can flip, truncate, forget and keep what it is sent, and list late."""

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import pytest

from tests.support.loopback import Handler

NAME = "days"
STAMP = "2023-04-01T00:00:00.000Z"
WEB_STAMP = "Sat, 01 Apr 2023 00:00:00 GMT"


def etag_of(content: bytes) -> str:
    """What tells one content of a file from another."""
    return f'"{hashlib.sha256(content).hexdigest()}"'


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    served: "Bucket"

    def _any(self) -> None:
        body = self.body()
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix(f"/{NAME}").removeprefix("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        with self.served.lock:
            self.served.requests.append((self.command, key))
            number = len(self.served.requests)
            if self.served.fault(number, self.command, key):
                self.send(503, b"<Error><Code>SlowDown</Code></Error>")
            elif self.command == "POST" and "delete" in query:
                self._delete(body)
            elif self.command == "PUT":
                self._put(key, body)
            elif "list-type" in query:
                self._list(query.get("prefix", [""])[0], query.get("delimiter", [""])[0])
            else:
                self._get(key)

    do_GET = do_HEAD = do_PUT = do_POST = _any  # noqa: N815 - http.server's names

    def _put(self, key: str, body: bytes) -> None:
        """Store what is sent, or a copy, if its conditions hold."""
        before, source = self.served.files.get(key), self.headers.get("x-amz-copy-source")
        taken = self.headers.get("If-None-Match") == "*" and before is not None
        wanted = self.headers.get("If-Match")
        if taken or (wanted is not None and (before is None or wanted != etag_of(before))):
            self.send(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            content = body if source is None else self.served.files[unquote(source).split(f"{NAME}/", 1)[1]]
            self.served.put(key, content)
            answer = f"<CopyObjectResult><ETag>{etag_of(content)}</ETag></CopyObjectResult>" if source else ""
            self.send(200, answer.encode(), {"ETag": etag_of(content)})

    def _get(self, key: str) -> None:
        data = self.served.get(key)
        if data is None:
            self.send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        self.send(200, data, {"ETag": etag_of(data), "Last-Modified": WEB_STAMP, "Content-Type": "binary/octet-stream"})

    def _delete(self, body: bytes) -> None:
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
        for key in keys:
            self.served.delete(key)
        done = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self.send(200, f"<DeleteResult>{done}</DeleteResult>".encode())

    def _list(self, prefix: str, delimiter: str) -> None:
        inside = {key: size for key, size in self.served.listing().items() if key.startswith(prefix)}
        folders = {prefix + key[len(prefix) :].split("/")[0] + "/" for key in inside if "/" in key[len(prefix) :]}
        shown = {k: size for k, size in inside.items() if not delimiter or "/" not in k[len(prefix) :]}
        files = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{STAMP}</LastModified><Size>{size}</Size></Contents>"
            for key, size in sorted(shown.items())
        )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders))
        head = f"<Name>{NAME}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"
        text = f"<ListBucketResult>{head}{files}{common if delimiter else ''}</ListBucketResult>"
        self.send(200, text.encode(), {"Content-Type": "application/xml"})


@dataclass
class Bucket:
    """What the server holds in its one bucket `NAME`, and how it behaves.

    With the names of which `odd` is true it deals in its `manner`. `flips` and `truncates` what it is sent; `forgets`
    it at once, or `loses` it after the first look; `misreads` when asked; `keeps` what is deleted; `late`: what was
    sent or deleted is listed only after `late` further listings. `fault` says which requests are answered with 503.
    """

    handler: ClassVar[type[Handler]] = _Handler
    manner: str = "plain"
    odd: Callable[[str], bool] = lambda _key: True
    late: int = 0
    fault: Callable[[int, str, str], bool] = lambda _number, _method, _key: False
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    looked: set[str] = field(default_factory=set)
    past: list[dict[str, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def put(self, key: str, body: bytes) -> None:
        """Store a file, or not quite."""
        manner = self.manner if self.odd(key) else "plain"
        changed = {"flips": body[:-1] + bytes([body[-1] ^ 1]), "truncates": body[: len(body) // 2]}
        if manner != "forgets":
            self.files[key] = changed.get(manner, body)

    def get(self, key: str) -> bytes | None:
        """Give a file, or not quite."""
        data = self.files.get(key)
        if data is None or not self.odd(key):
            return data
        if self.manner == "loses":
            if key in self.looked:
                return self.files.pop(key, None) and None
            self.looked.add(key)
        return bytes([data[0] ^ 2]) + data[1:] if self.manner == "misreads" else data

    def delete(self, key: str) -> None:
        """Remove a file, or say so."""
        if not (self.manner == "keeps" and self.odd(key)):
            self.files.pop(key, None)

    def listing(self) -> dict[str, int]:
        """Names and sizes as they were some listings ago."""
        lost = {key for key in self.looked if self.manner == "loses"}
        self.past.append({key: len(data) for key, data in self.files.items() if key not in lost})
        return self.past[max(0, len(self.past) - 1 - self.late)]


def point_to(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 be this server."""
    for name, value in (
        ("AWS_ENDPOINT_URL", bucket.url),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "me"),
        ("AWS_SECRET_ACCESS_KEY", "hunter22secret"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
