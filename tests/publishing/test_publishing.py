"""Publishing to a folder, and to a small API that refuses and fails; real servers are in tests/e2e."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
import rustac

import spaceeye_stac as se
from spaceeye_stac.errors import OutputError, PublishError, TargetError
from spaceeye_stac.publishing.credentials import HEADER, PASSWORD, TOKEN, TOKEN_COMMAND, USER
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED
from tests.support.loopback import serving
from tests.support.servers import free_port
from tests.support.stac_validation import validate
from tests.support.transactions_api import SmallApi

DAYS = 24


@pytest.fixture(scope="module")
def finished(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated run of 24 days."""
    return se.run(
        simulated_query, se.Settings(method="damped", duration=24), out=tmp_path_factory.mktemp("run") / "days"
    ).path


@pytest.fixture
def days(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def item_id(day: int) -> str:
    return f"spaceeye_2023-04-{day:02d}"


def without_days(folder: Path, first: int) -> None:
    """Let the run's collection forget the days from this one on."""
    path = folder / "collection.json"
    document = json.loads(path.read_text())
    gone = {f"./{item_id(day)}/{item_id(day)}.json" for day in range(first, DAYS + 1)}
    document["links"] = [link for link in document["links"] if link["href"] not in gone]
    path.write_text(json.dumps(document))


def documents(folder: Path) -> dict[str, Any]:
    return {str(p.relative_to(folder)): json.loads(p.read_text()) for p in sorted(folder.rglob("*.json"))}


def test_a_folder_gets_everything_and_is_valid(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "there"
    report = se.publish(finished, out)
    assert len(report.sent) == DAYS
    assert report.files == DAYS * 9
    assert report.lost_links == 0
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    validate(collection)
    items = list(collection.get_items())
    assert [item.id for item in items] == list(report.sent)
    for item in items:
        validate(item)
        for key, asset in item.assets.items():
            near = (finished / item.id / Path(asset.href).name).read_bytes()
            assert Path(asset.get_absolute_href() or "").read_bytes() == near, key
    assert {link.rel for link in items[1].links} >= {"prev", "next", "derived_from", "collection"}
    assert all(Path(link.href.removeprefix("file://")).is_file() for link in items[1].get_links("derived_from"))


def test_the_table_beside_it_holds_the_same_items(finished: Path, tmp_path: Path) -> None:
    se.publish(finished, tmp_path / "out")
    rows = rustac.read_sync(str(tmp_path / "out" / "items.parquet"))["features"]
    assert [row["id"] for row in rows] == [item_id(day) for day in range(1, DAYS + 1)]
    for row in rows:
        document = json.loads((tmp_path / "out" / row["id"] / f"{row['id']}.json").read_text())
        assert list(row["bbox"]) == document["bbox"]
        assert row["properties"]["spaceeye:observed_share"] == document["properties"]["spaceeye:observed_share"]
        with rasterio.open(tmp_path / "out" / row["assets"]["B04"]["href"]) as table_file:
            valid = table_file.read(1, masked=True)
            assert valid.mean() == pytest.approx(row["assets"]["B04"]["bands"][0]["statistics"]["mean"], abs=1e-4)


def test_a_second_time_copies_only_what_changed(days: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.publish(days, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = se.publish(days, out)
    assert (again.sent, again.files, len(again.unchanged)) == ((), 0, DAYS)
    path = days / item_id(3) / f"{item_id(3)}.json"
    document = json.loads(path.read_text())
    document["properties"]["title"] = "Another"
    path.write_text(json.dumps(document))
    third = se.publish(days, out)
    assert (third.sent, third.files) == ((item_id(3),), 0)
    changed = {str(p.relative_to(out)) for p, stamp in before.items() if p.stat().st_mtime_ns != stamp}
    assert changed == {f"{item_id(3)}/{item_id(3)}.json", "items.parquet", "collection.json"}


def test_days_that_are_no_more_stay_until_pruned(days: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.publish(days, out)
    without_days(days, 21)
    kept = se.publish(days, out)
    assert kept.stale == tuple(item_id(day) for day in range(21, 25))
    assert kept.removed == ()
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert len(list(collection.get_items())) == DAYS
    pruned = se.publish(days, out, prune=True)
    assert pruned.removed == kept.stale
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert [item.id for item in collection.get_items()] == [item_id(day) for day in range(1, 21)]
    assert str(collection.extent.temporal.intervals[0][1]) == "2023-04-20 23:59:59.999000+00:00"
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == [item_id(day) for day in range(1, 21)]
    assert len(rustac.read_sync(str(out / "items.parquet"))["features"]) == 20
    assert not [link for link in documents(out)[f"{item_id(20)}/{item_id(20)}.json"]["links"] if link["rel"] == "next"]


def test_files_that_no_item_names_stay_and_are_listed(finished: Path, tmp_path: Path) -> None:
    left = tmp_path / "out" / "spaceeye_2023-05-01" / "B04.tif"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"whole")
    se.publish(finished, tmp_path / "out")
    report = se.publish(finished, tmp_path / "out", prune=True)
    assert report.foreign == ("spaceeye_2023-05-01/B04.tif",)
    assert left.read_bytes() == b"whole"
    assert len(list((tmp_path / "out").glob("*/*.json"))) == DAYS


def test_days_or_all_are_withdrawn(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.publish(finished, out)
    report = se.unpublish("spaceeye", out, datetime="2023-04-01/2023-04-10")
    assert report.removed == tuple(item_id(day) for day in range(1, 11))
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert [item.id for item in collection.get_items()] == [item_id(day) for day in range(11, 25)]
    assert str(collection.extent.temporal.intervals[0][0]) == "2023-04-11 00:00:00+00:00"
    with pytest.raises(TargetError, match="holds no collection other"):
        se.unpublish("other", out)
    assert len(se.unpublish("spaceeye", out).removed) == 14
    assert list(out.iterdir()) == []


def test_a_missing_file_keeps_its_item_back_and_no_other(days: Path, tmp_path: Path) -> None:
    (days / item_id(5) / "B04.tif").unlink()
    (days / item_id(6) / "B04.tif").write_bytes(b"cut")
    with pytest.raises(PublishError, match=rf"2 of {DAYS} items .* {item_id(5)}: file .*B04\.tif is missing") as caught:
        se.publish(days, tmp_path / "out")
    report = caught.value.report
    assert isinstance(report, se.Report)
    assert "has 3 bytes, its item says" in report.failed[item_id(6)]
    assert len(report.sent) == DAYS - 2
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    assert [item.id for item in collection.get_items()] == list(report.sent)
    assert not (tmp_path / "out" / item_id(5)).exists()


def test_a_file_that_is_not_what_its_item_says_is_not_published(days: Path, tmp_path: Path) -> None:
    path = days / item_id(5) / "B04.tif"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PublishError, match=rf"{item_id(5)}: file .*B04\.tif is damaged on this disk"):
        se.publish(days, tmp_path / "out")
    assert not (tmp_path / "out" / item_id(5) / "B04.tif").exists()


def test_a_reader_never_sees_an_item_without_its_files(finished: Path, tmp_path: Path) -> None:
    out, stop = tmp_path / "out", threading.Event()
    torn: list[str] = []

    def watch() -> None:
        while not stop.is_set():
            for path in out.glob("*/*.json"):
                document = json.loads(path.read_text())
                torn.extend(a["href"] for a in document["assets"].values() if not (path.parent / a["href"]).is_file())
            if (out / "collection.json").is_file():
                links = json.loads((out / "collection.json").read_text())["links"]
                torn.extend(k["href"] for k in links if k["rel"] == "item" and not (out / k["href"]).is_file())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        se.publish(finished, out)
    finally:
        stop.set()
        watcher.join()
    assert torn == []


def test_assets_under_a_public_address(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = se.publish(finished, out, asset_base_url="https://host.example/days/", tiles_url="https://tiles.example")
    assert report.lost_links > 0
    collection = json.loads((out / "collection.json").read_text())
    assert {link["href"] for link in collection["links"] if link["rel"] == "self"} == {
        "https://host.example/days/collection.json"
    }
    item = json.loads((out / item_id(1) / f"{item_id(1)}.json").read_text())
    assert item["assets"]["B04"]["href"] == f"https://host.example/days/{item_id(1)}/B04.tif"
    (tiles,) = [link for link in item["links"] if link["rel"] == "tilejson"]
    assert tiles["href"] == (
        "https://tiles.example/stac/WebMercatorQuad/tilejson.json"
        f"?url=https%3A%2F%2Fhost.example%2Fdays%2F{item_id(1)}%2F{item_id(1)}.json&assets=visual"
    )
    validate(pystac.Item.from_file(str(out / item_id(1) / f"{item_id(1)}.json")))
    assert "file://" not in (out / item_id(1) / f"{item_id(1)}.json").read_text()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("https://me:hunter22@host.example/api", "Target https://host.example/api holds a user, a password or a query"),
        ("https://host.example/api?token=hunter22", "holds a user, a password or a query"),
        ("ftp://host.example/api", "is none of https://, s3://"),
        ("s3://", "is none of https://"),
        ("", "The target '' is none"),
        ("--prune", "The target '--prune' is none"),
    ],
)
def test_no_target(target: str, said: str, finished: Path) -> None:
    with pytest.raises(TargetError, match=said.replace("?", r"\?")) as caught:
        se.publish(finished, target)
    assert "hunter22" not in str(caught.value)


def test_what_is_not_ours_stays_as_it_is(finished: Path, days: Path, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(TargetError, match=r"holds 'thesis\.txt', which is no part of spaceeye"):
        se.publish(finished, tmp_path / "papers", overwrite=True, prune=True)
    assert [p.name for p in (tmp_path / "papers").iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match=r"collection\.json cannot be read"):
        se.publish(tmp_path / "papers", tmp_path / "out")
    document = json.loads((days / "collection.json").read_text())
    (days / "collection.json").write_text(json.dumps({**document, "summaries": {}}))
    with pytest.raises(OutputError, match="this package did not make"):
        se.publish(days, tmp_path / "out")
    with pytest.raises(TargetError, match="was not made by this package"):
        se.publish(finished, days, overwrite=True)
    with pytest.raises(TargetError, match="is the run's own folder"):
        se.publish(finished, finished)
    assert not (tmp_path / "out").exists()


def test_another_run_is_replaced_only_when_asked(finished: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    other = se.run(
        simulated_query, se.Settings(method="damped", duration=24, damping_factor=1.0), out=tmp_path / "other"
    )
    out = tmp_path / "out"
    se.publish(finished, out)
    before = documents(out)
    with pytest.raises(TargetError, match=r"is of another run .* other region, bands or settings"):
        se.publish(other, out)
    assert documents(out) == before
    assert len(se.publish(other, out, overwrite=True).sent) == DAYS
    assert documents(out)["collection.json"]["spaceeye:run"] != before["collection.json"]["spaceeye:run"]


def test_an_api_gets_everything_once(finished: Path) -> None:
    with serving(SmallApi()) as api:
        first = se.publish(finished, api.url)
        assert len(first.sent) == DAYS
        assert api.log[0] == ("POST", "/collections")
        assert set(api.items) == set(first.sent)
        changes = len(api.log)
        second = se.publish(finished, api.url)
        assert (second.sent, len(second.unchanged)) == ((), DAYS)
        assert len(api.log) == changes, "nothing was sent again"
        assert all("href" in a and a["href"].startswith("file://") for a in api.items[item_id(1)]["assets"].values())


@pytest.mark.parametrize("bulk", [False, True])
def test_failures_that_pass_lose_and_duplicate_nothing(finished: Path, *, bulk: bool) -> None:
    def fault(number: int, _method: str, _path: str) -> int | str:
        return "cut" if number % 5 == 0 else 500 if number % 3 == 0 else 0

    with serving(SmallApi(fault=fault, bulk=bulk)) as api:
        report = se.publish(finished, api.url)
        assert set(report.sent) == set(api.items) == {item_id(day) for day in range(1, DAYS + 1)}


@pytest.mark.parametrize("bulk", [False, True])
def test_a_rejected_item_is_named_and_the_others_are_published(days: Path, *, bulk: bool) -> None:
    with serving(SmallApi(rejects={item_id(7)}, bulk=bulk)) as api:
        with pytest.raises(PublishError, match=rf"1 of {DAYS} items .*{item_id(7)}: .*400 item .* is not wanted here"):
            se.publish(days, api.url)
        assert set(api.items) == {item_id(day) for day in range(1, DAYS + 1) if day != 7}
        done = command("publish", days, "--to", api.url)
        assert done.returncode == 1
        assert f"{item_id(7)}: " in done.stdout
        assert "1 of 24 items were not published" in done.stderr
        as_json = command("publish", days, "--to", api.url, "--json")
        assert json.loads(as_json.stdout)["failed"].keys() == {item_id(7)}


def test_the_extent_is_of_what_is_there(days: Path) -> None:
    with serving(SmallApi(rejects={item_id(24)})) as api:
        with pytest.raises(PublishError):
            se.publish(days, api.url)
        assert ends(api) == ["2023-04-01T00:00:00Z", "2023-04-23T23:59:59.999Z"]
        without_days(days, 11)
        assert len(se.publish(days, api.url).stale) == 13
        assert ends(api)[1] == "2023-04-23T23:59:59.999Z"
        assert len(se.publish(days, api.url, prune=True).removed) == 13
        assert ends(api)[1] == "2023-04-10T23:59:59.999Z"
        assert len(api.items) == 10
        se.unpublish("spaceeye", api.url, datetime="2023-04-01/2023-04-03")
        assert ends(api)[0] == "2023-04-04T00:00:00Z"
        assert len(se.unpublish("spaceeye", api.url).removed) == 7
        assert (api.items, api.collections) == ({}, {})
        with pytest.raises(TargetError, match="has no collection spaceeye; nothing was removed"):
            se.unpublish("spaceeye", api.url)


def ends(api: SmallApi) -> list[str]:
    return list(api.collections["spaceeye"]["extent"]["temporal"]["interval"][0])


def test_a_collection_of_someone_else(finished: Path, days: Path) -> None:
    with serving(SmallApi(collections={"spaceeye": {"id": "spaceeye", "links": []}})) as api:
        with pytest.raises(TargetError, match="was not made by this package; publish under another collection_id"):
            se.publish(finished, api.url, overwrite=True)
        with pytest.raises(TargetError, match="was not made by this package; it stays"):
            se.unpublish("spaceeye", api.url)
        assert api.log == []
    with serving(SmallApi()) as api:
        se.publish(finished, api.url)
        changes = len(api.log)
        document = json.loads((days / "collection.json").read_text())
        (days / "collection.json").write_text(json.dumps({**document, "spaceeye:run": "0123456789abcdef"}))
        done = command("publish", days, "--to", api.url)
        assert done.returncode == 2
        assert "is of another run" in done.stderr
        assert len(api.log) == changes
        assert se.publish(days, api.url, overwrite=True).sent
        assert api.collections["spaceeye"]["spaceeye:run"] == "0123456789abcdef"


def test_hrefs_to_this_machine_are_only_for_this_machine(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is on another machine, which cannot read files of this one"):
        se.publish(finished, "https://host.example")
    with serving(SmallApi()) as api:
        report = se.publish(finished, api.url, assets_to=tmp_path / "files", asset_base_url="https://files.example/x")
        assert report.files == DAYS * 9 + 3
        assert api.items[item_id(2)]["assets"]["B02"]["href"] == f"https://files.example/x/{item_id(2)}/B02.tif"
        assert (tmp_path / "files" / item_id(2) / "B02.tif").is_file()
        assert (
            se.publish(finished, api.url, assets_to=tmp_path / "files", asset_base_url="https://files.example/x").files
            == 0
        )


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials_are_said_without_them(finished: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(SmallApi(header=("Authorization", "Bearer right-token"), refusal=status)) as api:
        none = command("publish", finished, "--to", api.url)
        assert none.returncode == 2
        assert f"answers {status} with no credentials; set SPACEEYE_STAC_TOKEN" in none.stderr
        monkeypatch.setenv(TOKEN, "hunter22-wrong")
        wrong = command("publish", finished, "--to", api.url)
        assert wrong.returncode == 2
        assert f"answers {status} with these credentials" in wrong.stderr
        assert "hunter22" not in wrong.stderr + wrong.stdout
        monkeypatch.setenv(TOKEN, "right-token")
        right = command("publish", finished, "--to", api.url)
        assert right.returncode == 0
        assert "right-token" not in right.stderr + right.stdout + json.dumps([api.items, api.collections])


def test_every_kind_of_credentials(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[tuple[tuple[str, str], dict[str, str]]] = [
        (("Authorization", "Basic bWU6aHVudGVyMjI="), {USER: "me", PASSWORD: "hunter22"}),
        (("X-Api-Key", "hunter22"), {HEADER: "X-Api-Key: hunter22"}),
        (("Authorization", "Bearer made"), {TOKEN_COMMAND: "echo made"}),
    ]
    for header, environment in kinds:
        with serving(SmallApi(header=header)) as api, monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            assert len(se.publish(finished, api.url).sent) == DAYS
    with serving(SmallApi()) as api:
        api.rejects, api.reason = {item_id(7)}, ", made by hunter22"
        monkeypatch.setenv(HEADER, "X-Api-Key: hunter22")
        with pytest.raises(PublishError, match=r"400 item .* made by \*\*\*") as caught:
            se.publish(finished, api.url)
        assert "hunter22" not in str(caught.value)
        monkeypatch.setenv(TOKEN_COMMAND, f"cat {tmp_path / 'none'}")
        with pytest.raises(TargetError, match=r"SPACEEYE_STAC_TOKEN_COMMAND gave no token \(exit code 1\)"):
            se.publish(finished, api.url)
        monkeypatch.setenv(TOKEN_COMMAND, "no-such-command")
        with pytest.raises(TargetError, match="cannot be run: FileNotFoundError"):
            se.publish(finished, api.url)


def test_a_token_that_expires_is_made_anew(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "token.sh"
    script.write_text(f"echo -n x >> {tmp_path}/made; wc -c < {tmp_path}/made")
    monkeypatch.setenv(TOKEN_COMMAND, f"sh {script}")

    def fault(number: int, _method: str, _path: str) -> int:
        if number == 10:
            api.header = ("Authorization", "Bearer 2")
            return 401
        return 0

    with serving(SmallApi(header=("Authorization", "Bearer 1"), fault=fault)) as api:
        assert len(se.publish(finished, api.url).sent) == DAYS
        assert len(api.items) == DAYS


def test_secrets_never_go_unencrypted_to_another_machine(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "hunter22-token")
    with pytest.raises(TargetError, match="would get the credentials unencrypted; use https"):
        se.publish(finished, "http://host.example/api", asset_base_url="https://files.example")


def test_nobody_there_or_no_stac_api(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.http_client.MAX_TRIES", 2)
    with pytest.raises(PublishError, match="cannot be reached: no connection; try again later"):
        se.publish(finished, f"http://127.0.0.1:{free_port()}")
    with serving(SmallApi(transactions=False)) as api, pytest.raises(TargetError, match="takes no changes"):
        se.publish(finished, api.url)
    with serving(SmallApi()) as api, pytest.raises(TargetError, match="is no STAC API"):
        se.publish(finished, f"{api.url}/none")


def by_command(query: se.Query, out: Path, *options: object) -> Any:
    return command("run", *options_of(query), "--out", out, *BY_DAMPED, "--duration", 24, *options)


def test_days_are_published_as_they_are_finished(simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    early: list[bool] = []

    def fault(_number: int, _method: str, _path: str) -> int:
        early.append(not out.exists())
        return 0

    with serving(SmallApi(fault=fault)) as api:
        done = by_command(simulated_query, out, "--to", api.url, "--asset-base-url", "https://host.example/days")
        assert done.returncode == 0, done.stderr
        assert set(api.items) == {item_id(day) for day in range(1, DAYS + 1)}
        assert early.count(True) >= DAYS, "sent before the run was complete"
        assert ends(api) == ["2023-04-01T00:00:00Z", "2023-04-24T23:59:59.999Z"]
        assert f"{api.url}: {DAYS} unchanged" in done.stdout
        assert api.log[0] == ("POST", "/collections")
        assert len([entry for entry in api.log if entry[1].endswith("/items")]) == DAYS, "each item once"


@pytest.mark.slow  # as to an API; and a run that is killed publishes to a folder, too
def test_days_to_a_folder_as_they_are_finished(simulated_query: se.Query, tmp_path: Path) -> None:
    done = by_command(simulated_query, tmp_path / "out", "--to", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    assert "files copied" not in done.stdout, "all files were there before the run was complete"
    collection = pystac.Collection.from_file(str(tmp_path / "there" / "collection.json"))
    assert len([validate(item) for item in collection.get_items()]) == DAYS
    assert len(list(collection.get_items())[5].get_links("next")) == 1


def test_a_target_that_goes_away_does_not_cost_the_run(simulated_query: se.Query, tmp_path: Path) -> None:
    with serving(SmallApi(rejects={item_id(7)})) as api:
        done = by_command(simulated_query, tmp_path / "out", "--to", api.url)
        assert done.returncode == 1
        assert f"{item_id(7)}: " in done.stderr
        assert len(api.items) == DAYS - 1
        assert (tmp_path / "out" / "collection.json").is_file()
    unused = by_command(simulated_query, tmp_path / "none", "--to", "https://host.example?key=hunter22")
    assert unused.returncode == 2
    assert not (tmp_path / "none").exists()
