"""The picture of the scores."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.evaluation.baselines import Estimate, linear, nearest
from spaceeye_stac.evaluation.plots import error, example_date, picture, rgb
from spaceeye_stac.evaluation.scores import Example, Scores
from tests.support.still_landscape import BANDS, oracle, scored


@pytest.fixture(scope="module")
def scores() -> Scores:
    return scored({"nearest": nearest, "linear": linear, "truth + 0.1": oracle(0.1)}, 0.02)


def test_a_picture_is_a_png_with_something_in_it(scores: Scores, tmp_path: Path) -> None:
    picture(scores, tmp_path / "scores.png", BANDS)
    with Image.open(tmp_path / "scores.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200


def test_the_same_scores_give_the_same_picture(scores: Scores, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        picture(scores, tmp_path / name, BANDS)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_method_without_a_value_is_drawn_as_nothing(tmp_path: Path) -> None:
    none = scored({"linear": linear, "never": lambda values, *_: Estimate(np.full_like(values[:, 0], np.nan))}, 0.02)
    picture(none, tmp_path / "scores.png", BANDS)
    assert (tmp_path / "scores.png").stat().st_size > 10_000


def test_dates_and_uncertainties_are_in_the_picture(tmp_path: Path) -> None:
    with_sd = scored({"linear": linear, "truth + 0.1": oracle(0.1, 0.02)}, 0.02)
    assert with_sd.example.uncertainties.keys() == {"truth + 0.1"}
    np.testing.assert_allclose(with_sd.example.uncertainties["truth + 0.1"], 0.9945 * 0.02, rtol=1e-5)
    wider = {name: 3 * half for name, half in with_sd.example.uncertainties.items()}
    unsure = replace(with_sd, example=replace(with_sd.example, uncertainties=wider))
    dated = replace(with_sd, start=date(2018, 4, 11))
    made = []
    for n, one in enumerate((with_sd, unsure, dated)):
        picture(one, tmp_path / f"{n}.png", BANDS)
        with Image.open(tmp_path / f"{n}.png") as image:
            made.append(np.asarray(image.convert("RGB")).astype(int))
    assert made[0].shape == made[1].shape == made[2].shape
    rows = np.flatnonzero((made[0] != made[1]).any(axis=(1, 2)))
    height = len(made[0])
    assert height * 0.4 < rows.min(), "the row of uncertainties, below the errors"
    assert rows.max() < height * 0.8
    assert (made[0] != made[2])[: height // 10].any(), "the titles above the images"
    assert example_date(dated) == str(date(2018, 4, 11) + timedelta(days=dated.example.day))
    assert example_date(unsure) == f"day {dated.example.day}"


def test_bands_that_do_not_fit_are_named(scores: Scores, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="B04"):
        picture(scores, tmp_path / "scores.png", ["B04"])
    assert not list(tmp_path.iterdir())


def test_the_error_is_that_of_hidden_pixels_over_all_bands() -> None:
    truth = np.full((2, 2, 2), 0.2, np.float32)
    hidden = np.array([[True, True], [True, False]])
    values = truth + np.array([0.3, 0.4], np.float32)[:, None, None]
    values[0, 1, 0] = np.nan
    example = Example("cloud", 0, truth, hidden, {"m": values})
    expected = np.sqrt((0.09 + 0.16) / 2)
    np.testing.assert_allclose(error(example, values), [[expected, expected], [np.nan, np.nan]], rtol=1e-6)


def test_colours_are_stretched_and_nothing_is_grey() -> None:
    layers = np.array([[[0.0, 0.1, 0.2, 0.5, np.nan]]] * 3, np.float32)
    low, high = np.full((3, 1, 1), 0.1, np.float32), np.full((3, 1, 1), 0.2, np.float32)
    np.testing.assert_allclose(rgb(layers, low, high)[0, :, 0], [0, 0, 1, 1, 0.85])


def test_matplotlib_is_loaded_for_a_picture_alone() -> None:
    code = "import sys; from spaceeye_stac.evaluation import evaluate, picture; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
