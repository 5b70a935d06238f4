"""How far to trust the surface: from leave-one-out residuals of the sample it was learnt from.

With z = |u - leave-one-out| / sqrt(1 + 1/Q), in the noise of one look:

    unseen day    quantiles of z over the dates of which three tenths are seen, each date counted alike
    own of date   m_t, the mean of z beside its clouds, drawn to the mean of all dates as 20 pixels would draw it;
                  times quantiles over all dates of z / m_t in a hole, as of a cloud, of which m_t knows nothing

A date's haze, and cloud that its labels missed, is thickest beside its clouds, and what lies under them is asked for.
The hole is what `as_seen_widths` hides: pixels under another date's clouds, or a disc beside its own.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_widths import hidden_shape
from spaceeye_stac.methods.box_sums import box_sums
from spaceeye_stac.methods.surface_fit import Scale
from spaceeye_stac.methods.surface_passes import Looks, Solved
from spaceeye_stac.methods.uncertainty import LEVELS, Scales

LEAST_SEEN, DATE_PIXELS, FEWEST_DATES = 0.3, 300, 3
FEW_DATES = (1.2, 2.2)
BESIDE_BOX, FEWEST_BESIDE = 7, 30  # beside a cloud: within three pixels of one
PRIOR_PIXELS = 20
FEWEST_OWN, FEWEST_HIDDEN = 60, 20


def surface_widths(looks: Looks, one: Solved, scale: Scale) -> Scales:
    """Half widths of the 68 and 90 % intervals of a look, per band in the caller's order, to be times sqrt(1 + 1/Q).

    A date of which fewer than 60 pixels are seen has those of an unseen day. All grow, for n dates that they are learnt
    from, by (1 + 1/n)^(1/2) (1 + 1/2n), the outer one by 1 + 0.6/n besides.
    """
    seen = looks.clear & one.determined
    residual = (looks.values - one.left_out).abs_()
    for band, information in zip(residual, one.sides.dampings.of_bands(one.information), strict=True):
        band.mul_(_trust(information).sqrt_())
    inner, outer = (_unseen(residual, seen) * scale.deviation)[:, scale.inverse]
    days = len(looks.days)
    unseen = Scales(
        inner[:, None].expand(-1, days), outer[:, None].expand(-1, days), inner, outer, scale.damping_factor
    )
    found = _own(residual, seen, looks)
    if found is None:
        return unseen
    own_inner, own_outer = (found * scale.deviation[:, None])[:, scale.inverse]
    known = seen.sum(1) >= FEWEST_OWN
    return replace(
        unseen,
        inner=torch.where(known, own_inner, unseen.inner),
        outer=torch.where(known, own_outer, unseen.outer),
    )


def _trust(information: Tensor) -> Tensor:
    """Q / (1 + Q)."""
    known = information.clamp(min=0.02)
    return known / (1 + known)


def _unseen(residual: Tensor, seen: Tensor) -> Tensor:
    """Half widths `(level, band)` for a day of which nothing is seen."""
    found = []
    for t, here in enumerate(seen):
        if float(here.float().mean()) >= LEAST_SEEN:
            found.append(_quantiles(residual[:, t, _some(here)]))
    if len(found) < FEWEST_DATES:
        return torch.tensor(FEW_DATES)[:, None].expand(-1, len(residual))
    return torch.cat(found, dim=1).quantile(torch.tensor(LEVELS), dim=1) * _growth(len(found))[:, None]


def _own(residual: Tensor, seen: Tensor, looks: Looks) -> Tensor | None:
    """Half widths `(level, band, time)` of each date; None where too few dates tell of them."""
    known = seen.sum(1) >= FEWEST_OWN
    if not bool(known.any()):
        return None
    count = seen.sum(1).clamp(min=1)
    typical = (torch.einsum("btp,tp->bt", residual, seen.float()) / count)[:, known].mean(1)
    holes = _holes(looks, known)
    without = _beside_clouds(residual, seen & ~holes, looks, typical)
    found = [
        _quantiles(residual[:, t, _some(here)] / without[:, t, None]).flatten()
        for t, here in enumerate(holes & seen)
        if int(here.sum()) >= FEWEST_HIDDEN
    ]
    if len(found) < FEWEST_DATES:
        return None
    factors = torch.cat(found).quantile(torch.tensor(LEVELS)) * _growth(len(found))
    return factors[:, None, None] * _beside_clouds(residual, seen, looks, typical)


def _holes(looks: Looks, known: Tensor) -> Tensor:
    """Clear pixels `(time, pixel)` of each known date that are hidden from it; patches lie below each other."""
    clear = looks.images(looks.clear).flatten(1, 2)
    nothing = torch.zeros_like(looks.clear[0])
    return torch.stack(
        [
            hidden_shape(clear, t, 1, np.random.default_rng(t)).flatten() if one else nothing
            for t, one in enumerate(known.tolist())
        ]
    )


def _beside_clouds(residual: Tensor, used: Tensor, looks: Looks, typical: Tensor) -> Tensor:
    """Mean `(band, time)` of the residuals beside what is not used, or of all that are where those are few."""
    (gone,) = box_sums(looks.images((~used).float()), [BESIDE_BOX])
    beside = used & (gone.flatten(1) > 0)
    among = torch.where((beside.sum(1) >= FEWEST_BESIDE)[:, None], beside, used).float()
    sums = torch.einsum("btp,tp->bt", residual, among) + PRIOR_PIXELS * typical[:, None]
    return (sums / (among.sum(1) + PRIOR_PIXELS)).clamp_(min=1e-6)


def _growth(dates: int) -> Tensor:
    """How much wider an interval `(level,)` is for a further date."""
    growth = (1 + 1 / dates) ** 0.5 * (1 + 0.5 / dates)
    return torch.tensor([growth, growth * (1 + 0.6 / dates)])


def _some(here: Tensor) -> Tensor:
    """Where it is so, at about `DATE_PIXELS` places."""
    places = here.nonzero()[:, 0]
    return places[:: max(1, len(places) // DATE_PIXELS)]


def _quantiles(residual: Tensor) -> Tensor:
    """A hundred quantiles of each band `(band, 100)`."""
    return residual.quantile(torch.linspace(0, 1, 100), dim=1).T
