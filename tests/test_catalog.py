import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.catalog import as_records, search, signed
from spaceeye_stac.errors import CatalogError, NoScenesError, SpaceEyeError
from spaceeye_stac.simulate import Simulation
from tests.conftest import BE_BBOX, BE_DAYS
from tests.ports import free_port


def absolute_items(catalog: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(catalog.parent.glob("sentinel-2-l2a/*/*.json")):
        item = json.loads(path.read_text())
        item["links"] = []
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
        found.append(item)
    return found


@pytest.fixture(scope="session")
def api(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real STAC API server (rustac) on loopback with the simulated items."""
    folder, port = tmp_path_factory.mktemp("api"), free_port()
    files = [folder / "collection.json", folder / "items.json"]
    collection = json.loads((simulated.parent / "sentinel-2-l2a" / "collection.json").read_text())
    files[0].write_text(json.dumps({**collection, "links": []}))
    files[1].write_text(json.dumps({"type": "FeatureCollection", "features": absolute_items(simulated)}))
    program = Path(sys.executable).with_name("rustac")
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([program, "serve", "-a", f"127.0.0.1:{port}", *files], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        yield url
    finally:
        server.kill()
        server.wait()


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 - loopback
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the STAC API server did not start")


def test_static_catalog_gives_scenes_with_context(belgium: Path) -> None:
    scenes = search(se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS))
    days = [scene.day for scene in scenes]
    assert days == sorted(days)
    assert min(days) >= date(2018, 3, 18)
    assert max(days) <= date(2018, 9, 1)
    assert sum(date(2018, 4, 11) <= day <= date(2018, 8, 8) for day in days) >= 25
    first = scenes[0]
    assert list(first.bands) == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert (first.tile, first.epsg, first.profile) == ("31UDS", 32631, "planetary-computer")
    assert first.bands["B04"].resolution == 10
    assert first.labels.resolution == 20
    assert Path(first.bands["B04"].href).is_file()
    assert first.item["id"] == first.id


def test_folder_collection_and_item_collection_give_the_same_scenes(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    features = tmp_path / "items.json"
    features.write_text(json.dumps({"type": "FeatureCollection", "features": absolute_items(simulated)}))
    expected = search(simulated_query)
    for place in (simulated.parent, simulated.parent / "sentinel-2-l2a", features):
        query = se.Query(catalog=place, bbox=simulated_query.bbox, datetime=simulated_query.datetime, bands=["B02"])
        assert [s.id for s in search(query)] == [s.id for s in expected]


def test_api_gives_the_same_scenes_as_the_static_catalog(api: str, simulated_query: se.Query) -> None:
    query = se.Query(
        catalog=api, bbox=simulated_query.bbox, datetime=simulated_query.datetime, bands=simulated_query.bands
    )
    expected = search(simulated_query)
    assert [(s.id, s.day, s.bands, s.labels) for s in search(query)] == [
        (s.id, s.day, s.bands, s.labels) for s in expected
    ]


def test_scenes_print_as_a_table_and_as_records(simulated_query: se.Query) -> None:
    scenes = search(simulated_query)
    lines = str(scenes).splitlines()
    assert lines[0].split() == ["day", "tile", "epsg", "cloud", "id"]
    assert lines[-1] == f"{len(scenes)} scenes"
    assert all(scene.id in line for scene, line in zip(scenes, lines[1:], strict=False))
    assert json.loads(json.dumps(as_records(scenes)))[0]["bands"].keys() == {"B02", "B04", "B11"}


def test_search_is_a_function_whatever_was_imported_before() -> None:
    import spaceeye_stac.pipeline  # noqa: F401, PLC0415

    assert callable(se.search)
    assert all(callable(getattr(se, name)) for name in se.__all__)


@pytest.mark.parametrize(
    ("catalog", "said"),
    [
        ("no-such-profile", "'no-such-profile' is no profile .planetary-computer|earth-search"),
        ("/no/such/folder", "is no profile"),
        ("http://127.0.0.1:9/", "cannot be reached"),
    ],
)
def test_catalogs_that_are_not_there(catalog: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.catalog.MAX_RETRIES", 0)
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


def test_broken_item_link_is_an_error_not_fewer_scenes(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path)
    next(tmp_path.glob("sentinel-2-l2a/*/*.json")).unlink()
    with pytest.raises(CatalogError, match="cannot be read"):
        search(se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01"))


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


def test_local_hrefs_are_read_as_they_are(simulated_query: se.Query) -> None:
    scene = search(simulated_query)[0]
    assert signed(scene)(scene.bands["B02"].href) == scene.bands["B02"].href
