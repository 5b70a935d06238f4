"""What the plan says against what the run then takes, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spaceeye_stac.simulate import Simulation

CHILD = """
import json, resource, sys, time
import spaceeye_stac as se

if __name__ == "__main__":
    catalog, box, days, method, out = sys.argv[1:]
    query = se.Query(catalog=catalog, bbox=json.loads(box), datetime=days)
    settings = se.Settings(method=method)
    plans, start = [], []
    def announce(plan):
        plans.append(plan)
        start.append(time.perf_counter())
    se.run(query, settings, out=out, announce=announce)
    took = time.perf_counter() - start[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"plan": plans[0].as_json()["cost"], "seconds": took, "memory": peak}))
"""


@pytest.mark.benchmark
@pytest.mark.parametrize("method", ["damped", "guided"])
@pytest.mark.parametrize("side", [512, 1024])
def test_plan_and_run(side: int, method: str, tmp_path: Path) -> None:
    simulation = Simulation(shape=(side, side))
    catalog, out = simulation.write(tmp_path / "catalog"), tmp_path / "out"
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0008).boundingbox.bbox
    line = [str(catalog), json.dumps(box), "2023-05-01/2023-06-17", method, str(out)]
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    done = subprocess.run([sys.executable, str(script), *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    plan, disk = found["plan"], sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"\n{side} x {side}, {method}: predicted / taken")
    for name, took, unit in (("disk", disk, 1e6), ("memory", found["memory"], 1e6), ("seconds", found["seconds"], 1)):
        print(f"{name:8} {plan[name] / unit:8.0f} / {took / unit:8.0f} = {plan[name] / took:.2f}")
    assert plan["disk"] == pytest.approx(disk, rel=0.3)
    assert plan["memory"] == pytest.approx(found["memory"], rel=0.25)
