"""How like the truth an image is, in the figures that the field names: SSIM, spectral angle, relative RMSE, NDVI; pure.

With estimate x and truth y in reflectance, over the scored pixels:

    ssim        Wang et al. 2004, doi:10.1109/TIP.2003.819861: Gaussian windows of 11 x 11 pixels, sigma 1.5, K1 0.01,
                K2 0.03, range 1 (as the peak of PSNR); weights are those of the scored pixels, over their sum; mean
                over these pixels and the bands
    sam         Kruse et al. 1993, doi:10.1016/0034-4257(93)90013-N: mean angle between the spectra of x and y, degrees
    rrmse       sqrt(mean (x - y)^2) / mean y, over pixels and bands
    ndvi_mae, ndvi_rmse, ndvi_bias
                mean |d|, sqrt(mean d^2) and mean d of the NDVI of x less that of y
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import Bool, Float
from spaceeye_stac.evaluation.looks import VegetationIndex

LIKENESS = ("ssim", "sam", "rrmse", "ndvi_mae", "ndvi_rmse", "ndvi_bias")
SIGMA, RADIUS = 1.5, 5
C1, C2 = 0.01**2, 0.03**2
FEWEST_BANDS = 2


def likeness(found: Float, truth: Float, where: Bool, index: VegetationIndex | None) -> Mapping[str, float]:
    """Return each of `LIKENESS` of images `(band, y, x)`, NaN = no value, on the pixels `where` `(y, x)`.

    NaN where it cannot be known: the angle of one band, or of black pixels, and NDVI without its bands.
    """
    made, true = (image[:, where].astype(np.float64) for image in (found, truth))
    errors = made - true
    mean = true.mean()
    ndvi = np.full(1, np.nan) if index is None else index.of(found[:, where]) - index.of(truth[:, where])
    ndvi = ndvi.astype(np.float64)
    box = _around(where)
    known = np.where(where[box], np.float32(1), np.float32(np.nan))
    return {
        "ssim": float(np.mean([np.nanmean(ssim(x[box] * known, y[box])) for x, y in zip(found, truth, strict=True)])),
        "sam": spectral_angle(made, true),
        "rrmse": float(np.sqrt((errors**2).mean()) / mean) if mean > 0 else np.nan,
        "ndvi_mae": float(np.abs(ndvi).mean()),
        "ndvi_rmse": float(np.sqrt((ndvi**2).mean())),
        "ndvi_bias": float(ndvi.mean()),
    }


def _around(where: Bool) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around some pixels."""
    sides = [np.flatnonzero(where.any(axis=axis)) for axis in (1, 0)]
    down, right = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return down, right


def ssim(image: Float, truth: Float) -> NDArray[np.float64]:
    """Structural similarity `(y, x)` of two images of one band, each NaN where it has no value; NaN where one has none.

    Pixels without a value have no weight in the windows of others.
    """
    both = np.isfinite(image) & np.isfinite(truth)
    x, y = (np.where(both, one, 0).astype(np.float64) for one in (image, truth))
    weights = np.maximum(_blurred(both.astype(np.float64)), np.finfo(np.float64).tiny)
    mean_x, mean_y, square_x, square_y, product = (_blurred(one) / weights for one in (x, y, x * x, y * y, x * y))
    variances = square_x - mean_x**2 + square_y - mean_y**2
    alike = (2 * mean_x * mean_y + C1) * (2 * (product - mean_x * mean_y) + C2)
    found = alike / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))
    return np.asarray(np.where(both, found, np.nan))


def _blurred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted sums over the Gaussian window around each pixel, nothing beyond the edge."""
    from scipy import ndimage  # noqa: PLC0415 - where something is scored

    return np.asarray(ndimage.gaussian_filter(image, SIGMA, mode="constant", radius=RADIUS))


def spectral_angle(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean angle in degrees between spectra `(band, pixel)`; NaN of a single band, and where all are black."""
    if len(found) < FEWEST_BANDS:
        return np.nan
    lengths = np.linalg.norm(found, axis=0) * np.linalg.norm(truth, axis=0)
    some = lengths > 0
    cosines = (found * truth).sum(axis=0)[some] / lengths[some]
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean()) if some.any() else np.nan
