import numpy as np
import torch
from scipy.stats import t as student

from spaceeye_stac.methods.uncertainty import _few_dates, scales


def drawn(dates: int, pixels: int, sigma: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residuals of variance sigma^2 (1 + 1/Q) of each date, two bands."""
    rng = torch.Generator().manual_seed(0)
    information = torch.rand(dates, pixels, generator=rng) * 3 + 0.1
    noise = torch.randn(2, dates, pixels, generator=rng) * torch.tensor(sigma)[None, :, None]
    return noise * (1 + 1 / information).sqrt(), information, torch.ones(dates, pixels, dtype=torch.bool)


def test_widths_are_those_of_a_gaussian() -> None:
    residual, information, seen = drawn(3, 20_000, [0.01, 0.02, 0.05])
    found = scales(residual, residual, information, seen)
    for date, sigma in enumerate([0.01, 0.02, 0.05]):
        torch.testing.assert_close(found.inner[:, date], torch.full((2,), 0.9945 * sigma), rtol=0.05, atol=0)
        torch.testing.assert_close(found.outer[:, date], torch.full((2,), 1.6449 * sigma), rtol=0.05, atol=0)


def test_a_date_with_nothing_seen_takes_its_width_from_all_dates() -> None:
    residual, information, seen = drawn(4, 5_000, [0.02, 0.02, 0.02, 0.02])
    seen[2] = False
    residual[:, 2] = 77
    found = scales(residual, residual * 0.1, information, seen)
    torch.testing.assert_close(found.inner[:, 2], torch.full((2,), 0.9945 * 0.02), rtol=0.1, atol=0)
    assert (found.inner[:, 1] < 0.3 * found.inner[:, 2]).all()


def test_few_pixels_are_drawn_to_the_other_dates() -> None:
    residual, information, seen = drawn(2, 10_000, [0.02, 0.02])
    seen[1] = False
    seen[1, :250] = True
    residual[:, 1] *= 50
    wide = scales(residual, residual, information, seen).inner
    assert (wide[:, 1] > wide[:, 0]).all()
    assert wide.isfinite().all()


def test_nothing_seen_at_all_is_zero_not_an_error() -> None:
    residual, information, seen = drawn(2, 100, [0.02, 0.02])
    found = scales(residual, residual, information, torch.zeros_like(seen))
    assert (found.inner == 0).all()


def test_few_dates_widen_the_interval_as_students_quantile_does() -> None:
    for dates in (5, 10, 30):
        for level, z, found in zip((0.68, 0.90), (0.9945, 1.6449), _few_dates(dates), strict=True):
            exact = student.ppf((1 + level) / 2, dates - 1) / z * np.sqrt(1 + 1 / dates)
            assert abs(found / exact - 1) < 0.02
