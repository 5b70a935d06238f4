"""Bands and labels from tiled TIFFs in stores that speak HTTP, by async-tiff: all files at once, two requests each.

What it does not read is left to GDAL: JPEG 2000, strips, masks beside the pixels, files off the grid's lines, and those
that their store refuses, of which GDAL then says why. Pixels are the same, bit for bit.
"""

import asyncio
import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from async_tiff import TIFF, ThreadPool, Tile
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.windows import Window

from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.model import NO_LABEL
from spaceeye_stac.pixels.assets import LARGE_BLOCK_PIXELS, AssetToRead
from spaceeye_stac.pixels.gdal_words import LOST
from spaceeye_stac.pixels.headers import Bounds
from spaceeye_stac.pixels.lattice import Placed, lattice_of
from spaceeye_stac.pixels.network import LostError, RemoteFile, files_at_once, network, reads
from spaceeye_stac.pixels.raw_values import BandValues, Labels
from spaceeye_stac.pixels.tiff_header import TiffHeader
from spaceeye_stac.pixels.tile_parts import HEADER_BYTES

MISREAD = "AsyncTiffException"  # which async-tiff 0.7 raises and does not export
FEWEST_DECODERS = 4
Image = NDArray[np.uint16]


@dataclass(frozen=True)
class TileGrid:
    """The grid that is read, as `lattice_of` takes it."""

    epsg: int | None
    transform: Affine
    shape: tuple[int, int]
    bounds: Bounds

    @classmethod
    def of(cls, geobox: GeoBox) -> "TileGrid":
        """The grid of a geobox."""
        epsg = geobox.crs.epsg if geobox.crs else None
        height, width = geobox.shape
        return cls(epsg, Affine(*list(geobox.affine)[:6]), (height, width), geobox.boundingbox.bbox)


def read_tiles(sources: Mapping[str, AssetToRead], geobox: GeoBox) -> dict[str, Image]:
    """Read those of the sources that can be read so, by their names. ReadError where one is not had or not right."""
    grid = TileGrid.of(geobox)
    signed = {name: place for name, source in sources.items() if reads(place := source.signing(source.asset.href))}
    if not signed or grid.epsg is None:
        return {}
    line, ended = network(), asyncio.Event()
    limit = asyncio.Semaphore(files_at_once(grid.shape, line.connections))

    async def one(name: str) -> Image | None:
        async with limit:
            return await _image(sources[name], line.file(signed[name], ended), grid)

    found = line.run(_all_of([one(name) for name in signed], ended))
    return {name: image for name, image in zip(signed, found, strict=True) if image is not None}


async def _all_of(work: Sequence[Coroutine[Any, Any, Image | None]], ended: asyncio.Event) -> list[Image | None]:
    """Do all at once; the first error ends the others, and sets `ended`."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        ended.set()
        for task in tasks:
            task.cancel()
    for error in [task.exception() for task in done]:
        if error is not None:
            raise error
    return [task.result() for task in tasks]


async def _image(source: AssetToRead, file: RemoteFile, grid: TileGrid) -> Image | None:
    """One asset on the grid; None where it is left to GDAL."""
    assert grid.epsg is not None  # noqa: S101 - see `read_tiles`
    away = source.is_away_from(grid.epsg, grid.bounds)
    if away and source.is_elsewhere(grid.epsg, grid.bounds):
        return np.full(grid.shape, NO_LABEL if source.is_label else 0, np.uint16)
    try:
        image = await _read(await TIFF.open("", store=file, prefetch=HEADER_BYTES), source, grid, away=away)
    except Exception as error:
        if file.failure is None and type(error).__name__ != MISREAD:
            raise
        if isinstance(file.failure, LostError):
            raise source.lost(f"{LOST} ({file.failure})") from None
        if isinstance(file.failure, SpaceEyeError):  # the machine lacks something
            raise file.failure from None
        return None
    return image


async def _read(tiff: TIFF, source: AssetToRead, grid: TileGrid, *, away: bool) -> Image | None:
    """The part of a file on the grid; None where it is left to GDAL."""
    header, fill = TiffHeader.of(tiff), NO_LABEL if source.is_label else 0
    if header is None or math.prod(header.block_shapes[0]) > LARGE_BLOCK_PIXELS:
        return None
    lattice = lattice_of(header, source.check(header, away=away), grid)
    if lattice is None or not (lattice.factor == 1 or source.resampling == Resampling.nearest):
        return None
    values = Labels() if source.is_label else BandValues.of(header, source)
    placed = lattice.placed(Window(0, 0, grid.shape[1], grid.shape[0]), header.shape)
    if placed is None:
        return np.full(grid.shape, fill, np.uint16)
    return placed.laid(values.converted(await _pixels(tiff, header, placed), None), fill)


async def _pixels(tiff: TIFF, header: TiffHeader, placed: Placed) -> NDArray[np.integer]:
    """The file's pixels of a window, tile by tile as they are decoded."""
    window, (height, width) = placed.window, header.block_shapes[0]
    top, left = window.row_off, window.col_off
    rows = range(top // height, (top + window.height - 1) // height + 1)
    columns = range(left // width, (left + window.width - 1) // width + 1)
    tiles = await tiff.fetch_tiles([(x, y) for y in rows for x in columns], 0)
    out = np.empty((window.height, window.width), header.dtypes[0])

    async def put(tile: Tile) -> None:
        y, x = tile.y * height - top, tile.x * width - left  # decoding uses the tile up
        image = np.asarray(await tile.decode(pool=_decoders()))[:, :, 0]
        target = out[max(0, y) : y + height, max(0, x) : x + width]
        target[:] = image[max(0, -y) :, max(0, -x) :][: target.shape[0], : target.shape[1]]

    await asyncio.gather(*map(put, tiles))
    return out


@cache
def _decoders() -> ThreadPool:
    return ThreadPool(max(FEWEST_DECODERS, os.cpu_count() or 1))
