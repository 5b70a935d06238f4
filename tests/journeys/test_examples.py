import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.command import as_bbox
from tests.support.material import BE_BBOX, ROOT

EXAMPLES = ROOT / "examples"


def example(name: str, *arguments: object, modules: Path | None = None) -> list[str]:
    """What an example prints, of a folder of modules where it needs one that is not installed."""
    line = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    path = os.pathsep.join(str(part) for part in (modules, os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_ndvi_of_a_season(belgium: Path) -> None:
    lines = example("ndvi_series.py", belgium)
    days = [line.split() for line in lines if line.startswith("2018-") and len(line.split()) == 2]
    assert (days[0][0], days[-1][0], len(days)) == ("2018-04-11", "2018-06-10", 61)
    assert all(0 < float(value) < 1 for _, value in days)


def test_publishing(belgium: Path, tmp_path: Path) -> None:
    lines = example("publish_days.py", belgium, as_bbox(BE_BBOX), "2018-05-01/2018-05-03", tmp_path / "out")
    assert lines[0].startswith("3 days in")
    assert lines[1].startswith("field_2018-05-01 seen ")


@pytest.mark.slow
def test_a_model_of_ones_own(belgium: Path, tmp_path: Path) -> None:
    lines = example("own_model.py", belgium, as_bbox(BE_BBOX), "2018-04-15/2018-07-15", tmp_path / "out")
    assert lines[0].startswith("92 days in")
    found = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    assert set(found) == {"linear", "KernelSmoother", "surface"}
    assert found["surface"] > found["KernelSmoother"]


OMNICLOUDMASK = """
import numpy as np
__version__ = "1.8.1"


def predict_from_array(input_array, patch_size=1000, patch_overlap=300):
    bands, height, width = input_array.shape
    assert (bands, input_array.dtype) == (3, np.float32)
    assert 32 <= patch_size <= min(height, width) and 0 < patch_overlap < patch_size
    red, green, nir = input_array
    return np.where((red > 0.1) & (nir < 0.3), 2, 0).astype(np.uint8)[None]
"""


def test_a_cloud_model(belgium: Path, tmp_path: Path) -> None:
    """With a stand-in of OmniCloudMask's call, as its weights are downloaded."""
    (tmp_path / "omnicloudmask.py").write_text(OMNICLOUDMASK)
    days, out = "2018-05-01/2018-05-20", tmp_path / "out"
    lines = example("mask_model.py", belgium, as_bbox(BE_BBOX), days, out, modules=tmp_path)
    assert lines[0] == f"20 days in {out}"
    masks, both = (float(line.rpartition(" ")[2]) for line in lines[1:])
    assert 0 < both < masks - 0.02
    assert masks < 1


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int64)


@pytest.mark.slow
def test_the_pictures_of_the_pages(belgium: Path, tmp_path: Path) -> None:
    """Those in examples/ are what the script draws, and are bright enough to see fields."""
    example("pictures.py", "--catalog", belgium, "--out", tmp_path)
    for name in ("before_after.png", "zone_border.png"):
        drawn, kept = pixels(tmp_path / name), pixels(EXAMPLES / name)
        assert drawn.shape == kept.shape, name
        assert np.abs(drawn - kept).mean() < 2, name
        grey = kept.mean(axis=2)
        assert 90 < np.median(grey[grey < 250]) < 150, name


@pytest.mark.slow
def test_the_picture_of_a_border_needs_no_catalog(tmp_path: Path) -> None:
    lines = example("pictures.py", "--out", tmp_path)
    assert len(lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["zone_border.png"]


def test_the_film_shows_every_day_of_each_method_side_by_side(belgium: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.webp"
    options = "--bbox", as_bbox(BE_BBOX), "--datetime", "2018-05-01/2018-05-03", "--methods", "damped,reference"
    (line,) = example("film.py", belgium, *options, "--enlarged", 2, "--out", out)
    assert line.startswith(f"{out}: 3 days.")
    with Image.open(out) as film:
        assert film.n_frames == 3  # type: ignore[attr-defined]
        frame = np.asarray(film.convert("RGB"))
    width = frame.shape[1]
    assert width > 2 * 120
    for half in (frame[20:, : width // 2], frame[20:, width // 2 :]):
        assert half.std() > 15
