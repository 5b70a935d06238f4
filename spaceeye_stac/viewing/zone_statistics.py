"""Weighted statistics of the pixels of a zone, for many days at once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
QUANTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}


@dataclass(frozen=True)
class Weighted:
    """Values `(day, pixel)`, NaN where there is none, and the weight of each pixel `(pixel,)`, above 0."""

    values: Values
    weights: Values

    def total(self) -> Values:
        """Sum of the weights of what has a value `(day,)`."""
        return self._sum(np.isfinite(self.values))

    def mean(self) -> Values:
        """`(day,)`, NaN where there is no value."""
        with np.errstate(invalid="ignore"):
            return self._sum(np.nan_to_num(self.values)) / self.total()

    def _sum(self, values: NDArray[Any]) -> Values:
        """Weighted; row by row, so that a day's sum does not depend on the days beside it, as a product's would."""
        return np.asarray(np.ascontiguousarray(values * self.weights).sum(axis=1))

    def std(self) -> Values:
        """Standard deviation of the zone's values themselves `(day,)`, not an estimate of a larger population's."""
        squares = (self.values - self.mean()[:, None]) ** 2
        return np.sqrt(Weighted(squares, self.weights).mean())

    def quantiles(self) -> dict[str, Values]:
        """`(day,)` of each of QUANTILES, linear between the values in order.

        The value of rank i (from 0) of n stands at i * w_i + (n - 1) * (w_0 + ... + w_i-1) of a scale of length
        (n - 1) * sum(w), which for equal weights is the usual quantile. So does exactextract where no two values
        are equal; equal ones it takes for one value, which moves the median of 1, 1, 1, 2.
        """
        one_more = np.pad(self.values, ((0, 0), (0, 1)), constant_values=np.nan)  # as a zone may have no pixel
        order = np.argsort(one_more, axis=1, kind="stable")  # NaN comes last
        values, valid = np.take_along_axis(one_more, order, axis=1), np.isfinite(one_more).sum(axis=1)
        weights, ranks = np.append(self.weights, 0)[order], np.arange(order.shape[1])
        before = np.cumsum(weights, axis=1) - weights
        at = np.where(ranks < valid[:, None], ranks * weights + (valid[:, None] - 1) * before, np.inf)
        return {name: _between(values, at, q * (valid - 1) * self.total(), valid) for name, q in QUANTILES.items()}


def _between(values: Values, at: Values, wanted: Values, valid: NDArray[np.int_]) -> Values:
    """Values `(day,)` at the `wanted` place of each day, between those that stand `at` places in order."""
    right = np.minimum((at <= wanted[:, None]).sum(axis=1), np.maximum(valid - 1, 0))
    left = np.maximum(right - 1, 0)
    low, high, start, stop = (one[np.arange(len(one)), n] for one in (values, at) for n in (left, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = low + (high - low) * (wanted - start) / (stop - start)
    return np.where(valid > 1, found, values[:, 0])
