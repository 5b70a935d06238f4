"""The demo: by the command as a user types it, and its report against what it has published."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from spaceeye_stac.errors import OutputError
from spaceeye_stac.settings import Settings
from spaceeye_stac.simulation import Farmland, demo
from spaceeye_stac.simulation.picture import Comparison
from tests.support.command import command

SMALL = Farmland(shape=(48, 64), days=70, seed=5, bands=("B02", "B03", "B04", "B08"))
DAYS = range(20, 50)


@pytest.mark.slow  # the demo as it is, of 60 days; the next one is a small one
def test_the_demo_recovers_what_clouds_hide_and_scores_every_day(tmp_path: Path) -> None:
    done = command("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "Published 60 days" in done.stdout
    rows = {line.split("│")[1].strip(): line.split("│")[2:5] for line in done.stdout.splitlines() if "│" in line}
    assert {"every day", "days between acquisitions", "seen, with undetected cloud", "- mowing", "- fire"} <= set(rows)
    assert 0 < float(rows["every day"][0]) < 0.03
    assert 0 < float(rows["seen, with undetected cloud"][0]) < 0.05, "a plain line has 0.1"
    with Image.open(tmp_path / "demo" / "before_after.png") as picture:
        assert min(picture.size) > 600
    assert (tmp_path / "demo" / "days" / "collection.json").is_file()


def test_the_report_is_measured_against_the_truth(tmp_path: Path) -> None:
    report = demo(tmp_path / "demo", Settings(), lambda *_: None, SMALL, DAYS)
    assert report.count == 30
    assert report.pixels > 10_000
    assert report.error < 0.25 * report.scene_error
    collection = json.loads(report.days.read_text())
    names = sorted(link["href"].split("/")[1] for link in collection["links"] if link["rel"] == "item")
    assert len(names) == 30
    errors = []
    for day, name in zip(DAYS, names, strict=True):
        images = []
        for band in ("B04", "B08"):
            with rasterio.open(report.days.parent / name / f"{band}.tif") as source:
                left = round((SMALL.origin[0] - source.transform.c) / 10)
                top = round((source.transform.f - SMALL.origin[1]) / 10)
                images.append(source.read(1)[top : top + 48, left : left + 64] * 1e-4)
        (red, infrared), (_, _, true_red, true_infrared) = images, SMALL.truth(day)
        off = (infrared - red) / (infrared + red) - (true_infrared - true_red) / (true_infrared + true_red)
        errors.append(np.abs(off)[(red > 0) & (true_infrared > 0.08)])
    every = report.errors["all"]
    assert every.count == np.concatenate(errors).size
    assert every.median == pytest.approx(np.median(np.concatenate(errors)), abs=1e-5)
    assert every.p90 == pytest.approx(np.quantile(np.concatenate(errors), 0.9), abs=1e-5)


def test_the_picture_shows_what_may_be_in_the_way() -> None:
    known = SMALL.stack(DAYS)
    shown = Comparison(SMALL, known, known.truth).examples
    assert list(shown) == sorted(shown)
    assert set(shown) <= set(DAYS)
    assert {"cloud", "undetected cloud", "no scene"} <= set(shown.values())
    for day, what in shown.items():
        assert (day in SMALL.visits) == (what != "no scene") or what.startswith("4 days after")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not empty"):
        demo(tmp_path, Settings(), lambda *_: None)
