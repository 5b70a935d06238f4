"""What the plan says against what the run then takes, in a process of its own."""

from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.benchmarks.catalogs import catalog
from tests.benchmarks.test_run_speed import ours


@pytest.mark.benchmark
@pytest.mark.parametrize("method", ["damped", "surface"])
@pytest.mark.parametrize("side", [512, 1024])
def test_plan_and_run(side: int, method: str, tmp_path: Path) -> None:
    query, out = catalog((side, side), tmp_path / "catalog"), tmp_path / "out"
    plan = se.plan(query, se.Settings(method=method), resources=se.Resources(workers=2)).cost
    run = ours(query, out, {"method": method})
    disk = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"\n{side} x {side}, {method}: predicted / taken")
    for name, said, took, unit in (
        ("disk MB", plan.disk, disk, 1e6),
        ("memory MB", plan.memory, run.memory, 1e6),
        ("seconds", plan.seconds or 0, run.seconds, 1),
    ):
        print(f"{name:10} {said / unit:8.0f} / {took / unit:8.0f} = {said / took:.2f}")
    assert plan.disk == pytest.approx(disk, rel=0.3)
    assert plan.memory == pytest.approx(run.memory, rel=0.25)
