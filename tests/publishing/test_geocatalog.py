"""Publishing to a GeoCatalog of Planetary Computer Pro, which accepts everything and does it later."""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.collection.assets import renders
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing import DayStream
from spaceeye_stac.publishing.apis import placing_for
from spaceeye_stac.publishing.credentials import TOKEN, TOKEN_COMMAND
from spaceeye_stac.publishing.digests import DIGEST
from spaceeye_stac.publishing.geocatalog_shows import render_options
from spaceeye_stac.publishing.report import PublishOptions
from spaceeye_stac.publishing.run_folder import read_run_folder
from spaceeye_stac.publishing.targets import target_of
from tests.support.forked_runs import starting
from tests.support.geocatalog import GeoCatalog
from tests.support.loopback import serving
from tests.support.odd_api import OtherHost
from tests.support.publications import published

IDS = tuple(f"spaceeye_2023-04-{day:02d}" for day in range(1, 5))
ITEMS = "/stac/collections/spaceeye/items"
BASE = "https://days.example/a"
SECRET = "hunter22-token"  # noqa: S105 - of the fake


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.api.SETTLE_SECONDS", 0.2)
    monkeypatch.setenv(TOKEN, SECRET)


@pytest.fixture
def catalog() -> Iterator[GeoCatalog]:
    with serving(GeoCatalog(token=SECRET)) as running:
        yield running


def at(catalog: GeoCatalog) -> str:
    return f"geocatalog+{catalog.url}"


def held(catalog: GeoCatalog) -> set[str]:
    return {name for _, name in catalog.items}


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder over HTTP, as a public container is; its address, and the credentials that it was sent."""
    sent: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            sent.append(str(self.headers.get("Authorization")))

    folder.mkdir(exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()


def changed(run: Path, place: Path, name: str) -> Path:
    """A copy of a run with another title of one of its days."""
    copy = Path(shutil.copytree(run, place))
    path = copy / name / f"{name}.json"
    document = json.loads(path.read_text())
    document["properties"]["title"] = "Another"
    path.write_text(json.dumps(document))
    return copy


def without(run: Path, place: Path, name: str) -> Path:
    """A copy of a run that has not one of its days."""
    copy = Path(shutil.copytree(run, place))
    path = copy / "collection.json"
    document = json.loads(path.read_text())
    document["links"] = [link for link in document["links"] if not link["href"].endswith(f"{name}.json")]
    path.write_text(json.dumps(document))
    return copy


def test_days_a_collection_and_how_they_are_shown(catalog: GeoCatalog, four_days: Path) -> None:
    report = se.publish(four_days, at(catalog))
    assert (set(report.sent), held(catalog)) == (set(IDS), set(IDS))
    assert catalog.configured["spaceeye", "mosaics"]["latest"]["cql"] == []
    options = {name: one["options"] for name, one in catalog.configured["spaceeye", "render-options"].items()}
    shown = json.loads((four_days / "collection.json").read_text())["renders"]
    assert options.keys() == shown.keys()
    assert options["clear_distance"] == "assets=clear_distance&rescale=0,30&colormap_name=viridis"


def test_again_nothing_is_sent(catalog: GeoCatalog, four_days: Path) -> None:
    se.publish(four_days, at(catalog))
    catalog.changes()
    report = se.publish(four_days, at(catalog))
    assert (set(report.unchanged), report.sent, catalog.changes()) == (set(IDS), (), [])


def test_what_changed_is_replaced_and_what_went_is_removed(
    catalog: GeoCatalog, four_days: Path, tmp_path: Path
) -> None:
    se.publish(four_days, at(catalog), asset_base_url=BASE)
    catalog.changes()
    run = without(changed(four_days, tmp_path / "a", IDS[1]), tmp_path / "b", IDS[3])
    report = se.publish(run, at(catalog), asset_base_url=BASE, prune=True)
    assert (report.sent, report.removed, held(catalog)) == ((IDS[1],), (IDS[3],), set(IDS[:3]))
    sent = [change for change in catalog.changes() if "/items" in change[1]]
    assert sent == [("PUT", f"{ITEMS}/{IDS[1]}"), ("DELETE", f"{ITEMS}/{IDS[3]}")]
    assert catalog.items["spaceeye", IDS[1]]["properties"]["title"] == "Another"
    withdrawn = se.unpublish("spaceeye", at(catalog))
    assert (set(withdrawn.removed), held(catalog), catalog.collections) == (set(IDS[:3]), set(), {})


def test_many_are_sent_in_one_operation(catalog: GeoCatalog, four_days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.api.BULK_FROM", 2)
    catalog.bad = {IDS[2]: ("IngestionResourceForbidden", "no access to the container")}
    report, why = published(four_days, at(catalog))
    assert report is not None
    assert (set(report.sent), set(report.failed)) == ({*IDS} - {IDS[2]}, {IDS[2]})
    assert "gave up: IngestionResourceForbidden: no access to the container" in why
    assert sum(change == ("POST", ITEMS) for change in catalog.changes()) == 2  # all, and the one that failed
    catalog.bad = {}
    assert se.publish(four_days, at(catalog)).sent == (IDS[2],)


def test_an_operation_without_end_is_given_up_and_later_found_done(catalog: GeoCatalog, four_days: Path) -> None:
    se.publish(four_days, at(catalog))
    catalog.items.clear()
    catalog.seconds = 3600
    report, why = published(four_days, at(catalog), wait=0.2)
    assert report is not None
    assert set(report.failed) == set(IDS)
    assert "the API answered 202, was not done with it after 0.2 s, and does not hold it now" in why
    for work in catalog.works.values():
        work.due = 0
    catalog.seconds = 0.05
    assert set(se.publish(four_days, at(catalog)).unchanged) == set(IDS)


@pytest.mark.parametrize(("status", "retry_after"), [(429, "0"), (500, ""), (503, "0"), (409, "")])
def test_a_busy_server_is_asked_again(catalog: GeoCatalog, four_days: Path, status: int, retry_after: str) -> None:
    def fault(number: int, method: str, path: str) -> int:
        busy = status != 409 or (method, path.endswith("/items")) == ("POST", True)
        return status if number % 2 and busy and method != "PUT" else 0

    catalog.retry_after, catalog.fault = retry_after, fault
    report, why = published(four_days, at(catalog))
    if status == 409:  # which says that an item is there: it is not, so that it failed, and is sent the next time
        assert report is not None
        assert report.failed
        assert "says that it is there and does not show it" in why
        catalog.fault = GeoCatalog.fault
        report, why = published(four_days, at(catalog))
    assert report is not None
    assert (why, held(catalog)) == ("", set(IDS))


@pytest.mark.parametrize("status", [401, 403])
def test_without_the_right_token_nothing_is_done(catalog: GeoCatalog, four_days: Path, status: int) -> None:
    if status == 401:
        catalog.token = "another"  # noqa: S105
    catalog.fault = lambda _number, _method, _path: status
    with pytest.raises(TargetError, match=f"answers {status} with these credentials; it wants a token") as error:
        se.publish(four_days, at(catalog))
    assert "az account get-access-token --scope https://geocatalog.spatio.azure.com/.default" in str(error.value)
    assert SECRET not in str(error.value)
    assert not catalog.items


def test_an_expired_token_is_made_anew(
    catalog: GeoCatalog, four_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("first-token")
    catalog.token = "second-token"  # noqa: S105
    program = f"import pathlib; p = pathlib.Path({str(token)!r}); print(p.read_text()); p.write_text('second-token')"
    monkeypatch.setenv(TOKEN_COMMAND, f'"{sys.executable}" -c "{program}"')
    assert set(se.publish(four_days, at(catalog)).sent) == set(IDS)


def test_a_login_page_is_no_catalog(catalog: GeoCatalog, four_days: Path) -> None:
    catalog.fault = lambda _number, _method, path: 200 if path.endswith(("/items", "/collections")) else 0
    _, why = published(four_days, at(catalog))
    assert "200 with text/html" in why
    assert not catalog.items


def test_the_token_goes_to_the_catalog_alone(catalog: GeoCatalog, four_days: Path, tmp_path: Path) -> None:
    with serving(OtherHost()) as other, served(tmp_path / "files") as (base, sent):
        catalog.elsewhere = other.url
        report = se.publish(four_days, at(catalog), assets_to=tmp_path / "files", asset_base_url=base, ingest="catalog")
        assert set(report.sent) == set(IDS)
        assert (other.requests, set(sent)) == ([], {"None"})


@pytest.mark.parametrize("ingest", ["catalog", "geoparquet"])
def test_items_are_fetched_by_the_catalog(catalog: GeoCatalog, four_days: Path, tmp_path: Path, ingest: str) -> None:
    with served(tmp_path / "files") as (base, _):
        publish = partial(published, assets_to=tmp_path / "files", asset_base_url=base, ingest=ingest)
        catalog.bad = {IDS[0]: ("EmptyAsset", "it has no bytes")}
        report, why = publish(four_days, at(catalog))
        assert report is not None
        assert (set(report.sent), set(report.failed)) == (set(IDS[1:]), {IDS[0]})
        assert "1 of 4 items failed (EmptyAsset: it has no bytes), and does not hold it now" in why
        catalog.bad = {}
        report, _ = publish(changed(four_days, tmp_path / "a", IDS[2]), at(catalog))
        assert report is not None
        assert (set(report.sent), set(report.unchanged)) == ({IDS[0], IDS[2]}, {IDS[1], IDS[3]})
        sent = [path for method, path in catalog.changes() if "/items" in path and method in {"POST", "PUT"}]
        assert (sent, len(catalog.ingestions)) == ([f"{ITEMS}/{IDS[2]}"], 1)
        again, why = publish(tmp_path / "a", at(catalog))
        assert again is not None
        assert (set(again.unchanged), why, catalog.changes()) == (set(IDS), "", [])


def test_a_fetch_that_was_left_at_work_is_not_begun_again(catalog: GeoCatalog, four_days: Path, tmp_path: Path) -> None:
    with served(tmp_path / "files") as (base, _):
        publish = partial(published, assets_to=tmp_path / "files", asset_base_url=base, ingest="catalog")
        publish(four_days, at(catalog))
        catalog.items.clear()
        catalog.seconds = 3600
        _, why = publish(four_days, at(catalog), wait=0.1)
        assert "that its ingestion was not done after 0.1 s, and does not hold it now" in why
        runs = [work for work in catalog.works.values() if work.kind == "Run"]
        threading.Timer(0.3, lambda: setattr(runs[-1], "due", 0)).start()
        report, _ = publish(four_days, at(catalog))
        assert report is not None
        assert set(report.sent) == set(IDS)
        assert len([work for work in catalog.works.values() if work.kind == "Run"]) == len(runs)


def test_a_run_does_not_wait_for_its_days(
    catalog: GeoCatalog, four_days: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.to_api.STREAM_SECONDS", 0.1)
    stream = DayStream(at(catalog), PublishOptions(asset_base_url=BASE))
    run = read_run_folder(four_days)
    for item in run.items:
        stream.day(four_days, run.collection, item)
        catalog.seconds = 3600
    assert (stream.error, len(catalog.works)) == (None, 5)
    assert held(catalog) <= {IDS[0]}
    for work in catalog.works.values():
        work.due = 0
    catalog.seconds = 0.05
    report = se.publish(four_days, at(catalog), asset_base_url=BASE)
    assert (set(report.unchanged), held(catalog)) == (set(IDS), set(IDS))


def test_what_others_put_there_stays(catalog: GeoCatalog, four_days: Path) -> None:
    se.publish(four_days, at(catalog))
    theirs = {"id": IDS[0], "collection": "spaceeye", "bbox": [3, 50, 4, 51], "properties": {"datetime": "2023-04-01"}}
    catalog.items["spaceeye", IDS[0]] = theirs
    report, why = published(four_days, at(catalog))
    assert report is not None
    assert "did not make is there and stays" in why
    assert catalog.items["spaceeye", IDS[0]] == theirs
    catalog.collections["spaceeye"] = {"id": "spaceeye", "description": "theirs", "summaries": {"a": [1]}, "links": []}
    assert "was not made by this package" in published(four_days, at(catalog))[1]


def test_killed_at_any_request_it_ends_as_if_nothing_had_been(four_days: Path) -> None:
    with starting() as starter, serving(GeoCatalog(token="")) as catalog:
        pid, last = [0], [0]
        known = threading.Event()

        def fault(number: int, _method: str, _path: str) -> int:
            if number == last[0]:
                known.wait()
                os.kill(pid[0], signal.SIGKILL)
            return 0

        catalog.fault = fault
        killed = 0
        for step in (2, 5, 8):
            catalog.items, catalog.collections, catalog.configured, last[0] = {}, {}, {}, step
            catalog.changes()
            known.clear()
            pid[0] = starter.publish(four_days, at(catalog), prune=True)
            known.set()
            killed += list(starter.told())[-1][1:] == [-signal.SIGKILL]
            last[0] = 0
            pid[0] = starter.publish(four_days, at(catalog), prune=True)
            list(starter.told())
            assert held(catalog) == set(IDS), step
            assert all(DIGEST in item["properties"] for item in catalog.items.values())
            assert "latest" in catalog.configured["spaceeye", "mosaics"]
        assert killed == 3


BANDS = ["B03", "B04", "B08", "visual", "clear_distance"]


def test_an_expression_names_its_assets() -> None:
    options = {one["id"]: one for one in render_options({"renders": renders(BANDS, ("B04", "B03", "B02"))})}
    assert options["ndvi"] == {
        "id": "ndvi",
        "name": "Vegetation index (NDVI)",
        "type": "raster-tile",
        "options": "expression=(B08-B04)/(B08%2BB04)&asset_as_band=true&rescale=-0.2,1&colormap_name=rdylgn",
    }
    assert options["infrared"]["options"] == (
        "assets=B08&assets=B04&assets=B03&rescale=1,6000&rescale=1,3558&rescale=1,3558"
    )


def test_files_of_a_container_are_named_by_https(four_days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, place = read_run_folder(four_days), target_of("geocatalog+https://name.geocatalog.spatio.azure.com")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "contoso")
    placing = placing_for(run, place, PublishOptions(assets_to="az://days/a"))
    item = placing.item(run.items[0])
    assert item["assets"]["B02"]["href"] == f"https://contoso.blob.core.windows.net/days/a/{IDS[0]}/B02.tif"
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(TargetError, match=r"by https, not from az://days/a: say with asset_base_url"):
        placing_for(run, place, PublishOptions(assets_to="az://days/a"))


@pytest.mark.parametrize(
    ("target", "options", "why"),
    [
        ("geocatalog+https://name.example/stac", {}, "without a path"),
        ("geocatalog+az://days", {}, "without a path"),
        ("geocatalog+https://me:x@name.example", {}, "credentials come from the environment alone"),
        ("geocatalog+https://name.example", {}, "say with assets_to where"),
        ("geocatalog+http://127.0.0.1:9", {"ingest": "catalog"}, "needs assets_to"),
        ("http://127.0.0.1:9", {"ingest": "catalog", "assets_to": "x"}, "ingest is for a GeoCatalog"),
        ("geocatalog+http://127.0.0.1:9", {"ingest": "zip"}, "none of catalog and geoparquet"),
        ("geocatalog+http://127.0.0.1:9", {"wait": 0.0}, "seconds above 0"),
        ("geocatalog+http://127.0.0.1:9", {"tiles_url": "https://tiles.example"}, "shows its items as tiles itself"),
    ],
)
def test_what_makes_no_sense_is_refused(target: str, options: dict[str, Any], why: str, four_days: Path) -> None:
    with pytest.raises(TargetError, match=why):
        se.publish(four_days, target, **options)
