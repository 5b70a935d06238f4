"""Clear pixels hidden on purpose, and how well each method gives them back; pure numpy, no I/O.

One case hides pixels of one target date t and scores a reconstruction from the window of `duration` days centred on it:

    "cloud"   dates at least 60 % clear lose hidden = clear[t] & ~clear[u], u a date 20-90 % clear drawn by the seed
    "date"    dates at least 60 % clear lose every clear pixel
    "edge"    dates 15-60 % clear lose the third of their clear pixels, 3217 (a disc of radius 32) at the most, that is
              nearest to a centre drawn by the seed among the clear pixels that touch a pixel which is not clear

Clear shares are of all pixels of the stack. Hidden pixels without another clear look in the window are not scored, for
no method can know them; a case left with fewer than 20 pixels is skipped and counted. The draw of a case depends on
the seed, its kind and its date alone, so methods, `duration` and `limit` do not change what is hidden.

With error e = estimate - truth in reflectance, over the hidden pixels and the bands of one date:

    rmse = sqrt(mean e^2)    mae = mean |e|    bias = mean e    psnr = 10 log10(1 / mean e^2)    (peak 1)

Every figure is the mean of these over the dates, with the standard error of that mean, std(ddof=1) / sqrt(n_dates).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError, NoClearLookError
from spaceeye_stac.progress import Progress, silent
from spaceeye_stac.query import Json

KINDS = ("cloud", "date", "edge")
TARGET_CLEAR = {"cloud": (0.6, 1.0), "date": (0.6, 1.0), "edge": (0.15, 0.6)}
SHAPE_CLEAR = (0.2, 0.9)
EDGE_SHARE = 1 / 3
EDGE_MOST = 3217
FEWEST_PIXELS = 20
BINS = ((1, 5), (6, 10), (11, 20), (21, None))
QUANTILES = {"68": 0.9945, "90": 1.6449}
FIGURES = ("psnr", "rmse", "mae", "bias")

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A reconstruction of the target date.

    Attributes
    ----------
    values
        `(band, y, x)` float32 reflectance, NaN = none.
    sd
        `(band, y, x)` float32 predictive standard deviation of an observation in reflectance, NaN = none; or None.
    wide
        `(band, y, x)` half width of the 90 % interval, where it is not 1.6449 sd.

    """

    values: Float
    sd: Float | None = None
    wide: Float | None = None


Reconstructor = Callable[[Float, Bool, Sequence[int], int], Estimate]


@dataclass(frozen=True)
class Tally:
    """The errors of one method in one case, summed.

    Attributes
    ----------
    moments
        `(3, band, bin)` float64: sums of e, |e| and e^2 over the pixels whose nearest look falls into each of `BINS`.
    pixels
        `(bin,)` how many they are.
    inside
        `(len(QUANTILES),)` values with |e| <= z sd.
    with_sd
        Values with a standard deviation.

    """

    moments: NDArray[np.float64]
    pixels: NDArray[np.int64]
    inside: NDArray[np.int64]
    with_sd: int


@dataclass(frozen=True)
class Case:
    """One target date with hidden pixels: its kind, index and day, and what each method made of it."""

    kind: str
    target: int
    day: int
    tallies: Mapping[str, Tally]


@dataclass(frozen=True)
class Example:
    """One case in full: `truth` and `estimates` `(band, y, x)`, NaN = none, and `hidden` `(y, x)`."""

    kind: str
    day: int
    truth: Float
    hidden: Bool
    estimates: Mapping[str, Float]


@dataclass(frozen=True)
class Scores:
    """Every case that was scored, how many of each kind were skipped, and one worked example for a picture."""

    bands: tuple[str, ...]
    methods: tuple[str, ...]
    cases: tuple[Case, ...]
    skipped: Mapping[str, int]
    example: Example = field(repr=False)

    def tallies(self, kind: str, method: str) -> dict[int, Tally]:
        """Return what a method made of each target date of a kind, by the date's index."""
        return {c.target: c.tallies[method] for c in self.cases if c.kind == kind and method in c.tallies}

    def as_json(self) -> Json:
        """Return all figures as plain JSON; None stands for what is infinite or has no dates.

        `"cloud"`, `"date"` and `"edge"` hold, by method, the means over dates of psnr, rmse, mae and bias, of all bands
        and by band, with standard errors; `bins`, rmse of the pixels of all dates pooled by the days to their nearest
        clear look; and `paired`, this method's psnr less another's over the dates that both have. `"coverage"` holds
        the pooled share of values within z standard deviations, `"skipped"` the cases skipped.
        """
        kinds: Json = {kind: {method: self._summary(kind, method) for method in self.methods} for kind in KINDS}
        shares = {method: self._coverage(method) for method in self.methods}
        return kinds | {
            "coverage": {method: share for method, share in shares.items() if share},
            "skipped": dict(self.skipped),
        }

    def _summary(self, kind: str, method: str) -> Json:
        tallies = list(self.tallies(kind, method).values())
        means = _means(tallies, len(self.bands))
        figures = per_date(means.mean(axis=2))
        return {
            **{name: _mean(figures[name]) for name in FIGURES},
            "n_dates": len(tallies),
            "n_pixels": int(sum(tally.pixels.sum() for tally in tallies)),
            "psnr_se": _standard_error(figures["psnr"]),
            "rmse_se": _standard_error(figures["rmse"]),
            "bands": {
                band: {name: _mean(found) for name, found in per_date(means[:, :, i]).items()}
                for i, band in enumerate(self.bands)
            },
            "bins": [_bin(tallies, i) for i in range(len(BINS))],
            "paired": {other: self._paired(kind, method, other) for other in self.methods if other != method},
        }

    def _paired(self, kind: str, method: str, other: str) -> Json:
        mine, theirs = self.tallies(kind, method), self.tallies(kind, other)
        both = [target for target in mine if target in theirs]
        one, two = (_psnr([tallies[target] for target in both], len(self.bands)) for tallies in (mine, theirs))
        finite = np.isfinite(one) & np.isfinite(two)
        difference = one[finite] - two[finite]
        return {"psnr_difference": _mean(difference), "standard_error": _standard_error(difference)}

    def _coverage(self, method: str) -> Json:
        found: Json = {}
        for kind in KINDS:
            tallies = self.tallies(kind, method).values()
            count = sum(tally.with_sd for tally in tallies)
            if count:
                inside = np.sum([tally.inside for tally in tallies], axis=0) / count
                found[kind] = {name: float(share) for name, share in zip(QUANTILES, inside, strict=True)}
        return found


def _means(tallies: Sequence[Tally], bands: int) -> NDArray[np.float64]:
    """Mean e, |e| and e^2 over the pixels of each date, `(date, 3, band)`."""
    if not tallies:
        return np.zeros((0, 3, bands))
    return np.stack([tally.moments.sum(axis=2) / tally.pixels.sum() for tally in tallies])


def _psnr(tallies: Sequence[Tally], bands: int) -> NDArray[np.float64]:
    return per_date(_means(tallies, bands).mean(axis=2))["psnr"]


def per_date(means: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return psnr (dB, inf without error), rmse, mae and bias `(date,)` from mean e, |e| and e^2 `(date, 3)`."""
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(means[:, 2])
    return {"psnr": psnr, "rmse": np.sqrt(means[:, 2]), "mae": means[:, 1], "bias": means[:, 0]}


def _bin(tallies: Sequence[Tally], index: int) -> Json:
    count = int(sum(tally.pixels[index] for tally in tallies))
    squares = [tally.moments[2, :, index].mean() for tally in tallies]
    rmse = float(np.sqrt(np.sum(squares) / count)) if count else None
    return {"days": list(BINS[index]), "rmse": rmse, "n": count}


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) and np.isfinite(values).all() else None


def _standard_error(values: NDArray[np.float64]) -> float | None:
    if len(values) < 2 or not np.isfinite(values).all():  # noqa: PLR2004
        return None
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def nearest(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
    """Each pixel's nearest clear look in time; of two as near, the earlier. NaN where never clear.

    `values` `(band, time, y, x)` reflectance, `clear` `(time, y, x)`, `days` `(time,)`; `target` indexes time.
    """
    gaps = np.abs(np.asarray(days) - days[target]).astype(np.float64)
    look = np.where(clear, gaps[:, None, None], np.inf).argmin(axis=0)
    return Estimate(np.where(clear.any(axis=0), _at(values, look), np.float32(np.nan)))


def linear(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
    """Linear in time between each pixel's clear looks before and after; constant outside; NaN where never clear.

    `values` `(band, time, y, x)` reflectance, `clear` `(time, y, x)`, `days` `(time,)`; `target` indexes time.
    """
    index = np.arange(len(days))[:, None, None]
    before = np.where(clear & (index <= target), index, -1).max(axis=0)
    after = np.where(clear & (index >= target), index, len(days)).min(axis=0)
    left, right = np.where(before < 0, after, before), np.where(after == len(days), before, after)
    left, right = np.clip(left, 0, len(days) - 1), np.clip(right, 0, len(days) - 1)
    when = np.asarray(days)
    share = ((days[target] - when[left]) / np.maximum(when[right] - when[left], 1)).clip(0, 1).astype(np.float32)
    blend = (1 - share) * _at(values, left) + share * _at(values, right)
    return Estimate(np.where(clear.any(axis=0), blend, np.float32(np.nan)))


def _at(values: Float, look: NDArray[np.intp]) -> Float:
    """Each pixel's values `(band, y, x)` at its own index `look` `(y, x)` in time."""
    return np.take_along_axis(values, look[None, None], axis=1)[:, 0]


def targets(clear: Bool, kind: str) -> NDArray[np.intp]:
    """Return the indices of the dates whose clear share makes them a target of this kind."""
    low, high = TARGET_CLEAR[kind]
    share = clear.mean(axis=(1, 2))
    return np.flatnonzero((share >= low) & (share <= high))


def hidden_pixels(clear: Bool, target: int, kind: str, seed: int) -> Bool:
    """Return the clear pixels `(y, x)` that a case hides; the same for the same seed, kind and target."""
    rng = np.random.default_rng([seed, KINDS.index(kind), target])
    if kind == "date":
        return np.array(clear[target])
    return _under_cloud(clear, target, rng) if kind == "cloud" else _beside_cloud(clear[target], rng)


def _under_cloud(clear: Bool, target: int, rng: np.random.Generator) -> Bool:
    share = clear.mean(axis=(1, 2))
    others = np.flatnonzero((share >= SHAPE_CLEAR[0]) & (share <= SHAPE_CLEAR[1]) & (np.arange(len(clear)) != target))
    if not len(others):
        return np.zeros_like(clear[target])
    return np.asarray(clear[target] & ~clear[rng.choice(others)])


def _beside_cloud(clear: Bool, rng: np.random.Generator) -> Bool:
    around = np.pad(~clear, 1)
    touched = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
    edge = np.argwhere(clear & touched)
    hidden = np.zeros_like(clear)
    if len(edge):
        pixels = np.argwhere(clear)
        count = min(int(len(pixels) * EDGE_SHARE), EDGE_MOST)
        far = ((pixels - rng.choice(edge)) ** 2).sum(axis=1)
        hole = pixels[np.argsort(far, kind="stable")[:count]]
        hidden[hole[:, 0], hole[:, 1]] = True
    return hidden


@dataclass(frozen=True)
class _Problem:
    """What a case gives the methods, and what it keeps from them.

    `values` `(band, time, y, x)` and `clear` `(time, y, x)` of the window without the hidden pixels; `truth`
    `(band, y, x)` of the target; `gap` `(y, x)` days to the nearest other clear look, inf where there is none.
    """

    values: Float
    clear: Bool
    days: tuple[int, ...]
    target: int
    truth: Float
    hidden: Bool
    gap: NDArray[np.float64]

    def estimate(self, method: Reconstructor) -> Estimate:
        """Run a method on copies, so that none can see or change what another gets."""
        return method(self.values.copy(), self.clear.copy(), self.days, self.target)


def _pose(values: Float, clear: Bool, days: Sequence[int], target: int, hidden: Bool, duration: int) -> _Problem:
    start = days[target] - duration // 2
    inside = [n for n, day in enumerate(days) if start <= day < start + duration]
    place, seen = inside.index(target), clear[inside]
    when = tuple(int(days[n]) for n in inside)
    gaps = np.abs(np.array(when) - when[place]).astype(np.float64)
    gaps[place] = np.inf
    seen[place] &= ~hidden
    return _Problem(
        values=np.where(seen, values[:, inside], np.float32(0)),
        clear=seen,
        days=when,
        target=place,
        truth=np.where(clear[target], values[:, target], np.float32(np.nan)),
        hidden=hidden,
        gap=np.where(seen, gaps[:, None, None], np.inf).min(axis=0),
    )


def score(
    values: Float,
    clear: Bool,
    days: Sequence[int],
    reconstructors: Mapping[str, Reconstructor],
    *,
    bands: Sequence[str],
    duration: int,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
) -> Scores:
    """Hide clear pixels of every date that suits, and score every method on the same ones.

    A pixel is scored where it is hidden, clear elsewhere in the window, and every method gave a value in all bands. A
    method with values at fewer than 20 such pixels is left out of that case, instead of taking it from the others.

    Parameters
    ----------
    values
        `(band, time, y, x)` float32 reflectance. What stands at pixels that are not clear has no effect.
    clear
        `(time, y, x)` bool, True = usable.
    days
        `(time,)` whole days, strictly increasing.
    reconstructors
        By name; each gets copies of `values` (0 where not clear) and `clear` without the hidden pixels, the days of the
        window, and the target's index among them.
    bands
        `(band,)` names.
    duration
        Days of the window, from `duration // 2` days before the target.
    seed
        Of every draw; 0 or more.
    limit
        At most so many target dates of each kind, spread evenly over those that suit; None is all.
    progress
        Called with a stage's name, the cases done and their number.

    Returns Scores. Raises InvalidInputError where shapes or days do not fit, NoClearLookError where nothing is scored.

    """
    _check(values, clear, days, bands)
    _check_plan(reconstructors, duration, seed, limit)
    todo = [(kind, int(t)) for kind in KINDS for t in _spread(targets(clear, kind), limit)]
    cases: list[Case] = []
    example: Example | None = None
    progress("evaluating", 0, len(todo))
    for done, (kind, target) in enumerate(todo, start=1):
        problem = _pose(values, clear, days, target, hidden_pixels(clear, target, kind, seed), duration)
        found, tallies = _attempt(problem, reconstructors)
        if tallies:
            cases.append(Case(kind, target, int(days[target]), tallies))
            shown = Example(kind, int(days[target]), problem.truth, problem.hidden, found)
            example = shown if example is None or _telling(shown) > _telling(example) else example
        progress("evaluating", done, len(todo))
    if example is None:
        raise NoClearLookError(
            f"None of {len(days)} dates has clear pixels to hide that are clear elsewhere in {duration} days; "
            "widen datetime or duration."
        )
    skipped = {kind: sum(k == kind for k, _ in todo) - sum(c.kind == kind for c in cases) for kind in KINDS}
    return Scores(tuple(bands), tuple(reconstructors), tuple(cases), skipped, example)


def _check(values: Float, clear: Bool, days: Sequence[int], bands: Sequence[str]) -> None:
    if values.shape != (len(bands), len(days), *clear.shape[1:]) or len(clear) != len(days):
        raise InvalidInputError(
            f"values {values.shape} and clear {clear.shape} must be (band, time, y, x) and (time, y, x) "
            f"of {len(bands)} bands and {len(days)} days."
        )
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise InvalidInputError("days must be strictly increasing whole numbers.")


def _check_plan(methods: Mapping[str, Reconstructor], duration: int, seed: int, limit: int | None) -> None:
    if not methods:
        raise InvalidInputError("reconstructors is empty; name at least one method.")
    for name, value, least in (("duration", duration, 1), ("seed", seed, 0), ("limit", limit, 1)):
        if value is not None and value < least:
            raise InvalidInputError(f"{name} {value} is not allowed; give a whole number from {least}.")


def _spread(dates: NDArray[np.intp], limit: int | None) -> NDArray[np.intp]:
    if limit is None or limit >= len(dates):
        return dates
    return np.take(dates, np.linspace(0, len(dates) - 1, limit).round().astype(int))


def _attempt(problem: _Problem, methods: Mapping[str, Reconstructor]) -> tuple[dict[str, Float], dict[str, Tally]]:
    """Every method's image, and the tallies over the pixels that all can be scored on; none where those are too few."""
    scored = problem.hidden & np.isfinite(problem.gap)
    if scored.sum() < FEWEST_PIXELS:
        return {}, {}
    found = {name: problem.estimate(method) for name, method in methods.items()}
    given = {name: scored & np.isfinite(one.values).all(axis=0) for name, one in found.items()}
    given = {name: where for name, where in given.items() if where.sum() >= FEWEST_PIXELS}
    common = np.logical_and.reduce([scored, *given.values()])
    images = {name: one.values for name, one in found.items()}
    if not given or common.sum() < FEWEST_PIXELS:
        return images, {}
    return images, {name: _tally(problem, found[name], common) for name in given}


def _tally(problem: _Problem, found: Estimate, where: Bool) -> Tally:
    errors = found.values[:, where].astype(np.float64) - problem.truth[:, where]
    edges = [low - 0.5 for low, _ in BINS[1:]]
    member = np.eye(len(BINS))[np.digitize(problem.gap[where], edges)]
    moments = np.stack([errors, np.abs(errors), errors**2]) @ member
    sd = np.full_like(errors, np.nan) if found.sd is None else found.sd[:, where].astype(np.float64)
    widths = [z * sd for z in QUANTILES.values()]
    if found.wide is not None:
        widths[1] = found.wide[:, where].astype(np.float64)
    inside = [(np.abs(errors) <= width).sum() for width in widths]
    return Tally(moments, member.sum(axis=0).astype(np.int64), np.array(inside), int(np.isfinite(sd).sum()))


def _telling(example: Example) -> tuple[bool, float]:
    """Rank examples: under a cloud shape first, then the nearest to half of the image hidden."""
    return example.kind == "cloud", -abs(float(example.hidden.mean()) - 0.5)
