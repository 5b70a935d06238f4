"""How far to trust the surface: from leave-one-out residuals of the sample it was learnt from."""

import torch
from torch import Tensor

from spaceeye_stac.methods.surface_fit import Scale
from spaceeye_stac.methods.surface_passes import Looks, Solved
from spaceeye_stac.methods.uncertainty import LEVELS, Scales

LEAST_SEEN, DATE_PIXELS, FEWEST_DATES = 0.3, 300, 3
FEW_DATES = (1.2, 2.2)


def surface_widths(looks: Looks, one: Solved, scale: Scale) -> Scales:
    """Half widths of the 68 and 90 % intervals of a look, per band in the caller's order, alike on all days.

    Quantiles of |u - leave-one-out| / sqrt(1 + 1/Q) over the dates that are seen by three tenths at least, each date
    counted alike, and wider by (1 + 1/n)^(1/2) (1 + 1/2n) for n dates, the outer one by 1 + 0.6/n besides.
    """
    found = []
    for t, seen in enumerate(looks.clear & one.determined):
        if float(seen.float().mean()) >= LEAST_SEEN:
            places = seen.nonzero()[:, 0]
            places = places[:: max(1, len(places) // DATE_PIXELS)]
            residual = (looks.values[:, t, places] - one.left_out[:, t, places]).abs()
            found.append(_quantiles(residual * _trust(one, t, places).sqrt()))
    if len(found) < FEWEST_DATES:
        factors = torch.tensor(FEW_DATES)[:, None].expand(-1, len(scale.order))
    else:
        pooled = torch.cat(found, dim=1)
        n = len(found)
        growth = (1 + 1 / n) ** 0.5 * (1 + 0.5 / n)
        wider = torch.tensor([growth, growth * (1 + 0.6 / n)])
        factors = pooled.quantile(torch.tensor(LEVELS), dim=1) * wider[:, None]
    inner, outer = (factors * scale.deviation)[:, scale.inverse]
    days = len(looks.days)
    return Scales(inner[:, None].expand(-1, days), outer[:, None].expand(-1, days), inner, outer, scale.damping_factor)


def _trust(one: Solved, date: int, places: Tensor) -> Tensor:
    """Q / (1 + Q) `(band, pixel)`."""
    information = one.sides.dampings.of_bands(one.information[:, date, places]).clamp(min=0.02)
    return information / (1 + information)


def _quantiles(residual: Tensor) -> Tensor:
    """A hundred quantiles of each band `(band, 100)`."""
    return residual.quantile(torch.linspace(0, 1, 100), dim=1).T
