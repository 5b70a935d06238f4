"""What readers make of a run's items: the same pixels on the same grid, by the names that they know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import stackstac
from jsonschema import Draft7Validator
from numpy.typing import NDArray
from referencing import Registry
from referencing.jsonschema import DRAFT7
from shapely.geometry import LinearRing, shape

import spaceeye_stac as se
from spaceeye_stac.outlines import right_handed
from spaceeye_stac.platforms import packaged
from tests.support.material import material
from tests.support.stac_validation import extension_schemas, validate

DAY = "spaceeye_2018-05-10"
RING = [[3.0, 50.0, 7.0], [3.0, 50.1, 7.0], [3.1, 50.1, 7.0], [3.1, 50.0, 7.0], [3.0, 50.0, 7.0]]  # clockwise, with Z
HOLE = [[3.02, 50.02], [3.04, 50.02], [3.04, 50.04], [3.02, 50.04], [3.02, 50.02]]  # counterclockwise


def raw(folder: Path) -> dict[str, Any]:
    """The item of a day as a plain document whose hrefs lead to the files."""
    document: dict[str, Any] = json.loads((folder / DAY / f"{DAY}.json").read_text())
    for asset in document["assets"].values():
        asset["href"] = str(folder / DAY / asset["href"])
    return document


def red(folder: Path) -> NDArray[np.uint16]:
    with rasterio.open(folder / DAY / "B04.tif") as source:
        return np.asarray(source.read(1))


@pytest.fixture(scope="module")
def older(belgium_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, published as STAC 1.0."""
    out = tmp_path_factory.mktemp("older") / "days"
    se.publish(belgium_run, out, stac_version="1.0")
    return out


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_stackstac_finds_the_grid_of_raw_items_by_itself(belgium_run: Path, older: Path, version: str) -> None:
    folder = older if version == "1.0" else belgium_run
    stack = stackstac.stack(
        [raw(folder)], assets=["B04"], xy_coords="center", rescale=False, fill_value=np.uint16(0), dtype="u2"
    )
    assert np.array_equal(stack.values[0, 0], red(belgium_run))
    scaled = stackstac.stack([raw(folder)], assets=["B04"], xy_coords="center").values[0, 0]
    truth = np.where(red(belgium_run) > 0, red(belgium_run) * 0.0001, np.nan)
    np.testing.assert_allclose(scaled, truth, rtol=1e-12)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_odc_stac_finds_a_band_by_its_common_name(belgium_run: Path, older: Path, version: str) -> None:
    odc_stac = pytest.importorskip("odc.stac", reason="it is installed with [e2e]")
    folder = older if version == "1.0" else belgium_run
    for item in (pystac.Item.from_dict(raw(folder)), pystac.Item.from_file(folder / DAY / f"{DAY}.json")):
        cube = odc_stac.load([item], bands=["red"])
        assert cube.red.dtype == np.uint16
        assert cube.red.attrs["nodata"] == 0
        assert np.array_equal(cube.red.values[0], red(belgium_run))


def test_documents_of_1_0_are_valid_and_hold_nothing_newer(older: Path) -> None:
    material("schemas")
    for path in [older / "collection.json", older / DAY / f"{DAY}.json"]:
        document = json.loads(path.read_text())
        assert document["stac_version"] == "1.0.0"
        for uri in set(document["stac_extensions"]) & extension_schemas().keys():
            if "classification" not in uri and "render" not in uri:  # which name the same fields in both
                Draft7Validator({"$ref": uri}, registry=_registry()).validate(document)
    item = json.loads((older / DAY / f"{DAY}.json").read_text())
    for asset in item["assets"].values():
        assert not {"bands", "proj:code", "data_type"} & asset.keys()
    statistics = item["assets"]["B04"]["raster:bands"][0]["statistics"]
    values = red(older)
    assert statistics["maximum"] == values.max()
    assert statistics["mean"] == pytest.approx(values[values > 0].mean(), abs=1e-3)
    assert validate(pystac.Collection.from_file(older / "collection.json")) > 1  # migrated by pystac, with its items


def _registry() -> Any:
    known = {uri: DRAFT7.create_resource(schema) for uri, schema in extension_schemas().items()}
    with_hash = {schema.get("$id", uri): DRAFT7.create_resource(schema) for uri, schema in extension_schemas().items()}
    return Registry().with_resources([*known.items(), *with_hash.items()])


def test_a_collection_of_1_0_opens_as_the_days_it_holds(belgium_run: Path, older: Path) -> None:
    cube, again = (se.open(str(folder), mask_and_scale=False) for folder in (belgium_run, older))
    assert np.array_equal(cube.reflectance[3].values, again.reflectance[3].values)


def test_item_assets_name_the_bands_and_links_the_days(belgium_run: Path) -> None:
    collection = json.loads((belgium_run / "collection.json").read_text())
    described = collection["item_assets"]["B04"]
    assert described["bands"][0]["eo:common_name"] == described["eo:bands"][0]["common_name"] == "red"
    assert described["raster:bands"] == [
        {"data_type": "uint16", "nodata": 0, "spatial_resolution": 10.0, "scale": 0.0001, "offset": 0}
    ]
    titles = [link["title"] for link in collection["links"] if link["rel"] == "item"]
    assert any("2018-05-10" in title for title in titles)


def test_items_published_under_an_address_link_to_themselves(belgium_run: Path, tmp_path: Path) -> None:
    base = "https://cdn.example.org/days"
    se.publish(belgium_run, tmp_path / "days", asset_base_url=base)
    item = json.loads((tmp_path / "days" / DAY / f"{DAY}.json").read_text())
    assert [link["href"] for link in item["links"] if link["rel"] == "self"] == [f"{base}/{DAY}/{DAY}.json"]
    assert not se.publish(belgium_run, tmp_path / "days", asset_base_url=base).sent


def test_outlines_are_right_handed_and_flat() -> None:
    found = right_handed({"type": "Polygon", "coordinates": [RING, HOLE]})
    outer, hole = (LinearRing(ring) for ring in found["coordinates"])
    assert outer.is_ccw
    assert not hole.is_ccw
    assert all(len(position) == 2 for ring in found["coordinates"] for position in ring)
    both = {"type": "MultiPolygon", "coordinates": [[RING], [[[x + 1, y] for x, y, _ in RING]]]}
    parts = right_handed(both)
    assert parts["type"] == "MultiPolygon"
    assert all(LinearRing(polygon[0]).is_ccw for polygon in parts["coordinates"])
    assert shape(parts).equals(shape(both))


def test_queryables_name_every_field_that_a_day_can_be_searched_by(belgium_run: Path) -> None:
    found = packaged("queryables")["properties"]
    properties = json.loads((belgium_run / DAY / f"{DAY}.json").read_text())["properties"]
    shares = {name for name in properties if name.endswith("_share")}
    assert len(shares) == 9
    assert shares <= found.keys()
    assert found["spaceeye:observed_share"]["type"] == "number"
