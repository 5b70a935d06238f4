"""Looks that contradict what is around them in time as haze, cloud or shadow would, coherently in space.

Three matched filters g on the distance e from the states before and after a look: haze adds its spectrum H, cloud draws
towards its own (C - L, L the predicted reflectance), shadow takes away (-L (1 - H / 4)). With M the scatter of e,

    num = g'M^-1 e,  den = g'M^-1 g,  z = sum num / sqrt(sum den) over boxes of 1, 3, 7 and 15 pixels,

after the direction of bare ground has been projected out, in which fields change by mowing and harvest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from spaceeye_stac.methods.box_sums import box_sums

BAND_NAMES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
HAZE = dict(zip(BAND_NAMES, (1.05, 1.0, 0.78, 0.62, 0.55, 0.45, 0.40, 0.35, 0.32, 0.3, 0.12, 0.07), strict=True))
CLOUD = dict(zip(BAND_NAMES, (0.62, 0.62, 0.60, 0.60, 0.62, 0.64, 0.66, 0.66, 0.66, 0.6, 0.45, 0.35), strict=True))
FILTERS, SHADOW = 3, 2
BOXES = (1, 3, 7, 15)
LEAST_EFFECT = 0.010
EVENT_SHARE = 0.3
PIXELS_AT_ONCE = 32_768  # of small images some dates at once, for each step costs some time however small it is
SCORE_LOW, SCORE_HIGH, LEAST_WEIGHT = 2.0, 4.0, 0.003
DOUBTED_SCORE = SCORE_LOW  # above it a look has less than its full weight
EXPLAINED_LOW, EXPLAINED_HIGH = 0.5, 0.75
ALIKE = 0.05


@dataclass(frozen=True)
class Spectra:
    """What the filters need of a cell: `scale` `(band,)` from noise units to reflectance, `whitening` `(band, band)`.

    `haze`, `cloud` and `bare` `(band,)` are in noise units, `bare` None where the cell has no bare ground.
    """

    scale: Tensor
    whitening: Tensor
    haze: Tensor
    cloud: Tensor
    bare: Tensor | None

    @classmethod
    def of(cls, bands: Sequence[str], scale: Tensor, scatter: Tensor, bare: Tensor | None) -> "Spectra":
        """Of bands by their names; `scatter` M, float64."""
        haze, cloud = (torch.tensor([table[band] for band in bands]) / scale for table in (HAZE, CLOUD))
        lower = torch.linalg.cholesky(scatter)
        whitening = torch.linalg.solve_triangular(lower, torch.eye(len(bands), dtype=torch.float64), upper=False)
        return cls(scale, whitening.float(), haze, cloud, bare)


@dataclass(frozen=True)
class Evidence:
    """For and against each filter `(filter, time, pixel)`: `num`, `den` and `effect`, of a unit in reflectance.

    `explained` and `total` `(time, pixel)`: what shadow explains of the distance's square, and all of it.
    """

    num: Tensor
    den: Tensor
    effect: Tensor
    explained: Tensor
    total: Tensor

    @classmethod
    def empty(cls, dates: int, pixels: int) -> "Evidence":
        """Room for so many pixels."""
        num, den, effect = torch.empty(3, FILTERS, dates, pixels)
        return cls(num, den, effect, *torch.empty(2, dates, pixels))

    def put(self, part: slice, found: "Evidence") -> None:
        """Take the evidence of some pixels."""
        for field in fields(self):
            getattr(self, field.name)[..., part] = getattr(found, field.name)

    def on(self, dates: Tensor, shape: tuple[int, int, int]) -> "Evidence":
        """Of some dates, as images `(..., time, patch, y, x)`."""
        return Evidence(*(getattr(self, field.name)[..., dates, :].unflatten(-1, shape) for field in fields(self)))


def trust_of(information: Tensor) -> Tensor:
    """Variance of a look over that of its distance from a state of that information."""
    return (1 + information.clamp(min=0.05).reciprocal()).reciprocal_()


def evidence(distance: Tensor, predicted: Tensor, information: Tensor, seen: Tensor, known: Spectra) -> Evidence:
    """Apply the filters to distances `(band, time, pixel)`, all in noise units, where `seen` `(time, pixel)`."""
    dims = distance.shape
    trust = trust_of(information) * seen
    white = known.whitening
    darkening = 1 - 0.25 * known.haze * known.scale
    constants = [known.haze, known.cloud] + ([] if known.bare is None else [known.bare])
    fixed = white @ torch.stack(constants, dim=1)  # (band, constant)
    e = white @ distance.flatten(1)
    p = white @ predicted.flatten(1)
    d = (white * darkening) @ predicted.flatten(1)
    e_c, p_c, d_c = fixed.T @ e, fixed.T @ p, fixed.T @ d
    own = fixed.T @ fixed
    pe, de, pp, pd, dd = ((a * b).sum(0) for a, b in ((p, e), (d, e), (p, p), (p, d), (d, d)))
    num = torch.stack([e_c[0], e_c[1] - pe, -de])
    den = torch.stack([own[0, 0].expand_as(pp), own[1, 1] - 2 * p_c[1] + pp, dd])
    trust = trust.flatten()
    num *= trust
    den *= trust
    if known.bare is not None:
        bare_e = (e_c[2] - pe) * trust
        bare = (own[2, 2] - 2 * p_c[2] + pp).mul_(trust).add_(1 / EVENT_SHARE**2).reciprocal_()
        cross = torch.stack([own[0, 2] - p_c[0], own[1, 2] - p_c[2] - p_c[1] + pp, pd - d_c[2]])
        cross *= trust
        num -= cross * (bare_e * bare)
        den = torch.maximum(den - cross.square() * bare, 1e-6 * den)
    explained = num[SHADOW].clamp(min=0).square_().div_(den[SHADOW].clamp(min=1e-6))
    total = e.square().sum(0).mul_(trust)
    shaped = (FILTERS, *dims[1:])
    effect = _largest_effects(predicted, known, darkening)
    return Evidence(num.view(shaped), den.view(shaped), effect, explained.view(dims[1:]), total.view(dims[1:]))


def _largest_effects(predicted: Tensor, known: Spectra, darkening: Tensor) -> Tensor:
    """What a unit of each filter changes in the band that it changes most, in reflectance `(filter, time, pixel)`."""
    reflectance = predicted * known.scale[:, None, None]
    cloud = ((known.cloud * known.scale)[:, None, None] - reflectance).abs_().amax(0)
    shadow = (reflectance * darkening[:, None, None]).abs_().amax(0)
    haze = torch.full_like(cloud, float((known.haze * known.scale).max()))
    return torch.stack([haze, cloud, shadow])


def filter_scores(found: Evidence, shape: tuple[int, int, int]) -> Tensor:
    """Scores z of every filter and box `(filter, box, time, patch, y, x)`, not yet normalised."""
    nums, dens = (box_sums(image.unflatten(-1, shape), BOXES) for image in (found.num, found.den))
    return torch.stack([n / d.clamp(min=1e-6).sqrt() for n, d in zip(nums, dens, strict=True)], dim=1)


def suspicion(found: Evidence, seen: Tensor, shape: tuple[int, int, int], norms: Tensor) -> Tensor:
    """Score `(time, patch, y, x)`: the largest over filters and boxes, in standard deviations; 0 where not `seen`.

    `norms` `(filter, box)`: what the scores of this cell scatter by, at least 1.
    """
    score = torch.zeros(len(seen), *shape)
    for dates in seen.any(1).nonzero()[:, 0].split(max(1, PIXELS_AT_ONCE // seen.shape[1])):
        score[dates] = _scores(found.on(dates, shape), norms) * seen[dates].unflatten(-1, shape)
    return score


def _scores(found: Evidence, norms: Tensor) -> Tensor:
    """Score `(time, patch, y, x)` of some dates."""
    score = torch.zeros(found.total.shape)
    boxes = (box_sums(image, BOXES) for image in (found.num, found.den, found.explained, found.total))
    for n, (num, den, explained, total) in enumerate(zip(*boxes, strict=True)):
        floor = den.clamp(min=1e-6)
        z = num / floor.sqrt() / norms[:, n, None, None, None, None]
        z.mul_((num.abs() / floor).mul_(found.effect).div_(LEAST_EFFECT).sub_(0.5).clamp_(0, 1))
        share = explained / total.clamp(min=1e-6)
        z[SHADOW] *= ((share - EXPLAINED_LOW) / (EXPLAINED_HIGH - EXPLAINED_LOW)).clamp_(0, 1)
        torch.maximum(score, z.amax(0), out=score)
    return score


def lasting(score: Tensor, found: Evidence, values: Tensor, clear: Tensor, known: Spectra) -> Tensor:
    """Suspect looks `(time, pixel)` of which the clear look before or after shows the same.

    Snow, sheets and water are as bright or dark as cloud and shadow, but they stay: two such looks differ by little
    against their distance from the others, whose states leave out both. `values` are in noise units.
    """
    stays = torch.zeros_like(clear)
    places = (score > SCORE_LOW).any(0).nonzero()[:, 0]
    if not len(places):
        return stays
    white, seen = (
        (known.whitening @ values[..., places].flatten(1)).view(len(values), -1, len(places)),
        clear[:, places],
    )
    nearest = torch.full(seen.shape, torch.inf)
    for dates in (range(len(seen)), reversed(range(len(seen)))):
        last = torch.full_like(white[:, 0], torch.inf)
        for date in dates:
            nearest[date] = torch.minimum(nearest[date], (white[:, date] - last).square().sum(0))
            last = torch.where(seen[date], white[:, date], last)
    # two looks have twice the variance of one
    stays[:, places] = (score[:, places] > SCORE_LOW) & (0.5 * nearest < ALIKE * found.total[:, places])
    return stays


def pixel_weights(score: Tensor, clear: Tensor) -> Tensor:
    """Weight of each look from its score."""
    kept = ((SCORE_HIGH - score) / (SCORE_HIGH - SCORE_LOW)).clamp(0, 1).square_().clamp_(min=LEAST_WEIGHT)
    return kept * clear
