"""Reflectance of what covers the ground, and of what the air puts before it, in the bands of Sentinel-2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.query import DEFAULT_BANDS

Spectrum = Mapping[str, float]


def spectrum(*values: float) -> Spectrum:
    """Name the values of all bands, B02 to B12."""
    return dict(zip(DEFAULT_BANDS, values, strict=True))


def of_bands(one: Spectrum, bands: Sequence[str]) -> NDArray[np.float32]:
    """Return the values `(band, 1, 1)` float32 of these bands."""
    return np.array([one[band] for band in bands], np.float32)[:, None, None]


# surface reflectance: what covers the ground fully
SPECTRA: Mapping[str, Spectrum] = {
    "soil": spectrum(0.08, 0.11, 0.15, 0.18, 0.20, 0.22, 0.24, 0.26, 0.34, 0.29),
    "crop": spectrum(0.03, 0.06, 0.03, 0.09, 0.32, 0.42, 0.45, 0.47, 0.20, 0.10),
    "forest": spectrum(0.02, 0.04, 0.02, 0.06, 0.20, 0.26, 0.28, 0.30, 0.12, 0.05),
    "water": spectrum(0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01),
    "roofs": spectrum(0.12, 0.14, 0.17, 0.19, 0.21, 0.22, 0.24, 0.24, 0.28, 0.25),
    "stubble": spectrum(0.06, 0.09, 0.11, 0.15, 0.22, 0.25, 0.28, 0.30, 0.31, 0.20),
    "char": spectrum(0.04, 0.045, 0.05, 0.055, 0.065, 0.075, 0.085, 0.10, 0.15, 0.14),
}
# how much more than B02 an orbit that looks away from the sun sees
VIEW = spectrum(1, 0.9, 1, 0.8, 0.5, 0.5, 0.5, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Atmosphere:
    """Spectra of the air: `haze` per unit of it in B02, and the reflectance of thick `cloud`."""

    haze: Spectrum
    cloud: Spectrum

    @classmethod
    def drawn(cls, seed: int) -> "Atmosphere":
        """Draw spectra at random: haze that is whiter than usual, and cloud of about 0.7 in every band.

        A method that knows the usual spectra can be measured on others with them.
        """
        rng = np.random.default_rng(seed)
        whiter = np.array([1, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.6, 0.4, 0.3])
        haze = whiter * np.exp(rng.normal(0, 0.15, len(DEFAULT_BANDS)))
        return cls(spectrum(*haze), spectrum(*0.7 * np.exp(rng.normal(0, 0.3, len(DEFAULT_BANDS)))))


USUAL_ATMOSPHERE = Atmosphere(
    haze=spectrum(1, 0.78, 0.62, 0.55, 0.45, 0.40, 0.35, 0.32, 0.12, 0.07),
    cloud=spectrum(0.62, 0.60, 0.60, 0.62, 0.64, 0.66, 0.66, 0.66, 0.45, 0.35),
)
