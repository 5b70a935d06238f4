"""What the surface as seen gives back of hidden looks, over all dates of the reference stacks: minutes of work."""

from typing import Any

import numpy as np
import pytest

import spaceeye_stac as se
from spaceeye_stac.evaluation.candidates import candidates
from spaceeye_stac.evaluation.holdout import score
from tests.evaluation.test_evaluation import SITES
from tests.support.material import material

AS_SEEN = se.Settings(appearance="as_seen", duration=48)
# PSNR under cloud shapes and beside cloud, and dB over damped on whole dates
LEAST = {"belgium": (35.7, 25.6, 1.5), "tanzania": (36.4, 27.3, 1.5)}


def printed(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}")
    for kind in ("cloud", "date", "edge"):
        rows = {method: row["psnr"] for method, row in found[kind].items()}
        print(kind, rows, found["coverage"].get("surface", {}).get(kind))


@pytest.mark.benchmark
@pytest.mark.parametrize("site", SITES)
def test_as_seen_on_the_reference_stacks(site: str) -> None:
    name, bbox, days = SITES[site]
    query = se.Query(catalog=material(name), bbox=bbox, datetime=days)
    scenes = se.search(query, se.Settings(duration="all"))
    found = se.evaluate(scenes, query, AS_SEEN, methods=["linear", "damped", "surface"]).as_json()
    printed(site, found)
    cloud, edge, gain = LEAST[site]
    assert found["cloud"]["surface"]["psnr"] >= cloud
    assert found["edge"]["surface"]["psnr"] >= edge
    assert found["date"]["surface"]["paired"]["damped"]["psnr_difference"] >= gain
    for kind in ("cloud", "date", "edge"):
        covered = found["coverage"]["surface"][kind]
        assert 0.63 <= covered["68"] <= 0.75, kind
        assert 0.86 <= covered["90"] <= 0.94, kind


@pytest.mark.benchmark
@pytest.mark.parametrize("site", ["meadow", "field"])
def test_whole_dates_of_land_that_changes_fast(site: str) -> None:
    stack = np.load(material(f"data/sites/{site}.npz"))
    days = tuple(int(day) for day in stack["days"])
    bands = tuple(str(band) for band in stack["bands"])
    tried = candidates(["linear", "damped", "surface"], AS_SEEN, bands)
    methods = {name: one.reconstructor() for name, one in tried.items()}
    found = score(stack["values"], stack["clear"], days, methods, bands=bands, duration=48).as_json()
    printed(site, found)
    rows = found["date"]
    assert rows["surface"]["psnr"] >= max(rows["linear"]["psnr"], rows["damped"]["psnr"]) - 0.1
