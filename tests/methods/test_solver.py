import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.solver import Solution, solve

Array = Any


def dense(values: Array, weights: Array, days: Array, alpha: float) -> tuple[Array, Array]:
    """Minimiser and diagonal of the inverse for one pixel `(band, time)`, by a dense float64 solve."""
    n = len(days)
    matrix = np.diag(weights.astype(float))
    for t in range(n - 1):
        k = alpha / (days[t + 1] - days[t])
        matrix[t : t + 2, t : t + 2] += k * np.array([[1, -1], [-1, 1]])
    return np.linalg.solve(matrix, (weights * values).T).T, np.diag(np.linalg.inv(matrix))


def golden_case(golden: Path) -> tuple[dict[str, Any], Solution]:
    case = dict(np.load(golden / "damped_interpolation_be31uds.npz"))
    seen = np.isin(case["days"], case["observed_days"])
    bright = case["illuminance"][:, case["observed_days"]][:, :, None, None]
    values = case["dn"][:, seen].astype(np.float32) * 1e-4 / bright
    return case, solve(values.astype(np.float32), case["clear"][seen], case["observed_days"])


def test_agrees_with_the_reference_minimum_on_a_real_chip(golden: Path) -> None:
    case, solution = golden_case(golden)
    cube = torch.stack([solution.at(day) for day in range(48)], dim=1).numpy()
    ever = case["clear"][np.isin(case["days"], case["observed_days"])].any(axis=0)
    assert ever.mean() > 0.5
    np.testing.assert_allclose(cube[..., ever], case["exact_albedo"][..., ever], rtol=0, atol=1e-4)
    best = json.loads(str(case["objective"]))["exact"]
    assert solution.objective <= best * (1 + 1e-5)


problems = st.fixed_dictionaries(
    {
        "gaps": st.lists(st.integers(1, 400), min_size=0, max_size=12),
        "exponent": st.floats(-6, 3),
        "seed": st.integers(0, 2**31),
        "clear_share": st.sampled_from([0.0, 0.2, 0.6, 1.0]),
        "weighted": st.booleans(),
    }
)


@settings(max_examples=150, deadline=None)
@given(problems)
def test_agrees_with_a_dense_solve(problem: dict[str, Any]) -> None:
    rng = np.random.default_rng(problem["seed"])
    days = np.cumsum([0, *problem["gaps"]])
    alpha = 10.0 ** float(problem["exponent"])
    clear = rng.random((len(days), 3, 4)) < problem["clear_share"]
    values = rng.uniform(0.01, 1.2, (2, len(days), 3, 4)).astype(np.float32)
    weights = rng.uniform(0.05, 1, clear.shape).astype(np.float32) if problem["weighted"] else np.ones_like(clear, "f4")
    dirty = np.where(clear, values, np.nan)
    found = solve(dirty, clear, days, damping_factor=alpha, weights=weights)
    for y, x in np.ndindex(3, 4):
        if not clear[:, y, x].any():
            assert found.keyframes[:, :, y, x].isnan().all()
            assert found.variance[:, y, x].isinf().all()
            continue
        w = (clear * weights)[:, y, x]
        expected, inverse = dense(values[:, :, y, x], w, days, alpha)
        np.testing.assert_allclose(found.keyframes[:, :, y, x], expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(found.variance[:, y, x], inverse, rtol=1e-3)


def test_days_between_acquisitions_are_the_minimiser_too() -> None:
    rng = np.random.default_rng(0)
    days, values = np.array([2, 5, 11]), rng.random((1, 3, 1, 1), np.float32)
    found = solve(values, np.ones((3, 1, 1), bool), days, damping_factor=0.7)
    full_values, full_weights = np.zeros((1, 14)), np.zeros(14)
    full_values[0, days], full_weights[days] = values[0, :, 0, 0], 1
    expected, _ = dense(full_values, full_weights, np.arange(14), 0.7)
    daily = [float(found.at(day)[0, 0, 0]) for day in range(14)]
    np.testing.assert_allclose(daily, expected[0], atol=1e-6)


def test_no_date_gives_nothing_and_nan() -> None:
    found = solve(np.zeros((2, 0, 3, 3), np.float32), np.zeros((0, 3, 3), bool), [])
    assert found.keyframes.shape == (2, 0, 3, 3)
    assert found.at(5).isnan().all()
    assert found.at(5).shape == (2, 3, 3)


def test_more_pixels_than_a_cache_block_and_views_are_solved_alike() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((3, 4, 130, 150), np.float32)
    clear = rng.random((4, 130, 150)) < 0.7
    whole = solve(values, clear, [0, 3, 4, 9]).keyframes
    part = solve(values[:, :, 40:60, 7:90], clear[:, 40:60, 7:90], [0, 3, 4, 9]).keyframes
    assert torch.equal(whole[:, :, 40:60, 7:90].isnan(), part.isnan())
    assert torch.equal(whole[:, :, 40:60, 7:90].nan_to_num(), part.nan_to_num())


def test_the_input_is_left_alone() -> None:
    values = np.ones((1, 2, 2, 2), np.float32)
    weights = np.full((2, 2, 2), 0.5, np.float32)
    solve(values, np.ones((2, 2, 2), bool), [0, 1], weights=weights)
    assert (values == 1).all()
    assert (weights == 0.5).all()


@pytest.mark.parametrize(
    ("shape", "clear_shape", "days", "alpha", "said"),
    [
        ((1, 2, 3), (2, 3), [0, 1], 0.1, "must be"),
        ((1, 2, 3, 3), (2, 3, 4), [0, 1], 0.1, "must be"),
        ((1, 2, 3, 3), (2, 3, 3), [1, 1], 0.1, "strictly increasing"),
        ((1, 2, 3, 3), (2, 3, 3), [0, 1, 2], 0.1, "strictly increasing"),
        ((1, 2, 3, 3), (2, 3, 3), [0, 1], 0.0, "above 0"),
    ],
)
def test_refuses_what_does_not_fit(
    shape: tuple[int, ...], clear_shape: tuple[int, ...], days: list[int], alpha: float, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        solve(np.zeros(shape, np.float32), np.ones(clear_shape, bool), days, damping_factor=alpha)
