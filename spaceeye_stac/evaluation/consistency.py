"""Whether a film is one: jumps on acquisition days, roughness, days outside their bracket, and closeness to good looks.

With y the looks, x the film, d days, m the mean over the image of the index of x, and `line` of `looks.line_between`:

    jump         |m_t - (m_(t-1) + m_(t+1)) / 2| on days at least 90 % clear; `jump_pixel` the same of each clear pixel
    roughness    sum |m_(t+1) - 2 m_t + m_(t-1)| a year
    outside      share of unseen days, pixel by pixel, between two clear looks 2 to 10 days apart whose index differs by
                 at most 0.05, on which the index of x lies outside these two by more than 0.05 (or 0.10)
    fidelity     |x - y| at clear pixels that agree with line(t, 10): index within 0.03, bluest band within 0.01;
                 `mean` the same of the image's mean index on good dates

Source: `surface.md`, section 2, of the surface method's specification.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import Bool, Float
from spaceeye_stac.evaluation.date_errors import quantiles
from spaceeye_stac.evaluation.film import Film
from spaceeye_stac.evaluation.hidden import FEWEST_PIXELS
from spaceeye_stac.evaluation.looks import LookStack, VegetationIndex, line_between
from spaceeye_stac.query import Json

ALMOST_CLEAR = 0.9
BRACKET_DAYS = range(2, 11)
BRACKET_INDEX = 0.05
OUTSIDE = (0.05, 0.10)
FIDELITY_DAYS = 10
FIDELITY_INDEX = 0.03
FIDELITY_REFLECTANCE = 0.01
YEAR = 365


def consistency(film: Film, looks: LookStack, index: VegetationIndex | None) -> Json | None:
    """Return jumps, roughness and days outside their bracket; None where the bands have no index."""
    if film.index is None or index is None:
        return None
    means = _means(film.index)
    second = np.abs(np.diff(means, 2))
    second = second[np.isfinite(second)]
    return {
        **_jumps(film.index, means, film.days, looks),
        "roughness": float(second.sum() / (len(second) / YEAR)) if len(second) else None,
        **_outside(film.index, film.days, looks.clear, looks.days, index.of(looks.values)),
    }


def _means(images: Float) -> NDArray[np.float64]:
    """Mean of each image `(day,)`, NaN where it has no value."""
    valid = np.isfinite(images)
    count = valid.sum(axis=(1, 2))
    sums = np.where(valid, images, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _jumps(index: Float, means: NDArray[np.float64], days: range, looks: LookStack) -> Json:
    whole, pixels = [], []
    for clear, day in zip(looks.clear, looks.days, strict=True):
        n = day - days.start
        if clear.mean() < ALMOST_CLEAR or not 0 < n < len(days) - 1:
            continue
        whole.append(abs(means[n] - (means[n + 1] + means[n - 1]) / 2))
        pixels.append((index[n] - (index[n + 1] + index[n - 1]) / 2)[clear])
    seen = np.array(whole)[np.isfinite(whole)]
    return {
        "jump": {"median": float(np.median(seen)), "max": float(seen.max()), "n": len(seen)} if len(seen) else None,
        "jump_pixel": quantiles([part[np.isfinite(part)] for part in pixels]),
    }


def _outside(index: Float, days: range, clear: Bool, when: Sequence[int], seen: Float) -> Json:
    count, beyond = 0, np.zeros(len(OUTSIDE), np.int64)
    for a, b, where in _brackets(clear, when, seen):
        between = index[when[a] + 1 - days.start : when[b] - days.start, where]
        low, high = np.minimum(seen[a, where], seen[b, where]), np.maximum(seen[a, where], seen[b, where])
        off = np.maximum(low - between, between - high)
        count += int(np.isfinite(off).sum())
        beyond += [int((off > limit).sum()) for limit in OUTSIDE]
    shares = {f"outside_{100 * limit:03.0f}": beyond[n] / count if count else None for n, limit in enumerate(OUTSIDE)}
    return {**shares, "n_between": count}


def _brackets(clear: Bool, when: Sequence[int], seen: Float) -> Iterator[tuple[int, int, Bool]]:
    """Give two dates and the pixels `(y, x)` of which these are consecutive looks that are near and agree."""
    last = np.full(clear.shape[1:], -1)
    for b, looked in enumerate(clear):
        for a in np.unique(last[looked & (last >= 0)]):
            where = looked & (last == a)
            if when[b] - when[a] in BRACKET_DAYS:
                where &= np.abs(seen[a] - seen[b]) <= BRACKET_INDEX
                if where.any():
                    yield int(a), b, where
        last[looked] = b


def fidelity(film: Film, looks: LookStack, good: Sequence[int], index: VegetationIndex | None, bluest: int = 0) -> Json:
    """Return how far acquisition days are from looks that can be believed: index, reflectance, mean index."""
    indices: list[Float] = []
    bands: list[Float] = []
    means: list[np.floating] = []
    for t in range(len(looks.days)):
        seen, shown = looks.values[:, t], film.acquired[:, t]
        where = _believed(looks, t, index, bluest) & np.isfinite(shown[0])
        if where.any():
            bands.append(shown[:, where] - seen[:, where])
            if index is not None:
                indices.append(index.of(shown[:, where]) - index.of(seen[:, where]))
        all_clear = looks.clear[t] & np.isfinite(shown[0])
        if index is not None and t in good and all_clear.any():
            means.append(index.of(shown[:, all_clear]).mean() - index.of(seen[:, all_clear]).mean())
    return {"index": quantiles(indices), "bands": quantiles(bands), "mean": quantiles([np.array(means)])}


def _believed(looks: LookStack, target: int, index: VegetationIndex | None, bluest: int) -> Bool:
    """Clear pixels `(y, x)` that agree with the looks within 10 days before and after; none where those are few."""
    line = line_between(looks, target, FIDELITY_DAYS)
    where = looks.clear[target] & line.valid
    if where.sum() < FEWEST_PIXELS:
        return np.zeros_like(where)
    seen = looks.values[:, target]
    if index is not None:
        where &= np.abs(index.of(seen) - index.of(line.values)) <= FIDELITY_INDEX
    return np.asarray(where & (np.abs(seen[bluest] - line.values[bluest]) <= FIDELITY_REFLECTANCE))
