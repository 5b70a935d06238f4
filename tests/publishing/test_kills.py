"""A publication that is killed, wherever that is, is gone on with, and ends as one that nothing disturbs."""

import copy
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import obstore
import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.staged import cleared
from spaceeye_stac.publishing.targets import target_of
from tests.support.bucket import Bucket, point_to
from tests.support.forked_runs import Starter, starting
from tests.support.loopback import serving
from tests.support.same_files import assert_same_files
from tests.support.transactions_api import SmallApi

KILLED = [-signal.SIGKILL]
Files = dict[str, Any]
EVERY = pytest.mark.slow
SAMPLE = 9


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with starting() as running:
        yield running


@dataclass(frozen=True)
class Publication:
    """What is published, and what of the same run was there before, if anything."""

    run: Path
    before: Path | None = None


@pytest.fixture(scope="module")
def query(simulated_query: se.Query) -> se.Query:
    return replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-05")


@pytest.fixture(scope="module")
def first(query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Publication:
    return Publication(se.run(query, out=tmp_path_factory.mktemp("published") / "out").path)


@pytest.fixture(scope="module")
def second(first: Publication, tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """One day less at the beginning, one more at the end, and another title between."""
    folder = tmp_path_factory.mktemp("second")
    before = Path(shutil.copytree(first.run, folder / "before"))
    after = Path(shutil.copytree(first.run, folder / "after"))
    for run, gone in ((before, "-05"), (after, "-01")):
        path = run / "collection.json"
        document = json.loads(path.read_text())
        document["links"] = [link for link in document["links"] if not link["href"].endswith(f"{gone}.json")]
        path.write_text(json.dumps(document))
    item = after / "spaceeye_2023-04-03" / "spaceeye_2023-04-03.json"
    document = json.loads(item.read_text())
    document["properties"]["title"] = "Another"
    item.write_text(json.dumps(document))
    return Publication(after, before)


class Place(Protocol):
    """A target, what it holds, and how a publication to it is killed at one of its steps."""

    address: str

    def held(self) -> Files:
        """Everything that is there, by name."""

    def clear(self) -> None:
        """Remove it."""

    def killing(self, last: int) -> dict[str, Any]:
        """Kill at the n-th step (0: count alone); gives the options of the publication."""

    def started(self, pid: int) -> None:
        """Say which process it is that is to be killed."""

    def count(self, told: list[list[Any]]) -> int:
        """The steps of a publication that nothing disturbed."""


@dataclass
class Folder:
    """A folder; a step is a file that is touched, or a call of obstore as it begins or ends."""

    address: str

    def held(self) -> Files:
        return files_of(Path(self.address))

    def clear(self) -> None:
        shutil.rmtree(self.address, ignore_errors=True)

    def killing(self, last: int) -> dict[str, Any]:
        return {"kill_at": last}

    def started(self, pid: int) -> None:
        pass

    def count(self, told: list[list[Any]]) -> int:
        return int(max(line[1] for line in told if line[0] == "touches"))


@dataclass
class Served:
    """A server; a step is a request, before it is done or after."""

    server: SmallApi | Bucket
    address: str
    held_by: Callable[[], Files]
    last: int = 0
    steps: int = 0
    pid: int = 0
    known: Event = field(default_factory=Event)

    def held(self) -> Files:
        return copy.deepcopy(self.held_by())

    def clear(self) -> None:
        for held in (
            [self.server.files] if isinstance(self.server, Bucket) else [self.server.items, self.server.collections]
        ):
            held.clear()

    def killing(self, last: int) -> dict[str, Any]:
        self.last, self.steps = last, 0
        self.known.clear()
        self.server.fault = self._fault
        return {}

    def _fault(self, _number: int, _method: str, _path: str) -> Any:
        """Let the server not do a request, or do it where nobody hears of it any more."""
        self.steps += 2
        if not self.last or self.steps < self.last:
            return 0
        self.known.wait()
        os.kill(self.pid, signal.SIGKILL)
        last, self.last = self.last, 0  # what it had asked for besides is done
        undone = 500 if isinstance(self.server, SmallApi) else True
        done = "cut" if isinstance(self.server, SmallApi) else False
        return undone if self.steps > last else done

    def started(self, pid: int) -> None:
        self.pid = pid
        self.known.set()

    def count(self, told: list[list[Any]]) -> int:
        assert told
        return self.steps


@contextmanager
def place_of(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if kind == "folder":
        yield Folder(str(tmp_path / "home" / "target"))
    elif kind == "api":
        with serving(SmallApi()) as api:
            yield Served(api, api.url, lambda: api.items | {"(collections)": api.collections})
    else:
        with serving(Bucket()) as bucket:
            point_to(bucket, monkeypatch)
            yield Served(bucket, "s3://days/a", lambda: bucket.files)


def restored(place: Place, publication: Publication) -> None:
    """Let a target hold what was there before."""
    place.clear()
    place.killing(0)
    if publication.before is not None:
        se.publish(publication.before, place.address)


def ended(starter: Starter, place: Place, publication: Publication, last: int) -> list[list[Any]]:
    """What a publication in a process of its own tells, up to its end."""
    place.started(starter.publish(publication.run, place.address, prune=True, **place.killing(last)))
    return list(starter.told())


def seen_whole(place: Place, *known: Files) -> None:
    """Whatever is there is as it was before or shall be; what is on its way has a name that no one reads."""
    for name, content in place.held().items():
        if name not in {"(collections)", "collection.json", "a/collection.json", "items.parquet", "a/items.parquet"}:
            assert "#" in name or any(files.get(name) == content for files in known), name


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=EVERY)])
@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize("kind", ["folder", "api", "bucket"])
def test_killed_at_any_step_a_publication_ends_as_if_nothing_had_been(
    kind: str,
    which: str,
    every: bool,  # noqa: FBT001
    starter: Starter,
    request: pytest.FixtureRequest,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publication: Publication = request.getfixturevalue(which)
    with place_of(kind, tmp_path, monkeypatch) as place:
        restored(place, publication)
        before = place.held()
        steps = place.count(ended(starter, place, publication, 0))
        whole, killed = place.held(), 0
        places = range(1, steps + 1) if every else sorted({*range(1, steps, steps // (SAMPLE - 2)), steps - 1, steps})
        for last in places:
            restored(place, publication)
            told = ended(starter, place, publication, last)
            killed += told[-1][1:] == KILLED
            assert told[-1][1:] in (KILLED, [0]), told
            seen_whole(place, before, whole)
            place.killing(0)
            report = se.publish(publication.run, place.address, prune=True)
            assert not report.failed
            assert place.held() == whole, last
            assert not list(temporary.iterdir()), last
        assert killed >= len(places) - 1, "of some steps there are a few less at times"
    print(f"{kind}, {which}: {killed} kills at {len(places)} of {steps} steps")  # noqa: T201 - a figure to keep


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=EVERY)])
def test_killed_at_any_moment_a_publication_to_a_folder_ends_well(
    kills: int, starter: Starter, first: Publication, temporary: Path, tmp_path: Path
) -> None:
    rng = random.Random(3)  # noqa: S311 - moments, not secrets
    place, killed = Folder(str(tmp_path / "target")), 0
    start = time.monotonic()
    ended(starter, place, first, 0)
    seconds, whole = time.monotonic() - start, place.held()
    place.clear()
    while killed < kills:
        starter.publish(first.run, place.address, kill_after=rng.uniform(0, seconds))
        killed += starter.end() == KILLED
        seen_whole(place, whole)
        if rng.random() < 1 / 3:  # else the next goes on from there, and is killed, too
            assert not se.publish(first.run, place.address).failed
            assert place.held() == whole
            place.clear()
    assert not se.publish(first.run, place.address).failed
    assert place.held() == whole
    assert not list(temporary.iterdir())


def test_what_obstore_had_on_its_way_is_removed_and_nothing_else(
    starter: Starter, first: Publication, temporary: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    se.publish(first.run, tmp_path / "whole")
    whole = files_of(tmp_path / "whole")
    sizes = {name: len(content) for name, content in whole.items()}
    rasters = [size for name, size in sizes.items() if name.endswith(".tif")]
    left = set[str]()
    for limit in (max(sizes.values()) - 1, max(rasters) - 1, min(rasters) - 1):
        for path in target.rglob("*.tif"):
            path.unlink()
        starter.publish(first.run, target, dies_at_bytes=limit)
        assert starter.end() == [-signal.SIGXFSZ]
        left = {name for name in files_of(target) if "#" in name}
        assert left or list(temporary.iterdir())
        assert {name[-2:] for name in left} <= {"#1"}, "what an earlier one left is cleared, so that none has #2"
    assert left
    day = target / "spaceeye_2023-04-02"
    day.mkdir(exist_ok=True)
    (day / "B04.tif#12").write_bytes(b"of an earlier one")
    others = {"B04.tif#1a", "notes.txt#1", "#1", "B05.tif#1"}
    for name in others:
        (day / name).write_bytes(b"mine")
    with cleared(target_of(target), []):  # another publication is at work
        se.publish(first.run, target)
    assert left < files_of(target).keys()
    se.publish(first.run, target)
    assert not list(temporary.iterdir())
    assert files_of(target) == whole | {f"{day.name}/{name}": b"mine" for name in others}
    (day / "B04.tif#1").write_bytes(b"of a last one")
    se.unpublish("spaceeye", target)
    assert files_of(target) == {f"{day.name}/{name}": b"mine" for name in others}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=EVERY)])
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_run_that_publishes_its_days_as_it_goes_is_killed(
    kind: str,
    every: bool,  # noqa: FBT001
    starter: Starter,
    query: se.Query,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`run --to`: the run and what it publishes end as one that nothing disturbs."""
    out = tmp_path / "home" / "out"

    def run(place: Place, last: int) -> list[list[Any]]:
        place.started(starter.start(query, out, to=place.address, **place.killing(last)))
        return list(starter.told())

    def laid(files: Files, name: str) -> Path:
        for key, content in files.items():
            path = tmp_path / name / key.removeprefix("a/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    with place_of(kind, tmp_path, monkeypatch) as place:
        steps = place.count(run(place, 0))
        whole = laid(place.held(), "whole")
        for last in range(1, steps + 1, 1 if every else steps // (SAMPLE // 2)):
            place.clear()
            shutil.rmtree(out, ignore_errors=True)
            assert run(place, last)[-1][1:] in (KILLED, [0])
            assert run(place, 0)[-1][1:] == [0], last
            assert_same_files(laid(place.held(), f"at-{last}"), whole)
            assert {path.name for path in out.parent.iterdir()} <= {"out", "target"}
            assert not list(temporary.iterdir()), last
            shutil.rmtree(tmp_path / f"at-{last}")


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_removal_that_dies_is_gone_on_with(
    kind: str, nth: int, second: Publication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each request that removes files, before it or after: of a pruned day, then of a collection."""
    with place_of(kind, tmp_path, monkeypatch) as place:
        restored(place, second)
        se.publish(second.run, place.address, prune=True)
        whole = place.held()
        restored(place, second)
        with monkeypatch.context() as patched:
            dies_at(nth, patched)
            with suppress(KeyboardInterrupt):
                se.publish(second.run, place.address, prune=True)
        se.publish(second.run, place.address)
        assert place.held() == whole
        with monkeypatch.context() as patched:
            dies_at(nth, patched)
            with suppress(KeyboardInterrupt):
                se.unpublish("spaceeye", place.address)
        with suppress(TargetError):  # it may have been done already
            se.unpublish("spaceeye", place.address)
        assert place.held() == {}


def dies_at(nth: int, patched: pytest.MonkeyPatch) -> None:
    """Let the n-th removal be interrupted, every other one when it is done."""
    delete, left = obstore.delete, [nth]

    def dying(*arguments: Any) -> None:
        left[0] -= 2
        if left[0] == -1:
            raise KeyboardInterrupt
        delete(*arguments)
        if not left[0]:
            raise KeyboardInterrupt

    patched.setattr(obstore, "delete", dying)
