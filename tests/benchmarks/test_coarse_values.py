"""How values read from overviews differ from means of full pixels, on real chips and on the images of the bench."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy

import spaceeye_stac as se
from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.overviews import OVERVIEWS
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources import search
from tests.support.material import BE_BBOX
from tests.support.rasters import asset, item, scene_of

BANDS = ("B04", "B08")
SIZES = (20, 40, 60, 80, 100)
CHIP = (501_360, 5_629_680, 640)
TILE = GeoBox.from_bbox((399_960, 5_590_200, 509_760, 5_700_000), "EPSG:32631", resolution=10, tight=True)
COUNTY = (432_960, 5_657_000, 20_000)  # left, top and side


def both(scenes: Sequence[Scene], place: tuple[int, int, int], metres: int) -> list[NDArray[np.float64]]:
    """DN `(scene, band, y, x)` of full pixels and of overviews."""
    left, top, side = place
    side -= side % metres
    box = GeoBox.from_bbox((left, top - side, left + side, top), "EPSG:32631", resolution=metres, tight=True)
    bare = [replace(scene, labels=None) for scene in scenes]
    found = (load(bare, box, resampling=dict.fromkeys(BANDS, how), sign=signed) for how in ("average", OVERVIEWS))
    return [one.values.astype(float) for one in found]


def ndvi(dn: NDArray[np.float64]) -> NDArray[np.float64]:
    red, infrared = dn[:, 0], dn[:, 1]
    return (infrared - red) / (infrared + red)


def told(name: str, scenes: Sequence[Scene], place: tuple[int, int, int]) -> None:
    """Print median, 99th percentile and maximum of the differences; the mean must not move."""
    for metres in SIZES:
        full, found = both(scenes, place, metres)
        valid = (full > 0).all(axis=1) & (found > 0).all(axis=1)
        assert valid.mean() > 0.5
        spread = np.abs(found - full).transpose(0, 2, 3, 1)[valid].ravel()
        index = np.abs(ndvi(found) - ndvi(full))[valid]
        ends = [[np.median(one), np.quantile(one, 0.99), one.max()] for one in (spread, index)]
        print(f"{name}, {metres} m: DN {ends[0][0]:.1f} / {ends[0][1]:.0f} / {ends[0][2]:.0f}", end=", ")
        print(f"NDVI {ends[1][0]:.4f} / {ends[1][1]:.3f} / {ends[1][2]:.3f}, {len(index)} pixels")
        assert abs((found - full).transpose(0, 2, 3, 1)[valid].mean()) < 0.02 * full[full > 0].mean()


@pytest.mark.benchmark
@pytest.mark.parametrize("how", ["CUBIC", "AVERAGE"])
def test_values_on_real_chips(how: str, belgium: Path, tmp_path: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime="2018-04-11/2018-08-08", bands=list(BANDS))
    scenes = []
    for n, scene in enumerate(search(query)):
        bands = {}
        for name, band in scene.bands.items():
            path = tmp_path / f"{n}-{name}.tif"
            copy(band.href, path, driver="COG", OVERVIEW_COUNT=3, OVERVIEW_RESAMPLING=how)
            bands[name] = replace(band, href=str(path))
        scenes.append(replace(scene, bands=bands))
    told(f"Belgium, {how.lower()}", scenes, CHIP)


@pytest.mark.benchmark
def test_values_on_full_tiles() -> None:
    folder = os.environ.get("CLOUD_STORE")
    if folder is None:
        pytest.skip("CLOUD_STORE names no folder with the images of the bench")
    files = {name: asset(Path(folder) / "data" / f"ten{n}-512.tif", TILE) for n, name in enumerate(BANDS)}
    told("bench", [scene_of(item(files | {"SCL": files["B04"]}, TILE))], COUNTY)
