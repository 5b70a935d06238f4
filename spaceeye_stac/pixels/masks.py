"""Labels, and verdicts of a mask model, to a boolean `clear`; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.model import CLEAR, CLOUD, NO_LABEL, Mask
from spaceeye_stac.query import ALL_CLOUD
from spaceeye_stac.settings import LAST_SCL_CLASS, Settings

LABEL_COUNT = NO_LABEL + 1
NO_DATA_CLASS, DEFECTIVE_CLASS = 0, 1
WATER_CLASS, SNOW_CLASS = 6, 11
REACH_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Classified:
    """What a mask says of each pixel: `clear`, or `cloud` (shadow, snow and the like), or neither: it says nothing."""

    clear: NDArray[np.bool_]
    cloud: NDArray[np.bool_]


def classify(labels: NDArray[np.uint16], mask: Mask | None, settings: Settings) -> Classified:
    """Tell clear from cloudy by the labels of one scene, of any shape.

    Classes: clear where among `clear_classes`; no data (0), defective (1) and what is no class, as a file's own nodata
    255, are neither clear nor cloud. Probability:
    clear up to `max_cloud_probability`. Boolean: clear where among the mask's values. A pixel outside the mask, or with
    its nodata, is neither. Without a mask everything is clear.
    """
    if mask is None:
        return Classified(np.ones(labels.shape, bool), np.zeros(labels.shape, bool))
    known = labels != NO_LABEL
    if mask.kind == "scl":
        clear = clear_from_labels(labels, settings.clear_classes)
        known &= (labels != NO_DATA_CLASS) & (labels != DEFECTIVE_CLASS) & (labels <= LAST_SCL_CLASS)
    elif mask.kind == "probability":
        percent = labels * mask.scale
        known &= (labels != mask.nodata) & (percent <= ALL_CLOUD)
        clear = known & (percent <= settings.max_cloud_probability)
    else:
        clear = clear_from_labels(labels, mask.clear_values, nodata=mask.nodata)
        known &= labels != mask.nodata
    return Classified(clear, known & ~clear)


def with_model(labelled: Classified, verdict: NDArray[np.uint8], use: str) -> Classified:
    """Join what a mask and a mask model say of the same pixels.

    "and": clear where both say clear, cloud where one says cloud. "or": clear where one says clear, cloud where one
    says cloud and the other not clear. "instead": as the model says. A model says nothing where it had no data.
    """
    clear, cloud = verdict == CLEAR, verdict == CLOUD
    if use == "instead":
        return Classified(clear, cloud)
    if use == "or":
        either = labelled.clear | clear
        return Classified(either, (labelled.cloud | cloud) & ~either)
    return Classified(labelled.clear & clear, labelled.cloud | cloud)


def clear_from_labels(
    labels: NDArray[np.integer], clear_values: Sequence[int], nodata: int = NO_DATA_CLASS
) -> NDArray[np.bool_]:
    """Return `clear` (True = usable) for labels of any shape: where they are among `clear_values`.

    Neither is `nodata` clear, whatever the values say; of scene classes it is 0.
    Source: Sentinel-2 L2A Scene Classification (ESA Sentinel-2 Products Specification Document, table of SCL classes).
    """
    table = np.zeros(LABEL_COUNT, dtype=bool)
    table[list(clear_values)] = True
    table[[nodata, NO_LABEL]] = False
    return np.asarray(table[labels])


def away_from_cloud(judged: Classified, reach: float) -> NDArray[np.bool_]:
    """Clear pixels `(y, x)` farther than `reach` pixels, centre to centre, from every cloud of the same scene.

    What the mask says nothing of is no cloud: the edge of a swath loses nothing.
    """
    if reach <= 0 or not judged.cloud.any():
        return judged.clear
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - a tenth of a second that most runs do without

    return np.asarray(judged.clear & (distance_transform_edt(~judged.cloud) > reach + REACH_TOLERANCE))


def observed(values: NDArray[np.uint16], nodata: int = 0) -> NDArray[np.bool_]:
    """Return True where every band holds data: DN `(band, ...)` as they are read, 0 for nodata, to bool `(...)`."""
    return np.asarray((values != nodata).all(axis=0))
