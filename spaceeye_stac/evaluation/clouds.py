"""What is left of a thin cloud that was planted among looks labelled clear.

On a good date a cloud and its shadow of random spectra are planted, and each method solves its window with and without
them. Over the pixels on which the effect is above 0.05, with x the method's image with the cloud, x0 without, y the
clean look:

    planted    |y with the cloud - y|
    day        |x - x0| on that day; `near` on the days 1, 2 and 4 before and after
    against_clean  |x - y| on that day, and how many y lie in the intervals (`coverage`)
    suspect    how well the method's own suspicion tells these pixels from those with an effect below 0.01: area under
               the ROC curve (0.5 knows nothing, 1 all), and the share of them found where 1, 5 and 10 % of the others
               are suspected; some of these others may hold real undetected cloud
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from spaceeye_stac.evaluation.baselines import Bool, Estimate, Float
from spaceeye_stac.evaluation.candidates import Candidate
from spaceeye_stac.evaluation.date_errors import DateErrors, coverage, date_errors, quantiles, sample_step
from spaceeye_stac.evaluation.hidden import FEWEST_PIXELS
from spaceeye_stac.evaluation.looks import LookStack, VegetationIndex, spread_evenly
from spaceeye_stac.evaluation.planted import plant_cloud
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.query import Json

CLOUDS = 14
STRONG = 0.05
WEAK = 0.01
NEAR_DAYS = (-4, -2, -1, 1, 2, 4)
FALSE_ALARMS = (0.01, 0.05, 0.10)
DRAW = 1  # tells the draws of clouds from those of events


@dataclass(frozen=True)
class PlantedCloud:
    """One date with a cloud: looks without and with it, and its effect `(y, x)`."""

    target: int
    clean: LookStack
    cloudy: LookStack
    effect: Float

    @property
    def day(self) -> int:
        """Day of the date."""
        return self.clean.days[self.target]

    @property
    def strong(self) -> Bool:
        """Pixels that are changed enough to be scored."""
        return np.asarray(np.abs(self.effect) > STRONG)

    @property
    def untouched(self) -> Bool:
        """Clear pixels that are as they were."""
        return np.asarray((np.abs(self.effect) < WEAK) & self.clean.clear[self.target])


@dataclass(frozen=True)
class CloudTrace:
    """What one method made of one cloud: errors with interval, and suspicion of changed and of untouched pixels."""

    planted: DateErrors
    day: DateErrors
    near: tuple[DateErrors, ...]
    against_clean: DateErrors
    found: Float | None
    alarmed: Float | None


def planted_cloud(trial: Trial, target: int) -> PlantedCloud:
    """Plant a cloud on a date; the same for the same seed and date."""
    day = trial.looks.days[target]
    clean = trial.looks.inside(trial.around(day))
    place = clean.days.index(day)
    cloudy, effect = plant_cloud(clean, place, np.random.default_rng([trial.seed, DRAW, target]))
    return PlantedCloud(place, clean, cloudy, effect)


def score_clouds(trial: Trial) -> Json:
    """By method: what is left; see this module."""
    dates = spread_evenly(trial.good, trial.most(CLOUDS))
    found = list(trial.each("planted clouds", partial(_score, trial), dates))
    return {name: _summed([traces[name] for traces in found if traces]) for name in trial.candidates}


def _score(trial: Trial, target: int) -> Mapping[str, CloudTrace]:
    cloud = planted_cloud(trial, target)
    solved = {name: _solved(one, cloud, trial.reads(name, cloud.day)) for name, one in trial.candidates.items()}
    valued = [np.isfinite(images[0].values).all(axis=0) for pair in solved.values() for images in pair]
    where = np.logical_and.reduce([cloud.strong, *valued])
    if where.sum() < FEWEST_PIXELS:
        return {}
    return {name: _trace(cloud, *pair, where, trial.index) for name, pair in solved.items()}


def _solved(one: Candidate, cloud: PlantedCloud, read: range) -> tuple[list[Estimate], list[Estimate]]:
    """Images without and with the cloud, of its day and those near it."""
    days = [cloud.day, *(cloud.day + n for n in NEAR_DAYS if cloud.day + n in read)]
    clean, cloudy = (one.window(looks, read) for looks in (cloud.clean, cloud.cloudy))
    return [clean(day) for day in days], [cloudy(day) for day in days]


def _trace(
    cloud: PlantedCloud, clean: list[Estimate], cloudy: list[Estimate], where: Bool, index: VegetationIndex | None
) -> CloudTrace:
    seen, planted = cloud.clean.values[:, cloud.target], Estimate(cloud.cloudy.values[:, cloud.target])
    left = [date_errors(b, a.values, where, index) for a, b in zip(clean, cloudy, strict=True)]
    against = date_errors(cloudy[0], seen, where, index)
    suspect = cloudy[0].suspect
    found = None if suspect is None else _some(suspect[where])
    alarmed = None if suspect is None else _some(suspect[cloud.untouched])
    return CloudTrace(date_errors(planted, seen, where, index), left[0], tuple(left[1:]), against, found, alarmed)


def _some(values: Float) -> Float:
    return values[:: sample_step(len(values))]


def _summed(traces: list[CloudTrace]) -> Json | None:
    if not traces:
        return None
    near = [one for trace in traces for one in trace.near]
    parts = {"planted": [trace.planted for trace in traces], "day": [trace.day for trace in traces], "near": near}
    against = [trace.against_clean for trace in traces]
    return {
        **{name: _both(errors) for name, errors in parts.items()},
        "against_clean": {**_both(against), "coverage": coverage(against)},
        "suspect": _suspicion(traces),
        "n_dates": len(traces),
    }


def _both(errors: list[DateErrors]) -> Json:
    return {"index": quantiles([one.index for one in errors]), "bands": quantiles([one.bands for one in errors])}


def _suspicion(traces: list[CloudTrace]) -> Json | None:
    found = [trace.found for trace in traces if trace.found is not None]
    alarmed = [trace.alarmed for trace in traces if trace.alarmed is not None]
    return roc(np.concatenate(found), np.concatenate(alarmed)) if found else None


def roc(positive: Float, negative: Float) -> Json | None:
    """Area under the ROC curve of a score, ties counted half, and hits at some rates of false alarms.

    `hits`: by false-alarm rate, the share of `positive` above the score that so many of `negative` exceed. None where
    one of the two is empty.
    """
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    hits = {f"{rate:g}": float((positive > np.quantile(ordered, 1 - rate)).mean()) for rate in FALSE_ALARMS}
    return {"auc": float(below.mean() / (2 * len(ordered))), "hits": hits}
