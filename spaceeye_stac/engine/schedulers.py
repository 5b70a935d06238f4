"""The same tasks on threads of this process, or on dask.distributed."""

import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from signal import SIG_BLOCK, SIGINT, pthread_sigmask
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from spaceeye_stac.collection import TILES
from spaceeye_stac.engine.budget import Budget
from spaceeye_stac.engine.memory import keep_few_heaps
from spaceeye_stac.model import Progress
from spaceeye_stac.pixels import CachePlace, NetworkUse, cache_place, network_use, use_network
from spaceeye_stac.resources import Resources

logger = logging.getLogger(__name__)
WORKERS = ".workers"  # what processes of this machine keep in a run's folder, until they end


class Task(Protocol):
    """Something that is made once, sent to every worker, and called with one thing after the other."""

    def __call__(self, one: Any, /) -> Any:  # noqa: ANN401 - whatever the task takes and gives
        """Do one thing; what it gives is small."""


class Workers(Protocol):
    """Where tasks run."""

    @property
    def shares_lock(self) -> bool:
        """Whether tasks run in this very process, on threads that wait for each other in Python."""

    def budget(self, resources: Resources) -> Budget:
        """What tasks may take."""

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """Call the task with each of `todo`; the first error ends it. Results in order.

        At `most` so many are at work at once where memory is shared: as `Budget` says.
        """


@contextmanager
def open_workers(resources: Resources, work: Path | None = None) -> Iterator[Workers]:
    """Give the workers that the resources name; InvalidInputError where a scheduler cannot be reached.

    Parts of files in stores are kept in the cache of the resources, else in `work`, the work folder of a run.
    """
    keep_few_heaps()
    if work is not None:  # a run that was killed leaves it
        rmtree(work / WORKERS, ignore_errors=True)
    cache = _cache(resources, work)
    use_network(NetworkUse(resources.connections, resources.loader, cache))
    try:
        yield from _opened(resources, work)
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


def _opened(resources: Resources, work: Path | None) -> Iterator[Workers]:
    address, client = resources.scheduler, resources.client
    if address == "processes":
        # Ctrl-C is for the main process: what a thread starts inherits the signals that it blocks
        no_signals = ThreadPoolExecutor(1, "workers", pthread_sigmask, (SIG_BLOCK, {SIGINT}))
        with ExitStack() as stack, no_signals as starter:
            yield _Processes(starter.submit(_started, stack, resources.local_workers, work))
    elif address == "threads" or (address is None and client is None and "distributed" not in sys.modules):
        yield _Threads(resources.local_workers)
    else:
        from spaceeye_stac.engine import cluster  # noqa: PLC0415 - seconds to import

        with cluster.connected(address, client) as found:
            yield _Threads(resources.local_workers) if found is None else cluster.ClusterWorkers(found)


def budget_of(resources: Resources) -> Budget:
    """What the workers of these resources may take, without starting any; raises what `open_workers` does."""
    if resources.scheduler == "processes":
        return _shared(resources)
    with open_workers(resources) as crew:
        return crew.budget(resources)


def _shared(resources: Resources) -> Budget:
    """Of processes of this machine, and the main one."""
    return Budget(resources.memory_bytes, resources.local_workers, 1 + resources.local_workers)


class _Threads:
    """Threads of this process."""

    shares_lock = True

    def __init__(self, count: int) -> None:
        self._count = count

    def budget(self, resources: Resources) -> Budget:
        """See `Workers`."""
        return Budget(resources.memory_bytes, self._count)

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`."""
        progress(stage, 0, len(todo))
        with ThreadPoolExecutor(max(1, min(most, self._count, len(todo)))) as pool:
            futures = [pool.submit(task, one) for one in todo]
            try:
                for number, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    progress(stage, number, len(todo))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]


@dataclass(frozen=True)
class _Processes:
    """Processes of this machine, which start while the main one still searches, and stay until the end."""

    started: Future[Workers]
    shares_lock = False

    def budget(self, resources: Resources) -> Budget:
        """See `Workers`."""
        return _shared(resources)

    def map(self, task: Task, todo: Sequence[Any], stage: str, progress: Progress, *, most: int) -> list[Any]:
        """See `Workers`; WorkerError where none could start."""
        return self.started.result().map(task, todo, stage, progress, most=most)


def _started(stack: ExitStack, count: int, work: Path | None) -> Workers:
    from spaceeye_stac.engine import cluster  # noqa: PLC0415 - seconds to import

    folder = Path(stack.enter_context(TemporaryDirectory())) if work is None else work / WORKERS
    stack.callback(rmtree, folder, ignore_errors=True)
    return stack.enter_context(cluster.local_workers(count, folder))
