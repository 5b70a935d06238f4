"""Publishing to APIs that say what is not so: believed is what they hold afterwards, and nothing of others is lost."""

import copy
import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.credentials import HEADER, PASSWORD, TOKEN, TOKEN_COMMAND, USER, Credentials
from spaceeye_stac.publishing.digests import DIGEST, with_digest
from spaceeye_stac.publishing.targets import target_of
from tests.support.loopback import serving
from tests.support.odd_api import KEPT, OddApi, OtherHost
from tests.support.publications import published
from tests.support.transactions_api import Json

IDS = tuple(f"spaceeye_2023-04-{day:02d}" for day in range(1, 5))
SECRETS = {
    "X-Api-Key": (HEADER, "X-Api-Key: hunter22 and-more"),
    "Ocp-Apim-Subscription-Key": (HEADER, "Ocp-Apim-Subscription-Key: hunter22"),
    "Authorization": (TOKEN, "hunter22"),
}
FOREIGN_IDS = ("theirs", "..", ".", "a/b", "..%2f..", "spaceeye_2023-04-09")
MOODS = ("plain",) * 6 + ("empty", "later", "silent", "page", "ok", "forgets", "never", "mangles", "conflict", "keeps")
DONE = {"empty", "later", "silent", "plain"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.api.SETTLE_SECONDS", 0.1)


def foreign(name: str, **properties: object) -> dict[str, Any]:
    facts = {"datetime": "2023-04-09T00:00:00Z", "title": "mine", **properties}
    return {"id": name, "collection": "spaceeye", "bbox": [3, 50, 4, 51], "properties": facts}


@contextmanager
def odd(**behaviour: Any) -> Iterator[OddApi]:
    """An odd API, and another host; whatever it does, its foreign items stay and the other host gets no secret."""
    with serving(OtherHost()) as other, serving(OddApi(elsewhere=other.url, **behaviour)) as api:
        before = {name: foreign(name) for name in FOREIGN_IDS}
        api.items |= copy.deepcopy(before)
        yield api
        assert {name: api.items.get(name) for name in before} == before
        assert not [headers for _, _, headers in other.requests if "hunter22" in str(headers)]
        assert not [path for _, path, _ in other.requests if "/items" in path or "collections" in path]


def digests(api: OddApi) -> set[str]:
    """Ids of the days that the API holds as the run has them."""
    return {name for name in IDS if name in api.items and DIGEST in api.items[name]["properties"]}


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize(
    ("manner", "key"),
    [
        *((manner, "X-Api-Key") for manner in ("plain", "empty", "later", "silent")),
        *((manner, "X-Api-Key") for manner in ("page", "ok", "forgets", "never", "mangles", "conflict")),
        *((manner, key) for manner in ("moved", "login") for key in SECRETS),
    ],
)
def test_sent_is_what_the_api_holds(
    four_days: Path, manner: str, key: str, monkeypatch: pytest.MonkeyPatch, *, bulk: bool
) -> None:
    monkeypatch.setenv(*SECRETS[key])
    monkeypatch.setattr("spaceeye_stac.publishing.api.BULK_FROM", 2)
    with odd(manner=manner, bulk=bulk) as api:
        start = time.monotonic()
        report, said = published(four_days, api.url, prune=True)
        assert time.monotonic() - start < 10
        held = digests(api)
        assert held == (set(IDS) if manner in DONE else set())
        assert set(report.sent if report else ()) == held
        assert (said == "") == (manner in DONE)
        assert "hunter22" not in said
        assert "and-more" not in said
        if report is not None:
            assert set(report.failed) == set(IDS) - held
            assert set(report.foreign) - set(IDS) == set(FOREIGN_IDS)


class Moody(OddApi):
    """An odd API that deals with every change in another manner."""

    chance: random.Random

    def answer(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        """Do what a request asks, or say so, as it happens."""
        self.manner = self.chance.choice(MOODS)
        return super().answer(method, path, body)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_an_api_does_sent_is_what_it_holds(four_days: Path, seed: int) -> None:
    with serving(OtherHost()) as other, serving(Moody(elsewhere=other.url)) as api:
        api.chance = random.Random(seed)  # noqa: S311 - of a test
        api.items |= {name: foreign(name) for name in FOREIGN_IDS}
        for _ in range(3):
            report, _ = published(four_days, api.url, prune=True)
            done = {*report.sent, *report.unchanged} if report else set()
            assert all(with_digest(api.items[name]) == api.items[name] for name in done)
        removed = withdrawn(api.url)
        assert not removed & api.items.keys()
        assert {name: api.items[name] for name in FOREIGN_IDS} == {name: foreign(name) for name in FOREIGN_IDS}
        assert "spaceeye" in api.collections or not done


def withdrawn(target: str) -> set[str]:
    """Ids of the items that are said to be removed."""
    try:
        return set(se.unpublish("spaceeye", target).removed)
    except (PublishError, TargetError) as error:
        report = getattr(error, "report", None)
        return set(report.removed) if isinstance(report, se.Report) else set()


@pytest.mark.parametrize("manner", ["page", "ok", "forgets", "conflict", "moved", "login"])
def test_no_item_goes_where_the_collection_did_not(four_days: Path, manner: str) -> None:
    with odd(manner=manner, everything=True) as api:
        report, said = published(four_days, api.url)
        assert report is None
        assert said
        assert not [path for _, path in api.log if "/items" in path]


@pytest.mark.parametrize("path", ["/", "/search", "/collections/spaceeye", "/api"])
@pytest.mark.parametrize("key", SECRETS)
def test_a_key_stays_with_the_host_it_was_given_for(
    four_days: Path, path: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*SECRETS[key])
    monkeypatch.setattr("spaceeye_stac.publishing.api.BULK_FROM", 2)
    with odd(bulk=True) as api:
        se.publish(four_days, api.url)
        api.reading = path
        report, said = published(four_days, api.url)
        assert (report is None) == (path != "/api")
        assert "hunter22" not in said


def test_a_server_that_fails_at_every_third_request(four_days: Path) -> None:
    with odd(fault=lambda number, _method, _path: 500 if number % 3 == 0 else 0) as api:
        assert se.publish(four_days, api.url).sent == IDS


def test_a_server_that_fails_at_one_document_is_given_up_soon(four_days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.publishing.http_client.DOCUMENT_WAIT_SECONDS", 0.05)

    def fault(_number: int, method: str, path: str) -> int:
        return 500 if path.endswith("/items") and method == "POST" else 0

    with odd(fault=fault) as api:
        report, said = published(four_days, api.url)
        assert report is not None
        assert set(report.failed) == set(IDS)
        assert "answers 500" in said
        assert len([path for _, path in api.log if path.endswith("/items")]) == 8 * len(IDS)


def test_items_that_are_not_ours_stay_as_they_are(four_days: Path) -> None:
    theirs = foreign(IDS[1])
    with odd() as api:
        api.items[IDS[1]] = copy.deepcopy(theirs)
        report, said = published(four_days, api.url, prune=True, overwrite=True)
        assert report is not None
        assert report.failed.keys() == {IDS[1]}
        assert "that this package did not make is there and stays" in said
        assert api.items[IDS[1]] == theirs
        withdrawn = se.unpublish("spaceeye", api.url)
        assert withdrawn.removed == (IDS[0], IDS[2], IDS[3])
        assert set(withdrawn.foreign) == {*FOREIGN_IDS, IDS[1]}
        assert "spaceeye" in api.collections
        assert api.items.keys() == {*FOREIGN_IDS, IDS[1]}


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../spaceeye", "a\\b", "a\nb"])
def test_an_id_that_leads_elsewhere_never_reaches_a_url(four_days: Path, name: str) -> None:
    with odd() as api:
        se.publish(four_days, api.url)
        api.items[name] = {**foreign(name, **{DIGEST: "1220"}), "properties": {"spaceeye:fingerprint": "f"}}
        before = copy.deepcopy(api.items[name])
        changes = len(api.log)
        report, _ = published(four_days, api.url, prune=True)
        assert report is not None
        assert report.removed == ()
        assert report.failed.keys() == {name}
        with pytest.raises(PublishError, match="cannot stand in the address"):
            se.unpublish("spaceeye", api.url)
        assert [path for method, path in api.log[changes:] if method == "DELETE" and path not in own_paths()] == []
        assert "spaceeye" in api.collections
        assert api.items.pop(name) == before
        api.items |= {one: foreign(one) for one in FOREIGN_IDS}
        with pytest.raises(TargetError, match="cannot stand in the address"):
            se.unpublish(name, api.url)


def own_paths() -> set[str]:
    return {f"/collections/spaceeye/items/{name}" for name in IDS}


def test_a_removal_is_believed_when_it_is_seen(four_days: Path, tmp_path: Path) -> None:
    shorter = Path(shutil.copytree(four_days, tmp_path / "days"))
    document = json.loads((shorter / "collection.json").read_text())
    document["links"] = [link for link in document["links"] if IDS[3] not in link["href"]]
    (shorter / "collection.json").write_text(json.dumps(document))
    with odd(manner="keeps") as api:
        se.publish(four_days, api.url)
        report, said = published(shorter, api.url, prune=True)
        assert report is not None
        assert report.removed == ()
        assert report.failed.keys() == {IDS[3]}
        assert "the API still holds it after its removal" in said
        with pytest.raises(PublishError, match="4 of 4 items were not removed from"):
            se.unpublish("spaceeye", api.url)
        assert "spaceeye" in api.collections
        api.manner = "plain"
        assert se.publish(shorter, api.url, prune=True).removed == (IDS[3],)


@pytest.mark.parametrize("drops", [KEPT, tuple(name for name in KEPT if name != "summaries")])
def test_a_server_that_keeps_only_what_stac_knows_of_a_collection(
    four_days: Path, tmp_path: Path, drops: tuple[str, ...]
) -> None:
    with odd(drops=drops) as api:
        api.items.clear()
        assert se.publish(four_days, api.url).sent == IDS
        assert set(api.collections["spaceeye"]) <= set(drops)
        changes = len(api.log)
        assert len(se.publish(four_days, api.url).unchanged) == len(IDS)
        if "summaries" in drops:
            assert len(api.log) == changes, "nothing was sent again"
        other = Path(shutil.copytree(four_days, tmp_path / "other"))
        for path in other.glob("*/*.json"):
            item = json.loads(path.read_text())
            item["properties"]["spaceeye:fingerprint"] = "0123"
            path.write_text(json.dumps(item))
        with pytest.raises(TargetError, match="is of another run"):
            se.publish(other, api.url)
        assert len(se.publish(other, api.url, overwrite=True).sent) == len(IDS)
        assert len(se.unpublish("spaceeye", api.url).removed) == len(IDS)
        api.items |= {name: foreign(name) for name in FOREIGN_IDS}


def test_when_every_file_failed_it_is_one_sentence(four_days: Path, tmp_path: Path) -> None:
    days = Path(shutil.copytree(four_days, tmp_path / "days"))
    for path in days.glob("*/B04.tif"):
        path.unlink()
    with odd() as api:
        for target in (api.url, str(tmp_path / "out")):
            report, said = published(days, target, prune=True)
            assert report is not None
            assert set(report.failed) == set(IDS)
            assert said.startswith(f"4 of 4 items were not published to {target}: {IDS[0]}: file ")
            assert "\n" not in said
        assert api.collections == {}
        assert api.log == []
    assert not (tmp_path / "out" / "collection.json").exists()


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        (HEADER, "X-Api-Key: first-word second", ("first-word", "second")),
        (HEADER, "X-Api-Key: ab cd", (" ab ", " cd ")),
        (HEADER, 'Cookie: session="a b"; other=c12', ("session", "c12")),
        (TOKEN, "one.two.three\n", ("one.two.three",)),
        (TOKEN, "word-one word-two", ("word-one", "word-two")),
        (PASSWORD, "hunter22", ("hunter22", "bWU6aHVudGVyMjI=")),
    ],
)
def test_every_word_of_a_header_is_hidden(
    name: str, value: str, secrets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, "me" if name == PASSWORD else "")
    monkeypatch.setenv(name, value)
    said = Credentials(target_of("https://host.example")).hidden_in(f"no {' and '.join(secrets)} here: {value}")
    assert not [word for word in secrets if word in said]


@pytest.mark.parametrize(
    ("name", "value"),
    [(HEADER, "X-Api-Key: hunter22\nHost: other"), (HEADER, "X Key: hunter22"), (TOKEN, "hunter22 \u20ac")],
)
def test_credentials_that_no_header_can_hold(
    four_days: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with odd() as api:
        report, said = published(four_days, api.url)
        assert report is None
        assert "no HTTP header can hold" in said
        assert "hunter22" not in said
    monkeypatch.setenv(TOKEN_COMMAND, 'echo "hunter22')
    assert "has a quote without its end" in published(four_days, "http://127.0.0.1:9")[1]
