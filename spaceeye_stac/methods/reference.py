"""FarmVibes.AI's published iterate for the damped interpolation; torch tensors in, every day out, no I/O.

For each pixel and band, on the days t = 0..T-1 of one window, with clear looks m_t in {0, 1} and values s_t:

    X <- (I + alpha Delta'Delta)^-1 (m s + (1 - m) X)            alpha = damping_factor, (Delta X)_t = X_{t+1} - X_t

Its fixed point is what `solver.solve` gives directly; the published numbers are those of a step well before it. Source:
FarmVibes.AI, workflow op `remove_clouds_interpolation`, after SpaceEye, arXiv 2106.08408. Where that source's comments
and its numbers differ (the sign before (1 - m) X, the stopping rule), this follows the numbers.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.base import CellLooks, Method, MethodRun, WholeCellRun, WorkingMemory
from spaceeye_stac.settings import Settings


def reference_run(settings: Settings, _shape: tuple[int, int]) -> MethodRun:
    """FarmVibes.AI's iterate on every day of the window, with its start and stopping rule."""

    def make(looks: CellLooks) -> tuple[tuple[int, ...], Tensor]:
        found = iterate(
            looks.values,
            looks.clear,
            [day - looks.read.start for day in looks.days],
            len(looks.read),
            damping_factor=settings.damping_factor,
            tolerance=settings.tolerance,
            max_iterations=settings.max_iterations,
            check_interval=settings.check_interval,
        )
        return tuple(looks.read), found

    return WholeCellRun(make)


GUARD = 1e-6


def iterate(
    values: Tensor | np.ndarray,
    clear: Tensor | np.ndarray,
    days: Sequence[int] | np.ndarray,
    length: int,
    *,
    damping_factor: float = 0.1,
    tolerance: float = 1e-3,
    max_iterations: int = 200,
    check_interval: int = 5,
) -> Tensor:
    """Iterate as FarmVibes.AI does and stop where it stops, on the device of `values`.

    Start: s where clear, elsewhere the pixel's mean over its clear looks. Stop: after step 1 and every
    `check_interval` steps from there, when mean |X_new - X| / mean |X_new| < `tolerance`; the newer X is the result.
    Both means run over all bands, days and pixels given, so the result of a pixel depends on the extent it comes with.

    Parameters
    ----------
    values
        `(band, time, y, x)` float32, reflectance divided by the illuminance. What stands at pixels that are not clear
        (NaN too) has no effect.
    clear
        `(time, y, x)` bool, True = usable.
    days
        `(time,)` integer days counted from the window's start, strictly increasing, 0 to `length - 1`.
    length
        T, the number of days of the window.
    damping_factor
        alpha > 0. Above about 1e4 the float32 inverse, kept as in the source, is no longer accurate.
    tolerance
        Relative mean change, >= 0, below which to stop; 0 takes every step.
    max_iterations
        The highest number of steps, at least 1; the last X is then the result, converged or not.
    check_interval
        Steps between two checks, at least 1.

    Returns `(band, T, y, x)` float32 in the units of the values; pixels never clear are NaN on every day (the source
    carries zeros there, which weigh nothing in the stopping rule). Raises InvalidInputError where the input does not
    fit. Source: FarmVibes.AI, `remove_clouds_interpolation`; objective of arXiv 2106.08408.

    """
    x = torch.as_tensor(values, dtype=torch.float32)
    seen = torch.as_tensor(clear, dtype=torch.bool, device=x.device)
    when = [int(d) for d in days]
    _check_looks(x, seen, when, length)
    _check_options(damping_factor, tolerance, max_iterations, check_interval)
    damping = _damping(length, damping_factor).to(x.device)
    nothing = torch.zeros_like(x)
    looks = _place(x.new_zeros(length, x.shape[0], *x.shape[2:]), x, seen, when)
    pull = _damp(damping, looks)
    mean = looks.sum(0) / (seen.sum(0) + GUARD)
    current = _place(mean.repeat(length, 1, 1, 1), x, seen, when)
    for step in range(max_iterations):
        following = pull + _damp(damping, _place(current.clone(), nothing, seen, when))
        settled = step % check_interval == 0 and _change(current, following) < tolerance
        current = following
        if settled:
            break
    return current.masked_fill_(~seen.any(0), torch.nan).transpose(0, 1).contiguous()


def _damping(length: int, damping_factor: float) -> Tensor:
    """(I + alpha Delta'Delta)^-1, dense `(day, day)`; inverted in float32 as in the source, to meet its rounding."""
    delta = torch.diff(torch.eye(length), dim=0)
    inverse: Tensor = torch.linalg.inv(torch.eye(length) + damping_factor * (delta.T @ delta))
    return inverse


def _place(daily: Tensor, looks: Tensor, clear: Tensor, days: list[int]) -> Tensor:
    """Write `looks` `(band, time, y, x)` over `daily` `(day, band, y, x)` where clear, in place."""
    for t, day in enumerate(days):
        daily[day] = torch.where(clear[t], looks[:, t], daily[day])
    return daily


def _damp(damping: Tensor, daily: Tensor) -> Tensor:
    return (damping @ daily.flatten(1)).view(daily.shape)


def _change(before: Tensor, after: Tensor) -> float:
    return float((after - before).abs().mean() / (after.abs().mean() + GUARD))


def _check_looks(x: Tensor, clear: Tensor, days: list[int], length: int) -> None:
    if x.ndim != 4 or clear.shape != x.shape[1:]:  # noqa: PLR2004
        raise InvalidInputError(
            f"values {tuple(x.shape)} and clear {tuple(clear.shape)} must be (band, time, y, x) and (time, y, x)."
        )
    if len(days) != x.shape[1] or any(b <= a for a, b in pairwise(days)):
        raise InvalidInputError(f"days must be {x.shape[1]} strictly increasing whole numbers, one per time step.")
    if length < 1 or (days and not 0 <= days[0] <= days[-1] < length):
        raise InvalidInputError(f"days {days} must lie in a window of {length} days, counted from 0.")


def _check_options(damping_factor: float, tolerance: float, max_iterations: int, check_interval: int) -> None:
    checks = (
        ("damping_factor", damping_factor, 0 < damping_factor < float("inf"), "a number above 0"),
        ("tolerance", tolerance, tolerance >= 0, "a number of at least 0"),
        ("max_iterations", max_iterations, max_iterations >= 1, "a whole number of at least 1"),
        ("check_interval", check_interval, check_interval >= 1, "a whole number of at least 1"),
    )
    for name, value, fits, advice in checks:
        if not fits:
            raise InvalidInputError(f"{name} {value} is not allowed; give {advice}.")


REFERENCE = Method(
    "reference",
    reference_run,
    cell=448,
    normalised=True,
    every_day=True,
    truncates=True,
    memory=lambda _: WorkingMemory(5.0),
)
