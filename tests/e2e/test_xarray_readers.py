"""A run that is opened as a dataset, as rioxarray reads its place."""

import json
from pathlib import Path

import rasterio

import spaceeye_stac as se
from tests.e2e.platform_environment import on_platform
from tests.support.damped import DAMPED
from tests.support.small_catalog import small_items, small_query, written

READ = """
import json, sys
import rioxarray
import spaceeye_stac as se
for place in sys.argv[1:]:
    for name, variable in se.open(place).data_vars.items():
        print(json.dumps([variable.rio.crs.to_epsg(), list(variable.rio.transform())[:6], list(variable.rio.bounds())]))
"""


def test_rioxarray_finds_the_place_of_every_variable(tmp_path: Path) -> None:
    query = small_query(written(small_items(tmp_path / "source"), tmp_path / "source"))
    se.run(query, DAMPED, out=tmp_path / "out", output=se.Output(keep_keyframes=True))
    done = on_platform("python", "-W", "ignore", "-c", READ, tmp_path / "out", tmp_path / "out" / "keyframes")
    assert done.returncode == 0, done.stderr
    with rasterio.open(next((tmp_path / "out").glob("spaceeye_*/B02.tif"))) as file:
        expected = [file.crs.to_epsg(), list(file.transform)[:6], list(file.bounds)]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [expected] * len(found)
    assert len(found) == 4 + 5  # the store also knows the uncertainty of each band
