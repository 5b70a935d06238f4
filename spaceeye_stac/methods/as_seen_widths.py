"""How far to trust what is filled: looks of each date are hidden on a sample of the cell, and predicted again.

A date loses the pixels that another date has under its clouds or, where it has clouds itself, a disc beside them. Its
terms are fitted anew to what is left of it. The errors make the widths of that date; a date of which too little is seen
has those of a date of which nothing is.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_fill import MARGIN, SUPPORT_PIXELS, SUPPORT_SIZE, box_sums
from spaceeye_stac.methods.as_seen_process import conditioned, coordinates, drawn, shuffled
from spaceeye_stac.methods.as_seen_rows import TILE
from spaceeye_stac.methods.as_seen_terms import LearntCell, date_fit
from spaceeye_stac.methods.uncertainty import Scales, scales

CASES = 2  # times that each date loses pixels, or once where the sample is not all
PICKED = 300  # hidden pixels of a case that are predicted
CLOUDY = (0.1, 0.9)
MOSTLY_CLEAR, MOST_HIDDEN, FEWEST_HIDDEN = 0.6, 0.4, 20
FEWEST_CLEAR, DISC_SHARE, DISC_PIXELS = 60, 1 / 3, 3217


def learn_widths(fit: LearntCell) -> Scales:
    """Half widths of the 68 and 90 % intervals of each band and date, to be multiplied by sqrt(1 + 1/Q)."""
    seen = fit.use > 0
    left = fit.sample.values.flatten(2) - fit.base
    unseen = scales(left, left, fit.known.information, seen)
    errors, q, tried = _errors(fit)
    hidden = scales(errors, errors, q, tried)
    known = tried.any(1)
    return replace(
        unseen,
        inner=torch.where(known, hidden.inner, unseen.inner_unseen[:, None]),
        outer=torch.where(known, hidden.outer, unseen.outer_unseen[:, None]),
    )


def _errors(fit: LearntCell) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of hidden looks `(band, time, try)`, Q of each, and which of them were tried."""
    bands, dates = fit.base.shape[:2]
    errors, q = torch.zeros(bands, dates, CASES * PICKED), torch.ones(dates, CASES * PICKED)
    tried = torch.zeros(dates, CASES * PICKED, dtype=torch.bool)
    for t in range(dates):
        rng = np.random.default_rng(t)
        for case in range(CASES if fit.sample.share == 1 else 1):
            hidden = hidden_shape(fit.sample.clear, t, fit.sample.share, rng) & (fit.use[t] > 0).view(fit.sample.shape)
            at = _picked(hidden, rng)
            if len(at) >= FEWEST_HIDDEN:
                to = slice(case * PICKED, case * PICKED + len(at))
                errors[:, t, to] = _error(fit, t, hidden, at)
                q[t, to], tried[t, to] = fit.known.information[t, at], True
    return errors, q, tried


def hidden_shape(clear: Tensor, date: int, share: float, rng: np.random.Generator) -> Tensor:
    """Clear pixels `(y, x)` of a date to hide: under another date's clouds, or a disc beside its own."""
    own, shares = clear[date], clear.float().mean((1, 2))
    shapes = torch.nonzero((shares >= CLOUDY[0]) & (shares <= CLOUDY[1])).flatten()
    shapes = shapes[shapes != date]
    if len(shapes) and shares[date] > MOSTLY_CLEAR:
        hole = own & ~clear[int(rng.choice(shapes.numpy()))]
        if FEWEST_HIDDEN <= int(hole.sum()) <= MOST_HIDDEN * int(own.sum()):
            return hole
    return _disc(own, share, rng)


def _disc(clear: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """The third of the clear pixels that is nearest to one at the edge of the clouds, or a disc of radius 32."""
    hole = torch.zeros_like(clear)
    where = torch.nonzero(clear)
    if len(where) >= FEWEST_CLEAR:
        edge = torch.nonzero(clear & (box_sums((~clear).float(), 3) > 0))
        among = edge if len(edge) else where
        far = (where - among[int(rng.integers(len(among)))]).square().sum(1)
        count = min(int(len(where) * DISC_SHARE), max(FEWEST_HIDDEN, int(DISC_PIXELS / share)))
        nearest = where[far.argsort(stable=True)[:count]]
        hole[nearest[:, 0], nearest[:, 1]] = True
    return hole


def _picked(hidden: Tensor, rng: np.random.Generator) -> Tensor:
    """Some of the hidden pixels, flattened, that lie in one tile."""
    where = torch.nonzero(hidden)
    if not len(where):
        return where[:, 0]
    centre = where[int(rng.integers(len(where)))]
    near = where[((where - centre).abs() <= TILE // 2).all(1)]
    near = near[:: -(-len(near) // PICKED)]
    return near[:, 0] * hidden.shape[1] + near[:, 1]


def _error(fit: LearntCell, date: int, hidden: Tensor, at: Tensor) -> Tensor:
    """What hidden looks differ by from what the others of their date make of them, `(band, try)`."""
    clear = fit.sample.clear[date] & ~hidden
    use = fit.use[date] * clear.flatten()
    f, r = fit.features(date), fit.residual(date)
    b, shift = date_fit(fit, date, f, use)
    moved = torch.einsum("i,ibp->bp", shift, fit.gradients(date)) * fit.terms.basis.deviation[:, None]
    regression = b.T @ f + moved
    added = regression[:, at] + _process(fit, date, (use, r - regression), at)
    bound = fit.terms.bound[date][:, None]
    count = box_sums(clear.float(), SUPPORT_SIZE).flatten()[at]
    return r[:, at] - added.clamp(-bound, bound) * count / (count + SUPPORT_PIXELS)


def _process(fit: LearntCell, date: int, left: tuple[Tensor, Tensor], at: Tensor) -> Tensor:
    """Mean `(band, try)` of the process given what is used around the pixels that are tried."""
    use, residual = left
    height, width = fit.sample.shape
    rows, columns = at // width, at % width
    window = [
        slice(max(0, int(place.min()) - MARGIN), min(n, int(place.max()) + MARGIN + 1))
        for place, n in zip((rows, columns), (height, width), strict=True)
    ]
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[window[0], window[1]] = True
    seen = torch.nonzero((use > 0) & inside.flatten()).flatten()
    components = fit.terms.maps[date][:, 2 * len(fit.base) :]
    seen = seen[shuffled(inside.shape, (0, 0)).flatten()[seen].argsort()]
    points, wanted = (_coordinates(fit, date, components, some) for some in (seen, at))
    known = drawn(points)
    return conditioned(points[known], residual[:, seen[known]].T, use[seen[known]]).at(wanted).T


def _coordinates(fit: LearntCell, date: int, components: Tensor, at: Tensor) -> Tensor:
    known, width = fit.known, fit.sample.shape[1]
    parts = (known.state, known.extra, known.before, known.after)
    values = torch.cat([torch.ones(1, len(at)), *(part[:, date, at] for part in parts)])
    return coordinates(values.T @ components, at // width, at % width)
