import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import spaceeye_stac as se
from tests.support.command import as_bbox, command
from tests.support.material import BE_BBOX

BBOX = "3.003,50.815,3.01,50.82"


def test_run_says_what_it_made(simulated: Path, tmp_path: Path) -> None:
    done = command(
        "run", "--catalog", simulated, "--bbox", BBOX, "--datetime", "2023-04-01/2023-04-02",
        "--bands", "B04", "--out", tmp_path / "out", "--collection-id", "mine", "--duration", "24",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 days, 2023-04-01 to 2023-04-02" in done.stdout
    days, expected = done.stderr.splitlines()  # and no progress bars where there is no terminal
    assert days.startswith("2 days, ")
    assert expected.startswith("Expected: ")
    assert (tmp_path / "out" / "mine_2023-04-02" / "B04.tif").is_file()


@pytest.mark.parametrize(
    ("catalog", "bbox", "days"),
    [
        ("simulated", BBOX, "2023-04-01/2023-04-10"),
        ("belgium", as_bbox(BE_BBOX), "2018-05-01/2018-05-10"),
    ],
)
def test_search_prints_a_table_or_json(catalog: str, bbox: str, days: str, request: pytest.FixtureRequest) -> None:
    line = ["search", "--catalog", request.getfixturevalue(catalog), "--bbox", bbox, "--datetime", days]
    table = command(*line)
    assert table.returncode == 0
    records = json.loads(command(*line, "--json").stdout)
    context = [record for record in records if record["use"] == "context"]
    assert [record["day"] for record in context] == [r["day"] for r in records if not _within(r["day"], days)]
    said = f"{len(records)} scenes, {len(context)} of them outside the days, as context"
    assert table.stdout.splitlines()[-1] == said
    assert sum(" context " in line for line in table.stdout.splitlines()[:-1]) == len(context) > 0
    assert records[0].keys() >= {"id", "tile", "day", "datetime", "epsg", "baseline", "bands", "labels"}


def _within(day: str, days: str) -> bool:
    first, last = days.split("/")
    return first <= day <= last


def run(catalog: Path, out: Path, change: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A run that would do, but for the options that are changed."""
    usual = {"--catalog": str(catalog), "--bbox": BBOX, "--datetime": "2023-04-04/2023-04-05", "--bands": "B04"}
    return command("run", *[part for pair in {**usual, **change}.items() for part in pair], "--out", out)


def assert_one_sentence(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--catalog": "nowhere"}, "'nowhere' is no profile"),
        ({"--profile": "nowhere"}, "Profile 'nowhere' is unknown"),
        ({"--bbox": "3.01,50.815,3.003,50.82"}, "bbox 3.01,50.815,3.003,50.82 has its corners in the wrong"),
        ({"--bbox": "3,50,400,51"}, "bbox 3,50,400,51 lies outside the world"),
        ({"--bbox": "3,50,3,51"}, "bbox 3,50,3,51 is empty"),
        ({"--bbox": "3,50"}, "is not four numbers"),
        ({"--bbox": "10,40,10.1,40.1"}, "16 items in the catalog, 0 of them intersect the region"),
        ({"--datetime": "soon"}, "'soon' is not a date"),
        ({"--datetime": "2023-04-05/2023-04-04"}, "ends before it starts"),
        ({"--datetime": "2023-04-05/.."}, "open-ended"),
        ({"--datetime": "2031-01-01"}, "16 items in the catalog, 16 of them intersect the region, 0 of them from 20"),
        ({"--bands": "B22"}, "bands B22: choose from B01"),
        ({"--bands": "B09"}, "Bands B09 are in no scene of the catalog"),
        ({"--duration": "0"}, "duration 0 is not allowed"),
        ({"--duration": "long"}, "duration 'long' is not allowed"),
        ({"--time-overlap": "1"}, "time_overlap 1.0 is not allowed"),
        ({"--damping-factor": "-1"}, "damping_factor -1.0 is not allowed"),
        ({"--clear-classes": "4,x"}, "clear_classes 'x' is no whole number"),
        ({"--clear-classes": "12"}, "clear_classes (12,) is not allowed; name SCL classes"),
        ({"--resampling": "magic"}, "resampling 'magic' is not allowed"),
        ({"--crs": "EPSG:1"}, "crs 'EPSG:1' is not allowed"),
        ({"--method": "magic"}, "method 'magic' is not allowed"),
        ({"--method": "guided"}, "method surface with appearance as_seen (--method surface --appearance as_seen) repl"),
        ({"--collection-id": "../x"}, "collection_id '../x' is not allowed"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    change: dict[str, str], said: str, simulated: Path, tmp_path: Path
) -> None:
    assert_one_sentence(run(simulated, tmp_path / "out", change), said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--bbox": "10,40,10.1,40.1"}, "118 items in the catalog, 0 of them intersect the region"),
        (
            {"--bbox": as_bbox(BE_BBOX), "--datetime": "2031-01-01"},
            "118 items in the catalog, 118 of them intersect the region, 0 of them from 20",
        ),
    ],
)
def test_scenes_of_a_real_catalog_are_counted_in_one_sentence(
    change: dict[str, str], said: str, belgium: Path, tmp_path: Path
) -> None:
    assert_one_sentence(run(belgium, tmp_path / "out", change), said)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = run(simulated, tmp_path, {})
    assert done.returncode == 2
    assert "holds 'mine.txt', which is no part of a run" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_same_options_everywhere() -> None:
    texts = [command(name, "--help", env={"COLUMNS": "200", "PATH": ""}).stdout for name in ("search", "run")]
    for option in ("--catalog", "--profile", "--bbox", "--intersects", "--datetime", "--bands", "--duration"):
        assert all(option in text for text in texts), option


def test_the_version_and_both_spellings_of_help() -> None:
    assert command("--version").stdout == f"spaceeye-stac {se.__version__}\n"
    for line in ([], ["run"]):
        assert command(*line, "-h").stdout == command(*line, "--help").stdout


def test_the_log_has_a_line_a_stage_and_no_item(simulated: Path, tmp_path: Path) -> None:
    line = ["run", "--catalog", simulated, "--bbox", "3.003,50.815,3.01,50.82", "--datetime", "2023-04-01/2023-04-02"]
    done = command(*line, "--bands", "B04", "--out", tmp_path / "out", "--quiet", "-vv")
    assert done.returncode == 0
    stages = ["search: ", "grid EPSG32631: ", "cell (0, 0)", "solving: ", "spaceeye_2023-04-01: ", "writing: 2 days"]
    places = [done.stderr.index(stage) for stage in stages]
    assert places == sorted(places)
    assert "stac_version" not in done.stderr
    assert command(*line, "--bands", "B04", "--out", tmp_path / "other", "--quiet").stderr == ""
