"""The methods scored on pixels that are hidden on purpose, over anyone's region."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaceeye_stac.engine import grid_job, readable_scenes
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.evaluation.baselines import Estimate, Reconstructor, linear, nearest
from spaceeye_stac.evaluation.holdout import score
from spaceeye_stac.evaluation.scores import QUANTILES, Scores
from spaceeye_stac.methods import CellLooks, Method, Scales, State, alike_pixels, method_of
from spaceeye_stac.model import Illuminance, Progress, Scene, metres_per_pixel, silent
from spaceeye_stac.pixels import illuminance_of, observe_part, totals, unit_illuminance
from spaceeye_stac.query import Json, Query
from spaceeye_stac.settings import MethodCallable, Settings

BASELINES: dict[str, Reconstructor] = {"nearest": nearest, "linear": linear}
METHODS = ("nearest", "linear", "damped", "reference", "guided")
LARGEST_PIXELS = 1024


def evaluate(
    scenes: Sequence[Scene],
    query: Query,
    settings: Settings | None = None,
    *,
    methods: Sequence[str | MethodCallable] = METHODS,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
) -> Scores:
    """Hide clear pixels of the scenes and score how each method gives them back.

    Parameters
    ----------
    scenes, query
        The region (at most 1024 pixels a side: name a part of a larger one) and what was found there.
    settings
        `duration` is the window around each hidden date (48 days when left out, for every method alike); the rest is
        handed to the methods.
    methods
        Names ("nearest" and "linear" are baselines), or callables as in `Settings(method=...)`.
    seed, limit
        What is hidden follows from the seed; at most `limit` dates of each kind are tried.
    progress
        Called with a stage's name, the cases done and their number.

    The protocol and every figure: `spaceeye_stac.evaluation.holdout`. Raises InvalidInputError for a method that is
    unknown or a region that is too large, NoClearLookError where nothing can be scored, ReadError for a scene that
    cannot be read.

    """
    settings = settings or Settings()
    wide = Settings(
        clear_classes=settings.clear_classes,
        max_cloud_probability=settings.max_cloud_probability,
        mask_dilation=settings.mask_dilation,
        mask_model=settings.mask_model,
        mask_model_use=settings.mask_model_use,
        duration="all",
        crs=settings.crs,
        resolution=settings.resolution,
    )
    job = grid_job(readable_scenes(scenes, query, wide), query, wide)
    if max(job.grid.shape) > LARGEST_PIXELS:
        height, width = job.grid.shape
        raise InvalidInputError(
            f"The region has {height} x {width} pixels; evaluate at most {LARGEST_PIXELS} a side: name a part of it."
        )
    seen = observe_part(job, job.grid.geobox)
    length = settings.duration if isinstance(settings.duration, int) else 48
    alike = alike_pixels(metres_per_pixel(job.grid.geobox))
    tried = {_label(m): _reconstructor(m, settings, length, alike) for m in methods}
    options = {"bands": job.bands, "duration": length, "seed": seed, "limit": limit, "progress": progress}
    return score(seen.values, seen.clear, job.acquisition_days, tried, **options)  # type: ignore[arg-type]


def _label(method: str | MethodCallable) -> str:
    return method if isinstance(method, str) else Settings(method=method).method_name


def _reconstructor(method: str | MethodCallable, settings: Settings, length: int, alike: float) -> Reconstructor:
    if isinstance(method, str) and method in BASELINES:
        return BASELINES[method]
    changed = {**settings.__dict__, "method": method, "duration": length}
    own = Settings(**changed)
    return _of_method(method_of(own), own, alike)


def _of_method(method: Method, settings: Settings, alike: float) -> Reconstructor:
    """Run a method of the product on one window, as a run would on one cell."""

    def reconstruct(
        values: NDArray[np.float32], clear: NDArray[np.bool_], days: Sequence[int], target: int
    ) -> Estimate:
        read = range(min(days), max(days) + 1)
        found = _illuminance(values, clear, days, method, settings)
        used = found.used
        kept = [n for n in range(len(days)) if used[n]]
        if not kept:
            return Estimate(np.full(values.shape[0:1] + values.shape[2:], np.nan, np.float32))
        when = tuple(days[n] for n in kept)
        bright = found.values[:, np.asarray(when) - found.first]
        looks = CellLooks(
            torch.from_numpy(values[:, kept] / bright[:, :, None, None]),
            torch.from_numpy(clear[kept]),
            when,
            read,
            None if found.carried is None else torch.from_numpy(found.carried[:, kept]),
            alike,
        )
        return _estimate(method.solve(looks, settings), days[target], torch.from_numpy(found.at(days[target])))

    return reconstruct


def _illuminance(
    values: NDArray[np.float32], clear: NDArray[np.bool_], days: Sequence[int], method: Method, settings: Settings
) -> Illuminance:
    """Return the illuminance from these looks alone, or ones for a method that makes its own of each day."""
    span = range(min(days), max(days) + 1)
    if not method.normalised:
        return unit_illuminance(len(values), len(days), span)
    total = totals(values, clear, np.full(len(days), clear[0].size))
    return illuminance_of(total, days, span, settings)


def _estimate(state: State, day: int, illuminance: Tensor) -> Estimate:
    """State on one day in reflectance, with the interval half widths of an observation where the method gives them."""
    bright = illuminance[:, None, None]
    images = state.smooth if state.as_seen is None else state.as_seen
    values = images[:, state.days.index(day)] if day in state.days else state.at(day)
    spread = state.spread(day)
    if state.widths is None or spread is None:
        return Estimate((values * bright).numpy())
    inflation = (1 + spread.square()).sqrt()
    inner, outer = (w[:, None, None] * inflation * bright for w in _widths_on(state.widths, state.days, day))
    return Estimate((values * bright).numpy(), (inner / QUANTILES["68"]).numpy(), outer.numpy())


def _widths_on(widths: Scales, days: Sequence[int], day: int) -> tuple[Tensor, Tensor]:
    """Half widths `(band,)` of one look on a day that was seen, or of any other day."""
    if day not in days:
        return widths.inner_unseen, widths.outer_unseen
    return widths.inner[:, days.index(day)], widths.outer[:, days.index(day)]


def summary(scenes: Sequence[Scene], query: Query, settings: Settings) -> Json:
    """Score the settings' own method beside linear interpolation: what a run publishes as `spaceeye:holdout`."""
    length = None if settings.duration == "all" else settings.duration
    own = Settings(**{**settings.__dict__, "duration": length})
    found = evaluate(scenes, query, own, methods=["linear", settings.method]).as_json()
    kept = ("psnr", "psnr_se", "rmse", "mae", "bias", "n_dates")
    rows = {
        kind: {m: {k: row[k] for k in kept} for m, row in found[kind].items()} for kind in ("cloud", "date", "edge")
    }
    return {**rows, "coverage": found["coverage"]}
