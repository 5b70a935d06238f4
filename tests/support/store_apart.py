"""A store in a process of its own: GDAL reads masks with Python's lock in its hand, and none here could answer."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.image_store import Store
from tests.support.loopback import serving


@dataclass
class StoreApart:
    """The store at `url`, of which some GETs fail."""

    url: str
    line: Connection

    def fail(self, fault: int, first: int, count: int) -> None:
        """Of the GETs from now on, those from number `first` on, so many, have this fault; see `Store`."""
        self.line.send((fault, first, count))
        self.line.recv()


def _serve(root: Path, line: Connection) -> None:
    with serving(Store(root)) as store:
        line.send(store.url)
        while True:
            fault, first, count = line.recv()
            store.faults = iter([0] * first + [fault] * count)
            line.send(None)


@contextmanager
def store_apart(root: Path) -> Iterator[StoreApart]:
    """Serve the files of a folder."""
    apart = multiprocessing.get_context("spawn")
    here, there = apart.Pipe()
    process = apart.Process(target=_serve, args=(root, there), daemon=True)
    process.start()
    try:
        yield StoreApart(here.recv(), here)
    finally:
        process.kill()
        process.join()
