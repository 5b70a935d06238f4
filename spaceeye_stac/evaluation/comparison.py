"""The methods scored on hidden pixels and on every day, over anyone's region."""

import os
from collections.abc import Sequence
from dataclasses import replace

from spaceeye_stac.engine import grid_job, readable_scenes
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.evaluation.baselines import Bool, Estimate, Float
from spaceeye_stac.evaluation.candidates import candidates, default_methods
from spaceeye_stac.evaluation.date_errors import DateErrors, date_errors
from spaceeye_stac.evaluation.film_scores import score_film
from spaceeye_stac.evaluation.hidden import KINDS
from spaceeye_stac.evaluation.holdout import Measure, score
from spaceeye_stac.evaluation.likeness import LIKENESS
from spaceeye_stac.evaluation.looks import LookStack
from spaceeye_stac.evaluation.scores import Scores
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import GridJob, Progress, Scene, silent
from spaceeye_stac.pixels import observe_part
from spaceeye_stac.query import Json, Query
from spaceeye_stac.settings import OTHER_DURATION, MethodCallable, Settings

LARGEST_PIXELS = 1024
PIXELS_AT_ONCE = 512 * 512


def evaluate(
    scenes: Sequence[Scene],
    query: Query,
    settings: Settings | None = None,
    *,
    methods: Sequence[str | MethodCallable] | None = None,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
) -> Scores:
    """Score how each method gives hidden pixels back, and the film that it makes of every day.

    Parameters
    ----------
    scenes, query
        The region (at most 1024 pixels a side: name a part of a larger one) and what was found there.
    settings
        `duration` is the window of every method alike; left out, each has its own. The rest is handed to the methods.
    methods
        Names ("nearest" and "linear" are baselines), or callables as in `Settings(method=...)`. Left out, the baselines
        and all built-in methods but "reference", which is slow.
    seed, limit
        What is hidden and planted follows from the seed; at most `limit` dates of each kind are tried.
    progress
        Called with a stage's name, the cases done and their number.

    The protocol and every figure: `spaceeye_stac.evaluation.holdout` for hidden pixels, `film_scores` for the film,
    which `Scores.film` holds. Raises InvalidInputError for a method that is unknown or a region that is too large,
    NoClearLookError where nothing can be scored, ReadError for a scene that cannot be read.

    """
    tried = default_methods() if methods is None else methods
    trial = read_trial(scenes, query, settings or Settings(), tried)
    trial = replace(trial, seed=seed, limit=limit, progress=progress)
    with one_torch_thread():
        return scored(trial)


def scored(trial: Trial) -> Scores:
    """Score a trial's candidates on hidden pixels and on every day."""

    def measure(found: Estimate, truth: Float, where: Bool) -> DateErrors:
        return date_errors(found, truth, where, trial.index)

    scores = hidden_scores(trial, measure)
    hidden = {name: scores.errors(kind) for name, kind in (("cloud", "cloud"), ("edge", "edge"), ("1", "date"))}
    return replace(scores, film=score_film(trial, hidden))


def summary(scenes: Sequence[Scene], query: Query, settings: Settings) -> Json:
    """Score the settings' own method beside linear interpolation: what a run publishes as `spaceeye:holdout`.

    Both have windows of the duration that was asked for, or of 48 days.
    """
    length = settings.duration if isinstance(settings.duration, int) else OTHER_DURATION
    own = Settings(**{**settings.__dict__, "duration": length})
    with one_torch_thread():
        found = hidden_scores(read_trial(scenes, query, own, ["linear", settings.method])).as_json()
    kept = ("psnr", "psnr_se", "rmse", "mae", "bias", *LIKENESS, "n_dates")
    rows = {kind: {m: {k: row[k] for k in kept} for m, row in found[kind].items()} for kind in KINDS}
    return {**rows, "coverage": found["coverage"]}


def hidden_scores(trial: Trial, measure: Measure | None = None) -> Scores:
    """Score the candidates on hidden pixels, each in windows of its own."""
    found = score(
        trial.looks.values,
        trial.looks.clear,
        trial.looks.days,
        {name: one.reconstructor() for name, one in trial.candidates.items()},
        bands=trial.bands,
        duration=trial.windows,
        causal=trial.causal,
        seed=trial.seed,
        limit=trial.limit,
        workers=trial.workers,
        measure=measure,
        progress=trial.progress,
    )
    return replace(found, start=trial.asked.start)


def read_trial(
    scenes: Sequence[Scene], query: Query, settings: Settings, methods: Sequence[str | MethodCallable]
) -> Trial:
    """Read the region and lay the trial; no pixel is read before all that was asked for is known."""
    job = _job(scenes, query, settings)
    tried = candidates(methods, settings, job.bands)
    height, width = job.grid.shape
    if max(height, width) > LARGEST_PIXELS:
        raise InvalidInputError(
            f"The region has {height} x {width} pixels; evaluate at most {LARGEST_PIXELS} a side: name a part of it."
        )
    seen = observe_part(job, job.grid.geobox)
    looks = LookStack(seen.values, seen.clear, job.acquisition_days, seen.observed)
    # of a larger region fewer cases at once, so that memory does not grow with the cores
    workers = max(1, min(os.cpu_count() or 1, PIXELS_AT_ONCE // (height * width)))
    return Trial(looks, job.bands, job.days, tried, workers=workers)


def _job(scenes: Sequence[Scene], query: Query, settings: Settings) -> GridJob:
    """All scenes of the asked days on one grid."""
    whole = Settings(
        clear_classes=settings.clear_classes,
        max_cloud_probability=settings.max_cloud_probability,
        mask_dilation=settings.mask_dilation,
        mask_model=settings.mask_model,
        mask_model_use=settings.mask_model_use,
        duration="all",
        crs=settings.crs,
        resolution=settings.resolution,
    )
    return grid_job(readable_scenes(scenes, query, whole), query, whole)
