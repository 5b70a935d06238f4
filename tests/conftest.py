"""Fixtures shared by all tests: reference material, real runs, and a guard that lets only loopback through."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.model import Mask
from spaceeye_stac.simulate import Simulation

SHARED = Path(__file__).resolve().parents[2] / "shared"
BE_BBOX = (3.0194, 50.8132, 3.0283, 50.8187)
BE_DAYS = "2018-04-11/2018-08-08"


class NetworkBlockedError(RuntimeError):
    """A test tried to leave this machine."""


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise NetworkBlockedError(f"connection to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def material(name: str) -> Path:
    """A folder or file of the reference material; skips where a user's clone has none, fails in CI."""
    path = SHARED / name
    if not path.exists():
        reason = f"reference material {name!r} is not here"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def labels_of(scene: se.Scene) -> Mask:
    """The mask of a scene that has one."""
    assert scene.labels is not None, scene.id
    return scene.labels


@pytest.fixture(scope="session")
def belgium() -> Path:
    return material("data/be-31uds/catalog.json")


@pytest.fixture(scope="session")
def tanzania() -> Path:
    return material("data/tz-37mbs/catalog.json")


@pytest.fixture(scope="session")
def golden() -> Path:
    return material("golden")


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return Simulation(shape=(96, 128), days=24, revisit=3, seed=3)


@pytest.fixture(scope="session")
def simulated(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small simulated catalog."""
    return simulation.write(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="session")
def simulated_query(simulation: Simulation, simulated: Path) -> se.Query:
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    return se.Query(catalog=simulated, bbox=box.bbox, datetime="2023-04-01/2023-04-24", bands=["B02", "B04", "B11"])


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user does."""
    line = [sys.executable, "-m", "spaceeye_stac.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, **options)


@pytest.fixture(scope="session")
def belgium_run(belgium: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real 120-day run by the command line."""
    out = tmp_path_factory.mktemp("belgium") / "out"
    bbox = ",".join(map(str, BE_BBOX))
    done = command("run", "--catalog", belgium, "--bbox", bbox, "--datetime", BE_DAYS, "--out", out)
    assert done.returncode == 0, done.stderr
    return out
