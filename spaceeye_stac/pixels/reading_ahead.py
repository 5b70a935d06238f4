"""The tiles of blocks that are still to come go into the cache while others are solved."""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Self

from spaceeye_stac.pixels.network import network

Work = Callable[[], Iterable[Coroutine[Any, Any, int]]]


class ReadingAhead:
    """Reads what comes, in order, on a thread of its own, as long as it lasts.

    `works`: of each block, what gives the network's work for it (see `read_ahead`). `at_work`: so many blocks are
    worked on at once. `most`: bytes of blocks that nobody works on yet. Whatever fails is left to who reads the block.
    """

    def __init__(self, works: Sequence[Work], at_work: int, most: int) -> None:
        self._works, self._at_work, self._most = works, at_work, most
        self._done, self._ended, self._sizes = 0, False, dict[int, int]()
        self._changed = Condition()
        self._coming: Future[int] | None = None
        self._thread = Thread(target=self._go_on, name="reading ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            if self._coming is not None:
                self._coming.cancel()
        self._thread.join()

    def done(self, count: int) -> None:
        """So many blocks are done."""
        with self._changed:
            self._done = count
            self._changed.notify_all()

    def _go_on(self) -> None:
        for number, work in enumerate(self._works):
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._ahead() < self._most)
                if self._ended:
                    return
            self._sizes[number] = self._read(work)

    def _ahead(self) -> int:
        return sum(size for number, size in self._sizes.items() if number >= self._done + self._at_work)

    def _read(self, work: Work) -> int:
        size = 0
        with suppress(Exception):  # a token that is not had, a store that is away: the one who reads says so
            for one in work():
                with self._changed:
                    if self._ended:
                        one.close()
                        break
                    self._coming = network().start(one)
                size += self._coming.result()
        return size
