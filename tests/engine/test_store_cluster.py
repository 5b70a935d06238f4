"""Runs into a store by workers that share nothing else with each other or with the program that asks for the run."""

import json
import os
import random
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.engine.test_store_runs import RUN, assert_same_run
from tests.support.apart_workers import ApartWorkers, apart_workers
from tests.support.bucket import Bucket, point_to
from tests.support.damped import DAMPED
from tests.support.loopback import serving
from tests.support.material import ROOT
from tests.support.small_catalog import small_items, small_query, written

CLIENT = """
import json, sys
import spaceeye_stac as se
from spaceeye_stac.publishing import store_lock
from tests.support.damped import DAMPED
store_lock.BEAT_SECONDS, store_lock.DEAD_SECONDS = 0.2, 2
asked = json.loads(sys.argv[1])
resources, output = se.Resources(scheduler=asked["scheduler"]), se.Output(days=asked["days"])
se.run(se.Query(**asked["query"]), DAMPED, out=asked["out"], output=output, resources=resources)
"""
LONGEST = 300


@dataclass(frozen=True)
class Asked:
    """A run that is asked for by a program of its own, with a folder that no worker can open."""

    query: se.Query
    workers: ApartWorkers
    folder: Path
    days: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start the program."""
        query = {name: getattr(self.query, name) for name in ("bbox", "datetime", "bands")}
        query |= {"catalog": str(self.query.catalog)}
        asked = {"query": query, "scheduler": self.workers.address, "out": RUN, "days": self.days}
        environment = {**os.environ, "TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, "-W", "ignore", "-c", CLIENT, json.dumps(asked)], env=environment)


def disturbed(asked: Asked, kills: int, client_kills: int, chance: random.Random) -> int:
    """Run to the end, and kill so many workers and clients on the way; gives how many workers were killed."""
    done = 0
    for number in range(client_kills + 1):
        client, ended = asked.start(), threading.Event()
        until = kills * (number + 1) // (client_kills + 1)
        while done < until and client.poll() is None:
            ended.wait(chance.uniform(0.5, 2.5))
            done += asked.workers.kill_one(chance)
        if number < client_kills:
            client.kill()
        assert client.wait(LONGEST) in {0, -9}
    assert client.returncode == 0
    return done


@pytest.mark.parametrize(
    ("count", "kills", "client_kills", "days"),
    [
        pytest.param(2, 2, 1, "files"),
        pytest.param(4, 20, 5, "files", marks=pytest.mark.slow),
        pytest.param(4, 20, 5, "virtual", marks=pytest.mark.slow),
    ],
)
def test_whoever_is_killed_the_run_is_that_of_a_folder(
    count: int, kills: int, client_kills: int, days: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = small_query(written(small_items(tmp_path / "scenes"), tmp_path / "scenes"))
    own = tmp_path / "client"
    own.mkdir()
    with serving(Bucket()) as bucket:
        point_to(bucket, monkeypatch)
        with apart_workers(count, own) as workers:
            found = disturbed(Asked(query, workers, own, days), kills, client_kills, random.Random(kills))  # noqa: S311 - no secret
            assert found >= kills // 2, "the run ended too soon to be disturbed"
            assert [*workers.left(), *own.iterdir()] == []
        se.run(query, DAMPED, out=tmp_path / "local", output=se.Output(days=days))
        if days == "virtual":  # its report has thumbnails there
            bucket.files["some/run/report.html"] = (tmp_path / "local/report.html").read_bytes()
        assert_same_run(bucket, tmp_path / "there", tmp_path / "local")
