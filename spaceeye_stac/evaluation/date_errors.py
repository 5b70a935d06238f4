"""Errors of one image against the truth, and what many of them come to; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import QUANTILES, Bool, Estimate, Float
from spaceeye_stac.evaluation.looks import VegetationIndex
from spaceeye_stac.query import Json

KEPT_PIXELS = 2048


@dataclass(frozen=True)
class DateErrors:
    """Errors of one day: |e| of the index `(pixel,)` and of reflectance `(band, pixel)`, of some pixels alone.

    `square`: mean e^2 of reflectance over all pixels and bands. `inside` `(len(QUANTILES),)` of the `counted` values
    with an interval: those that lie in it.
    """

    index: Float | None
    bands: Float
    square: float
    inside: NDArray[np.int64]
    counted: int


def date_errors(found: Estimate, truth: Float, where: Bool, index: VegetationIndex | None) -> DateErrors:
    """Compare an image with the truth `(band, y, x)` where it is asked for `(y, x)`."""
    made, true = found.values[:, where], truth[:, where]
    errors = np.abs(made - true)
    halves = found.half_widths()
    widths = [np.full_like(errors, np.nan)] * 2 if halves is None else [half[:, where] for half in halves]
    some = slice(None, None, sample_step(errors.shape[1]))
    return DateErrors(
        index=None if index is None else np.abs(index.of(made) - index.of(true))[some],
        bands=errors[:, some],
        square=float(np.square(errors, dtype=np.float64).mean()),
        inside=np.array([(errors <= width).sum() for width in widths]),
        counted=int(np.isfinite(widths[0]).sum()),
    )


def sample_step(pixels: int) -> int:
    """Every how many of the pixels of an image are kept, so that the quantiles of a large one need little memory."""
    return max(1, pixels // KEPT_PIXELS)


def quantiles(parts: Sequence[NDArray[np.floating] | None]) -> Json | None:
    """Median and 90th percentile of |values| of all parts, and how many those are; None where there is none."""
    known = [np.abs(part).ravel() for part in parts if part is not None and part.size]
    if not known:
        return None
    values = np.concatenate(known)
    return {"median": float(np.median(values)), "p90": float(np.quantile(values, 0.9)), "n": int(values.size)}


def pooled(dates: Sequence[DateErrors]) -> Json | None:
    """What the errors of dates come to: quantiles over all pixels, PSNR as the mean over dates; None without dates."""
    if not dates:
        return None
    with np.errstate(divide="ignore"):
        psnr = float(np.mean(-10 * np.log10([one.square for one in dates])))
    return {
        "index": quantiles([one.index for one in dates]),
        "bands": quantiles([one.bands for one in dates]),
        "psnr": psnr if np.isfinite(psnr) else None,
        "n_dates": len(dates),
        "coverage": coverage(dates),
    }


def coverage(dates: Sequence[DateErrors]) -> Json | None:
    """Share of the values inside the 68 and 90 % intervals; None where the method gives none."""
    counted = sum(one.counted for one in dates)
    if not counted:
        return None
    inside = np.sum([one.inside for one in dates], axis=0) / counted
    return {name: float(share) for name, share in zip(QUANTILES, inside, strict=True)}
