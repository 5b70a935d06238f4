"""A whole run of several cells from the cloud-store bench: what crosses the network, and how long the network is idle.

See `test_cloud_store` for where the bench's data are.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.measured import measured
from tests.benchmarks.test_cloud_store import Bench, bench
from tests.benchmarks.test_run_speed import PROGRAMS

__all__ = ["bench"]  # a fixture
OVER_READ, IDLE = 1.15, 0.1
FOUR = "B02,B03,B04,B08"


def spans(log: list[dict[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """First byte, and that after the last, of each part that was sent, by file."""
    found = defaultdict(list)
    for one in log:
        first = int(re.match(r"bytes=(\d+)-", one["r"])[1])  # type: ignore[index]
        found[one["p"]].append((first, first + one["b"]))
    return found


def length(parts: list[tuple[int, int]]) -> int:
    """Bytes that lie in one of the parts at least."""
    total, end = 0, 0
    for first, stop in sorted(parts):
        total += max(0, stop - max(first, end))
        end = max(end, stop)
    return total


def busy_seconds(log: list[dict[str, Any]]) -> float:
    """How long at least one answer was on its way."""
    marks = sorted([(one["t"], 1) for one in log] + [(one["e"], -1) for one in log])
    busy, at_once, last = 0.0, 0, marks[0][0]
    for time, step in marks:
        busy += time - last if at_once else 0
        at_once, last = at_once + step, time
    return busy


@pytest.mark.benchmark
@pytest.mark.parametrize("method", ["damped", "surface"])
def test_each_byte_of_a_county_crosses_the_network_once(method: str, bench: Bench, tmp_path: Path) -> None:
    box = json.loads((bench.folder / "rois.json").read_text())["county"]
    line = [sys.executable, "-m", "spaceeye_stac.cli", "run", "--catalog", str(bench.folder / "pc.json")]
    line += [f"--bbox={','.join(map(str, box))}", "--datetime", "2023-04-26/2023-06-12", "--bands", FOUR]
    line += ["--method", method, "--allow-hrefs", "http://127.0.0.1", "--out", str(tmp_path / "out"), "--quiet"]
    bench.ask("/_log?clear=1")
    subprocess.run(line, env=bench.environment, check=True)
    answers = [json.loads(one) for one in bench.ask("/_log?clear=1").splitlines()]
    log = [one for one in answers if one["m"] == "GET" and one.get("b")]
    parts = spans(log)
    sent, needed = sum(one["b"] for one in log), sum(map(length, parts.values()))
    reading = max(one["e"] for one in log) - min(one["t"] for one in log)
    idle = 1 - busy_seconds(log) / reading
    print(f"\n{method}: {sent / 1e6:.0f} MB sent, {sent / needed:.2f} x the needed, {len(log)} requests")
    print(f"  read within {reading:.1f} s, of which the network was idle for {idle:.0%}")
    assert sent <= OVER_READ * needed
    assert idle <= IDLE


@pytest.mark.benchmark
@pytest.mark.parametrize("memory", ["1GB", "2GB"])
def test_memory_stays_under_the_budget_with_many_connections(memory: str, bench: Bench, tmp_path: Path) -> None:
    query = {
        "catalog": str(bench.folder / "pc.json"),
        "bbox": json.loads((bench.folder / "rois.json").read_text())["county"],
        "datetime": "2023-04-26/2023-05-12",
        "bands": FOUR.split(","),
        "allow_hrefs": ["http://127.0.0.1"],
    }
    resources = {"workers": 2, "memory": memory, "connections": 64}
    one = measured(PROGRAMS, program="ours", query=query, settings={}, resources=resources, out=str(tmp_path / "out"))
    print(f"\n64 connections, memory {memory}: {one.memory / 1e9:.2f} GB, {one.seconds:.0f} s")
    assert one.memory <= float(memory.removesuffix("GB")) * 1e9
