"""A run of files in a store: every byte once, whatever is kept where, and the same days."""

import errno
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.collection import TILES
from spaceeye_stac.errors import OutputError, ReadError
from spaceeye_stac.pixels.reading_ahead import ReadingAhead
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.image_store import Store
from tests.support.items import absolute_items
from tests.support.loopback import serving
from tests.support.same_files import assert_same_files
from tests.support.small_catalog import written
from tests.support.small_cells import solve_in_cells

LANDSCAPE = Simulation(shape=(600, 1100), days=8, revisit=3, seed=3)
HEADER = 2**14
METHODS = ["damped", "surface"]
GOES_ON = "the same command again goes on from there."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    LANDSCAPE.write(folder)
    return folder


@pytest.fixture
def store(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)
    with serving(Store(files)) as store:
        yield store


@pytest.fixture
def query(store: Store, files: Path, tmp_path: Path) -> se.Query:
    """The scenes with their files in the store."""
    items = absolute_items(next(files.rglob("catalog.json")))
    here = json.loads(json.dumps(items).replace(str(files), store.url))
    box = LANDSCAPE.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox.bbox
    days, bands = "2023-04-01/2023-04-04", ["B04"]
    return se.Query(catalog=written(here, tmp_path), bbox=box, datetime=days, bands=bands, allow_hrefs=[store.url])


def run(query: se.Query, out: Path, monkeypatch: pytest.MonkeyPatch, method: str = "damped", **resources: Any) -> Path:
    """Run in many cells, a few at a time."""
    settings = se.Settings(method=method)
    with monkeypatch.context() as patch:
        solve_in_cells(patch, settings, cell=256, halo=16, margin=16)
        patch.setattr("spaceeye_stac.engine.budget.MOST_CELLS_A_SIDE", 1)
        se.run(query, settings, out=out, resources=se.Resources(workers=2, **resources))
    return out


def filled(cache: Path, store: Store, query: se.Query, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, set[str]]:
    """A run that fills a cache, beside it, and the files that it read; of these requests the store knows no more."""
    first = run(query, cache.parent / "first", monkeypatch, cache=cache)
    files = {name for name, _, _ in store.sent}
    store.sent.clear()
    return first, files


def over_read(store: Store) -> float:
    """Bytes that were sent over those of which the sum is made, headers aside."""
    parts = sorted(one for one in store.sent if one[1] > 0)
    assert parts
    sent, own, end = 0, 0, ("", 0)
    for name, start, stop in parts:
        first = max(start, end[1]) if name == end[0] else start
        sent, own = sent + stop - start, own + max(0, stop - first)
        end = name, max(stop, end[1] if name == end[0] else 0)
    return sent / own


@pytest.mark.parametrize("method", METHODS)
def test_each_byte_is_read_once_and_days_are_the_same(
    method: str, store: Store, query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.engine.schedulers.cache_place", lambda *_: None)
    plain = run(query, tmp_path / "plain", monkeypatch, method)
    assert over_read(store) > 1.5
    monkeypatch.undo()
    store.sent.clear()
    kept = run(query, tmp_path / "kept", monkeypatch, method)
    assert over_read(store) == 1
    names = [name for name, start, _ in store.sent if start == 0]
    assert len(names) == len(set(names)), "each header once"
    assert not (kept / TILES).exists()
    assert_same_files(kept, plain)


def test_another_run_with_the_same_cache_only_asks_whether_files_changed(
    store: Store, query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, files = filled(tmp_path / "cache", store, query, monkeypatch)
    second = run(query, tmp_path / "second", monkeypatch, cache=tmp_path / "cache")
    assert store.sent == []
    assert store.unchanged == len(files)
    assert_same_files(first, second)


def test_processes_share_what_is_kept(
    store: Store, query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, files = filled(tmp_path / "cache", store, query, monkeypatch)
    second = run(query, tmp_path / "second", monkeypatch, cache=tmp_path / "cache", scheduler="processes")
    assert_same_files(first, second)
    assert store.sent == []
    assert len(files) <= store.unchanged <= 2 * len(files), "both may meet a file at the same moment"


def test_a_second_try_reads_what_the_first_did_not(
    store: Store, query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is missing before anything is finished; when it is back, nothing is read again but the headers."""
    last = max(path.relative_to(store.root).as_posix() for path in store.root.rglob("*B04.tif"))
    store.answers = {last: 404}
    with pytest.raises(ReadError, match="does not exist") as raised:
        run(query, tmp_path / "out", monkeypatch)
    assert [one for one in store.sent if one[1] > 0]
    assert raised.value.__notes__ == [f"What was read is kept beside {tmp_path / 'out'}: {GOES_ON}"]
    assert [path.name for path in (tmp_path / ".out.partial").iterdir()] == [TILES]
    store.answers = {}
    run(query, tmp_path / "out", monkeypatch, method="surface")  # nothing says that the first was asked for another
    assert over_read(store) == 1
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_what_was_read_does_not_stay_on_a_full_disk(
    query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        assert any((tmp_path / ".out.partial" / TILES).rglob("*"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("spaceeye_stac.engine.fill_grid", full)
    monkeypatch.setattr("spaceeye_stac.engine.grid_jobs", lambda *_: [None])
    (tmp_path / ".out.partial" / TILES / "ab").mkdir(parents=True)
    (tmp_path / ".out.partial" / TILES / "ab" / "tile").write_bytes(b"1")
    with pytest.raises(OutputError, match="make room"):
        run(query, tmp_path / "out", monkeypatch)
    assert not (tmp_path / ".out.partial").exists()


def test_what_comes_is_read_in_order_and_not_too_far_ahead() -> None:
    asked: list[int] = []

    async def size() -> int:
        return 10

    def work(number: int) -> Any:
        def give() -> Any:
            asked.append(number)
            yield size()

        return give

    def waited(expected: list[int]) -> None:
        for _ in range(200):
            if asked == expected:
                break
            time.sleep(0.01)
        time.sleep(0.05)
        assert asked == expected

    with ReadingAhead([work(n) for n in range(10)], 2, 25) as ahead:
        waited([0, 1, 2, 3, 4])
        ahead.done(1)
        waited([0, 1, 2, 3, 4, 5])
        ahead.done(3)
        waited([0, 1, 2, 3, 4, 5, 6, 7])
    assert asked == [0, 1, 2, 3, 4, 5, 6, 7]


def test_what_is_not_had_ahead_ends_nothing() -> None:
    asked: list[int] = []

    async def fails() -> int:
        raise ReadError("lost")

    def work(number: int) -> Any:
        def give() -> Any:
            asked.append(number)
            yield fails()

        return give

    with ReadingAhead([work(n) for n in range(3)], 0, 25) as ahead:
        ahead._thread.join(5)  # noqa: SLF001 - until it is through
    assert asked == [0, 1, 2]
