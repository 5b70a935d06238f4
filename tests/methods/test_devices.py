"""The solver on a graphics processor; skipped where there is none."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spaceeye_stac.methods.solver import solve

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def looks(seed: int, dates: int, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.uniform(0.01, 1, (3, dates, *shape)).astype(np.float32))
    clear = torch.from_numpy(rng.random((dates, *shape)) < 0.4)
    return values, clear, [int(day) for day in np.cumsum(rng.integers(1, 12, dates))]


@settings(deadline=None)  # the first call starts the device
@given(st.integers(0, 2**31), st.integers(1, 20), st.floats(1e-3, 1e3))
def test_the_minimiser_on_cuda_is_that_of_float64_on_the_cpu(seed: int, dates: int, damping: float) -> None:
    values, clear, days = looks(seed, dates, (5, 7))
    found = solve(values.cuda(), clear.cuda(), days, damping_factor=damping)
    assert found.keyframes.is_cuda
    expected = dense_minimiser(values.double().numpy(), clear.numpy(), days, damping)
    assert np.array_equal(np.isnan(expected), found.keyframes.isnan().cpu().numpy())
    assert np.nanmax(np.abs(found.keyframes.cpu().numpy() / expected - 1), initial=0) < 1e-5


def dense_minimiser(values: np.ndarray, clear: np.ndarray, days: list[int], damping: float) -> np.ndarray:
    """By a dense solve of each pixel's normal equations in float64."""
    steps = np.diff(np.eye(len(days)), axis=0) / np.sqrt(np.diff(days))[:, None]
    found = np.full(values.shape, np.nan)
    for y, x in np.ndindex(values.shape[2:]):
        w = clear[:, y, x].astype(float)
        if w.any():
            system = np.diag(w) + damping * steps.T @ steps
            found[:, :, y, x] = np.linalg.solve(system, (w * values[:, :, y, x]).T).T
    return found


def test_a_whole_cell_on_cuda_differs_from_the_cpu_by_rounding_alone() -> None:
    values, clear, days = looks(4, 40, (512, 512))
    on_cpu, on_cuda = (solve(values.to(device), clear.to(device), days) for device in ("cpu", "cuda"))
    for name in ("keyframes", "information", "variance"):
        one, other = getattr(on_cpu, name), getattr(on_cuda, name).cpu()
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7, equal_nan=True), name
    assert on_cuda.objective == pytest.approx(on_cpu.objective, rel=1e-6)
