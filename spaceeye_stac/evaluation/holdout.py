"""Clear pixels hidden on purpose, and how well each method gives them back; pure numpy, no I/O.

One case hides pixels of one target date t and scores a reconstruction from the window of `duration` days, or of each
method's own, centred on it, or of a causal method ending with it:

    "cloud"   dates at least 60 % clear lose hidden = clear[t] & ~clear[u], u a date 20-90 % clear drawn by the seed
    "date"    dates at least 60 % clear lose every clear pixel
    "edge"    dates 15-60 % clear lose the third of their clear pixels, 3217 (a disc of radius 32) at the most, that is
              nearest to a centre drawn by the seed among the clear pixels that touch a pixel which is not clear

Clear shares are of all pixels of the stack. Hidden pixels without another clear look in the shortest window are not
scored, for no method can know them; a case left with fewer than 20 pixels is skipped and counted. The draw of a case
depends on the seed, its kind and its date alone, so methods, `duration` and `limit` do not change what is hidden.

With error e = estimate - truth in reflectance, over the hidden pixels and the bands of one date:

    rmse = sqrt(mean e^2)    mae = mean |e|    bias = mean e    psnr = 10 log10(1 / mean e^2)    (peak 1)

and SSIM, spectral angle, relative RMSE and the errors of NDVI as `likeness` defines them.

Every figure is the mean of these over the dates, with the standard error of that mean, std(ddof=1) / sqrt(n_dates).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError, NoClearLookError
from spaceeye_stac.evaluation.baselines import Bool, Estimate, Float, Reconstructor
from spaceeye_stac.evaluation.date_errors import DateErrors
from spaceeye_stac.evaluation.hidden import FEWEST_PIXELS, KINDS, hidden_pixels, targets
from spaceeye_stac.evaluation.likeness import likeness
from spaceeye_stac.evaluation.looks import VegetationIndex, spread_evenly, vegetation_index
from spaceeye_stac.evaluation.scores import BINS, Case, Example, Scores, Tally
from spaceeye_stac.evaluation.threads import side_by_side
from spaceeye_stac.evaluation.trial import centred, ending
from spaceeye_stac.model import Progress, silent

Measure = Callable[[Estimate, Float, Bool], DateErrors]


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


def _pose(values: Float, clear: Bool, days: Sequence[int], target: int, hidden: Bool, read: range) -> _Problem:
    inside = [n for n, day in enumerate(days) if day in read]
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
    duration: int | Mapping[str, int],
    causal: Collection[str] = (),
    seed: int = 0,
    limit: int | None = None,
    workers: int = 1,
    measure: Measure | None = None,
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
        Days of the window, from `duration // 2` days before the target; or those of each reconstructor, by name.
    causal
        Names of reconstructors whose windows end with the target.
    seed
        Of every draw; 0 or more.
    limit
        At most so many target dates of each kind, spread evenly over those that suit; None is all.
    workers
        Cases at once, on threads.
    measure
        Called with an estimate, the truth `(band, y, x)` and the pixels that are scored `(y, x)`; what it returns
        stands in `Tally.errors`.
    progress
        Called with a stage's name, the cases done and their number.

    Returns Scores. Raises InvalidInputError where shapes or days do not fit, NoClearLookError where nothing is scored.

    """
    _check(values, clear, days, bands)
    windows = dict.fromkeys(reconstructors, duration) if isinstance(duration, int) else dict(duration)
    _check_plan(windows, seed, limit)
    todo = [(kind, t) for kind in KINDS for t in spread_evenly(targets(clear, kind), limit)]
    measures = vegetation_index(bands), measure
    cases: list[Case] = []
    example: Example | None = None

    def attempt(case: tuple[str, int]) -> _Attempt:
        hidden = hidden_pixels(clear, case[1], case[0], seed)
        day = days[case[1]]
        reads = {name: (ending if name in causal else centred)(day, length) for name, length in windows.items()}
        posed = {read: _pose(values, clear, days, case[1], hidden, read) for read in set(reads.values())}
        usual = [posed[read] for name, read in reads.items() if name not in causal] or list(posed.values())
        shortest = min(usual, key=lambda one: len(one.days))
        return _attempt(shortest, {name: posed[read] for name, read in reads.items()}, reconstructors, measures)

    progress("evaluating", 0, len(todo))
    attempts = zip(todo, side_by_side(attempt, todo, workers), strict=True)
    for done, ((kind, target), (problem, found, tallies)) in enumerate(attempts, start=1):
        if tallies:
            cases.append(Case(kind, target, int(days[target]), tallies))
            candidate = _example(kind, int(days[target]), problem, found)
            example = candidate if example is None or _telling(candidate) > _telling(example) else example
        progress("evaluating", done, len(todo))
    if example is None:
        raise NoClearLookError(
            f"None of {len(days)} dates has clear pixels to hide that are clear elsewhere in {min(windows.values())} "
            "days; widen datetime or duration."
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


def _check_plan(windows: Mapping[str, int], seed: int, limit: int | None) -> None:
    if not windows:
        raise InvalidInputError("reconstructors is empty; name at least one method.")
    durations = [("duration", length, 1) for length in windows.values()]
    for name, value, least in (*durations, ("seed", seed, 0), ("limit", limit, 1)):
        if value is not None and value < least:
            raise InvalidInputError(f"{name} {value} is not allowed; give a whole number from {least}.")


_Attempt = tuple[_Problem, dict[str, Estimate], dict[str, Tally]]
_Measures = tuple[VegetationIndex | None, Measure | None]


def _attempt(
    problem: _Problem,
    problems: Mapping[str, _Problem],
    methods: Mapping[str, Reconstructor],
    measures: _Measures,
) -> _Attempt:
    """Pose each method its problem; every image, and tallies over the pixels that all can be scored on.

    `problem`: the shortest, which says what can be known. There are no tallies where those pixels are too few.
    """
    scored = problem.hidden & np.isfinite(problem.gap)
    if scored.sum() < FEWEST_PIXELS:
        return problem, {}, {}
    found = {name: problems[name].estimate(method) for name, method in methods.items()}
    valued = {name: scored & np.isfinite(one.values).all(axis=0) for name, one in found.items()}
    valued = {name: where for name, where in valued.items() if where.sum() >= FEWEST_PIXELS}
    common = np.logical_and.reduce([scored, *valued.values()])
    if not valued or common.sum() < FEWEST_PIXELS:
        return problem, found, {}
    return problem, found, {name: _tally(problem, found[name], common, measures) for name in valued}


def _example(kind: str, day: int, problem: _Problem, found: Mapping[str, Estimate]) -> Example:
    halves = {name: half for name, one in found.items() if (half := one.half_widths()) is not None}
    return Example(
        kind,
        day,
        problem.truth,
        problem.hidden,
        {name: one.values for name, one in found.items()},
        {name: inner for name, (inner, _) in halves.items()},
    )


def _tally(problem: _Problem, found: Estimate, where: Bool, measures: _Measures) -> Tally:
    index, measure = measures
    errors = found.values[:, where].astype(np.float64) - problem.truth[:, where]
    edges = [low - 0.5 for low, _ in BINS[1:]]
    member = np.eye(len(BINS))[np.digitize(problem.gap[where], edges)]
    moments = np.stack([errors, np.abs(errors), errors**2]) @ member
    halves = found.half_widths()
    widths = [np.full_like(errors, np.nan)] * 2 if halves is None else [half[:, where] for half in halves]
    inside = [(np.abs(errors) <= width).sum() for width in widths]
    return Tally(
        moments,
        pixels=member.sum(axis=0).astype(np.int64),
        inside=np.array(inside),
        with_sd=int(np.isfinite(widths[0]).sum()),
        likeness=likeness(found.values, problem.truth, where, index),
        errors=None if measure is None else measure(found, problem.truth, where),
    )


def _telling(example: Example) -> tuple[bool, float]:
    """Rank examples: under a cloud shape first, then the nearest to half of the image hidden."""
    return example.kind == "cloud", -abs(float(example.hidden.mean()) - 0.5)
