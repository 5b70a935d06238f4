"""Illuminance of each band and day over the region; pure.

I(band, day) is the mean reflectance over the day's clear pixels. Days whose clear share is at most `min_clear_ratio`
take no part. A day without its own value gets the mean of the others weighted by exp(-|dt| / 2), or, where those
weights underflow, the nearest one. Source: FarmVibes.AI's `spaceeye` op, step `normalize_illuminance`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import Illuminance
from spaceeye_stac.settings import Settings

DECAY_PER_DAY = 0.5
# what is farther away weighs less than float32 can tell: left out, so that it can change nothing
REACH_DAYS = 40


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


def daily_illuminance(total: DayTotals, days: Sequence[int], span: range, min_clear_ratio: float) -> Illuminance:
    """Mean over clear pixels at the used `days`, carried to every day of `span` by weights exp(-|dt| / 2).

    Where no day can be used, every value is NaN.
    """
    used = days_used(total, min_clear_ratio)
    if not used.any():
        return Illuminance(np.full((len(total.sums), len(span)), np.nan, np.float32), used, span.start)
    when, means = np.asarray(days)[used], total.sums[:, used] / total.clear[used]
    values = _carry(when, means, np.arange(span.start, span.stop))
    carried = np.ones((len(means), len(used)), np.float32)
    if len(when) > 1:
        others = [_carry(np.delete(when, n), np.delete(means, n, axis=1), when[n : n + 1]) for n in range(len(when))]
        carried[:, used] = np.concatenate(others, axis=1) / means
    return Illuminance(values.astype(np.float32), used, span.start, carried)


def illuminance_of(total: DayTotals, days: Sequence[int], span: range, settings: Settings) -> Illuminance:
    """Illuminance of every day of `span` as the settings want it: each day's own, or ones."""
    compute = daily_illuminance if settings.normalize_illuminance else uniform_illuminance
    return compute(total, days, span, settings.min_clear_ratio)


def _carry(when: NDArray[np.int64], means: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Own mean on the days `when`, elsewhere the mean weighted by exp(-|dt| / 2), scaled so as not to underflow."""
    gaps = np.abs(days[:, None] - when)
    nearest = gaps.min(axis=1, keepdims=True)
    weights = np.exp(-DECAY_PER_DAY * (gaps - nearest))
    weights[(nearest == 0) & (gaps > 0)] = 0
    weights[gaps - nearest > REACH_DAYS] = 0
    return np.asarray(means @ (weights / weights.sum(axis=1, keepdims=True)).T)


def unit_illuminance(bands: int, days: int, span: range) -> Illuminance:
    """All ones, and every day takes part: for methods that make their own of each day."""
    return Illuminance(np.ones((bands, len(span)), np.float32), np.ones(days, bool), span.start)


def uniform_illuminance(total: DayTotals, _days: Sequence[int], span: range, min_clear_ratio: float) -> Illuminance:
    """All ones, for a solve that is not normalised; the same days take part."""
    used = days_used(total, min_clear_ratio)
    return Illuminance(np.ones((len(total.sums), len(span)), np.float32), used, span.start)
