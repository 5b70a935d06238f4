"""The same run on threads, on processes and on a dask.distributed cluster gives the same bytes."""

import os
import pickle
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster, get_worker

import spaceeye_stac as se
from spaceeye_stac.engine import cluster as cluster_module
from spaceeye_stac.engine.budget import Budget
from spaceeye_stac.engine.schedulers import budget_of, open_workers
from spaceeye_stac.errors import InvalidInputError, WorkerError
from spaceeye_stac.model import silent
from spaceeye_stac.resources import Resources
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.same_files import assert_same_files
from tests.support.servers import free_port

LOCAL = {
    "threads_per_worker": 1,
    "host": "127.0.0.1",
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, memory_limit="2GB", **LOCAL) as running:
        yield running


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client that is not the active one."""
    with Client(cluster, set_as_default=False) as connected:
        yield connected


def test_processes_give_the_same_bytes(simulated_query: se.Query, simulated_run: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    resources = Resources(scheduler="processes", workers=2)
    se.run(simulated_query, DAMPED, out=tmp_path / "out", resources=resources, progress=lambda *step: seen.append(step))
    assert_same_files(tmp_path / "out", simulated_run)
    assert {stage for stage, done, total in seen if done == total} == {"solving", "writing days"}


def test_a_cluster_gives_the_same_bytes(
    cluster: LocalCluster,
    simulated_query: se.Query,
    simulated_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = cluster.scheduler_address
    done = command("run", *options_of(simulated_query), *BY_DAMPED, "--out", tmp_path / "named", "--scheduler", address)
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "named", simulated_run)
    seen: list[tuple[str, int, int]] = []
    sizes: list[int] = []
    register = Client.register_plugin

    def weighed(self: Client, plugin: Any, name: str) -> Any:
        sizes.append(len(pickle.dumps(plugin)))
        return register(self, plugin, name)

    monkeypatch.setattr(Client, "register_plugin", weighed)
    with Client(cluster):
        se.run(simulated_query, DAMPED, out=tmp_path / "active", progress=lambda *step: seen.append(step))
    assert 0 < max(sizes) < 150_000, "what all tasks have in common, but no pixels"
    assert_same_files(tmp_path / "active", simulated_run)
    assert {stage for stage, done, total in seen if done == total} == {"solving", "writing days"}


def test_an_error_in_a_worker_arrives_as_it_is(client: Client) -> None:
    for resources in (Resources(scheduler="processes", workers=1), Resources(client=client), Resources()):
        with open_workers(resources) as crew, pytest.raises(InvalidInputError, match="no good: 3"):
            crew.map(refuse_three, range(6), "trying", quiet, most=2)


@pytest.mark.slow
def test_a_task_that_ends_its_workers_again_and_again_is_one_sentence(client: Client) -> None:
    with (
        open_workers(Resources(client=client)) as crew,
        pytest.raises(WorkerError, match="Workers died again and again while trying; what is finished is kept"),
    ):
        crew.map(die, range(1), "trying", quiet, most=2)


def test_a_run_goes_on_with_the_workers_that_are_there(client: Client, cluster: LocalCluster, tmp_path: Path) -> None:
    """Of three that are there at most, one joins and goes during the run, and twice one is killed."""

    def change(_stage: str, done: int, _total: int) -> None:
        if done in {4, 14}:
            cluster.scale(3 if done == 4 else 2)
            client.wait_for_workers(3 if done == 4 else 2, timeout=60)

    with open_workers(Resources(client=client)) as crew:
        found = crew.map(partial(die_at, {9, 16}, tmp_path), range(24), "trying", change, most=1)
    assert [n for n, _ in found] == list(range(24))
    assert len(list(tmp_path.iterdir())) == 2
    assert not client.run(lambda dask_worker: [name for name in dask_worker.plugins if "trying" in name])[
        next(iter(client.nthreads()))
    ]


def test_what_is_at_work_fits_each_worker_of_a_cluster(client: Client) -> None:
    for memory, expected in ((None, 1_500_000_000), ("2GB", 1_000_000_000), ("9GB", 1_500_000_000)):
        found = budget_of(Resources(client=client, memory=memory))
        assert (found.memory, found.workers, found.apart) == (expected, 1, 2)
    assert budget_of(Resources(scheduler="processes", workers=3, memory="2GB")) == Budget(2_000_000_000, 3, 4)


def test_keys_tell_stage_and_thing(client: Client) -> None:
    with open_workers(Resources(client=client)) as crew:
        found = crew.map(own_key, [(0, 1)], "solving", quiet, most=1)
    assert key_split(found[0]) == "solving"
    assert found[0].endswith("-0 (0, 1)")


OTHER = {
    "version": ("import spaceeye_stac; spaceeye_stac.__version__ = '0.0.1'", "has spaceeye_stac 0.0.1 for "),
    "without": (
        "import sys; sys.modules['spaceeye_stac'] = None",
        "cannot import what this program does .*spaceeye_stac",
    ),
}


@pytest.mark.parametrize(("code", "said"), OTHER.values(), ids=OTHER)
def test_a_worker_that_is_not_as_the_program_is_named(code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "before.py").write_text(code)
    with (
        LocalCluster(n_workers=1, preload=str(tmp_path / "before.py"), **LOCAL) as other,
        Client(other, set_as_default=False) as client,
        pytest.raises(InvalidInputError, match=said) as caught,
        open_workers(Resources(client=client)),
    ):
        pass
    assert str(caught.value).startswith("Worker tcp://127.0.0.1:")
    assert "\n" not in str(caught.value)


def test_a_worker_of_another_version_that_joins_later_does_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_workers(Resources(client=client)) as crew:
        monkeypatch.setattr(cluster_module, "versions", lambda: {"numpy": "1.0"})
        with pytest.raises(InvalidInputError, match=r"^Worker tcp://.* has numpy .* for 1.0 of this program; install"):
            crew.map(refuse_three, [1], "trying", quiet, most=1)


def test_tasks_that_are_cancelled_and_a_cluster_that_goes_away_are_one_sentence(
    cluster: LocalCluster,
) -> None:
    with (
        open_workers(Resources(scheduler=cluster.scheduler_address)) as crew,
        Client(cluster, set_as_default=False) as other,
        pytest.raises(WorkerError, match="The tasks were cancelled on the cluster while trying; what is finished"),
    ):
        crew.map(nap, range(9), "trying", partial(cancel_all, other), most=1)
    with LocalCluster(n_workers=1, **LOCAL) as short:

        def close(_stage: str, done: int, _total: int) -> None:
            if done == 1:
                short.close()

        with (
            open_workers(Resources(scheduler=short.scheduler_address)) as crew,
            pytest.raises(WorkerError, match="The scheduler went away while trying; what is finished is kept"),
        ):
            crew.map(nap, range(9), "trying", close, most=1)


def test_an_unreachable_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
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


def die_at(numbers: set[int], folder: Path, one: int) -> tuple[int, int]:
    """Die at some numbers, the first time that they come; else give the number and the process."""
    if one in numbers and not (folder / str(one)).exists():
        (folder / str(one)).touch()
        die(one)
    nap(one)
    return one, os.getpid()


def nap(_one: int) -> None:
    time.sleep(0.2)


def own_key(_one: object) -> str:
    return str(get_worker().get_current_task())


def cancel_all(client: Client, _stage: str, done: int, _total: int) -> None:
    """Cancel the tasks of another client, as somebody does at the dashboard."""
    if done == 1:
        client.run_on_scheduler(_cancelled)


def _cancelled(dask_scheduler: Any) -> None:
    for name in list(dask_scheduler.clients):
        keys = [task.key for task in dask_scheduler.clients[name].wants_what]
        dask_scheduler.stimulus_cancel(keys, name, force=True, reason="cancelled by hand", msg="")


def quiet(_stage: str, _done: int, _total: int) -> None:
    pass


def test_workers_see_what_was_set_after_an_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the credentials of a store, although all are forked from one process."""
    seen = []
    for value in ("earlier", "later"):
        monkeypatch.setenv("SPACEEYE_TEST_SETTING", value)
        with cluster_module.local_workers(1, tmp_path / value) as workers:
            seen += workers.map(partial(os.environ.get), ["SPACEEYE_TEST_SETTING"], "look", silent, most=1)
    assert seen == ["earlier", "later"]
