"""Masks of their own as they are really dated, versioned and placed."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from spaceeye_stac.errors import ItemError
from spaceeye_stac.query import MaskChoice
from spaceeye_stac.sources.pairing import MaskItem, paired
from spaceeye_stac.sources.scenes import masks_from_items, scenes_from_items
from tests.support.items import NOON, base_item, labels_of, scene

Json = dict[str, Any]
BOOLEAN = MaskChoice("boolean", None, (0,), separate=True)


def mask(name: str, **properties: Any) -> MaskItem:
    """A mask item of tile 31UDS with these properties, `__` for a colon."""
    item = {
        "id": name,
        "bbox": [3, 50, 3.1, 50.1],
        "properties": {"grid:code": "MGRS-31UDS", **{key.replace("__", ":"): v for key, v in properties.items()}},
        "assets": {"mask": {"href": f"{name}.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}},
    }
    (found,) = masks_from_items([item], mask=BOOLEAN)
    return found


def masks_of(scenes: list[Any], masks: list[MaskItem]) -> list[str | None]:
    """The mask of each scene, whatever the order of either."""
    rng = random.Random(1)  # noqa: S311
    expected: dict[str, str | None] | None = None
    for _ in range(4):
        mixed, others = rng.sample(scenes, len(scenes)), rng.sample(masks, len(masks))
        found = {
            s.id: None if s.labels is None else s.labels.href.removesuffix(".tif") for s in paired(mixed, others).scenes
        }
        assert expected in (None, found)
        expected = found
    return [(expected or {})[s.id] for s in scenes]


AT = "2020-03-05T12:00:01Z"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"s2__processing_baseline": "02.14"}, {"s2__processing_baseline": "05.00"}),
        ({"s2__processing_baseline": 4.0}, {"s2__processing_baseline": 5.1}),
        ({"created": "2020-03-06T00:00:00Z"}, {"created": "2023-01-01T00:00:00Z"}),
        ({"processing__datetime": "2020-03-06T00:00:00Z"}, {"processing__datetime": "2020-03-06T00:00:01Z"}),
        ({"version": "1.9"}, {"version": "1.10"}),
        ({"s2__sequence": "0"}, {"s2__sequence": "1"}),
    ],
)
def test_of_several_versions_of_a_mask_the_newest_counts(old: Json, new: Json) -> None:
    masks = [mask("a", datetime=AT, **new), mask("b", datetime=AT, **old)]
    assert masks_of([scene("s")], masks) == ["a"]
    assert paired([scene("s")], masks).older == ("Mask b left out: a is a newer version of it.",)


def test_versions_by_the_number_in_their_names_and_those_that_are_alike() -> None:
    assert masks_of([scene("s")], [mask("m_31UDS_1", datetime=AT), mask("m_31UDS_0", datetime=AT)]) == ["m_31UDS_1"]
    three = [mask(name, datetime=AT, created=f"202{n}-01-01T00:00:00Z") for n, name in ((0, "a"), (1, "b"), (1, "c"))]
    assert masks_of([scene("s")], three) == [None]
    (reason,) = paired([scene("s")], three).unpaired.values()
    assert reason == "more than one way to pair it: b, c"


def test_masks_of_two_datastrips_are_no_versions_of_one() -> None:
    strips = [
        mask(name, datetime=AT, created=made, s2__datastrip_id=f"S2A_OPER_MSI_L2A_DS_x_S20200305T12{start}_N02.14")
        for name, made, start in (("a", "2020-03-06", "0000"), ("b", "2021-03-06", "0300"))
    ]
    assert masks_of([scene("s")], strips) == [None]


@pytest.mark.parametrize(
    "when",
    [
        {"datetime": None, "start_datetime": "2020-03-05T11:00:00Z", "end_datetime": "2020-03-05T13:00:00Z"},
        {
            "datetime": "2020-03-05T11:00:00Z",
            "start_datetime": "2020-03-05T11:00:00Z",
            "end_datetime": "2020-03-05T13:00:00Z",
        },
        {"datetime": None, "start_datetime": "2020-03-05T00:00:00Z", "end_datetime": "2020-03-05T23:59:59Z"},
        {"datetime": None, "start_datetime": "2020-03-04T18:00:00Z", "end_datetime": "2020-03-05T18:00:00Z"},
        {"datetime": "2020-03-05T00:00:00Z"},
        {"datetime": "2020-03-05"},
        {"datetime": "2020-03-05T00:00:00.000000+00:00"},
    ],
)
def test_a_mask_that_holds_the_look_by_its_interval_or_day_belongs_to_it(when: Json) -> None:
    scenes = [scene("before", NOON - timedelta(days=2)), scene("s"), scene("after", NOON + timedelta(days=2))]
    assert masks_of(scenes, [mask("m", **when)]) == [None, "m", None]


def test_a_day_holds_all_scenes_of_one_overpass_and_none_of_two() -> None:
    day = mask("m", datetime="2020-03-05")
    strips = [scene("s1"), scene("s2", NOON + timedelta(seconds=12))]
    assert masks_of(strips, [day]) == ["m", "m"]
    assert masks_of([*strips, scene("s3", NOON + timedelta(minutes=100))], [day]) == [None, None, None]


def test_each_of_two_intervals_is_of_its_own_strip() -> None:
    strips = [scene("s1"), scene("s2", NOON + timedelta(minutes=5))]
    first = {"datetime": None, "start_datetime": "2020-03-05T11:59:00Z", "end_datetime": "2020-03-05T12:01:00Z"}
    second = {"datetime": None, "start_datetime": "2020-03-05T12:04:00Z", "end_datetime": "2020-03-05T12:06:00Z"}
    assert masks_of(strips, [mask("m1", **first), mask("m2", **second)]) == ["m1", "m2"]


def test_days_in_utc_and_solar_days_near_the_date_line() -> None:
    """10:30 of the solar day is 22:30 of the day before in UTC there; a mask may be dated by either."""
    night = datetime(2020, 3, 4, 22, 30, tzinfo=UTC)
    (look,) = [scene("s", night)]
    object.__setattr__(look, "day", date(2020, 3, 5))
    utc, solar = mask("utc", datetime="2020-03-04"), mask("solar", datetime="2020-03-05")
    assert masks_of([look], [solar]) == ["solar"]
    assert masks_of([look], [utc]) == ["utc"]
    assert masks_of([look], [utc, solar]) == ["utc"]


def test_a_scene_that_is_dated_with_its_day_alone_takes_the_only_mask_of_that_day() -> None:
    midnight = scene("s", NOON.replace(hour=0))
    masks = [mask("m", datetime=AT), mask("n", datetime="2020-03-06T12:00:01Z")]
    assert masks_of([midnight], masks) == ["m"]
    assert masks_of([midnight], [*masks, mask("k", datetime="2020-03-05T13:40:00Z")]) == [None]


def test_a_composite_is_no_mask_of_a_look() -> None:
    with pytest.raises(ItemError, match="Item m is a composite from 2020-03-01 to 2020-03-31"):
        mask("m", datetime=None, start_datetime="2020-03-01T00:00:00Z", end_datetime="2020-03-31T00:00:00Z")


@pytest.mark.parametrize("old", [True, False])
def test_a_mask_keeps_the_crs_that_its_asset_says(old: bool) -> None:  # noqa: FBT001
    item = base_item(old=old)
    assert labels_of(scenes_from_items([item])[0]).epsg == 32626
    item["assets"]["scl"] |= {"proj:epsg": 32627} if old else {"proj:code": "EPSG:32627"}
    (found,) = scenes_from_items([item])
    assert (found.epsg, labels_of(found).epsg) == (32626, 32627)


def test_four_thousand_masks_and_scenes_are_compared_with_their_neighbours_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import spaceeye_stac.sources.pairing as room  # noqa: PLC0415

    count, gap = [0], room.gap

    def counted(*pair: Any) -> timedelta:
        count[0] += 1
        return gap(*pair)

    monkeypatch.setattr(room, "gap", counted)
    times = [NOON + timedelta(hours=60 * n) for n in range(1000)]
    scenes = [scene(f"s{n}", when) for n, when in enumerate(times)]
    masks = [mask(f"m{n}", datetime=(when + timedelta(minutes=3)).isoformat()) for n, when in enumerate(times)]
    found = room.paired(scenes, masks)
    assert not found.unpaired
    assert count[0] < 10 * len(scenes)
