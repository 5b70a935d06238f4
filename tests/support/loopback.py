"""What every small server of the tests is made of: a handler that sends whole answers, and a thread on loopback."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Protocol, TypeVar


class Handler(BaseHTTPRequestHandler):
    """Answers for what is `served`, and says nothing."""

    served: Any
    usual: ClassVar[Mapping[str, str]] = {"Content-Type": "application/json"}
    disable_nagle_algorithm = True  # headers and body are two packets, and the second need not wait 40 ms

    def handle(self) -> None:
        """Answer requests until the client ends."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def body(self) -> bytes:
        """What the request brings along; ConnectionError, and nothing is done, where its client died as it sent it."""
        wanted = int(self.headers.get("Content-Length") or 0)
        found = self.rfile.read(wanted)
        if len(found) < wanted:
            raise ConnectionAbortedError(self.path)
        return found

    def send(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, promised: int = 0
    ) -> None:
        """Send an answer with the `usual` headers and these; where more is promised than it has, the rest is cut."""
        with contextlib.suppress(ConnectionError):  # a client that gave up
            self.send_response(status)
            for name, value in {**self.usual, **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(promised or len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            if promised > len(body):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Served(Protocol):
    """What a server holds and how it behaves; `handler` answers for it, and `url` is where."""

    handler: ClassVar[type[Handler]]
    url: str


Kind = TypeVar("Kind", bound=Served)


@contextmanager
def serving(served: Kind) -> Iterator[Kind]:
    """Serve on a free loopback port, with `url` set."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (served.handler,), {"served": served})) as server:
        served.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
