import copy
import json
from datetime import UTC, date, datetime
from typing import Any

import pystac
import pytest

from spaceeye_stac.errors import CatalogError, ItemError
from spaceeye_stac.sources.profiles import profile_named, shipped_profiles
from spaceeye_stac.sources.scenes import scenes_from_items
from spaceeye_stac.sources.sensing import solar_day
from tests.support.items import labels_of
from tests.support.material import material


def items(kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(material(f"stac-items/{kind}").glob("*.json"))]


def test_shipped_profiles_are_known_by_name() -> None:
    found = list(shipped_profiles())
    assert {"planetary-computer", "earth-search", "earth-search-c1", "earth-search-v0", "cdse"} <= set(found)
    assert found[-1] == "generic"
    assert profile_named("digital-earth-africa").gdal_env["AWS_NO_SIGN_REQUEST"] == "YES"
    with pytest.raises(CatalogError, match=r"'nowhere' is unknown; choose from .*planetary-computer"):
        profile_named("nowhere")


def test_planetary_computer_offset_follows_the_baseline_not_the_date() -> None:
    (scene, *_), offsets = scenes_from_items(items("pc__sentinel-2-l2a__1.0.0")), set()
    assert set(scene.bands) >= {"B02", "B8A", "B12"}
    assert labels_of(scene).href.endswith("_SCL_20m.tif")
    for scene in scenes_from_items(items("pc__sentinel-2-l2a__1.0.0")):
        expected = -0.1 if float(scene.baseline or 0) >= 4 else 0.0
        assert {asset.offset for asset in scene.bands.values()} == {expected}, scene.id
        assert {asset.scale for asset in scene.bands.values()} == {0.0001}
        offsets.add(expected)
        assert scene.tile is not None
        assert scene.tile in scene.id
    assert offsets == {0.0, -0.1}


def test_earth_search_does_not_apply_an_offset_twice() -> None:
    found = items("earthsearch-v1__sentinel-2-l2a__1.0.0")
    for item, scene in zip(found, scenes_from_items(found), strict=True):
        applied = item["properties"].get("earthsearch:boa_offset_applied")
        declared = item["assets"]["red"]["raster:bands"][0]["offset"]
        assert scene.bands["B04"].offset == (0.0 if applied else declared), scene.id
        assert scene.tile == item["properties"]["grid:code"].removeprefix("MGRS-")
        assert scene.profile == "earth-search"


@pytest.mark.parametrize("kind", ["pc__sentinel-2-l2a__1.0.0", "earthsearch-v1__sentinel-2-l2a__1.0.0"])
def test_pystac_items_map_to_the_same_scenes_as_plain_dicts(kind: str) -> None:
    plain = items(kind)
    migrated = [pystac.Item.from_dict(copy.deepcopy(item)) for item in plain]
    for one, other in zip(scenes_from_items(plain), scenes_from_items(migrated), strict=True):
        assert (one.bands, one.labels, one.epsg, one.day) == (other.bands, other.labels, other.epsg, other.day)


def test_items_that_do_not_fit_are_refused_by_name() -> None:
    item = items("pc__sentinel-2-l2a__1.0.0")[0]
    no_mask = copy.deepcopy(item)
    del no_mask["assets"]["SCL"]
    with pytest.raises(ItemError, match=f"{item['id']} fits no profile"):
        scenes_from_items([no_mask])
    with pytest.raises(ItemError, match=f"{item['id']} has no mask asset 'SCL'"):
        scenes_from_items([no_mask], "planetary-computer")
    for change in ({"datetime": "noon"}, {"proj:epsg": None}, {"proj:code": "EPSG:32699"}):
        broken = copy.deepcopy(item)
        broken["properties"].update(change)
        with pytest.raises(ItemError, match=item["id"]):
            scenes_from_items([broken])


def test_one_overpass_is_one_solar_day_near_the_date_line() -> None:
    evening, night = datetime(2023, 1, 1, 23, 50, tzinfo=UTC), datetime(2023, 1, 2, 0, 10, tzinfo=UTC)
    assert solar_day(evening, 179) == solar_day(night, 179) == date(2023, 1, 2)
    assert solar_day(evening, -179) == solar_day(night, -179) == date(2023, 1, 1)
    assert solar_day(datetime(2018, 5, 5, 11, tzinfo=UTC), 3) == date(2018, 5, 5)
