"""A proxy on loopback that answers 500 to every third request instead of passing it on."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar
from urllib.parse import urlsplit

from tests.support.loopback import Handler

FAIL_EVERY = 3
OWN_HEADERS = {"connection", "accept-encoding"}


class _Handler(Handler):
    protocol_version = "HTTP/1.1"
    served: "FailingProxy"

    def _any(self) -> None:
        body = self.body()
        status, kind, content = 500, "text/plain", b"busy"
        if next(self.served.numbers) % FAIL_EVERY:
            status, kind, content = self._passed_on(body)
        self.served.statuses.append(status)
        self.send(status, content, {"Content-Type": kind})

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

    def _passed_on(self, body: bytes) -> tuple[int, str, bytes]:
        onward = http.client.HTTPConnection(urlsplit(self.served.upstream).netloc, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
            onward.request(self.command, self.path, body, headers)
            answer = onward.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            onward.close()


@dataclass
class FailingProxy:
    """Where requests are passed on to, and the statuses that were answered."""

    handler: ClassVar[type[Handler]] = _Handler
    upstream: str
    statuses: list[int] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    url: str = ""
