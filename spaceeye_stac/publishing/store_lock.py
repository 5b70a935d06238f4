"""By which no two runs work in one place of a store at once: an object that its run renews while it lives."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from spaceeye_stac.errors import OutputError, SpaceEyeError
from spaceeye_stac.publishing.store import Store

LOCK = ".run.lock"
BEAT_SECONDS, DEAD_SECONDS = 5, 25


@contextmanager
def alone(store: Store) -> Iterator["StoreLock"]:
    """Hold the lock of a place; OutputError where another run is at work there.

    The lock of a run that died is taken over once it was not renewed for 25 seconds, which this waits for.
    """
    lock = StoreLock(store)
    lock.take()
    beating = threading.Thread(target=lock.beat, daemon=True)
    beating.start()
    try:
        yield lock
    finally:
        lock.ended.set()
        beating.join()
        lock.leave()


class StoreLock:
    """The lock of one run."""

    def __init__(self, store: Store) -> None:
        self.ended = threading.Event()
        self._store, self._beats, self._owner, self._lost = store, 0, uuid4().hex, False
        self._version: str | None = None

    def take(self) -> None:
        """Have the lock, or raise OutputError."""
        self._version = self._claim(None)
        if self._version is not None:
            return
        found = self._store.stamp(LOCK)
        waited = time.monotonic() + DEAD_SECONDS
        while found is not None and time.monotonic() < waited:
            time.sleep(1)
            now = self._store.stamp(LOCK)
            if now is not None and now != found:
                raise self._refusal()  # it was renewed
            found = now
        self._version = self._claim(None if found is None else found[0])
        if self._version is None:
            raise self._refusal()

    def beat(self) -> None:
        """Renew the lock until the run ends; a store that does not answer may do so again."""
        while not self.ended.wait(BEAT_SECONDS):
            with suppress(SpaceEyeError):
                version = self._claim(self._version)
                self._lost = version is None and not self._is_ours()
                self._version = version or self._version
            if self._lost:
                return

    def check(self) -> None:
        """Raise OutputError where another run has taken the place over."""
        if self._lost:
            raise self._refusal()

    def leave(self) -> None:
        """Give the lock back, unless another run has it."""
        with suppress(SpaceEyeError):
            if not self._lost and self._is_ours():
                self._store.delete([LOCK])

    def _claim(self, version: str | None) -> str | None:
        self._beats += 1
        return self._store.claim(LOCK, json.dumps({"run": self._owner, "beat": self._beats}).encode(), version)

    def _is_ours(self) -> bool:
        """Whether the object is ours: a claim that was tried again by the library may have been answered before."""
        content, stamp = self._store.read(LOCK), self._store.stamp(LOCK)
        ours = content is not None and json.loads(content).get("run") == self._owner
        if ours and stamp is not None:
            self._version = stamp[0]
        return ours

    def _refusal(self) -> OutputError:
        return OutputError(
            f"Another run is at work on {self._store.target.address}; wait for it, or choose another place."
        )
