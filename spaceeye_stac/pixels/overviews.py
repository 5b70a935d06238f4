"""Much coarser grids: which of a file's overviews they are averaged from.

It is the coarsest overview that is not coarser than the grid. A file of which something speaks against its overviews is
averaged from its full pixels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rasterio import DatasetReader, MemoryFile
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from spaceeye_stac.pixels.assets import LARGE_BLOCK_PIXELS
from spaceeye_stac.pixels.raw_values import BandValues, pixel_scales

OVERVIEWS = "overviews"
"""How a band gets onto a grid: averaged, from an overview where one fits."""
TIFF = "GTiff"
SAID = (("IMAGE_STRUCTURE", "OVERVIEW_RESAMPLING"), ("", "OVR_RESAMPLING_ALG"))  # by GDAL 3.12 and rio-cogeo
MEANS = ("AVERAGE", "BILINEAR", "CUBIC", "CUBICSPLINE", "LANCZOS")
ROUNDING = 1e-6
MARGIN = 2  # pixels of the overview around what is averaged
EDGE_POINTS = 21


@dataclass(frozen=True)
class GridWindow:
    """A window of a grid."""

    epsg: int
    grid: Affine
    window: Window

    def of(self, overview: DatasetReader, crs: CRS) -> Window | None:
        """What of an overview in that CRS has a part in the window; None where nothing has."""
        corner = self.grid * Affine.translation(self.window.col_off, self.window.row_off)
        (left, top), (right, bottom) = corner * (0, 0), corner * (self.window.width, self.window.height)
        box = min(left, right), min(top, bottom), max(left, right), max(top, bottom)
        try:
            there = transform_bounds(CRS.from_epsg(self.epsg), crs, *box, densify_pts=EDGE_POINTS)
        except RasterioError:
            there = overview.bounds
        west, south, east, north = there if np.isfinite(there).all() else overview.bounds
        ends = zip(*(~overview.transform * end for end in ((west, north), (east, south))), strict=True)
        spans = [
            (max(0, math.floor(min(along)) - MARGIN), min(size, math.ceil(max(along)) + MARGIN))
            for along, size in zip(ends, (overview.width, overview.height), strict=True)
        ]
        (column, right_end), (row, end) = spans
        return Window(column, row, right_end - column, end - row) if column < right_end and row < end else None


@contextmanager
def coarsest(dataset: DatasetReader, crs: CRS, values: BandValues, target: GridWindow) -> Iterator[DatasetReader]:
    """What is to be averaged to a window of a grid: a part of an overview, else the dataset as it is.

    An overview lies where GDAL has it, by its own size: of a side that is no multiple of its factor, its pixels are a
    little larger or smaller than so many full ones. The part is in memory, as GDAL searches the store for files beside
    an image whose overview it warps.
    """
    pixel = max(pixel_scales(dataset, crs, target.epsg, target.grid))
    fitting = [(factor, level) for level, factor in enumerate(dataset.overviews(1)) if factor * pixel <= 1 + ROUNDING]
    for factor, level in sorted(fitting, reverse=True) if fitting and _are_means(dataset, values) else ():
        with DatasetReader(dataset.name, driver=TIFF, sharing=False, OVERVIEW_LEVEL=level) as overview:
            if _is_sound(overview, dataset, factor, pixel):
                part = target.of(overview, crs)
                if part is not None:
                    with _in_memory(overview, crs, part) as copy:
                        yield copy
                    return
    yield dataset


@contextmanager
def _in_memory(overview: DatasetReader, crs: CRS, part: Window) -> Iterator[DatasetReader]:
    """A part of an overview as a dataset in memory."""
    shape = {"height": part.height, "width": part.width, "count": 1, "dtype": overview.dtypes[0]}
    place = overview.transform * Affine.translation(part.col_off, part.row_off)
    with MemoryFile() as memory:
        with memory.open(driver=TIFF, crs=crs, transform=place, nodata=overview.nodata, **shape) as copy:
            copy.write(overview.read(1, window=part), 1)
        with memory.open() as copy:
            yield copy


def _are_means(dataset: DatasetReader, values: BandValues) -> bool:
    """Whether the overviews of a file are means of valid pixels, as far as the file says how they were made.

    - JPEG 2000 has samples of a low-pass instead, which lie up to half an overview's pixel to the upper left.
    - Where the nodata stands in the item alone, or a mask beside the pixels, whoever made the overviews did not know of
      it: 0 was averaged into their pixels at the edges of the data.
    - Overviews that are picked pixels, and GDAL's of a Gaussian, lie to the upper left, too. gdaladdo picks unless it
      is told otherwise, and does not say so; the COG driver does not pick, and others say what they did.
    """
    place = dataset.transform
    if dataset.driver != TIFF or place.b or place.d or abs(place.e) != place.a:
        return False
    if values.masked or dataset.nodata is None or dataset.nodata != values.nodata:
        return False
    said = [dataset.tags(ns=space).get(name, "").upper() for space, name in SAID]
    if any(said):
        return all(one in MEANS for one in said if one)
    return bool(dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG")


def _is_sound(overview: DatasetReader, dataset: DatasetReader, factor: int, pixel: float) -> bool:
    """Whether an overview is the whole image in that many times fewer pixels of the same kind, and fits the grid."""
    for small, side in zip(overview.shape, dataset.shape, strict=True):
        if small not in {side // factor, -(-side // factor)} or side / small * pixel > 1 + ROUNDING:
            return False
    alike = overview.dtypes == dataset.dtypes and overview.nodata == dataset.nodata
    return bool(alike and math.prod(overview.block_shapes[0]) <= LARGE_BLOCK_PIXELS)
