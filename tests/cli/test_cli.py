import json
from pathlib import Path

import pytest

from tests.support.command import command
from tests.support.material import BE_BBOX

BBOX = ",".join(map(str, BE_BBOX))


def test_run_says_what_it_made(simulated: Path, tmp_path: Path) -> None:
    done = command(
        "run", "--catalog", simulated, "--bbox", "3.003,50.815,3.01,50.82", "--datetime", "2023-04-01/2023-04-02",
        "--bands", "B04", "--out", tmp_path / "out", "--collection-id", "mine", "--duration", "24",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 days, 2023-04-01 to 2023-04-02" in done.stdout
    days, expected = done.stderr.splitlines()  # and no progress bars where there is no terminal
    assert days.startswith("2 days, ")
    assert expected.startswith("Expected: ")
    assert (tmp_path / "out" / "mine_2023-04-02" / "B04.tif").is_file()


def test_search_prints_a_table_or_json(belgium: Path) -> None:
    line = ["search", "--catalog", belgium, "--bbox", BBOX, "--datetime", "2018-05-01/2018-05-10"]
    table = command(*line)
    assert table.returncode == 0
    records = json.loads(command(*line, "--json").stdout)
    assert table.stdout.splitlines()[-1] == f"{len(records)} scenes"
    assert records[0].keys() >= {"id", "tile", "day", "datetime", "epsg", "baseline", "bands", "labels"}


GOOD = {"--catalog": "CATALOG", "--bbox": BBOX, "--datetime": "2018-05-01/2018-05-02", "--bands": "B04"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--catalog": "nowhere"}, "'nowhere' is no profile"),
        ({"--profile": "nowhere"}, "Profile 'nowhere' is unknown"),
        (
            {"--bbox": "3.0283,50.8132,3.0194,50.8187"},
            "bbox 3.0283,50.8132,3.0194,50.8187 has its corners in the wrong",
        ),
        ({"--bbox": "3,50,400,51"}, "bbox 3,50,400,51 lies outside the world"),
        ({"--bbox": "3,50,3,51"}, "bbox 3,50,3,51 is empty"),
        ({"--bbox": "3,50"}, "is not four numbers"),
        ({"--bbox": "10,40,10.1,40.1"}, "118 items in the catalog, 0 of them intersect the region"),
        ({"--datetime": "soon"}, "'soon' is not a date"),
        ({"--datetime": "2018-05-02/2018-05-01"}, "ends before it starts"),
        ({"--datetime": "2018-05-02/.."}, "open-ended"),
        ({"--datetime": "2031-01-01"}, "118 items in the catalog, 118 of them intersect the region, 0 of them from 20"),
        ({"--bands": "B2"}, "bands B2: choose from B01"),
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
        ({"--collection-id": "../x"}, "collection_id '../x' is not allowed"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    change: dict[str, str], said: str, belgium: Path, tmp_path: Path
) -> None:
    options = {**GOOD, "--catalog": str(belgium), **change}
    done = command("run", *[part for pair in options.items() for part in pair], "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(belgium: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    options = [part for pair in {**GOOD, "--catalog": str(belgium)}.items() for part in pair]
    done = command("run", *options, "--out", tmp_path)
    assert done.returncode == 2
    assert "holds 'mine.txt', which is no part of a run" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_same_options_everywhere() -> None:
    texts = [command(name, "--help", env={"COLUMNS": "200", "PATH": ""}).stdout for name in ("search", "run")]
    for option in ("--catalog", "--profile", "--bbox", "--intersects", "--datetime", "--bands", "--duration"):
        assert all(option in text for text in texts), option
