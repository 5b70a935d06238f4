"""Parts of files over HTTP: many requests at once on one thread, each tried again where its fault may pass."""

import asyncio
import math
import os
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from netrc import NetrcParseError, netrc
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotModifiedError
from obstore.store import HTTPStore

from spaceeye_stac.errors import SpaceEyeError, exhausted
from spaceeye_stac.pixels.patience import RETRIES, waits
from spaceeye_stac.pixels.tile_cache import CachePlace

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

AUTO, STACKSTAC = "auto", "stackstac"
READ_BYTES = 2**26  # of images on their way, together
PIXEL_BYTES, COMPRESSED_BYTES = 2, 1.5  # of a pixel where it is put together, and in the tiles that it comes in
TILE_SIDE = 1024  # of the largest that are usual
FEWEST_FILES = 4
THINNED_FILES = 8
CONNECT_SECONDS, SILENT_SECONDS, LONGEST_SECONDS = 30, 60, 600
BEHIND_SECONDS = 0.01  # between two looks whether a place is free that nobody waits for
STORES = 64  # hosts and tokens of which connections are kept
STATUS = re.compile(r"status code: (\d{3})")
PASSING = re.compile(r"408|425|429|5\d\d")
PLAIN_PATH = re.compile(r"/[\w./~+=@,:-]+")
# settings of GDAL that only tune its own network; any other changes what is asked for, and is left to it
TUNING = ("MULTIPLEX", "MERGE_CONSECUTIVE_RANGES", "MAX_RETRY", "RETRY_", "TIMEOUT", "CONNECTTIMEOUT", "LOW_SPEED")
Result = TypeVar("Result")
Data = obstore.Bytes | bytes


@dataclass(frozen=True)
class NetworkUse:
    """How many requests are in flight, what reads: `auto`, or stackstac alone; and where what was read is kept."""

    connections: int = 32
    loader: str = AUTO
    cache: CachePlace | None = None

    def among(self, processes: int) -> "NetworkUse":
        """The share of each of so many processes that read at once."""
        return replace(self, connections=max(1, self.connections // max(1, processes)))


class LostError(Exception):
    """An answer that was not had, however often it was asked for."""


class RefusedError(Exception):
    """A store that does not give a part of a file: refused, missing, or without ranges."""


class ChangedError(Exception):
    """A file that is no longer the one of which parts were had."""


@dataclass(frozen=True)
class Address:
    """Where a file is: its store, and its path there."""

    store: HTTPStore
    path: str

    @classmethod
    def of(cls, url: str) -> "Address":
        """The address of a URL that `reads` allows."""
        parts = urlsplit(url)
        token = f"?{parts.query}" if parts.query else ""
        return cls(_store(f"{parts.scheme}://{parts.netloc}{token}"), parts.path.lstrip("/"))


@dataclass(frozen=True)
class Answer:
    """A part of a file, and its version: an ETag, else size and date; no data where the version is the known one."""

    data: obstore.Bytes | None
    version: str


async def _asked(at: Address, part: tuple[int, int], known: str) -> Answer:
    """One request for bytes from the first to before the second; where `known` is an ETag, only if it is another."""
    options: GetOptions = {"range": part}
    if known.startswith(('"', "W/")):
        options["if_none_match"] = known
    try:
        found = await obstore.get_async(at.store, at.path, options=options)
        data = await found.bytes_async()
    except NotModifiedError:
        return Answer(None, known)
    facts = found.meta
    dated = facts["last_modified"].timestamp() != 0  # as it is where the store does not say it
    version = facts["e_tag"] or (f"{facts['last_modified'].isoformat()} " if dated else "") + str(facts["size"])
    return Answer(data, version)


def _why(text: str) -> LostError | RefusedError:
    """What happened to a request, without its address: lost where another try may help."""
    status = STATUS.search(text)
    if status is None and "HTTP error" in text:
        return LostError(f"its connection is cut, or gives no answer, tried {RETRIES + 1} times")
    if status is not None and PASSING.fullmatch(status[1]):
        return LostError(f"its store answers {status[1]}, tried {RETRIES + 1} times")
    return RefusedError()


class Network:
    """So many requests in flight, on a thread of its own.

    `thinning`: files of which many tiles are read for few pixels. `versions`: of the files that a run has met, by their
    names in its cache, and `coming`: parts on their way into it, with what is done when they are there.
    """

    def __init__(self, connections: int) -> None:
        self.connections, self.free = connections, asyncio.Semaphore(connections)
        self.thinning = asyncio.Semaphore(THINNED_FILES)
        self.versions: dict[str, str] = {}
        self.coming: dict[str, asyncio.Future[None]] = {}
        self._behind = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="network", daemon=True).start()

    async def get(
        self, at: Address, part: tuple[int, int], ended: asyncio.Event, *, known: str = "", later: bool = False
    ) -> Answer:
        """Bytes from the first to before the second, fewer where the file ends, tried again where that may help.

        `known`: a version that need not be sent. `later`: after all that is waited for. Once `ended` is set, nothing
        more is asked for. Raises LostError, RefusedError, or what the machine lacks.
        """
        why: LostError | RefusedError | SpaceEyeError = RefusedError()
        for wait in (0.0, *waits()):
            await asyncio.sleep(wait)
            try:
                async with self._place(later=later):
                    if ended.is_set():  # async-tiff goes on when its caller is cancelled
                        break
                    return await _asked(at, part, known)
            except (BaseError, OSError, ValueError) as error:
                why = exhausted(error) or _why(str(error))
            if not isinstance(why, LostError):
                break
        raise why

    @asynccontextmanager
    async def _place(self, *, later: bool) -> AsyncIterator[None]:
        """A place among the requests in flight."""
        if later:
            async with self._behind:
                while self.free.locked():  # noqa: ASYNC110 - a place has no event of its own
                    await asyncio.sleep(BEHIND_SECONDS)
                await self.free.acquire()
        else:
            await self.free.acquire()
        try:
            yield
        finally:
            self.free.release()

    def start(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Begin some work on that thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do some work on that thread, and wait for it."""
        future = self.start(work)
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
