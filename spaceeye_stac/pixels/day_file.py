"""Parts of one file of a published day, on this machine or in a store."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.windows import Window

from spaceeye_stac.errors import ReadError, exhausted, redacted
from spaceeye_stac.model import Block
from spaceeye_stac.pixels.gdal_words import UNREADABLE, gdal_name, gdals_reason, in_words, may_pass
from spaceeye_stac.pixels.patience import UNCACHED, waits

# no other file of a store is looked for, and VRTs are read from folders alone, as they may name any file
OF_A_STORE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MAX_RETRY": "3", "GDAL_HTTP_RETRY_DELAY": "0.5"}


def read_day_file(href: str, block: Block) -> NDArray[Any]:
    """The DN `(y, x)` of a block of a file's first band, as they stand there; ReadError where they cannot be had."""
    return read_day_blocks(href, [block])[0]


def read_day_blocks(href: str, blocks: Sequence[Block]) -> list[NDArray[Any]]:
    """The DN `(y, x)` of each of some blocks of a file's first band, which is opened once; ReadError as above."""
    is_remote = "://" in href
    drivers, options = (["GTiff"], OF_A_STORE) if is_remote else (["GTiff", "VRT"], {})
    windows = [Window(block.x.start, block.y.start, block.shape[1], block.shape[0]) for block in blocks]
    said = ""
    for wait in (0.0, *waits()) if is_remote else (0.0,):
        time.sleep(wait)
        again = UNCACHED if said else {}
        try:
            with (
                rasterio.Env(**options, **again),
                DatasetReader(gdal_name(href), driver=drivers, sharing=False) as file,
            ):
                return [np.asarray(file.read(1, window=window)) for window in windows]
        except Exception as error:  # GDAL and rasterio raise many kinds
            lack = exhausted(error)
            if lack is not None:
                raise lack from error
            said = f"{error!r}; {error.__cause__!r}"
        if not may_pass(said):
            break
    words = in_words(said)
    why = gdals_reason(said, href) if words == UNREADABLE else ""
    raise ReadError(f"File {redacted(href)} of a day {words}{why}; run or publish again.", words)
