from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spaceeye_stac.days.cog import truncate
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.reference import iterate
from spaceeye_stac.methods.solver import solve

Array = Any


def golden_case(golden: Path) -> tuple[dict[str, Any], Array, Array, Array]:
    case = dict(np.load(golden / "damped_interpolation_be31uds.npz"))
    seen, days = np.isin(case["days"], case["observed_days"]), case["observed_days"]
    bright = case["illuminance"][:, days][:, :, None, None]
    values = case["dn"][:, seen].astype(np.float32) / np.float32(10_000) / bright
    return case, values, case["clear"][seen], days


def looks(seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    days = np.array([1, 4, 5, 9])
    clear = rng.random((4, 5, 6)) < 0.6
    clear[0] = True
    return rng.uniform(0.5, 1.5, (3, 4, 5, 6)).astype(np.float32), clear, days


def test_agrees_with_the_published_albedo_on_a_real_chip(golden: Path) -> None:
    case, values, clear, days = golden_case(golden)
    found = iterate(values, clear, days, 48)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), case["reference_albedo"], rtol=0, atol=1e-5)


def test_agrees_with_the_published_dn_on_a_real_chip(golden: Path) -> None:
    case, values, clear, days = golden_case(golden)
    bright = case["illuminance"][:, :, None, None]
    assert np.array_equal(truncate(case["reference_albedo"] * bright), case["reference_dn"])
    off = truncate(iterate(values, clear, days, 48).numpy() * bright).astype(int) - case["reference_dn"]
    assert np.abs(off).max() <= 1
    assert (off != 0).mean() <= 1e-3


def test_the_published_numbers_are_those_of_the_twenty_first_step(golden: Path) -> None:
    case, values, clear, days = golden_case(golden)
    published = case["reference_albedo"]
    for steps, agrees in ((20, False), (21, True), (22, False)):
        found = iterate(values, clear, days, 48, tolerance=0, max_iterations=steps).numpy()
        assert np.allclose(found, published, rtol=0, atol=1e-5) == agrees


def test_one_stop_holds_for_all_bands_together(golden: Path) -> None:
    case, values, clear, days = golden_case(golden)
    alone = iterate(values[:1], clear, days, 48).numpy()
    assert np.abs(alone - case["reference_albedo"][:1]).max() > 1e-2


@pytest.mark.parametrize("interval", [1, 3, 5, 7])
def test_stops_at_the_first_check_below_the_tolerance(interval: int) -> None:
    values, clear, days = looks()
    steps = [iterate(values, clear, days, 12, tolerance=0, max_iterations=n) for n in range(1, 40)]
    change = [float((b - a).abs().mean() / b.abs().mean()) for a, b in pairwise(steps)]
    stop = next(n for n in range(interval, 39, interval) if change[n - 1] < 3e-3)
    found = iterate(values, clear, days, 12, tolerance=3e-3, check_interval=interval)
    assert torch.equal(found, steps[stop])


def test_a_high_tolerance_stops_after_the_first_step() -> None:
    values, clear, days = looks()
    once = iterate(values, clear, days, 12, max_iterations=1)
    assert torch.equal(iterate(values, clear, days, 12, tolerance=10.0), once)


def test_the_first_step_damps_the_looks_and_the_time_mean() -> None:
    values, clear, days = looks()
    filled = np.ma.masked_array(values, np.broadcast_to(~clear, values.shape)).mean(axis=1, keepdims=True)
    start = np.repeat(filled.data, 12, axis=1).astype(float)
    start[:, days] = np.where(clear, values, filled.data)
    delta = np.diff(np.eye(12), axis=0)
    expected = np.einsum("ts,bsyx->btyx", np.linalg.inv(np.eye(12) + 0.3 * delta.T @ delta), start)
    found = iterate(values, clear, days, 12, damping_factor=0.3, max_iterations=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 2.0])
def test_many_iterations_reach_the_exact_minimum(alpha: float) -> None:
    values, clear, days = looks()
    exact = solve(values, clear, days, damping_factor=alpha)
    daily = torch.stack([exact.at(day) for day in range(12)], dim=1)
    found = iterate(values, clear, days, 12, damping_factor=alpha, tolerance=0, max_iterations=3000)
    torch.testing.assert_close(found, daily, rtol=0, atol=1e-4)


def test_days_without_observation_are_filled() -> None:
    values, clear, days = looks()
    found = iterate(values, clear, days, 12)
    assert found.shape == (3, 12, 5, 6)
    assert found.isfinite().all()
    assert float(found.min()) > values.min() - 1e-5
    assert float(found.max()) < values.max() + 1e-5


def test_a_pixel_never_clear_is_nan_and_changes_no_other() -> None:
    values, clear, days = looks()
    padded = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=9.0)
    found = iterate(padded, np.pad(clear, ((0, 0), (0, 0), (0, 1))), days, 12)
    assert found[..., -1].isnan().all()
    torch.testing.assert_close(found[..., :-1], iterate(values, clear, days, 12), rtol=0, atol=1e-6)


def test_no_date_gives_nan() -> None:
    found = iterate(np.zeros((2, 0, 3, 3), np.float32), np.zeros((0, 3, 3), bool), [], 4)
    assert found.shape == (2, 4, 3, 3)
    assert found.isnan().all()


def test_what_is_not_clear_has_no_effect_and_the_input_is_left_alone() -> None:
    values, clear, days = looks()
    dirty = np.where(clear, values, np.nan).astype(np.float32)
    kept = dirty.copy()
    assert torch.equal(iterate(dirty, clear, days, 12), iterate(values, clear, days, 12))
    np.testing.assert_array_equal(dirty, kept)


def test_truncates_and_keeps_nodata_apart() -> None:
    reflectance = np.array([0.12349, 0.00019, 0.00002, -0.3, 7.0, np.nan], np.float32)
    found = truncate(reflectance)
    assert found.dtype == np.uint16
    assert found.tolist() == [1234, 1, 1, 1, 65535, 0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"values": np.zeros((1, 4, 5), np.float32)}, "must be"),
        ({"clear": np.ones((4, 5, 7), bool)}, "must be"),
        ({"days": [1, 4, 4, 9]}, "strictly increasing"),
        ({"days": [1, 4, 9]}, "strictly increasing"),
        ({"length": 9}, "window of 9 days"),
        ({"days": [-1, 4, 5, 9]}, "window of 12 days"),
        ({"damping_factor": 0.0}, "damping_factor 0.0"),
        ({"tolerance": -1.0}, "tolerance -1.0"),
        ({"max_iterations": 0}, "max_iterations 0"),
        ({"check_interval": 0}, "check_interval 0"),
    ],
)
def test_refuses_what_does_not_fit(changes: dict[str, Any], said: str) -> None:
    values, clear, days = looks()
    with pytest.raises(InvalidInputError, match=said):
        iterate(**({"values": values, "clear": clear, "days": days, "length": 12} | changes))
