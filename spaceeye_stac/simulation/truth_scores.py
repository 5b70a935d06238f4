"""Errors of a film, an image for every day, against the known surface; pure.

With e = NDVI of the film - NDVI of the truth, over the pixels that hold a value, |e| is gathered in `GROUPS`, each of
which tells of something that daily images may do badly: days between two acquisitions, cloud that the labels missed and
the days beside it, the days after the ground has changed at once. Its median says how good the film is where all is
well, its 90th percentile how bad it is elsewhere. Water, whose NDVI says nothing, does not count, but for what an event
has flooded. `blue` is |error| of B02 in reflectance where cloud was not detected: how much of the cloud is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.simulation.known import Bool, Float, KnownStack

GROUPS = {
    "all": "every day",
    "between": "days between acquisitions",
    "seen_clean": "seen, and clean",
    "seen_undetected": "seen, with undetected cloud",
    "hidden": "acquisition days, hidden",
    "beside_undetected": "1-2 days from undetected cloud",
    "after_event": "10 days after an event",
    "mow": "- mowing",
    "harvest": "- harvest",
    "burn": "- fire",
    "flood": "- flood",
}
EVENT_DAYS = 10
BESIDE_DAYS = (-2, -1, 1, 2)
WATER_NIR = 0.08
INDEX_BANDS = (("B04", "B08"), ("B05", "B8A"))


@dataclass(frozen=True)
class ErrorSummary:
    """Median and 90th percentile of absolute errors, and how many they are; NaN where there are none."""

    median: float
    p90: float
    count: int

    @classmethod
    def of(cls, errors: Float) -> "ErrorSummary":
        """Sum up errors of any sign."""
        if not errors.size:
            return cls(float("nan"), float("nan"), 0)
        median, p90 = np.quantile(np.abs(errors), (0.5, 0.9))
        return cls(float(median), float(p90), errors.size)


@dataclass(frozen=True)
class TruthErrors:
    """Errors `(n,)` of NDVI by group, and of B02 on undetected cloud (empty without that band)."""

    ndvi: Mapping[str, Float]
    blue: Float

    @classmethod
    def pooled(cls, several: Sequence["TruthErrors"]) -> "TruthErrors":
        """Of several films."""
        ndvi = {group: np.concatenate([one.ndvi[group] for one in several]) for group in GROUPS}
        return cls(ndvi, np.concatenate([one.blue for one in several]))

    def summary(self) -> dict[str, ErrorSummary]:
        """Sum up each group of NDVI errors, and `"blue"`."""
        return {group: ErrorSummary.of(found) for group, found in (*self.ndvi.items(), ("blue", self.blue))}


def truth_errors(known: KnownStack, film: Float) -> TruthErrors:
    """Compare a film with the truth of every day.

    Parameters
    ----------
    known
        The truth, and what was planted.
    film
        `(band, day, y, x)` reflectance on the days of `known`, in its bands; NaN = none.

    Raises InvalidInputError for a film of another shape, or bands without an NDVI (B04 and B08, or B05 and B8A).

    """
    if film.shape != known.truth.shape:
        raise InvalidInputError(f"The film is {film.shape}, and the truth {known.truth.shape} (band, day, y, x).")
    error = ndvi(film, known.bands) - ndvi(known.truth, known.bands)
    holds = np.isfinite(error)
    counts = holds & (known.truth[_index_bands(known.bands)[1]] > WATER_NIR)
    places = {group: place & counts for group, place in _places(known).items()}
    places |= {group: place & holds for group, place in _event_places(known).items()}
    blue = np.zeros(0, np.float32)
    if "B02" in known.bands:
        band = known.bands.index("B02")
        blue = (film[band] - known.truth[band])[places["seen_undetected"]]
    return TruthErrors({group: error[place] for group, place in places.items()}, blue)


def _places(known: KnownStack) -> dict[str, Bool]:
    """Where each group but those of events is `(day, y, x)`."""
    shape = known.truth.shape[1:]
    seen, undetected, beside, acquired = np.zeros((4, *shape), bool)
    for n, day in enumerate(known.acquisition_days):
        at = known.days.index(day)
        seen[at], undetected[at], acquired[at] = known.clear[n], known.undetected[n], True
        for near in (at + step for step in BESIDE_DAYS):
            if 0 <= near < shape[0]:
                beside[near] |= known.undetected[n]
    return {
        "all": np.ones(shape, bool),
        "between": ~acquired,
        "seen_clean": seen & ~undetected,
        "seen_undetected": undetected,
        "hidden": acquired & ~seen,
        "beside_undetected": beside & ~undetected,
    }


def _event_places(known: KnownStack) -> dict[str, Bool]:
    """Where and when an event is less than ten days old, of any kind and by kind."""
    changed = {kind: _after(known, kind) for kind in ("mow", "harvest", "burn", "flood")}
    return {"after_event": np.any(list(changed.values()), axis=0), **changed}


def _after(known: KnownStack, kind: str) -> Bool:
    """Where and when an event of a kind is less than ten days old `(day, y, x)`."""
    found = np.zeros(known.truth.shape[1:], bool)
    for event in known.events:
        first = event.day - known.days.start
        if event.kind == kind and first + EVENT_DAYS > 0:
            found[max(first, 0) : first + EVENT_DAYS] |= event.pixels
    return found


def _index_bands(bands: Sequence[str]) -> tuple[int, int]:
    for red, infrared in INDEX_BANDS:
        if red in bands and infrared in bands:
            return bands.index(red), bands.index(infrared)
    raise InvalidInputError(f"bands {','.join(bands)} give no NDVI; add B04 and B08, or B05 and B8A.")


def ndvi(images: NDArray[np.floating], bands: Sequence[str]) -> Float:
    """NDVI of images, `(band, ...)` to `(...)` float32; of the red edge without B04 and B08."""
    red, infrared = (images[n] for n in _index_bands(bands))
    return np.asarray((infrared - red) / np.maximum(infrared + red, 1e-3), np.float32)
