"""Labels to a boolean `clear`; pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LABEL_COUNT = 256


def clear_from_labels(labels: NDArray[np.integer], clear_classes: Sequence[int]) -> NDArray[np.bool_]:
    """Return `clear` (True = usable) for scene classification labels of any shape.

    A label outside `clear_classes` is not clear; neither is 0, which means no data, whatever the classes say.
    Source: Sentinel-2 L2A Scene Classification (ESA Sentinel-2 Products Specification Document, table of SCL classes).
    """
    table = np.zeros(LABEL_COUNT, dtype=bool)
    table[list(clear_classes)] = True
    table[0] = False
    return np.asarray(table[labels])


def observed(values: NDArray[np.uint16], nodata: int) -> NDArray[np.bool_]:
    """Return True where every band holds data: DN `(band, ...)` to bool `(...)`."""
    return np.asarray((values != nodata).all(axis=0))
