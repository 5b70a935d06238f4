"""Programs that serve on loopback: started, awaited, and stopped by their own id."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.command import command_line

START_SECONDS = 60.0
UNSIGNED = (400, 403)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    """Whether a GET of this loopback address succeeds, or is refused by a server that wants a signature."""
    try:
        with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - loopback
            return True
    except urllib.error.HTTPError as error:
        return error.code in UNSIGNED
    except OSError:
        return False


@dataclass
class Process:
    """A server that can be stopped and started again, with its output kept in a file."""

    line: Sequence[str]
    address: str
    ready: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until its path `ready` answers."""
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(self.line, stdout=log, stderr=log, env={**os.environ, **self.environment})
        end = time.monotonic() + START_SECONDS
        while not answers(self.address + self.ready):
            assert self._running.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < end, self.log.read_text()[-2000:]
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for it."""
        if self._running is not None:
            self._running.send_signal(how)
            self._running.wait(20)
            self._running = None


@contextmanager
def running(process: Process) -> Iterator[Process]:
    try:
        process.start()
        yield process
    finally:
        process.stop()


def serve_command(folder: Path, log: Path, document: str, *options: object) -> Process:
    """This package's own server over a folder; not yet started."""
    port = free_port()
    line = command_line("serve", folder, "--port", port, *options)
    return Process(line, f"http://127.0.0.1:{port}", f"/{document}", log, {"PYTHONUNBUFFERED": "1"})


@contextmanager
def rustac_api(folder: Path, collections: Sequence[Path], items: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Address of a real STAC API (rustac's) over these collections and items, which it reads from that folder."""
    documents = [{**json.loads(path.read_text()), "links": []} for path in collections]
    files = []
    for number, document in enumerate([*documents, {"type": "FeatureCollection", "features": items}]):
        files.append(folder / f"api-{number}.json")
        files[-1].write_text(json.dumps(document))
    program, port = Path(sys.executable).with_name("rustac"), free_port()
    line = [str(program), "serve", "-a", f"127.0.0.1:{port}", *map(str, files)]
    with running(Process(line, f"http://127.0.0.1:{port}", "", folder / "api.log")) as process:
        yield process.address
