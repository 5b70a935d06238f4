"""Fixtures shared by all tests: reference material, real runs, and a guard that lets only loopback through."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

import spaceeye_stac as se
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import as_bbox, command
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.material import BE_BBOX, BE_DAYS, material


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
    look_up, near = socket.getaddrinfo, {"localhost", "ip6-localhost", socket.gethostname()}

    def guarded_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        """Names of this machine and numbers alone: a name server is somewhere else."""
        asked = dict(zip(("port", "family", "type", "proto", "flags"), arguments, strict=False)) | options
        flags = asked.pop("flags", 0) | (0 if host in near else socket.AI_NUMERICHOST)
        return look_up(host, **asked, flags=flags)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Tests kill programs, never the machine: what the system holds for the disk is read as if it were there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _handle: None)
        yield


class FilesTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps the tests of a file in one process, and all that start servers in another: they share what is made once."""

    def _split_scope(self, nodeid: str) -> str:
        return "servers" if nodeid.startswith("tests/e2e/") else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    return FilesTogether(config, log)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which all programs of a test make their temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


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


@pytest.fixture(scope="session")
def simulated_run(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a damped run of the simulated days that nothing disturbs; not to be changed."""
    out = tmp_path_factory.mktemp("simulated_run") / "out"
    se.run(simulated_query, DAMPED, out=out)
    return out


@pytest.fixture(scope="session")
def belgium_run(belgium: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real 120-day damped run by the command line."""
    out = tmp_path_factory.mktemp("belgium") / "out"
    line = ("run", "--catalog", belgium, "--bbox", as_bbox(BE_BBOX), "--datetime", BE_DAYS, *BY_DAMPED)
    done = command(*line, "--out", out)
    assert done.returncode == 0, done.stderr
    return out
