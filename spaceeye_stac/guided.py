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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from spaceeye_stac.solver import cached_parts, cached_strips

ALPHA = 10.0
RIDGE, ROBUST, PASSES = 10.0, 2.0, 3
DATE_POWER, DATE_QUANTILE = 1.5, 0.25
SCALES, LOCAL_PRIOR = (33, 15, 7, 3), 5.0
MIN_CLEAR, FEW_CLEAR_WEIGHT = 0.02, 0.3
SUPPORT_BOX, SUPPORT_PIXELS = 65, 20.0
HALO = SUPPORT_BOX // 2
EPSILON = 1e-6
DETERMINED = 1e-4
SAMPLE_PIXELS = 2000
FEWEST_SEEN = 10
LEARNT_SIDE = 128


@dataclass(frozen=True)
class Guided:
    """A cell, or a strip of one, on its acquisition days; every tensor float32 but the two of bool.

    `values` `(band, time, y, x)` and `clear` `(time, y, x)` as given. `smooth` and `loo` `(band, time, y, x)`: the
    minimiser, and what the other dates say; `date_term`: to be added to `loo` on that date; `transfer`: its regression
    part, not faded. `information` Q and `weights` `(time, y, x)`; `determined` `(time, y, x)` bool: other dates say
    something.
    """

    values: Tensor
    clear: Tensor
    smooth: Tensor
    loo: Tensor
    date_term: Tensor
    transfer: Tensor
    information: Tensor
    weights: Tensor
    determined: Tensor


@dataclass(frozen=True)
class _Round:
    """What one pass says of the weights of the next: see `_weights`."""

    fit: Tensor
    scale: Tensor
    typical: float
    date_weights: Tensor


@dataclass(frozen=True)
class Learnt:
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
class _Predicted:
    """Leave-one-out state of one pass: `loo` and `extra` `(band, time, pixel)`, Q and `trust` `(time, pixel)`."""

    loo: Tensor
    extra: Tensor
    information: Tensor
    determined: Tensor
    trust: Tensor

    def at(self, part: slice) -> "_Predicted":
        """The same for some of the pixels."""
        return _Predicted(*(getattr(self, field.name)[..., part] for field in fields(self)))


def sample_steps(height: int, width: int) -> tuple[int, int]:
    """Of so many rows and columns of a cell one each is learnt from: at least 128 a side, all of a small one."""
    return max(1, height // LEARNT_SIDE), max(1, width // LEARNT_SIDE)


def reconstruct(values: Tensor, clear: Tensor, days: Sequence[int], *, support: bool = True) -> Guided:
    """Run the guided method on one cell.

    Parameters
    ----------
    values
        `(band, time, y, x)` float32 reflectance; what stands where not clear (NaN too) has no effect.
    clear
        `(time, y, x)` bool, True = usable.
    days
        `(time,)` strictly increasing whole days.
    support
        Fade the date term far from that date's clear pixels by n / (n + 20), n = clear pixels in a 65 x 65 box.

    Pixels never clear hold the cell's mean spectrum in `smooth`; the caller marks them. At the cell's edges boxes are
    cut. A date with nothing clear has no date term. Source: measured on real Sentinel-2 stacks; see README.

    """
    down, right = sample_steps(*clear.shape[1:])
    few = (..., slice(None, None, down), slice(None, None, right))
    learnt = learn(values[few], clear[few], days, share=down * right)
    held = _Held.of(values, clear)
    held.add(values, clear, learnt)
    return _finished(held.whole, slice(0, held.count), support=support)


def learn(values: Tensor, clear: Tensor, days: Sequence[int], *, share: float = 1.0) -> Learnt:
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
    return Learnt(
        basis.couplings,
        basis.mean,
        basis.deviation,
        tuple(rounds),
        fit,
        residual,
        residual - _transfer(predicted, fit),
        predicted.information,
        sample.clear & predicted.determined,
    )


def strips(looks: Iterable[tuple[Tensor, Tensor]], learnt: Learnt, *, support: bool = True) -> Iterator[Guided]:
    """Make a cell from its strips of `(values, clear)`, from top to bottom; gives strips of other heights, all rows.

    Strips but the last are multiples of the cached rows (`solver.cached_rows`), none higher than the first. A row is
    given when the 32 below it are known. What is given is good until the next is asked for.
    """
    held: _Held | None = None
    for values, clear in looks:
        if held is None:
            held = _Held.of(values, clear)
        held.add(values, clear, learnt)
        ready = slice(held.given, held.count - HALO)
        if ready.stop > ready.start:
            held.given = ready.stop
            yield _finished(held.whole, ready, support=support)
    if held is not None and held.given < held.count:
        yield _finished(held.whole, slice(held.given, held.count), support=support)


@dataclass
class _Held:
    """The last rows of a cell: `count` of them, of which the first `given` were given; the rest is not known yet."""

    room: Guided
    count: int = 0
    given: int = 0

    @classmethod
    def of(cls, values: Tensor, clear: Tensor) -> "_Held":
        """Room for strips of this size and what is looked at above them."""
        bands, dates, height, width = values.shape
        image, mask = (bands, dates, 2 * HALO + height, width), (dates, 2 * HALO + height, width)
        smooth, loo, transfer = (torch.empty(image) for _ in range(3))
        information, weights = torch.empty(mask), torch.empty(mask)
        clear, determined = torch.empty(mask, dtype=torch.bool), torch.empty(mask, dtype=torch.bool)
        room = torch.empty(image), clear, smooth, loo, transfer, transfer, information, weights, determined
        return cls(Guided(*room))

    @property
    def whole(self) -> Guided:
        """All rows that are known."""
        return _rows(self.room, slice(0, self.count))

    def add(self, values: Tensor, clear: Tensor, learnt: Learnt) -> None:
        """Make a further strip, and forget the rows that no later one looks at."""
        top = max(0, self.given - HALO)
        for field in fields(self.room):
            if field.name != "transfer":  # the same room as `date_term`
                room = getattr(self.room, field.name)
                room[..., : self.count - top, :] = room[..., top : self.count, :].clone()
        self.given, self.count = self.given - top, self.count - top
        below = slice(self.count, self.count + values.shape[2])
        _pixelwise(values, clear, learnt, _rows(self.room, below))
        self.count = below.stop


def _rows(held: Guided, rows: slice) -> Guided:
    return Guided(*(getattr(held, field.name)[..., rows, :] for field in fields(held)))


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
    return _Basis(tuple(ALPHA / (after - before) for before, after in pairwise(days)), mean, deviation)


def _pass(sample: _Sample, weights: Tensor, basis: _Basis, room: tuple[Tensor, Tensor]) -> tuple[_Predicted, Tensor]:
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
        one = _leave_one_out(x, weights[:, part], basis)
        loo[..., part], extra[..., part], information[:, part], trust[:, part] = (
            one.loo,
            one.extra,
            one.information,
            one.trust,
        )
        use = sample.seen[:, part] * one.determined * one.trust
        f = _features(one, basis)
        weighted = f * use[:, None]
        normal += torch.bmm(weighted, f.transpose(1, 2))
        right += torch.bmm(weighted, (x - one.loo).permute(1, 2, 0))
    predicted = _Predicted(loo, extra, information, information > DETERMINED, trust)
    ridge = RIDGE / sample.share * torch.eye(features, dtype=torch.float64)
    return predicted, _unscaled(torch.linalg.solve(normal + ridge, right), basis).float()


def _leave_one_out(x: Tensor, w: Tensor, basis: _Basis | Learnt) -> _Predicted:
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
    return _Predicted(loo, extra, q, determined, q / (1 + q))


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


def _features(one: _Predicted, basis: _Basis) -> Tensor:
    """`(time, feature, pixel)`: one, the predicted spectrum and its distance from the mean, standardised."""
    bands, dates, count = one.loo.shape
    f = torch.empty(dates, 1 + 2 * bands, count)
    f[:, 0] = 1
    mean, inverse = basis.mean[:, None], basis.deviation.reciprocal()[:, None]
    torch.sub(one.loo.transpose(0, 1), mean, out=f[:, 1 : 1 + bands]).mul_(inverse)
    torch.mul(one.extra.transpose(0, 1), inverse, out=f[:, 1 + bands :])
    return f


def _unscaled(fit: Tensor, basis: _Basis) -> Tensor:
    """Coefficients for the plain `[1, loo, extra]`, so that they apply without making the features again."""
    bands = len(basis.mean)
    scale = basis.deviation.double()
    out = fit.clone()
    out[:, 1:] /= torch.cat([scale, scale])[:, None]
    out[:, 0] -= torch.einsum("tfb,f->tb", out[:, 1 : 1 + bands], basis.mean.double())
    return out


def _transfer(predicted: _Predicted, fit: Tensor) -> Tensor:
    """Regression on every pixel `(band, time, pixel)`; a date without a clear pixel has coefficients 0."""
    loo, extra = predicted.loo, predicted.extra
    bands = len(loo)
    out = torch.empty(loo.shape)
    for t, b in enumerate(fit):
        out[:, t] = torch.addmm(b[0][:, None], b[1 : 1 + bands].T, loo[:, t])
        out[:, t].addmm_(b[1 + bands :].T, extra[:, t])
    return out


def _next_weights(sample: _Sample, predicted: _Predicted, fit: Tensor) -> tuple[Tensor, _Round]:
    """Weights of the sample for the next pass, and what the other pixels need for theirs."""
    seen = sample.clear & predicted.determined
    scale, typical = _scales(sample, predicted, fit, seen)
    found = _Round(fit, scale, typical, torch.ones(len(seen)))
    pixel = torch.empty_like(sample.seen)
    noise = torch.zeros(len(seen), dtype=torch.float64)
    counted = torch.zeros(len(seen), dtype=torch.float64)
    for part in sample.parts:
        one = predicted.at(part)
        w, r = _pixel_weights(sample.values[..., part], sample.seen[:, part], one, found)
        pixel[:, part] = w
        noise += (r.square_().mean(0) * (one.trust * w * seen[:, part])).sum(1)
        counted += (w * one.determined).sum(1)
    dates = _date_weights(sample, noise / counted.clamp(min=1e-3))
    return pixel * dates[:, None], _Round(fit, scale, typical, dates)


def _pixel_weights(x: Tensor, seen: Tensor, one: _Predicted, found: _Round) -> tuple[Tensor, Tensor]:
    """Robust weights `(time, pixel)` of some pixels, and their residuals `(band, time, pixel)` over the scale."""
    r = (x - one.loo).div_(found.scale)
    e = _transfer(one, found.fit).div_(found.scale).neg_().add_(r)
    z2 = e.square_().mean(0).mul_(one.trust).mul_(seen * one.determined).div_(found.typical)
    return seen * (ROBUST / z2.sqrt_().clamp_(min=1e-6)).clamp_(max=1), r


def _scales(sample: _Sample, predicted: _Predicted, fit: Tensor, seen: Tensor) -> tuple[Tensor, float]:
    """Residual scale per band `(band, 1, 1)`, and the median squared deviation, from a sample of the pixels."""
    step = max(1, seen.shape[1] // SAMPLE_PIXELS)
    if int(seen[:, ::step].sum()) < FEWEST_SEEN:
        step = 1
    part = slice(None, None, step)
    e = sample.values[..., part] - predicted.loo[..., part] - _transfer(predicted.at(part), fit)
    picked = e[:, seen[:, part]]
    scale = _median(picked.abs()) * 1.48 + 1e-4
    z2 = ((picked / scale[:, None]) ** 2).mean(0) * predicted.trust[:, part][seen[:, part]]
    return scale[:, None, None], max(float(_median(z2[None])[0]), 1e-9)


def _median(values: Tensor) -> Tensor:
    """Median of each row, the mean of the middle two where there are two."""
    return values.quantile(0.5, dim=1) if values.shape[1] < 1 << 24 else values.median(dim=1).values


def _date_weights(sample: _Sample, noise: Tensor) -> Tensor:
    enough = sample.seen.mean(1) > MIN_CLEAR
    quiet = noise[enough].quantile(DATE_QUANTILE) if bool(enough.any()) else torch.ones(())
    by_noise = (quiet / noise.clamp(min=1e-9)).clamp(max=1) ** DATE_POWER
    return torch.where(enough, by_noise.clamp(min=1e-3), FEW_CLEAR_WEIGHT).float()


def _pixelwise(values: Tensor, clear: Tensor, learnt: Learnt, out: Guided) -> None:
    """Put into `out` all that a pixel has from itself: every pass with the weights that were learnt."""
    out.values.copy_(values)
    out.clear.copy_(clear)
    width = values.shape[3]
    for rows in cached_strips(values.shape[2], width):
        bands, dates, height, _ = values[:, :, rows].shape
        flat = clear[:, rows].reshape(dates, -1)
        x = torch.where(flat, values[:, :, rows].reshape(bands, dates, -1), 0.0)
        one, w = _predicted(x, flat.float(), learnt)
        made = {"loo": one.loo, "transfer": _transfer(one, learnt.fit), "smooth": _smooth(x, one, w, learnt.mean)}
        made |= {"information": one.information, "weights": w, "determined": one.determined}
        for name, value in made.items():
            getattr(out, name)[..., rows, :] = value.view(*value.shape[:-1], height, width)


def _predicted(x: Tensor, seen: Tensor, learnt: Learnt) -> tuple[_Predicted, Tensor]:
    """Last pass of some pixels, and the weights it was made with."""
    w = seen
    for found in learnt.rounds:
        w = _pixel_weights(x, seen, _leave_one_out(x, w, learnt), found)[0] * found.date_weights[:, None]
    return _leave_one_out(x, w, learnt), w


def _smooth(x: Tensor, one: _Predicted, w: Tensor, mean: Tensor) -> Tensor:
    """Minimiser: the leave-one-out state and the date's own look, weighted by their information."""
    q = one.information * one.determined
    total = q + w
    state = torch.mul(one.loo, q).addcmul_(x, w).div_(total.clamp(min=EPSILON))
    unknown = total <= DETERMINED
    return torch.where(unknown, mean[:, None, None], state) if bool(unknown.any()) else state


def _finished(held: Guided, rows: slice, *, support: bool) -> Guided:
    """Some rows with their date term, for which up to 32 rows around them are looked at."""
    around = slice(max(0, rows.start - HALO), min(held.clear.shape[1], rows.stop + HALO))
    wide, out = _rows(held, around), _rows(held, rows)
    inner = slice(rows.start - around.start, rows.stop - around.start)
    term, box = out.transfer.clone(), _Box(len(wide.values) + 1, *wide.clear.shape[1:])
    for t, clear in enumerate(wide.clear):
        if bool(clear.any()):
            _add_local(term[:, t], wide, t, inner, box)
        if support:
            near = box.sums(clear[None].float(), SUPPORT_BOX)[:, inner]
            term[:, t] *= near / (near + SUPPORT_PIXELS)
    return replace(out, date_term=term)


def _add_local(term: Tensor, wide: Guided, date: int, inner: slice, box: "_Box") -> None:
    """Add to the transfer `(band, y, x)` of one date the local means, coarse to fine, of what remains where clear."""
    q, bands = wide.information[date], len(wide.values)
    use = wide.clear[date] * wide.determined[date] * (q / (1 + q))
    # the last layer holds the weights: one box filter serves the weighted sum and its norm
    left = torch.empty(bands + 1, *use.shape)
    left[bands] = use
    known = torch.where(wide.clear[date], wide.values[:, date], 0.0)
    torch.sub(known, wide.loo[:, date], out=left[:bands]).sub_(wide.transfer[:, date]).mul_(use)
    for size in SCALES:
        sums = box.sums(left, size)
        mean = sums[:bands].div_(sums[bands] + LOCAL_PRIOR)
        term += mean[:, inner]
        if size != SCALES[-1]:
            left[:bands] -= mean.mul_(use)


class _Box:
    """Sums over a centred box of images of one size, zeros outside; the same bits however many rows are around."""

    def __init__(self, layers: int, height: int, width: int) -> None:
        highest = height + SUPPORT_BOX - 1
        self._running = torch.empty(layers, height, width)
        self._powers = torch.empty(layers, highest, width), torch.empty(layers, highest, width)
        self._out = torch.empty(layers, height, width)

    def sums(self, image: Tensor, size: int) -> Tensor:
        """Sums `(layer, y, x)` of an image, good until the next are asked for."""
        layers, height, width = image.shape
        half, rows = size // 2, self._powers[0][:layers, : height + size - 1]
        rows[:, :half] = rows[:, half + height :] = 0
        # along x every row is for itself, so that running sums will do
        total = torch.cumsum(image, 2, out=self._running[:layers])
        wide = rows[:, half : half + height]
        inside = max(0, width - half)
        wide[..., :inside] = total[..., width - inside :]
        wide[..., inside:] = total[..., -1:]
        wide[..., half + 1 :] -= total[..., : max(0, width - half - 1)]
        return self._down(rows, size, height)

    def _down(self, rows: Tensor, size: int, height: int) -> Tensor:
        """Sums of `size` consecutive rows, by sums of 1, 2, 4 ... rows, always added in the same order."""
        out, taken, bit = self._out[: len(rows)].zero_(), 0, 1
        power, free = rows, 1
        while bit <= size:
            if size & bit:
                out += power[:, taken : taken + height]
                taken += bit
            if 2 * bit <= size:
                longer = self._powers[free][: len(rows), : power.shape[1] - bit]
                power, free = torch.add(power[:, :-bit], power[:, bit:], out=longer), 1 - free
            bit *= 2
        return out
