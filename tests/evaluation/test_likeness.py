"""SSIM, spectral angle, relative RMSE and NDVI errors against a second way of each."""

import numpy as np
import pytest
from numpy.typing import NDArray

from spaceeye_stac.evaluation.likeness import LIKENESS, likeness, spectral_angle, ssim
from spaceeye_stac.evaluation.looks import vegetation_index

SHAPE = (24, 30)


@pytest.fixture
def pair() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two images `(band, y, x)` of four bands, which are alike."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(0.02, 0.5, (4, *SHAPE))
    return (truth + rng.normal(0, 0.05, truth.shape)).astype(np.float32), truth.astype(np.float32)


def window() -> NDArray[np.float64]:
    """The Gaussian of 11 x 11 pixels and sigma 1.5, written out, of sum 1."""
    y, x = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    return np.asarray(weights / weights.sum())


def plain_ssim(image: NDArray[np.float32], truth: NDArray[np.float32], at: tuple[int, int]) -> float:
    """Equation 13 of Wang et al. 2004 at one pixel, moments centred and summed one by one."""
    y, x = at
    total = 0.0
    taken = []
    for i, row in enumerate(window()):
        for j, weight in enumerate(row):
            down, right = y + i - 5, x + j - 5
            if 0 <= down < image.shape[0] and 0 <= right < image.shape[1]:
                one, other = float(image[down, right]), float(truth[down, right])
                if np.isfinite(one) and np.isfinite(other):
                    taken.append((weight, one, other))
                    total += weight
    mean_x, mean_y = (sum(t[0] * t[n] for t in taken) / total for n in (1, 2))
    sums = [
        sum(w * (a - mean_x) ** p * (b - mean_y) ** q for w, a, b in taken) / total for p, q in ((2, 0), (0, 2), (1, 1))
    ]
    c1, c2 = 0.0001, 0.0009
    return float(
        (2 * mean_x * mean_y + c1) * (2 * sums[2] + c2) / ((mean_x**2 + mean_y**2 + c1) * (sums[0] + sums[1] + c2))
    )


@pytest.mark.parametrize("share", [0, 0.3])
def test_ssim_is_that_of_its_equation_written_out(
    share: float, pair: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    image, truth = pair[0][0].copy(), pair[1][0].copy()
    image[np.random.default_rng(1).random(SHAPE) < share] = np.nan
    truth[:, 20 : 20 + round(10 * share)] = np.nan
    found = ssim(image, truth)
    known = np.isfinite(image) & np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(found), known)
    for at in [(0, 0), (12, 9), (5, 19), (23, 29), (23, 4), (11, 24)]:
        if known[at]:
            assert found[at] == pytest.approx(plain_ssim(image, truth, at), rel=1e-9)


def test_ssim_of_the_same_image_is_one_and_of_a_shift_is_its_luminance(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    truth = pair[1][0]
    np.testing.assert_allclose(ssim(truth, truth), 1, rtol=1e-9)
    flat = np.full(SHAPE, 0.2, np.float32)
    expected = (2 * 0.2 * 0.3 + 1e-4) / (0.2**2 + 0.3**2 + 1e-4)
    np.testing.assert_allclose(ssim(flat + np.float32(0.1), flat), expected, rtol=1e-6)


def test_a_spectral_angle_is_that_between_two_arrows() -> None:
    truth = np.array([[1.0, 1, 0.2, 0], [0, 1, 0.2, 0]])
    found = np.array([[0.0, 1, 0.4, 1], [1, 0, 0.4, 1]])
    # a right angle, half of one, brighter but of the same colour, and one against black, which has none
    assert spectral_angle(found, truth) == pytest.approx((90 + 45 + 0) / 3, abs=1e-5)
    assert np.isnan(spectral_angle(truth[:1], truth[:1]))
    rng = np.random.default_rng(2)
    one, other = rng.uniform(0.1, 1, (2, 2, 50))
    plain = np.abs(np.arctan2(one[1], one[0]) - np.arctan2(other[1], other[0]))
    assert spectral_angle(one, other) == pytest.approx(np.degrees(plain).mean(), rel=1e-9)


def test_all_figures_are_of_the_scored_pixels_alone(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    found, truth = pair
    bands = ["B02", "B04", "B08", "B11"]
    where = np.zeros(SHAPE, bool)
    where[8:12, 10:18] = True
    where[2, 3] = True
    elsewhere = found.copy()
    elsewhere[:, ~where] = np.nan
    index = vegetation_index(bands)
    got = likeness(elsewhere, truth, where, index)
    assert got.keys() == set(LIKENESS)
    assert got == likeness(found, truth, where, index)
    errors, ndvi = [], []
    for y, x in np.argwhere(where):
        made, true = (one[:, y, x].astype(float) for one in pair)
        errors.append(made - true)
        ndvi.append((made[2] - made[1]) / (made[2] + made[1]) - (true[2] - true[1]) / (true[2] + true[1]))
    mean = np.mean([truth[:, y, x] for y, x in np.argwhere(where)])
    assert got["rrmse"] == pytest.approx(np.sqrt(np.square(errors).mean()) / mean, rel=1e-5)
    assert got["ndvi_mae"] == pytest.approx(np.abs(ndvi).mean(), rel=1e-4)
    assert got["ndvi_rmse"] == pytest.approx(np.sqrt(np.square(ndvi).mean()), rel=1e-4)
    assert got["ndvi_bias"] == pytest.approx(np.mean(ndvi), rel=1e-3)
    every = [plain_ssim(elsewhere[b], truth[b], (int(y), int(x))) for b in range(4) for y, x in np.argwhere(where)]
    assert got["ssim"] == pytest.approx(np.mean(every), rel=1e-9)
    assert got["sam"] == pytest.approx(spectral_angle(*(one[:, where].astype(np.float64) for one in pair)), rel=1e-5)


def test_what_cannot_be_known_is_nan(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    where = np.ones(SHAPE, bool)
    got = likeness(pair[0][:1], pair[1][:1], where, None)
    assert [name for name, value in got.items() if np.isnan(value)] == ["sam", "ndvi_mae", "ndvi_rmse", "ndvi_bias"]
