"""Bands by their Sentinel-2 names, and the other names that people have for them."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from spaceeye_stac.errors import InvalidInputError

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
DEFAULT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge071": "B05",
    "rededge075": "B06",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir16": "B11",
    "swir22": "B12",
    **{f"rededge{n}": f"B0{n + 4}" for n in (1, 2, 3)},  # as Earth Search has them
}


def band_named(name: object) -> str:
    """A band's Sentinel-2 name for any way to write it (B8, b08), or for its common name (nir).

    Raises InvalidInputError for another one, with those that are spelt like it.
    """
    text = str(name).strip().lower()
    number = re.fullmatch(r"b0?([1-9]a?|1[0-2])", text)
    found = f"B{number[1].upper():0>2}" if number else COMMON_NAMES.get(text)
    if found in BANDS:
        return found
    near = get_close_matches(text, [*COMMON_NAMES, *map(str.lower, BANDS)], n=3)
    meant = f" Is {either([COMMON_NAMES.get(one, one.upper()) for one in near])} meant?" if near else ""
    raise InvalidInputError(f"bands {name}: choose from {','.join(BANDS)}, or common names as red and nir.{meant}")


def checked_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands by their Sentinel-2 names, each once; text may hold several, with commas between."""
    names = tuple(map(band_named, bands.split(",") if isinstance(bands, str) else bands))
    if not names:
        raise InvalidInputError(f"bands (none): choose from {','.join(BANDS)}.")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"bands {','.join(names)} names a band twice.")
    return names


def either(names: Sequence[str]) -> str:
    """Names as the end of a sentence: one, or another."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
