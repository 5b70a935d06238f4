"""Which of a file's overviews a much coarser grid is averaged from: the coarsest that is not coarser than the grid.

A file of which something speaks against its overviews is averaged from its full pixels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio import DatasetReader

from spaceeye_stac.pixels.assets import LARGE_BLOCK_PIXELS
from spaceeye_stac.pixels.raw_values import BandValues

OVERVIEWS = "overviews"
"""How a band gets onto a grid: averaged, from an overview where one fits."""
TIFF = "GTiff"
SAID = (("IMAGE_STRUCTURE", "OVERVIEW_RESAMPLING"), ("", "OVR_RESAMPLING_ALG"))  # by GDAL 3.12 and rio-cogeo
PICKED = ("NEAREST", "MODE")  # of which an overview's pixel is one of the pixels under it, and no mean of them
ROUNDING = 1e-6


@contextmanager
def coarsest(dataset: DatasetReader, values: BandValues, pixel: float) -> Iterator[DatasetReader]:
    """The overview to average, or the dataset itself; `pixel`: how many of the grid's pixels one of the file is wide.

    The overview lies where GDAL has it, by its own size: of a side that is no multiple of its factor, its pixels are a
    little larger or smaller than so many full ones.
    """
    fitting = [(factor, level) for level, factor in enumerate(dataset.overviews(1)) if factor * pixel <= 1 + ROUNDING]
    if not fitting or not _are_means(dataset, values):
        yield dataset
        return
    for factor, level in sorted(fitting, reverse=True):
        with DatasetReader(dataset.name, driver=TIFF, sharing=False, OVERVIEW_LEVEL=level) as overview:
            if _is_sound(overview, dataset, factor, pixel):
                yield overview
                return
    yield dataset


def _are_means(dataset: DatasetReader, values: BandValues) -> bool:
    """Whether the overviews of a file are means of valid pixels, as far as the file says how they were made.

    - JPEG 2000 has samples of a low-pass instead, which lie up to half an overview's pixel to the upper left.
    - Where the nodata stands in the item alone, or a mask beside the pixels, whoever made the overviews did not know of
      it: 0 was averaged into their pixels at the edges of the data.
    - Overviews that are picked pixels lie to the upper left, too. gdaladdo picks unless it is told otherwise, and does
      not say so; the COG driver does not pick, and others say what they did.
    """
    place = dataset.transform
    if dataset.driver != TIFF or place.b or place.d or abs(place.e) != place.a:
        return False
    if values.masked or dataset.nodata is None or dataset.nodata != values.nodata:
        return False
    said = [dataset.tags(ns=space).get(name, "").upper() for space, name in SAID]
    if any(said):
        return not any(one in PICKED for one in said)
    return bool(dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG")


def _is_sound(overview: DatasetReader, dataset: DatasetReader, factor: int, pixel: float) -> bool:
    """Whether an overview is the whole image in that many times fewer pixels of the same kind, and fits the grid."""
    for small, side in zip(overview.shape, dataset.shape, strict=True):
        if small not in {side // factor, -(-side // factor)} or side / small * pixel > 1 + ROUNDING:
            return False
    alike = overview.dtypes == dataset.dtypes and overview.nodata == dataset.nodata
    return bool(alike and math.prod(overview.block_shapes[0]) <= LARGE_BLOCK_PIXELS)
