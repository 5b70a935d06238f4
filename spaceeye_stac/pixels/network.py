"""Parts of files over HTTP: many requests at once on one thread, each tried again where its fault may pass."""

import asyncio
import math
import os
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from netrc import NetrcParseError, netrc
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import HTTPStore

from spaceeye_stac.errors import SpaceEyeError, exhausted
from spaceeye_stac.pixels.patience import RETRIES, waits

if TYPE_CHECKING:
    from obstore.store import ClientConfig

AUTO, STACKSTAC = "auto", "stackstac"
READ_BYTES = 2**26  # of images on their way, together
PIXEL_BYTES, COMPRESSED_BYTES = 2, 1.5  # of a pixel where it is put together, and in the tiles that it comes in
TILE_SIDE = 1024  # of the largest that are usual
FEWEST_FILES = 4
CONNECT_SECONDS, SILENT_SECONDS, LONGEST_SECONDS = 30, 60, 600
LARGEST_REQUEST = 2**21
NEAR_BYTES = 2**12  # between two parts that are asked for together
STORES = 64  # hosts and tokens of which connections are kept
STATUS = re.compile(r"status code: (\d{3})")
PASSING = re.compile(r"408|425|429|5\d\d")
PLAIN_PATH = re.compile(r"/[\w./~+=@,:-]+")
# settings of GDAL that only tune its own network; any other changes what is asked for, and is left to it
TUNING = ("MULTIPLEX", "MERGE_CONSECUTIVE_RANGES", "MAX_RETRY", "RETRY_", "TIMEOUT", "CONNECTTIMEOUT", "LOW_SPEED")
Result = TypeVar("Result")


@dataclass(frozen=True)
class NetworkUse:
    """How many requests are in flight, and what reads: `auto`, or stackstac alone."""

    connections: int = 32
    loader: str = AUTO

    def among(self, processes: int) -> "NetworkUse":
        """The share of each of so many processes that read at once."""
        return replace(self, connections=max(1, self.connections // max(1, processes)))


class LostError(Exception):
    """An answer that was not had, however often it was asked for."""


class RefusedError(Exception):
    """A store that does not give a part of a file: refused, missing, or without ranges."""


@dataclass
class RemoteFile:
    """A file in a store, as async-tiff reads it: by parts. Every request waits for a place among those in flight.

    `ended`: once it is set, nothing more is asked for. `failure`: why a part was not had, which async-tiff raises as an
    error of its own. `start`: the first bytes, once they are had; a small file has its tiles there.
    """

    store: HTTPStore
    path: str
    network: "Network"
    ended: asyncio.Event
    failure: LostError | RefusedError | SpaceEyeError | None = None
    start: obstore.Bytes | None = None

    async def get_range_async(
        self,
        path: str,  # noqa: ARG002 - as it is called
        *,
        start: int,
        end: int | None = None,
        length: int | None = None,
    ) -> obstore.Bytes:
        """Bytes from `start` to before `end`, fewer where the file ends."""
        stop = start + (length or 0) if end is None else end
        if self.start is not None and stop <= len(self.start):
            return self.start[start:stop:1]
        why: LostError | RefusedError | SpaceEyeError = RefusedError()
        for wait in (0.0, *waits()):
            await asyncio.sleep(wait)
            try:
                async with self.network.free:
                    if self.ended.is_set():  # async-tiff goes on when its caller is cancelled
                        break
                    found = await obstore.get_range_async(self.store, self.path, start=start, end=stop)
                self.start = found if start == 0 else self.start
                return found  # noqa: TRY300 - what follows is for errors
            except (BaseError, OSError, ValueError) as error:
                why = exhausted(error) or _why(str(error))
            if not isinstance(why, LostError):
                break
        self.failure = why
        raise why

    async def get_ranges_async(
        self,
        path: str,
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[obstore.Bytes]:
        """Several parts at once, those near each other in one request."""
        stops = ends or [start + length for start, length in zip(starts, lengths or (), strict=True)]
        parts = list(zip(starts, stops, strict=True))
        asked = _together(parts)
        had = await asyncio.gather(*(self.get_range_async(path, start=start, end=stop) for start, stop in asked))
        found = []
        for start, stop in parts:
            first, data = next((a, data) for (a, b), data in zip(asked, had, strict=True) if a <= start and stop <= b)
            found.append(data[start - first : stop - first : 1])
        return found


def _together(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Parts as they are asked for."""
    found = list[tuple[int, int]]()
    for start, stop in sorted(parts):
        before = found[-1] if found else None
        if before and start - before[1] <= NEAR_BYTES and stop - before[0] <= LARGEST_REQUEST:
            found[-1] = before[0], max(stop, before[1])
        else:
            found.append((start, stop))
    return found


def _why(text: str) -> LostError | RefusedError:
    """What happened to a request, without its address: lost where another try may help."""
    status = STATUS.search(text)
    if status is None and "HTTP error" in text:
        return LostError(f"its connection is cut, or gives no answer, tried {RETRIES + 1} times")
    if status is not None and PASSING.fullmatch(status[1]):
        return LostError(f"its store answers {status[1]}, tried {RETRIES + 1} times")
    return RefusedError()


class Network:
    """So many requests in flight, on a thread of its own."""

    def __init__(self, connections: int) -> None:
        self.connections, self.free = connections, asyncio.Semaphore(connections)
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="network", daemon=True).start()

    def file(self, url: str, ended: asyncio.Event) -> RemoteFile:
        """A file at a URL that `reads` allows, which is read until `ended` is set."""
        parts = urlsplit(url)
        token = f"?{parts.query}" if parts.query else ""
        return RemoteFile(_store(f"{parts.scheme}://{parts.netloc}{token}"), parts.path.lstrip("/"), self, ended)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do some work on that thread, and wait for it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()


_use, _networks, _one_at_a_time = [NetworkUse()], list[Network](), Lock()


def use_network(use: NetworkUse) -> None:
    """Let this process read so from now on."""
    _use[0] = use


def network_use() -> NetworkUse:
    """How this process reads."""
    return _use[0]


def network() -> Network:
    """The one network of this process."""
    with _one_at_a_time:
        if not _networks or _networks[0].connections != network_use().connections:
            _networks[:] = [Network(network_use().connections)]
        return _networks[0]


def files_at_once(shape: Sequence[int], connections: int) -> int:
    """How many images of that shape are read at once: one for each connection, as far as memory goes."""
    return max(FEWEST_FILES, min(connections, int(READ_BYTES / file_bytes(shape))))


def file_bytes(shape: Sequence[int]) -> float:
    """Memory that an image of that shape takes on its way: itself, and the tiles that it lies in."""
    return PIXEL_BYTES * math.prod(shape) + COMPRESSED_BYTES * math.prod(side + TILE_SIDE for side in shape)


@lru_cache(maxsize=STORES)
def _store(base: str) -> HTTPStore:
    """A host, with the token that stands behind each of its addresses."""
    seconds = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENT_SECONDS, "timeout": LONGEST_SECONDS}
    options = cast("ClientConfig", {"allow_http": True, **{name: f"{value}s" for name, value in seconds.items()}})
    return HTTPStore.from_url(base, client_options=options, retry_config={"max_retries": 0})


def reads(place: str) -> bool:
    """Whether an address is read here: plain HTTP, without what GDAL's settings or keys of this user add to it."""
    if not place.startswith(("http://", "https://")):
        return False
    parts = urlsplit(place)
    if "@" in parts.netloc or not parts.hostname or not PLAIN_PATH.fullmatch(parts.path):
        return False
    return not _is_told() and not _has_key(parts.hostname)


def _is_told() -> bool:
    given = [name.removeprefix("GDAL_HTTP_") for name in os.environ if name.startswith("GDAL_HTTP_")]
    return any(not name.startswith(TUNING) for name in given)


@lru_cache(maxsize=STORES)
def _has_key(host: str) -> bool:
    """Whether this user keeps a password for a host, which GDAL would send."""
    place = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return place.is_file() and netrc(place).authenticators(host) is not None
    except (NetrcParseError, OSError):
        return True
