"""A file in a store as async-tiff reads it: by parts, of which none is asked for twice where they are kept."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.pixels.network import (
    Address,
    Answer,
    ChangedError,
    Data,
    LostError,
    Network,
    RefusedError,
    network_use,
)
from spaceeye_stac.pixels.tile_cache import TileCache, cache_at, named, without_token

LARGEST_REQUEST = 2**21
NEAR_BYTES = 2**12  # between two parts that are asked for together
AHEAD_REQUESTS = 12  # in flight for what is only read ahead
AHEAD_BYTES = 2 * AHEAD_REQUESTS * LARGEST_REQUEST  # as they come, and as they are written
Part = tuple[int, int]
Failure = LostError | RefusedError | ChangedError | SpaceEyeError
FAILURES = (LostError, RefusedError, ChangedError, SpaceEyeError)


@dataclass
class RemoteFile:
    """One file, while a window of it is read; all parts are of one version.

    `ended`: once it is set, nothing more is asked for. `name`: by which the cache knows it. `later`: after what others
    wait for. `failure`: why a part was not had, which async-tiff raises as an error of its own. `start`: the first
    bytes, once they are had; a small file has its tiles there.
    """

    address: Address
    network: Network
    ended: asyncio.Event
    name: str = ""
    cache: TileCache | None = None
    later: bool = False
    version: str | None = None
    failure: Failure | None = None
    start: Data | None = None

    @classmethod
    def at(cls, url: str, href: str, network: Network, ended: asyncio.Event, *, later: bool = False) -> "RemoteFile":
        """The file behind a signed URL that `reads` allows; `href` is what it is called without its token."""
        place = network_use().cache
        cache = None if place is None else cache_at(place)
        name = "" if place is None else named(without_token(href))
        return cls(Address.of(url), network, ended, name, cache, later)

    async def get_range_async(
        self,
        path: str,  # noqa: ARG002 - as it is called
        *,
        start: int,
        end: int | None = None,
        length: int | None = None,
    ) -> Data:
        """Bytes from `start` to before `end`, fewer where the file ends."""
        stop = start + (length or 0) if end is None else end
        found = (await self._had_parts([(start, stop)]))[0]
        self.start = found if start == 0 else self.start
        return found

    async def get_ranges_async(
        self,
        path: str,  # noqa: ARG002 - as it is called
        *,
        starts: Sequence[int],
        ends: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> list[Data]:
        """Several tiles at once, those near each other in one request; RefusedError where the file ends before one."""
        stops = ends or [start + length for start, length in zip(starts, lengths or (), strict=True)]
        parts = list(zip(starts, stops, strict=True))
        found = await self._had_parts(parts)
        for (start, stop), data in zip(parts, found, strict=True):
            if len(data) < stop - start:  # async-tiff would decode it, and panic
                self.failure = RefusedError(f"it ends at byte {start + len(data)}, within a tile")
                raise self.failure
        return found

    async def _had_parts(self, parts: Sequence[Part]) -> list[Data]:
        """Parts, fewer bytes where the file ends; what fails is noted."""
        first = self.start or b""
        there = {(start, stop): first[start:stop:1] for start, stop in parts if stop <= len(first)}
        try:
            found = there | await self._parts([part for part in parts if part not in there])
        except FAILURES as error:
            self.failure = error
            raise
        return [found[part] for part in parts]

    async def keep(self, parts: Sequence[Part]) -> int:
        """Bring parts into the cache, one request after the other; how many bytes they have."""
        size = 0
        for start, stop in together(parts):
            own = [part for part in parts if start <= part[0] and part[1] <= stop]
            size += sum(map(len, (await self._parts(own)).values()))
        return size

    async def _parts(self, parts: Sequence[Part]) -> dict[Part, Data]:
        """Parts from the cache and the store; what another read has on its way is waited for."""
        if self.cache is None:
            return await self._fetched(parts)
        found: dict[Part, Data] = {}
        while left := [part for part in dict.fromkeys(parts) if part not in found]:
            names = {part: f"{self.name} {part}" for part in left}
            coming = [there for name in names.values() if (there := self.network.coming.get(name))]
            mine = {name: part for part, name in names.items() if name not in self.network.coming}
            if mine:
                done = asyncio.get_running_loop().create_future()
                self.network.coming |= dict.fromkeys(mine, done)
                try:
                    found |= await self._had(self.cache, list(mine.values()))
                finally:
                    for name in mine:
                        del self.network.coming[name]
                    done.set_result(None)
            if coming:
                await asyncio.wait(coming)
        return found

    async def _had(self, cache: TileCache, parts: Sequence[Part]) -> dict[Part, Data]:
        """Parts from the cache, else from the store and into the cache."""
        new = await self._met(cache, parts[0])
        left = [part for part in parts if part not in new]
        kept = await asyncio.to_thread(lambda: {part: cache.get(self._entry(part)) for part in left})
        new |= await self._fetched([part for part, data in kept.items() if data is None])
        await asyncio.to_thread(self._keep, cache, new)
        return new | {part: data for part, data in kept.items() if data is not None}

    def _keep(self, cache: TileCache, parts: Mapping[Part, Data]) -> None:
        for part, data in parts.items():
            cache.put(self._entry(part), bytes(data))

    async def _met(self, cache: TileCache, part: Part) -> dict[Part, Data]:
        """See to it that the version is known: where this run has not met the file, ask for a part of it.

        Returns that part, if the store sent it: not where the version is the one that an earlier run kept.
        """
        run, head = cache.place.run, named("head", self.name)
        self.version = self.version or self.network.versions.get(f"{run} {self.name}")
        if self.version is not None:
            return {}
        known = json.loads(await asyncio.to_thread(lambda: cache.get(head) or b"{}"))
        data = None
        if known.get("run") != run:
            answer = await self.network.get(
                self.address, part, self.ended, known=known.get("version", ""), later=self.later
            )
            known, data = {"run": run, "version": self._said(answer)}, answer.data
            await asyncio.to_thread(cache.put, head, json.dumps(known).encode())
        self.version = self.network.versions[f"{run} {self.name}"] = known["version"]
        return {} if data is None else {part: data}

    async def _fetched(self, parts: Sequence[Part]) -> dict[Part, Data]:
        """Parts from the store."""
        asked = together(parts)
        had = await asyncio.gather(*map(self._got, asked))
        found: dict[Part, Data] = {}
        for start, stop in parts:
            first, data = next((a, data) for (a, b), data in zip(asked, had, strict=True) if a <= start and stop <= b)
            found[start, stop] = data[start - first : stop - first : 1]
        return found

    async def _got(self, part: Part) -> Data:
        """A part from the store; ChangedError where it is of another version than what was had before."""
        answer = await self.network.get(self.address, part, self.ended, later=self.later)
        self.version = self.version or self._said(answer)
        if answer.data is None or self.version != self._said(answer):
            raise ChangedError
        return answer.data

    def _said(self, answer: Answer) -> str:
        """The version of an answer; a size alone does not say that a file is the same as in another run."""
        own = self.cache is not None and answer.version.isdigit()
        return f"{self.cache.place.run} {answer.version}" if own and self.cache else answer.version

    def _entry(self, part: Part) -> str:
        return named(self.name, self.version, *part)


def together(parts: Sequence[Part]) -> list[Part]:
    """Parts as they are asked for."""
    found = list[Part]()
    for start, stop in sorted(parts):
        before = found[-1] if found else None
        if before and start - before[1] <= NEAR_BYTES and stop - before[0] <= LARGEST_REQUEST:
            found[-1] = before[0], max(stop, before[1])
        else:
            found.append((start, stop))
    return found
