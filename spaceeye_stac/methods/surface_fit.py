"""What the surface method learns of a cell from a sample of its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log

import torch
from torch import Tensor

from spaceeye_stac.methods.noise_and_drift import Noise, grouped, noise_of, robust_scatter, tuned
from spaceeye_stac.methods.surface_passes import (
    Looks,
    Solved,
    Weighed,
    contradiction,
    gap_jumps,
    loosened,
    smoothed_jumps,
    solved,
)
from spaceeye_stac.methods.suspects import (
    CLOUD,
    Spectra,
    evidence,
    filter_scores,
    lasting,
    suspicion,
    trust_of,
)
from spaceeye_stac.methods.two_filter import Dampings

LEARNING_PASSES, ROUNDS = 5, 2
DAMPING_SHARE = 0.75  # of what fits hidden looks best: the looks themselves are followed more closely
MIN_CLEAR, FEW_CLEAR_WEIGHT = 0.02, 0.3
DATE_POWER, DATE_LOWEST, DATE_HIGHEST, DATE_SHARE = 1.5, 0.005, 4.0, 0.9
FEWEST_JUMPS = 100
LEAST_LAND, FEWEST_LAND = 0.1, 50  # water is darker in the near infrared
KNOWN, LEAST_KNOWN = 0.2, 0.02
SCATTER_PIXELS, FEWEST_SCATTER, SCATTER_FREEDOM = 20_000, 200, 3.0


@dataclass(frozen=True)
class Round:
    """What turns the states of one pass into the weights of the next: see `surface_rows`."""

    jump: float | None
    spectra: Spectra | None
    norms: Tensor | None


@dataclass(frozen=True)
class Scale:
    """Bands in the order of their dampings: `order` and `inverse` `(band,)`, noise `deviation` in reflectance."""

    order: Tensor
    deviation: Tensor
    dampings: Dampings

    @property
    def damping_factor(self) -> float:
        """Geometric mean over the bands."""
        logs = [log(factor) * count for factor, count in zip(self.dampings.factors, self.dampings.counts, strict=True)]
        return exp(sum(logs) / sum(self.dampings.counts))

    @property
    def inverse(self) -> Tensor:
        """Where each band of the caller stands in this order."""
        return torch.argsort(self.order)

    def apply(self, values: Tensor) -> Tensor:
        """Reflectance `(band, ...)` in the caller's order to noise units in this order."""
        shape = (-1, *(1 for _ in values.shape[1:]))
        return values[self.order] / self.deviation.view(shape)

    def undo(self, values: Tensor) -> Tensor:
        """Noise units in this order to reflectance in the caller's."""
        shape = (-1, *(1 for _ in values.shape[1:]))
        return (values * self.deviation.view(shape))[self.inverse]


@dataclass(frozen=True)
class SurfaceFit:
    """What is of the whole cell: scale and dampings, `mean` `(band,)` in noise units, `date_weights` `(time,)`."""

    scale: Scale
    mean: Tensor
    date_weights: Tensor
    rounds: tuple[Round, ...]


def learn_surface(
    values: Tensor, clear: Tensor, days: tuple[int, ...], bands: Sequence[str], shape: tuple[int, int, int]
) -> tuple[SurfaceFit, Looks, Solved]:
    """Learn from `values` `(band, time, pixel)` in reflectance, 0 where not `clear` `(time, pixel)`.

    Gives what was learnt, and the sample with its last solve. First noise, dampings and dates, each pass with the
    weights of the one before; then, with those, what every pass over all pixels needs.
    """
    mean = values.sum((1, 2)) / clear.sum().clamp(min=1)
    dates, last = torch.ones(len(days)), Weighed.first(clear)
    plain = Looks(values, clear, days, shape)
    for _ in range(LEARNING_PASSES - 1):
        looks, scale = _scaled(noise_of(values, last.pixel * dates[:, None], days), plain)
        one = solved(looks, last.pixel * dates[:, None], last.loose, scale.dampings, scale.apply(mean))
        dates = _date_weights(looks, one, last.pixel)
        _, last = _learnt_round(looks, one, last, bands, scale)
    weights = last.pixel * dates[:, None]
    noise = noise_of(values, weights, days)
    alpha = tuned(values / noise.deviation[:, None, None], clear, weights, days, noise.alpha)
    looks, scale = _scaled(replace(noise, alpha=alpha), plain)
    return _rounds(SurfaceFit(scale, scale.apply(mean), dates, ()), looks, bands)


def _rounds(fit: SurfaceFit, looks: Looks, bands: Sequence[str]) -> tuple[SurfaceFit, Looks, Solved]:
    """Learn the rounds of the passes over all pixels, with the dampings and dates that were found."""
    last, rounds = Weighed.first(looks.clear), list[Round]()
    for _ in range(ROUNDS):
        one = solved(looks, last.pixel * fit.date_weights[:, None], last.loose, fit.scale.dampings, fit.mean)
        found, last = _learnt_round(looks, one, last, bands, fit.scale)
        rounds.append(found)
    one = solved(looks, last.pixel * fit.date_weights[:, None], last.loose, fit.scale.dampings, fit.mean)
    return replace(fit, rounds=tuple(rounds)), looks, one


def _scaled(noise: Noise, plain: Looks) -> tuple[Looks, Scale]:
    """Reflectance as looks in units of its noise, and that noise with the dampings."""
    order, dampings = grouped(noise.alpha * DAMPING_SHARE)
    scale = Scale(order, noise.deviation[order], dampings)
    return replace(plain, values=scale.apply(plain.values)), scale


def _date_weights(looks: Looks, one: Solved, pixel: Tensor) -> Tensor:
    """Weight of each date by its noise against that of the median date."""
    seen = looks.clear & one.determined
    use = pixel * seen
    information = one.sides.dampings.of_bands(one.information / (1 + one.information))
    squares = ((looks.values - one.left_out).square() * information).mean(0)
    use *= squares <= _most(squares, use > 0)
    noise = (squares * use).sum(1) / use.sum(1).clamp(min=1e-3)
    enough = looks.clear.float().mean(1) > MIN_CLEAR
    if not bool(enough.any()):
        return torch.full_like(noise, FEW_CLEAR_WEIGHT)
    lively = enough & (use.sum(1) > 0)
    quiet = noise[lively].quantile(0.5) if bool(lively.any()) else torch.ones(())
    weight = (quiet / noise.clamp(min=1e-9)).pow(DATE_POWER).clamp(DATE_LOWEST, DATE_HIGHEST)
    return torch.where(enough, weight, FEW_CLEAR_WEIGHT)


def _most(squares: Tensor, use: Tensor) -> Tensor:
    """What all but a tenth of each date's used pixels stay below `(time, 1)`: a part that changed is not its noise."""
    return squares.masked_fill(~use, torch.nan).nanquantile(DATE_SHARE, dim=1, keepdim=True).nan_to_num(torch.inf)


def _learnt_round(
    looks: Looks, one: Solved, last: Weighed, bands: Sequence[str], scale: Scale
) -> tuple[Round, Weighed]:
    """Learn a round, and what it makes of these looks; `last`: what it begins with."""
    jumps, known = gap_jumps(one, looks)
    smooth = smoothed_jumps(looks.images(jumps), looks.images(known)).flatten(1)
    jump = float(smooth[known].median()) if int(known.sum()) >= FEWEST_JUMPS else None
    looser = None if jump is None else loosened(smooth, known, jump)
    seen = looks.clear & one.determined
    sure = _sure(one, seen)
    if not set(bands) or not set(bands) <= CLOUD.keys() or int(sure.sum()) <= FEWEST_SCATTER:
        return Round(jump, None, None), Weighed.first(looks.clear, looser)
    distance = contradiction(one, looks, last.loose)
    spectra = _spectra(distance, one, sure, [bands[n] for n in scale.order.tolist()], scale)
    found = evidence(distance, one.left_out, one.typical, seen, spectra)
    z = filter_scores(found, looks.shape).flatten(3)[:, :, sure]
    norms = (1.48 * z.abs().median(dim=2).values).clamp(min=1)
    score = suspicion(found, seen, looks.shape, norms).flatten(1)
    stays = lasting(score, found, looks.values, looks.clear, spectra)
    return Round(jump, spectra, norms), last.judged(score, stays, looser, (looks.clear, one.determined))


def _sure(one: Solved, seen: Tensor) -> Tensor:
    """Looks `(time, pixel)` to learn the scatter from: those of which the others say enough, else the better half.

    Where the land changes fast against its noise, dampings are low and no look says much of another.
    """
    sure = seen & (one.typical > KNOWN)
    if int(sure.sum()) > FEWEST_SCATTER or not bool(seen.any()):
        return sure
    return seen & (one.typical >= max(LEAST_KNOWN, float(one.typical[seen].median())))


def _spectra(distance: Tensor, one: Solved, sure: Tensor, bands: Sequence[str], scale: Scale) -> Spectra:
    """Filters of a cell, with the scatter of distances that are `sure`."""
    places = sure.flatten().nonzero()[:, 0]
    places = places[:: max(1, len(places) // SCATTER_PIXELS)]
    standard = (distance * trust_of(one.typical).sqrt()).flatten(1)[:, places]
    scatter = robust_scatter(standard.double(), SCATTER_FREEDOM)
    scatter += 0.05 * torch.diag(scatter.diagonal())
    return Spectra.of(bands, scale.deviation, scatter, bare_ground(one.left_out, bands, scale))


def bare_ground(predicted: Tensor, bands: Sequence[str], scale: Scale) -> Tensor | None:
    """Mean spectrum `(band,)`, in noise units, of the twentieth of the land with the lowest NDVI."""
    pair = next((p for p in (("B04", "B08"), ("B05", "B8A")) if set(p) <= set(bands)), None)
    if pair is None:
        return None
    flat = predicted.flatten(1)
    flat = flat[:, :: max(1, flat.shape[1] // 20_000)]
    red, near = (flat[bands.index(name)] * scale.deviation[bands.index(name)] for name in pair)
    index = (near - red) / (near + red).clamp(min=1e-3)
    land = near > LEAST_LAND
    if int(land.sum()) < FEWEST_LAND:
        return None
    return flat[:, land & (index <= index[land].quantile(0.05))].mean(1)
