"""The surface method: its parts against plain computations, and what must hold whatever the data."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.methods.base import CellLooks, State
from spaceeye_stac.methods.box_sums import box_sums
from spaceeye_stac.methods.noise_and_drift import grouped, noise_of, robust_scatter
from spaceeye_stac.methods.surface import SURFACE
from spaceeye_stac.methods.suspects import CLOUD, HAZE, Spectra, evidence, trust_of
from spaceeye_stac.methods.two_filter import Dampings, two_sided
from spaceeye_stac.pixels.first_pass import observe_part
from tests.support.material import BE_BBOX, material
from tests.support.prototypes import prototype

BANDS = ("B02", "B03", "B04", "B08", "B11")
FIELD = torch.tensor([0.05, 0.08, 0.07, 0.30, 0.20])
BARE = (0.10, 0.13, 0.16, 0.23, 0.31)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), dates=st.integers(2, 9), factor=st.floats(0.05, 40))
def test_both_filters_together_minimise_the_objective(seed: int, dates: int, factor: float) -> None:
    """Against the dense system in float64, with weights, loosened couplings and two dampings."""
    rng = np.random.default_rng(seed)
    days = tuple(int(day) for day in np.cumsum(rng.integers(1, 20, dates)))
    weights = rng.uniform(0.003, 4, (dates, 3)) * (rng.random((dates, 3)) < 0.7)
    loose, values = rng.uniform(0.05, 1, (dates - 1, 3)), rng.normal(10, 3, (3, dates, 3))
    dampings = Dampings((factor, 2 * factor), (2, 1))
    f32 = [torch.from_numpy(a.astype(np.float32)) for a in (values * weights, weights, loose)]
    sides = two_sided(f32[0], f32[1], days, dampings, f32[2])
    found = sides.minimiser(f32[0], f32[1], torch.zeros(3)).numpy()
    for band, alpha in enumerate((factor, factor, 2 * factor)):
        for pixel in np.flatnonzero(weights.any(0)):
            system = np.diag(weights[:, pixel])
            for t in range(dates - 1):
                k = alpha / (days[t + 1] - days[t]) * loose[t, pixel]
                system[t : t + 2, t : t + 2] += k * np.array([[1, -1], [-1, 1]])
            expected = np.linalg.solve(system, weights[:, pixel] * values[band, :, pixel])
            np.testing.assert_allclose(found[band, :, pixel], expected, rtol=2e-4, atol=2e-3)
            group = 0 if band < 2 else 1
            total = float(sides.information[group, 0, pixel]) + weights[0, pixel]
            np.testing.assert_allclose(1 / total, np.linalg.inv(system)[0, 0], rtol=5e-3)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_box_sums_are_those_of_a_plain_filter(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((2, height, width)).astype(np.float32)
    for size, found in zip((1, 3, 7, 15), box_sums(torch.from_numpy(image), (1, 3, 7, 15)), strict=True):
        expected = uniform_filter(image.astype(np.float64), (0, size, size), mode="constant") * size**2
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_box_sums_have_the_same_bits_wherever_an_image_is_cut() -> None:
    image = torch.rand(3, 60, 33, generator=torch.Generator().manual_seed(1))
    for whole, part in zip(box_sums(image, (3, 15)), box_sums(image[:, 10:50], (3, 15)), strict=True):
        assert torch.equal(whole[:, 17:43], part[:, 7:33])


def test_noise_and_drift_of_a_random_walk_are_found() -> None:
    """Noise 0.01 and a step variance s a day want alpha = n / s; one band drifts fast, one slowly."""
    rng = np.random.default_rng(4)
    days, noise = tuple(range(0, 120, 3)), 0.01
    walk = np.cumsum(rng.normal(0, 1, (2, 120, 900)), 1) * np.sqrt(noise**2 / np.array([2.0, 15.0]))[:, None, None]
    values = walk[:, list(days)] + rng.normal(0, noise, (2, len(days), 900)) + 0.3
    found = noise_of(torch.from_numpy(values.astype(np.float32)), torch.ones(len(days), 900), days)
    assert found.alpha[0] == pytest.approx(2.0, rel=0.25)
    assert found.alpha[1] == pytest.approx(15.0, rel=0.25)
    # the near pairs hold drift of a few days besides
    assert 0.9 * noise < found.deviation[1] < 1.3 * noise


def test_the_scatter_does_not_see_outliers() -> None:
    rng = np.random.default_rng(2)
    true = np.array([[1.0, 0.6], [0.6, 2.0]])
    drawn = np.linalg.cholesky(true) @ rng.normal(0, 1, (2, 20_000))
    drawn[:, :400] *= 50
    found = robust_scatter(torch.from_numpy(drawn)).numpy()
    np.testing.assert_allclose(found / found[0, 0], true, rtol=0.1)


@given(st.lists(st.floats(0.05, 40), min_size=1, max_size=12))
def test_bands_of_like_damping_are_put_together(alpha: list[float]) -> None:
    order, dampings = grouped(torch.tensor(alpha))
    assert sorted(order.tolist()) == list(range(len(alpha)))
    assert sum(dampings.counts) == len(alpha)
    assert len(dampings.factors) <= 3
    assert list(dampings.factors) == sorted(dampings.factors)
    one_by_one = [f for f, count in zip(dampings.factors, dampings.counts, strict=True) for _ in range(count)]
    if len(set(alpha)) <= 3:
        np.testing.assert_allclose(one_by_one, sorted(alpha), rtol=1e-4)


def test_the_filters_are_what_the_formula_says() -> None:
    """g'M^-1 e and g'M^-1 g with the bare ground's direction taken out, pixel by pixel in float64."""
    rng = np.random.default_rng(7)
    scale, bare = np.array([0.01, 0.012, 0.015, 0.03, 0.02]), np.array([0.1, 0.13, 0.17, 0.24, 0.33])
    root = rng.normal(0, 1, (5, 5)) * 0.3 + np.eye(5)
    scatter = root @ root.T
    e, left_out, q = rng.normal(0, 2, (5, 2, 4)), rng.uniform(3, 15, (5, 2, 4)), rng.uniform(0.02, 3, (2, 4))
    known = Spectra.of(
        BANDS, torch.tensor(scale, dtype=torch.float32), torch.from_numpy(scatter), torch.tensor(bare / scale).float()
    )
    distance, predicted, information = (torch.from_numpy(a.astype(np.float32)) for a in (e, left_out, q))
    found = evidence(distance, predicted, information, torch.ones(2, 4, dtype=torch.bool), known)
    haze, cloud = (np.array([table[b] for b in BANDS]) for table in (HAZE, CLOUD))
    inverse = np.linalg.inv(scatter)
    for date, pixel in np.ndindex(2, 4):
        trust = float(trust_of(torch.tensor(q[date, pixel])))
        land = left_out[:, date, pixel] * scale
        h = (bare - land) / scale
        for n, g in enumerate((haze / scale, (cloud - land) / scale, -land * (1 - haze / 4) / scale)):
            cross, own = trust * h @ inverse @ g, trust * h @ inverse @ h + 1 / 0.3**2
            num = trust * g @ inverse @ e[:, date, pixel] - trust * h @ inverse @ e[:, date, pixel] * cross / own
            den = max(trust * g @ inverse @ g - cross**2 / own, 1e-6 * trust * g @ inverse @ g)
            assert float(found.num[n, date, pixel]) == pytest.approx(num, rel=2e-3, abs=2e-3 * np.sqrt(den))
            assert float(found.den[n, date, pixel]) == pytest.approx(den, rel=2e-3)
            assert float(found.effect[n, date, pixel]) == pytest.approx(np.abs(g * scale).max(), rel=1e-3)


def quiet_field(
    seed: int = 1, size: int = 40, dates: int = 24, noise: float = 0.004, pace: float = 0.1, **planted: Any
) -> CellLooks:
    """Green land with a bare strip, looked at every fourth day with noise; what is planted is mixed into looks.

    `pace`: amplitude of the season, as share.
    """
    rng = np.random.default_rng(seed)
    days = tuple(range(0, 4 * dates, 4))
    season = 1 + pace * np.sin(np.array(days) / 30)
    land = FIELD.numpy()[:, None, None, None] * season[:, None, None] * rng.uniform(0.8, 1.2, (1, 1, size, size))
    land[..., :4] = np.array(BARE)[:, None, None, None]
    values = land + rng.normal(0, noise, (len(BANDS), dates, size, size))
    for date, (spectrum, share) in planted.get("looks", {}).items():
        here = np.s_[:, date, 10:22, 10:22]
        values[here] = values[here] * (1 - share) + np.array(spectrum)[:, None, None] * share
    clear = rng.random((dates, size, size)) < 0.9
    values = np.where(clear, values, 0).astype(np.float32)
    return CellLooks(torch.from_numpy(values), torch.from_numpy(clear), days, range(days[-1] + 1), bands=BANDS)


def solved(looks: CellLooks) -> State:
    return SURFACE.solve(looks, se.Settings(method="surface"))


@cache
def undisturbed(noise: float = 0.004, pace: float = 0.1) -> State:
    """What is solved of a field in which nothing is planted."""
    return solved(quiet_field(noise=noise, pace=pace))


THIN = (0.75, 0.7, 0.72, 0.6, 0.5)
MOWN = (0.09, 0.12, 0.15, 0.24, 0.30)
SHEET = (0.30, 0.32, 0.33, 0.35, 0.30)
SNOW = (0.75, 0.74, 0.73, 0.70, 0.12)


@pytest.mark.parametrize(("noise", "pace"), [(0.004, 0.1), pytest.param(0.001, 0.4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("share", [0.2, 0.95])
def test_a_cloud_that_the_labels_miss_is_taken_out_and_said(share: float, noise: float, pace: float) -> None:
    """However thick it is, so that its own jump does not hide it; and where land changes fast against its noise."""
    looks = quiet_field(noise=noise, pace=pace, looks={12: (THIN, share)})
    clean = quiet_field(noise=noise, pace=pace)
    found, expected = solved(looks), undisturbed(noise, pace)
    place = np.s_[12, 12:20, 12:20]
    left = (found.smooth - expected.smooth)[:, *place].norm()
    assert float(left) < 0.03 * float((looks.values - clean.values)[:, *place].norm())
    assert float(found.clear[place].float().mean()) < 0.05
    assert float(found.suspect[place].median()) > 4  # type: ignore[index]
    assert float(found.clear[12, 30:].float().mean()) == pytest.approx(float(looks.clear[12, 30:].float().mean()), 0.02)


@pytest.mark.parametrize(("spectrum", "share", "kept"), [(MOWN, 0.7, 0.75), (SHEET, 0.8, 0.6), (SNOW, 0.9, 0.75)])
def test_a_change_that_stays_for_two_looks_is_kept(spectrum: tuple[float, ...], share: float, kept: float) -> None:
    looks, before = quiet_field(looks={12: (spectrum, share), 13: (spectrum, share)}), quiet_field()
    step = (looks.values - before.values)[:, 12, 12:20, 12:20] * looks.clear[12, 12:20, 12:20]
    found = solved(looks)
    change = (found.smooth - undisturbed().smooth)[:, 12, 12:20, 12:20]
    assert float((change * step).sum() / step.square().sum()) > kept
    assert float(found.clear[12:14, 12:20, 12:20].sum()) > 0.9 * float(looks.clear[12:14, 12:20, 12:20].sum())


def test_what_no_other_look_shows_may_be_a_cloud_of_ice_and_is_taken_out() -> None:
    looks = quiet_field(looks={12: (SNOW, 0.9)})
    assert float(solved(looks).clear[12, 12:20, 12:20].float().mean()) < 0.05


def test_land_that_never_changes_is_given_back() -> None:
    looks = quiet_field()
    still = replace(looks, values=torch.where(looks.clear, FIELD[:, None, None, None], 0.0))
    found = solved(still).smooth
    seen = still.clear.any(0)
    torch.testing.assert_close(found[:, :, seen], FIELD[:, None, None].expand_as(found[:, :, seen]), atol=1e-5, rtol=0)
    assert bool(found[:, :, ~seen].isnan().all())


@pytest.mark.parametrize("dates", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 5, 40])
def test_few_looks_and_pixels_are_no_fault(dates: int, size: int) -> None:
    looks = quiet_field(size=size, dates=dates)
    found = solved(looks)
    assert bool(found.smooth[:, :, looks.clear.any(0)].isfinite().all())
    assert bool(found.smooth[:, :, ~looks.clear.any(0)].isnan().all())


def test_bands_that_have_no_spectrum_are_solved_without_the_test_for_cloud() -> None:
    looks = replace(quiet_field(looks={12: (THIN, 0.2)}), bands=("red", "green", "blue", "nir", "swir"))
    assert float(solved(looks).suspect.max()) == 0  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def specification() -> ModuleType:
    return prototype("surface")


def real_looks(catalog: Path, days: str) -> CellLooks:
    query = se.Query(catalog=catalog, bbox=BE_BBOX, datetime=days)
    options = se.Settings(duration="all")
    job = grid_job(se.search(query, options), query, options)
    seen = observe_part(job, job.grid.geobox)
    values, clear = torch.from_numpy(seen.values), torch.from_numpy(seen.clear)
    return CellLooks(values, clear, job.acquisition_days, job.span, bands=job.bands)


def test_agrees_with_the_specification_on_a_real_block(specification: ModuleType) -> None:
    """The specification learns from all pixels and dampings band by band: equal but for what that changes."""
    looks = real_looks(material("data/be-31uds/catalog.json"), "2018-04-11/2018-07-15")
    mine, days = solved(looks), np.array(looks.days)
    theirs = specification.daily(looks.values.numpy(), looks.clear.numpy(), days, list(days), bands=list(looks.bands))
    step = np.abs(theirs["val"] - mine.smooth.numpy())
    assert np.nanmedian(step) < 0.003
    assert np.nanquantile(step, 0.9) < 0.015
    nothing = np.zeros(looks.clear.shape[1:])
    taken_out = np.stack([theirs["score"].get(int(day), nothing) for day in days]) > 3
    mine_out = (looks.clear & ~mine.clear).numpy()
    both, either = (taken_out & mine_out).sum(), (taken_out | mine_out).sum()
    assert both > 0.6 * either
