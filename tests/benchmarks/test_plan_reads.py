"""What the plan says is read from the cloud-store bench, against the bytes that the store then sends to a run.

CLOUD_STORE names the folder of the bench's data, where it is made already (1.1 GB); else it is made here.
"""

import json
import sys
import time
from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.benchmarks import test_cloud_store
from tests.benchmarks.test_cloud_store import Bench

bench = test_cloud_store.bench  # the fixture
BANDS = ["B02", "B03", "B04", "B08"]
ONE_CELL = {"field": "surface", "farm": "damped"}  # by a method of which a cell is as large
PLAN_SECONDS = 3  # beside what its own measuring of this machine takes


def asked(bench: Bench, style: str, region: str) -> se.Query:
    boxes = json.loads((bench.folder / "rois.json").read_text())
    return se.Query(
        catalog=bench.folder / f"{style}.json",
        bbox=boxes[region],
        datetime="2023-04-26/2023-06-12",
        bands=BANDS,
        allow_hrefs=["http://127.0.0.1"],
    )


def sent(bench: Bench) -> int:
    """Bytes that the store has sent since this was last called."""
    return sum(json.loads(line).get("b") or 0 for line in bench.ask("/_log?clear=1").splitlines())


@pytest.mark.benchmark
@pytest.mark.parametrize("style", ["pc", "es"])
@pytest.mark.parametrize("region", ONE_CELL)
def test_the_bytes_of_a_run_are_planned(bench: Bench, style: str, region: str, tmp_path: Path) -> None:
    query, settings = asked(bench, style, region), se.Settings(method=ONE_CELL[region])
    sent(bench)
    start = time.perf_counter()
    plan = se.plan(query, settings)
    took, headers = time.perf_counter() - start, sent(bench)
    se.run(query, settings, out=tmp_path / "out")
    read = sent(bench)
    print(f"\n{style} {region}: planned {plan.cost.read / 1e6:.1f} MB, sent {read / 1e6:.1f} MB", end="")
    print(f" = {plan.cost.read / read:.2f}; the plan took {took:.1f} s and {headers / 1e6:.2f} MB of headers")
    assert plan.cost.read == pytest.approx(read, rel=0.25)
    assert headers < 1e6


@pytest.mark.benchmark
@pytest.mark.parametrize("style", ["pc", "es"])
def test_the_bytes_of_a_region_of_several_cells_are_those_of_its_tiles(bench: Bench, style: str) -> None:
    """Loaded whole, each tile is sent once."""
    plan = se.plan(asked(bench, style, "county"))
    line = json.dumps(
        {"folder": str(bench.folder), "style": style, "region": "county", "bands": "4", "connections": "32"}
        | {"loader": "auto"}
    )
    _, _, megabytes = bench.load([sys.executable, "-m", "tests.benchmarks.cloud_load", line])
    print(f"\n{style} county: planned {plan.cost.read / 1e6:.1f} MB, tiles {megabytes:.1f} MB", end="")
    print(f" = {plan.cost.read / 1e6 / megabytes:.2f}")
    assert plan.cost.read == pytest.approx(megabytes * 1e6, rel=0.25)
