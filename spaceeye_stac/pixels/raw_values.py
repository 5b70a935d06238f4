"""Pixels of a file, of any type and with any nodata, as DN with 0 for no data, or as labels."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform
from rasterio.windows import Window

from spaceeye_stac.model import NO_LABEL, BandAsset
from spaceeye_stac.pixels.assets import AssetToRead
from spaceeye_stac.pixels.headers import has_alpha

NO_DATA, LEAST_DN = 0, 1
ALIKE_SCALES = 0.1
Raw = NDArray[np.integer]


@dataclass(frozen=True)
class BandValues:
    """How a band's pixels become DN: 0 where there is no data, at least 1 where there is.

    A valid DN below 1, as of dark water in int16 files, is a reflectance below the least that is published in any
    case, so that 1 loses nothing. `nodata` is the header's, else the item's, else the profile's; `masked`: the file
    also says by a mask, or an alpha band, where there is data. `alpha`: a mask alone says it, which GDAL would pass
    over beside a nodata when it warps.
    """

    source: AssetToRead
    nodata: int
    masked: bool
    alpha: bool

    @property
    def warped_nodata(self) -> int | None:
        """What GDAL is to keep out of what it warps."""
        return None if self.alpha else self.nodata

    @classmethod
    def of(cls, dataset: DatasetReader, source: AssetToRead) -> "BandValues":
        """See how a file is to be read."""
        flags = dataset.mask_flag_enums[0]
        masked, own = MaskFlags.per_dataset in flags, dataset.nodata is not None
        alpha = MaskFlags.alpha in flags
        return cls(source, _nodata(dataset, source.asset), masked or alpha, masked and not alpha and not own)

    def read(self, dataset: DatasetReader, window: Window) -> NDArray[np.uint16]:
        """Read a window of the file's own pixels."""
        found = dataset.read(1, window=window)
        inside = dataset.read_masks(1, window=window) != 0 if self.masked else None
        return self.converted(found, inside)

    def converted(self, found: Raw, inside: NDArray[np.bool_] | None) -> NDArray[np.uint16]:
        """DN of pixels as they are in the file, of those `inside`."""
        if found.dtype == np.uint16 and self.nodata == NO_DATA:
            dn = found.astype(np.uint16, copy=False)
            return dn if inside is None else np.where(inside, dn, np.uint16(NO_DATA))
        valid = found != self.nodata
        if inside is not None:
            valid &= inside
        if self.source.asset.offset > 0 and (found[valid] < 0).any():
            raise self.source.error(
                f"holds DN below 0 for an offset of {self.source.asset.offset:g}, which is not read"
            )
        return np.where(valid, np.maximum(found, LEAST_DN), NO_DATA).astype(np.uint16)


@dataclass(frozen=True)
class Labels:
    """How pixels of a mask become labels: as they stand; those below 0, and those outside, say nothing."""

    warped_nodata: None = None
    alpha: bool = True

    def read(self, dataset: DatasetReader, window: Window) -> NDArray[np.uint16]:
        """Read a window of the file's own pixels."""
        inside = dataset.read_masks(1, window=window) != 0 if has_alpha(dataset) else None
        return self.converted(dataset.read(1, window=window), inside)

    def converted(self, found: Raw, inside: NDArray[np.bool_] | None) -> NDArray[np.uint16]:
        """Labels of pixels as they are in the file, of those `inside`."""
        known = None if found.dtype.kind == "u" else found >= 0
        if inside is not None:
            known = inside if known is None else known & inside
        values = found.astype(np.uint16)
        return values if known is None else np.where(known, values, np.uint16(NO_LABEL))


def _nodata(dataset: DatasetReader, asset: BandAsset) -> int:
    """The first nodata that is declared and that the file's pixels can have; 0 where there is none."""
    limits = np.iinfo(dataset.dtypes[0])
    for value in (dataset.nodata, asset.nodata):
        if value is not None and math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max:
            return int(value)
    return NO_DATA


def pixel_scales(dataset: DatasetReader, crs: CRS, epsg: int, grid: Affine) -> tuple[float, float]:
    """Pixels of the grid that one of the file is wide and high, the same however the grid is cut.

    Both in the units of their CRS; where these are not alike, as metres and degrees, by the middle of the file.
    """
    plain = dataset.transform.a / grid.a
    columns, rows = dataset.width / 2, dataset.height / 2
    x, y = dataset.transform * (np.array([columns, columns + 1, columns]), np.array([rows, rows, rows + 1]))
    try:
        there = np.array(transform(crs, CRS.from_epsg(epsg), x, y))
    except RasterioError:
        return plain, plain
    right, down = ~grid * (there[0], there[1])
    across, along = (math.hypot(right[n] - right[0], down[n] - down[0]) for n in (1, 2))
    if (
        not (math.isfinite(across) and math.isfinite(along))
        or max(abs(across / plain - 1), abs(along / plain - 1)) < ALIKE_SCALES
    ):
        return plain, plain
    return across, along
