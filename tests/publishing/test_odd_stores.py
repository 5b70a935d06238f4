"""Publishing to a store that loses and changes what it is sent: never a false "sent", and nothing of others is lost."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing import DayStream, PublishOptions
from spaceeye_stac.publishing.digests import content_digest
from tests.support.bucket import NAME, Bucket, point_to
from tests.support.command import command
from tests.support.loopback import serving
from tests.support.publications import published
from tests.support.transactions_api import SmallApi

IDS = tuple(f"spaceeye_2023-04-{day:02d}" for day in range(1, 5))
TARGET = f"s3://{NAME}/a"
FOREIGN_FILES = {
    f"a/{IDS[0]}/B04.tif.aux.xml": b"statistics",
    f"a/{IDS[2]}/notes.json": b"{}",
    "a/spaceeye_2023-04-09/B04.tif": b"of another day",
    "b/thesis.txt": b"years of work",
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with files of others in it, which are there at the end whatever happens."""
    with serving(Bucket()) as served:
        served.files |= FOREIGN_FILES
        point_to(served, monkeypatch)
        yield served
        assert {name: served.files.get(name) for name in FOREIGN_FILES} == FOREIGN_FILES


def whole(run: Path, files: dict[str, bytes]) -> set[str]:
    """Ids of the items that stand in the bucket with every file as the run has it."""
    found = set()
    for name in IDS:
        try:
            item = json.loads(files[f"a/{name}/{name}.json"])
        except (KeyError, ValueError):
            continue
        own = [(run / name / Path(asset["href"]).name) for asset in item["assets"].values()]
        if all(files.get(f"a/{name}/{path.name}") == path.read_bytes() for path in own):
            found.add(name)
    return found


def linked(files: dict[str, bytes]) -> set[str]:
    """Ids of the items that the collection in the bucket links to."""
    links = json.loads(files["a/collection.json"])["links"] if "a/collection.json" in files else []
    return {Path(link["href"]).stem for link in links if link["rel"] == "item"}


MOODS = ("plain",) * 12 + ("flips", "truncates", "forgets", "misreads", "keeps")
NAMES = [f"{IDS[1]}/B04.tif", f"{IDS[1]}/{IDS[1]}.json", "collection.json", "items.parquet"]
MANNERS = ["flips", "truncates", "forgets", "loses", "misreads"]


@pytest.mark.parametrize(
    ("manner", "name", "late"),
    [
        *((manner, name, 0) for manner in MANNERS for name in NAMES),
        *((manner, f"{IDS[1]}/", 3) for manner in MANNERS),
        ("forgets", "spaceeye.schema", 0),
    ],
)
def test_sent_is_what_the_store_holds(four_days: Path, bucket: Bucket, manner: str, name: str, late: int) -> None:
    bucket.manner, bucket.late = manner, late
    bucket.odd = lambda key: name in key and key.startswith("a/")
    report, said = published(four_days, TARGET, prune=True)
    if report is None:
        assert not name.startswith(IDS[1])
        assert said
    else:
        assert set(report.sent) <= whole(four_days, bucket.files)
        assert set(report.sent) | report.failed.keys() == set(IDS)
        assert linked(bucket.files) == set(report.sent)
        assert report.failed.keys() == ({IDS[1]} if name.startswith(IDS[1]) else set())
    assert linked(bucket.files) <= whole(four_days, bucket.files)
    bucket.manner = "plain"
    report, said = published(four_days, TARGET)
    assert said == ""
    assert report is not None
    assert whole(four_days, bucket.files) == linked(bucket.files) == set(IDS)
    assert set(report.foreign) == {name.removeprefix("a/") for name in FOREIGN_FILES if name.startswith("a/")}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_new_version_that_does_not_arrive(four_days: Path, bucket: Bucket, tmp_path: Path, manner: str) -> None:
    se.publish(four_days, TARGET)
    days = Path(shutil.copytree(four_days, tmp_path / "days"))
    changed(days, IDS[1], "B04")
    bucket.manner, bucket.odd = manner, lambda key: f"{IDS[1]}/B04.tif" in key
    report, _ = published(days, TARGET)
    assert report is not None
    assert report.failed.keys() == {IDS[1]}
    still = {name for name in linked(bucket.files) if matches_its_item(bucket.files, name)}
    assert linked(bucket.files) == still
    assert still >= set(IDS) - {IDS[1]}


def changed(days: Path, name: str, key: str) -> None:
    """Give a day another file, and let its item say so."""
    path, document = days / name / f"{key}.tif", days / name / f"{name}.json"
    path.write_bytes(path.read_bytes() + b"more")
    item = json.loads(document.read_text())
    item["assets"][key] |= {"file:size": path.stat().st_size, "file:checksum": content_digest(path)}
    document.write_text(json.dumps(item))


def matches_its_item(files: dict[str, bytes], name: str) -> bool:
    item = json.loads(files[f"a/{name}/{name}.json"])
    assets = item["assets"].values()
    return all(content_digest(files[f"a/{name}/{Path(a['href']).name}"]) == a["file:checksum"] for a in assets)


class Moody(Bucket):
    """A bucket that deals with every file in another manner."""

    chance: random.Random

    def put(self, key: str, body: bytes) -> None:
        """Store a file, or not quite, as it happens."""
        self.manner = self.chance.choice(MOODS)
        super().put(key, body)

    def delete(self, key: str) -> None:
        """Remove a file, or say so, as it happens."""
        self.manner = self.chance.choice(MOODS)
        super().delete(key)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_store_does_sent_is_what_it_holds(
    four_days: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with serving(Moody(late=seed % 3)) as bucket:
        point_to(bucket, monkeypatch)
        bucket.chance = random.Random(seed)  # noqa: S311 - of a test
        bucket.odd = lambda key: key.startswith("a/")
        bucket.files |= FOREIGN_FILES
        for _ in range(3):
            report, _ = published(four_days, TARGET, prune=True)
            done = {*report.sent, *report.unchanged} if report else set()
            assert done <= whole(four_days, bucket.files)
        assert {name: bucket.files.get(name) for name in FOREIGN_FILES} == FOREIGN_FILES


def test_a_store_that_is_busy(four_days: Path, bucket: Bucket) -> None:
    bucket.fault = lambda number, _method, _key: number % 3 == 0
    assert se.publish(four_days, TARGET).sent == IDS
    assert whole(four_days, bucket.files) == set(IDS)


@pytest.mark.parametrize("late", [0, 3])
def test_only_what_items_name_is_withdrawn(four_days: Path, bucket: Bucket, late: int) -> None:
    se.publish(four_days, TARGET)
    bucket.late = late
    report = se.unpublish("spaceeye", TARGET)
    assert set(report.removed) == set(IDS)
    assert bucket.files == FOREIGN_FILES
    assert set(report.foreign) == {name.removeprefix("a/") for name in FOREIGN_FILES if name.startswith("a/")}


def test_a_removal_is_believed_when_it_is_seen(four_days: Path, bucket: Bucket) -> None:
    se.publish(four_days, TARGET)
    bucket.manner, bucket.odd = "keeps", lambda key: IDS[1] in key
    with pytest.raises(PublishError, match=rf"1 of 4 items were not removed .*{IDS[1]}: .* is still there") as caught:
        se.unpublish("spaceeye", TARGET)
    assert isinstance(caught.value.report, se.Report)
    assert set(caught.value.report.removed) == set(IDS) - {IDS[1]}


def foreign_item(name: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": name,
        "collection": "spaceeye",
        "properties": {"datetime": "2023-04-03T00:00:00Z"},
        "assets": {},
        "links": [],
    }


@pytest.mark.parametrize("name", [IDS[1], "theirs", "spaceeye_2023-04-09"])
def test_items_of_others_stay_and_stay_linked(four_days: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    se.publish(four_days, out)
    document = out / name / f"{name}.json"
    document.parent.mkdir(exist_ok=True)
    document.write_text(json.dumps(foreign_item(name)))
    collection = json.loads((out / "collection.json").read_text())
    if name not in IDS:
        collection["links"].append({"rel": "item", "href": f"./{name}/{name}.json"})
        (out / "collection.json").write_text(json.dumps(collection))
    report, said = published(four_days, str(out), prune=True)
    assert report is not None
    assert f"{name}/{name}.json" in report.foreign
    assert (name in report.failed) == (name in IDS) == ("that this package did not make" in said)
    assert json.loads(document.read_text()) == foreign_item(name)
    assert f"./{name}/{name}.json" in {k["href"] for k in json.loads((out / "collection.json").read_text())["links"]}
    report = se.unpublish("spaceeye", out)
    assert set(report.removed) == set(IDS) - {name}
    assert json.loads(document.read_text()) == foreign_item(name)
    assert [k["href"] for k in json.loads((out / "collection.json").read_text())["links"] if k["rel"] == "item"] == [
        f"./{name}/{name}.json"
    ]


@pytest.mark.parametrize(
    "href", ["../../thesis.txt", "/etc/hostname", "../thesis.txt", "https://host.example/thesis.txt"]
)
def test_an_item_does_not_name_what_lies_elsewhere(four_days: Path, tmp_path: Path, href: str) -> None:
    out = tmp_path / "out"
    se.publish(four_days, out)
    for place in (tmp_path, out, out / IDS[0]):
        (place / "thesis.txt").write_text("years of work")
    document = out / IDS[0] / f"{IDS[0]}.json"
    item = json.loads(document.read_text())
    item["assets"]["more"] = {"href": href}
    document.write_text(json.dumps(item))
    se.unpublish("spaceeye", out)
    assert (tmp_path / "thesis.txt").is_file()
    assert (out / "thesis.txt").is_file()
    assert (out / IDS[0] / "thesis.txt").is_file()


def test_files_that_a_day_has_no_more_go_with_their_item(four_days: Path, tmp_path: Path) -> None:
    days, out = Path(shutil.copytree(four_days, tmp_path / "days")), tmp_path / "out"
    se.publish(days, out)
    (out / IDS[0] / "mine.tif").write_bytes(b"mine")
    document = days / IDS[0] / f"{IDS[0]}.json"
    item = json.loads(document.read_text())
    del item["assets"]["B02"]
    document.write_text(json.dumps(item))
    report = se.publish(days, out)
    assert report.foreign == (f"{IDS[0]}/mine.tif",)
    assert not (out / IDS[0] / "B02.tif").exists()
    assert (out / IDS[1] / "B02.tif").is_file()


@pytest.mark.parametrize("name", ["thumbnail.png", "report.html", "spaceeye.schema.json", "items.parquet"])
def test_a_file_of_others_with_a_name_of_ours(four_days: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    said = f"holds '{name}', which is no part of spaceeye"
    with pytest.raises(TargetError, match=said):
        se.publish(four_days, tmp_path, overwrite=True)
    if name != "items.parquet":  # an API's files have no table
        with serving(SmallApi()) as api, pytest.raises(TargetError, match=said):
            se.publish(four_days, api.url, assets_to=tmp_path, asset_base_url="https://files.example")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_damaged_file_does_not_cost_what_is_published(four_days: Path, tmp_path: Path) -> None:
    days, out = Path(shutil.copytree(four_days, tmp_path / "days")), tmp_path / "out"
    se.publish(days, out)
    changed(days, IDS[1], "B04")
    path = days / IDS[1] / "B04.tif"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    report, said = published(days, str(out))
    assert f"{IDS[1]}: file {path} is damaged on this disk: it does not have the checksum that its item says" in said
    assert report is not None
    assert (out / IDS[1] / "B04.tif").read_bytes() == (four_days / IDS[1] / "B04.tif").read_bytes()


def test_paths_of_this_machine_stay_on_it(four_days: Path, tmp_path: Path) -> None:
    days = Path(shutil.copytree(four_days, tmp_path / "days"))
    document = json.loads((days / "collection.json").read_text())
    document["spaceeye:warnings"] = [
        "Asset B04 of S2A_1 (/srv/me/secret place/B04.tif, file:///home/me/x.tif) is off, see https://host.example/a/b."
    ]
    (days / "collection.json").write_text(json.dumps(document))
    item = json.loads((days / IDS[0] / f"{IDS[0]}.json").read_text())
    item["links"].append({"rel": "derived_from", "href": "file:///home/me/scene.json"})
    (days / IDS[0] / f"{IDS[0]}.json").write_text(json.dumps(item))
    se.publish(days, tmp_path / "out", asset_base_url="https://host.example/days")
    text = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
    assert "file://" not in text
    assert "/srv/me" not in text
    assert "/home/me" not in text
    assert str(tmp_path) not in text
    assert "https://host.example/a/b" in text


def test_what_stays_is_printed(four_days: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.publish(four_days, out)
    for number in range(7):
        (out / IDS[0] / f"[red]{number}.aux").write_text("mine")
    done = command("publish", four_days, "--to", out)
    assert done.returncode == 0, done.stderr
    assert f"7 items or files there are not of this package and stay: {IDS[0]}/[red]0.aux, " in done.stdout
    assert "[red]4.aux and 2 more." in done.stdout


@pytest.mark.parametrize("kind", ["api", "folder"])
def test_a_day_of_others_is_not_replaced_by_the_stream(four_days: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    collection = json.loads((four_days / "collection.json").read_text())
    items = [json.loads((four_days / name / f"{name}.json").read_text()) for name in IDS]
    theirs = foreign_item(IDS[1])
    with serving(SmallApi()) as api:
        stream = DayStream(api.url if kind == "api" else out, PublishOptions())
        stream.day(four_days, collection, items[0])
        (out / IDS[1]).mkdir(parents=True)
        (out / IDS[1] / f"{IDS[1]}.json").write_text(json.dumps(theirs))
        api.items[IDS[1]] = theirs
        stream = DayStream(api.url if kind == "api" else out, PublishOptions())
        stream.day(four_days, collection, items[1])
        assert "that this package did not make is there and stays" in str(stream.error)
        assert api.items[IDS[1]] == json.loads((out / IDS[1] / f"{IDS[1]}.json").read_text()) == theirs
