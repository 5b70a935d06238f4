"""What a mask model says of scenes: it is asked square by square, and of a square always with the very same pixels.

The squares are fixed: they are counted from the corner of the grid, or of what is around it where clouds are dilated.
So no verdict depends on how a region is cut, even of a model that takes the mean of all that it sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from spaceeye_stac import methods
from spaceeye_stac.model import GridJob, Scene, metres_per_pixel
from spaceeye_stac.pixels.dn import FLOOR_REFLECTANCE, reflectance
from spaceeye_stac.pixels.loader import Stacked, load, resampling_of
from spaceeye_stac.pixels.signing import signed

if TYPE_CHECKING:
    from spaceeye_stac.methods import MaskModel

TOGETHER_BYTES = 32 * 2**20  # of DN, of the scenes of a square that are read together
FLOATS = 8  # a pixel of a square and band, while it is asked
WHOLE = 1e-6

Verdict = NDArray[np.uint8]


@dataclass(frozen=True)
class Verdicts:
    """What a mask model says of some scenes: an image `(y, x)` each, and sentences on the files that it was read from.

    An image holds UNKNOWN, CLEAR or CLOUD of `spaceeye_stac.model`.
    """

    images: Sequence[Verdict] = ()
    doubts: Sequence[tuple[str, ...]] = ()


def model_bands(job: GridJob) -> tuple[str, ...]:
    """The bands that a job's mask model wants; none where there is no model."""
    model = methods.mask_model_of(job.settings)
    return () if model is None else model.bands or job.bands


def asking_bytes(job: GridJob) -> int:
    """Memory of one worker that asks a job's mask model, without what the model takes for itself."""
    model = methods.mask_model_of(job.settings)
    if model is None:
        return 0
    bands = len(model.bands or job.bands)
    square = bands * (model.side + 2 * model.halo) ** 2
    return square * FLOATS + max(2 * square, TOGETHER_BYTES)


def asked_share(job: GridJob, *, surveyed: bool) -> float:
    """Pixels that a job's mask model is shown, over those of the grid: squares with their halos, and a survey."""
    model = methods.mask_model_of(job.settings)
    if model is None:
        return 0
    own = metres_per_pixel(job.grid.geobox)
    again = (own / max(model.coarsest or own, own)) ** 2 if surveyed else 0
    return (1 + again) * (1 + 2 * model.halo / model.side) ** 2


def verdicts_of(job: GridJob, scenes: Sequence[Scene], wanted: GeoBox, whole: GeoBox) -> Verdicts:
    """Ask a job's mask model of some scenes at the centres of `wanted`, a part of `whole`; nothing without a model.

    On a grid coarser than the job's the model is asked at the coarsest resolution that it knows, from the job's on.
    """
    model = None if job.settings.mask_model is None else methods.mask_model_of(job.settings)  # torch for nothing
    if model is None:
        return Verdicts()
    squares = _Squares(model, _asked_grid(job, wanted, model), wanted, whole)
    names = model.bands or job.bands
    how = resampling_of([scene.with_bands(names) for scene in job.scenes], squares.grid, job.settings.resampling)
    found = [np.zeros((int(wanted.shape[0]), int(wanted.shape[1])), np.uint8) for _ in scenes]
    doubts: list[dict[str, None]] = [{} for _ in scenes]
    own = [replace(scene.with_bands(names), labels=None) for scene in scenes]
    for square in squares:
        for some in _batches(len(own), len(names) * int(np.prod(square.box.shape))):
            read = load(own[some], square.box, resampling=how, sign=signed)
            for n, scene in enumerate(own[some], start=some.start):
                image = model.verdicts(_seen(read, n - some.start, scene), squares.resolution)
                found[n][square.target] = image[np.ix_(square.rows, square.columns)]
                doubts[n] |= dict.fromkeys(read.doubts[n - some.start])
    return Verdicts(found, [tuple(one) for one in doubts])


def _asked_grid(job: GridJob, wanted: GeoBox, model: "MaskModel") -> GeoBox:
    """The grid on which a model is asked: the job's, or one that many times coarser."""
    own, there = metres_per_pixel(job.grid.geobox), metres_per_pixel(wanted)
    factor = max(1, int(min(there, model.coarsest or own) / own + WHOLE))
    return job.grid.geobox if factor == 1 else job.grid.geobox.zoom_out(factor)


def _seen(read: Stacked, index: int, scene: Scene) -> NDArray[np.float32]:
    """Reflectance of a scene `(band, y, x)`: at least 0.0001, and 0 where there is no data."""
    dn = read.values[index]
    found = np.maximum(reflectance(dn, scene), np.float32(FLOOR_REFLECTANCE))
    found[dn == 0] = 0
    return found


def _batches(count: int, values: int) -> Iterator[slice]:
    step = max(1, TOGETHER_BYTES // (2 * values))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


@dataclass(frozen=True)
class _Square:
    """One square: the `box` that is read, and the `target` that is taken from its `rows` and `columns`."""

    box: GeoBox
    target: tuple[slice, slice]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


@dataclass(frozen=True)
class _Squares:
    """The squares of a `grid` that hold the centres of `wanted`; they are counted from those of `whole`."""

    model: "MaskModel"
    grid: GeoBox
    wanted: GeoBox
    whole: GeoBox

    @property
    def resolution(self) -> float:
        """Metres of a pixel."""
        return metres_per_pixel(self.grid)

    @cached_property
    def _ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First pixel and the one after the last, along y and x, of the grid in which `whole` has centres."""
        return tuple((int(at[0]), int(at[-1]) + 1) for at in _centres(self.grid, self.whole))  # type: ignore[return-value]

    def __iter__(self) -> Iterator[_Square]:
        """Row by row."""
        down, right = (
            list(self._along(at, ends)) for at, ends in zip(_centres(self.grid, self.wanted), self._ends, strict=True)
        )
        for top, height, rows, y in down:
            for left, width, columns, x in right:
                yield _Square(_moved(self.grid, (top, left), (height, width)), (y, x), rows, columns)

    def _along(
        self, at: NDArray[np.int64], ends: tuple[int, int]
    ) -> Iterator[tuple[int, int, NDArray[np.int64], slice]]:
        """Along one axis: where a square begins, its length, which of its pixels are taken, and where they go."""
        side, halo = self.model.side, self.model.halo
        numbers = (at - ends[0]) // side
        for number in np.unique(numbers):
            first, last = np.searchsorted(numbers, [number, number + 1])
            start = ends[0] + int(number) * side
            stop = min(start + side, ends[1])
            yield start - halo, stop - start + 2 * halo, at[first:last] - (start - halo), slice(int(first), int(last))


def _centres(grid: GeoBox, other: GeoBox) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a grid, which may lie outside of it, that hold the centres of another's pixels."""
    height, width = other.shape
    across = ~grid.transform * other.transform
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    return _floor(across.e * rows + across.f), _floor(across.a * columns + across.c)


def _floor(places: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(places + WHOLE).astype(np.int64)


def _moved(grid: GeoBox, corner: tuple[int, int], shape: tuple[int, int]) -> GeoBox:
    """A box of a grid's pixels, inside of it or not."""
    return GeoBox(shape, grid.transform * Affine.translation(corner[1], corner[0]), grid.crs)
