"""The damped interpolation solved exactly; torch tensors in, a Solution out, no I/O.

For one pixel and one band, with days t, weights w_t (0 where not clear) and values s_t:

    F(x) = sum_t w_t (x_t - s_t)^2 + alpha * sum_t (x_{t+1} - x_t)^2            alpha = damping_factor

Between two acquisition days the minimiser is linear in t, so only the N acquisition days are unknowns, coupled by
k_n = alpha / (day_{n+1} - day_n). Source of the objective: SpaceEye, arXiv 2106.08408.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError

CACHED_PIXELS = 8192


@dataclass(frozen=True)
class Solution:
    """The unique minimiser at the acquisition days, and how well it is determined.

    Attributes
    ----------
    keyframes
        `(band, time, y, x)` float32, in the units of the values; NaN at pixels that are never clear.
    days
        `(time,)` the acquisition days, increasing.
    damping_factor
        alpha.
    weights
        `(time, y, x)` float32, 0 where not clear.

    """

    keyframes: Tensor
    days: tuple[int, ...]
    damping_factor: float
    weights: Tensor = field(repr=False)
    values: Tensor = field(repr=False)

    @cached_property
    def information(self) -> Tensor:
        """Q `(time, y, x)`: what the other dates say of each date, in units of one clear look; 0 where nothing."""
        couplings = _couplings(self.days, self.damping_factor)
        left, right = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        for t in range(1, len(self.days)):
            left[t] = _through(left[t - 1] + self.weights[t - 1], couplings[t - 1])
        for t in range(len(self.days) - 2, -1, -1):
            right[t] = _through(right[t + 1] + self.weights[t + 1], couplings[t])
        return left + right

    @cached_property
    def variance(self) -> Tensor:
        """Diagonal of the inverse `(time, y, x)`, in units of one look's noise variance; inf where never clear."""
        return 1 / (self.information + self.weights)

    @cached_property
    def objective(self) -> float:
        """F at the minimiser, summed in float64 over bands and the pixels that are ever clear."""
        ever = self.weights.sum(0) > 0
        z = self.keyframes[..., ever].double()
        w = self.weights[:, ever].double()
        seen = torch.where(w > 0, self.values[..., ever], 0).double()
        data = (w * (z - seen) ** 2).sum()
        couplings = torch.tensor(_couplings(self.days, self.damping_factor), dtype=torch.float64, device=z.device)
        return float(data + (couplings[:, None] * torch.diff(z, dim=1) ** 2).sum())

    def at(self, day: int) -> Tensor:
        """Return the minimiser `(band, y, x)` on any day: linear between acquisitions, constant outside them."""
        if not self.days:
            return torch.full_like(self.values.sum(1), torch.nan)
        after = int(np.searchsorted(self.days, day))
        if after == 0 or after == len(self.days):
            return self.keyframes[:, min(after, len(self.days) - 1)]
        start, stop = self.days[after - 1], self.days[after]
        share = (day - start) / (stop - start)
        return torch.lerp(self.keyframes[:, after - 1], self.keyframes[:, after], share)


def cached_rows(width: int) -> int:
    """Rows of an image of that width that fit the processor's cache, with all their bands and dates."""
    return max(1, CACHED_PIXELS // width)


def cached_strips(height: int, width: int) -> list[slice]:
    """Cut the rows of an image into strips that fit the cache.

    A pixel's bits may depend on its place in such a strip: a cut between two of them changes nothing.
    """
    step = cached_rows(width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def cached_parts(height: int, width: int) -> list[slice]:
    """The same strips in flattened pixels."""
    return [slice(rows.start * width, rows.stop * width) for rows in cached_strips(height, width)]


def _through(information: Tensor, coupling: float) -> Tensor:
    """Information that passes a coupling: the two in series, 1 / (1/p + 1/k)."""
    return information * (coupling / (coupling + information))


def _couplings(days: Sequence[int], damping_factor: float) -> list[float]:
    return [damping_factor / (b - a) for a, b in pairwise(days)]


def solve(
    values: Tensor | np.ndarray,
    clear: Tensor | np.ndarray,
    days: Sequence[int] | np.ndarray,
    *,
    damping_factor: float = 0.1,
    weights: Tensor | np.ndarray | None = None,
) -> Solution:
    """Minimise F exactly for every pixel and band, on the device of `values`.

    The tridiagonal system (diag(w) + K) x = w s is eliminated forwards and substituted backwards in information form:
    every quantity is a sum of non-negative terms, so float32 keeps its relative accuracy for any gap and alpha.

    Parameters
    ----------
    values
        `(band, time, y, x)` float32, any unit. What stands at pixels that are not clear (NaN too) has no effect.
    clear
        `(time, y, x)` bool, True = usable.
    days
        `(time,)` integer days, strictly increasing.
    damping_factor
        alpha > 0.
    weights
        `(time, y, x)` float32 >= 0, multiplies `clear`; 1 when left out.

    Returns a Solution; pixels never clear are NaN in it. Raises InvalidInputError where shapes or days do not fit.
    Source: the LDL' (Thomas) recurrence for the objective of arXiv 2106.08408.

    """
    x = torch.as_tensor(values, dtype=torch.float32)
    seen = torch.as_tensor(clear, dtype=torch.bool, device=x.device)
    when = tuple(int(d) for d in days)
    _check(x, seen, when, damping_factor)
    w = seen.float()
    if weights is not None:
        w *= torch.as_tensor(weights, dtype=torch.float32, device=x.device)
    keyframes = torch.empty_like(x, memory_format=torch.contiguous_format)
    bands, dates = x.shape[:2]
    if keyframes.numel():
        flat, weight, out = x.reshape(bands, dates, -1), w.reshape(dates, -1), keyframes.view(bands, dates, -1)
        couplings = _couplings(when, damping_factor)
        # a graphics processor wants all pixels at once, and is 45 times as fast so (H100, 512 x 512, ten bands)
        for part in cached_parts(*x.shape[2:]) if x.device.type == "cpu" else [slice(None)]:
            _sweep(flat[..., part], weight[:, part], out[..., part], couplings)
    return Solution(keyframes, when, float(damping_factor), w, x)


def _check(x: Tensor, clear: Tensor, days: tuple[int, ...], damping_factor: float) -> None:
    if x.ndim != 4 or clear.shape != x.shape[1:]:  # noqa: PLR2004
        raise InvalidInputError(
            f"values {tuple(x.shape)} and clear {tuple(clear.shape)} must be (band, time, y, x) and (time, y, x)."
        )
    if len(days) != x.shape[1] or any(b <= a for a, b in pairwise(days)):
        raise InvalidInputError(f"days must be {x.shape[1]} strictly increasing whole numbers, one per time step.")
    if not 0 < damping_factor < float("inf"):
        raise InvalidInputError(f"damping_factor {damping_factor} is not allowed; give a number above 0.")


def _sweep(x: Tensor, w: Tensor, out: Tensor, couplings: Sequence[float]) -> None:
    """Solve one cache block `(band, time, pixel)` in place in `out`.

    Forwards p_t = w_t + g p_{t-1} and j_t = w_t s_t + g j_{t-1} with g = k / (k + p_{t-1}); backwards
    x_t = (j_t + k x_{t+1}) / (p_t + k). At a pixel never clear p is 0 at the end and 0 * inf marks it NaN.
    """
    precision = [w[0]]
    nothing = x.new_zeros(())
    torch.where(w[0] > 0, x[:, 0], nothing, out=out[:, 0]).mul_(w[0])
    for t, k in enumerate(couplings, start=1):
        gain = k / (k + precision[-1])
        precision.append(torch.addcmul(w[t], gain, precision[-1]))
        torch.where(w[t] > 0, x[:, t], nothing, out=out[:, t])
        out[:, t].mul_(w[t]).addcmul_(gain, out[:, t - 1])
    out[:, -1].mul_(precision[-1].reciprocal())
    for t in range(len(couplings) - 1, -1, -1):
        out[:, t].add_(out[:, t + 1], alpha=couplings[t]).mul_((precision[t] + couplings[t]).reciprocal_())
