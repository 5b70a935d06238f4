"""A kept store that is brought up to date: only what changed is solved, and the outcome is that of a fresh run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.resources import Output
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells
from tests.support.solved_cells import solved_from_now

KEEP = Output(keep_keyframes=True)
SETTINGS = se.Settings(method="damped", duration=8, normalize_illuminance=False)
SHORT, LONG = "2023-04-01/2023-04-20", "2023-04-01/2023-04-24"


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, int]]]:
    """Windows and cells that are solved from now on."""
    return solved_from_now(monkeypatch)


@pytest.fixture(params=["damped", "surface"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> se.Settings:
    """One cell, or several that are blended."""
    if request.param == "damped":
        return SETTINGS
    asked = replace(SETTINGS, method=request.param, duration=12)
    solve_in_cells(monkeypatch, asked, cell=60, halo=16, margin=8)
    return asked


def asked(catalog: Path, simulation: Simulation, days: str) -> se.Query:
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    return se.Query(catalog=catalog, bbox=box.bbox, datetime=days, bands=["B04"])


def inodes(store: Path) -> set[int]:
    return {path.stat().st_ino for path in store.rglob("c/**/*") if path.is_file()}


def assert_cheaper_than_fresh(query: se.Query, settings: se.Settings, out: Path, solved: list[object]) -> None:
    """Bring a run up to date: it solves something, but less than a fresh run, which it equals."""
    fresh = out.with_name("fresh")
    solved.clear()
    se.run(query, settings, out=out, output=KEEP, update=True)
    touched = len(solved)
    solved.clear()
    se.run(query, settings, out=fresh, output=KEEP)
    assert 0 < touched < len(solved)
    assert_same_files(out, fresh)


def test_nothing_is_solved_where_nothing_changed(
    simulated: Path, simulation: Simulation, settings: se.Settings, tmp_path: Path, solved: list[object]
) -> None:
    query, out = asked(simulated, simulation, LONG), tmp_path / "out"
    se.run(query, settings, out=out, output=KEEP)
    shutil.copytree(out, tmp_path / "before")
    solved.clear()
    files = inodes(out / "keyframes")
    se.run(query, settings, out=out, output=KEEP, update=True)
    assert not solved
    assert len(files & inodes(out / "keyframes")) >= len(files) - 1, "the very same files, but the illuminance"
    assert_same_files(out, tmp_path / "before")


def test_a_longer_range_solves_the_windows_it_touches(
    simulated: Path, simulation: Simulation, settings: se.Settings, tmp_path: Path, solved: list[object]
) -> None:
    out, longer = tmp_path / "out", asked(simulated, simulation, LONG)
    se.run(asked(simulated, simulation, SHORT), settings, out=out, output=KEEP)
    assert_cheaper_than_fresh(longer, settings, out, solved)


def test_a_new_scene_moves_the_others_and_solves_its_windows(
    simulation: Simulation, settings: se.Settings, tmp_path: Path, solved: list[object]
) -> None:
    catalog = simulation.write(tmp_path / "catalog")
    query, out = asked(catalog, simulation, LONG), tmp_path / "out"
    (item,) = (tmp_path / "catalog").rglob("*20230404*.json")
    whole = item.read_text()
    late = json.loads(whole)
    late["properties"]["datetime"] = "2024-04-04T10:00:00Z"
    item.write_text(json.dumps(late))
    se.run(query, settings, out=out, output=KEEP)
    item.write_text(whole)
    assert_cheaper_than_fresh(query, settings, out, solved)


def test_what_is_damaged_is_not_taken_over(
    simulated: Path, simulation: Simulation, settings: se.Settings, tmp_path: Path, solved: list[object]
) -> None:
    query, out = asked(simulated, simulation, LONG), tmp_path / "out"
    se.run(query, settings, out=out, output=KEEP)
    shutil.copytree(out, tmp_path / "before")
    (store,) = (out / "keyframes").iterdir()
    chunk = next(path for path in sorted((store / "images" / "c" / "0").rglob("*")) if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-8] + b"12345678")
    solved.clear()
    se.run(query, settings, out=out, output=KEEP, update=True)
    assert solved == [(0, (0, 0))]
    assert_same_files(out, tmp_path / "before")
