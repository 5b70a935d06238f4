"""Arrays of days that are read part by part, as xarray's backends want them."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from spaceeye_stac.days.cube import DIMS, DIMS_WITH_BANDS
from spaceeye_stac.model import Block


class DailyArray(BackendArray):
    """An array `(time, y, x)`, or `(time, band, y, x)`, of which nothing is in memory until a part is asked for."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._token = uuid4().hex

    def __dask_tokenize__(self) -> str:
        return self._token

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - as xarray has it
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._part)

    @abstractmethod
    def images(self, days: Sequence[int], band: int, block: Block) -> Iterator[NDArray[Any]]:
        """Yield `(y, x)` of a block for each of the days, which are in order, each once; `band` is 0 without bands."""

    def _part(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """The part of some indices along each axis; an axis of which one index alone is asked for goes."""
        days, *bands, rows, columns = (np.atleast_1d(np.arange(n)[at]) for n, at in zip(self.shape, key, strict=True))
        one_by_one = bands[0] if bands else np.zeros(1, int)
        out = np.empty((len(days), len(one_by_one), len(rows), len(columns)), self.dtype)
        if out.size:
            block, within = _around(rows, columns)
            wanted, places = np.unique(days, return_inverse=True)
            for n, band in enumerate(one_by_one):
                for place, image in enumerate(self.images(wanted.tolist(), int(band), block)):
                    out[places == place, n] = image[within]
        whole = out if bands else out[:, 0]
        return np.asarray(whole[tuple(0 if isinstance(at, int | np.integer) else slice(None) for at in key)])


def lazily(array: DailyArray, side: int) -> xr.Variable:
    """A variable on an array that is read when it is used; by dask best an image of a band at once, or of it a square.

    `side`: of the square, in pixels.
    """
    *layers, rows, columns = array.shape
    dims = DIMS_WITH_BANDS if len(layers) > 1 else DIMS
    chunks = dict(zip(dims, (*(1 for _ in layers), min(rows, side), min(columns, side)), strict=True))
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), encoding={"preferred_chunks": chunks})


def _around(rows: NDArray[np.int_], columns: NDArray[np.int_]) -> tuple[Block, Any]:
    """The block around some rows and columns, and where these lie in it."""
    block = Block(*(slice(int(some.min()), int(some.max()) + 1) for some in (rows, columns)))
    return block, np.ix_(rows - block.y.start, columns - block.x.start)
