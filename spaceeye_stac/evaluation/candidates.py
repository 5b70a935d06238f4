"""What is scored: the product's methods, anyone's callables and the baselines, each solving windows as a run does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.evaluation.baselines import (
    QUANTILES,
    Baseline,
    Bool,
    Estimate,
    Float,
    Reconstructor,
    linear_on,
    nearest_on,
)
from spaceeye_stac.evaluation.looks import LookStack
from spaceeye_stac.methods import CellLooks, Method, Scales, State, method_of
from spaceeye_stac.model import Illuminance
from spaceeye_stac.pixels import illuminance_of, totals, unit_illuminance
from spaceeye_stac.query import DateRange
from spaceeye_stac.settings import METHOD_DURATION, MethodCallable, Settings, keeps_looks

BASELINES: dict[str, Baseline] = {"nearest": nearest_on, "linear": linear_on}
SLOW = "reference"
Reconstruction = Callable[[int], Estimate]
Solve = Callable[[range], Reconstruction]
ANY_DAYS = DateRange(date.min, date.min)


@dataclass(frozen=True)
class Candidate:
    """One method that is scored.

    `settings` are its own: `settings.window_days` is how long its windows are. `prepare(looks, span)`: see all looks
    that a run would have, on days of `span`; it returns what solves the window of some days to read, which returns what
    gives an `Estimate` of any day.
    """

    name: str
    settings: Settings
    prepare: Callable[[LookStack, range], Solve]

    def window(self, looks: LookStack, read: range) -> Reconstruction:
        """Solve one window by itself, from the looks inside; a causal method the windows that end with them."""
        inside = looks.inside(read)
        solve = self.prepare(inside, read)
        if not self.settings.causal:
            return solve(read)
        length = len(read) if self.settings.duration == "all" else self.settings.window_days(ANY_DAYS)
        solved = cache(lambda last: solve(range(last + 1 - length, last + 1)))
        return lambda day: solved(max((seen for seen in inside.days if seen <= day), default=read.start))(day)

    def reconstructor(self) -> Reconstructor:
        """Give the target date of a window from all the looks that are handed over."""

        def reconstruct(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
            looks = LookStack(values, clear, tuple(days), np.full(len(days), clear[0].size))
            return self.window(looks, range(min(days), max(days) + 1))(days[target])

        return reconstruct


def default_methods() -> list[str]:
    """Names of the baselines and of every built-in method but the one that is too slow."""
    return [*BASELINES, *(name for name in METHOD_DURATION if name != SLOW)]


def candidates(
    methods: Sequence[str | MethodCallable], settings: Settings, bands: Sequence[str]
) -> dict[str, Candidate]:
    """Return by name what is scored, on looks of these bands, which may be unknown.

    A baseline has the window of a method without one of its own. Where the settings are causal, each method that can be
    is scored as that, too, beside the usual, and so is the last look. Raises InvalidInputError for an unknown name.
    """
    found = [_candidate(method, settings, bands) for method in methods]
    if settings.causal:
        found += [_causal(method, settings, bands) for method in methods if method not in {"linear", SLOW}]
    return {one.name: one for one in found}


def _causal(method: str | MethodCallable, settings: Settings, bands: Sequence[str]) -> Candidate:
    """A method that sees no look after a day."""
    usual = _candidate(method, settings, bands)
    own = replace(usual.settings, causal=True)
    prepare = usual.prepare if method in BASELINES else _by_method(method_of(own), own, bands)
    return Candidate(f"{usual.name}, causal", own, prepare)


def _candidate(method: str | MethodCallable, settings: Settings, bands: Sequence[str]) -> Candidate:
    plain = {**settings.__dict__, "appearance": None, "causal": False}
    if isinstance(method, str) and method in BASELINES:
        rule = BASELINES[method]
        return Candidate(method, Settings(**{**plain, "method": rule}), _by_rule(rule))
    own = Settings(**{**plain, "method": method, "appearance": settings.appearance if keeps_looks(method) else None})
    return Candidate(own.method_name, own, _by_method(method_of(own), own, bands))


def _by_rule(rule: Baseline) -> Callable[[LookStack, range], Solve]:
    def prepare(looks: LookStack, _span: range) -> Solve:
        def solve(read: range) -> Reconstruction:
            part = looks.inside(read)
            if not part.days:
                return _nothing(looks)
            return lambda day: rule(part.values, part.clear, part.days, day)

        return solve

    return prepare


def _by_method(method: Method, settings: Settings, bands: Sequence[str]) -> Callable[[LookStack, range], Solve]:
    """Run a method of the product as a run would on one cell, its illuminance from all looks."""

    def prepare(looks: LookStack, span: range) -> Solve:
        found = _illuminance(looks, span, method, settings)

        def solve(read: range) -> Reconstruction:
            kept = [n for n, day in enumerate(looks.days) if day in read and found.used[n]]
            if not kept:
                return _nothing(looks)
            state = method.solve(_cell_looks(looks, kept, found, read, bands), settings)
            # beyond the span all is as at its end
            return lambda day: _estimate(state, day, torch.from_numpy(found.at(min(max(day, span[0]), span[-1]))))

        return solve

    return prepare


def _nothing(looks: LookStack) -> Reconstruction:
    """Without a look all is unknown."""
    nothing = np.full(looks.values.shape[0:1] + looks.values.shape[2:], np.nan, np.float32)
    return lambda _day: Estimate(nothing)


def _illuminance(looks: LookStack, span: range, method: Method, settings: Settings) -> Illuminance:
    """Return the illuminance from these looks alone, or ones for a method that makes its own of each day."""
    if not method.normalised:
        return unit_illuminance(len(looks.values), len(looks.days), span)
    return illuminance_of(totals(looks.values, looks.clear, looks.observed), looks.days, span, settings)


def _cell_looks(
    looks: LookStack, kept: Sequence[int], found: Illuminance, read: range, bands: Sequence[str]
) -> CellLooks:
    days = tuple(looks.days[n] for n in kept)
    bright = found.values[:, np.asarray(days) - found.first]
    return CellLooks(
        torch.from_numpy(looks.values[:, kept] / bright[:, :, None, None]),
        torch.from_numpy(looks.clear[kept]),
        days,
        read,
        None if found.carried is None else torch.from_numpy(found.carried[:, kept]),
        tuple(bands),
    )


def _estimate(state: State, day: int, illuminance: Tensor) -> Estimate:
    """State on one day in reflectance, with the interval half widths of an observation where the method gives them."""
    bright = illuminance[:, None, None]
    index = state.days.index(day) if day in state.days else None
    images = state.smooth if state.as_seen is None else state.as_seen
    values = state.at(day) if index is None else images[:, index]
    suspect = None if index is None or state.suspect is None else state.suspect[index].numpy()
    spread = state.spread(day)
    if state.widths is None or spread is None:
        return Estimate((values * bright).numpy(), suspect=suspect)
    inflation = (1 + spread.square()).sqrt()
    if index is not None:  # where it was seen itself, the noise of one look is published
        inflation = torch.where(state.clear[index], 1.0, inflation)
    inner, outer = (w[:, None, None] * inflation * bright for w in _widths_on(state.widths, state.days, day))
    return Estimate((values * bright).numpy(), (inner / QUANTILES["68"]).numpy(), outer.numpy(), suspect)


def _widths_on(widths: Scales, days: Sequence[int], day: int) -> tuple[Tensor, Tensor]:
    """Half widths `(band,)` of one look on a day that was seen, or of any other day."""
    if day not in days:
        return widths.inner_unseen, widths.outer_unseen
    return widths.inner[:, days.index(day)], widths.outer[:, days.index(day)]
