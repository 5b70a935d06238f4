"""The same run on threads, on processes and on a dask.distributed cluster gives the same bytes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import spaceeye_stac as se
from spaceeye_stac.engine.schedulers import open_workers
from spaceeye_stac.errors import InvalidInputError, WorkerError
from spaceeye_stac.resources import Resources
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.same_files import assert_same_files
from tests.support.servers import free_port


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as running:
        yield running


def test_processes_give_the_same_bytes(simulated_query: se.Query, simulated_run: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    resources = Resources(scheduler="processes", workers=2)
    se.run(simulated_query, DAMPED, out=tmp_path / "out", resources=resources, progress=lambda *step: seen.append(step))
    assert_same_files(tmp_path / "out", simulated_run)
    assert {stage for stage, done, total in seen if done == total} == {"solving", "writing days"}


def test_a_cluster_gives_the_same_bytes(
    cluster: LocalCluster, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    address = cluster.scheduler_address
    done = command("run", *options_of(simulated_query), *BY_DAMPED, "--out", tmp_path / "named", "--scheduler", address)
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "named", simulated_run)
    seen: list[tuple[str, int, int]] = []
    with Client(cluster):
        se.run(simulated_query, DAMPED, out=tmp_path / "active", progress=lambda *step: seen.append(step))
    assert_same_files(tmp_path / "active", simulated_run)
    assert {stage for stage, done, total in seen if done == total} == {"solving", "writing days"}


def test_an_error_in_a_worker_arrives_as_it_is(cluster: LocalCluster) -> None:
    for resources in (Resources(scheduler="processes"), Resources(scheduler=cluster.scheduler_address), Resources()):
        with open_workers(resources) as crew, pytest.raises(InvalidInputError, match="no good: 3"):
            crew.map(refuse_three, range(6), "trying", quiet, most=2)


def test_a_dead_worker_is_named_and_what_is_finished_stays(cluster: LocalCluster) -> None:
    with (
        open_workers(Resources(scheduler="processes", workers=2)) as crew,
        pytest.raises(WorkerError, match="A worker died"),
    ):
        crew.map(die, range(4), "trying", quiet, most=2)
    with (
        open_workers(Resources(scheduler=cluster.scheduler_address)) as crew,
        pytest.raises(WorkerError, match="The cluster lost its workers while trying"),
    ):
        crew.map(die, range(2), "trying", quiet, most=2)


def test_an_unreachable_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.engine.schedulers.CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(InvalidInputError, match=f"Scheduler {address} cannot be reached"),
        open_workers(Resources(scheduler=address)),
    ):
        pass
    with pytest.raises(InvalidInputError, match="scheduler 'magic' is not allowed"):
        Resources(scheduler="magic")


@pytest.mark.parametrize(
    ("given", "expected"), [("2GB", 2 * 10**9), ("1.5GiB", 3 * 2**29), (1000, 1000), ("512m", 512 * 10**6)]
)
def test_memory_is_read_as_people_write_it(given: Any, expected: int) -> None:
    assert Resources(memory=given).memory_bytes == expected


@pytest.mark.parametrize("given", ["much", "0", "-1GB", 0, True])
def test_memory_that_makes_no_sense_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="is not allowed; write it as 2GB"):
        Resources(memory=given)


def refuse_three(one: int) -> int:
    if one == 3:
        raise InvalidInputError(f"no good: {one}")
    return one


def die(_one: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def quiet(_stage: str, _done: int, _total: int) -> None:
    pass
