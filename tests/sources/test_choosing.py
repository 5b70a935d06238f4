"""One item that is odd in its own way does not end a search, take from the others, or go without a word."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, InvalidInputError, ItemError, NoScenesError
from spaceeye_stac.sources.scene_list import SceneList, Unreadable
from spaceeye_stac.sources.scenes import scenes_from_items
from spaceeye_stac.sources.selection import search
from tests.support.items import base_item
from tests.support.material import BE_BBOX
from tests.support.small_catalog import small_items, small_query, written

Json = dict[str, Any]
Found = Callable[..., SceneList]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Json]]:
    folder = tmp_path_factory.mktemp("small")
    return folder, small_items(folder)


@pytest.fixture
def items(catalog: tuple[Path, list[Json]]) -> list[Json]:
    assert len(catalog[1]) == 4
    return copy.deepcopy(catalog[1])


@pytest.fixture
def found(catalog: tuple[Path, list[Json]]) -> Found:
    """Search the items."""
    return lambda items, **options: search(small_query(written(items, catalog[0]), **options))


def ids(items: list[Json], *without: int) -> list[str]:
    return [item["id"] for n, item in enumerate(items) if n not in without]


# composites

COMPOSITES: dict[str, Json] = {
    "null": {"datetime": None},
    "a month": {"datetime": None, "start_datetime": "2023-04-01T00:00:00Z", "end_datetime": "2023-04-30T23:59:59Z"},
    "a month with a datetime": {"start_datetime": "2023-04-01T00:00:00Z", "end_datetime": "2023-05-01T00:00:00Z"},
    "two days": {"start_datetime": "2023-04-03T00:00:00Z", "end_datetime": "2023-04-05T00:00:00Z"},
    "no end": {"datetime": None, "start_datetime": "2023-04-03T10:50:31Z"},
}


@pytest.mark.parametrize("kind", COMPOSITES)
def test_a_composite_is_left_out_by_name(items: list[Json], found: Found, kind: str) -> None:
    items[1]["properties"] |= COMPOSITES[kind]
    scenes = found(items)
    assert [s.id for s in scenes] == ids(items, 1)
    assert any(text.startswith(f"Item {items[1]['id']} left out: it ") for text in scenes.left_out)
    with pytest.raises(ItemError, match=f"Item {items[1]['id']} .*no acquisition; leave it out"):
        scenes_from_items([items[1]])


@pytest.mark.parametrize(
    "properties",
    [
        {"start_datetime": "2023-04-04T10:50:31Z", "end_datetime": "2023-04-04T10:50:31Z"},
        {"datetime": None, "start_datetime": "2023-04-04T10:50:20Z", "end_datetime": "2023-04-04T10:50:40Z"},
        {"start_datetime": "2023-04-04T00:00:00Z", "end_datetime": "2023-04-04T23:59:59Z"},
        {"start_datetime": None, "end_datetime": "soon"},
        {"datetime": "2023-04-04T00:00:00Z"},
        {"datetime": "2023-04-04"},
    ],
)
def test_an_acquisition_with_an_interval_or_a_day_alone_stays_on_its_day(
    items: list[Json], found: Found, properties: Json
) -> None:
    usual = {s.id: s.day for s in found(items)}
    items[1]["properties"] |= properties
    scenes = found(items)
    assert {s.id: s.day for s in scenes} == usual
    assert scenes.left_out == ()


def test_a_day_alone_is_that_day_in_the_west_as_well() -> None:
    item = base_item() | {"bbox": [-122.0, 40.0, -121.0, 41.0]}
    item["properties"] |= {"datetime": "2020-07-28T00:00:00Z"}
    (scene,) = scenes_from_items([item])
    assert scene.day.isoformat() == "2020-07-28"
    item["properties"]["datetime"] = "2020-07-28T03:00:00Z"
    (scene,) = scenes_from_items([item])
    assert scene.day.isoformat() == "2020-07-27"


# bands


def test_one_item_that_lacks_a_band_is_left_out_and_the_band_stays(items: list[Json], found: Found) -> None:
    usual = found(items, bands=None)
    del items[2]["assets"]["B05"]
    scenes = found(items, bands=None)
    assert [s.id for s in scenes] == ids(items, 2)
    assert [list(s.bands) for s in scenes] == [list(s.bands) for s in usual[:3]]
    assert scenes.left_out == (f"Scene {items[2]['id']} left out: it lacks bands B05.",)


def test_a_band_of_less_than_half_of_the_scenes_is_left_out(items: list[Json], found: Found) -> None:
    for item in items[:3]:
        del item["assets"]["B05"]
    scenes = found(items, bands=None)
    assert [s.id for s in scenes] == ids(items)
    assert all("B05" not in s.bands for s in scenes)
    assert scenes.left_out == ("Bands B05 left out: not in half of the scenes.",)


def test_half_of_the_scenes_is_enough(items: list[Json], found: Found) -> None:
    for item in items[:2]:
        del item["assets"]["B11"]
    assert [s.id for s in found(items, bands=None)] == ids(items, 0, 1)


def test_where_no_scene_has_all_the_common_bands_those_of_every_scene_are_used(items: list[Json], found: Found) -> None:
    for item, band in zip(items, ("B05", "B06", "B11", "B12"), strict=True):
        del item["assets"][band]
    scenes = found(items, bands=None)
    assert [s.id for s in scenes] == ids(items)
    assert list(scenes[0].bands) == ["B02", "B03", "B04", "B07", "B08", "B8A"]


def test_a_named_band_is_taken_where_it_is(items: list[Json], found: Found) -> None:
    for item in items[:3]:
        del item["assets"]["B04"]
    scenes = found(items)
    assert [s.id for s in scenes] == ids(items, 0, 1, 2)
    assert len(scenes.left_out) == 3
    del items[3]["assets"]["B02"]
    with pytest.raises(CatalogError, match=f"No scene has all of the bands B02,B04: {items[0]['id']} lacks B04; leave"):
        found(items)


def test_a_newer_item_without_a_band_does_not_beat_an_older_one_that_has_it(items: list[Json], found: Found) -> None:
    newer = copy.deepcopy(items[1])
    newer["id"] += "_9"
    newer["properties"]["s2:processing_baseline"] = "03.02"
    assert [s.id for s in found([*items, newer])] == [*ids(items[:1]), newer["id"], *ids(items[2:])]
    del newer["assets"]["B04"]
    assert [s.id for s in found([*items, newer])] == ids(items)


# items that are of something else


@pytest.mark.parametrize(
    "change",
    [
        lambda item: item.update(assets={}),
        lambda item: item.update(assets={"qa": {"href": "qa.tif"}}),
        lambda item: item["assets"].update(B02={"href": None}),
        lambda item: item["assets"].update(B02=[]),
        lambda item: item["properties"].update({"datetime": 7}),
        lambda item: item["properties"].update({"s2:processing_baseline": None}),
        lambda item: item["assets"]["B04"].update({"raster:scale": 1}),
        lambda item: item["assets"]["B04"].update({"raster:bands": [{"scale": 10000}]}),
    ],
)
def test_one_broken_item_does_not_end_the_search(
    items: list[Json], found: Found, change: Callable[[Json], None]
) -> None:
    change(items[2])
    scenes = found(items)
    assert [s.id for s in scenes] == ids(items, 2)
    assert items[2]["id"] in " ".join(scenes.left_out)


def test_where_no_item_is_good_the_search_says_why(items: list[Json], found: Found) -> None:
    for item in items:
        item["properties"]["s2:processing_baseline"] = None
    with pytest.raises(ItemError) as caught:
        found(items)
    said = str(caught.value)
    assert said.startswith(f"Item {items[0]['id']} gives neither an offset nor a processing baseline")
    assert said.endswith("None of 4 items can be used.")
    assert items[3]["id"] not in said


# cloud cover


@pytest.mark.parametrize("value", ["high", {}, [], True, float("nan"), "10 %"])
def test_a_cloud_cover_that_is_no_number_counts_as_not_said(items: list[Json], found: Found, value: object) -> None:
    items[1]["properties"]["eo:cloud_cover"] = value
    scenes = found(items, max_cloud_cover=0)
    assert items[1]["id"] in [s.id for s in scenes]
    assert {s.id: s.cloud_cover for s in scenes}[items[1]["id"]] is None
    assert any("is no number, and counts as not said" in text and items[1]["id"] in text for text in scenes.left_out)
    assert items[1]["id"] in str(scenes)


@pytest.mark.parametrize(("value", "number"), [("12.5", 12.5), (7, 7.0), (0, 0.0)])
def test_a_cloud_cover_that_is_one_counts(items: list[Json], found: Found, value: object, number: float) -> None:
    items[1]["properties"]["eo:cloud_cover"] = value
    scenes = found(items)
    assert scenes[1].cloud_cover == number
    assert scenes.left_out == ()


# the list of scenes


def test_scenes_that_are_taken_to_be_of_an_old_baseline_are_a_warning_of_the_plan(belgium: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime="2018-05-01/2018-05-10", bands=["B04"])
    scenes = search(query)
    (said,) = scenes.doubts
    assert said.startswith(
        f"{len(scenes)} scenes give no processing baseline, as {scenes[0].id}; sensed before 2022-01-25"
    )
    assert said in se.plan(query).warnings


def test_a_list_of_scenes_can_be_copied_and_chosen_from_again(items: list[Json], found: Found) -> None:
    newer = copy.deepcopy(items[1])
    newer["id"] += "_9"
    scenes = pickle.loads(pickle.dumps(found([*items, newer])))  # noqa: S301 - our own
    assert scenes.contested == (newer["id"],)
    (bad,) = [scene for scene in scenes if scene.id == newer["id"]]
    again = scenes.without([Unreadable(bad, f"Scene {bad.id} left out.")])
    assert [s.id for s in again] == ids(items)
    assert again.unreadable == (f"Scene {bad.id} left out.",)
    assert again.left_out == again.unreadable


def test_the_crs_may_stand_on_the_mask_alone() -> None:
    item = base_item()
    code = item["properties"].pop("proj:epsg")
    item["assets"]["scl"]["proj:epsg"] = code
    (scene,) = scenes_from_items([item])
    assert scene.epsg == code


# exclude


def test_items_that_are_excluded_are_not_used_and_those_not_found_are_said(items: list[Json], found: Found) -> None:
    wanted = f"{items[0]['id']}, {items[2]['id']},nope"
    scenes = found(items, exclude=wanted)
    assert [s.id for s in scenes] == ids(items, 0, 2)
    assert scenes.left_out == (
        f"Scene {items[0]['id']} left out: exclude names it.",
        f"Scene {items[2]['id']} left out: exclude names it.",
        "exclude names nope, which was not found.",
    )
    with pytest.raises(NoScenesError):
        found(items, exclude=ids(items))


def test_an_item_that_ends_the_search_can_be_excluded(items: list[Json], found: Found) -> None:
    del items[3]["assets"]["SCL"]
    with pytest.raises(ItemError, match=items[3]["id"]):
        found(items)
    assert [s.id for s in found(items, exclude=[items[3]["id"]])] == ids(items, 3)


def test_without_the_newest_processing_the_older_one_is_used(items: list[Json], found: Found) -> None:
    newer = copy.deepcopy(items[1])
    newer["id"] += "_9"
    assert newer["id"] in [s.id for s in found([*items, newer])]
    assert [s.id for s in found([*items, newer], exclude=newer["id"])] == ids(items)


@pytest.mark.parametrize(("name", "value"), [("exclude", ()), ("unreadable", "maybe")])
def test_options_that_make_no_sense_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=name):
        se.Query(catalog="x", bbox=(3, 50, 4, 51), datetime="2020-01-01", **{name: value})  # type: ignore[arg-type]
