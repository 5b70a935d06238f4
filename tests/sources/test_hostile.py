"""Whole documents that mean harm, or are broken, through search, plan, the table and JSON: no traceback, no escapes."""

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, SpaceEyeError, printable
from spaceeye_stac.simulation.landscape import Simulation
from spaceeye_stac.sources import as_records, search
from tests.support.command import command, options_of
from tests.support.hostile import (
    ESCAPES,
    ODD,
    RING,
    WORTH_A_TRY,
    Source,
    Watch,
    WildApi,
    fresh,
    nested,
    outcome,
    places,
    put,
    real_items,
)
from tests.support.hostile import query_near as near
from tests.support.items import absolute_items
from tests.support.loopback import serving

Json = dict[str, Any]
WATCH = Watch()


@pytest.fixture(scope="module")
def usual_items(simulated: Path) -> list[Json]:
    """Items of three days, without their pixels' places."""
    found = absolute_items(simulated)[:3]
    for item in found:
        for asset in item["assets"].values():
            asset["href"] = f"https://example.org/{Path(asset['href']).name}"
    return found


@pytest.fixture(scope="module")
def usual_item(usual_items: list[Json]) -> Json:
    return usual_items[0]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WildApi]:
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 0)
    WATCH.allowed.append(str(tmp_path))
    with serving(WildApi([])) as served:
        WATCH.ports.add(int(served.url.rpartition(":")[2]))
        yield served


# what stands where in one item of eight, and whether the item can be used all the same
PARTS: dict[str, tuple[tuple[str | int, ...], Any, bool | None]] = {
    "links null": (("links",), None, None),
    "links of texts": (("links",), ["self", 7, None], None),
    "a link without a target": (("links",), [{"rel": "self"}], None),
    "a link to an object": (("links",), [{"rel": "self", "href": {"a": 1}}], None),
    "geometry nested beyond the stack": (("geometry",), {"type": "Polygon", "coordinates": nested(900)}, None),
    "collections of geometries nested so": (
        ("geometry",),
        {"type": "GeometryCollection", "geometries": nested(900)},
        None,
    ),
    "coordinates of 400 digits": (("geometry",), {"type": "Polygon", "coordinates": [RING]}, None),
    "coordinates that are texts": (("geometry", "coordinates"), [[["a", "b"]] * 4], None),
    "coordinates that are infinite": (("geometry", "coordinates"), [[[float("inf"), 0]] * 4], None),
    "bbox of texts": (("bbox",), ["a", "b", "c", "d"], None),
    "bbox of 400 digits": (("bbox",), [10**400] * 4, None),
    "bbox of one": (("bbox",), [1], None),
    "EPSG -1": (("properties", "proj:code"), "EPSG:-1", False),
    "EPSG of 30 digits": (("properties", "proj:code"), f"EPSG:{10**30}", False),
    "EPSG of a height": (("properties", "proj:code"), "EPSG:5773", False),
    "EPSG of the Earth's centre": (("properties", "proj:code"), "EPSG:4978", False),
    "NaN in a transform": (("assets", "B02", "proj:transform"), [float("nan")] * 6, False),
    "a transform of 400 digits": (("assets", "B02", "proj:transform"), [10, 0, 10**400, 0, -10, 0], False),
    "a transform of two": (("assets", "B02", "proj:transform"), [10, 0], False),
    "a shape of texts": (("assets", "B02", "proj:shape"), ["a", "b"], False),
    "an infinite shape": (("assets", "B02", "proj:shape"), [float("inf"), 1], False),
    "assets null": (("assets",), None, False),
    "assets a list": (("assets",), [], False),
    "an asset null": (("assets", "B02"), None, False),
    "an href that is none": (("assets", "B02", "href"), {"a": []}, False),
    "an href of zero bytes": (("assets", "B02", "href"), "x\x00.tif", False),
    "an href of half an address": (("assets", "B02", "href"), "http://[::1", False),
    "properties null": (("properties",), None, False),
    "the year 1": (("properties", "datetime"), "0001-01-01T00:00:00+23:59", False),
    "the year 9999": (("properties", "datetime"), "9999-12-31T23:59:59-23:59", False),
    "a time that is a list": (("properties", "datetime"), [2023], False),
    "a lone surrogate in the id": (("id",), "S2A_\ud800", False),
    "an id that is a number": (("id",), 7, False),
    "no id": (("id",), "", False),
    "a lone surrogate in the platform": (("properties", "platform"), "\ud800", None),
    "a lone surrogate in a link": (("links",), [{"rel": "self", "href": "http://127.0.0.1/\ud800"}], None),
    "cloud cover that is a text": (("properties", "eo:cloud_cover"), "cloudy", None),
    "cloud cover NaN": (("properties", "eo:cloud_cover"), float("nan"), None),
    "cloud cover of 400 digits": (("properties", "eo:cloud_cover"), 10**400, None),
    "a version that is a list": (("stac_version",), [1], None),
    "extensions null": (("stac_extensions",), None, None),
    "extensions of objects": (("stac_extensions",), [{"a": 1}], None),
    "a type that is an object": (("type",), {"a": 1}, None),
    "roles of objects": (("assets", "SCL", "roles"), [{}], None),
    "bands null": (("assets", "B02", "bands"), [None], None),
}


@pytest.mark.parametrize("kind", PARTS)
def test_one_broken_item_is_used_or_left_out_and_ends_nothing(
    kind: str, usual_items: list[Json], tmp_path: Path, api: WildApi
) -> None:
    at, value, usable = PARTS[kind]
    features = fresh(usual_items)
    others = [features[n]["id"] for n in (0, 2)]
    put(features[1], at, value)
    api.wild = document = {"type": "FeatureCollection", "features": features, "links": []}
    path = tmp_path / "items.json"
    path.write_text(json.dumps(document))
    for catalog in (path, api.url):
        with WATCH.watching():
            scenes = search(near(usual_items[0], catalog, profile="generic"))
        assert [scene.id for scene in scenes if scene.id in others] == others
        assert len(scenes) == 2 or usable is not False
        assert len(scenes) == 3 or "left out" in str(scenes)
        json.dumps(as_records(scenes), allow_nan=False)
        str(scenes).encode()
    features[:] = features[1:2]
    path.write_text(json.dumps(document))
    with WATCH.watching():
        outcome(near(usual_items[0], path, profile="generic"), planned=usable is None)
    assert not WATCH.strange


DOCUMENTS: dict[str, Any] = {
    "features null": {"type": "FeatureCollection", "features": None},
    "features of nulls": {"type": "FeatureCollection", "features": [None]},
    "features an object": {"type": "FeatureCollection", "features": {"assets": {}}},
    "features of empty assets": {"type": "FeatureCollection", "features": [{"assets": None}]},
    "no features": {"type": "FeatureCollection"},
    "a type that is a list": {"type": ["Catalog"], "stac_version": "1.0.0"},
    "a type that is an object": {"type": {}, "stac_version": "1.0.0"},
    "links null": {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": None},
    "links a number": {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "", "links": 7},
    "links of anything": {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "c",
        "links": [None, 1, [], {}, {"rel": 1}],
    },
    "no version": {"type": "Catalog", "stac_version": None, "id": None, "links": []},
    "an item alone without anything": {"type": "Feature", "stac_version": "1.0.0"},
    "a collection without an extent": {"type": "Collection", "stac_version": "1.0.0", "id": "c", "links": []},
    "a search link without a place": {"type": "Catalog", "stac_version": "1.0.0", "links": [{"rel": "search"}]},
    "a search link to a list": {"type": "Catalog", "stac_version": "1.0.0", "links": [{"rel": "search", "href": []}]},
    "a child that is a list": {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "c",
        "description": "",
        "links": [{"rel": "child", "href": ["x"]}],
    },
    "a list": [1],
    "a text": "catalog",
    "null": None,
    "a number of 5000 digits": float("nan"),
    "nested beyond the stack": nested(900),
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_that_is_no_catalog_is_one_sentence(
    kind: str, tmp_path: Path, simulated_query: se.Query, api: WildApi
) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(DOCUMENTS[kind]))
    with WATCH.watching():
        with pytest.raises(SpaceEyeError) as caught:
            search(replace(simulated_query, catalog=path))
        assert str(caught.value).endswith(".")
        for name in ("landing", "wild"):
            api.landing, api.wild = None, None
            setattr(api, name, DOCUMENTS[kind])
            if DOCUMENTS[kind] is not None:
                with pytest.raises(SpaceEyeError):
                    search(replace(simulated_query, catalog=api.url))


def test_brackets_beyond_the_parsers_stack_and_numbers_beyond_its_limit(
    tmp_path: Path, simulated_query: se.Query
) -> None:
    path = tmp_path / "catalog.json"
    for text in (
        "[" * 200_000,
        '{"a":' * 100_000,
        "9" * 5000,
        '{"type": "FeatureCollection", "features": [',
        "\x00",
        "",
    ):
        path.write_text(text)
        with pytest.raises(CatalogError):
            search(replace(simulated_query, catalog=path))
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(CatalogError):
        search(replace(simulated_query, catalog=path))


def test_nothing_of_others_is_printed_so_that_a_terminal_acts_on_it(usual_item: Json, tmp_path: Path) -> None:
    """By the command itself, on a terminal that knows ASCII alone."""
    items = [fresh(usual_item) for _ in range(6)]
    items[0]["id"] = f"é{ESCAPES}"
    items[1]["id"] = f"b{ESCAPES}"
    items[1]["properties"]["datetime"] = ESCAPES
    items[2]["assets"]["B02"]["href"] = f"file:///etc/{ESCAPES}"
    items[3]["properties"]["grid:code"] = f"MGRS-{ESCAPES}"
    items[4]["properties"]["proj:code"] = ESCAPES
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    query, everywhere = near(usual_item, path), {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command("search", *options_of(query), env=everywhere)
    assert done.returncode == 0, done.stderr
    assert r"\xe9\x1b]0;title\x07\x1b[31m\x9b2J\u202e\u2066\r\nEND" in done.stdout
    assert not [c for c in done.stdout + done.stderr if not c.isprintable() and c != "\n"]
    outcome(query, planned=True)
    for item in items:
        item["properties"]["proj:code"] = ESCAPES
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    done = command("search", *options_of(query), env=everywhere)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Item ")
    assert not [c for c in done.stderr if not c.isprintable() and c != "\n"]


@given(st.text())
def test_what_is_printable_stays_and_all_else_is_escaped(text: str) -> None:
    found = printable(text)
    assert found.isprintable()
    assert found == text or not text.isprintable()
    found.encode()
    assert str(SpaceEyeError(text)) == found


def test_an_error_of_others_words_has_no_escapes() -> None:
    assert str(SpaceEyeError(f"Item {ESCAPES} is é.")) == (
        r"Item \x1b]0;title\x07\x1b[31m\x9b2J\u202e\u2066\r\nEND is é."
    )


VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def spoilt(document: Any, changes: list[tuple[int, Any]]) -> Any:
    """A copy with values put at places that are counted from its root."""
    found = fresh(document)
    for number, value in changes:
        at = list(places(found))
        likely = [place for place in at if place[-1] in WORTH_A_TRY]
        among = likely if number % 3 and likely else at
        if among:
            put(found, among[number // 3 % len(among)], value)
    return found


@pytest.mark.parametrize("made", ["collected", "served"])
def test_no_document_is_a_traceback(made: str, usual_item: Json, tmp_path: Path, api: WildApi) -> None:
    """Whole documents with a few of their values replaced, through search, plan and print."""
    path = tmp_path / "items.json"
    query = near(usual_item, path if made == "collected" else api.url, profile="generic")

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(changes=st.lists(st.tuples(st.integers(0, 10**6), VALUES), min_size=1, max_size=3), alone=st.booleans())
    @example(changes=[(30000, -1e308)], alone=False)  # where an image lies, in a plan
    def tried(changes: list[tuple[int, Any]], alone: bool) -> None:  # noqa: FBT001
        features = [usual_item] if alone else [usual_item, {**usual_item, "id": "x"}]
        document = spoilt({"type": "FeatureCollection", "features": features, "links": []}, changes)
        path.write_text(json.dumps(document))
        api.wild = document
        start = time.monotonic()
        with WATCH.watching():
            outcome(query, planned=changes[0][0] % 16 == 0)
        assert time.monotonic() - start < 10

    tried()
    assert not WATCH.strange


def test_no_catalog_of_real_items_is_a_traceback(tmp_path: Path, api: WildApi) -> None:
    """A few of those that `python -m tests.support.hostile 10000` tries."""
    rng, found = random.Random(5), real_items()  # noqa: S311
    source = Source(tmp_path, api, rng)
    for number in range(30):
        item = rng.choice(found)
        with WATCH.watching():
            outcome(near(item, source.made_of(item)), planned=number % 10 == 0)
    assert not WATCH.strange


def test_a_run_of_items_whose_every_text_is_hostile_publishes(tmp_path: Path) -> None:
    """What cannot be written down is left out of what is published, and nothing of it ends the run."""
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path / "in")
    items = absolute_items(catalog)
    for number, item in enumerate(items):
        for asset in item["assets"].values():
            asset |= {"href": Path(asset["href"]).as_uri(), "title": f"\ud800{ESCAPES}"}
        item |= {"id": f"x{number}{ESCAPES}", "collection": "\ud800"}
        item["links"] = [{"rel": "self", "href": f"http://127.0.0.1/{ESCAPES}\ud800"}]
        item["properties"] |= dict.fromkeys(("platform", "s2:product_uri", "eo:cloud_cover", "title"), "\ud800")
    path = catalog.parent / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    box = (3.0005, 50.8192, 3.004, 50.8214)
    query = se.Query(catalog=path, bbox=box, datetime="2023-04-01/2023-04-02", bands=["B02", "B11"])
    result = se.run(query, out=tmp_path / "out")
    assert result.days == ("2023-04-01", "2023-04-02")
    published = json.loads((tmp_path / "out" / "spaceeye_2023-04-01" / "spaceeye_2023-04-01.json").read_text())
    assert set(published["properties"]["spaceeye:scenes"]) <= {item["id"] for item in items}
