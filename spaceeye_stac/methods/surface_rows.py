"""The surface method on some rows of a cell, once it is learnt: pixel by pixel in parts that fit the cache."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.solver import cached_parts
from spaceeye_stac.methods.surface_fit import Round, SurfaceFit
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
from spaceeye_stac.methods.suspects import BOXES, Evidence, evidence, lasting, suspicion

CONTEXT = 2 * (BOXES[-1] // 2 + 1)


@dataclass(frozen=True)
class SurfaceRows:
    """Some rows of a cell: `smooth` `(band, time, y, x)` in reflectance; all else `(time, y, x)`.

    `information`: Q, the mean over bands; `weights` of the looks and `pixel_weights`, which leave out the date's;
    `score` of the last round.
    """

    smooth: Tensor
    clear: Tensor
    information: Tensor
    weights: Tensor
    pixel_weights: Tensor
    score: Tensor


def surface_rows(values: Tensor, clear: Tensor, days: tuple[int, ...], fit: SurfaceFit, inner: slice) -> SurfaceRows:
    """Make the rows `inner` of reflectance `(band, time, y, x)` with `clear`, and look at all of them for that."""
    dates, height, width = clear.shape
    parts = cached_parts(height, width)
    flat = torch.where(clear, values, 0.0).flatten(2)
    looks = Looks(fit.scale.apply(flat), clear.flatten(1), days, (1, height, width))
    last = Weighed.first(looks.clear)
    for found in fit.rounds:
        last = _round(looks, last, fit, found, parts)
    weights = last.pixel * fit.date_weights[:, None]
    out = SurfaceRows(
        torch.empty(len(values), dates, inner.stop - inner.start, width),
        *(
            image.view(dates, height, width)[:, inner]
            for image in (looks.clear, torch.empty_like(weights), weights, last.pixel, last.score)
        ),
    )
    _finish(looks, weights, last.loose, fit, parts, (inner, out))
    return out


def _finish(
    looks: Looks,
    weights: Tensor,
    loose: Tensor | None,
    fit: SurfaceFit,
    parts: list[slice],
    to: tuple[slice, SurfaceRows],
) -> None:
    """Put the minimiser and its information into the rows that are wanted."""
    (inner, out), width = to, looks.shape[2]
    for part in parts:
        rows = slice(max(part.start // width, inner.start), min(part.stop // width, inner.stop))
        if rows.start >= rows.stop:
            continue
        one = _solved(looks, weights, loose, fit, part)
        here = slice(rows.start * width - part.start, rows.stop * width - part.start)
        there = slice(rows.start - inner.start, rows.stop - inner.start)
        state = fit.scale.undo(one.sides.minimiser(one.weighted, one.weights, fit.mean))
        for target, image in ((out.smooth, state), (out.information, one.typical)):
            target[..., there, :] = image[..., here].unflatten(-1, (-1, width))


def _part(looks: Looks, part: slice) -> Looks:
    rows = (part.stop - part.start) // looks.shape[2]
    return Looks(looks.values[..., part], looks.clear[:, part], looks.days, (1, rows, looks.shape[2]))


def _solved(looks: Looks, weights: Tensor, loose: Tensor | None, fit: SurfaceFit, part: slice) -> Solved:
    some = None if loose is None else loose[:, part]
    return solved(_part(looks, part), weights[:, part], some, fit.scale.dampings, fit.mean)


def _round(looks: Looks, last: Weighed, fit: SurfaceFit, found: Round, parts: list[slice]) -> Weighed:
    """Judge all looks once more: pixels part by part, boxes over all."""
    weights = last.pixel * fit.date_weights[:, None]
    dates, pixels = weights.shape
    jumps, known = torch.empty(dates - 1, pixels), torch.empty(dates - 1, pixels, dtype=torch.bool)
    whole = Evidence.empty(dates, pixels)
    determined = torch.empty(dates, pixels, dtype=torch.bool)
    for part in parts:
        one, here = _solved(looks, weights, last.loose, fit, part), _part(looks, part)
        if found.jump is not None:
            jumps[:, part], known[:, part] = gap_jumps(one, here)
        determined[:, part] = one.determined
        if found.spectra is not None:
            distance = contradiction(one, here, None if last.loose is None else last.loose[:, part])
            seen = here.clear & one.determined
            whole.put(part, evidence(distance, one.left_out, one.typical, seen, found.spectra))
    looser = None
    if found.jump is not None:
        looser = loosened(smoothed_jumps(looks.images(jumps), looks.images(known)).flatten(1), known, found.jump)
    if found.spectra is None or found.norms is None:
        return Weighed.first(looks.clear, looser)
    score = suspicion(whole, looks.clear & determined, looks.shape, found.norms).flatten(1)
    stays = lasting(score, whole, looks.values, looks.clear, found.spectra)
    return last.judged(score, stays, looser, (looks.clear, determined))
