"""What people look at of a day: the 8-bit raster `visual`, and the thumbnail that is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling

from spaceeye_stac.collection import WrittenFile
from spaceeye_stac.days.cog import HIGHEST_DN, NODATA, written_file

THUMBNAIL_PIXELS = 256
PNG_LEVEL = 1
TRUE_COLOUR = ("B04", "B03", "B02")
FALSE_COLOURS = (("B11", "B8A", "B05"), ("B12", "B8A", "B05"), ("B08", "B04", "B03"), ("B8A", "B06", "B05"))


@dataclass(frozen=True)
class Shades:
    """From DN to 8 bit: 1 + 254 (DN / white) ** (1 / gamma), from 1 to 255; `white` of true colour, and of others."""

    white: int
    white_infrared: int
    gamma: float

    def white_of(self, band: str) -> int:
        """DN of a band that are shown as 255."""
        return self.white if band in TRUE_COLOUR else self.white_infrared


# tci: true colour as in the TCI of L2A
SHADES = {"natural": Shades(3400, 6400, 1.6), "tci": Shades(3558, 6000, 1)}


def display_bands(bands: Sequence[str]) -> tuple[str, str, str]:
    """Return the bands shown as red, green and blue: true colour where possible, else a false colour or grey."""
    fitting = [three for three in (TRUE_COLOUR, *FALSE_COLOURS) if set(three) <= set(bands)]
    return fitting[0] if fitting else (bands[0],) * 3


def visual(
    images: Sequence[NDArray[np.uint16]], rgb_bands: Sequence[str], stretch: str = "natural"
) -> NDArray[np.uint8]:
    """Stretch DN `(y, x)` of `rgb_bands` to 8-bit RGB `(3, y, x)`, the same on every day; 0 is nodata."""
    tables = shades_of(rgb_bands, stretch)
    return np.stack([table.take(image) for table, image in zip(tables, images, strict=True)])


def shades_of(rgb_bands: Sequence[str], stretch: str) -> list[NDArray[np.uint8]]:
    """What each DN of each of the bands is shown as: 1 to 255, and 0 for nodata."""
    shades = SHADES[stretch]
    return [_table(shades.white_of(name), shades.gamma) for name in rgb_bands]


@cache
def _table(white: int, gamma: float) -> NDArray[np.uint8]:
    found = np.clip(1 + 254 * (np.arange(HIGHEST_DN + 1) / white) ** (1 / gamma), 1, 255).astype(np.uint8)
    found[NODATA] = 0
    return found


def write_thumbnail(path: Path, source: Path) -> WrittenFile:
    """Write the RGB raster `source` as a PNG with transparent nodata.

    A large one is averaged down to 256 pixels on its longer side; a small one is enlarged by a whole factor to at
    least that, each pixel a square.
    """
    with rasterio.open(source) as raster:
        longest = max(raster.shape)
        times = -(-THUMBNAIL_PIXELS // longest)
        height, width = (max(1, round(min(1, THUMBNAIL_PIXELS / longest) * side)) for side in raster.shape)
        rgb = raster.read(out_shape=(3, height, width), resampling=Resampling.average)
    alpha = np.where((rgb == 0).all(axis=0), 0, 255).astype(np.uint8)
    small = Image.fromarray(np.dstack([*rgb, alpha]))
    small.resize((width * times, height * times), Image.Resampling.NEAREST).save(path, compress_level=PNG_LEVEL)
    return written_file(path)
