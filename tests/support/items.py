"""Items on the disk and made up, and the scenes they become."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spaceeye_stac.model import BandAsset, Mask, Scene

Json = dict[str, Any]
NOON = datetime(2020, 3, 5, 12, 0, tzinfo=UTC)
ASSET = BandAsset("x.tif", 1e-4, 0.0, 0, 10.0)
DIALECTS = {
    "earth-search": ("red", "rededge1", "scl"),
    "planetary-computer": ("B04", "B05", "SCL"),
    "cdse": ("B04_10m", "B05_20m", "SCL_20m"),
    "generic": ("nir_10m", "rededge", "scl_20m"),
}


def read_item(path: Path) -> Json:
    found: Json = json.loads(path.read_text())
    return found


def edit(path: Path, change: Callable[[Json], None]) -> None:
    """Change an item on the disk."""
    item = read_item(path)
    change(item)
    path.write_text(json.dumps(item))


def items_of(catalog: Path) -> dict[str, Path]:
    """Path of every item's file, by id."""
    found = sorted((catalog.parent / "sentinel-2-l2a").glob("*/*.json"))
    return {path.stem: path for path in found}


def absolute(path: Path) -> Json:
    """An item without links whose assets are named by where they lie."""
    found = read_item(path)
    for asset in found["assets"].values():
        asset["href"] = str((path.parent / asset["href"]).resolve())
    return {**found, "links": []}


def absolute_items(catalog: Path) -> list[Json]:
    return [absolute(path) for path in items_of(catalog).values()]


def asset_of(key: str, gsd: int, *, old: bool) -> Json:
    """An asset as STAC 1.0 writes it, or as 1.1 does."""
    raster = {"nodata": 0, "scale": 0.0001, "offset": -0.1}
    bands = {"eo:bands": [{"name": key, "common_name": key}], "raster:bands": [raster]}
    new = {"nodata": 0, "raster:scale": 0.0001, "raster:offset": -0.1, "bands": [{"name": key, "eo:common_name": key}]}
    place = {"href": f"https://example.com/{key}.tif", "proj:transform": [gsd, 0, 600000, 0, -gsd, 1800000]}
    return {**place, "roles": ["data"], **(bands if old else new)}


def base_item(dialect: str = "earth-search", *, old: bool = True) -> Json:
    """The least that an item of a catalog of that kind says."""
    properties = {
        "datetime": "2020-07-28T12:27:15Z",
        **({"proj:epsg": 32626} if old else {"proj:code": "EPSG:32626"}),
        "grid:code": "MGRS-26PPC",
        "s2:processing_baseline": "05.00",
        "sat:relative_orbit": 109,
        "platform": "sentinel-2b",
        "earthsearch:boa_offset_applied": False,
    }
    return {
        "id": "S2B_26PPC_20200728_0_L2A",
        "collection": "mine" if dialect == "generic" else "sentinel-2-l2a",
        "bbox": [-26.0, 15.0, -25.0, 16.0],
        "properties": properties,
        "assets": {key: asset_of(key, 20, old=old) for key in DIALECTS[dialect]},
        "links": [{"rel": "self", "href": "https://example.com/item.json"}],
    }


def scene(name: str, when: datetime = NOON, tile: str | None = "31UDS", **fields: Any) -> Scene:
    """A scene of one band, without a mask."""
    usual: Json = {"epsg": 32631, "baseline": None, "relative_orbit": None, "platform": None, "labels": None}
    own = {"bands": {"B02": ASSET}, "item": {"id": name, "properties": {}}}
    return Scene(id=name, tile=tile, day=when.date(), datetime=when, **{**usual, **own, **fields})


def labels_of(scene: Scene) -> Mask:
    """The mask of a scene that has one."""
    assert scene.labels is not None, scene.id
    return scene.labels
