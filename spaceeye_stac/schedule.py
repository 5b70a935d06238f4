"""The same tasks on threads, on processes and on a dask.distributed cluster."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, Protocol

from spaceeye_stac.errors import InvalidInputError, SpaceEyeError, WorkerError
from spaceeye_stac.progress import Progress
from spaceeye_stac.resources import LOCAL, Resources

CONNECT_SECONDS = 10
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

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """Call the task with each of `todo`, at `most` so many at once; the first error ends it. Results in order."""


@contextmanager
def workers(resources: Resources) -> Iterator[Workers]:
    """Give the workers that the resources name; InvalidInputError where a scheduler cannot be reached."""
    address = resources.scheduler
    active = _active_client() if address is None else None
    if active is not None:
        yield _Cluster(active)
    elif address is None or address in LOCAL:
        yield _Local(resources.local_workers, processes=address == "processes")
    else:
        with _connected(address) as client:
            yield _Cluster(client)


class _Local:
    """Threads or processes of this machine."""

    def __init__(self, count: int, *, processes: bool) -> None:
        self._count, self._processes = count, processes

    @property
    def count(self) -> int:
        """Threads or processes."""
        return self._count

    @property
    def shares_lock(self) -> bool:
        """See `Workers`."""
        return not self._processes

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`."""
        progress(stage, 0, len(todo))
        with self._pool(task, min(most, len(todo))) as pool:
            call = _call_own if self._processes else task
            futures = [pool.submit(call, one) for one in todo]
            try:
                _wait(as_completed(futures), len(todo), stage, progress)
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                if isinstance(error, BrokenProcessPool):
                    raise WorkerError(f"A worker died while {stage}; {AGAIN}.") from None
                raise
        return [future.result() for future in futures]

    def _pool(self, task: Task, count: int) -> Executor:
        most = max(1, min(self._count, count))
        if not self._processes:
            return ThreadPoolExecutor(max_workers=most)
        # spawned, not forked: torch and GDAL hold threads that do not survive a fork
        return ProcessPoolExecutor(most, get_context("spawn"), initializer=_keep, initargs=(task,))


_own: list[Task] = []


def _keep(task: Task) -> None:
    """Begin a worker process: Ctrl-C is for the main one, and with that, however it ends, this one ends, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own[:] = [task]


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call_own(one: Any) -> Any:  # noqa: ANN401 - as the task's
    return _own[0](one)


def _wait(done: Iterator["Future[Any]"], total: int, stage: str, progress: Progress) -> None:
    for number, future in enumerate(done, start=1):
        future.result()
        progress(stage, number, total)


class _Cluster:
    """A dask.distributed cluster whose workers share the output folder's file system."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self._client = client

    @property
    def count(self) -> int:
        """Threads of all workers."""
        return sum(self._client.nthreads().values()) or 1

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
