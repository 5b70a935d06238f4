"""Catalogs of whole tiles that cost next to nothing to make: every image is one of 1024 pixels, again and again.

A file holds the internal tiles of that image once, and its directory points to them from everywhere. Readers see, and
decode, a file of the whole size.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.simulation.catalog import COARSE, COARSE_BANDS
from tests.benchmarks.catalogs import Repeated, unit

BLOCK = 512
OPTIONS = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "predictor": 2, "zlevel": 1}
TILE_OFFSETS, TILE_BYTES = 324, 325
NUMBERS = {3: "<u2", 4: "<u4", 16: "<u8"}  # the types of TIFF that they may have


@dataclass(frozen=True)
class Large(Repeated):
    """A repeated simulation whose files are written so."""

    def write_scene(self, place: Path, day: int) -> str:
        """See `SimulatedTile`."""
        name = self.scene_id(day)
        folder = place / name
        folder.mkdir(parents=True, exist_ok=True)
        values, labels = unit(self, day)
        coarse = self.geobox.zoom_out(COARSE)
        for band, image in zip(self.bands, values, strict=True):
            small = band in COARSE_BANDS
            layer = image[::COARSE, ::COARSE] if small else image
            write_repeated(folder / f"{band}.tif", layer, coarse if small else self.geobox)
        write_repeated(folder / "SCL.tif", labels, coarse)
        (folder / f"{name}.json").write_text(json.dumps(self._item(day)))
        return name


def write_repeated(path: Path, image: NDArray[np.unsignedinteger], geobox: GeoBox) -> None:
    """Write a GeoTIFF of the whole grid in which the image `(y, x)`, whole tiles of 512 pixels, repeats itself."""
    height, width = geobox.shape
    size = {"count": 1, "height": height, "width": width, "dtype": image.dtype, "nodata": 0}
    place = {"crs": str(geobox.crs), "transform": geobox.transform}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, **size, **place, **OPTIONS) as target:
        part = image[:height, :width]
        target.write(part, 1, window=((0, part.shape[0]), (0, part.shape[1])))
    if max(height, width) > len(image):
        across, down = -(-width // BLOCK), -(-height // BLOCK)
        _point_everywhere(path, (down, across), len(image) // BLOCK)


def _point_everywhere(path: Path, shape: tuple[int, int], blocks: int) -> None:
    """Let all tiles of a classic TIFF be those of its upper left corner of `blocks` x `blocks`."""
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for start in range(first + 2, first + 2 + 12 * count, 12):
        tag, kind, many, at = struct.unpack_from("<HHII", data, start)
        if tag in {TILE_OFFSETS, TILE_BYTES}:
            found = np.frombuffer(data, NUMBERS[kind], many, at).reshape(shape)
            rows, columns = np.indices(shape) % blocks
            found[:] = found[rows, columns]
    path.write_bytes(data)
