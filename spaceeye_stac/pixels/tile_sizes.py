"""What headers say of the tiles of files: where each tile begins and how many bytes it has. No pixel is read."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from async_tiff import TIFF, ImageFileDirectory
from async_tiff.store import LocalStore

from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.pixels.network import network, reads
from spaceeye_stac.pixels.remote_file import RemoteFile
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.pixels.tiff_header import TiffHeader
from spaceeye_stac.pixels.tile_parts import HEADER_BYTES, TileLevel, TileTable

LONGEST_SECONDS = 5  # for a header, after which it counts as not to be had
OVERVIEW = 1  # bit of the kind of image that is a smaller copy of another one


def tile_tables(files: Sequence[tuple[Scene, BandAsset]]) -> list[TileTable | None]:
    """Read the headers of some files, all at once, in stores that are read by HTTP and on this machine.

    None for a file that is no tiled TIFF, is not to be had, or takes too long: a plan does without.
    """
    line, ended = network(), asyncio.Event()

    async def one(scene: Scene, asset: BandAsset) -> TileTable | None:
        try:
            place = signed(scene)(asset.href)
            file = _remote(RemoteFile.at(place, asset.href, line, ended)) if reads(place) else _local(place)
            return _table(await asyncio.wait_for(TIFF.open(**file, prefetch=HEADER_BYTES), LONGEST_SECONDS))
        except Exception:  # noqa: BLE001 - whatever is wrong with it, a run says it
            return None

    async def every() -> list[TileTable | None]:
        try:
            return list(await asyncio.gather(*(one(*file) for file in files)))
        finally:
            ended.set()

    return line.run(every())


def _remote(file: RemoteFile) -> dict[str, Any]:
    """A file in a store, as async-tiff opens it."""
    return {"path": "", "store": file}


def _local(place: str) -> dict[str, Any]:
    """A file of this machine, as async-tiff opens it; OSError where there is none."""
    path = Path(place.removeprefix("file://")).resolve(strict=True)
    return {"path": path.name, "store": LocalStore(path.parent)}


def _table(tiff: TIFF) -> TileTable:
    """What an open file says; TypeError where it is in no tiles."""
    header, (full, *others) = TiffHeader.of(tiff), tiff.ifds
    smaller = [image for image in others if image.new_subfile_type == OVERVIEW]
    return TileTable(None if header is None else header.transform, tuple(_level(image) for image in (full, *smaller)))


def _level(image: ImageFileDirectory) -> TileLevel:
    shape, tile = (image.image_height, image.image_width), (image.tile_height or 0, image.tile_width or 0)
    rows, columns = (-(-side // step) for side, step in zip(shape, tile, strict=True))
    starts, counts = (np.array(found, np.int64) for found in (image.tile_offsets, image.tile_byte_counts))
    return TileLevel(shape, tile, starts.reshape(rows, columns), counts.reshape(rows, columns))
