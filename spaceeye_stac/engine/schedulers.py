"""The same tasks on threads, on processes and on a dask.distributed cluster."""

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import islice
from multiprocessing import current_process, get_context, parent_process
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, Protocol, Self
from uuid import UUID, uuid4

from spaceeye_stac.collection import TILES
from spaceeye_stac.engine.memory import keep_few_heaps
from spaceeye_stac.errors import InvalidInputError, SpaceEyeError, WorkerError
from spaceeye_stac.model import Progress
from spaceeye_stac.pixels import CachePlace, NetworkUse, cache_place, network_use, use_network
from spaceeye_stac.resources import LOCAL, Resources

logger = logging.getLogger(__name__)
CONNECT_SECONDS = 10
NOT_STARTED = (
    "No worker process could start: a script must call run below if __name__ == '__main__'; where it does, run again "
    "with less memory or fewer workers."
)
AGAIN = "what is finished is kept: run the same command again, with less memory or fewer workers"


class Task(Protocol):
    """Something that is made once, sent to every worker, and called with one thing after the other."""

    def __call__(self, one: Any, /) -> Any:  # noqa: ANN401 - whatever the task takes and gives
        """Do one thing; what it gives is small."""


class Workers(Protocol):
    """Where tasks run."""

    @property
    def count(self) -> int:
        """How many tasks at once."""

    @property
    def shares_lock(self) -> bool:
        """Whether tasks run in this very process, on threads that wait for each other in Python."""

    @property
    def programs(self) -> int:
        """Processes, the main one among them."""

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """Call the task with each of `todo`, at `most` so many at once; the first error ends it. Results in order."""


@contextmanager
def open_workers(resources: Resources, work: Path | None = None) -> Iterator[Workers]:
    """Give the workers that the resources name; InvalidInputError where a scheduler cannot be reached.

    Parts of files in stores are kept in the cache of the resources, else in `work`, the work folder of a run.
    """
    keep_few_heaps()
    cache = _cache(resources, work)
    use_network(NetworkUse(resources.connections, resources.loader, cache))
    try:
        yield from _opened(resources)
    finally:
        if cache is not None:
            use_network(replace(network_use(), cache=None))


def _cache(resources: Resources, work: Path | None) -> CachePlace | None:
    """Where a run keeps parts of files; None outside of runs, and where nothing can be written."""
    if work is None:
        return None
    folder = work / TILES if resources.cache is None else Path(resources.cache).absolute()
    found = cache_place(folder, resources.cache_bytes)
    if found is None:
        logger.warning("%s cannot be written to, and nothing is kept there", folder)
    return found


def _opened(resources: Resources) -> Iterator[Workers]:
    address = resources.scheduler
    active = _active_client() if address is None else None
    if active is not None:
        yield _Cluster(active)
    elif address == "processes":
        with _Processes(resources.local_workers) as crew:
            yield crew
    elif address is None or address in LOCAL:
        yield _Threads(resources.local_workers)
    else:
        with _connected(address) as client:
            yield _Cluster(client)


def leave_to_main() -> None:
    """End a worker process that is only starting, and for that runs the script of the main one once more.

    It says nothing: the main process will, of what it cannot start.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself tells
        raise SystemExit(1)


def size_of(resources: Resources) -> tuple[int, int]:
    """How many tasks at once, and in how many processes, without starting any; raises what `open_workers` does."""
    if resources.scheduler == "processes":
        return resources.local_workers, 1 + resources.local_workers
    with open_workers(resources) as crew:
        return crew.count, crew.programs


class _Threads:
    """Threads of this process."""

    shares_lock = True
    programs = 1

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`."""
        progress(stage, 0, len(todo))
        with ThreadPoolExecutor(max(1, min(most, self.count, len(todo)))) as pool:
            futures = [pool.submit(task, one) for one in todo]
            try:
                for number, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    progress(stage, number, len(todo))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]


class _Processes:
    """Processes of this machine, which start while the main one still searches, and stay until the end."""

    shares_lock = False

    def __init__(self, count: int) -> None:
        self.count, self.programs = count, 1 + count
        self._pool = self._started()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        # spawned, not forked: torch and GDAL hold threads that do not survive a fork
        pool = ProcessPoolExecutor(self.count, get_context("spawn"), initializer=_begin)
        self._ready = [pool.submit(_import_work) for _ in range(self.count)]
        return pool

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`."""
        progress(stage, 0, len(todo))
        try:
            with _unnamed_file(pickle.dumps(task)) as sent:
                return self._map((uuid4(), sent), todo, stage, progress, max(1, min(most, self.count)))
        except BrokenProcessPool:
            was_there = any(one.done() and not one.exception() for one in self._ready)
            self._pool = self._started()
            raise WorkerError(f"A worker died while {stage}; {AGAIN}." if was_there else NOT_STARTED) from None

    def _map(
        self, task: tuple[UUID, Path], todo: Sequence[Any], stage: str, progress: Progress, most: int
    ) -> list[Any]:
        """Call a task that lies in a file; only as many are submitted as may be at work."""
        results: dict[int, Any] = {}
        running: dict[Future[Any], int] = {}
        left = iter(enumerate(todo))
        try:
            while len(results) < len(todo):
                for index, one in islice(left, most - len(running)):
                    running[self._pool.submit(_call_own, task, one)] = index
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results[running.pop(future)] = future.result()
                    progress(stage, len(results), len(todo))
        finally:
            wait(running)  # after an error, nobody may write any more when this ends
        return [results[index] for index in range(len(todo))]


@contextmanager
def _unnamed_file(content: bytes) -> Iterator[Path]:
    """A file that other processes of this user can read, of no name where the system allows: no kill leaves it."""
    processes = Path("/proc", str(os.getpid()), "fd")
    with (TemporaryFile if processes.is_dir() else NamedTemporaryFile)() as file:
        file.write(content)
        file.flush()
        yield processes / str(file.fileno()) if processes.is_dir() else Path(file.name)


def _import_work() -> None:
    """Import what the tasks need, while the main process still searches."""
    import_module("spaceeye_stac.engine.solving")


_own: dict[UUID, Task] = {}


def _begin() -> None:
    """Begin a worker process: Ctrl-C is for the main one, and with that, however it ends, this one ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call_own(task: tuple[UUID, Path], one: Any) -> Any:  # noqa: ANN401 - as the task's
    """Call the task in that file, which the main process wrote; it is read once, and the one before is forgotten."""
    name, file = task
    if name not in _own:
        _own.clear()
        _own[name] = pickle.loads(file.read_bytes())  # noqa: S301 - our own, which this user alone can write
    return _own[name](one)


class _Cluster:
    """A dask.distributed cluster whose workers share the output folder's file system."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client

    @property
    def count(self) -> int:
        """Threads of all workers."""
        return sum(self._client.nthreads().values()) or 1

    @property
    def programs(self) -> int:
        """See `Workers`."""
        return 1 + len(self._client.nthreads())

    @property
    def shares_lock(self) -> bool:
        """See `Workers`."""
        return False

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`; only as many tasks are submitted as keep the workers busy."""
        progress(stage, 0, len(todo))
        with self._client.as_current():
            return self._map(task, todo, stage, progress, most)

    def _map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, most: int) -> list[Any]:
        from distributed import as_completed as completed  # noqa: PLC0415 - seconds to import
        from distributed import wait  # noqa: PLC0415

        sent = self._client.scatter(task, broadcast=True, hash=False)
        waiting = list(enumerate(todo))[::-1]
        results: dict[int, Any] = {}
        numbers: dict[str, int] = {}

        def submit() -> Any:  # noqa: ANN401
            index, one = waiting.pop()
            future = self._client.submit(_apply, sent, one, pure=False, retries=1)
            numbers[future.key] = index
            return future

        running = completed([submit() for _ in range(min(2 * self.count, most, len(waiting)))])
        try:
            for future in running:
                results[numbers[future.key]] = future.result()
                progress(stage, len(results), len(todo))
                if waiting:
                    running.add(submit())
        except SpaceEyeError:
            wait(list(running.futures))  # what is at work cannot be stopped, and may not meet what comes next
            raise
        except Exception as error:
            if type(error).__module__.startswith("distributed"):
                raise WorkerError(
                    f"The cluster lost its workers while {stage} ({type(error).__name__}); {AGAIN}."
                ) from None
            raise
        finally:
            self._client.cancel(list(running.futures))
        return [results[index] for index in range(len(todo))]


def _apply(task: Task, one: Any) -> Any:  # noqa: ANN401 - as the task's
    return task(one)


def _active_client() -> Any | None:  # noqa: ANN401 - distributed has no types
    """Return the dask.distributed client that is active in this program, if it ever imported one."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client  # noqa: PLC0415

    try:
        return get_client()
    except ValueError:
        return None


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError:
        raise InvalidInputError(
            f"scheduler {address} needs dask.distributed; install it with pip install distributed."
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InvalidInputError(
            f"Scheduler {address} cannot be reached ({type(error).__name__}); start it, or leave scheduler out."
        ) from None
    with client:
        yield client
