"""A still landscape under moving clouds, and the scores of methods on it: what they must be is known beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spaceeye_stac.evaluation.baselines import Bool, Estimate, Float, Reconstructor
from spaceeye_stac.evaluation.holdout import score
from spaceeye_stac.evaluation.scores import Scores

BANDS = ("B04", "B11")
DAYS = tuple(range(0, 60, 5))
SIZE = 24


def landscape(noise: float = 0.0) -> tuple[Float, Bool]:
    """Reflectance and whether it is clear: 100, 75, 50, 25 and 0 % of the dates in turn are clear."""
    rng = np.random.default_rng(5)
    ground = rng.uniform(0.05, 0.4, (len(BANDS), 1, SIZE, SIZE))
    values = ground + rng.normal(0, noise, (len(BANDS), len(DAYS), SIZE, SIZE))
    clear = np.ones((len(DAYS), SIZE, SIZE), bool)
    for n in range(len(DAYS)):
        clear[n, :, : (0, 6, 12, 18, 24)[n % 5]] = False
        clear[n] = np.roll(clear[n], 2 * n, axis=1)
    return np.where(clear, values, 0).astype(np.float32), clear


def oracle(offset: float = 0.0, sd: float | None = None) -> Reconstructor:
    """The truth of the still landscape, off by a constant."""
    ground = landscape()[0].max(axis=1) + np.float32(offset)

    def method(_values: Float, _clear: Bool, _days: Sequence[int], _target: int) -> Estimate:
        return Estimate(ground, None if sd is None else np.full_like(ground, sd))

    return method


def scored(methods: Mapping[str, Reconstructor], noise: float = 0.0, **options: Any) -> Scores:
    return score(*landscape(noise), DAYS, methods, bands=BANDS, **{"duration": 48, **options})
