import copy
import json
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, ItemError, NoScenesError, SpaceEyeError
from spaceeye_stac.simulation.landscape import Simulation
from spaceeye_stac.sources.selection import as_records, search
from tests.support.failing_api import FlakyApi
from tests.support.items import absolute_items, labels_of
from tests.support.loopback import serving
from tests.support.material import BE_BBOX, BE_DAYS
from tests.support.searches import at, ids
from tests.support.servers import rustac_api


@pytest.fixture(scope="session")
def api(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real STAC API server (rustac) on loopback with the simulated items."""
    collection = simulated.parent / "sentinel-2-l2a" / "collection.json"
    with rustac_api(tmp_path_factory.mktemp("api"), [collection], absolute_items(simulated)) as url:
        yield url


def test_static_catalog_gives_scenes_with_context(belgium: Path) -> None:
    scenes = search(se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS))
    days = [scene.day for scene in scenes]
    assert days == sorted(days)
    assert min(days) >= date(2018, 2, 22)
    assert max(days) <= date(2018, 9, 25)
    assert sum(date(2018, 4, 11) <= day <= date(2018, 8, 8) for day in days) >= 25
    first = scenes[0]
    assert list(first.bands) == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert (first.tile, first.epsg, first.profile) == ("31UDS", 32631, "planetary-computer")
    assert first.bands["B04"].resolution == 10
    assert labels_of(first).resolution == 20
    assert Path(first.bands["B04"].href).is_file()
    assert first.item["id"] == first.id


def test_folder_collection_and_item_collection_give_the_same_scenes(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    features = tmp_path / "items.json"
    features.write_text(json.dumps({"type": "FeatureCollection", "features": absolute_items(simulated)}))
    expected = search(simulated_query)
    for place in (simulated.parent, simulated.parent / "sentinel-2-l2a", features):
        query = se.Query(
            catalog=place,
            bbox=simulated_query.bbox,
            datetime=simulated_query.datetime,
            bands=["B02"],
            allow_hrefs=[str(simulated.parent)],
        )
        assert [s.id for s in search(query)] == [s.id for s in expected]


def test_api_gives_the_same_scenes_as_the_static_catalog(api: str, simulated: Path, simulated_query: se.Query) -> None:
    query = se.Query(
        catalog=api,
        bbox=simulated_query.bbox,
        datetime=simulated_query.datetime,
        bands=simulated_query.bands,
        allow_hrefs=[str(simulated.parent)],
    )
    expected = search(simulated_query)
    assert [(s.id, s.day, s.bands, s.labels) for s in search(query)] == [
        (s.id, s.day, s.bands, s.labels) for s in expected
    ]


def test_scenes_print_as_a_table_and_as_records(simulated_query: se.Query) -> None:
    scenes = search(simulated_query)
    lines = str(scenes).splitlines()
    assert lines[0].split() == ["day", "tile", "epsg", "cloud", "clear", "use", "id"]
    assert lines[-1].startswith(f"{len(scenes)} scenes")
    assert all(scene.id in line for scene, line in zip(scenes, lines[1:], strict=False))
    assert json.loads(json.dumps(as_records(scenes)))[0]["bands"].keys() == {"B02", "B04", "B11"}


def test_search_is_a_function_whatever_was_imported_before() -> None:
    import spaceeye_stac.pipeline  # noqa: F401, PLC0415

    assert callable(se.search)
    assert all(callable(getattr(se, name)) for name in dir(se) if name != "__version__")


@pytest.mark.parametrize(
    ("catalog", "said"),
    [
        ("no-such-profile", "'no-such-profile' is no profile .planetary-computer|earth-search"),
        ("/no/such/folder", "is no profile"),
        ("http://127.0.0.1:9/", "cannot be reached"),
    ],
)
def test_catalogs_that_are_not_there(catalog: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 0)
    with pytest.raises(CatalogError, match=said):
        search(se.Query(catalog=catalog, bbox=BE_BBOX, datetime=BE_DAYS))


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"type": "FeatureCollection", "features": [{}]}'])
def test_files_that_are_no_stac(text: str, tmp_path: Path) -> None:
    file = tmp_path / "catalog.json"
    file.write_text(text)
    for place in (file, tmp_path):
        with pytest.raises(CatalogError, match="is no STAC"):
            search(se.Query(catalog=place, bbox=BE_BBOX, datetime=BE_DAYS))


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"holds no catalog\.json"):
        search(se.Query(catalog=tmp_path, bbox=BE_BBOX, datetime=BE_DAYS))


def test_a_broken_item_link_is_left_out_and_named(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path)
    query = se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01")
    first, *others = search(query)
    gone = next(tmp_path.glob(f"sentinel-2-l2a/*/{first.id}.json"))
    gone.unlink()
    scenes = search(query)
    assert ids(scenes) == ids(others)
    assert scenes.left_out == (f"File {gone} left out: there is no such file.",)


def test_counts_before_each_filter_are_said(simulated: Path, simulated_query: se.Query) -> None:
    with pytest.raises(NoScenesError, match=r"\d+ items in the catalog, 0 of them intersect the region"):
        search(se.Query(catalog=simulated, bbox=(10, 40, 10.1, 40.1), datetime="2023-04-01"))
    with pytest.raises(NoScenesError, match=r"(\d+) items in the catalog, \1 of them intersect .* 0 of them from 2031"):
        search(se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2031-04-01"))


def test_band_the_catalog_does_not_have(simulated: Path, simulated_query: se.Query) -> None:
    with pytest.raises(CatalogError, match="Bands B09 are in no scene of the catalog; it has B02"):
        search(se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2023-04-01", bands=["B02", "B09"]))


def test_wrong_profile_names_the_item(simulated: Path, simulated_query: se.Query) -> None:
    with pytest.raises(SpaceEyeError, match=r"Item S2A_.* has no mask asset 'scl'"):
        search(se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2023-04-01", profile="earth-search"))


Changes = Callable[..., FlakyApi]


@pytest.fixture
def flaky(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Changes]:
    """A server over the simulated items that fails as told; waits are short."""
    monkeypatch.setattr("spaceeye_stac.sources.transport.FIRST_WAIT_SECONDS", 0.01)
    with serving(FlakyApi(absolute_items(simulated))) as api:

        def changed(**changes: Any) -> FlakyApi:
            for name, value in changes.items():
                setattr(api, name, value)
            return api

        yield changed


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("page_size", [1, 3, 250])
def test_every_page_is_read(method: str, page_size: int, flaky: Changes, simulated_query: se.Query) -> None:
    api = flaky(method=method, page_size=page_size)
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))
    assert {asked for _, asked, _ in api.searches} == {method}
    assert len(api.searches) == -(-len(api.items) // page_size)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("failure", ["429", "500", "502", "503", "504", "cut", "stall"])
def test_what_may_pass_is_tried_again(
    failure: str, method: str, flaky: Changes, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.TIMEOUT_SECONDS", 0.3)
    api = flaky(method=method, failures=["", failure, failure], page_size=6)
    assert ids(search(at(api.url, simulated_query))) == ids(search(simulated_query))
    assert len(api.searches) == -(-len(api.items) // 6) + 2


@pytest.mark.parametrize(
    ("failure", "said", "tries"),
    [
        ("429", "the server answers 429", 3),
        ("500", "the server answers 500", 15),  # three at each of five page sizes
        ("cut", "the connection was cut", 3),
        ("stall", "no answer in time", 3),
        ("404", "the server answers 404", 1),
        ("nonsense", "the answer is not JSON", 1),
    ],
)
def test_what_does_not_pass_ends_with_a_clear_error(
    failure: str, said: str, tries: int, flaky: Changes, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 2)
    api = flaky(failures=[failure] * 99)
    with pytest.raises(CatalogError) as caught:
        search(at(f"{api.url}/?token=secret", simulated_query))
    assert str(caught.value) == f"Search at {api.url}/ failed: {said}; try again later."
    assert caught.value.__cause__ is None
    assert len(api.searches) == tries


def test_retry_after_is_honoured_and_bounded(
    flaky: Changes, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = flaky(failures=["429"], retry_after="1", page_size=250)
    assert search(at(api.url, simulated_query))
    first, second = (when for when, _, _ in api.searches)
    assert 1 <= second - first < 2
    api = flaky(failures=["503"], retry_after="soon")
    assert search(at(api.url, simulated_query))
    monkeypatch.setattr("spaceeye_stac.sources.transport.RETRY_SECONDS", 30)
    api = flaky(failures=["429"], retry_after="3600")
    start = time.monotonic()
    with pytest.raises(CatalogError, match="429"):
        search(at(api.url, simulated_query))
    assert time.monotonic() - start < 2


def test_tries_are_bounded_in_time(flaky: Changes, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.RETRY_SECONDS", 0.5)
    monkeypatch.setattr("spaceeye_stac.sources.transport.TIMEOUT_SECONDS", 0.2)
    api = flaky(failures=["stall"] * 99)
    with pytest.raises(CatalogError, match="no answer in time"):
        search(at(api.url, simulated_query))
    assert 2 <= len(api.searches) <= 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_that_repeats_ends_the_search(method: str, flaky: Changes, simulated_query: se.Query) -> None:
    api = flaky(paging="repeat", method=method)
    with pytest.raises(CatalogError, match=r"goes round in circles: page 2 repeats items of earlier pages"):
        search(at(api.url, simulated_query))
    assert len(api.searches) == 2


def test_items_that_come_twice_are_used_once(flaky: Changes, simulated_query: se.Query) -> None:
    scenes = search(at(flaky(paging="overlap").url, simulated_query))
    assert ids(scenes) == ids(search(simulated_query))
    assert scenes.left_out == ()


def test_a_server_that_gives_fewer_than_it_counts_is_noted(flaky: Changes, simulated_query: se.Query) -> None:
    api = flaky(matched=99)
    assert search(at(api.url, simulated_query)).left_out == (
        f"The server counts 99 items and gave {len(api.items)}; search again to be sure.",
    )


def test_order_of_the_server_does_not_matter(flaky: Changes, simulated_query: se.Query) -> None:
    expected = search(simulated_query)
    for items in (flaky().items[::-1], [*flaky().items[::2], *flaky().items[1::2]]):
        scenes = search(at(flaky(items=items).url, simulated_query))
        assert (ids(scenes), scenes.left_out) == (ids(expected), expected.left_out)


def test_secrets_in_the_catalog_url_are_never_shown(
    flaky: Changes, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 0)
    here = flaky(failures=["404"]).url.removeprefix("http://")
    for catalog in (f"http://me:secret@{here}/?token=secret#secret", "http://127.0.0.1:9/x?token=secret"):
        with pytest.raises(CatalogError) as caught:
            search(at(catalog, simulated_query))
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_filters_are_applied_here_and_counted(flaky: Changes, simulated_query: se.Query) -> None:
    items = copy.deepcopy(flaky().items)
    for number, item in enumerate(items):
        item["properties"] |= {"eo:cloud_cover": 10.0 * number, "sat:relative_orbit": 8 if number % 2 else 51}
    del items[-1]["properties"]["eo:cloud_cover"]
    api = flaky(items=items)
    cloudy = search(at(api.url, simulated_query, max_cloud_cover=20))
    assert ids(cloudy) == [items[i]["id"] for i in (0, 1, 2, -1)]
    said = f"{len(items) - 4} of {len(items)} scenes left out: not at max_cloud_cover 20 or below."
    assert cloudy.left_out == (said,)
    odd = search(at(api.url, simulated_query, orbits=[8], tiles=["31UDS"], platforms=["S2A"]))
    assert ids(odd) == [item["id"] for item in items[1::2]]
    assert odd.left_out == (f"{len(items) - len(odd)} of {len(items)} scenes left out: not in orbits 8.",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tiles": ["32TMT"]}, "in tiles 32TMT"),
        ({"platforms": ["S2B"]}, "of platforms sentinel-2b"),
        ({"orbits": [7]}, "in orbits 7"),
        ({"max_cloud_cover": 0.5}, "at max_cloud_cover 0.5 or below"),
    ],
)
def test_filters_that_leave_nothing_are_named(change: dict[str, Any], said: str, flaky: Changes) -> None:
    items = copy.deepcopy(flaky().items)
    for item in items:
        item["properties"]["eo:cloud_cover"] = 1.0
    query = se.Query(
        catalog=flaky(items=items).url, bbox=items[0]["bbox"], datetime="2023-04", allow_hrefs="/", **change
    )
    with pytest.raises(NoScenesError) as caught:
        search(query)
    assert f"{len(items)} items of sentinel-2-l2a" in str(caught.value)
    assert str(caught.value).endswith(f", 0 of them {said}; widen or leave out that filter.")


def test_duplicates_are_dropped_and_told(flaky: Changes, simulated_query: se.Query) -> None:
    items = copy.deepcopy(flaky().items)
    newer = copy.deepcopy(items[0])
    newer["id"] += "_again"
    newer["properties"] |= {"s2:processing_baseline": "05.00", "eo:cloud_cover": 100.0}
    scenes = search(at(flaky(items=[newer, *items]).url, simulated_query))
    assert ids(scenes) == [newer["id"], *(item["id"] for item in items[1:])]
    (note,) = scenes.left_out
    assert note.startswith(f"Scene {items[0]['id']} left out: the same acquisition as {newer['id']}, ")
    clear = search(at(flaky().url, simulated_query, max_cloud_cover=99))
    assert not {items[0]["id"], newer["id"]} & set(ids(clear))


def test_both_datastrips_of_a_real_day_stay(tanzania: Path) -> None:
    box = json.loads(next(tanzania.parent.glob("sentinel-2-l2a/*/*.json")).read_text())["bbox"]
    scenes = search(se.Query(catalog=tanzania, bbox=box, datetime="2019-11-25"))
    assert {"S2_37MBS_20191125_0_L2A", "S2_37MBS_20191125_1_L2A"} <= set(ids(scenes))
    assert scenes.left_out == ()


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "has datetime 'soon', which is no RFC 3339 time": lambda item: item["properties"].update(datetime="soon"),
    "is malformed": lambda item: item.update(properties=None),
    "must give one EPSG code": lambda item: item["properties"].pop("proj:code"),
    "a pixel of 1e-06 m is no Sentinel-2 pixel": lambda item: item["assets"]["B02"].update(
        {"proj:transform": [1e-6, 0, 5e5, 0, -1e-6, 5.6e6]}
    ),
    "names different tiles": lambda item: item["properties"].update({"s2:mgrs_tile": "32TMT"}),
}


@pytest.mark.parametrize("said", BAD)
def test_one_bad_item_is_left_out_and_named(said: str, flaky: Changes, simulated_query: se.Query) -> None:
    items = copy.deepcopy(flaky().items)
    BAD[said](items[3])
    scenes = search(at(flaky(items=items).url, simulated_query, profile="planetary-computer"))
    assert ids(scenes) == [item["id"] for i, item in enumerate(items) if i != 3]
    count, note = scenes.left_out
    assert count == f"1 of {len(items)} items cannot be used."
    assert note.startswith(f"Item {items[3]['id']} left out: it ")
    assert said in note
    for item in [*items[:3], *items[4:]]:
        BAD[said](item)
    with pytest.raises(ItemError, match=f"^Item '?{items[0]['id']}'? "):
        search(at(flaky(items=items).url, simulated_query, profile="planetary-computer"))
    with pytest.raises(ItemError):
        se.scenes_from_items(items[:1], "planetary-computer")


def test_answers_that_are_no_items_do_not_end_the_search(flaky: Changes, simulated_query: se.Query) -> None:
    items: list[Any] = [None, 7, {}, {"id": ["x"]}, *flaky().items]
    scenes = search(at(flaky(items=items).url, simulated_query))
    assert ids(scenes) == [item["id"] for item in items[4:]]
    assert scenes.left_out[0] == "2 answers of the server left out: they are no items."
    assert scenes.left_out[1] == f"2 of {len(items) - 2} items cannot be used."
    assert len(scenes.left_out) == 4


def test_a_bad_feature_of_an_item_collection_is_named(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    items = absolute_items(simulated)
    items[1]["geometry"] = {"type": "Polygon", "coordinates": 5}
    items[2] = {"id": "half", "assets": {}}
    items[3]["properties"]["datetime"] = "2023-99-99"
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    scenes = search(
        se.Query(
            catalog=tmp_path / "items.json",
            bbox=simulated_query.bbox,
            datetime="2023-04",
            bands=["B02"],
            allow_hrefs=["/"],
        )
    )
    assert len(scenes) == len(search(se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2023-04"))) - 3
    told = "\n".join(scenes.left_out)
    assert f"Item {items[1]['id']} left out: its geometry is malformed." in told
    assert "Item half left out: it is malformed" in told
    assert f"Item {items[3]['id']} left out: it" in told


@pytest.fixture
def static(flaky: Changes, simulated: Path) -> FlakyApi:
    """The simulated catalog as files of the flaky server."""
    return flaky(folder=simulated.parent)


@pytest.mark.parametrize("failure", ["429", "503", "cut", "stall"])
def test_static_catalogs_are_read_patiently(
    failure: str, static: FlakyApi, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.TIMEOUT_SECONDS", 0.5)
    static.failures = ["", failure, "", failure, failure]
    scenes = search(at(f"{static.url}/static/catalog.json", simulated_query))
    assert ids(scenes) == ids(search(simulated_query))
    assert static.failures == []
    base = f"{static.url}/static/sentinel-2-l2a/{scenes[0].id}"
    assert scenes[0].bands["B02"].href == f"{base}/B02.tif"
    assert scenes[0].href == f"{base}/{scenes[0].id}.json"


def test_static_catalogs_that_fail_are_an_error_not_fewer_scenes(
    static: FlakyApi, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 1)
    static.failures = ["", "", "", "500", "500"]
    with pytest.raises(CatalogError) as caught:
        search(at(f"{static.url}/static/catalog.json?token=secret", simulated_query))
    assert str(caught.value) == f"Catalog {static.url}/static/catalog.json cannot be read: the server answers 500."


def test_secrets_of_the_catalogs_address_stay_out_of_its_scenes(static: FlakyApi, simulated_query: se.Query) -> None:
    """They are needed to read, but nothing that is published may hold them."""
    url = static.url.replace("http://", "http://me:secret@")
    scenes = search(at(f"{url}/static/catalog.json", simulated_query))
    assert "secret" in scenes[0].bands["B02"].href
    assert "secret" not in str(scenes[0].href) + json.dumps(as_records(scenes)) + str(scenes)
