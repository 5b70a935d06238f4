"""The damping of each band from its looks: differences near in time are noise, what those far in time add is drift.

Pairs of dates 1-8 days apart scatter by A, pairs 16-36 days apart by B (multivariate t about zero). The noise of one
look is n = A / 2, the drift a day s = (B - A) / (mean gap far - near), and the damping that fits both alpha = n / s,
less the drift that the near pairs hold themselves. It is then set to the factor of two around it that leaves the
smallest robust leave-one-out error, and bands are put together in at most three groups of one damping factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, log

import torch
from torch import Tensor

from spaceeye_stac.methods.two_filter import EPSILON, Dampings, two_sided

NEAR, FAR = (1, 8), (16, 36)
PAIR_PIXELS, ALL_PIXELS, FEWEST_PAIR, FEWEST_PIXELS = 600, 40_000, 20, 500
USED = 0.3
LOWEST, HIGHEST, UNKNOWN = 0.5, 30.0, 5.0
FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TUNING_PIXELS, FEWEST_TUNING, TUNING_KNOWN, TUNING_USED = 400, 50, 0.02, 0.2
GROUPS = 3


@dataclass(frozen=True)
class Noise:
    """Of each band `(band,)`: `deviation` of one look in reflectance, and damping factor `alpha`."""

    deviation: Tensor
    alpha: Tensor


def noise_of(values: Tensor, weights: Tensor, days: Sequence[int]) -> Noise:
    """Noise and first damping of `values` `(band, time, pixel)` in reflectance with `weights` `(time, pixel)`."""
    near, near_gap = _differences(values, weights, days, NEAR)
    far, far_gap = _differences(values, weights, days, FAR)
    if min(near.shape[1], far.shape[1]) < FEWEST_PIXELS:
        clear = (weights > 0).sum(1).clamp(min=1)
        mean = values.sum(2) / clear
        spread = ((values - mean[..., None]) * (weights > 0)).square().sum((1, 2)) / clear.sum()
        return Noise(spread.sqrt().clamp(min=1e-3), torch.full((len(values),), UNKNOWN))
    close = robust_scatter(near)
    noise = close.diagonal() / 2
    drift = (robust_scatter(far).diagonal() - close.diagonal()) / max(far_gap - near_gap, 1)
    noise = noise * 1.02 + 1e-7
    ratio = (drift / noise).clamp(min=1e-6)
    alpha = (1 - ratio * near_gap / 2).clamp(min=0.2) / ratio
    return Noise(noise.sqrt().float(), alpha.clamp(LOWEST, HIGHEST).float())


def _differences(values: Tensor, weights: Tensor, days: Sequence[int], gaps: tuple[int, int]) -> tuple[Tensor, float]:
    """Differences `(band, pair)` float64 of looks so many days apart, of pixels used on both; and their mean gap."""
    pairs = [(a, b) for a, b in combinations(range(len(days)), 2) if gaps[0] <= days[b] - days[a] <= gaps[1]]
    most = min(PAIR_PIXELS, max(FEWEST_PAIR, ALL_PIXELS // max(len(pairs), 1)))
    used, found, gap = weights > USED, [values[:, 0, :0]], 0
    for a, b in pairs:
        places = (used[a] & used[b]).nonzero()[:, 0]
        if len(places) >= FEWEST_PAIR:
            places = places[:: max(1, len(places) // most)]
            found.append(values[:, b, places] - values[:, a, places])
            gap += len(places) * (days[b] - days[a])
    together = torch.cat(found, dim=1).double()
    return together, gap / max(together.shape[1], 1)


def robust_scatter(differences: Tensor, freedom: float = 4.0, steps: int = 6) -> Tensor:
    """Scatter `(band, band)` about 0 of `(band, n)` float64, as a multivariate t distribution would have it."""
    bands, count = differences.shape
    unit = torch.eye(bands, dtype=torch.float64)
    least = 1e-8 * unit
    scatter = differences @ differences.T / count + least
    for _ in range(steps):
        whitening = torch.linalg.solve_triangular(torch.linalg.cholesky(scatter), unit, upper=False)
        distance = (whitening @ differences).square_().sum(0)
        weight = (freedom + bands) / (freedom + distance)
        scatter = (differences * weight) @ differences.T / count + least
    return scatter


def tuned(values: Tensor, clear: Tensor, weights: Tensor, days: Sequence[int], alpha: Tensor) -> Tensor:
    """Of the damping factors around `alpha` `(band,)` the one with the smallest robust leave-one-out error.

    `values` `(band, time, pixel)` in noise units.
    """
    some = slice(None, None, max(1, values.shape[2] // TUNING_PIXELS))
    values, clear, weights = values[..., some].contiguous(), clear[:, some], weights[:, some].contiguous()
    tried = torch.stack([(alpha * factor).clamp(LOWEST, HIGHEST) for factor in FACTORS])
    dampings = Dampings(tuple(tried.flatten().tolist()), (1,) * tried.numel())
    sides = two_sided((values * weights).repeat(len(FACTORS), 1, 1), weights, days, dampings)
    left_out = (sides.before + sides.after).mul_(sides.information.clamp(min=EPSILON).reciprocal_())
    by_factor = (every.view(*tried.shape, *every.shape[1:]) for every in (left_out, sides.information))
    errors = []
    for predicted, information in zip(*by_factor, strict=True):
        seen = clear & (information > TUNING_KNOWN).all(0) & (weights > TUNING_USED)
        if int(seen.sum()) < FEWEST_TUNING:
            return alpha
        errors.append(((values - predicted)[:, seen].square() / 4).log1p().mean(1))
    best = torch.stack(errors).argmin(0)
    return tried[best, torch.arange(len(alpha))]


def grouped(alpha: Tensor) -> tuple[Tensor, Dampings]:
    """Order of the bands by damping factor `(band,)`, and at most three groups of them that spread least (in logs)."""
    order = torch.argsort(alpha, stable=True)
    logs = [log(value) for value in alpha[order].tolist()]
    cuts = [
        (0, *inner, len(logs))
        for count in range(min(GROUPS, len(logs)))
        for inner in combinations(range(1, len(logs)), count)
    ]
    groups = min(([logs[a:b] for a, b in pairwise(cut)] for cut in cuts), key=_spread)
    return order, Dampings(tuple(exp(sum(g) / len(g)) for g in groups), tuple(len(g) for g in groups))


def _spread(groups: list[list[float]]) -> float:
    return sum(sum((value - sum(g) / len(g)) ** 2 for value in g) for g in groups)
