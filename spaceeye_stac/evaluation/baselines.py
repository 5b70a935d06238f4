"""Reconstructions to compare with: the nearest look, and linear in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]
QUANTILES = {"68": 0.9945, "90": 1.6449}


@dataclass(frozen=True)
class Estimate:
    """A reconstruction of one day.

    Attributes
    ----------
    values
        `(band, y, x)` float32 reflectance, NaN = none.
    sd
        `(band, y, x)` float32 predictive standard deviation of an observation in reflectance, NaN = none; or None.
    wide
        `(band, y, x)` half width of the 90 % interval, where it is not 1.6449 sd.
    suspect
        `(y, x)` float32 how strongly the method doubts the looks of that day, where it says so: see `methods.State`.

    """

    values: Float
    sd: Float | None = None
    wide: Float | None = None
    suspect: Float | None = None

    def half_widths(self) -> tuple[Float, Float] | None:
        """Return the half widths of the 68 and 90 % intervals `(band, y, x)`, where the method gives them."""
        if self.sd is None:
            return None
        inner, outer = (np.float32(z) * self.sd for z in QUANTILES.values())
        return inner, outer if self.wide is None else self.wide


Reconstructor = Callable[[Float, Bool, Sequence[int], int], Estimate]
Baseline = Callable[[Float, Bool, Sequence[int], int], Estimate]


def nearest_on(values: Float, clear: Bool, days: Sequence[int], day: int) -> Estimate:
    """Each pixel's nearest clear look in time to any day; of two as near, the earlier. NaN where never clear.

    `values` `(band, time, y, x)` reflectance, `clear` `(time, y, x)`, `days` `(time,)`.
    """
    gaps = np.abs(np.asarray(days) - day).astype(np.float64)
    look = np.where(clear, gaps[:, None, None], np.inf).argmin(axis=0)
    return Estimate(np.where(clear.any(axis=0), _at(values, look), np.float32(np.nan)))


def linear_on(values: Float, clear: Bool, days: Sequence[int], day: int) -> Estimate:
    """Linear in time between each pixel's clear looks before and after any day; constant outside; NaN if never clear.

    `values` `(band, time, y, x)` reflectance, `clear` `(time, y, x)`, `days` `(time,)`.
    """
    index, when = np.arange(len(days))[:, None, None], np.asarray(days)
    before = np.where(clear & (when <= day)[:, None, None], index, -1).max(axis=0)
    after = np.where(clear & (when >= day)[:, None, None], index, len(days)).min(axis=0)
    left, right = np.where(before < 0, after, before), np.where(after == len(days), before, after)
    left, right = np.clip(left, 0, len(days) - 1), np.clip(right, 0, len(days) - 1)
    share = ((day - when[left]) / np.maximum(when[right] - when[left], 1)).clip(0, 1).astype(np.float32)
    blend = (1 - share) * _at(values, left) + share * _at(values, right)
    return Estimate(np.where(clear.any(axis=0), blend, np.float32(np.nan)))


def nearest(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
    """`nearest_on` the date of index `target`."""
    return nearest_on(values, clear, days, days[target])


def linear(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
    """`linear_on` the date of index `target`."""
    return linear_on(values, clear, days, days[target])


def _at(values: Float, look: NDArray[np.intp]) -> Float:
    """Each pixel's values `(band, y, x)` at its own index `look` `(y, x)` in time."""
    return np.take_along_axis(values, look[None, None], axis=1)[:, 0]
