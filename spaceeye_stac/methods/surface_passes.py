"""One pass of the surface method on some pixels: solve, and what the looks say against it.

Every quantity is in units of the noise of one look (u = reflectance / noise), bands in the order of their dampings.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.box_sums import box_sums
from spaceeye_stac.methods.suspects import pixel_weights
from spaceeye_stac.methods.two_filter import DETERMINED, EPSILON, Dampings, Sides, two_sided

JUMP_KNOWN, JUMP_BOX, JUMP_TIMES, JUMP_POWER = 0.3, 3, 3.0, 2.0
BETWEEN_DAMPING, BETWEEN_KNOWN = 1.0, 0.02


@dataclass(frozen=True)
class Looks:
    """Looks of some pixels: `values` `(band, time, pixel)` in noise units, 0 where not `clear` `(time, pixel)`.

    `shape`: of the pixels as images `(patch, y, x)`, which touch nothing outside.
    """

    values: Tensor
    clear: Tensor
    days: tuple[int, ...]
    shape: tuple[int, int, int]

    def images(self, flat: Tensor) -> Tensor:
        """`(..., pixel)` as `(..., patch, y, x)`."""
        return flat.view(*flat.shape[:-1], *self.shape)


@dataclass(frozen=True)
class Solved:
    """Some looks solved with weights `(time, pixel)`: `left_out` `(band, time, pixel)` and Q `(group, time, pixel)`.

    `typical` `(time, pixel)`: Q as the mean over the bands; `determined`: the other dates say something in all bands.
    """

    weights: Tensor
    weighted: Tensor
    sides: Sides
    information: Tensor
    left_out: Tensor
    typical: Tensor
    determined: Tensor


def solved(looks: Looks, weights: Tensor, loose: Tensor | None, dampings: Dampings, mean: Tensor) -> Solved:
    """Solve some looks with these weights and loosened couplings."""
    weighted = looks.values * weights
    sides = two_sided(weighted, weights, looks.days, dampings, loose)
    information = sides.information
    counts = torch.tensor(dampings.counts, dtype=torch.float32)
    typical = torch.tensordot(counts / counts.sum(), information, 1)
    determined = (information > DETERMINED).all(0)
    return Solved(weights, weighted, sides, information, sides.left_out(information, mean), typical, determined)


@dataclass(frozen=True)
class Weighed:
    """What a round makes of looks: `pixel` weights and `score` `(time, pixel)`, and which looks are `lasting`.

    `loose` `(time - 1, pixel)`: factors of the gaps; None before the first round.
    """

    pixel: Tensor
    loose: Tensor | None
    score: Tensor
    lasting: Tensor

    @classmethod
    def first(cls, clear: Tensor, loose: Tensor | None = None) -> "Weighed":
        """Before a look is judged."""
        return cls(clear.float(), loose, torch.zeros(clear.shape), torch.zeros_like(clear))

    def judged(self, score: Tensor, lasting: Tensor, loose: Tensor | None, looks: tuple[Tensor, Tensor]) -> "Weighed":
        """After a round that gave these scores.

        What has been found to be lasting stays so, and where the others say nothing of a look any more its last score
        stands: a jump on both sides of a look may be the look itself. `looks`: which are clear and `determined`.
        """
        clear, determined = looks
        lasting = lasting | self.lasting
        score = torch.where(determined, score, self.score).masked_fill_(lasting, 0)
        return Weighed(pixel_weights(score, clear), loose, score, lasting)


def gap_jumps(one: Solved, looks: Looks) -> tuple[Tensor, Tensor]:
    """How far the states on both sides of each gap differ, squared and standardised, and whether both are known.

    Both `(time - 1, pixel)`; the first the mean over bands of (A - B)^2 / (1/p_A + 1/p_B + gap / alpha).
    """
    known_before = one.sides.before_information[:, :-1] + one.weights[:-1]
    known_after = one.sides.after_information[:, 1:] + one.weights[1:]
    known = ((known_before > JUMP_KNOWN) & (known_after > JUMP_KNOWN)).all(0)
    inverse_before, inverse_after = (
        known_before.clamp_(min=1e-3).reciprocal_(),
        known_after.clamp_(min=1e-3).reciprocal_(),
    )
    gaps = torch.tensor(looks.days, dtype=torch.float32).diff()[:, None]
    out = torch.zeros_like(one.weights[1:])
    for group, bands in enumerate(one.sides.dampings.bands):
        step = (one.sides.before[bands, :-1] + one.weighted[bands, :-1]).mul_(inverse_before[group])
        step -= (one.sides.after[bands, 1:] + one.weighted[bands, 1:]).mul_(inverse_after[group])
        variance = inverse_before[group] + inverse_after[group] + gaps / one.sides.dampings.factors[group]
        out += step.square_().sum(0).div_(variance)
    return out.div_(len(looks.values)), known


def smoothed_jumps(jumps: Tensor, known: Tensor) -> Tensor:
    """Mean of the known jumps `(gap, patch, y, x)` of a box of 3 pixels."""
    (total,) = box_sums(jumps * known, [JUMP_BOX])
    (count,) = box_sums(known.float(), [JUMP_BOX])
    return total.div_(count.clamp_(min=1))


def loosened(jumps: Tensor, known: Tensor, median: float) -> Tensor:
    """Factor of the coupling across each gap, from `smoothed_jumps` and their median over the cell."""
    factor = (JUMP_TIMES * max(median, 0.3) / jumps.clamp(min=1e-6)).clamp_(max=1).pow_(JUMP_POWER)
    return torch.where(known, factor, 1.0)


def contradiction(one: Solved, looks: Looks, loose: Tensor | None) -> Tensor:
    """Distance of each look from the nearest point between the states before and after it `(band, time, pixel)`.

    From the leave-one-out state where one of them is unknown. What lies between the two is a change that stays.
    """
    dampings = one.sides.dampings.at_most(BETWEEN_DAMPING)
    sides = two_sided(one.weighted, one.weights, looks.days, dampings, loose)
    known = (sides.before_information > BETWEEN_KNOWN) & (sides.after_information > BETWEEN_KNOWN)
    before, after = sides.before, sides.after
    for state, information in ((before, sides.before_information), (after, sides.after_information)):
        dampings.multiply(state, information.clamp(min=EPSILON).reciprocal_())
    after -= before
    distance = looks.values - before
    share = (distance * after).sum(0).div_(after.square().sum(0).clamp_(min=1e-6)).clamp_(0, 1)
    distance.addcmul_(after, share, value=-1)
    return torch.where(known.all(0), distance, looks.values - one.left_out)
