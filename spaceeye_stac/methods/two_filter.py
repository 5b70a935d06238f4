"""The damped objective solved in two-filter form: what the dates before and after say of each date.

For one band, with weights w_t, values u_t in units of the noise of one look, couplings k_t = alpha / gap_t * loose_t:

    information before  p_t = k / (k + q) * q,  q = w_{t-1} + p_{t-1}
    state before        i_t = k / (k + q) * (w u + i)_{t-1}

and the same from behind. Q_t = before + after is what the other dates say of date t in units of one look,
(i_before + i_after) / Q its leave-one-out state, and (i_before + i_after + w u) / (Q + w) the minimiser. All are sums
of terms that are not negative, so that float32 keeps its relative accuracy. Bands of one damping factor share their
information.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

DETERMINED = 1e-4
EPSILON = 1e-6


@dataclass(frozen=True)
class Dampings:
    """Damping factors `(group,)`, ascending, and how many consecutive bands have each."""

    factors: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def bands(self) -> list[slice]:
        """The bands of each group."""
        stops = [sum(self.counts[: n + 1]) for n in range(len(self.counts))]
        return [slice(stop - count, stop) for stop, count in zip(stops, self.counts, strict=True)]

    def at_most(self, factor: float) -> "Dampings":
        """The same with no damping factor above this one."""
        low = [n for n, own in enumerate(self.factors) if own < factor]
        rest = sum(self.counts) - sum(self.counts[n] for n in low)
        factors, counts = [self.factors[n] for n in low], [self.counts[n] for n in low]
        return Dampings((*factors, factor), (*counts, rest)) if rest else Dampings(tuple(factors), tuple(counts))

    def multiply(self, images: Tensor, by_group: Tensor) -> Tensor:
        """Multiply images `(band, ...)` in place by what their group has, `(group, ...)`."""
        if len(by_group) == len(images):
            return images.mul_(by_group)
        for bands, factor in zip(self.bands, by_group, strict=True):
            images[bands] *= factor
        return images

    def of_bands(self, by_group: Tensor) -> Tensor:
        """Repeat `(group, ...)` for each band."""
        return by_group.repeat_interleave(torch.tensor(self.counts), dim=0)


@dataclass(frozen=True)
class Sides:
    """What the dates before and after each date say of it.

    `before_information` and `after_information` `(group, time, pixel)`; `before` and `after` `(band, time, pixel)`: the
    states times their information.
    """

    dampings: Dampings
    before_information: Tensor
    before: Tensor
    after_information: Tensor
    after: Tensor

    @property
    def information(self) -> Tensor:
        """Q `(group, time, pixel)`."""
        return self.before_information + self.after_information

    def left_out(self, information: Tensor, mean: Tensor) -> Tensor:
        """State of each date by the others `(band, time, pixel)`; `mean` `(band,)` where they say nothing."""
        inverse = information.clamp(min=EPSILON).reciprocal_()
        out = self.dampings.multiply(self.before + self.after, inverse)
        unknown = (information <= DETERMINED).any(0)
        return torch.where(unknown, mean[:, None, None], out) if bool(unknown.any()) else out

    def minimiser(self, weighted: Tensor, weights: Tensor, mean: Tensor) -> Tensor:
        """The state of all dates `(band, time, pixel)`, from `weighted` values w u and weights `(time, pixel)`."""
        total = self.information.add_(weights)
        unknown = (total <= 0).any(0)
        out = self.dampings.multiply((self.before + self.after).add_(weighted), total.reciprocal_())
        return torch.where(unknown, mean[:, None, None], out) if bool(unknown.any()) else out


def two_sided(
    weighted: Tensor, weights: Tensor, days: Sequence[int], dampings: Dampings, loose: Tensor | None = None
) -> Sides:
    """Run both filters.

    Parameters
    ----------
    weighted
        `(band, time, pixel)` float32, w u.
    weights
        `(time, pixel)` float32, 0 where not clear.
    days
        `(time,)` strictly increasing.
    dampings
        Of consecutive bands.
    loose
        `(time - 1, pixel)` in (0, 1], factor of the coupling across each gap; 1 when left out.

    """
    gaps = [after - before for before, after in pairwise(days)]
    forward = _swept(weighted, weights, gaps, dampings, loose)
    back = tuple(reversed(range(len(days))))
    backward = _swept(weighted, weights, gaps, dampings, loose, back)
    return Sides(dampings, *forward, *backward)


def _swept(
    weighted: Tensor,
    weights: Tensor,
    gaps: Sequence[int],
    dampings: Dampings,
    loose: Tensor | None,
    order: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Information and information-weighted state that reach each date from those before it in `order`."""
    dates = range(len(weights)) if order is None else order
    information = weights.new_empty((len(dampings.factors), *weights.shape))
    state = torch.empty_like(weighted)
    information[:, dates[0]] = 0
    state[:, dates[0]] = 0
    factors = torch.tensor(dampings.factors, dtype=torch.float64)[:, None]
    for before, date in pairwise(dates):
        gap = min(before, date)
        coupling = (factors / gaps[gap]).float()
        if loose is not None:
            coupling = coupling * loose[gap]
        known = weights[before] + information[:, before]
        gain = (known + coupling).reciprocal_().mul_(coupling)
        torch.mul(gain, known, out=information[:, date])
        torch.add(weighted[:, before], state[:, before], out=state[:, date])
        dampings.multiply(state[:, date], gain)
    return information, state
