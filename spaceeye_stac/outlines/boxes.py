"""Boxes of west, south, east and north in degrees, as a user writes them."""

import math
from collections.abc import Sequence

from spaceeye_stac.errors import InvalidInputError

MAX_LATITUDE = 90.0
MAX_LONGITUDE = 180.0
MOST_DEGREES = 1000.0


def checked_bbox(values: Sequence[float]) -> tuple[float, float, float, float]:
    """The four numbers of a bbox; InvalidInputError, with what may be meant, where they are none."""
    try:
        west, south, east, north = (float(v) for v in values)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"bbox {values!r} is not four numbers W,S,E,N in degrees.") from error
    text = f"bbox {west:g},{south:g},{east:g},{north:g}"
    if not all(map(math.isfinite, (west, south, east, north))):
        raise InvalidInputError(f"{text} has a value that is no finite number.")
    if max(abs(south), abs(north)) > MAX_LATITUDE or max(abs(west), abs(east)) > MAX_LONGITUDE:
        raise InvalidInputError(
            f"{text} lies outside the world; longitudes are -180..180, latitudes -90..90{_suspicion(west, east)}."
        )
    if west == east or south == north:
        raise InvalidInputError(f"{text} is empty; west must be less than east and south less than north.")
    # over the antimeridian west > east; what would be half the globe wide that way is taken for swapped corners
    if south > north or (west > east and east + 2 * MAX_LONGITUDE - west >= MAX_LONGITUDE):
        raise InvalidInputError(f"{text} has its corners in the wrong order; write W,S,E,N.")
    return west, south, east, north


def _suspicion(west: float, east: float) -> str:
    """What may be wrong with coordinates outside the world, as the end of a sentence."""
    widest = max(abs(west), abs(east))
    swapped = "; these look swapped, so write longitude first" if widest <= MAX_LATITUDE else ""
    return "; these look like metres, so give degrees or the CRS too" if widest > MOST_DEGREES else swapped
