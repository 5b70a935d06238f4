"""Spectral indices by their short names, as spyndex has them, for what is drawn of a day."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError

# of spyndex's letters, which stand for the parts of the spectrum
BANDS = {
    "A": "B01",
    "B": "B02",
    "G": "B03",
    "R": "B04",
    "RE1": "B05",
    "RE2": "B06",
    "RE3": "B07",
    "N": "B08",
    "N2": "B8A",
    "WV": "B09",
    "S1": "B11",
    "S2": "B12",
}
Compute = Callable[[Mapping[str, NDArray[np.float32]]], NDArray[np.float32]]


@dataclass(frozen=True)
class Spectral:
    """An index: the bands that it needs, and what makes it of their reflectance, NaN where that is NaN or infinite."""

    name: str
    bands: tuple[str, ...]
    compute: Compute


def spectral_index(name: str) -> Spectral:
    """An index of spyndex by its short name, as NDVI; InvalidInputError where there is none that Sentinel-2 has."""
    import spyndex  # noqa: PLC0415 - takes a second

    known = {short.upper(): short for short in spyndex.indices}
    short = known.get(name.upper())
    letters = () if short is None else tuple(spyndex.indices[short].bands)
    constants = {c: float(spyndex.constants[c].default) for c in letters if _default(spyndex.constants, c)}
    needed = [letter for letter in letters if letter not in constants]
    if short is None or not set(needed) <= BANDS.keys():
        raise InvalidInputError(f"index {name!r} is not known for Sentinel-2; choose one of spyndex, as NDVI or NDWI.")

    def compute(bands: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        params = {**constants, **{letter: bands[BANDS[letter]] for letter in needed}}
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.asarray(spyndex.computeIndex(short, params), np.float32)
        return np.where(np.isfinite(found), found, np.float32(np.nan))

    return Spectral(short, tuple(BANDS[letter] for letter in needed), compute)


def _default(constants: Mapping[str, object], letter: str) -> bool:
    """Whether a letter stands for a constant that has a value of its own."""
    return letter in constants and isinstance(getattr(constants[letter], "default", None), int | float)
