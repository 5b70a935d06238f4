from pathlib import Path

import pytest
from PIL import Image

from spaceeye_stac.errors import OutputError
from spaceeye_stac.settings import Settings
from spaceeye_stac.simulation.demonstration import demo
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import command


def test_the_demo_recovers_what_clouds_hide(tmp_path: Path) -> None:
    done = command("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "Published 60 days" in done.stdout
    with Image.open(tmp_path / "demo" / "before_after.png") as picture:
        assert picture.width > picture.height
    assert (tmp_path / "demo" / "days" / "collection.json").is_file()


def test_the_report_is_measured_against_the_truth(tmp_path: Path) -> None:
    simulation = Simulation(shape=(64, 64), days=30, revisit=2, seed=5)
    report = demo(tmp_path / "demo", Settings(), lambda *_: None, simulation)
    assert report.count == 30
    assert report.pixels > 10_000
    assert report.error < 0.25 * report.scene_error


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not empty"):
        demo(tmp_path, Settings(), lambda *_: None)
