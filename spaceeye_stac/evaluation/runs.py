"""Hidden runs of dates: days without a look, of which a film mostly consists.

Of the dates at least 60 % clear, L = 2 to 4 consecutive ones are taken (L = 1 are the whole dates of `holdout`), and
every look from the first to the last is hidden, those of cloudier dates between them, too. Each method solves its own
window around the middle of the run, and is scored on the clear pixels of the L dates that have another look in the
shortest window and a value of every method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spaceeye_stac.evaluation.baselines import Bool, Estimate
from spaceeye_stac.evaluation.date_errors import DateErrors, date_errors, pooled
from spaceeye_stac.evaluation.hidden import FEWEST_PIXELS
from spaceeye_stac.evaluation.looks import LookStack, clear_dates, spread_evenly
from spaceeye_stac.evaluation.trial import Trial, centred
from spaceeye_stac.query import Json

LENGTHS = (2, 3, 4)
RUNS = 16
Dates = Mapping[int, Mapping[str, DateErrors]]


@dataclass(frozen=True)
class HiddenRun:
    """Dates, by index, that are scored; all dates from the first to the last of them are hidden."""

    targets: tuple[int, ...]

    def days(self, looks: LookStack) -> range:
        """Return the days on which nothing is seen."""
        return range(looks.days[self.targets[0]], looks.days[self.targets[-1]] + 1)

    def middle(self, looks: LookStack) -> int:
        """Day in the middle."""
        return round((looks.days[self.targets[0]] + looks.days[self.targets[-1]]) / 2)


def hidden_runs(trial: Trial, length: int) -> list[HiddenRun]:
    """Return runs of so many clear dates, spread evenly, none of which has the first or the last of them."""
    dates = clear_dates(trial.looks.clear)
    starts = spread_evenly(range(1, len(dates) - length), trial.most(RUNS))
    return [HiddenRun(tuple(dates[start : start + length])) for start in starts]


def score_runs(trial: Trial) -> Json:
    """By length, for "all" dates and "good" ones, and by method: `date_errors.pooled`."""
    runs = [(length, run) for length in LENGTHS for run in hidden_runs(trial, length)]
    found: dict[int, list[Dates]] = {length: [] for length in LENGTHS}
    tried = trial.each("hidden runs", lambda case: _score(trial, case[1]), runs)
    for (length, _), dates in zip(runs, tried, strict=True):
        found[length].append(dates)
    return {str(length): of_dates(trial, cases) for length, cases in found.items()}


def _score(trial: Trial, run: HiddenRun) -> Dates:
    """Errors of each method on each of the run's dates that can be scored."""
    middle, hidden = run.middle(trial.looks), run.days(trial.looks)
    seen = trial.looks.inside(trial.around(middle)).hiding(hidden)
    known = seen.inside(centred(middle, trial.shortest)).clear.any(axis=0)
    solved = {name: one.window(seen, trial.reads(name, middle)) for name, one in trial.candidates.items()}
    inside = [t for t in run.targets if trial.looks.days[t] in centred(middle, trial.shortest)]
    found: dict[int, Mapping[str, DateErrors]] = {}
    for t in inside:
        images = {name: on(trial.looks.days[t]) for name, on in solved.items()}
        where = trial.looks.clear[t] & known & _valued(images)
        if where.sum() >= FEWEST_PIXELS:
            truth = trial.looks.values[:, t]
            found[t] = {name: date_errors(image, truth, where, trial.index) for name, image in images.items()}
    return found


def _valued(images: Mapping[str, Estimate]) -> Bool:
    return np.asarray(np.logical_and.reduce([np.isfinite(image.values).all(axis=0) for image in images.values()]))


def of_dates(trial: Trial, cases: Sequence[Dates]) -> Json:
    """For "all" dates and "good" ones, and by method: `date_errors.pooled` of cases, each by date and by method."""
    chosen = {"all": set(range(len(trial.looks.days))), "good": set(trial.good)}
    return {
        which: {
            name: pooled(
                [errors[name] for dates in cases for t, errors in dates.items() if t in among and name in errors]
            )
            for name in trial.candidates
        }
        for which, among in chosen.items()
    }
