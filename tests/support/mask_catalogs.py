"""Catalogs whose masks are of other kinds, made from the classes of a simulated one."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from tests.support.items import Json, edit, items_of, read_item

CLEAR = (4, 5, 6, 7)
Labels = NDArray[np.uint8]


def probability(labels: Labels) -> Labels:
    """Cloud probability in percent that gives the same clear pixels at 40: 0 and 40 clear, 41 and 100 not."""
    steps = np.indices(labels.shape).sum(axis=0) % 2
    clear, cloudy = np.where(steps, 40, 0), np.where(steps, 100, 41)
    return np.where(labels == 0, 255, np.where(np.isin(labels, CLEAR), clear, cloudy)).astype(np.uint8)


def boolean(labels: Labels) -> Labels:
    """1 where cloudy, 0 where clear."""
    return (~np.isin(labels, CLEAR)).astype(np.uint8)


def write_like(path: Path, source: Path, make: Callable[[Labels], NDArray[Any]], nodata: int | None) -> None:
    """Write what `make` makes of another raster's pixels."""
    with rasterio.open(source) as raster:
        profile, image = {**raster.profile, "driver": "GTiff", "nodata": nodata}, make(raster.read(1))
    with rasterio.open(path, "w", **{**profile, "dtype": image.dtype}) as target:
        target.write(image, 1)


def with_asset(
    catalog: Path, folder: Path, key: str, make: Callable[[Labels], NDArray[Any]], nodata: int | None = None
) -> Path:
    """Copy a catalog and give every item another mask under that key."""
    shutil.copytree(catalog.parent, folder)
    for path in items_of(folder / catalog.name).values():
        write_like(path.with_name(f"{key}.tif"), path.with_name("SCL.tif"), make, nodata)

        def add(item: Json) -> None:
            item["assets"][key] = {**item["assets"]["SCL"], "href": f"./{key}.tif"}

        edit(path, add)
    return folder / catalog.name


def without_mask(catalog: Path, folder: Path, visits: Sequence[int]) -> tuple[Path, list[str]]:
    """Copy a catalog in which the scenes of these visits have no mask; gives their ids too."""
    shutil.copytree(catalog.parent, folder)
    paths = items_of(folder / catalog.name)
    names = [sorted(paths)[visit] for visit in visits]
    for name in names:
        edit(paths[name], lambda item: item["assets"].pop("SCL"))
    return folder / catalog.name, names


def with_collection(
    catalog: Path, folder: Path, *, late: timedelta = timedelta(minutes=3), leave_out: Mapping[str, str] | None = None
) -> Path:
    """Copy a catalog without its SCL and add a collection "cloud-masks" in another order, sensed a little later.

    Ids of the masks say nothing but a number; `leave_out` names scenes whose mask is not written.
    """
    shutil.copytree(catalog.parent, folder)
    place = folder / "cloud-masks"
    place.mkdir()
    links = [{"rel": "parent", "href": "../catalog.json"}]
    for number, (name, path) in enumerate(reversed(items_of(folder / catalog.name).items())):
        own = place / f"mask-{number}.tif"
        if name not in (leave_out or {}):
            write_like(own, path.with_name("SCL.tif"), boolean, None)
            links.append({"rel": "item", "href": f"./mask-{number}.json"})
            (place / f"mask-{number}.json").write_text(json.dumps(_mask_item(read_item(path), own, late)))
        edit(path, lambda item: item["assets"].pop("SCL"))
        path.with_name("SCL.tif").unlink()
    collection = json.loads((folder / "sentinel-2-l2a" / "collection.json").read_text())
    (place / "collection.json").write_text(json.dumps({**collection, "id": "cloud-masks", "links": links}))
    root = json.loads((folder / catalog.name).read_text())
    root["links"].insert(0, {"rel": "child", "href": "./cloud-masks/collection.json"})
    (folder / catalog.name).write_text(json.dumps(root))
    return folder / catalog.name


def _mask_item(scene: Json, raster: Path, late: timedelta) -> Json:
    when = datetime.fromisoformat(scene["properties"]["datetime"]) + late
    properties = {"datetime": when.isoformat(), "grid:code": f"MGRS-{scene['properties']['s2:mgrs_tile']}"}
    return {
        **scene,
        "id": raster.stem,
        "collection": "cloud-masks",
        "properties": {**properties, "proj:code": scene["properties"]["proj:code"]},
        "assets": {"mask": {"href": f"./{raster.name}", "type": "image/tiff; application=geotiff", "roles": ["data"]}},
        "links": [{"rel": "collection", "href": "./collection.json", "type": "application/json"}],
    }
