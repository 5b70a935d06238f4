"""Much coarser grids: which of a file's overviews they are averaged from, and the averaging.

It is the coarsest overview that is not coarser than the grid. A file of which something speaks against its overviews is
averaged from its full pixels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from spaceeye_stac.pixels.assets import LARGE_BLOCK_PIXELS
from spaceeye_stac.pixels.raw_values import BandValues

OVERVIEWS = "overviews"
"""How a band gets onto a grid: averaged, from an overview where one fits."""
TIFF = "GTiff"
SAID = (("IMAGE_STRUCTURE", "OVERVIEW_RESAMPLING"), ("", "OVR_RESAMPLING_ALG"))  # by GDAL 3.12 and rio-cogeo
PICKED = ("NEAREST", "MODE")  # of which an overview's pixel is one of the pixels under it, and no mean of them
ROUNDING = 1e-6
MARGIN = 2  # pixels of the overview around what is averaged
EDGE_POINTS = 21


@contextmanager
def coarsest(dataset: DatasetReader, values: BandValues, pixel: float) -> Iterator[DatasetReader | None]:
    """The overview to average, None where full pixels are; `pixel`: how many of the grid's one of the file is wide.

    The overview lies where GDAL has it, by its own size: of a side that is no multiple of its factor, its pixels are a
    little larger or smaller than so many full ones.
    """
    fitting = [(factor, level) for level, factor in enumerate(dataset.overviews(1)) if factor * pixel <= 1 + ROUNDING]
    for factor, level in sorted(fitting, reverse=True) if fitting and _are_means(dataset, values) else ():
        with DatasetReader(dataset.name, driver=TIFF, sharing=False, OVERVIEW_LEVEL=level) as overview:
            if _is_sound(overview, dataset, factor, pixel):
                yield overview
                return
    yield None


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


@dataclass(frozen=True)
class Target:
    """A part of a grid that is read."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, epsg: int, grid: Affine, window: Window) -> "Target":
        """A window of a grid."""
        corner = grid * Affine.translation(window.col_off, window.row_off)
        return cls(CRS.from_epsg(epsg), corner, (window.height, window.width))

    def averaged(self, overview: DatasetReader, crs: CRS, nodata: int, **options: float) -> NDArray[np.integer]:
        """Means of an overview's valid pixels, by the area that each has in a pixel of the grid; nodata where none is.

        From memory: GDAL's warped view of an overview would search the store for files beside it.
        """
        out: NDArray[Any] = np.full(self.shape, nodata, overview.dtypes[0])
        window = self._within(overview, crs)
        if window is not None:
            reproject(
                overview.read(1, window=window),
                out,
                src_transform=overview.transform * Affine.translation(window.col_off, window.row_off),
                src_crs=crs,
                src_nodata=nodata,
                dst_transform=self.transform,
                dst_crs=self.crs,
                dst_nodata=nodata,
                resampling=Resampling.average,
                **options,
            )
        return out

    def _within(self, overview: DatasetReader, crs: CRS) -> Window | None:
        """What of an overview in that CRS has a part in the target; None where nothing has."""
        height, width = self.shape
        (left, top), (right, bottom) = self.transform * (0, 0), self.transform * (width, height)
        box = left, min(top, bottom), right, max(top, bottom)
        try:
            west, south, east, north = transform_bounds(self.crs, crs, *box, densify_pts=EDGE_POINTS)
        except RasterioError:
            west, south, east, north = overview.bounds
        if not np.isfinite((west, south, east, north)).all():
            west, south, east, north = overview.bounds
        ends = [~overview.transform * corner for corner in ((west, north), (east, south))]
        spans = []
        for along, size in zip(zip(*ends, strict=True), reversed(overview.shape), strict=True):
            first = max(0, math.floor(min(along)) - MARGIN)
            last = min(size, math.ceil(max(along)) + MARGIN)
            spans.append((first, last - first))
        (column, columns), (row, rows) = spans
        return Window(column, row, columns, rows) if rows > 0 and columns > 0 else None
