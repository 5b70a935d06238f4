"""Bands and labels from tiled TIFFs in stores that speak HTTP, by async-tiff: all files at once, two requests each.

What it does not read is left to GDAL: JPEG 2000, strips, masks beside the pixels, files off the grid's lines, and those
that their store refuses, of which GDAL then says why. Pixels are the same, bit for bit.
"""

import asyncio
import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext
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
from spaceeye_stac.pixels.lattice import Placed, Thinned, lattice_of, thinned
from spaceeye_stac.pixels.network import ChangedError, LostError, Network, files_at_once, network, reads
from spaceeye_stac.pixels.raw_values import BandValues, Labels
from spaceeye_stac.pixels.remote_file import AHEAD_REQUESTS, RemoteFile
from spaceeye_stac.pixels.tiff_header import TiffHeader
from spaceeye_stac.pixels.tile_parts import HEADER_BYTES

MISREAD = "AsyncTiffException"  # which async-tiff 0.7 raises and does not export
FEWEST_DECODERS = 4
THINNED_PIXELS = 2**22  # of tiles of which a few pixels are taken, that are in memory together
Image = NDArray[np.uint16]


class DamagedError(Exception):
    """A tile whose bytes are not pixels."""


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
            file = RemoteFile.at(signed[name], sources[name].asset.href, line, ended)
            return await _image(sources[name], file, grid)

    found = line.run(_all_of([one(name) for name in signed], ended))
    return {name: image for name, image in zip(signed, found, strict=True) if image is not None}


def tiles_kept(sources: Mapping[str, AssetToRead], geobox: GeoBox) -> Coroutine[Any, Any, int]:
    """Work for the network: bring what `read_tiles` would read into the cache, as far as it can be had; its bytes.

    Hrefs are signed here. Whatever fails is left to the one who reads.
    """
    grid, line, ended = TileGrid.of(geobox), network(), asyncio.Event()
    signed = {name: place for name, source in sources.items() if reads(place := source.signing(source.asset.href))}

    async def all_files() -> int:
        limit = asyncio.Semaphore(AHEAD_REQUESTS)

        async def one(name: str) -> int:
            async with limit:
                file = RemoteFile.at(signed[name], sources[name].asset.href, line, ended, later=True)
                return await _kept(sources[name], file, grid)

        try:
            found = await asyncio.gather(*map(one, signed), return_exceptions=True)
        finally:
            ended.set()
        return sum(size for size in found if isinstance(size, int))

    return all_files()


async def _kept(source: AssetToRead, file: RemoteFile, grid: TileGrid) -> int:
    """Bring the tiles of one asset into the cache; their bytes."""
    away = grid.epsg is None or source.is_away_from(grid.epsg, grid.bounds)
    tiff = None if away else await TIFF.open("", store=file, prefetch=HEADER_BYTES)
    wanted = None if tiff is None else _wanted(tiff, source, grid, away=False)
    if tiff is None or wanted is None:
        return 0
    image = tiff.ifds[0]
    across = -(-wanted.header.width // wanted.header.block_shapes[0][1])
    offsets, counts = image.tile_offsets or [], image.tile_byte_counts or []
    numbers = [y * across + x for x, y in wanted.tiles]
    return await file.keep([(offsets[n], offsets[n] + counts[n]) for n in numbers if counts[n]])


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
        tiff = await TIFF.open("", store=file, prefetch=HEADER_BYTES)
        wanted = _wanted(tiff, source, grid, away=away)
        if wanted is None:
            return None
        found = await _read(tiff, wanted, file.network)
    except DamagedError as error:  # not left to GDAL, which gives pixels of many a damaged tile without a word
        raise source.error(f"has a tile that cannot be decoded ({error})") from None
    except Exception as error:
        if file.failure is None and type(error).__name__ != MISREAD:
            raise
        if isinstance(file.failure, LostError):
            raise source.lost(f"{LOST} ({file.failure})") from None
        if isinstance(file.failure, ChangedError):
            raise source.changed() from None
        if isinstance(file.failure, SpaceEyeError):  # the machine lacks something
            raise file.failure from None
        return None
    return wanted.placed.laid(wanted.values.converted(found, None), NO_LABEL if source.is_label else 0)


@dataclass(frozen=True)
class _Wanted:
    """What is taken of a file, and how: its header, where its pixels are and go, and what they become."""

    header: TiffHeader
    placed: Placed | Thinned
    values: BandValues | Labels

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """Column and row of the tiles that hold the pixels."""
        height, width = self.header.block_shapes[0]
        rows = dict.fromkeys(row // height for row in self.placed.down)
        return [(x, y) for y in rows for x in dict.fromkeys(column // width for column in self.placed.right)]


def _wanted(tiff: TIFF, source: AssetToRead, grid: TileGrid, *, away: bool) -> "_Wanted | None":
    """What is taken of a file for the grid, nothing of one that lies beside it; None where it is left to GDAL."""
    header = TiffHeader.of(tiff)
    if header is None or math.prod(header.block_shapes[0]) > LARGE_BLOCK_PIXELS:
        return None
    crs, nearest = source.check(header, away=away), source.resampling == Resampling.nearest
    values = Labels() if source.is_label else BandValues.of(header, source)
    lattice = lattice_of(header, crs, grid)
    if lattice is not None:
        placed = lattice.placed(Window(0, 0, grid.shape[1], grid.shape[0]), header.shape)
        beside = Thinned(grid.shape, range(0), range(0))
        return _Wanted(header, placed or beside, values) if lattice.factor == 1 or nearest else None
    few = thinned(header, crs, grid, header.shape) if nearest else None
    return None if few is None else _Wanted(header, few, values)


async def _read(tiff: TIFF, wanted: _Wanted, line: Network) -> NDArray[np.integer]:
    """The pixels that are taken, tile by tile as they are decoded; many tiles for few pixels one after the other."""
    down, right = wanted.placed.down, wanted.placed.right
    height, width = wanted.header.block_shapes[0]
    out = np.empty((len(down), len(right)), wanted.header.dtypes[0])

    async def put(tile: Tile) -> None:
        y, x = tile.y * height, tile.x * width  # decoding uses the tile up
        image = await _decoded(tile)
        rows, columns = _shared(down, y, height), _shared(right, x, width)
        target = out[rows, columns]
        few = image[down[rows.start] - y :: down.step, right[columns.start] - x :: right.step]
        target[:] = few[: target.shape[0], : target.shape[1]]

    tiles, thin = wanted.tiles, down.step > 1
    together = max(1, THINNED_PIXELS // (height * width)) if thin else len(tiles)
    async with line.thinning if thin else nullcontext():
        for first in range(0, len(tiles), together):
            fetched = await tiff.fetch_tiles(tiles[first : first + together], 0)
            await asyncio.gather(*map(put, fetched))
    return out


async def _decoded(tile: Tile) -> NDArray[np.integer]:
    """The pixels of a tile; DamagedError where its bytes are not such, whatever async-tiff says or panics of it."""
    try:
        return np.asarray(await tile.decode(pool=_decoders()))[:, :, 0]
    except Exception as error:
        raise DamagedError(str(error) or type(error).__name__) from error


def _shared(pixels: range, start: int, length: int) -> slice:
    """Which of some pixels along an axis lie in a tile that begins at `start`."""
    first, stop = (-(-(at - pixels.start) // pixels.step) for at in (start, start + length))
    return slice(max(first, 0), min(stop, len(pixels)))


@cache
def _decoders() -> ThreadPool:
    return ThreadPool(max(FEWEST_DECODERS, os.cpu_count() or 1))
