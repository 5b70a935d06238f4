"""A made-up stack of looks with a season and clouds, and trials on it whose answers can be computed otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spaceeye_stac.evaluation.baselines import Estimate, linear_on
from spaceeye_stac.evaluation.candidates import Candidate, Reconstruction, Solve, candidates
from spaceeye_stac.evaluation.looks import LookStack
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.query import parse_datetime
from spaceeye_stac.settings import Settings

BANDS = ("B02", "B04", "B08", "B11")
ASKED = parse_datetime("2023-03-01/2023-08-31")
SHAPE = (40, 36)


def seasonal(noise: float = 0.004) -> LookStack:
    """Looks every 2 to 8 days for half a year, most of them clear, some with cloud, one with undetected haze."""
    rng = np.random.default_rng(11)
    days = np.cumsum(rng.integers(2, 9, 34))
    ground = rng.uniform(0.03, 0.1, (4, 1, *SHAPE)) * np.array([1, 1.2, 4, 3])[:, None, None, None]
    season = 1 + 0.25 * np.sin(days / 40)[None, :, None, None] * np.array([-0.2, -1, 1, 0.3])[:, None, None, None]
    values = ground * season + rng.normal(0, noise, (4, len(days), *SHAPE))
    values[:, 10] += 0.05
    clear = np.ones((len(days), *SHAPE), bool)
    for t in range(3, len(days), 3):
        clear[t, :, : int(rng.integers(4, 34))] = False
        clear[t] = np.roll(clear[t], int(rng.integers(0, 36)), axis=1)
    clear[17] = False
    values = np.where(clear, np.maximum(values, 1e-3), 0).astype(np.float32)
    return LookStack(values, clear, tuple(int(day) for day in days), np.full(len(days), clear[0].size))


def doubting(wide: float = 0.01, name: str = "doubting") -> Candidate:
    """Linear in time with intervals of that half width, and a suspicion that grows with the blue of a look."""

    def prepare(looks: LookStack, _span: range) -> Solve:
        def solve(read: range) -> Reconstruction:
            part = looks.inside(read)

            def on(day: int) -> Estimate:
                found = linear_on(part.values, part.clear, part.days, day).values
                half = np.full_like(found, wide)
                index = part.days.index(day) if day in part.days else None
                suspect = None if index is None else part.values[0, index] * 60
                return Estimate(found, half / np.float32(0.9945), 2 * half, suspect)

            return on

        return solve

    return Candidate(name, Settings(duration=48), prepare)


def of_rule(name: str, rule: Callable[[LookStack, int], Any]) -> Candidate:
    """A candidate that gives `rule(looks of the window, day)`."""

    def prepare(looks: LookStack, _span: range) -> Solve:
        def solve(read: range) -> Reconstruction:
            part = looks.inside(read)
            return lambda day: Estimate(np.asarray(rule(part, day), np.float32))

        return solve

    return Candidate(name, Settings(duration=48), prepare)


def trial_of(looks: LookStack, *tried: Candidate | str, bands: tuple[str, ...] = BANDS, **options: Any) -> Trial:
    """A trial of candidates, or of methods by name."""
    known = candidates([one for one in tried if isinstance(one, str)], Settings(), ())
    known |= {one.name: one for one in tried if isinstance(one, Candidate)}
    return replace(Trial(looks, bands, ASKED, known), **options)
