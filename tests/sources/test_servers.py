"""Servers as they really are: what they ignore, refuse and leave out, and how far they are followed."""

import copy
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, InvalidInputError, NoScenesError
from spaceeye_stac.sources.selection import search
from tests.support.failing_api import FlakyApi
from tests.support.items import absolute_items, labels_of
from tests.support.loopback import serving
from tests.support.searches import at, ids

Changes = Callable[..., FlakyApi]


@pytest.fixture
def api(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyApi]:
    monkeypatch.setattr("spaceeye_stac.sources.transport.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 1)
    with serving(FlakyApi(absolute_items(simulated))) as served:
        yield served


def moved(item: dict[str, Any], lon: float, name: str) -> dict[str, Any]:
    """The item as if it lay elsewhere."""
    found = copy.deepcopy(item)
    (ring,) = found["geometry"]["coordinates"]
    found["geometry"]["coordinates"] = [[[x + lon, y] for x, y in ring]]
    found["bbox"] = [found["bbox"][0] + lon, found["bbox"][1], found["bbox"][2] + lon, found["bbox"][3]]
    return {**found, "id": name}


def test_items_away_from_the_region_are_no_scenes(api: FlakyApi, simulated_query: se.Query) -> None:
    """A server that ignores bbox and intersects gives whatever it has."""
    expected = search(simulated_query)
    far = [moved(item, 40, f"far-{number}") for number, item in enumerate(api.items[:3])]
    total = len(api.items) + 3
    api.items = [*far, *api.items]
    scenes = search(at(api.url, simulated_query))
    assert ids(scenes) == ids(expected)
    assert scenes.left_out == (f"3 of {total} items that the server gave are left out: they lie away from the region.",)


def test_items_of_other_days_are_left_out_and_counted(api: FlakyApi, simulated_query: se.Query) -> None:
    old = copy.deepcopy(api.items[0])
    old["id"], old["properties"]["datetime"] = "old", "2001-01-01T10:00:00Z"
    api.items = [old, *api.items]
    scenes = search(at(api.url, simulated_query))
    assert "old" not in ids(scenes)
    assert scenes.left_out == (
        f"1 of {len(api.items)} items that the server gave are left out: they are not of the days asked for.",
    )


def test_items_away_over_180_degrees_and_without_geometry_are_judged_by_their_bbox(
    api: FlakyApi, simulated_query: se.Query
) -> None:
    far = moved(api.items[0], 0, "far") | {"geometry": None, "bbox": [179, 50, -179, 52]}
    near = copy.deepcopy(api.items[0]) | {"geometry": None}
    api.items = [far, near, *api.items[1:]]
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))


@pytest.mark.parametrize(("status", "most"), [(400, 100), (500, 40), (502, 31), (413, 15), (422, 100), (504, 62)])
def test_pages_that_are_refused_or_too_large_are_halved(
    status: int, most: int, api: FlakyApi, simulated_query: se.Query
) -> None:
    api.most_items, api.too_many = most, status
    scenes = search(at(api.url, simulated_query))
    assert (ids(scenes), scenes.left_out) == (ids(search(simulated_query)), ())


@pytest.mark.parametrize("status", [405, 501, 415])
def test_a_server_that_refuses_post_is_asked_by_get(status: int, api: FlakyApi, simulated_query: se.Query) -> None:
    api.refused_post = status
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))
    assert [method for _, method, _ in api.searches][:2] == ["POST", "GET"]


def test_a_region_too_long_for_an_address_is_asked_as_its_box(api: FlakyApi, simulated_query: se.Query) -> None:
    from shapely import box, segmentize  # noqa: PLC0415

    assert simulated_query.bbox is not None
    api.method = "GET"
    region = segmentize(box(*simulated_query.bbox), 1e-5)
    assert ids(search(at(api.url, simulated_query, bbox=None, intersects=region))) == ids(search(simulated_query))
    assert {"bbox"} == {name for _, _, asked in api.searches[:1] for name in asked if name in {"bbox", "intersects"}}


def test_a_server_without_conformance_and_one_still_at_work_are_asked(api: FlakyApi, simulated_query: se.Query) -> None:
    api.conformance, api.failures = False, ["202", "", "202"]
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))
    api.failures = ["202"] * 9
    with pytest.raises(CatalogError, match="the server answers 202, and goes on working"):
        search(at(api.url, simulated_query))


@pytest.mark.parametrize(("method", "paging"), [("GET", "relative"), ("POST", "empty first"), ("GET", "empty first")])
def test_next_pages_from_the_servers_root_and_after_an_empty_page(
    method: str, paging: str, api: FlakyApi, simulated_query: se.Query
) -> None:
    api.method, api.paging, expected = method, paging, ids(search(simulated_query))
    assert ids(search(at(api.url, simulated_query))) == (expected[1:] if paging == "empty first" else expected)


@pytest.mark.parametrize(
    ("href", "place"),
    [
        ("./B02.tif", "/collections/x/items/B02.tif"),
        ("/cogs/B02.tif", "/cogs/B02.tif"),
        ("../B02.tif?v=1", "/collections/x/B02.tif?v=1"),
        ("gcs://bucket/B02.tif", "gs://bucket/B02.tif"),
        ("s3://bucket/B02.tif", "s3://bucket/B02.tif"),
    ],
)
def test_hrefs_of_items_are_seen_from_their_own_address(
    href: str, place: str, api: FlakyApi, simulated_query: se.Query
) -> None:
    items = copy.deepcopy(list(api.items))
    for item in items:
        item["links"] = [{"rel": "self", "href": f"{api.url}/collections/x/items/{item['id']}"}]
        item["assets"]["B02"]["href"] = href
    api.items = items
    scenes = search(
        at(api.url, simulated_query, bands=["B02"], allow_hrefs=[str(Path(labels_of_first(simulated_query)))])
    )
    assert len(scenes) == len(items)
    expected = place if "://" in place else f"{api.url}{place}"
    assert {scene.bands["B02"].href for scene in scenes} == {expected}


def labels_of_first(query: se.Query) -> Path:
    return Path(labels_of(search(query)[0]).href).parents[2]


BOUNDS = [
    ("ANSWER_BYTES", "1000000", "bomb", "answer bytes"),
    ("REQUEST_SECONDS", "0.5", "drip", "request seconds"),
    ("REQUEST_SECONDS", "0.5", "drip headers", "request seconds"),
    ("PAGES", "2", "", "pages"),
    ("ITEMS", "3", "", "items"),
]


@pytest.mark.parametrize(("name", "most", "failure", "said"), BOUNDS)
def test_each_bound_names_itself(
    name: str, most: str, failure: str, said: str, api: FlakyApi, simulated_query: se.Query, monkeypatch: Any
) -> None:
    monkeypatch.setenv(f"SPACEEYE_STAC_MAX_{name}", most)
    api.failures, api.page_size = [failure] if failure else [], 1
    start = time.monotonic()
    with pytest.raises(
        CatalogError, match=f"goes beyond [\\d,.]+ {said}; .* set SPACEEYE_STAC_MAX_{name} to more"
    ) as caught:
        search(at(api.url, simulated_query))
    assert "?" not in str(caught.value)
    assert time.monotonic() - start < 5
    monkeypatch.setenv(f"SPACEEYE_STAC_MAX_{name}", "1e9")
    api.failures = []
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))


def test_a_bound_that_is_no_number_is_named(simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACEEYE_STAC_MAX_PAGES", "many")
    with pytest.raises(InvalidInputError, match="SPACEEYE_STAC_MAX_PAGES 'many' is no number above 0"):
        search(simulated_query)


def test_swapped_coordinates_are_recognised_by_the_extent(api: FlakyApi, simulated_query: se.Query) -> None:
    assert simulated_query.bbox is not None
    west, south, east, north = simulated_query.bbox
    items, api.items, api.extent = api.items, [], (west - 5, south - 5, east + 5, north + 5)
    swapped = (south, west, north, east)
    for given in (items, []):  # a server that ignores the region, and one that finds nothing
        api.items = given
        with pytest.raises(NoScenesError, match="write longitudes before latitudes"):
            search(at(api.url, simulated_query, bbox=swapped))
    with pytest.raises(NoScenesError) as caught:
        search(at(api.url, simulated_query, bbox=(100, 10, 101, 11)))
    assert "write longitudes" not in str(caught.value)


def test_a_region_mostly_outside_of_all_scenes_is_said(simulated_query: se.Query) -> None:
    assert simulated_query.bbox is not None
    west, south, east, north = simulated_query.bbox
    wide = search(at(simulated_query.catalog, simulated_query, bbox=(west - 1, south, east, north)))
    assert re.fullmatch(r"All scenes together cover \d\.\d% of the region\.", wide.left_out[-1])
    assert search(simulated_query).left_out == ()


def test_pipes_are_refused(tmp_path: Path, simulated_query: se.Query) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(CatalogError, match="is no regular file"):
        search(at(tmp_path / "pipe.json", simulated_query))
    with pytest.raises(InvalidInputError, match="is no regular file"):
        at("x", simulated_query, bbox=None, intersects=tmp_path / "pipe.json")
