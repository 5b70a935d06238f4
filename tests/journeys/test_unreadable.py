"""Scenes with a file that cannot be opened: refused by name, dropped as a whole, or replaced by an older processing."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.errors import NoScenesError, ReadError
from tests.support.command import command, options_of
from tests.support.image_store import Store
from tests.support.items import Json
from tests.support.loopback import serving
from tests.support.small_catalog import small_items, small_query, written
from tests.support.small_cells import solve_in_cells

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def missing(path: Path) -> None:
    path.unlink()


def pointer(path: Path) -> None:
    path.write_bytes(POINTER)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def other_size(path: Path) -> None:
    with rasterio.open(path) as source:
        profile = {**source.profile, "count": 3}
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.ones((3, *target.shape), profile["dtype"]))


BREAKS: dict[str, Callable[[Path], None]] = {
    "does not exist": missing,
    "is no GeoTIFF or JPEG 2000": pointer,
    "and only these are read": empty,
    "left out: asset": cut_header,
    "has 3 bands": other_size,
}


@pytest.fixture
def items(tmp_path: Path) -> list[Json]:
    return small_items(tmp_path / "catalog")


@pytest.fixture
def query(items: list[Json], tmp_path: Path) -> se.Query:
    return small_query(written(items, tmp_path / "catalog"))


def rasters(out: Path) -> dict[str, bytes]:
    """The pixels of every published band, by its place."""
    found = {}
    for path in sorted(out.rglob("*.tif")):
        with rasterio.open(path) as source:
            found[path.relative_to(out).as_posix()] = source.read().tobytes()
    assert len(found) > 40
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run of all four scenes publishes."""
    folder = tmp_path_factory.mktemp("whole")
    se.run(small_query(written(small_items(folder), folder)), out=folder / "out")
    return rasters(folder / "out")


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run of a catalog that lacks the third scene publishes."""
    folder = tmp_path_factory.mktemp("without")
    items = small_items(folder)
    se.run(small_query(written(items[:2] + items[3:], folder)), out=folder / "out")
    return rasters(folder / "out")


def file_of(item: Json, key: str) -> Path:
    return Path(item["assets"][key]["href"])


@pytest.mark.parametrize(("said", "key"), [*zip(BREAKS, ["B04", "SCL", "B02", "SCL", "B04"], strict=True)])
def test_dropping_a_scene_is_the_same_as_a_catalog_without_it_and_is_said(
    said: str, key: str, items: list[Json], query: se.Query, without: dict[str, bytes], tmp_path: Path
) -> None:
    BREAKS[said](file_of(items[2], key))
    result = se.run(replace(query, unreadable="drop"), out=tmp_path / "out")
    assert rasters(tmp_path / "out") == without
    (warning,) = result.warnings
    assert warning.startswith(f"Scene {items[2]['id']} left out: asset {file_of(items[2], key)} ")
    assert said in warning
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    assert collection.extra_fields["spaceeye:warnings"] == [warning]


def test_refused_it_ends_the_run_with_both_options_named(items: list[Json], query: se.Query, tmp_path: Path) -> None:
    missing(file_of(items[2], "B04"))
    with pytest.raises(ReadError, match="leave the scene out with exclude, or with unreadable drop") as caught:
        se.run(query, out=tmp_path / "out")
    assert items[2]["id"] in str(caught.value)
    result = se.run(replace(query, exclude=items[2]["id"]), out=tmp_path / "out")
    assert result.warnings == ()


def test_the_command_has_both_options(items: list[Json], query: se.Query, tmp_path: Path) -> None:
    pointer(file_of(items[2], "B04"))
    line = ("run", *options_of(query), "--out", tmp_path / "out")
    done = command(*line, "--unreadable", "drop")
    assert done.returncode == 0, done.stderr
    assert f"Warning: Scene {items[2]['id']} left out: asset" in done.stderr
    done = command("search", *options_of(query), "--exclude", items[2]["id"], "--json")
    assert items[2]["id"] not in [record["id"] for record in json.loads(done.stdout)]


def newer(item: Json, folder: Path, **changed: str) -> Json:
    """The item in a later processing, with files of its own."""
    again = copy.deepcopy(item)
    again["id"] = item["id"] + "_1"
    again["properties"] |= {"s2:processing_baseline": "03.02", **changed}
    place = folder / "catalog" / again["id"]
    place.mkdir()
    for asset in again["assets"].values():
        asset["href"] = shutil.copy(asset["href"], place)
    return again


@pytest.mark.parametrize("unreadable", ["refuse", "drop"])
def test_a_newer_processing_that_cannot_be_opened_does_not_beat_an_older_one(
    unreadable: str, items: list[Json], query: se.Query, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """As Earth Search has S2B_35UNT_20190914_0 and _1."""
    again = newer(items[2], tmp_path)
    both = replace(query, catalog=written([*items, again], tmp_path / "catalog"), unreadable=unreadable)
    assert [s.id for s in se.search(both)][2] == again["id"]
    missing(file_of(again, "B04"))
    result = se.run(both, out=tmp_path / "out")
    assert rasters(tmp_path / "out") == whole
    assert [again["id"] in text for text in result.warnings] == [True]


def test_where_neither_can_be_opened_the_scene_is_refused_or_dropped(
    items: list[Json], query: se.Query, tmp_path: Path
) -> None:
    again = newer(items[2], tmp_path)
    both = replace(query, catalog=written([*items, again], tmp_path / "catalog"))
    missing(file_of(again, "B04"))
    pointer(file_of(items[2], "B02"))
    with pytest.raises(ReadError, match=again["id"]):
        se.run(both, out=tmp_path / "out")
    result = se.run(replace(both, unreadable="drop"), out=tmp_path / "out")
    assert sorted(text.split()[1] for text in result.warnings) == [items[2]["id"], again["id"]]


def test_of_three_processings_the_newest_that_can_be_opened_is_used(
    items: list[Json], query: se.Query, tmp_path: Path
) -> None:
    second = newer(items[2], tmp_path)
    third = newer(second, tmp_path, **{"s2:processing_baseline": "03.03"})
    every = replace(query, catalog=written([*items, second, third], tmp_path / "catalog"))
    missing(file_of(third, "B02"))
    missing(file_of(second, "SCL"))
    for unreadable in ("refuse", "drop"):
        out = tmp_path / unreadable
        result = se.run(replace(every, unreadable=unreadable), out=out)
        assert len(result.warnings) == 2
        titles = {link.title for item in result.collection.get_items() for link in item.links if link.title}
        assert items[2]["id"] in titles
        assert not {second["id"], third["id"]} & titles


def test_where_nothing_can_be_opened_the_first_reason_is_said(
    items: list[Json], query: se.Query, tmp_path: Path
) -> None:
    for item in items:
        missing(file_of(item, "B04"))
    with pytest.raises(NoScenesError, match=f"0 of them readable: Scene {items[0]['id']} left out: .* does not exist"):
        se.run(replace(query, unreadable="drop"), out=tmp_path / "out")


def test_the_result_does_not_depend_on_the_cells_that_are_read_first(
    items: list[Json], query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer(file_of(items[1], "SCL"))
    settings = se.Settings(method="damped", normalize_illuminance=False, min_clear_ratio=0)
    se.run(replace(query, unreadable="drop"), settings, out=tmp_path / "one")
    solve_in_cells(monkeypatch, settings, cell=32)
    se.run(replace(query, unreadable="drop"), settings, out=tmp_path / "many")
    for path in (tmp_path / "one").rglob("B0?.tif"):
        with rasterio.open(path) as one, rasterio.open(tmp_path / "many" / path.relative_to(tmp_path / "one")) as two:
            np.testing.assert_array_equal(one.read(), two.read())


def test_a_file_that_breaks_off_in_its_middle_ends_the_run_by_name(
    items: list[Json], query: se.Query, tmp_path: Path
) -> None:
    path = file_of(items[2], "B04")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ReadError, match=f"Scene {items[2]['id']}: asset .*B04.tif .*exclude"):
        se.run(replace(query, unreadable="drop"), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({"answers": 404}, "does not exist"),
        ({"answers": 403}, "is refused by its store"),
        ({"pages": b"<html>log in</html>"}, "is no GeoTIFF or JPEG 2000"),
    ],
)
def test_files_of_a_store_are_asked_for_before_anything_is_made(
    failing: dict[str, int | bytes], said: str, items: list[Json], without: dict[str, bytes], tmp_path: Path
) -> None:
    root = tmp_path / "catalog"
    name = file_of(items[2], "B04").relative_to(root).as_posix()
    kinds = {kind: {name: value} for kind, value in failing.items()}
    with serving(Store(root, **kinds)) as store:  # type: ignore[arg-type]
        for item in items:
            for key, asset in item["assets"].items():
                asset["href"] = f"{store.url}/{file_of(item, key).relative_to(root).as_posix()}?sig=geheim"
        asked = small_query(written(items, root), unreadable="drop", allow_hrefs=[store.url])
        result = se.run(asked, out=tmp_path / "out")
    (warning,) = result.warnings
    assert said in warning
    assert f"{store.url}/{name} " in warning
    assert "geheim" not in (tmp_path / "out" / "collection.json").read_text()
    assert rasters(tmp_path / "out") == without


def test_a_cube_says_in_its_attributes_what_was_dropped(items: list[Json], query: se.Query) -> None:
    missing(file_of(items[2], "B04"))
    asked = replace(query, unreadable="drop")
    cube = se.interpolate(se.search(asked), asked)
    assert [items[2]["id"] in text for text in cube.attrs["spaceeye:warnings"]] == [True]
    assert np.isfinite(cube["reflectance"].isel(time=0).to_numpy()).any()
    mapped = se.scenes_from_items(items)
    chosen = [scene.with_bands(["B02", "B04"]) for scene in mapped]
    assert "spaceeye:warnings" in se.interpolate(chosen, asked).attrs
