"""Publishing to a real STAC API: Postgres, PostGIS, pgstac and stac-fastapi."""

import copy
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests
import stackstac
from pystac_client import Client

import spaceeye_stac as se
from spaceeye_stac.publishing.api import StacApi
from spaceeye_stac.publishing.digests import with_digest
from spaceeye_stac.publishing.targets import target_of
from tests.e2e.services import need_module
from tests.support.command import command
from tests.support.failing_proxy import FailingProxy
from tests.support.loopback import serving
from tests.support.servers import Process
from tests.support.stac_validation import validate

DAYS = 120
COUNT = 5000


def renamed(folder: Path, name: str, place: Path) -> Path:
    """A copy of a run under another collection id, so that tests do not meet."""
    out = Path(shutil.copytree(folder, place / name))
    for path in [out / "collection.json", *out.glob("*/*.json")]:
        path.write_text(path.read_text().replace("field", name))
    for path in sorted(out.glob("field_*")):
        (path / f"{path.name}.json").rename(path / f"{path.name.replace('field', name)}.json")
        path.rename(out / path.name.replace("field", name))
    return out


def held(api: str, collection: str) -> list[pystac.Item]:
    return list(Client.open(api).search(collections=[collection], limit=50).items())


def test_120_items_twice(finished: Path, api: str, say: Callable[[str], None]) -> None:
    start = time.monotonic()
    done = command("publish", finished, "--to", api)
    say(f"{DAYS} items published in {time.monotonic() - start:.1f} s")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{api}: 120 sent" in done.stdout
    again = command("publish", finished, "--to", api)
    assert f"{api}: 120 unchanged" in again.stdout
    items = held(api, "field")
    assert len({item.id for item in items}) == len(items) == DAYS
    collection = Client.open(api).get_collection("field")
    assert collection is not None
    assert collection.extent.temporal.to_dict()["interval"] == [["2018-04-11T00:00:00Z", "2018-08-08T23:59:59.999000Z"]]
    validate(pystac.Collection.from_dict(collection.to_dict()))
    for item in items[::10]:
        validate(item)


def test_the_server_stops_in_the_middle(finished: Path, api_process: Process, tmp_path: Path) -> None:
    folder = renamed(finished, "interrupted", tmp_path)
    middle = threading.Event()

    def progress(_stage: str, done: int, _total: int) -> None:
        if done >= 30:
            middle.set()

    def pause() -> None:
        middle.wait(60)
        api_process.stop()
        time.sleep(2)
        api_process.start()

    keeper = threading.Thread(target=pause)
    keeper.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("spaceeye_stac.publishing.api.BULK_FROM", DAYS + 1)  # one by one, so that there is a middle
        report = se.publish(folder, api_process.address, progress=progress)
    keeper.join()
    assert len(report.sent) == DAYS
    assert len(held(api_process.address, "interrupted")) == DAYS


@pytest.mark.parametrize("bulk_from", [1, DAYS + 1])
def test_every_third_request_fails(
    finished: Path, api: str, tmp_path: Path, bulk_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.api.BULK_FROM", bulk_from)
    monkeypatch.setattr("spaceeye_stac.publishing.api.BULK_ITEMS", 10)
    folder = renamed(finished, f"shaky{bulk_from}", tmp_path)
    with serving(FailingProxy(api)) as proxy:
        report = se.publish(folder, proxy.url)
    assert proxy.statuses.count(500) >= len(proxy.statuses) // 3
    assert len(report.sent) == DAYS
    items = held(api, f"shaky{bulk_from}")
    assert len({item.id for item in items}) == len(items) == DAYS


def test_a_rejected_item_is_named(finished: Path, api: str, tmp_path: Path) -> None:
    folder = renamed(finished, "faulty", tmp_path)
    path = folder / "faulty_2018-05-01" / "faulty_2018-05-01.json"
    document = json.loads(path.read_text())
    document["geometry"] = {"type": "Polygon", "coordinates": "none"}
    path.write_text(json.dumps(document))
    done = command("publish", folder, "--to", api, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["failed"].keys() == {"faulty_2018-05-01"}
    assert "1 of 120 items were not published" in done.stderr
    assert "faulty_2018-05-01: " in done.stderr
    assert len(held(api, "faulty")) == DAYS - 1


@pytest.mark.slow
def test_5000_items_at_once(finished: Path, api: str, say: Callable[[str], None]) -> None:
    name = "many"
    store = StacApi(target_of(api))
    collection = json.loads((finished / "collection.json").read_text())
    store.put_collection({**collection, "id": name, "links": [], "assets": {}}, there=None)
    first = json.loads(next(iter(finished.glob("*/*.json"))).read_text())
    items = [with_digest({**copy.copy(first), "id": f"{name}_{i:04d}", "collection": name}) for i in range(COUNT)]
    start = time.monotonic()
    results = list(store.put_items(items))
    seconds = time.monotonic() - start
    say(f"{COUNT} items in {seconds:.1f} s: {COUNT / seconds:.0f} items/s")
    assert {one.failure for one in results} == {None}
    start = time.monotonic()
    assert len(store.items(name)) == COUNT
    say(f"listed again in {time.monotonic() - start:.1f} s")


def test_prune_and_withdraw(finished: Path, api: str, tmp_path: Path) -> None:
    folder = renamed(finished, "shorter", tmp_path)
    se.publish(folder, api)
    path = folder / "collection.json"
    document = json.loads(path.read_text())
    document["links"] = [link for link in document["links"] if "2018-08-" not in link["href"]]
    path.write_text(json.dumps(document))
    assert len(se.publish(folder, api).stale) == 8
    assert len(held(api, "shorter")) == DAYS
    assert len(se.publish(folder, api, prune=True).removed) == 8
    collection = Client.open(api).get_collection("shorter")
    assert collection is not None
    assert str(collection.extent.temporal.intervals[0][1]).startswith("2018-07-31")
    done = command("unpublish", "shorter", "--from", api)
    assert f"{api}: 112 removed" in done.stdout
    assert requests.get(f"{api}/collections/shorter", timeout=10).status_code == 404
    again = command("unpublish", "shorter", "--from", api)
    assert again.returncode == 2
    assert "has no collection shorter; nothing was removed" in again.stderr


@pytest.fixture(scope="module")
def published(finished: Path, api: str) -> list[pystac.Item]:
    """Ten days as a client finds them."""
    se.publish(finished, api)
    search = Client.open(api).search(collections=["field"], datetime="2018-05-01/2018-05-10")
    return sorted(search.items(), key=lambda item: item.id)


def on_disk(folder: Path, item: pystac.Item, band: str) -> np.ndarray[Any, Any]:
    with rasterio.open(folder / item.id / f"{band}.tif") as file:
        return np.asarray(file.read(1))


def test_search_pages_and_filters(finished: Path, api: str, published: list[pystac.Item]) -> None:
    assert [item.id[-10:] for item in published] == [f"2018-05-{day:02d}" for day in range(1, 11)]
    client = Client.open(api)
    seen = client.search(
        collections=["field"],
        limit=7,
        filter={"op": ">", "args": [{"property": "spaceeye:observed_share"}, 0.5]},
        filter_lang="cql2-json",
    )
    found = {item.id for item in seen.items()}
    facts = [json.loads(path.read_text()) for path in finished.glob("*/*.json")]
    assert found == {f["id"] for f in facts if f["properties"]["spaceeye:observed_share"] > 0.5}
    assert 7 < len(found) < DAYS
    text = client.search(
        collections=["field"],
        method="GET",
        filter='"spaceeye:method" = \'surface\' AND "spaceeye:median_clear_distance" >= 3',
        filter_lang="cql2-text",
    )
    assert {item.id for item in text.items()} == {
        f["id"] for f in facts if f["properties"]["spaceeye:median_clear_distance"] >= 3
    }


def test_stackstac_reads_the_files_values(finished: Path, published: list[pystac.Item]) -> None:
    plain = [{**item.to_dict(), "properties": {**item.properties, "proj:epsg": 32631}} for item in published]
    cube = stackstac.stack(
        plain, assets=["B04", "B08"], epsg=32631, rescale=False, dtype="uint16", fill_value=np.uint16(0)
    )
    values = cube.compute(scheduler="synchronous").to_numpy()
    assert values.shape[:2] == (10, 2)
    for i, item in enumerate(published):
        assert (values[i, 1] == on_disk(finished, item, "B08")).all()


def test_odc_stac_reads_the_files_values(finished: Path, published: list[pystac.Item]) -> None:
    need_module("odc.stac")
    import odc.stac  # noqa: PLC0415 - of the extra e2e

    cube = odc.stac.load(published, bands=["B04", "B08"], chunks={})
    assert cube.odc.geobox.crs.epsg == 32631
    for i, item in enumerate(published):
        assert (cube.B04.isel(time=i).compute().to_numpy() == on_disk(finished, item, "B04")).all()


def test_plain_gdal_reads_the_files_values(finished: Path, published: list[pystac.Item]) -> None:
    for item in published[:3]:
        with rasterio.open(item.assets["B04"].href.removeprefix("file://")) as file:
            assert file.nodata == 0
            assert (file.read(1) == on_disk(finished, item, "B04")).all()
