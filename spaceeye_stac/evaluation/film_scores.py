"""All that is scored of a film, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spaceeye_stac.evaluation.clouds import score_clouds
from spaceeye_stac.evaluation.consistency import consistency, fidelity
from spaceeye_stac.evaluation.events import score_events
from spaceeye_stac.evaluation.film import film_of
from spaceeye_stac.evaluation.looks import clear_dates
from spaceeye_stac.evaluation.runs import Dates, of_dates, score_runs
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.keyframes import laid_windows
from spaceeye_stac.query import Json


@dataclass(frozen=True)
class FilmScores:
    """Figures of every day of each method; each part is plain JSON as the module that makes it says.

    `index`: the two bands of the NDVI, None where the stack has none and bands alone are scored. `windows`: days of
    each method's windows. `dates`: how many are at least 60 % clear, and how many of them good. `hidden`: under cloud
    shapes ("cloud"), beside cloud ("edge"), single dates ("1") and runs of them ("2", "3", "4"): see `holdout`, `runs`.
    `consistency` and `fidelity`, by method: see `consistency`; `clouds`: see `clouds`; `events`: see `events`.
    """

    index: tuple[str, str] | None
    windows: Mapping[str, int]
    dates: Mapping[str, int]
    hidden: Json
    consistency: Json
    fidelity: Json
    clouds: Json
    events: Json

    def as_json(self) -> Json:
        """Return all figures as plain JSON; None stands for what cannot be known."""
        return {
            "index": None if self.index is None else list(self.index),
            "windows": dict(self.windows),
            "dates": dict(self.dates),
            "hidden": self.hidden,
            "consistency": self.consistency,
            "fidelity": self.fidelity,
            "clouds": self.clouds,
            "events": self.events,
        }


def score_film(trial: Trial, hidden: Mapping[str, Sequence[Dates]]) -> FilmScores:
    """Score every candidate of a trial in all that a film is asked for.

    `hidden`: the cases that were scored already, as `Scores.errors` gives them, by the name of what was hidden.
    """
    films = _films(trial)
    return FilmScores(
        index=None if trial.index is None else trial.index.names,
        windows=trial.windows,
        dates={"clear": len(clear_dates(trial.looks.clear)), "good": len(trial.good)},
        consistency={name: one["consistency"] for name, one in films.items()},
        fidelity={name: one["fidelity"] for name, one in films.items()},
        hidden={name: of_dates(trial, cases) for name, cases in hidden.items()} | score_runs(trial),
        clouds=score_clouds(trial),
        events=score_events(trial),
    )


def _films(trial: Trial) -> dict[str, Json]:
    """Make each method's film, and say how consistent it is and how close to good looks."""
    found = {}
    trial.progress("films", 0, len(trial.candidates))
    for done, (name, one) in enumerate(trial.candidates.items(), start=1):
        film = film_of(
            one, trial.looks, laid_windows(trial.asked, trial.looks.days, one.settings), trial.index, trial.workers
        )
        looks = trial.looks.every(film.step)
        found[name] = {
            "consistency": consistency(film, looks, trial.index),
            "fidelity": fidelity(film, looks, trial.good, trial.index, trial.bluest),
        }
        trial.progress("films", done, len(trial.candidates))
    return found
