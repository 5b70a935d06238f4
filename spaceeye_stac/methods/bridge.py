"""Uncertainty between two knots; numpy alone."""

import numpy as np
from numpy.typing import NDArray


def bridged(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    gaps: tuple[int, int],
    damping_factor: float | NDArray[np.float32],
) -> NDArray[np.float32]:
    """Standard deviation of the state between two knots, `gaps` days away, from those at the knots.

    Variance = (blend of the two deviations)^2 + g h / (alpha (g + h)): the posterior variance of the linear blend, its
    covariance at its upper bound, and the bridge between two known ends. In units of one look's noise.
    """
    before, after = gaps
    share = before / (before + after)
    ends = (1 - share) * left + share * right
    return np.asarray(np.sqrt(ends**2 + before * after / (damping_factor * (before + after))), np.float32)
