"""What the other dates say of each date of a window: leave-one-out states, and how far each look is to be trusted.

The damped problem is solved exactly in two-filter form, every date left out at its own place. A date is weighted by its
noise, learnt in rounds on a sample of the cell; a pixel by how far it is from what its date and the other dates say, in
one round that every pixel makes for itself. The state is a blend of several dampings, weighted by their errors on the
window's other dates.

Torch tensors in and out, no I/O. Source: design of this package, measured on real Sentinel-2 stacks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

DAMPINGS = (0.1, 1.0, 10.0)
SMOOTHEST = len(DAMPINGS) - 1  # the damping of the rounds, and of the trust in a state
RIDGE, ROBUST, ROUNDS = 10.0, 2.0, 3
DATE_POWER, DATE_QUANTILE = 1.5, 0.25
FEW_CLEAR, FEW_CLEAR_WEIGHT, LEAST_WEIGHT = 0.02, 0.3, 1e-3
EPSILON, DETERMINED = 1e-6, 1e-4
REACHED = 1e-5  # of information from one side, below which there is no look
SAMPLE_PIXELS, FEWEST_SEEN = 2000, 10
BLEND_PIXELS, BLEND_CLEAR, BLEND_FEWEST, BLEND_INFORMATION = 1000, 0.1, 20, 0.05
BLEND_PULL, BLEND_STEPS = 0.1, 300


@dataclass(frozen=True)
class Basis:
    """What every solve needs of the whole cell: couplings of each damping, `mean` and `deviation` `(band,)`."""

    couplings: tuple[tuple[float, ...], ...]
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, values: Tensor, clear: Tensor, days: Sequence[int]) -> "Basis":
        """Mean and deviation of each band over all clear looks, band by band in float64."""
        count = max(int(clear.sum()), 1)
        mean, square = torch.empty(len(values), dtype=torch.float64), torch.empty(len(values), dtype=torch.float64)
        for n, band in enumerate(values):
            exact = torch.where(clear, band, 0.0).double()
            mean[n], square[n] = exact.sum() / count, exact.square_().sum() / count
        deviation = (square - mean**2).clamp(min=0).sqrt().float() + 1e-4
        gaps = [after - before for before, after in pairwise(days)]
        return cls(tuple(tuple(alpha / gap for gap in gaps) for alpha in DAMPINGS), mean.float(), deviation)


@dataclass(frozen=True)
class Weighting:
    """How looks are weighted: `dates` `(time,)`, and for pixels the ridge `fit` `(time, feature, band)` of each date.

    `scale` `(band, 1, 1)` and `typical`: what a residual less that fit is like.
    """

    dates: Tensor
    fit: Tensor
    scale: Tensor
    typical: float


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out state of the smoothest damping: `loo` and `extra` `(band, time, pixel)`.

    `extra` is how far the mean of the pixel's other looks is from it. Q, `trust` Q / (1 + Q) and `determined` (other
    dates say something) are `(time, pixel)`.
    """

    loo: Tensor
    extra: Tensor
    information: Tensor
    determined: Tensor
    trust: Tensor


@dataclass(frozen=True)
class Expected:
    """What the other dates say, `(band, time, pixel)` each: `state`, and what else is known, less that state.

    `extra`: the mean of the pixel's other looks; `before` and `after`: nearly the last look before the date, and the
    first after it; zero where there is none. `smooth`: the minimiser of the smoothest damping, the date's own look
    included. Q and `weights` `(time, pixel)` say how far to trust it.
    """

    state: Tensor
    extra: Tensor
    before: Tensor
    after: Tensor
    smooth: Tensor
    information: Tensor
    determined: Tensor
    trust: Tensor
    weights: Tensor


@dataclass(frozen=True)
class _OneSided:
    """Information `(time, pixel)` and weighted state `(band, time, pixel)` that reach each date from one side."""

    information: Tensor
    state: Tensor


def _swept(j: Tensor, w: Tensor, couplings: Sequence[float], dates: Sequence[int]) -> _OneSided:
    """One filter along `dates`, of sums of positives only."""
    information, state = torch.empty_like(w), torch.empty_like(j)
    information[dates[0]], state[:, dates[0]] = 0, 0
    for (before, date), k in zip(pairwise(dates), couplings, strict=True):
        total = w[before] + information[before] + EPSILON
        gain = k / (k + total)
        torch.mul(gain, total, out=information[date])
        torch.add(j[:, before], state[:, before], out=state[:, date]).mul_(gain)
    return _OneSided(information, state)


def _both_sides(j: Tensor, w: Tensor, couplings: Sequence[float]) -> tuple[_OneSided, _OneSided]:
    dates = range(len(w))
    return _swept(j, w, couplings, dates), _swept(j, w, couplings[::-1], dates[::-1])


def _others(j: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the pixel's other looks `(band, time, pixel)`, and where there is one."""
    others = w.sum(0) - w
    rest = (j.sum(1, keepdim=True) - j).div_(others.clamp(min=1e-3))
    return rest, others > 0.02  # noqa: PLR2004 - a fiftieth of one look


def _known(loo: Tensor, determined: Tensor, otherwise: Tensor) -> Tensor:
    return loo if bool(determined.all()) else torch.where(determined, loo, otherwise)


def leave_one_out(x: Tensor, w: Tensor, basis: Basis) -> LeftOut:
    """What the other dates say of each date, with the smoothest damping; `x` is 0 where `w` is."""
    j = x * w
    before, after = _both_sides(j, w, basis.couplings[SMOOTHEST])
    q = before.information.add_(after.information)
    determined = q > DETERMINED
    rest, some = _others(j, w)
    otherwise = torch.where(some, rest, basis.mean[:, None, None])
    loo = _known(before.state.add_(after.state).div_(q.clamp(min=EPSILON)), determined, otherwise)
    q = q.clamp(min=EPSILON)
    return LeftOut(loo, rest.sub_(loo).mul_(some), q, determined, q / (1 + q))


def features(one: LeftOut, basis: Basis) -> Tensor:
    """`(time, feature, pixel)`: one, the predicted spectrum and its distance from the mean, standardised."""
    bands, dates, count = one.loo.shape
    f = torch.empty(dates, 1 + 2 * bands, count)
    f[:, 0] = 1
    inverse = basis.deviation.reciprocal()[:, None]
    torch.sub(one.loo.transpose(0, 1), basis.mean[:, None], out=f[:, 1 : 1 + bands]).mul_(inverse)
    torch.mul(one.extra.transpose(0, 1), inverse, out=f[:, 1 + bands :])
    return f


def pixel_weights(x: Tensor, clear: Tensor, one: LeftOut, found: Weighting) -> Tensor:
    """Robust weights `(time, pixel)` of looks, without those of their dates."""
    e = (x - one.loo).div_(found.scale)
    bands = len(x)
    for t, b in enumerate(found.fit):
        e[:, t].sub_(b[0][:, None]).addmm_(b[1 : 1 + bands].T, one.loo[:, t], alpha=-1)
        e[:, t].addmm_(b[1 + bands :].T, one.extra[:, t], alpha=-1)
    z2 = e.square_().mean(0).mul_(one.trust).mul_(clear * one.determined).div_(found.typical)
    return clear * (ROBUST / z2.sqrt_().clamp_(min=1e-6)).clamp_(max=1)


def looks_weights(x: Tensor, clear: Tensor, basis: Basis, found: Weighting) -> Tensor:
    """Weights `(time, pixel)` of looks: of their date, and of how they agree with what is expected of them."""
    dates = found.dates[:, None]
    return pixel_weights(x, clear, leave_one_out(x, clear * dates, basis), found) * dates


def expected(x: Tensor, w: Tensor, basis: Basis, blend: Tensor) -> Expected:
    """Blend `(time, damping)` of the leave-one-out states of all dampings, and what else the other dates say."""
    j = x * w
    rest, some = _others(j, w)
    otherwise = torch.where(some, rest, basis.mean[:, None, None])
    state = torch.zeros_like(x)
    for n, couplings in enumerate(basis.couplings):
        before, after = _both_sides(j, w, couplings)
        q = before.information + after.information
        loo = _known((before.state + after.state).div_(q.clamp(min=EPSILON)), q > DETERMINED, otherwise)
        state.addcmul_(loo, blend[:, n, None])
        if n == 0:
            sides = before, after
    determined, q = q > DETERMINED, q.clamp(min=EPSILON)
    total = q * determined + w
    smooth = loo.mul_(q * determined).add_(j).div_(total.clamp(min=EPSILON))
    smooth = _known(smooth, total > DETERMINED, basis.mean[:, None, None])
    earlier, later = (_less(side, state) for side in sides)
    return Expected(state, rest.sub_(state).mul_(some), earlier, later, smooth, q, determined, q / (1 + q), w)


def _less(side: _OneSided, state: Tensor) -> Tensor:
    """State from one side less the blend, 0 where that side holds no look."""
    return side.state.div_(side.information.clamp(min=EPSILON)).sub_(state).mul_(side.information > REACHED)


def learn_weighting(x: Tensor, clear: Tensor, basis: Basis, share: float) -> Weighting:
    """Learn from a sample `(band, time, pixel)` of which each pixel stands for `share` of the cell.

    `x` is 0 where not clear. Rounds of prediction, ridge of what a date deviates by, and weights of pixels and dates;
    the last round starts from the weights of the dates alone, as every pixel of the cell does.
    """
    seen = clear.float()
    dates, w = torch.ones(len(clear)), seen
    for last in (False,) * ROUNDS + (True,):
        one = leave_one_out(x, seen * dates[:, None] if last else w, basis)
        found = _ridge(x, seen, one, basis, share)
        looked = clear & one.determined
        scale, typical = _typical(x, one, found, looked)
        weighting = Weighting(dates, found, scale, typical)
        if int(looked.sum()) < FEWEST_SEEN:
            break
        if not last:
            pixels = pixel_weights(x, seen, one, weighting)
            dates = _date_weights(x, seen, one, pixels, scale)
            w = pixels * dates[:, None]
    return weighting


def _ridge(x: Tensor, seen: Tensor, one: LeftOut, basis: Basis, share: float) -> Tensor:
    """Coefficients `(time, feature, band)` for the plain `[1, loo, extra]`, over the scale of nothing yet."""
    bands, (dates, _) = len(x), seen.shape
    f = features(one, basis)
    weighted = f * (seen * one.determined * one.trust)[:, None]
    normal = torch.bmm(weighted, f.transpose(1, 2)).double()
    right = torch.bmm(weighted, (x - one.loo).permute(1, 2, 0)).double()
    fit = torch.linalg.solve(normal + RIDGE / share * torch.eye(f.shape[1], dtype=torch.float64), right)
    return unscaled(fit, basis, bands).float().reshape(dates, -1, bands)


def unscaled(fit: Tensor, basis: Basis, bands: int) -> Tensor:
    """Coefficients for plain images instead of standardised ones, `(time, 1 + groups of bands, output)`."""
    groups = (fit.shape[1] - 1) // bands
    out = fit.clone()
    out[:, 1:] /= basis.deviation.double().repeat(groups)[:, None]
    out[:, 0] -= torch.einsum("tfo,f->to", out[:, 1 : 1 + bands], basis.mean.double())
    return out


def _typical(x: Tensor, one: LeftOut, fit: Tensor, looked: Tensor) -> tuple[Tensor, float]:
    """Residual scale per band `(band, 1, 1)`, and the median squared deviation, from a sample of the pixels."""
    step = max(1, looked.shape[1] // SAMPLE_PIXELS)
    if int(looked[:, ::step].sum()) < FEWEST_SEEN:
        step = 1
    part, bands = (..., slice(None, None, step)), len(x)
    loo, extra, ok = one.loo[part], one.extra[part], looked[part]
    moved = fit[:, 0].T[..., None] + torch.einsum("tib,itp->btp", fit[:, 1 : 1 + bands], loo)
    e = x[part] - loo - moved - torch.einsum("tib,itp->btp", fit[:, 1 + bands :], extra)
    picked = e[:, ok]
    if not picked.numel():
        return torch.ones(bands, 1, 1), 1.0
    scale = middle(picked.abs()) * 1.48 + 1e-4
    z2 = ((picked / scale[:, None]) ** 2).mean(0) * one.trust[part][ok]
    return scale[:, None, None], max(float(middle(z2[None])[0]), 1e-9)


def middle(values: Tensor) -> Tensor:
    """Median of each row, the mean of the middle two where there are two."""
    return values.quantile(0.5, dim=1) if values.shape[1] < 1 << 24 else values.median(dim=1).values


def _date_weights(x: Tensor, seen: Tensor, one: LeftOut, pixels: Tensor, scale: Tensor) -> Tensor:
    r = (x - one.loo).div_(scale)
    noise = (r.square_().mean(0) * (one.trust * pixels * one.determined)).sum(1)
    noise = noise / (pixels * one.determined).sum(1).clamp(min=1e-3)
    enough = seen.mean(1) > FEW_CLEAR
    quiet = noise[enough].quantile(DATE_QUANTILE) if bool(enough.any()) else torch.ones(())
    by_noise = (quiet / noise.clamp(min=1e-9)).clamp(max=1) ** DATE_POWER
    return torch.where(enough, by_noise.clamp(min=LEAST_WEIGHT), FEW_CLEAR_WEIGHT).float()


def learn_blend(x: Tensor, clear: Tensor, w: Tensor, basis: Basis) -> Tensor:
    """Weights `(time, damping)` of the dampings on each date: by their leave-one-out errors on the other dates."""
    step = max(1, clear.shape[1] // BLEND_PIXELS)
    share, x, clear, w = clear.float().mean(1), x[..., ::step], clear[:, ::step], w[:, ::step]
    alone = torch.eye(len(DAMPINGS))
    each = [expected(x, w, basis, one.expand(len(w), -1)) for one in alone]
    known = clear & (each[SMOOTHEST].information > BLEND_INFORMATION)
    products = torch.zeros(len(w), len(DAMPINGS), len(DAMPINGS), dtype=torch.float64)
    for t, ok in enumerate(known):
        if share[t] > BLEND_CLEAR and int(ok.sum()) >= BLEND_FEWEST:
            e = torch.stack([(x[:, t] - one.state[:, t])[:, ok].flatten() for one in each]).double()
            found = e @ e.T / e.shape[1]
            products[t] = found / (found.trace() / len(e) + 1e-6)
    others = products.sum(0) - products
    blend = _simplex(others)
    return torch.where(others.flatten(1).any(1)[:, None], blend, alone[SMOOTHEST])


def _simplex(q: Tensor) -> Tensor:
    """Weights >= 0 of sum 1 that minimise w'qw / mean(diag q) + pull |w - uniform|^2, by exponentiated gradients."""
    n = q.shape[1]
    q = q / (q.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)[:, None, None])
    w = torch.full((len(q), n), 1 / n, dtype=torch.float64)
    for _ in range(BLEND_STEPS):
        slope = 2 * (q @ w[..., None])[..., 0] + 2 * BLEND_PULL * (w - 1 / n)
        w = w * torch.exp(-(slope - slope.min(1, keepdim=True).values) / (1 + BLEND_PULL))
        w = w / w.sum(1, keepdim=True)
    return w.float()
