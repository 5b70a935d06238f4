import copy
import json
from pathlib import Path

import pystac
import pytest
import rustac
from jsonschema import Draft7Validator, ValidationError
from pystac.errors import STACValidationError

import spaceeye_stac as se
from tests.support.material import material
from tests.support.stac_validation import validate


@pytest.fixture(scope="module")
def collection(belgium_run: Path) -> pystac.Collection:
    return pystac.Collection.from_file(str(belgium_run / "collection.json"))


def test_collection_and_items_are_valid_with_every_extension(collection: pystac.Collection) -> None:
    material("schemas")
    assert validate(collection) == 1 + 5
    for item in collection.get_items():
        assert validate(item) == 1 + 7


SCHEMA = json.loads((Path(se.__file__).parent / "collection" / "spaceeye.schema.json").read_text())


def test_own_fields_follow_the_schema_beside_them(belgium_run: Path) -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert json.loads((belgium_run / "spaceeye.schema.json").read_text()) == SCHEMA
    for path in [belgium_run / "collection.json", *belgium_run.glob("*/*.json")]:
        document = json.loads(path.read_text())
        Draft7Validator(SCHEMA).validate(document)
        (link,) = [link for link in document["links"] if link["rel"] == "describedby"]
        assert (path.parent / link["href"]).resolve() == belgium_run.resolve() / "spaceeye.schema.json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spaceeye:observed_share", 1.2),
        ("spaceeye:window", ["2018-04-11"]),
        ("spaceeye:scenes", []),
        ("spaceeye:method", None),
        ("spaceeye:unheard", 1),
    ],
)
def test_the_schema_would_notice(belgium_run: Path, name: str, value: object) -> None:
    item = json.loads((belgium_run / "spaceeye_2018-05-10" / "spaceeye_2018-05-10.json").read_text())
    item["properties"][name] = value
    assert not Draft7Validator(SCHEMA).is_valid(item)


def test_the_table_holds_every_item(belgium_run: Path) -> None:
    rows = rustac.read_sync(str(belgium_run / "items.parquet"))["features"]
    ids = [path.stem for path in sorted(belgium_run.glob("*/*.json"))]
    assert [row["id"] for row in rows] == ids
    assert rows[3]["assets"]["B04"]["href"] == f"./{ids[3]}/B04.tif"


def test_the_catalog_beside_it_leads_to_the_collection(belgium_run: Path, collection: pystac.Collection) -> None:
    catalog = pystac.Catalog.from_file(str(belgium_run / "catalog.json"))
    assert validate(catalog) == 1
    assert [child.id for child in catalog.get_children()] == [collection.id]
    assert catalog.id != collection.id
    assert len(list(catalog.get_items(recursive=True))) == len(list(collection.get_items()))


def test_renders_name_what_is_there(collection: pystac.Collection) -> None:
    item = next(iter(collection.get_items()))
    shown = item.properties["renders"]
    assert shown == collection.extra_fields["renders"]
    assert set(shown) == {"visual", "clear_distance", "ndvi", "infrared"}
    assert {key for render in shown.values() for key in render["assets"]} <= set(item.assets)


def test_validation_would_notice(collection: pystac.Collection) -> None:
    material("schemas")
    item = copy.deepcopy(next(iter(collection.get_items())))
    item.assets["B02"].extra_fields["proj:shape"] = "large"
    with pytest.raises((STACValidationError, ValidationError)):
        validate(item)


def test_item_says_what_it_is(belgium_run: Path) -> None:
    item = json.loads((belgium_run / "spaceeye_2018-05-10" / "spaceeye_2018-05-10.json").read_text())
    facts = item["properties"]
    assert item["stac_version"] == "1.1.0"
    assert facts["datetime"] == "2018-05-10T00:00:00Z"
    assert (facts["start_datetime"], facts["end_datetime"]) == ("2018-05-10T00:00:00Z", "2018-05-10T23:59:59.999Z")
    assert "eo:cloud_cover" not in facts, "damped does not look for cloud that the masks miss"
    assert facts["processing:software"] == {"spaceeye-stac": "0.1.0"}
    assert facts["spaceeye:method"] == "damped"
    assert facts["spaceeye:window"] == ["2018-04-11", "2018-05-28"]
    red = item["assets"]["B04"]
    assert red["proj:shape"] == [62, 64]
    assert red["proj:transform"][:2] == [10.0, 0.0]
    assert red["proj:code"] == "EPSG:32631"
    assert red["roles"] == ["data", "reflectance"]
    (band,) = red["bands"]
    assert band["eo:common_name"] == "red"
    assert (band["raster:scale"], band["raster:offset"]) == (0.0001, 0)
    assert band["statistics"]["minimum"] < band["statistics"]["mean"] < band["statistics"]["maximum"]
    assert item["assets"]["visual"]["roles"] == ["visual", "overview"]
    assert item["assets"]["thumbnail"]["roles"] == ["thumbnail"]


def test_hrefs_are_relative_and_links_hold(collection: pystac.Collection, belgium_run: Path) -> None:
    items = list(collection.get_items())
    for before, item in zip([None, *items], items, strict=False):
        document = json.loads((belgium_run / item.id / f"{item.id}.json").read_text())
        links = document["links"]
        assert all("://" not in link["href"] and not link["href"].startswith("/") for link in links)
        assert all(asset["href"].startswith("./") for asset in document["assets"].values())
        for link in links:
            assert (belgium_run / item.id / link["href"]).resolve().is_file(), link
        previous = [link["href"] for link in links if link["rel"] == "prev"]
        assert previous == ([f"../{before.id}/{before.id}.json"] if before else [])


def test_derived_from_is_exactly_the_scenes_of_the_window_that_had_a_clear_look(belgium_run: Path) -> None:
    item = json.loads((belgium_run / "spaceeye_2018-05-10" / "spaceeye_2018-05-10.json").read_text())
    days = [link["title"].split("_")[2][:8] for link in item["links"] if link["rel"] == "derived_from"]
    first = [0, 3, 5, 8, 10, 15, 20, 23, 25, 28, 30, 35, 38, 40, 43, 45]
    used = [5, 8, 15, 23, 25, 28, 30, 40, 43, 45]  # of `first`, those with a clear share above 0.1
    stamps = {day: f"2018{4 + (10 + day) // 30:02d}{(10 + day) % 30 + 1:02d}" for day in first if day < 20}
    assert [stamps[day] for day in used if day < 20] == days[:3]
    assert len(days) == len(used) == item["properties"]["spaceeye:scene_count"]
