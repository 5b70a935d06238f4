"""Tasks on dask.distributed: on processes of this machine, or on a cluster whose workers come, go and die."""

import asyncio
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from platform import python_version_tuple
from threading import Semaphore
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, get_client, get_worker, wait
from distributed.utils import silence_logging_cmgr

from spaceeye_stac import __version__
from spaceeye_stac.engine.budget import Budget
from spaceeye_stac.engine.starting import PRELOADED, start_method
from spaceeye_stac.errors import InvalidInputError, SpaceEyeError, WorkerError
from spaceeye_stac.model import Progress
from spaceeye_stac.resources import Resources

CONNECT_SECONDS = 10
LOOK_SECONDS = 2  # between two looks at which workers there are
END_SECONDS = 0.5  # that a process of this machine may take to end by itself
SHARE_OF_LIMIT = 0.75  # of a worker's memory: beyond, dask moves things to disk, then lets it wait, then ends it
KEY_LETTERS = 80
SETTINGS = {
    "distributed.nanny.pre-spawn-environ": {},  # dask lets glibc give back all memory at once, to ask for it again
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",  # in place of 20 ms, which workers would spend time on
    "distributed.deploy.lost-worker-timeout": "1 day",  # 15 seconds can be too short to start another
}
NOT_STARTED = (
    "No worker process could start: a script must call run below if __name__ == '__main__'; where it does, run again "
    "with less memory or fewer workers."
)
LOST = "scheduler-connection-lost"  # why dask cancels what it can no longer ask for
AGAIN = "what is finished is kept: run the same command again"

warnings.filterwarnings("ignore", "Creating scratch directories")  # of the main process, and of those forked from it


@cache
def versions() -> Mapping[str, str]:
    """What this process computes with: the same on every worker, or else days may differ."""
    others = {name: version(name).partition("+")[0] for name in ("torch", "numpy", "rasterio")}
    return {"python": ".".join(python_version_tuple()[:2]), "spaceeye_stac": __version__, **others}


def check_versions(worker: str, there: Mapping[str, str] | Exception, here: Mapping[str, str]) -> None:
    """Raise InvalidInputError where a worker has other versions than the program, or cannot import the package."""
    if isinstance(there, Exception):
        raise InvalidInputError(
            f"Worker {worker} cannot import what this program does ({there}); install the same on all workers."
        )
    other = ", ".join(f"{name} {there.get(name)} for {own}" for name, own in here.items() if there.get(name) != own)
    if other:
        raise InvalidInputError(f"Worker {worker} has {other} of this program; install the same on all workers.")


class SentTask(WorkerPlugin):
    """A task that every worker gets once, also one that joins later, and does at most so many times at once."""

    def __init__(self, task: Any, most: int) -> None:  # noqa: ANN401 - as `schedulers.Task`
        self._task, self._most, self._versions = task, most, versions()

    def setup(self, worker: Any) -> None:  # noqa: ANN401 - distributed has no types
        """Begin on a worker."""
        self._address, self._places = worker.address, Semaphore(self._most)

    def __call__(self, one: Any) -> Any:  # noqa: ANN401 - as the task's
        """Call the task with one thing, where the worker is as the client."""
        check_versions(self._address, versions(), self._versions)
        with self._places:
            return self._task(one)


def _call(name: str, one: Any) -> Any:  # noqa: ANN401 - as the task's
    sent: Any = get_worker().plugins[name]
    return sent(one)


class ClusterWorkers:
    """The workers of a cluster, whichever there are at the moment; they see the run's folder, or its store."""

    shares_lock = False

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - distributed has no types
        self.client = client

    def budget(self, resources: Resources) -> Budget:
        """See `Workers`; of each worker, within what its cluster allows it."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        apart, most = max(1, len(workers)), max([one["nthreads"] for one in workers], default=1)
        limits = [int(SHARE_OF_LIMIT * one["memory_limit"]) for one in workers if one["memory_limit"]]
        given = [] if resources.memory is None and limits else [resources.memory_bytes // apart]
        return Budget(min(given + limits), most, apart=apart)

    def _room(self, most: int) -> int:
        """How many tasks to submit: as many as are at work, and as many that wait for them."""
        return 2 * sum(min(most, threads) for threads in self.client.nthreads().values()) or 1

    def map(self, task: Any, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:  # noqa: ANN401
        """See `Workers`."""
        progress(stage, 0, len(todo))
        name = f"{stage}-{uuid4().hex[:8]}"
        with self.client.as_current(), _lost_workers(stage), self._sent(SentTask(task, most), name):
            return self._results(name, todo, most, lambda done: progress(stage, done, len(todo)))

    @contextmanager
    def _sent(self, task: SentTask, name: str) -> Iterator[None]:
        """Have a task on all workers, those that come later too."""
        try:
            self.client.register_plugin(task, name)
        except OSError:  # of workers that went at this moment
            time.sleep(LOOK_SECONDS)
            self.client.register_plugin(task, name)
        try:
            yield
        finally:
            if self.client.status == "running":
                with suppress(OSError):
                    self.client.unregister_worker_plugin(name)

    def _results(self, name: str, todo: Sequence[Any], most: int, report: Callable[[int], None]) -> list[Any]:
        results: dict[int, Any] = {}
        running: dict[Any, int] = {}
        left = iter(enumerate(todo))
        try:
            while len(results) < len(todo):
                for n, one in islice(left, max(0, self._room(most) - len(running))):
                    # dashboards group tasks by the first part of the key
                    key = f"{name}-{n} {one}"[:KEY_LETTERS]
                    running[self.client.submit(_call, name, one, key=key, pure=False)] = n
                try:
                    finished = wait(list(running), LOOK_SECONDS, "FIRST_COMPLETED").done
                except TimeoutError:
                    continue  # it is asked anew which workers there are
                for future in finished:
                    results[running.pop(future)] = future.result()
                    report(len(results))
        except SpaceEyeError:
            wait(list(running))  # what is at work cannot be stopped, and may not meet what comes next
            raise
        finally:
            if self.client.status == "running":
                self.client.cancel(list(running))
        return [results[n] for n in range(len(todo))]


@contextmanager
def _lost_workers(stage: str) -> Iterator[None]:
    """Raise WorkerError for what dask raises of tasks that were not done."""
    try:
        yield
    except KilledWorker:
        why = f"Workers died again and again while {stage}; {AGAIN}, with less memory or fewer workers."
        raise WorkerError(why) from None
    except CancelledError as error:
        why = "The scheduler went away" if LOST in str(error) else "The tasks were cancelled on the cluster"
        raise WorkerError(f"{why} while {stage}; {AGAIN}.") from None
    except ModuleNotFoundError as error:
        check_versions("that joined", error, {})
    except OSError as error:
        if error.errno is not None:  # a task's own
            raise
        raise WorkerError(f"The scheduler went away while {stage}; {AGAIN}.") from None


class ProcessWorkers(ClusterWorkers):
    """Processes of this machine that have one thread each, and share its memory."""

    def _room(self, most: int) -> int:
        alive = [one for one in self.client.cluster.workers.values() if one.status.name == "running"]
        if not alive:
            raise WorkerError(NOT_STARTED)
        return min(most, len(alive))


@contextmanager
def local_workers(count: int, folder: Path) -> Iterator[ProcessWorkers]:
    """Start so many processes, which keep in a folder what is gone with them; WorkerError where none can start.

    They end with this process however that ends; one that dies is started anew, and its task is done again.
    """
    port = {"scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL, **port}
    # what was set since the process that workers are forked from has started
    own = {"local_directory": str(folder), "preload": list(PRELOADED), "memory_limit": 0, "env": dict(os.environ)}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**SETTINGS, "distributed.worker.multiprocessing-method": start_method()}))
        try:
            started = LocalCluster(n_workers=count, threads_per_worker=1, host="127.0.0.1", **quiet, **own)
        except RuntimeError:
            raise WorkerError(NOT_STARTED) from None
        cluster = stack.enter_context(started)
        client = stack.enter_context(Client(cluster, set_as_default=False))
        try:
            yield ProcessWorkers(client)
        finally:  # at work or not: what they write is not there until it is whole
            ending = [nanny.close(END_SECONDS) for nanny in cluster.workers.values()]
            cluster.sync(asyncio.gather, *ending, return_exceptions=True)


@contextmanager
def connected(address: str | None, client: Any | None) -> Iterator[Any | None]:  # noqa: ANN401 - distributed has no types
    """Give the client, or that which is active where there is no address either, if any; else connect.

    InvalidInputError where the scheduler cannot be reached, or a worker is not as this program.
    """
    if client is not None or address is None:
        with suppress(ValueError):  # none is active
            client = client or get_client()
        yield client and _checked(client)
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InvalidInputError(
            f"Scheduler {address} cannot be reached ({type(error).__name__}); start it, or leave scheduler out."
        ) from None
    with silence_logging_cmgr(logging.CRITICAL), client:
        yield _checked(client)


def _checked(client: Any) -> Any:  # noqa: ANN401 - distributed has no types
    """The client; InvalidInputError where a worker is not as this program."""
    for worker, found in client.run(versions, on_error="return").items():
        if not isinstance(found, OSError):  # of a worker that goes at this moment
            check_versions(worker, found, versions())
    return client
