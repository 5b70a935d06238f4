"""Masks that lie in a CRS of their own are seen, and by nearest neighbour."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import calculate_default_transform, reproject

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.pixels.first_pass import observe_part
from tests.support.items import Json
from tests.support.small_catalog import small_items, small_query, written

CLASSES = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}


def placed_in(path: Path, crs: str, size: float) -> Json:
    """Warp a raster of classes into another CRS, and say so as its asset would."""
    with rasterio.open(path) as source:
        image, profile = source.read(1), source.profile
        transform, width, height = calculate_default_transform(
            source.crs, crs, source.width, source.height, *source.bounds, resolution=size
        )
        there = np.zeros((height, width), image.dtype)
        reproject(
            image,
            there,
            src_transform=source.transform,
            src_crs=source.crs,
            dst_transform=transform,
            dst_crs=crs,
            resampling=Resampling.nearest,
        )
    own = path.with_name("SCL-there.tif")
    profile |= {"crs": crs, "transform": transform, "width": width, "height": height, "driver": "GTiff"}
    for key in ("blockxsize", "blockysize", "tiled"):
        profile.pop(key, None)
    with rasterio.open(own, "w", **profile) as target:
        target.write(there, 1)
    return {"href": str(own), "proj:code": crs, "proj:transform": list(transform)[:6], "proj:shape": [height, width]}


def clear_of(items: list[Json], folder: Path) -> np.ndarray[Any, Any]:
    query = small_query(written(items, folder))
    scenes = se.search(query)
    assert len(scenes) == 4, scenes.left_out
    job = grid_job(scenes, query, se.Settings())
    return np.asarray(observe_part(job, job.grid.geobox).clear)


@pytest.mark.parametrize(("crs", "size"), [("EPSG:32632", 5.0), ("EPSG:3035", 5.0), ("EPSG:3857", 5.0)])
@pytest.mark.parametrize("said", [True, False], ids=["with transform", "without"])
def test_a_mask_in_another_crs_says_the_same_of_the_same_ground(
    crs: str,
    size: float,
    said: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    items = small_items(tmp_path)
    usual = clear_of(items, tmp_path)
    for item in items:
        fields = placed_in(Path(item["assets"]["SCL"]["href"]), crs, size)
        if not said:
            del fields["proj:transform"], fields["proj:shape"]
            item["assets"]["SCL"].pop("proj:transform")
            item["assets"]["SCL"].pop("proj:shape")
        item["assets"]["SCL"] |= fields
    there = clear_of(items, tmp_path)
    assert usual.any()
    assert not usual.all()
    # four of five metres a pixel: nearest neighbour moves an edge by less than a pixel of the mask
    assert (there != usual).mean() < 0.05
    assert there.any(axis=(1, 2)).tolist() == usual.any(axis=(1, 2)).tolist()


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3035"])
@pytest.mark.parametrize("says", [True, False], ids=["with CRS", "without"])
def test_masks_of_a_collection_keep_their_crs(crs: str, says: bool, tmp_path: Path) -> None:  # noqa: FBT001
    items = small_items(tmp_path)
    usual = clear_of(items, tmp_path)
    masks = []
    for item in items:
        fields = placed_in(Path(item["assets"]["SCL"]["href"]), crs, 5.0)
        facts = {key: item["properties"][key] for key in ("datetime", "s2:mgrs_tile")}
        asset = {**fields, "type": "image/tiff; application=geotiff", "roles": ["data"]}
        if not says:
            del asset["proj:code"]
        masks.append(
            {**item, "id": f"mask-{item['id']}", "collection": "masks", "properties": facts, "assets": {"SCL": asset}}
        )
        del item["assets"]["SCL"]
    query = small_query(written([*items, *masks], tmp_path), mask="scl", mask_asset="SCL", mask_collection="masks")
    scenes = se.search(query)
    assert [s.labels is not None for s in scenes] == [True] * 4
    job = grid_job(scenes, query, se.Settings())
    assert (np.asarray(observe_part(job, job.grid.geobox).clear) != usual).mean() < 0.05


def test_labels_are_never_averaged(tmp_path: Path) -> None:
    from spaceeye_stac.pixels.scene_pixels import read_part  # noqa: PLC0415

    items = small_items(tmp_path)
    for item in items:
        item["assets"]["SCL"] |= placed_in(Path(item["assets"]["SCL"]["href"]), "EPSG:3035", 7.0)
    query = small_query(written(items, tmp_path))
    job = grid_job(se.search(query), query, se.Settings(resampling="cubic"))
    labels = np.stack(read_part(job, job.grid.geobox).labels)
    assert set(np.unique(labels).tolist()) <= CLASSES
