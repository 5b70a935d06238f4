"""The guided method: what a date's clear pixels deviate from the prediction says what its cloudy pixels deviate.

Three passes over one cell. Each solves the damped problem exactly in two-filter form, takes the leave-one-out residual
r = s - loo on the clear pixels of each date, and regresses it (ridge, all bands at once) on the predicted spectrum and
on how far the pixel's mean is from it; pixels and dates are then weighted by their noise for the next pass. The last
pass adds a multi-scale local mean of what remains. No illuminance is divided out.

What is of the whole cell (coefficients, scales, weights of the dates) is learnt first, from all pixels or, where a cell
is large, from every so many along both axes. After that a pixel depends on those at most 32 pixels away, so that a cell
is made strip by strip, in the memory of a strip, and its bits do not depend on the strips.

Torch tensors in and out, no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_states import middle, standardised
from spaceeye_stac.methods.solver import cached_parts

GUIDED_ALPHA = 10.0
RIDGE, ROBUST, PASSES = 10.0, 2.0, 3
DATE_POWER, DATE_QUANTILE = 1.5, 0.25
MIN_CLEAR, FEW_CLEAR_WEIGHT = 0.02, 0.3
EPSILON = 1e-6
DETERMINED = 1e-4
SAMPLE_PIXELS = 2000
FEWEST_SEEN = 10


@dataclass(frozen=True)
class _Round:
    """What one pass says of the weights of the next: see `_weights`."""

    fit: Tensor
    scale: Tensor
    typical: float
    date_weights: Tensor


@dataclass(frozen=True)
class GuidedFit:
    """What is of the whole cell: `mean` and `deviation` `(band,)`, and the coefficients `(time, feature, band)`.

    Of the pixels it was learnt from, flattened: `residual` s - loo and `remaining` s - loo - transfer `(band, time,
    pixel)`, `information` and `seen` `(time, pixel)`.
    """

    couplings: tuple[float, ...]
    mean: Tensor
    deviation: Tensor
    rounds: tuple[_Round, ...]
    fit: Tensor
    residual: Tensor
    remaining: Tensor
    information: Tensor
    seen: Tensor


@dataclass(frozen=True)
class _Sample:
    """Pixels `(band, time, pixel)` that are learnt from, 0 where not clear; each stands for `share` of the cell's."""

    values: Tensor
    clear: Tensor
    seen: Tensor
    parts: list[slice]
    share: float


@dataclass(frozen=True)
class _Basis:
    """What every pass needs of the whole cell."""

    couplings: tuple[float, ...]
    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Predicted:
    """Leave-one-out state of one pass: `loo` and `extra` `(band, time, pixel)`, Q and `trust` `(time, pixel)`."""

    loo: Tensor
    extra: Tensor
    information: Tensor
    determined: Tensor
    trust: Tensor

    def at(self, part: slice) -> "Predicted":
        """The same for some of the pixels."""
        return Predicted(*(getattr(self, field.name)[..., part] for field in fields(self)))


def learn_guided(values: Tensor, clear: Tensor, days: Sequence[int], *, share: float = 1.0) -> GuidedFit:
    """Learn what is of the whole cell from `values` and `clear` of some of its pixels, as `reconstruct` takes them.

    Each of them stands for `share` pixels of the cell.
    """
    sample, basis = _sample(values, clear, share), _basis(values, clear, days)
    weights, rounds = sample.seen, list[_Round]()
    # the passes share their memory: to have it anew from the system takes as long as to fill it
    room = torch.empty_like(sample.values), torch.empty_like(sample.values)
    for _ in range(PASSES - 1):
        predicted, fit = _pass(sample, weights, basis, room)
        if int((sample.clear & predicted.determined).sum()) < FEWEST_SEEN:
            break
        weights, found = _next_weights(sample, predicted, fit)
        rounds.append(found)
    predicted, fit = _pass(sample, weights, basis, room)
    residual = sample.values - predicted.loo
    return GuidedFit(
        basis.couplings,
        basis.mean,
        basis.deviation,
        tuple(rounds),
        fit,
        residual,
        residual - date_transfer(predicted, fit),
        predicted.information,
        sample.clear & predicted.determined,
    )


def _sample(values: Tensor, clear: Tensor, share: float) -> _Sample:
    bands, dates, height, width = values.shape
    flat = clear.reshape(dates, -1)
    x = torch.where(flat, values.reshape(bands, dates, -1), 0.0)
    return _Sample(x, flat, flat.float(), cached_parts(height, width), share)


def _basis(values: Tensor, clear: Tensor, days: Sequence[int]) -> _Basis:
    """Mean and deviation of each band over all clear looks, band by band in float64."""
    count = max(int(clear.sum()), 1)
    mean, square = torch.empty(len(values), dtype=torch.float64), torch.empty(len(values), dtype=torch.float64)
    for n, band in enumerate(values):
        exact = torch.where(clear, band, 0.0).double()
        mean[n], square[n] = exact.sum() / count, exact.square_().sum() / count
    mean = mean.float()
    deviation = (square - mean.double() ** 2).clamp(min=0).sqrt().float() + 1e-4
    return _Basis(tuple(GUIDED_ALPHA / (after - before) for before, after in pairwise(days)), mean, deviation)


def _pass(sample: _Sample, weights: Tensor, basis: _Basis, room: tuple[Tensor, Tensor]) -> tuple[Predicted, Tensor]:
    """Leave-one-out prediction with these weights, and the ridge coefficients `(time, feature, band)` on it.

    `room` is for `loo` and `extra` of the prediction.
    """
    bands, dates = sample.values.shape[:2]
    loo, extra = room
    information, trust = torch.empty_like(weights), torch.empty_like(weights)
    features = 1 + 2 * bands
    normal = torch.zeros(dates, features, features, dtype=torch.float64)
    right = torch.zeros(dates, features, bands, dtype=torch.float64)
    for part in sample.parts:
        x = sample.values[..., part]
        one = leave_one_out(x, weights[:, part], basis)
        loo[..., part], extra[..., part], information[:, part], trust[:, part] = (
            one.loo,
            one.extra,
            one.information,
            one.trust,
        )
        use = sample.seen[:, part] * one.determined * one.trust
        f = standardised(one.loo, one.extra, basis.mean, basis.deviation)
        weighted = f * use[:, None]
        normal += torch.bmm(weighted, f.transpose(1, 2))
        right += torch.bmm(weighted, (x - one.loo).permute(1, 2, 0))
    predicted = Predicted(loo, extra, information, information > DETERMINED, trust)
    ridge = RIDGE / sample.share * torch.eye(features, dtype=torch.float64)
    return predicted, _unscaled(torch.linalg.solve(normal + ridge, right), basis).float()


def leave_one_out(x: Tensor, w: Tensor, basis: _Basis | GuidedFit) -> Predicted:
    """Two-filter form on some pixels: what the dates before and after say of each date, sums of positives only."""
    j = x * w
    dates = range(len(w))
    precision, state = _swept(j, w, basis.couplings, dates)
    back_precision, back_state = _swept(j, w, basis.couplings[::-1], dates[::-1])
    q = precision.add_(back_precision)
    loo = state.add_(back_state).div_(q.clamp(min=EPSILON))
    determined = q > DETERMINED
    others = w.sum(0) - w
    some = others > 0.02  # noqa: PLR2004 - a fiftieth of one look
    mean = (j.sum(1, keepdim=True) - j).div_(others.clamp(min=1e-3))
    if not bool(determined.all()):
        loo = torch.where(determined, loo, torch.where(some, mean, basis.mean[:, None, None]))
    extra = mean.sub_(loo).mul_(some)
    q = torch.where(determined, q, q.clamp(min=EPSILON))
    return Predicted(loo, extra, q, determined, q / (1 + q))


def _swept(j: Tensor, w: Tensor, couplings: Sequence[float], dates: Sequence[int]) -> tuple[Tensor, Tensor]:
    """One filter: information and weighted state that reach each date from those before it in `dates`."""
    precision, state = torch.empty_like(w), torch.empty_like(j)
    precision[dates[0]], state[:, dates[0]] = 0, 0
    for (before, date), k in zip(pairwise(dates), couplings, strict=True):
        total = w[before] + precision[before] + EPSILON
        gain = k / (k + total)
        torch.mul(gain, total, out=precision[date])
        torch.add(j[:, before], state[:, before], out=state[:, date]).mul_(gain)
    return precision, state


def _unscaled(fit: Tensor, basis: _Basis) -> Tensor:
    """Coefficients for the plain `[1, loo, extra]`, so that they apply without making the features again."""
    bands = len(basis.mean)
    scale = basis.deviation.double()
    out = fit.clone()
    out[:, 1:] /= torch.cat([scale, scale])[:, None]
    out[:, 0] -= torch.einsum("tfb,f->tb", out[:, 1 : 1 + bands], basis.mean.double())
    return out


def date_transfer(predicted: Predicted, fit: Tensor) -> Tensor:
    """Regression on every pixel `(band, time, pixel)`; a date without a clear pixel has coefficients 0."""
    loo, extra = predicted.loo, predicted.extra
    bands = len(loo)
    out = torch.empty(loo.shape)
    for t, b in enumerate(fit):
        out[:, t] = torch.addmm(b[0][:, None], b[1 : 1 + bands].T, loo[:, t])
        out[:, t].addmm_(b[1 + bands :].T, extra[:, t])
    return out


def _next_weights(sample: _Sample, predicted: Predicted, fit: Tensor) -> tuple[Tensor, _Round]:
    """Weights of the sample for the next pass, and what the other pixels need for theirs."""
    seen = sample.clear & predicted.determined
    scale, typical = _scales(sample, predicted, fit, seen)
    found = _Round(fit, scale, typical, torch.ones(len(seen)))
    pixel = torch.empty_like(sample.seen)
    noise = torch.zeros(len(seen), dtype=torch.float64)
    counted = torch.zeros(len(seen), dtype=torch.float64)
    for part in sample.parts:
        one = predicted.at(part)
        w, r = pixel_weights(sample.values[..., part], sample.seen[:, part], one, found)
        pixel[:, part] = w
        noise += (r.square_().mean(0) * (one.trust * w * seen[:, part])).sum(1)
        counted += (w * one.determined).sum(1)
    dates = _date_weights(sample, noise / counted.clamp(min=1e-3))
    return pixel * dates[:, None], _Round(fit, scale, typical, dates)


def pixel_weights(x: Tensor, seen: Tensor, one: Predicted, found: _Round) -> tuple[Tensor, Tensor]:
    """Robust weights `(time, pixel)` of some pixels, and their residuals `(band, time, pixel)` over the scale."""
    r = (x - one.loo).div_(found.scale)
    e = date_transfer(one, found.fit).div_(found.scale).neg_().add_(r)
    z2 = e.square_().mean(0).mul_(one.trust).mul_(seen * one.determined).div_(found.typical)
    return seen * (ROBUST / z2.sqrt_().clamp_(min=1e-6)).clamp_(max=1), r


def _scales(sample: _Sample, predicted: Predicted, fit: Tensor, seen: Tensor) -> tuple[Tensor, float]:
    """Residual scale per band `(band, 1, 1)`, and the median squared deviation, from a sample of the pixels."""
    step = max(1, seen.shape[1] // SAMPLE_PIXELS)
    if int(seen[:, ::step].sum()) < FEWEST_SEEN:
        step = 1
    part = slice(None, None, step)
    e = sample.values[..., part] - predicted.loo[..., part] - date_transfer(predicted.at(part), fit)
    picked = e[:, seen[:, part]]
    scale = middle(picked.abs()) * 1.48 + 1e-4
    z2 = ((picked / scale[:, None]) ** 2).mean(0) * predicted.trust[:, part][seen[:, part]]
    return scale[:, None, None], max(float(middle(z2[None])[0]), 1e-9)


def _date_weights(sample: _Sample, noise: Tensor) -> Tensor:
    enough = sample.seen.mean(1) > MIN_CLEAR
    quiet = noise[enough].quantile(DATE_QUANTILE) if bool(enough.any()) else torch.ones(())
    by_noise = (quiet / noise.clamp(min=1e-9)).clamp(max=1) ** DATE_POWER
    return torch.where(enough, by_noise.clamp(min=1e-3), FEW_CLEAR_WEIGHT).float()
