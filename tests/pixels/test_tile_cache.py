"""Each byte of a file in a store crosses the network once in a run, and with a folder for it, once for all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.loader import Stacked, load
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.pixels.tile_cache import CHECK_BYTES, CachePlace, TileCache, cache_place, without_token
from spaceeye_stac.sources.selection import search
from tests.pixels.test_loaders import EPSG, LEFT, TILED, TOP, of_files, written
from tests.support.image_store import SECRET, Store
from tests.support.loopback import serving

MB = 2**20
# two parts of the same file that share the tiles in the middle
HALVES = [
    GeoBox.from_bbox((LEFT + x, TOP - 6000, LEFT + x + 3500, TOP), f"EPSG:{EPSG}", resolution=10, tight=True)
    for x in (0, 2500)
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)
    (tmp_path / "files").mkdir()
    with serving(Store(tmp_path / "files")) as store:
        yield store


@pytest.fixture
def scene(simulated_query: se.Query, store: Store) -> Scene:
    write(store)
    return of_files(next(iter(search(simulated_query))), store.url)


def write(store: Store, seed: int = 7) -> None:
    written(store.root / "a.tif", TILED, seed)
    written(store.root / "b.tif", TILED | {"dtype": "uint8"}, seed)


def read(scene: Scene, place: CachePlace | None, monkeypatch: pytest.MonkeyPatch, part: int = 0) -> Stacked:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse(cache=place)])
    return load([scene], HALVES[part], resampling={"B04": "nearest"}, sign=signed)


def place_of(tmp_path: Path, most: int = 64 * MB) -> CachePlace:
    """The folder for tiles, for a run of its own."""
    found = cache_place(tmp_path / "cache", most)
    assert found is not None
    return found


def twice(store: Store) -> int:
    """Bytes of tiles that were sent more than once, without those that came with a header."""
    again = 0
    for name in {name for name, _, _ in store.sent}:
        parts, end = sorted((start, stop) for other, start, stop in store.sent if other == name and start), 0
        for start, stop in parts:
            again += max(0, min(end, stop) - start)
            end = max(end, stop)
    return again


def same(one: Stacked, other: Stacked) -> None:
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.labels, other.labels)


def test_two_parts_of_a_file_share_its_tiles(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [read(scene, None, monkeypatch, part) for part in (0, 1)]
    assert twice(store) > 0, "the tiles in the middle"
    assert sum(start == 0 for _, start, _ in store.sent) == 4
    store.sent.clear()
    place = place_of(tmp_path)
    for part, expected in enumerate(plain):
        same(read(scene, place, monkeypatch, part), expected)
    assert twice(store) == 0
    assert sum(start == 0 for _, start, _ in store.sent) == 2
    assert store.unchanged == 0, "a file is met once in a run"


def test_a_second_run_makes_only_conditional_requests(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(scene, place_of(tmp_path), monkeypatch)
    store.sent.clear()
    asked = len(store.requests)
    same(read(scene, place_of(tmp_path), monkeypatch), expected)
    assert store.sent == []
    assert len(store.requests) - asked == store.unchanged == 2


@pytest.mark.parametrize("tells", ["ETag", "Last-Modified", ""])
def test_a_changed_file_is_read_anew(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: str
) -> None:
    store.tells = tells
    before = read(scene, place_of(tmp_path), monkeypatch)
    store.sent.clear()
    write(store, seed=8)
    store.modified = "Thu, 02 Nov 2023 00:00:00 GMT"
    found = read(scene, place_of(tmp_path), monkeypatch)
    same(found, read(scene, None, monkeypatch))
    assert (found.values != before.values).any()


def test_a_date_alone_saves_all_but_the_header(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tells = "Last-Modified"
    expected = read(scene, place_of(tmp_path), monkeypatch)
    store.sent.clear()
    same(read(scene, place_of(tmp_path), monkeypatch), expected)
    assert sorted(store.sent) == [("a.tif", 0, 2**14), ("b.tif", 0, 2**14)]


def test_a_store_that_tells_no_version_is_kept_within_a_run_alone(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tells = ""
    place = place_of(tmp_path)
    read(scene, place, monkeypatch)
    sent = len(store.sent)
    read(scene, place, monkeypatch)
    assert len(store.sent) == sent
    read(scene, place_of(tmp_path), monkeypatch)
    assert len(store.sent) == 2 * sent


def test_a_file_that_changes_during_a_run_is_an_error(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(tmp_path)
    read(scene, place, monkeypatch)
    written(store.root / "a.tif", TILED, seed=8)
    with pytest.raises(ReadError, match=r"asset http://\S+/a.tif was changed in its store") as caught:
        read(scene, place, monkeypatch, 1)
    assert scene.id in str(caught.value)
    read(scene, place_of(tmp_path), monkeypatch, 1)


@pytest.mark.parametrize("damage", ["short", "wrong", "empty"])
def test_a_damaged_entry_is_fetched_again(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    place = place_of(tmp_path)
    expected = read(scene, place, monkeypatch)
    sent = sorted(store.sent)
    for path in place.folder.glob("*/*"):
        content = path.read_bytes()
        middle = len(content) // 2
        wrong = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"short": content[:-1], "wrong": wrong, "empty": b""}[damage])
    store.sent.clear()
    same(read(scene, replace(place, run="another"), monkeypatch), expected)
    assert sorted(store.sent) == sent


def test_the_bound_is_kept_and_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = TileCache(place_of(tmp_path, MB))
    content = os.urandom(MB // 20)
    cache.put("00used", content)
    for n in range(60):
        cache.put(f"{n:02x}entry", content)
        os.utime(cache.place.folder / f"{n:02x}" / "entry", (n, n))
        assert cache.get("00used") == content
        assert sum(path.stat().st_size for path in cache.place.folder.glob("*/*")) <= MB
    assert cache.get("3bentry") == content
    assert cache.get("00entry") is None
    cache.put("00large", os.urandom(2 * MB))
    assert cache.get("00large") is None


def test_where_nothing_can_be_kept_all_is_read(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that goes, a full disk and a cache that is a file end nothing."""
    expected, place = read(scene, None, monkeypatch), place_of(tmp_path)
    place.folder.rmdir()
    same(read(scene, place, monkeypatch), expected)
    assert not place.folder.exists()
    place = place_of(tmp_path)
    monkeypatch.setattr("spaceeye_stac.pixels.tile_cache.FREE_BYTES", 2**62)
    same(read(scene, place, monkeypatch), expected)
    assert not list(place.folder.glob("*/*"))
    (tmp_path / "file").touch()
    assert cache_place(tmp_path / "file", MB) is None
    assert cache_place(tmp_path / "file" / "below", MB) is None


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    """Both write and read the same entries over and over; none is ever half there."""
    code = (
        "import sys, hashlib; from pathlib import Path; from spaceeye_stac.pixels.tile_cache import *\n"
        "cache, sizes = TileCache(CachePlace(Path(sys.argv[1]), 2**20, 'one')), range(1000, 60000, 1000)\n"
        "for n in range(20):\n"
        "    for size in sizes:\n"
        "        name, content = named(size), bytes([size % 251]) * size\n"
        "        found = cache.get(name)\n"
        "        assert found in (None, content)\n"
        "        cache.put(name, content)\n"
    )
    place = place_of(tmp_path)
    line = [sys.executable, "-c", code, str(place.folder)]
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate()[1] for one in both] == ["", ""]
    assert 0 < sum(path.stat().st_size for path in place.folder.glob("*/*")) < 2 * MB


def test_no_token_reaches_the_folder_and_another_token_finds_what_is_there(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.tokens = set()
    for seconds in (1, 2):
        token = f"{store.issue()['token']}&se=2999-01-0{seconds}&sp=r"
        store.tokens.add(token)
        bands = {name: replace(band, href=f"{band.href}?{token}") for name, band in scene.bands.items()}
        assert scene.labels is not None
        labels = replace(scene.labels, href=f"{scene.labels.href}?{token}")
        store.sent.clear()
        read(replace(scene, bands=bands, labels=labels), place_of(tmp_path), monkeypatch)
    assert store.sent == []
    for path in (tmp_path / "cache").rglob("*"):
        assert SECRET not in str(path)
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_what_only_signs_is_left_out_of_an_address_and_nothing_else() -> None:
    base = "https://there.example/a.tif"
    signs = {
        "st=1&se=2&sp=rl&sv=3&sr=c&skoid=4&sktid=5&skt=6&ske=7&sks=b&skv=8&sig=9": "",
        "X-Amz-Algorithm=a&X-Amz-Signature=b&id=3": "?id=3",
        "AWSAccessKeyId=a&Signature=b&Expires=1": "",
        "se=2&item=3": "?se=2&item=3",
    }
    assert {query: without_token(f"{base}?{query}") for query in signs} == {q: base + rest for q, rest in signs.items()}


def test_an_entry_is_the_bytes_and_their_checksum(tmp_path: Path) -> None:
    cache = TileCache(place_of(tmp_path))
    cache.put("abcd", b"content")
    assert (cache.place.folder / "ab" / "cd").read_bytes()[:-CHECK_BYTES] == b"content"
    assert cache.get("abcd") == b"content"
