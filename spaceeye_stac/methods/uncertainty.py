"""How far to trust an estimate: from leave-one-out residuals, never from in-sample ones; torch, pure.

A residual r = s - loo at a clear pixel has variance sigma^2 (1 + 1/Q), Q the information of the other dates. Per band
and date sigma^2 is the mean of pi r^2, pi = Q / (1 + Q), drawn towards the mean over all dates as 200 pixels would
draw it. The resulting sd = sigma sqrt(1 + 1/Q) is then scaled so that its 68 and 90 % intervals hold those shares of
the residuals: per date, or over all dates where a date has 200 clear pixels or fewer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

PRIOR_PIXELS = 200
FEW_CLEAR_SHARE = 0.02
LEVELS = (0.68, 0.90)
GAUSSIAN = (0.9945, 1.6449)
SAMPLE_VALUES = 50_000


@dataclass(frozen=True)
class Scales:
    """Half widths of the 68 and 90 % intervals `(band, time)`, to be multiplied by sqrt(1 + 1/Q).

    The `unseen` ones `(band,)` are for any day of which nothing was seen. `damping_factor`: of the state between two
    acquisitions, where the method finds its own for each cell.
    """

    inner: Tensor
    outer: Tensor
    inner_unseen: Tensor
    outer_unseen: Tensor
    damping_factor: float | None = None


def scales(residual: Tensor, remaining: Tensor, information: Tensor, seen: Tensor) -> Scales:
    """Estimate the interval half widths of each band and date.

    Parameters
    ----------
    residual
        `(band, time, pixel)` s - loo, meaningful where `seen`.
    remaining
        The same less the date term that is added to the prediction; `residual` itself where there is none.
    information
        Q `(time, pixel)`.
    seen
        `(time, pixel)` bool: clear, and other dates say something.

    A date with at most 2 % of its pixels seen has no date term to speak of: its widths come from `residual` over all
    dates. Zeros where nothing at all was seen. Source: design of this package, measured on six sites.

    """
    trust = (information / (1 + information)) * seen
    count = seen.sum(1)
    own = _with_prior(remaining, trust, count)
    pooled = _with_prior(residual, trust, count, pool=float("inf"))
    few = count <= FEW_CLEAR_SHARE * seen.shape[1]
    sigma = torch.where(few, pooled, own)
    by_date = _factors(remaining, own, trust, seen)
    over_all = _pooled_factors(residual, pooled, trust, seen)
    small = count <= PRIOR_PIXELS
    shared = _pooled_factors(remaining, own, trust, seen)
    factor = torch.where(small, shared[:, None], by_date)
    factor = torch.where(few, over_all[:, None], factor)
    few_dates = _few_dates(int((count > 0).sum()))
    unseen = (pooled[:, 0] * factor * wider for factor, wider in zip(over_all, few_dates, strict=True))
    return Scales(*(sigma * f for f in factor), *unseen)


def _few_dates(dates: int) -> list[float]:
    """How much wider the interval of a further date is than its Gaussian quantile z, learnt from few dates.

    Student's quantile with dates - 1 degrees of freedom by its Cornish-Fisher series,
    z + (z^3 + z) / (4 dof) + (5 z^5 + 16 z^3 + 3 z) / (96 dof^2), times sqrt(1 + 1 / dates) for the date itself.
    """
    dof = max(dates - 1, 1)
    student = [1 + (z**2 + 1) / (4 * dof) + (5 * z**4 + 16 * z**2 + 3) / (96 * dof**2) for z in GAUSSIAN]
    return [ratio * (1 + 1 / max(dates, 1)) ** 0.5 for ratio in student]


def _with_prior(residual: Tensor, trust: Tensor, count: Tensor, pool: float = PRIOR_PIXELS) -> Tensor:
    """Sigma `(band, time)`: each date's own, drawn to that of all dates; `pool` inf is that of all dates alone."""
    sums = (residual.square() * trust).sum(2)
    everywhere = sums.sum(1, keepdim=True) / count.sum().clamp(min=1)
    if pool == float("inf"):
        return everywhere.sqrt().expand_as(sums)
    return ((sums + pool * everywhere) / (count + pool)).sqrt()


def _standardised(residual: Tensor, sigma: Tensor, trust: Tensor, seen: Tensor, date: int) -> Tensor:
    """Absolute residuals of one date's seen pixels, all bands, in units of their sd."""
    ok = seen[date]
    return (residual[:, date, ok].abs() * trust[date, ok].sqrt() / sigma[:, date, None].clamp(min=1e-9)).flatten()


def _factors(residual: Tensor, sigma: Tensor, trust: Tensor, seen: Tensor) -> Tensor:
    """Quantiles `(level, time)` of each date's own standardised residuals; 1 where there is none."""
    return torch.stack(
        [_quantiles(_standardised(residual, sigma, trust, seen, t)) for t in range(seen.shape[0])], dim=1
    )


def _pooled_factors(residual: Tensor, sigma: Tensor, trust: Tensor, seen: Tensor) -> Tensor:
    """Quantiles `(level,)` of the standardised residuals of all dates."""
    return _quantiles(torch.cat([_standardised(residual, sigma, trust, seen, t) for t in range(seen.shape[0])]))


def _quantiles(values: Tensor) -> Tensor:
    if not values.numel():
        return torch.ones(len(LEVELS))
    step = max(1, values.numel() // SAMPLE_VALUES)
    return torch.quantile(values[::step], torch.tensor(LEVELS))
