"""Pixels to COGs by GDAL."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from spaceeye_stac.days.descriptions import IMAGERY, Description

CACHE_MB = 64
COARSE = 4  # times as large are the pixels of an overview
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class RasterForm:
    """What a raster is: its `profile` as rasterio opens it, and what it says of itself."""

    profile: Mapping[str, Any]
    said: Description | None = None

    def create(self, path: Path | str, **options: object) -> Any:  # noqa: ANN401 - rasterio has no types
        """Open such a raster for writing."""
        raster, count, said = rasterio.open(path, "w", **options, **self.profile), self.profile["count"], self.said
        if said is not None:
            if said.scale is not None:
                raster.scales, raster.offsets = (said.scale,) * count, (0.0,) * count
            raster.units, raster.descriptions = (said.unit,) * count, said.bands
            raster.update_tags(**said.tags)
            raster.update_tags(ns=IMAGERY, **said.imagery)
            raster.update_tags(1, **said.band_tags)
            if said.colours:
                raster.write_colormap(1, dict(enumerate(said.colours)))
        if count == len(COLOURS):
            raster.colorinterp = COLOURS
        return raster


def encode(
    source: NDArray[np.unsignedinteger] | Path, path: Path, form: RasterForm, options: Mapping[str, object]
) -> None:
    """Make the COG `path` of pixels `(band, y, x)` or of a raster file; `options` are those of GDAL's COG driver.

    A file is read piece by piece; what is in memory is encoded there and written at once, as GDAL does not tell of
    every failed write. rasterio releases the lock of Python but for the overviews, which are a seventh of the time.
    """
    if isinstance(source, Path):
        with rasterio.open(source, "r+") as raster:
            _add_overviews(raster, options)
        copy(str(source), str(path), driver="COG", **options)
        return
    with form.create("", driver="MEM") as raster, MemoryFile(ext=".tif") as memory:
        raster.write(source)
        _add_overviews(raster, options)
        copy(raster, memory.name, driver="COG", **options)
        path.write_bytes(memory.getbuffer())


def _add_overviews(raster: Any, options: Mapping[str, object]) -> None:  # noqa: ANN401 - rasterio has no types
    """Give a raster the overviews of its COG: the driver's own go through a compressed file, a third of its time."""
    levels = _factors(max(raster.shape), int(str(options["blocksize"])))
    if options["overviews"] == "FORCE_USE_EXISTING":
        levels = levels[1:] or [COARSE]
    if options["overviews"] != "NONE" and levels:
        raster.build_overviews(levels, Resampling[str(options["overview_resampling"])])


def _factors(longest: int, block: int) -> list[int]:
    """Powers of two, up to that which makes one block of the raster."""
    levels = (2**n for n in range(1, longest.bit_length()))
    return [level for level in levels if longest // (level // 2) > block]
