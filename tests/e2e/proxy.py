"""A proxy on loopback that answers 500 to every third request instead of passing it on."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import urlsplit

FAIL_EVERY = 3
OWN_HEADERS = {"connection", "accept-encoding"}


@contextmanager
def failing(upstream: str) -> Iterator[tuple[str, list[int]]]:
    """Give the proxy's address and the statuses that it answered."""
    numbers, statuses = count(1), list[int]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, content = 500, "text/plain", b"busy"
            if next(numbers) % FAIL_EVERY:
                status, kind, content = self._passed_on(body)
            statuses.append(status)
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

        def _passed_on(self, body: bytes) -> tuple[int, str, bytes]:
            onward = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
                onward.request(self.command, self.path, body, headers)
                answer = onward.getresponse()
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
            finally:
                onward.close()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", statuses
        finally:
            server.shutdown()
            thread.join()
