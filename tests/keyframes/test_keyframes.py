"""The keyframe store: what opens it, what a day reads of it, and what damage to it does."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import LocalCluster
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.errors import DamagedCellError, OutputError
from spaceeye_stac.keyframes.store import KeyframeStore
from spaceeye_stac.resources import Output, Resources
from tests.support.same_files import assert_same_files

SETTINGS = se.Settings(method="damped", duration=12)


@pytest.fixture(scope="module")
def kept(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps its store."""
    out = tmp_path_factory.mktemp("kept") / "out"
    se.run(simulated_query, SETTINGS, out=out, output=Output(keep_keyframes=True))
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0") as running:  # type: ignore[no-untyped-call]
        yield running


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    """A copy of the store that may be damaged."""
    (found,) = (kept / "keyframes").iterdir()
    shutil.copytree(found, tmp_path / "store")
    return tmp_path / "store"


def test_it_opens_as_a_lazy_dataset_that_knows_where_it_lies(kept: Path) -> None:
    cube = se.open_keyframes(kept / "keyframes")
    item = json.loads(next((kept).glob("spaceeye_*/*.json")).read_text())
    properties = item["assets"]["B04"]
    assert cube.reflectance.dims == ("time", "band", "y", "x")
    assert cube.reflectance.chunks is not None
    assert list(cube.band.values) == ["B02", "B04", "B11"]
    box = cube.odc.geobox
    assert isinstance(box, GeoBox)
    assert box.crs is not None
    assert f"EPSG:{box.crs.epsg}" == properties["proj:code"]
    assert list(box.shape) == properties["proj:shape"]
    assert list(box.transform)[:6] == properties["proj:transform"][:6]
    mapping = cube[cube.reflectance.attrs["grid_mapping"]]
    assert "crs_wkt" in mapping.attrs
    assert [float(v) for v in mapping.attrs["GeoTransform"].split()] == list(box.transform.to_gdal())
    assert cube.x.attrs["units"] == cube.y.attrs["units"] == "metre"


def test_a_day_reads_the_chunks_of_the_two_knots_around_it_alone(store: Path) -> None:
    contents = KeyframeStore.open(store).contents
    whole = se.open_keyframes(store).load()
    seen = next(day for day in contents.acquired if day > 0)
    for day in (seen, seen + 1):
        window = next(w for w, one in enumerate(contents.windows) if day in one.write)
        before = max(k for k, knot in enumerate(contents.knots[window]) if knot <= day)
        own = {contents.first_knots[window] + before, contents.first_knots[window] + before + 1}
        part = store.with_name(f"part_{day}")
        shutil.copytree(store, part)
        for chunk in (part / "images" / "c").glob("*/*"):
            if int(chunk.parent.name) not in own or chunk.name != "1":
                shutil.rmtree(chunk)
        found = se.open_keyframes(part).reflectance.sel(band="B04")
        xr.testing.assert_identical(found.isel(time=day).compute(), whole.reflectance.sel(band="B04").isel(time=day))
        with pytest.raises(OutputError, match="damaged: images of cell"):
            found.compute()


def test_a_chunk_without_data_is_a_file_too(store: Path) -> None:
    found = KeyframeStore.open(store)
    counts = {
        "images": found.contents.first_knots[-1] * len(found.contents.bands),
        "look_flags": sum(len(found.contents.looked(w)) for w in range(len(found.contents.windows))),
    }
    for name, count in counts.items():
        assert sum(path.is_file() for path in (store / name / "c").rglob("*")) == count


def damage_version(store: Path) -> None:
    zarr.open_group(store, mode="r+").attrs["spaceeye:keyframes"] = 99


def damage_chunk(store: Path) -> None:
    chunk = next(path for path in (store / "images" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def shorten_chunk(store: Path) -> None:
    chunk = next(path for path in (store / "images" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:100])


def empty_chunk(store: Path) -> None:
    next(path for path in (store / "look_flags" / "c").rglob("*") if path.is_file()).write_bytes(b"")


def remove_chunk(store: Path) -> None:
    next(path for path in (store / "look_flags" / "c").rglob("*") if path.is_file()).unlink()


def damage_marker(store: Path) -> None:
    marker = next((store / "done").iterdir())
    marker.write_text(marker.read_text().replace('"looks": [', '"looks": [1'))


def shorten_marker(store: Path) -> None:
    next((store / "done").iterdir()).write_text('{"key"')


def remove_marker(store: Path) -> None:
    next((store / "done").iterdir()).unlink()


def damage_description(store: Path) -> None:
    (store / "zarr.json").write_text("{")


def damage_illuminance(store: Path) -> None:
    for path in (store / "illuminance" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-8] + b"12345678")


def remove_illuminance(store: Path) -> None:
    shutil.rmtree(store / "illuminance" / "c")


def remove_all(store: Path) -> None:
    shutil.rmtree(store)


DAMAGES = {
    damage_version: "are of format 99, and this version reads 5; make them again",
    damage_chunk: "damaged: images of cell .* cannot be read .* remove the folder and run again",
    shorten_chunk: "damaged: images of cell",
    empty_chunk: "damaged: look_flags of cell",
    remove_chunk: "damaged: look_flags of cell",
    damage_marker: "lack cell .* make them again",
    shorten_marker: "lack cell",
    remove_marker: "lack cell",
    damage_description: "damaged: its description cannot be read",
    damage_illuminance: "damaged: its description",
    remove_illuminance: "damaged: its description",
    remove_all: "holds no keyframes; name one that does",
}


FEW = [pytest.param(one, id=one.__name__) for one in (damage_chunk, remove_marker, damage_description, remove_all)]
SLOW = [
    pytest.param(one, id=one.__name__, marks=pytest.mark.slow)
    for one in DAMAGES
    if one.__name__ not in {few.id for few in FEW}
]


@pytest.mark.parametrize("damage", FEW + SLOW)
def test_damage_is_one_sentence_and_changes_nothing(store: Path, damage: object) -> None:
    assert callable(damage)
    damage(store)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=DAMAGES[damage]):
        se.open_keyframes(store).compute()
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    assert store.exists() == bool(before)


@pytest.mark.parametrize("damage", FEW + SLOW)
def test_a_run_mends_a_damaged_store_itself(
    kept: Path, simulated_query: se.Query, tmp_path: Path, damage: object
) -> None:
    """It makes again what it cannot read; days that need nothing of it stay."""
    assert callable(damage)
    out = tmp_path / "out"
    store = unfinished(kept, out)
    damage(store)
    result = se.run(simulated_query, SETTINGS, out=out, output=Output(keep_keyframes=True))
    assert result.days[0] in result.kept
    assert_same_files(out, kept)


def unfinished(kept: Path, out: Path) -> Path:
    """The same run before its end: all is solved and the first day written; gives its store."""
    work = out.with_name(f".{out.name}.partial")
    shutil.copytree(kept, work)
    (work / "keyframes").rename(work / ".keyframes")
    (store,) = (work / ".keyframes").iterdir()
    days = sorted(work.glob("spaceeye_*"))
    for place in days[1:]:
        shutil.rmtree(place)
    return store


def damage_sample(store: Path) -> None:
    next((store / "samples").iterdir()).write_bytes(b"PK")


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow), "cluster"])
@pytest.mark.parametrize("damage", [damage_chunk, damage_sample], ids=lambda damage: damage.__name__)
def test_it_is_mended_wherever_the_work_is_done(
    kept: Path, simulated_query: se.Query, tmp_path: Path, cluster: LocalCluster, scheduler: str, damage: object
) -> None:
    assert callable(damage)
    out = tmp_path / "out"
    damage(unfinished(kept, out))
    resources = Resources(scheduler=cluster.scheduler_address if scheduler == "cluster" else scheduler, workers=2)
    se.run(simulated_query, SETTINGS, out=out, output=Output(keep_keyframes=True), resources=resources)
    assert_same_files(out, kept)


def test_a_cell_that_cannot_be_read_even_after_that_ends_the_run(
    kept: Path, simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    store = unfinished(kept, out)
    forgotten, forget = list[tuple[int, int]](), KeyframeStore.forget

    def counted(self: KeyframeStore, index: tuple[int, int]) -> None:
        forgotten.append(index)
        forget(self, index)

    def failing(self: KeyframeStore, name: str, at: tuple[int, ...], *_: object) -> object:
        raise DamagedCellError(f"{self.path} is damaged: {name} {at}", (0, 0))

    monkeypatch.setattr(KeyframeStore, "_chunk", failing)
    monkeypatch.setattr(KeyframeStore, "forget", counted)
    with pytest.raises(OutputError, match=str(store)):
        se.run(simulated_query, SETTINGS, out=out, output=Output(keep_keyframes=True))
    assert forgotten == [(0, 0)]
    assert not out.exists()


def test_what_is_damaged_survives_the_way_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(DamagedCellError("one sentence", (2, 3))))  # noqa: S301
    assert (str(error), error.cell) == ("one sentence", (2, 3))


def test_what_an_update_keeps_is_a_whole_store(kept: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(kept, out)
    result = se.run(simulated_query, SETTINGS, out=out, output=Output(keep_keyframes=True), update=True)
    assert result.kept == result.days
    cube = se.open_keyframes(out / "keyframes").reflectance
    np.testing.assert_array_equal(cube, se.open_keyframes(kept / "keyframes").reflectance)


def test_a_run_that_died_just_before_its_end_goes_on(kept: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / ".out.partial")
    result = se.run(simulated_query, SETTINGS, out=tmp_path / "out", output=Output(keep_keyframes=True))
    assert result.kept == result.days
    assert_same_files(tmp_path / "out", kept)
