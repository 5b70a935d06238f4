import json
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.engine.costs import scratch_of
from spaceeye_stac.engine.jobs import grid_job
from tests.support.command import as_bbox, command, options_of
from tests.support.damped import DAMPED
from tests.support.material import BE_BBOX, BE_DAYS

BBOX = as_bbox(BE_BBOX)


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes and number of all files below a folder."""
    found = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(found), len(found)


def test_scenes_of_each_window_are_those_in_its_days(belgium: Path) -> None:
    line = ["--catalog", belgium, "--bbox", BBOX, "--datetime", BE_DAYS]
    found = json.loads(command("plan", *line, "--json").stdout)
    listed = json.loads(command("search", *line, "--json").stdout)
    (grid,) = found["grids"]
    assert len(grid["windows"]) > 2
    for window in grid["windows"]:
        inside = [scene["day"] for scene in listed if window["read"][0] <= scene["day"] <= window["read"][1]]
        assert window["scenes"] == len(inside)
        assert window["acquisitions"] == len(set(inside))
    written = [date.fromisoformat(day) for window in grid["windows"] for day in window["write"]]
    assert written[0].isoformat() == found["days"][0] == "2018-04-11"
    assert written[-1].isoformat() == found["days"][1] == "2018-08-08"
    assert all(b - a == timedelta(1) for a, b in zip(written[1:-1:2], written[2::2], strict=True))
    assert grid["unseen"] == []


def test_disk_and_files_are_those_of_a_real_run(belgium: Path, belgium_run: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS)
    cost = se.plan(query, DAMPED).cost
    size, count = sizes(belgium_run)
    assert cost.disk == pytest.approx(size, rel=0.3)
    assert cost.files == count


@pytest.mark.parametrize("method", ["damped", pytest.param("surface", marks=pytest.mark.slow)])
def test_disk_of_the_simulated_catalog(method: str, simulated_query: se.Query, tmp_path: Path) -> None:
    settings = se.Settings(method=method)
    cost = se.plan(simulated_query, settings).cost
    se.run(simulated_query, settings, out=tmp_path / "out", output=se.Output(keep_keyframes=True))
    kept = next(p for p in (tmp_path / "out").iterdir() if p.name == "keyframes")
    scratch, _ = sizes(kept)
    size, _ = sizes(tmp_path / "out")
    assert cost.disk == pytest.approx(size - scratch, rel=0.3)
    assert cost.scratch == pytest.approx(scratch, rel=0.3)


def test_keeping_the_keyframes_moves_them_to_the_disk(simulated_query: se.Query) -> None:
    job = grid_job(se.search(simulated_query), simulated_query, se.Settings())
    gone, kept = (
        se.plan(simulated_query, output=se.Output(keep_keyframes=keep)).cost for keep in (False, True)
    )  # fmt: skip
    assert kept.disk - gone.disk == gone.scratch == scratch_of(job)
    assert kept.scratch == 0


def test_no_pixel_is_read(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    """The same catalog without its rasters gives the same scenes, days and files."""
    for path in simulated.parent.rglob("*.json"):
        place = tmp_path / path.relative_to(simulated.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    bare = se.Query(
        catalog=tmp_path / simulated.name, bbox=simulated_query.bbox, datetime=simulated_query.datetime,
        bands=simulated_query.bands,
    )  # fmt: skip
    (known,), (unknown,) = se.plan(simulated_query).grids, se.plan(bare).grids
    assert unknown.windows == known.windows
    assert unknown.cost.files == known.cost.files
    assert unknown.cost.memory == known.cost.memory
    assert unknown.cost.read > 0


def test_days_without_a_scene_and_long_gaps_are_said(simulated: Path, simulated_query: se.Query) -> None:
    query = se.Query(
        catalog=simulated, bbox=simulated_query.bbox, datetime="2023-04-20/2023-05-20", bands=["B04"]
    )  # fmt: skip
    settings = se.Settings(duration=4)
    found = se.plan(query, settings)
    days = [scene.day for scene in se.search(query, settings)]
    (grid,) = found.grids
    by_hand = []
    for window in grid.windows:
        if not any(window.read[0] <= day <= window.read[1] for day in days):
            length = (window.write[1] - window.write[0]).days + 1
            by_hand += [window.write[0] + timedelta(i) for i in range(length)]
    assert by_hand
    assert list(grid.unseen) == by_hand
    assert any(f"{len(by_hand)} days of grid" in text for text in found.warnings)
    assert "Warning: " in str(found)


def test_gaps_longer_than_a_window_are_said(simulated_query: se.Query) -> None:
    found = se.plan(simulated_query, se.Settings(duration=2))
    days = sorted({scene.day for scene in se.search(simulated_query, se.Settings(duration=2))})
    gaps = [(a, b) for a, b in pairwise(days) if (b - a).days > 2]
    assert gaps
    said = [text for text in found.warnings if text.startswith("No scene between")]
    assert [f"No scene between {a} and {b}:" in text for (a, b), text in zip(gaps, said, strict=True)] == [True] * len(
        gaps
    )


def test_what_the_search_left_out_is_a_warning(belgium: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS, platforms=["sentinel-2a"])
    try:
        left_out = se.search(query).left_out
    except se.SpaceEyeError:
        query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS, max_cloud_cover=30)
        left_out = se.search(query).left_out
    assert left_out
    assert set(left_out) <= set(se.plan(query).warnings)


def test_the_command_prints_a_table(simulated_query: se.Query) -> None:
    done = command("plan", *options_of(simulated_query), "--appearance", "as_seen", "--tiling", "mgrs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("31UDS: ")
    for word in ("window reads", "memory", "disk", "files", "time about", "no pixel was read"):
        assert word in done.stdout


def test_too_little_memory_is_refused_as_in_a_run(simulated_query: se.Query) -> None:
    done = command("plan", *options_of(simulated_query), "--memory", "100MB")
    assert done.returncode == 2
    assert "is too little: 32 rows of one cell" in done.stderr
    assert done.stdout == ""


def test_a_quiet_run_says_nothing_before(simulated_query: se.Query, tmp_path: Path) -> None:
    done = command("run", *options_of(simulated_query), "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""
