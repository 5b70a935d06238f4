"""What each date deviates by from what the other dates say of it, learnt from a sample of a cell.

The expected deviation of a date is the mean of the other dates' of its orbit (bidirectional effects return with the
geometry). What its own clear pixels deviate from that is a ridge regression, all bands at once, on the expected
spectrum and on the looks around it, and a shift of the image that is common to all bands: dates are off by up to half a
pixel. All of it but the shift is one linear map of a pixel's own values.

Torch tensors in and out, no I/O. Source: design of this package, measured on real Sentinel-2 stacks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_states import (
    Basis,
    Expected,
    Weighting,
    expected,
    learn_blend,
    learn_weighting,
    looks_weights,
    unscaled,
)

RIDGE_CONSTANT, RIDGE, SHIFT_RIDGE, ALTERNATIONS = 10.0, 100.0, 50.0, 2
ORBIT_DAYS, ORBIT_PRIOR, ORBIT_RIDGE, ORBIT_CLEAR = 5, 2.0, 0.02, 0.1
COMPONENTS = 10
FEWEST_USED = 1.0
WEIGHTING_PIXELS = 8192
BOUND, BOUND_PIXELS = 3.0, 200.0


@dataclass(frozen=True)
class CellSample:
    """Pixels `(band, time, y, x)` of a cell; `values` is 0 where not clear.

    `share`: pixels of the cell for each of these, which are neighbours in patches where they are not all.
    """

    values: Tensor
    clear: Tensor
    days: tuple[int, ...]
    share: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.clear.shape[1]), int(self.clear.shape[2])


@dataclass(frozen=True)
class DateTerms:
    """What is of the whole cell, on each date.

    `blend` `(time, damping)`. `maps` `(time, feature, output)` lead from `[1, state, extra, before, after]` of a pixel
    to what is expected of it, what the date's clear pixels say to add (both of all bands), and the leading components
    of those features, of size 1 together. `shift` `(time, 2)`: of the image along y and x, in pixels. `bound`
    `(time, band)`: what is added at most.
    """

    basis: Basis
    weighting: Weighting
    blend: Tensor
    maps: Tensor
    shift: Tensor
    bound: Tensor


@dataclass(frozen=True)
class LearntCell:
    """The sample as the terms were learnt on it, flattened, by which hidden looks are predicted again.

    `base` `(band, time, pixel)` is what is expected with nothing seen of the date, `use` `(time, pixel)` the trust in a
    clear look's deviation from it.
    """

    sample: CellSample
    terms: DateTerms
    known: Expected
    base: Tensor
    use: Tensor

    def features(self, date: int) -> Tensor:
        """`(feature, pixel)` of one date, standardised."""
        return _features(self.known, self.terms.basis, date)

    def gradients(self, date: int) -> Tensor:
        """`(2, band, pixel)` along y and x of the expected image, in deviations a pixel of the cell."""
        return _gradients(self.base[:, date], self.sample) / self.terms.basis.deviation[:, None]

    def residual(self, date: int) -> Tensor:
        """What the date's looks deviate by from what is expected, `(band, pixel)`; meaningful where clear."""
        return self.sample.values[:, date].flatten(1) - self.base[:, date]


def learn_terms(sample: CellSample) -> LearntCell:
    """Learn all that is of the whole cell."""
    x, clear = sample.values.flatten(2), sample.clear.flatten(1)
    basis = Basis.of(sample.values, sample.clear, sample.days)
    step = max(1, clear.shape[1] // WEIGHTING_PIXELS)
    weighting = learn_weighting(x[..., ::step], clear[:, ::step], basis, sample.share * step)
    w = looks_weights(x, clear.float(), basis, weighting)
    blend = learn_blend(x, clear, w, basis)
    known = expected(x, w, basis, blend)
    use = clear * known.determined * known.trust
    bands, dates = x.shape[:2]
    orbit = _orbit_fits(known, x, use, sample, basis, weighting.dates)
    base = known.state + _applied(known, orbit)
    nothing = torch.zeros(dates, 1 + 4 * bands, 2 * bands + COMPONENTS)
    terms = DateTerms(basis, weighting, blend, nothing, torch.zeros(dates, 2), _bounds(x - base, use))
    fit = LearntCell(sample, terms, known, base, use)
    for t in range(dates):
        f = fit.features(t)
        found, terms.shift[t] = date_fit(fit, t, f, use[t])
        own = torch.cat([found, leading(f)], dim=1)
        terms.maps[t, :, bands:] = unscaled(own[None].double(), basis, bands)[0].float()
        terms.maps[t, : 1 + 2 * bands, :bands] = orbit[t]
        terms.maps[t, 1 : 1 + bands, :bands] += torch.eye(bands)
    return fit


def _features(known: Expected, basis: Basis, date: int) -> Tensor:
    bands, _, count = known.state.shape
    f = torch.empty(1 + 4 * bands, count)
    f[0], inverse = 1, basis.deviation.reciprocal()[:, None]
    torch.sub(known.state[:, date], basis.mean[:, None], out=f[1 : 1 + bands])
    for n, image in enumerate((known.extra, known.before, known.after), start=1):
        f[1 + n * bands : 1 + (n + 1) * bands] = image[:, date]
    f[1:].view(4, bands, count).mul_(inverse)
    return f


def _applied(known: Expected, fits: Tensor) -> Tensor:
    """Plain coefficients `(time, 1 + 2 bands, band)` on `[1, state, extra]`: `(band, time, pixel)`."""
    bands = len(known.state)
    out = torch.einsum("tib,itp->btp", fits[:, 1 : 1 + bands], known.state)
    out += torch.einsum("tib,itp->btp", fits[:, 1 + bands :], known.extra)
    return out.add_(fits[:, 0].T[..., None])


def _orbit_fits(known: Expected, x: Tensor, use: Tensor, sample: CellSample, basis: Basis, trusted: Tensor) -> Tensor:
    """Coefficients `(time, 1 + 2 bands, band)` of what to expect of a date: the mean of the others of its orbit.

    The totals over all dates of the orbit less the date's own part; shrunk by two dates of weight one.
    """
    bands, dates, count = x.shape
    enough = (sample.clear.flatten(1).float().mean(1) > ORBIT_CLEAR) & (use.sum(1) >= FEWEST_USED)
    weights = torch.where(enough, trusted.sqrt(), 0.0)
    ridge = ORBIT_RIDGE * count * torch.eye(1 + 2 * bands, dtype=torch.float64)
    own = torch.zeros(dates, 1 + 2 * bands, bands, dtype=torch.float64)
    for t in torch.nonzero(enough).flatten().tolist():
        f = _features(known, basis, t)[: 1 + 2 * bands]
        weighted = f * use[t]
        right = weighted @ (x[:, t] - known.state[:, t]).T
        own[t] = torch.linalg.solve((weighted @ f.T).double() + ridge, right.double())
    days = torch.tensor(sample.days)
    alike = ((days[:, None] - days[None]) % ORBIT_DAYS == 0).double().fill_diagonal_(0) * weights
    mean = torch.einsum("tu,ufb->tfb", alike, own) / (alike.sum(1) + ORBIT_PRIOR)[:, None, None]
    return unscaled(mean, basis, bands).float()


def _gradients(image: Tensor, sample: CellSample) -> Tensor:
    """Central differences along y and x, one-sided at the borders, `(2, band, pixel)` a pixel of the cell."""
    plane = image.reshape(len(image), *sample.shape)
    each = [torch.gradient(plane, dim=axis)[0] if plane.shape[axis] > 1 else torch.zeros_like(plane) for axis in (1, 2)]
    return torch.stack(each).flatten(2)


def date_fit(fit: LearntCell, date: int, f: Tensor, use: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge coefficients `(feature, band)` and the common shift `(2,)` of one date, from what is used of it.

    Both are fitted to what the other leaves. Nothing used gives zeros.
    """
    bands, share = len(fit.base), fit.sample.share
    if float(use.sum()) < FEWEST_USED:
        return torch.zeros(len(f), bands), torch.zeros(2)
    ok = torch.nonzero(use > 0).flatten()
    f, r, g, w = f[:, ok], fit.residual(date)[:, ok], fit.gradients(date)[..., ok], use[ok]
    deviation, weighted = fit.terms.basis.deviation[:, None], f * w
    ridge = torch.full((len(f),), RIDGE / share, dtype=torch.float64)
    ridge[0] = RIDGE_CONSTANT / share
    normal = torch.linalg.cholesky((weighted @ f.T).double() + ridge.diag())
    steep = (g * w).flatten(1)
    slopes = (steep @ g.flatten(1).T).double() + SHIFT_RIDGE / share * torch.eye(2, dtype=torch.float64)
    shift = torch.zeros(2)
    for _ in range(ALTERNATIONS):
        moved = torch.einsum("i,ibp->bp", shift, g) * deviation
        b = torch.cholesky_solve((weighted @ (r - moved).T).double(), normal).float()
        left = (r - b.T @ f) / deviation
        shift = torch.linalg.solve(slopes, (steep @ left.flatten()).double()).float()
    return b, shift


def leading(f: Tensor) -> Tensor:
    """Directions `(feature, component)` of the leading components of features, of size 1 together, 0 for the one."""
    varying = f[1:] - f[1:].mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh((varying @ varying.T).double() / f.shape[1])
    found = vectors[:, -COMPONENTS:] / (values[-COMPONENTS:].clamp(min=0).sum() + 1e-12).sqrt()
    out = torch.zeros(len(f), COMPONENTS)
    out[1:, COMPONENTS - found.shape[1] :] = found.float()
    return out


def _bounds(r: Tensor, use: Tensor) -> Tensor:
    """Three times what the looks of each date deviate by, `(time, band)`, drawn to that of all dates where few are.

    No pixel is moved by more: a regression on few clear pixels runs away on those that are unlike them.
    """
    squares, count = (r.square() * use).sum(2).T, use.sum(1, keepdim=True)
    pooled = squares.sum(0) / count.sum().clamp(min=1e-6)
    return BOUND * ((squares + BOUND_PIXELS * pooled) / (count + BOUND_PIXELS)).sqrt()


def linear(known: Expected, maps: Tensor, out: Tensor) -> None:
    """Put what the maps make of some pixels into `out` `(time, pixel, output)`."""
    bands = len(known.state)
    for t, one in enumerate(maps):
        torch.addmm(one[0], known.state[:, t].T, one[1 : 1 + bands], out=out[t])
        for n, part in enumerate((known.extra, known.before, known.after), start=1):
            out[t].addmm_(part[:, t].T, one[1 + n * bands : 1 + (n + 1) * bands])
