"""How far the surface method trusts itself: on looks of known noise, and on hidden pixels of simulated farmland."""

import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.evaluation.candidates import candidates
from spaceeye_stac.evaluation.holdout import score
from spaceeye_stac.methods.surface_fit import Scale
from spaceeye_stac.methods.surface_passes import Looks, solved
from spaceeye_stac.methods.surface_widths import FEW_DATES, surface_widths
from spaceeye_stac.methods.two_filter import Dampings
from spaceeye_stac.methods.uncertainty import GAUSSIAN, Scales
from spaceeye_stac.simulation import Farmland

DEVIATION = torch.tensor([0.01, 0.03])
NOISY, SIDE = 7, 40


def still_land(dates: int, clear: torch.Tensor, noise: torch.Tensor) -> Scales:
    """Widths of land that does not change, seen in Gaussian `noise` `(time, pixel)`, in units of the usual one."""
    drawn = torch.randn(2, dates, SIDE * SIDE, generator=torch.Generator().manual_seed(3)) * noise
    looks = Looks(torch.where(clear, 20 + drawn, 0.0), clear, tuple(range(0, 5 * dates, 5)), (1, SIDE, SIDE))
    scale = Scale(torch.tensor([1, 0]), DEVIATION, Dampings((100.0,), (2,)))
    one = solved(looks, clear.float(), None, scale.dampings, torch.full((2,), 20.0))
    return surface_widths(looks, one, scale)


def test_each_date_has_its_own_noise_and_an_unseen_day_that_of_all() -> None:
    dates = 20
    noise, clear = torch.ones(dates, SIDE * SIDE), torch.ones(dates, SIDE * SIDE, dtype=torch.bool)
    noise[NOISY] = 4
    clear[:, :200] = False
    found = still_land(dates, clear, noise)
    usual = [t for t in range(dates) if abs(t - NOISY) > 2]
    for widths, unseen, z in ((found.inner, found.inner_unseen, GAUSSIAN[0]), (found.outer, found.outer_unseen, 1.645)):
        expected = z * DEVIATION[[1, 0]]  # in the caller's order
        torch.testing.assert_close(widths[:, usual].mean(1), expected, rtol=0.2, atol=0)
        torch.testing.assert_close(widths[:, NOISY], 4 * expected, rtol=0.25, atol=0)
        torch.testing.assert_close(unseen, expected, rtol=0.25, atol=0)


def test_what_is_noisy_beside_its_clouds_is_wide_under_them() -> None:
    dates = 20
    rows = torch.arange(SIDE * SIDE) // SIDE
    noise, clear = torch.ones(dates, SIDE * SIDE), torch.ones(dates, SIDE * SIDE, dtype=torch.bool)
    clear[NOISY], noise[NOISY] = rows >= SIDE // 2, torch.where(rows < SIDE // 2 + 4, 5.0, 1.0)
    widths = still_land(dates, clear, noise).inner
    assert bool((widths[:, NOISY] > 3 * widths[:, :5].mean(1)).all())


@pytest.mark.parametrize("dates", [2, 3])
def test_few_dates_have_widths_of_their_own(dates: int) -> None:
    clear = torch.ones(dates, SIDE * SIDE, dtype=torch.bool)
    found = still_land(dates, clear, torch.ones(dates, SIDE * SIDE))
    assert bool((found.outer_unseen > found.inner_unseen).all())
    if dates < 3:
        torch.testing.assert_close(found.inner[:, 0], FEW_DATES[0] * DEVIATION[[1, 0]])
        torch.testing.assert_close(found.outer_unseen, FEW_DATES[1] * DEVIATION[[1, 0]])


@pytest.fixture(scope="module")
def covered() -> dict[str, dict[str, float]]:
    known = Farmland(seed=11, shape=(24, 24), days=120).stack()
    tried = candidates(["surface"], se.Settings(duration=96), known.bands)
    methods = {name: one.reconstructor() for name, one in tried.items()}
    days = tuple(known.acquisition_days)
    found = score(known.values, known.clear, days, methods, bands=known.bands, duration=96, limit=12).as_json()
    return dict(found["coverage"]["surface"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cloud", "edge"])
def test_looks_under_and_beside_clouds_of_simulated_farmland_lie_in_their_intervals(
    covered: dict[str, dict[str, float]], kind: str
) -> None:
    assert 0.6 <= covered[kind]["68"] <= 0.78
    assert 0.83 <= covered[kind]["90"] <= 0.96
