"""How much a scheduler takes of a core, and how long workers wait, with two hundred workers whose tasks only sleep."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from spaceeye_stac.engine.schedulers import open_workers
from spaceeye_stac.resources import Resources

WORKERS, TASKS, PATIENCE = 200, 2000, 60


@dataclass(frozen=True)
class Sleep:
    """A task that takes its time and no core."""

    seconds: float

    def __call__(self, _one: int) -> int:
        time.sleep(self.seconds)
        return 0


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a scheduler in a process of its own, and that process; all workers are in another."""
    file, quiet = folder / "scheduler.json", subprocess.DEVNULL
    line = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--dashboard-address",
        "127.0.0.1:0",
    ]
    with subprocess.Popen([*line, "--scheduler-file", str(file)], stderr=quiet) as scheduler:
        address = _written(file)
        line = [sys.executable, "-m", "tests.benchmarks.many_workers", address, str(workers)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=quiet, text=True) as crew:
            try:
                assert crew.stdout is not None
                assert crew.stdout.readline() == "ready\n"
                yield address, psutil.Process(scheduler.pid)
            finally:
                crew.kill()
                scheduler.kill()


def _written(file: Path) -> str:
    """The address in the file that a scheduler writes once it can be reached."""
    deadline = time.monotonic() + PATIENCE
    while not file.is_file():
        assert time.monotonic() < deadline, "no scheduler started"
        time.sleep(0.1)
    return str(json.loads(file.read_text())["address"])


def nothing(_stage: str, _done: int, _of: int) -> None:
    """No progress is shown."""


@pytest.mark.benchmark
@pytest.mark.parametrize("seconds", [2.0, 10.0])
def test_two_hundred_workers_are_kept_busy(seconds: float, tmp_path: Path) -> None:
    with cluster(WORKERS, tmp_path) as (address, scheduler), open_workers(Resources(scheduler=address)) as crew:
        before, own, start = sum(scheduler.cpu_times()[:2]), time.process_time(), time.perf_counter()
        crew.map(Sleep(seconds), range(TASKS), "sleeping", nothing, most=sys.maxsize)
        took = time.perf_counter() - start
        cpu, own = sum(scheduler.cpu_times()[:2]) - before, time.process_time() - own
    idle = 1 - TASKS * seconds / (took * WORKERS)
    print(
        f"\n{TASKS} tasks of {seconds:.0f} s on {WORKERS} workers: {took:.1f} s, idle {idle:.1%}; CPU a task: "
        f"scheduler {1000 * cpu / TASKS:.1f} ms, client {1000 * own / TASKS:.1f} ms"
    )
    assert cpu / TASKS < seconds / WORKERS, "more tasks a second than the scheduler can give out"
