"""Lazy xarray cubes of days: over cells that are solved when they are needed, and over a keyframe store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import Flag, flag_name
from spaceeye_stac.days.blending import DayGroup, DayView, day_groups
from spaceeye_stac.keyframes import (
    DONE,
    CellLayout,
    KeyframeStore,
    MemoryTiles,
    Retention,
    Tiles,
    WindowKeyframes,
    contents_of,
    cores_of,
)
from spaceeye_stac.model import NO_LOOK, Block, Cell, Grid, GridJob, Illuminance
from spaceeye_stac.pixels import inside
from spaceeye_stac.query import DateRange

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed


CHUNK_CELLS = 4
CUBE_ARRAYS = ("reflectance", "clear_distance", "flags")


def open_keyframes(path: str | Path) -> "xr.Dataset":
    """Every day of a keyframe store as a lazy cube; nothing is read before something is computed.

    Parameters
    ----------
    path
        A store's folder, or the one with it inside: `<out>/keyframes`, as `Output(keep_keyframes=True)` leaves it; with
        tiling there is one for each tile.

    Returns a Dataset on dask with `reflectance` `(time, band, y, x)` float32 (NaN = nodata), as the published days
    before they are rounded, `clear_distance` `(time, y, x)` uint8 (days to the nearest look that was used, 255 = none)
    and `flags` `(time, y, x)` uint8 (bits of `Flag`, as CF flag_masks; 0 = no data), one step a day,
    and the CRS in `spatial_ref` (CF; rioxarray and odc-geo read it). A chunk is one band of a few days between two
    keyframes: a single day touches no others. Raises OutputError for a folder that is no such store, of another format,
    or damaged.

    """
    import dask.array as da  # noqa: PLC0415 - seconds to import
    from dask.delayed import delayed  # noqa: PLC0415

    folder = _store_in(Path(path))
    known = KeyframeStore.open(folder).contents
    rows = [known.layout.row(i) for i in range(known.layout.counts[0])]
    parts = [[row[j : j + CHUNK_CELLS] for j in range(0, len(row), CHUNK_CELLS)] for row in rows]

    def cube(group: DayGroup, cells: Sequence[Cell]) -> tuple[Any, ...]:
        shape, index = (len(group.days), *cores_of(cells).shape), [cell.index for cell in cells]
        bands = [
            da.from_delayed(delayed(_stored_band)(folder, group, band, index), shape=shape, dtype=np.float32)
            for band in range(len(known.bands))
        ]
        both = delayed(_stored_quality, nout=2)(folder, group, index)
        quality = [da.from_delayed(one, shape=shape, dtype=np.uint8) for one in both]
        return da.stack(bands, axis=1), *quality

    blocks = [[[cube(group, cells) for cells in row] for row in parts] for group in day_groups(known)]
    whole = [
        da.concatenate(
            [da.concatenate([da.concatenate([c[i] for c in row], axis=-1) for row in rows], axis=-2) for rows in blocks]
        )
        for i in range(len(CUBE_ARRAYS))
    ]
    return clipped(dataset(known.grid, known.days, known.bands, whole), known.grid)


def _store_in(folder: Path) -> Path:
    """Return the folder itself, or the one store that lies in it."""
    inside_it = [entry.parent for entry in folder.glob("*/zarr.json") if (entry.parent / DONE).is_dir()]
    return inside_it[0] if len(inside_it) == 1 and not (folder / DONE).is_dir() else folder


def _view(path: Path, group: DayGroup, index: Sequence[tuple[int, int]]) -> tuple[DayView, list[Cell]]:
    store = KeyframeStore.open(path)
    return DayView(store, group), [store.contents.layout.cell(*place) for place in index]


def _stored_band(path: Path, group: DayGroup, band: int, index: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    view, cells = _view(path, group, index)
    return np.stack(list(view.reflectance(group.days, band, cells)))


def _stored_quality(
    path: Path, group: DayGroup, index: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    view, cells = _view(path, group, index)
    return _quality_of(view, cells)


def _quality_of(view: DayView, cells: Sequence[Cell]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`clear_distance` and `flags` `(time, y, x)` of a group's days."""
    found = list(view.quality(view.group.days, cells))
    return np.stack([one.distance for one in found]), np.stack([one.flags for one in found])


def solved_days(
    job: GridJob, layout: CellLayout, kept: Retention, illuminance: object, solved: Sequence[Sequence["Delayed"]]
) -> "xr.Dataset":
    """Lazy daily cubes over cells that are solved when they are first needed.

    `illuminance` is a dask-delayed Illuminance, `solved` the delayed WindowKeyframes of each cell and window.
    """
    import dask.array as da  # noqa: PLC0415

    rows: dict[int, list[tuple[Any, ...]]] = {}
    for cell in layout.cells:
        rows.setdefault(cell.index[0], []).append(_lazy_cell(_CellCube(job, layout, kept, illuminance), cell, solved))
    whole = [
        da.concatenate([da.concatenate([part[i] for part in row], axis=-1) for row in rows.values()], axis=-2)
        for i in range(len(CUBE_ARRAYS))
    ]
    return dataset(job.grid, job.days, job.bands, whole)


class _CellCube:
    """What every cell's days are made from."""

    def __init__(self, job: GridJob, layout: CellLayout, kept: Retention, illuminance: object) -> None:
        self.job, self.layout, self.kept, self.illuminance = job, layout, kept, illuminance


def _lazy_cell(source: _CellCube, core: Cell, solved: Sequence[Sequence["Delayed"]]) -> tuple[Any, ...]:
    """Reflectance, clear_distance and flags of one cell's core, a chunk per window."""
    import dask.array as da  # noqa: PLC0415
    from dask.delayed import delayed  # noqa: PLC0415

    job, layout = source.job, source.layout
    parts: list[list[Any]] = [[] for _ in CUBE_ARRAYS]
    for w, window in enumerate(job.windows):
        near = {cell.index: solved[layout.cells.index(cell)][w] for cell in layout.near(core)}
        made = delayed(window_days, nout=len(CUBE_ARRAYS))(job, layout, source.kept, source.illuminance, core, w, near)
        shape = (len(window.write), len(job.bands), *core.core.shape)
        parts[0].append(da.from_delayed(made[0], shape=shape, dtype=np.float32))
        for part, one in zip(parts[1:], list(made)[1:], strict=True):
            part.append(da.from_delayed(one, shape=(shape[0], *shape[2:]), dtype=np.uint8))
    return tuple(da.concatenate(part) for part in parts)


def window_days(
    job: GridJob,
    layout: CellLayout,
    kept: Retention,
    illuminance: Illuminance,
    core: Cell,
    window: int,
    near: dict[tuple[int, int], WindowKeyframes],
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Every written day of one cell's core in one window: `(time, band, y, x)`, distances and flags `(time, y, x)`."""
    known = contents_of(job, illuminance, layout, kept)
    tiles: Tiles = MemoryTiles(known, {index: {window: part} for index, part in near.items()})
    views = [DayView(tiles, group) for group in day_groups(known) if group.window == window]
    bands = [
        np.concatenate([np.stack(list(view.reflectance(view.group.days, band, [core]))) for view in views])
        for band in range(len(job.bands))
    ]
    quality = [_quality_of(view, [core]) for view in views]
    distance, flags = (np.concatenate([one[i] for one in quality]) for i in (0, 1))
    return np.stack(bands, axis=1), distance, flags


def clipped(cube: "xr.Dataset", grid: Grid) -> "xr.Dataset":
    """The cube with nodata outside the grid's outline, where it has one, part by part."""
    if grid.outline is None:
        return cube
    import dask.array as da  # noqa: PLC0415

    def part(block_info: Mapping[object, Any]) -> NDArray[np.bool_]:
        (top, bottom), (left, right) = block_info[None]["array-location"]
        return inside(grid, Block(slice(top, bottom), slice(left, right)))

    one_day = cube.clear_distance.isel(time=0, drop=True)
    within = one_day.copy(data=da.map_blocks(part, chunks=one_day.chunks, dtype=bool))
    return cube.assign(
        reflectance=cube.reflectance.where(within),
        clear_distance=cube.clear_distance.where(within, np.uint8(NO_LOOK)),
        flags=cube.flags.where(within, np.uint8(0)),
    )


def dataset(grid: Grid, days: DateRange, bands: Sequence[str], arrays: Sequence[object]) -> "xr.Dataset":
    """Name the arrays, those of CUBE_ARRAYS, their units and their coordinates."""
    import xarray as xr  # noqa: PLC0415
    from odc.geo.xr import xr_coords  # noqa: PLC0415

    coords = {"time": np.array(list(days), "datetime64[ns]"), "band": list(bands), **xr_coords(grid.geobox)}
    here = {"grid_mapping": "spatial_ref"}
    attributes: Sequence[Mapping[str, object]] = (
        {"units": "1", "long_name": "surface reflectance", **here},
        {"long_name": "days to the nearest clear look that was used, 255 = none", **here},
        {
            "long_name": "how each pixel was made, 0 = no data",
            "flag_masks": np.array([int(flag) for flag in Flag], np.uint8),
            "flag_meanings": " ".join(map(flag_name, Flag)),
            **here,
        },
    )
    dims = ("time", "band", "y", "x"), ("time", "y", "x"), ("time", "y", "x")
    return xr.Dataset(dict(zip(CUBE_ARRAYS, zip(dims, arrays, attributes, strict=True), strict=True)), coords=coords)
