"""Reconstructions to compare with: the nearest look, and linear in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
