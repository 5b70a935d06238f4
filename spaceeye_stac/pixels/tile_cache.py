"""Parts of files from stores, kept on local disk, so that each byte crosses the network once; nothing here fails.

An entry is a file of its own: the bytes, and behind them their CRC-32C. It is written under another name and renamed,
so that threads, processes and runs share a folder. One that is short or damaged counts as missing. What was not used
for the longest time goes first. Where the disk is full, or may not be written to, nothing more is kept.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import google_crc32c

CHECK_BYTES = 4
NAME_BYTES = 20
FREE_BYTES = 2**30  # of the disk, which are left to others
LEFT, COUNTED_AGAIN = 0.9, 1 / 16  # of the bound: what an eviction leaves, and what is kept between two counts
AZURE_TOKEN = re.compile(r"s[a-z]|s[a-z]{2}|sk\w+|saoid|suoid|scid|sdd|rsc\w")
OTHER_TOKEN = re.compile(r"x-amz-.*|x-goog-.*|awsaccesskeyid|googleaccessid|signature|expires", re.IGNORECASE)


@dataclass(frozen=True)
class CachePlace:
    """A folder, how many bytes are kept there at most, and the run that does: its processes believe each other."""

    folder: Path
    most: int
    run: str


def cache_place(folder: Path, most: int) -> CachePlace | None:
    """A place for a new run, made where it is missing, of at most half of what is free; None where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(folder).free // 2
    except OSError:
        return None
    return CachePlace(folder, min(most, room), uuid4().hex) if os.access(folder, os.W_OK | os.X_OK) else None


def empty_cache(folder: Path) -> None:
    """Remove all that is kept in a folder."""
    for shard in folder.glob("*"):
        shutil.rmtree(shard, ignore_errors=True)


def named(*parts: object) -> str:
    """The name of an entry: a digest, so that nothing of an address can be read in it."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=NAME_BYTES).hexdigest()


def without_token(href: str) -> str:
    """An address without what only signs it, which is another one tomorrow."""
    parts = urlsplit(href)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    azure = any(name == "sig" for name, _ in fields)
    left = [f for f in fields if not (OTHER_TOKEN.fullmatch(f[0]) or (azure and AZURE_TOKEN.fullmatch(f[0])))]
    return parts._replace(query=urlencode(left), fragment="").geturl()


class TileCache:
    """What is kept in a place, by name; used by many threads."""

    def __init__(self, place: CachePlace) -> None:
        self.place = place
        self._kept, self._counted_at, self._keeps, self._lock = 0, -1.0, True, Lock()

    def get(self, name: str) -> bytes | None:
        """What was kept under a name; None where nothing is, or where it is no longer what was kept."""
        path = self._path(name)
        try:
            found = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        content, check = found[:-CHECK_BYTES], found[-CHECK_BYTES:]
        return content if len(found) >= CHECK_BYTES and _check(content) == check else None

    def put(self, name: str, content: bytes) -> None:
        """Keep something under a name, where there is room."""
        size = len(content) + CHECK_BYTES
        if not self._has_room(size):
            return
        path = self._path(name)
        partial = path.with_name(f".{uuid4().hex}")
        try:
            path.parent.mkdir(exist_ok=True)  # not the folder itself, which goes when its run ends
            with partial.open("wb") as file:
                file.write(content)
                file.write(_check(content))
            partial.replace(path)
        except OSError:
            self._keeps = False
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.place.folder / name[:2] / name[2:]

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes may be kept; makes room where they are too many."""
        with self._lock:
            try:
                free = shutil.disk_usage(self.place.folder).free
            except OSError:
                self._keeps = False
            if not self._keeps or free < FREE_BYTES + size or size > LEFT * self.place.most:
                return False
            self._kept += size
            if self._kept > self.place.most or self._kept - self._counted_at > COUNTED_AGAIN * self.place.most:
                self._make_room(size)
            return True

    def _make_room(self, size: int) -> None:
        """Count what is there, as others keep things there, too, and remove what was not used for longest."""
        entries = sorted(self._entries())
        kept, most = sum(one[1] for one in entries) + size, self.place.most
        goal = LEFT * most if kept > most else kept
        for _, bytes_, path in entries:
            if kept <= goal:
                break
            with suppress(OSError):
                path.unlink()
            kept -= bytes_
        self._kept = self._counted_at = kept

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """When each entry was used last, its bytes and where it is."""
        for path in self.place.folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                found = path.stat()
                yield found.st_mtime, found.st_size, path


def _check(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(CHECK_BYTES, "big")


@lru_cache(maxsize=4)
def cache_at(place: CachePlace) -> TileCache:
    """The one cache of this process in a place."""
    return TileCache(place)
