"""Runs into an object store: the same files as in a folder, whatever the store does and whoever dies."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import OutputError, PublishError, SpaceEyeError, TargetError
from spaceeye_stac.publishing import store_lock
from tests.support.bucket import NAME, Bucket, point_to
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.loopback import serving
from tests.support.same_files import assert_same_files
from tests.support.small_catalog import small_items, small_query, written
from tests.support.solved_cells import solved_from_now
from tests.support.store_copy import downloaded, named_plainly

RUN = f"s3://{NAME}/some/run"
LONGER = "2023-04-01/2023-04-12"


class PowerCutError(Exception):
    """What a run that is disturbed ends with."""


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    folder = tmp_path_factory.mktemp("scenes")
    return small_query(written(small_items(folder), folder))


@pytest.fixture(scope="module")
def local(query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in a folder."""
    out = tmp_path_factory.mktemp("local") / "out"
    se.run(query, DAMPED, out=out)
    return out


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(store_lock, "DEAD_SECONDS", 2)
    with serving(Bucket()) as served:
        point_to(served, monkeypatch)
        yield served


def assert_same_run(bucket: Bucket, folder: Path, local: Path) -> None:
    """What lies in the store is what lies in the folder, but for links to source files of this machine."""
    there = named_plainly(downloaded(bucket, "some/run", folder))
    here = folder.with_name(f"{folder.name}_here")
    for path in (path for path in local.rglob("*") if path.is_file() and path.suffix != ".parquet"):
        target = here / path.relative_to(local)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if path.suffix == ".json" and path.stem == path.parent.name:
            item = json.loads(path.read_text())
            item["links"] = [link for link in item["links"] if link["rel"] != "derived_from"]
            target.write_text(json.dumps(item))
    assert (there / "items.parquet").is_file()
    (there / "items.parquet").unlink()
    assert_same_files(there, here)


def test_a_run_in_a_store_is_the_same_as_in_a_folder(
    bucket: Bucket, query: se.Query, local: Path, tmp_path: Path
) -> None:
    done = command("run", *options_of(query), *BY_DAMPED, "--out", RUN)
    assert (done.returncode, "Look at it" in done.stdout) == (0, False), done.stderr
    assert f"in {RUN}/collection.json" in done.stdout
    assert_same_run(bucket, tmp_path / "there", local)
    puts = [key for method, key in bucket.requests if method == "PUT"]
    for day in (key for key in puts if key.endswith(".tif") and ".keyframes" not in key):
        folder = day.rpartition("/")[0]
        assert puts.index(day) < puts.index(f"{folder}/{folder.rpartition('/')[2]}.json"), (
            "items come after their files"
        )
    assert puts[-1] == "some/run/collection.json"
    again = se.run(query, DAMPED, out=RUN)
    assert (len(again.kept), again.address, again.collection.id) == (10, RUN, "spaceeye")
    assert repr(again).endswith(f"in '{RUN}')")
    assert not [key for method, key in bucket.requests[len(puts) :] if method == "PUT"] or again.kept


def test_what_is_there_is_respected(bucket: Bucket, query: se.Query) -> None:
    bucket.put("some/run/diary.txt", b"of somebody")
    with pytest.raises(OutputError, match=r"holds 'diary.txt', which is no part of a run; choose another place"):
        se.run(query, DAMPED, out=RUN)
    assert set(bucket.files) == {"some/run/diary.txt"}
    bucket.delete("some/run/diary.txt")
    bucket.put("some/run/collection.json", b'{"type": "Collection", "id": "of another"}')
    with pytest.raises(OutputError, match=r"holds 'collection.json', which is no part"):
        se.run(query, DAMPED, out=RUN, overwrite=True)
    assert set(bucket.files) == {"some/run/collection.json"}
    with pytest.raises(TargetError, match="holds a user, a password or a query"):
        se.run(query, DAMPED, out="s3://me:secret@days/run")
    with pytest.raises(OutputError, match="is an address"):
        se.run(query, DAMPED, out="https://example.com/run")


def test_updates_and_overwrites_replace_days_whole(bucket: Bucket, query: se.Query, tmp_path: Path) -> None:
    se.run(query, DAMPED, out=RUN)
    with pytest.raises(OutputError, match="already holds a run; choose another place, update it, or overwrite it"):
        se.run(small_query(Path(str(query.catalog)), bands=["B04"]), DAMPED, out=RUN)
    se.run(query, DAMPED, out=tmp_path / "longer")
    for out in (RUN, tmp_path / "longer"):
        found = se.run(replace(query, datetime=LONGER), DAMPED, out=out, update=True)
        assert len(found.days) == 12
        assert found.kept
    assert_same_run(bucket, tmp_path / "updated", tmp_path / "longer")
    before = dict(bucket.files)
    other = replace(DAMPED, damping_factor=0.3)
    watched: list[str] = []
    usual = bucket.put

    def put(key: str, body: bytes) -> None:
        """No file that the item of its day names is replaced while that item stands."""
        folder = key.rpartition("/")[0]
        item = bucket.files.get(f"{folder}/{folder.rpartition('/')[2]}.json")
        if item is not None and "_2023-" in folder and not key.endswith(".json"):
            hrefs = {asset["href"].removeprefix("./") for asset in json.loads(item)["assets"].values()}
            changed = bucket.files.get(key) not in {None, body}
            watched.extend([key] if key.rpartition("/")[2] in hrefs and changed else [])
        usual(key, body)

    bucket.put = put  # type: ignore[method-assign]
    se.run(query, other, out=RUN, overwrite=True)
    assert watched == []
    se.run(query, other, out=tmp_path / "other")
    assert_same_run(bucket, tmp_path / "overwritten", tmp_path / "other")
    assert before.keys() != bucket.files.keys(), "nothing of the longer run is left"


def test_no_two_runs_work_in_one_place(bucket: Bucket, query: se.Query) -> None:
    """A run that lives is respected; the place of one that died is taken over soon."""
    stages: list[str] = []

    def second(stage: str, done: int, _total: int) -> None:
        if stage == "writing days" and done == 1 and not stages:
            stages.append(stage)
            with pytest.raises(OutputError, match=f"Another run is at work on {RUN}"):
                se.run(query, DAMPED, out=RUN)

    assert len(se.run(query, DAMPED, out=RUN, progress=second).days) == 10
    assert stages
    assert "some/run/.run.lock" not in bucket.files
    bucket.put("some/run/.run.lock", b'{"run": "dead", "beat": 7}')
    start = time.monotonic()
    se.run(query, DAMPED, out=RUN, overwrite=True)
    assert time.monotonic() - start > 1
    assert "some/run/.run.lock" not in bucket.files


def test_a_run_that_loses_its_place_ends(bucket: Bucket, query: se.Query) -> None:
    def taken(stage: str, done: int, _total: int) -> None:
        if stage == "writing days" and done == 1:
            bucket.put("some/run/.run.lock", b'{"run": "another", "beat": 1}')
            time.sleep(0.6)

    with pytest.raises(OutputError, match="Another run is at work"):
        se.run(query, DAMPED, out=RUN, progress=taken)
    assert "some/run/collection.json" not in bucket.files
    assert b"another" in bucket.files["some/run/.run.lock"]


def test_an_interrupted_run_goes_on(bucket: Bucket, query: se.Query, local: Path, tmp_path: Path) -> None:
    def fail_at(wanted: str, number: int) -> Any:
        def step(stage: str, done: int, _total: int) -> None:
            if (stage, done) == (wanted, number):
                raise PowerCutError

        return step

    for stage, number in (("solving", 1), ("writing days", 1)):
        with pytest.raises(PowerCutError) as raised:
            se.run(query, DAMPED, out=RUN, progress=fail_at(stage, number))
        assert "collection.json" not in {key.rpartition("/")[2] for key in bucket.files}
        assert raised.value.__notes__ == [
            f"What is finished is kept in {RUN}: the same command again goes on from there."
        ]
    with pytest.raises(OutputError, match=r"asked for another bands; ask for the same to go on with it"):
        se.run(replace(query, bands=("B04",)), DAMPED, out=RUN)
    found = se.run(query, DAMPED, out=RUN)
    assert found.kept
    assert_same_run(bucket, tmp_path / "there", local)


def test_a_store_that_fails_now_and_then_changes_nothing(
    bucket: Bucket, query: se.Query, local: Path, tmp_path: Path
) -> None:
    bucket.fault = lambda number, _method, _key: number % 10 == 0
    se.run(query, DAMPED, out=RUN)
    assert_same_run(bucket, tmp_path / "there", local)


@pytest.mark.parametrize("manner", ["flips", "truncates", "forgets"])
def test_a_store_that_loses_what_it_is_sent_publishes_nothing(bucket: Bucket, query: se.Query, manner: str) -> None:
    bucket.manner, bucket.odd = manner, lambda key: key.endswith("B04.tif")
    with pytest.raises(PublishError, match="does not read back as it was sent"):
        se.run(query, DAMPED, out=RUN)
    assert "some/run/collection.json" not in bucket.files
    bucket.manner = "plain"
    assert len(se.run(query, DAMPED, out=RUN).days) == 10


@pytest.mark.parametrize("manner", ["flips", "forgets"])
def test_damaged_keyframes_are_solved_again(
    bucket: Bucket, query: se.Query, local: Path, tmp_path: Path, manner: str
) -> None:
    seen: set[str] = set()

    def first_only(key: str) -> bool:
        odd = "/images/c/" in key and key not in seen
        seen.add(key)
        return odd

    bucket.manner, bucket.odd = manner, first_only
    se.run(query, DAMPED, out=RUN)
    bucket.manner = "plain"
    assert_same_run(bucket, tmp_path / "there", local)


def test_what_is_removed_loses_its_marks_first(bucket: Bucket, query: se.Query) -> None:
    """Else marks without their keyframes would speak for others, if a run dies as it removes them."""
    gone: list[str] = []
    usual = bucket.delete

    def delete(key: str) -> None:
        gone.append(key)
        usual(key)

    bucket.delete = delete  # type: ignore[method-assign]
    se.run(query, DAMPED, out=RUN)
    marks = [n for n, key in enumerate(gone) if "/done/" in key]
    others = [n for n, key in enumerate(gone) if "/.keyframes/" in key and "/done/" not in key]
    assert marks
    assert max(marks) < min(others)


def test_keyframes_are_kept_where_they_are_asked_for(bucket: Bucket, query: se.Query, tmp_path: Path) -> None:
    output = se.Output(keep_keyframes=True)
    se.run(query, DAMPED, out=RUN, output=output)
    se.run(query, DAMPED, out=tmp_path / "local", output=output)
    assert_same_run(bucket, tmp_path / "there", tmp_path / "local")


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int]]]:
    """Windows and cells that are solved from now on."""
    return solved_from_now(monkeypatch)


def test_kept_keyframes_that_still_hold_are_not_solved_again(
    bucket: Bucket, query: se.Query, tmp_path: Path, solved: list[object]
) -> None:
    settings = se.Settings(method="damped", duration=4, normalize_illuminance=False)
    output, longer = se.Output(keep_keyframes=True), replace(query, datetime=LONGER)
    update: dict[str, Any] = {"settings": settings, "output": output, "update": True}
    se.run(query, settings, out=RUN, output=output)
    solved.clear()
    se.run(query, out=RUN, **update)
    assert solved == []
    se.run(longer, out=RUN, **update)
    touched = len(solved)
    solved.clear()
    se.run(longer, settings, out=tmp_path / "local", output=output)
    assert 0 < touched < len(solved)
    assert_same_run(bucket, tmp_path / "there", tmp_path / "local")


def test_kept_keyframes_that_the_store_lost_are_solved_again(
    bucket: Bucket, query: se.Query, tmp_path: Path, solved: list[object]
) -> None:
    output = se.Output(keep_keyframes=True)
    for out in (RUN, tmp_path / "local"):
        se.run(query, DAMPED, out=out, output=output)
    lost = next(name for name in bucket.files if "/keyframes/" in name and "/images/c/" in name)
    del bucket.files[lost]
    solved.clear()
    se.run(query, DAMPED, out=RUN, output=output, update=True)
    assert solved
    assert_same_run(bucket, tmp_path / "there", tmp_path / "local")


def test_virtual_days_stand_beside_their_keyframes(bucket: Bucket, query: se.Query, tmp_path: Path) -> None:
    output = se.Output(days="virtual")
    for asked in (query, replace(query, datetime=LONGER)):
        update = asked is not query
        for out in (RUN, tmp_path / "local"):
            se.run(asked, DAMPED, out=out, output=output, update=update)
        report = tmp_path / "local" / "report.html"  # its pictures are the thumbnails there
        bucket.files["some/run/report.html"] = report.read_bytes()
        assert_same_run(bucket, tmp_path / f"there_{update}", tmp_path / "local")


def test_a_store_without_access_is_one_sentence(
    bucket: Bucket, query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url.rpartition(":")[0] + ":9")
    monkeypatch.setattr("spaceeye_stac.publishing.store.RETRIES", 0)
    with pytest.raises(SpaceEyeError) as raised:
        se.run(query, DAMPED, out=RUN)
    assert "hunter22secret" not in str(raised.value)
