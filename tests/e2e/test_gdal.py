"""A distribution's own GDAL, years older than rasterio's, opens published days by their items."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

DAYS = ("field_2018-05-08", "field_2018-05-09")


def gdalinfo(*arguments: str) -> dict[str, Any]:
    if shutil.which("gdalinfo") is None:
        pytest.skip("gdalinfo is not installed: .ci/e2e installs it")
    done = subprocess.run(["gdalinfo", "-json", "-stats", *arguments], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_item_collection_opens_as_a_mosaic_on_the_exact_grid(finished: Path, tmp_path: Path) -> None:
    features = []
    for day in DAYS:
        item = json.loads((finished / day / f"{day}.json").read_text())
        for asset in item["assets"].values():
            asset["href"] = str(finished / day / asset["href"])
        features.append(item)
    (tmp_path / "days.json").write_text(json.dumps({"type": "FeatureCollection", "features": features[:1]}))
    mosaic = gdalinfo(f'STACIT:"{tmp_path / "days.json"}":asset=B04')
    plain = gdalinfo(str(finished / DAYS[0] / "B04.tif"))
    assert mosaic["size"] == plain["size"]
    assert mosaic["geoTransform"] == plain["geoTransform"]
    for name in ("minimum", "maximum", "mean"):
        assert mosaic["bands"][0][name] == plain["bands"][0][name]
