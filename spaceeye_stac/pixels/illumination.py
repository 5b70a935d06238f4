"""Illuminance of each band and day over the region; pure.

I(band, day) is the mean reflectance over the day's clear pixels. Days whose clear share is at most `min_clear_ratio`
take no part. A day without its own value gets the mean of the others weighted by exp(-|dt| / 2), or, where those
weights underflow, the nearest one. In causal mode the others are those before it, and before the first used day there
is nothing. Source: FarmVibes.AI's `spaceeye` op, step `normalize_illuminance`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Illuminance
from spaceeye_stac.settings import Settings

DECAY_PER_DAY = 0.5
# what is farther away weighs less than float32 can tell: left out, so that it can change nothing
REACH_DAYS = 40

Carry = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class DayTotals:
    """Sums over pixels: per day, and per band and day."""

    observed: NDArray[np.int64]
    clear: NDArray[np.int64]
    sums: NDArray[np.float64]

    @classmethod
    def following(cls, parts: "Sequence[DayTotals]") -> "DayTotals":
        """Of days one after the other, on the same pixels."""
        observed, clear, sums = ([getattr(part, name) for part in parts] for name in ("observed", "clear", "sums"))
        return cls(np.concatenate(observed), np.concatenate(clear), np.concatenate(sums, axis=1))

    def day(self, index: int) -> "DayTotals":
        """One of the days alone."""
        one = slice(index, index + 1)
        return DayTotals(self.observed[one], self.clear[one], self.sums[:, one])


def totals(values: NDArray[np.float32], clear: NDArray[np.bool_], observed: NDArray[np.int64]) -> DayTotals:
    """Sum reflectance `(band, time, y, x)`, 0 where not `clear` `(time, y, x)`, over the pixels of one part.

    Each image is summed by itself, so that a day has the same sums, bit for bit, whichever days are beside it.
    """
    sums = np.array([[image.sum(dtype=np.float64) for image in band] for band in values])
    return DayTotals(
        observed=observed,
        clear=clear.sum(axis=(1, 2)).astype(np.int64),
        sums=sums.reshape(values.shape[:2]),
    )


def days_used(total: DayTotals, min_clear_ratio: float) -> NDArray[np.bool_]:
    """Return the days whose clear share of the observed pixels is above `min_clear_ratio`."""
    return np.asarray(total.clear > min_clear_ratio * np.maximum(total.observed, 1))


def carried(when: NDArray[np.int64], means: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means `(band, time)` of the days `when`, on others `(band, day)`: their own, else weighted by exp(-|dt| / 2)."""
    gaps = np.abs(days[:, None] - when)
    nearest = gaps.min(axis=1, keepdims=True)
    weights = np.exp(-DECAY_PER_DAY * (gaps - nearest))
    weights[(nearest == 0) & (gaps > 0)] = 0
    weights[gaps - nearest > REACH_DAYS] = 0
    return np.asarray(means @ (weights / weights.sum(axis=1, keepdims=True)).T)


def carried_on(when: NDArray[np.int64], means: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Do as `carried`, from the days up to each day alone; NaN before the first.

    Each day is made by itself from those that have a weight, so that it is the same, bit for bit, whatever days follow.
    """
    found = np.full((len(means), len(days)), np.nan)
    for n, day in enumerate(days):
        past = when[when <= day]
        if past.size:
            near = (when <= day) & (when >= past.max() - REACH_DAYS)
            found[:, n] = carried(when[near], means[:, near], days[n : n + 1])[:, 0]
    return found


def daily_illuminance(
    total: DayTotals, days: Sequence[int], span: range, min_clear_ratio: float, carry: Carry = carried
) -> Illuminance:
    """Mean over clear pixels at the used `days`, carried to every day of `span`.

    Where no day can be used, every value is NaN.
    """
    used = days_used(total, min_clear_ratio)
    if not used.any():
        return Illuminance(np.full((len(total.sums), len(span)), np.nan, np.float32), used, span.start)
    when, means = np.asarray(days)[used], total.sums[:, used] / total.clear[used]
    values = carry(when, means, np.arange(span.start, span.stop))
    ratios = np.ones((len(means), len(used)), np.float32)
    if len(when) > 1:
        others = [carry(np.delete(when, n), np.delete(means, n, axis=1), when[n : n + 1]) for n in range(len(when))]
        found = np.concatenate(others, axis=1) / means
        ratios[:, used] = np.where(np.isfinite(found), found, 1)
    return Illuminance(values.astype(np.float32), used, span.start, ratios)


def illuminance_of(total: DayTotals, days: Sequence[int], span: range, settings: Settings) -> Illuminance:
    """Illuminance of every day of `span` as the settings want it: each day's own, or ones."""
    if not settings.normalize_illuminance:
        return uniform_illuminance(total, days, span, settings.min_clear_ratio)
    carry = carried_on if settings.causal else carried
    return daily_illuminance(total, days, span, settings.min_clear_ratio, carry)


def unit_illuminance(bands: int, days: int, span: range) -> Illuminance:
    """All ones, and every day takes part: for methods that make their own of each day."""
    return Illuminance(np.ones((bands, len(span)), np.float32), np.ones(days, bool), span.start)


def uniform_illuminance(total: DayTotals, _days: Sequence[int], span: range, min_clear_ratio: float) -> Illuminance:
    """All ones, for a solve that is not normalised; the same days take part."""
    used = days_used(total, min_clear_ratio)
    return Illuminance(np.ones((len(total.sums), len(span)), np.float32), used, span.start)
