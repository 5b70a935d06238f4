import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.collection import band_fields
from spaceeye_stac.errors import InvalidInputError, SpaceEyeError
from spaceeye_stac.query import BANDS, COMMON_NAMES, Query, parse_datetime
from spaceeye_stac.settings import Settings

SQUARE = {"type": "Polygon", "coordinates": [[[3, 50], [3.1, 50], [3.1, 50.1], [3, 50.1], [3, 50]]]}


def query(**changes: Any) -> Query:
    return Query(**{"catalog": "x", "bbox": (3, 50, 3.1, 50.1), "datetime": "2018-04-11/2018-04-12", **changes})


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("2018-04-11/2018-08-08", date(2018, 4, 11), date(2018, 8, 8)),
        ("2018-04-11", date(2018, 4, 11), date(2018, 4, 11)),
        ("2018-02", date(2018, 2, 1), date(2018, 2, 28)),
        ("2020-02/2021", date(2020, 2, 1), date(2021, 12, 31)),
        ("2018-04-11T10:00:00Z/2018-04-12T23:59:59Z", date(2018, 4, 11), date(2018, 4, 12)),
    ],
)
def test_datetime_includes_both_ends(text: str, start: date, stop: date) -> None:
    days = parse_datetime(text)
    assert (days.start, days.stop) == (start, stop)
    assert len(days) == (stop - start).days + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2018-04-11/..", "open-ended"),
        ("../2018-04-11", "open-ended"),
        ("2018-04-11/", "open-ended"),
        ("", "open-ended"),
        ("2018-04-31", "is not a date"),
        ("2018-13", "is not a date"),
        ("yesterday", "is not a date"),
        ("2018-08-08/2018-04-11", "ends before it starts"),
        ("2018-01-01/2018-01-02/2018-01-03", "3 parts"),
    ],
)
def test_bad_datetimes_are_named(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        query(datetime=text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("bbox", "said"),
    [
        ((3.1, 50, 3, 50.1), "wrong order"),
        ((100, 50, -80, 51), "wrong order"),
        ((179, -16, -179, -17), "wrong order"),
        ((3, 50.1, 3.1, 50), "wrong order"),
        ((3, 50, 3, 50.1), "empty"),
        ((3, 50, 3.1, 50), "empty"),
        ((3, 50, 190, 51), "outside the world"),
        ((3, -91, 4, 51), "outside the world"),
        ((3, 50, float("nan"), 51), "finite"),
        ((3, 50, 4), "four numbers"),
        (("a", 1, 2, 3), "four numbers"),
    ],
)
def test_bad_boxes_are_named(bbox: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        query(bbox=bbox)


def test_a_box_over_the_antimeridian_is_cut_there() -> None:
    found = query(bbox=(179.5, -17, -179, -16))
    assert found.bbox == (179.5, -17, -179, -16)
    assert found.geometry["type"] == "MultiPolygon"
    boxes = [(min(ring)[0], max(ring)[0]) for (ring,) in found.geometry["coordinates"]]
    assert boxes == [(179.5, 180), (-180, -179)]
    assert query(bbox=(101, 0, -80, 1)).geometry["type"] == "MultiPolygon", "just below half the globe"
    for touching in ((180, -17, -179, -16), (179, -17, -180, -16)):
        assert query(bbox=touching).geometry["type"] == "Polygon"


def test_intersects_takes_a_dict_a_file_a_feature_and_geo_interface(tmp_path: Path) -> None:
    class Field:
        __geo_interface__ = SQUARE

    file = tmp_path / "field.geojson"
    feature = {"type": "Feature", "properties": {}, "geometry": SQUARE}
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    areas = [query(bbox=None, intersects=source).geometry for source in (SQUARE, feature, file, str(file), Field())]
    assert all(area["type"] == "Polygon" for area in areas)
    assert {frozenset(map(tuple, area["coordinates"][0])) for area in areas} == {
        frozenset([(3, 50), (3.1, 50), (3.1, 50.1), (3, 50.1)])
    }


@pytest.mark.parametrize(
    "source", [{}, {"type": "Point", "coordinates": [1, 2]}, 5, "no/such/file", {"type": "Feature"}]
)
def test_bad_geometry_is_refused(source: Any) -> None:
    with pytest.raises(InvalidInputError, match="intersects"):
        query(bbox=None, intersects=source)


def test_region_is_given_exactly_once() -> None:
    with pytest.raises(InvalidInputError, match="exactly one"):
        query(intersects=SQUARE)
    with pytest.raises(InvalidInputError, match="exactly one"):
        query(bbox=None)


@pytest.mark.parametrize("bands", [["B22"], [], ["B02", "blue"], ["rot"], ["B1A"], ["b"], [""], ["B00"], ["B0 4"]])
def test_bad_bands_are_named(bands: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="bands"):
        query(bands=bands)


def test_a_band_has_many_names_and_gets_one() -> None:
    assert query(bands="B2, b03,red,NIR,b8a").bands == ("B02", "B03", "B04", "B08", "B8A")
    for name in BANDS:
        short = name.replace("B0", "B")
        for text in (name, name.lower(), short, short.lower(), f" {short} "):
            assert query(bands=[text]).bands == (name,)


def test_common_names_are_those_of_the_items_that_this_package_makes() -> None:
    assert {band_fields(name)["eo:common_name"]: name for name in BANDS}.items() <= COMMON_NAMES.items()
    assert query(bands=["rededge1", "rededge2", "rededge3"]).bands == ("B05", "B06", "B07")


@pytest.mark.parametrize(("name", "meant"), [("redd", "B04"), ("swir1", "B11"), ("B8B", "B08"), ("grean", "B03")])
def test_a_misspelt_band_is_guessed(name: str, meant: str) -> None:
    with pytest.raises(InvalidInputError, match=f"bands {name}: .* Is .*{meant}.* meant"):
        query(bands=[name])


def test_filters_are_off_by_default_and_written_one_way() -> None:
    plain = query()
    assert (plain.max_cloud_cover, plain.tiles, plain.platforms, plain.orbits) == (None, None, None, None)
    found = query(max_cloud_cover=20, tiles=["31uds", "T31UDS", "1CCV"], platforms="S2A,Sentinel-2B", orbits=(8, 51))
    assert (found.max_cloud_cover, found.tiles) == (20.0, ("31UDS", "01CCV"))
    assert (found.platforms, found.orbits) == (("sentinel-2a", "sentinel-2b"), (8, 51))
    assert query(tiles="31UDS,31UES", orbits="8").tiles == ("31UDS", "31UES")
    assert query(orbits=8).orbits == (8,)
    assert query(max_cloud_cover=0).max_cloud_cover == 0


@pytest.mark.parametrize(
    "change",
    [
        {"max_cloud_cover": -1},
        {"max_cloud_cover": 100.5},
        {"max_cloud_cover": float("nan")},
        {"max_cloud_cover": "few"},
        {"max_cloud_cover": True},
        {"tiles": []},
        {"tiles": ["31UD"]},
        {"tiles": ["61UDS"]},
        {"tiles": ["31IDS"]},
        {"tiles": ""},
        {"platforms": ["landsat-8"]},
        {"platforms": []},
        {"orbits": [0]},
        {"orbits": [144]},
        {"orbits": [1.5]},
        {"orbits": [True]},
        {"orbits": []},
    ],
)
def test_bad_filters_are_named(change: dict[str, Any]) -> None:
    (name,) = change
    with pytest.raises(InvalidInputError, match=f"^{name} .*; (give|write it|name one)"):
        query(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"duration": 0},
        {"duration": -3},
        {"duration": 10_000},
        {"duration": "some"},
        {"duration": 4.5},
        {"time_overlap": 1.0},
        {"time_overlap": -0.1},
        {"damping_factor": 0},
        {"damping_factor": float("inf")},
        {"damping_factor": float("nan")},
        {"min_clear_ratio": 1},
        {"clear_classes": []},
        {"clear_classes": [12]},
        {"resolution": 0},
        {"crs": "EPSG:4326"},
        {"crs": "nonsense"},
        {"method": "magic"},
        {"resampling": "sinc"},
        {"tiling": "utm"},
        {"crs": 32631, "tiling": "mgrs"},
        {"collection_id": "../up"},
        {"collection_id": ""},
    ],
)
def test_bad_settings_name_the_value_and_the_remedy(change: dict[str, Any]) -> None:
    name = next(iter(change))
    with pytest.raises(InvalidInputError, match=f"^{name} .* is not allowed; ") as caught:
        Settings(**change)
    assert caught.value.exit_code == 2


@given(st.text(max_size=30))
def test_any_datetime_text_is_a_range_or_an_error_of_ours(text: str) -> None:
    try:
        days = parse_datetime(text)
    except SpaceEyeError:
        return
    assert days.start <= days.stop
