"""Loads from the cloud-store bench against its physical limit and against peers, each in a process of its own.

CLOUD_STORE names the folder of the bench's data, where it is made already (1.1 GB); else it is made here. PEERS_PYTHON
is a Python that has odc-stac, where this one has not.
"""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.material import ROOT, material

LATENCY, CONNECT, TOTAL = 0.05, 0.05, 100e6
ROUNDS = 3
CONNECTIONS = 32
COARSE = [(region, metres) for region in ("farm", "county") for metres in (60, 100)]
MOST_BYTES = 1.3  # of what odc-stac reads
CASES = [
    ("pc", "field", "4"),
    ("pc", "field", "10"),
    ("pc", "farm", "4"),
    ("es", "field", "4"),
    ("es", "farm", "4"),
    ("pc", "county", "4"),
]


@dataclass(frozen=True)
class Bench:
    """The store at work, the folder of its programs and that of its data."""

    port: int
    programs: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CLOUD_STORE": str(self.folder), "PYTHONPATH": str(ROOT)}

    def ask(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return str(answer.read().decode())

    def load(self, line: list[str]) -> tuple[float, int, float]:
        """Seconds and checksum of a program that loads, and MB that the store sent."""
        self.ask("/_log?clear=1")
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, check=True)
        seconds, checksum = re.search(r"LOAD ([\d.]+)", done.stdout), re.search(r"checksum (\d+)", done.stdout)
        assert seconds is not None, done.stdout
        assert checksum is not None, done.stdout
        sent = sum(json.loads(one).get("b") or 0 for one in self.ask("/_log?clear=1").splitlines())
        return float(seconds[1]), int(checksum[1]), sent / 1e6


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    programs = material("cloud-store")
    given = os.environ.get("CLOUD_STORE")
    folder = Path(given) if given else tmp_path_factory.mktemp("cloud-store")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bench = Bench(port, programs, folder)
    if not (folder / "data").is_dir():
        subprocess.run([sys.executable, programs / "mkdata.py"], env=bench.environment, check=True)
    subprocess.run([sys.executable, programs / "mkitems.py", str(port)], env=bench.environment, check=True)
    line = [sys.executable, str(programs / "server.py"), str(port)]
    server = subprocess.Popen(line, env=bench.environment, stderr=subprocess.DEVNULL)  # what it says of lost clients
    try:
        for _ in range(100):
            try:
                bench.ask(f"/_set?latency={LATENCY}&conn={CONNECT}&total={TOTAL}")
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield bench
    finally:
        server.terminate()
        server.wait()


@pytest.mark.benchmark
@pytest.mark.parametrize(("style", "region", "bands"), CASES)
def test_loads_from_a_cloud_store(bench: Bench, style: str, region: str, bands: str) -> None:
    given = {"folder": str(bench.folder), "style": style, "region": region, "bands": bands}
    ours = {
        loader: json.dumps(given | {"connections": str(CONNECTIONS), "loader": loader})
        for loader in ("auto", "stackstac")
    }
    lines = {name: [sys.executable, "-m", "tests.benchmarks.cloud_load", text] for name, text in ours.items()}
    peers = ["rasterio"] + (["odc"] if importlib.util.find_spec("odc.stac") else [])
    for peer in peers:
        program = str(bench.programs / "peers_load.py")
        lines[peer] = [sys.executable, program, peer, style, region, bands, str(CONNECTIONS)]
    found = {name: [bench.load(line) for _ in range(ROUNDS)] for name, line in lines.items()}
    best = {name: min(seconds for seconds, _, _ in runs) for name, runs in found.items()}
    limit = CONNECT + 2 * LATENCY + found["auto"][0][2] * 1e6 / TOTAL
    print(f"\n{style} {region}, {bands} bands: limit {limit:.2f} s")
    for name, seconds in best.items():
        print(f"  {name:10} {seconds:6.2f} s = {seconds / limit:.2f} x the limit, {found[name][0][2]:.1f} MB")
    assert len({checksum for _, checksum, _ in found["auto"] + found["stackstac"] + found.get("odc", [])}) == 1
    assert best["auto"] <= 1.05 * min(best.values())


@pytest.mark.benchmark
@pytest.mark.parametrize(("region", "metres"), COARSE)
def test_bytes_of_coarse_grids(bench: Bench, region: str, metres: int) -> None:
    given = {"folder": str(bench.folder), "style": "pc", "region": region, "bands": "4", "loader": "auto"}
    given |= {"resolution": str(metres), "connections": str(CONNECTIONS)}
    found = {}
    for how in ("average", "overviews"):
        line = [sys.executable, "-m", "tests.benchmarks.cloud_load", json.dumps(given | {"coarser": how})]
        found[how] = bench.load(line)
    peers = os.environ.get("PEERS_PYTHON") or (sys.executable if importlib.util.find_spec("odc.stac") else None)
    if peers is not None:
        found["odc"] = bench.load([peers, "-m", "tests.benchmarks.odc_load", json.dumps(given)])
    for name, (seconds, _, sent) in found.items():
        print(f"\n{region} at {metres} m, {name}: {sent:.1f} MB, {seconds:.1f} s", end="")
    assert found["overviews"][2] < 0.4 * found["average"][2]
    if "odc" in found:
        assert found["overviews"][2] <= MOST_BYTES * found["odc"][2]
