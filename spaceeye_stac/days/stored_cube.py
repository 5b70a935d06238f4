"""Every day of a keyframe store as a lazy cube."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from spaceeye_stac.days.blending import DayGroup, DayView, day_groups
from spaceeye_stac.days.cube import BANDED, QUALITY, dataset
from spaceeye_stac.days.daily_array import DailyArray, lazily
from spaceeye_stac.errors import OutputError
from spaceeye_stac.keyframes import DONE, KeyframeStore, cores_of
from spaceeye_stac.model import NO_LOOK, Block, Cell
from spaceeye_stac.pixels import inside

Images = Iterator[NDArray[Any]]
CHUNK_CELLS = 4
UNCERTAINTIES = ("uncertainty", "band_uncertainty")


def open_keyframes(path: str | Path) -> xr.Dataset:
    """Every day of a keyframe store as a lazy cube; nothing is read before something is computed.

    Parameters
    ----------
    path
        A store's folder, or the one with it inside: `<out>/keyframes`, as `Output(keep_keyframes=True)` leaves it; with
        tiling there is one for each tile.

    Returns a Dataset on dask as `open` gives it, but for its chunks: one band of the few days between two keyframes, so
    that these are read once. `reflectance` and `uncertainty` are those of the published days before they are rounded.
    Raises OutputError for a folder that is no such store, of another format, or damaged.

    """
    folder = store_in(Path(path))
    cube, known = stored_days(folder), KeyframeStore.open(folder).contents
    rows, columns = known.layout.counts
    sides = (
        tuple(known.layout.cell(i, 0).core.shape[0] for i in range(rows)),
        _joined(tuple(known.layout.cell(0, j).core.shape[1] for j in range(columns))),
    )
    days = tuple(len(group.days) for group in day_groups(known))
    return cube.chunk({"time": days, "band": 1, "y": sides[0], "x": sides[1]})


def _joined(sides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sum(sides[n : n + CHUNK_CELLS]) for n in range(0, len(sides), CHUNK_CELLS))


def stored_days(path: Path, tile: str | None = None) -> xr.Dataset:
    """The days of a store, or of that of one `tile` among several, on arrays that are read when they are used."""
    folder = store_in(path, tile)
    store = KeyframeStore.open(folder)
    known = store.contents
    shape = len(known.days), *known.grid.shape
    shapes = {name: (shape[0], len(known.bands), *shape[1:]) if name in BANDED else shape for name in IMAGES}
    for name in () if _has_uncertainty(store) else UNCERTAINTIES:
        del shapes[name]
    side = known.layout.size * CHUNK_CELLS
    arrays = {name: lazily(StoredArray(folder, name, size), side) for name, size in shapes.items()}
    return dataset(known.grid, known.days, known.bands, arrays)


def store_in(folder: Path, tile: str | None = None) -> Path:
    """Return the folder itself, or the one store, or that of a tile, that lies in it."""
    if (folder / DONE).is_dir():
        return folder
    found = sorted(entry.parent for entry in folder.glob("*/zarr.json") if (entry.parent / DONE).is_dir())
    named = [store for store in found if tile is None or store.name == tile]
    if found and len(named) != 1:
        names = ", ".join(store.name for store in found)
        raise OutputError(f"Folder {folder} holds keyframes on several grids, {names}; name one of them with tile.")
    return named[0] if named else folder


def _has_uncertainty(store: KeyframeStore) -> bool:
    return DayView(store, day_groups(store.contents)[0]).has_uncertainty


class StoredArray(DailyArray):
    """One of the IMAGES of a store's days."""

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...]) -> None:
        super().__init__(shape, np.uint8 if name in QUALITY else np.float32)
        self.folder, self.name = folder, name

    def images(self, days: Sequence[int], band: int, block: Block) -> Images:
        """See DailyArray; days between two knots are made together."""
        store = KeyframeStore.open(self.folder)
        outside = ~inside(store.contents.grid, block)
        for group in day_groups(store.contents):
            wanted = [day for day in days if day in group.days]
            if wanted:
                found = self._assembled(store, group, wanted, (band, block))
                found[:, outside] = NOTHING.get(self.name, np.nan)
                yield from found

    def _assembled(
        self, store: KeyframeStore, group: DayGroup, days: Sequence[int], what: tuple[int, Block]
    ) -> NDArray[Any]:
        """`(day, y, x)` of a band and block, from the cells that it meets, row by row."""
        band, block = what
        out = np.empty((len(days), *block.shape), self.dtype)
        for row in range(store.contents.layout.counts[0]):
            cells = [cell for cell in store.contents.layout.row(row) if min(cell.core.shared(block).shape) > 0]
            if cells:
                whole = cores_of(cells)
                shared = whole.shared(block)
                images = IMAGES[self.name](DayView(store, group), days, band, cells)
                for place, image in zip(out, images, strict=True):
                    place[shared.within(block)] = image[shared.within(whole)]
        return out


def _distance(view: DayView, days: Sequence[int], _band: int, cells: Sequence[Cell]) -> Images:
    return (one.distance for one in view.quality(days, cells))


def _flags(view: DayView, days: Sequence[int], _band: int, cells: Sequence[Cell]) -> Images:
    return (one.flags for one in view.quality(days, cells))


def _largest(view: DayView, days: Sequence[int], _band: int, cells: Sequence[Cell]) -> Images:
    known = view.uncertainty(cells)
    return (known.of(day, one.distance) for day, one in zip(days, view.quality(days, cells), strict=True))


def _of_band(view: DayView, days: Sequence[int], band: int, cells: Sequence[Cell]) -> Images:
    known = view.uncertainty(cells)
    return (known.of(day, one.distance, band) for day, one in zip(days, view.quality(days, cells), strict=True))


IMAGES: Mapping[str, Callable[[DayView, Sequence[int], int, Sequence[Cell]], Images]] = {
    "reflectance": DayView.reflectance,
    "uncertainty": _largest,
    "band_uncertainty": _of_band,
    "clear_distance": _distance,
    "flags": _flags,
}
NOTHING = {"clear_distance": NO_LOOK, "flags": 0}  # where there is no data; NaN in all others
