"""Lazy xarray cubes of days: over cells that are solved when they are needed, and how every cube names what it has."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import PAPER, Flag, band_fields, flag_name
from spaceeye_stac.days.blending import DayView, day_groups
from spaceeye_stac.keyframes import CellLayout, MemoryTiles, Retention, Tiles, WindowKeyframes, contents_of
from spaceeye_stac.model import NO_LOOK, Block, Cell, Grid, GridJob, Illuminance
from spaceeye_stac.pixels import inside
from spaceeye_stac.query import BANDS, DateRange

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed


QUALITY = ("clear_distance", "flags")
BANDED = ("reflectance", "band_uncertainty")
CUBE_ARRAYS = ("reflectance", *QUALITY)
DIMS, DIMS_WITH_BANDS = ("time", "y", "x"), ("time", "band", "y", "x")
CONVENTIONS = "CF-1.11"
STANDARD_NAME = "surface_bidirectional_reflectance"
HALF_WIDTH = {"standard_name": f"{STANDARD_NAME} standard_error", "units": "1"}
ATTRIBUTES: Mapping[str, Mapping[str, object]] = {
    "reflectance": {"standard_name": STANDARD_NAME, "units": "1", "long_name": "surface reflectance"},
    "uncertainty": {
        **HALF_WIDTH,
        "long_name": "half width of the 68 % interval of reflectance, the largest over bands",
    },
    "band_uncertainty": {**HALF_WIDTH, "long_name": "half width of the 68 % interval of reflectance"},
    "clear_distance": {
        "long_name": "days to the nearest clear look that was used, 255 = none",
        "units": "d",  # "days" would make xarray read them as times
        "valid_max": np.uint8(NO_LOOK - 1),
    },
    "flags": {
        "standard_name": f"{STANDARD_NAME} status_flag",
        "long_name": "how each pixel was made, 0 = no data",
        "flag_masks": np.array([int(flag) for flag in Flag], np.uint8),
        "flag_meanings": " ".join(map(flag_name, Flag)),
    },
}
# of each axis the standard names of CF, on a projected grid and on one in degrees
AXES = {"x": ("projection_x_coordinate", "longitude"), "y": ("projection_y_coordinate", "latitude")}


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
    return dataset(job.grid, job.days, job.bands, dict(zip(CUBE_ARRAYS, whole, strict=True)))


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


def dataset(grid: Grid, days: DateRange, bands: Sequence[str], arrays: Mapping[str, object]) -> "xr.Dataset":
    """Name arrays, or variables without names, by the CF conventions; with their coordinates, a step a day."""
    import xarray as xr  # noqa: PLC0415
    from odc.geo.xr import xr_coords  # noqa: PLC0415

    time = xr.Variable("time", np.array(list(days), "datetime64[ns]"), {"standard_name": "time", "axis": "T"})
    time.encoding = {"units": f"days since {days.start}", "calendar": "proleptic_gregorian", "dtype": "int32"}
    coords = {
        "time": time,
        "band": ("band", np.array(bands, object), {"long_name": "band of Sentinel-2"}),
        **xr_coords(grid.geobox, dims=("y", "x")),
    }
    if set(bands) <= set(BANDS):
        waves = [band_fields(name)["eo:center_wavelength"] for name in bands]
        facts = {"standard_name": "radiation_wavelength", "units": "um"}
        coords["wavelength"] = xr.Variable(
            "band", waves, facts, {"preferred_chunks": {"band": 1}}
        )  # as all that is lazy
    variables = {name: _named(name, array, list(arrays)) for name, array in arrays.items()}
    cube = xr.Dataset(variables, coords, {"Conventions": CONVENTIONS, "references": PAPER})
    for axis, name in AXES.items():
        projected = grid.geobox.crs is None or grid.geobox.crs.projected
        cube[axis].attrs |= {"axis": axis.upper(), "standard_name": name[0] if projected else name[1]}
    return cube


def _named(name: str, array: object, names: Sequence[str]) -> "xr.Variable":
    """A variable of a cube that has those `names`."""
    import xarray as xr  # noqa: PLC0415

    found = array if isinstance(array, xr.Variable) else xr.Variable(DIMS_WITH_BANDS if name in BANDED else DIMS, array)
    others = " ".join(other for other in ("uncertainty", *QUALITY) if other in names)
    found.attrs = {
        **found.attrs,
        **ATTRIBUTES[name],
        "grid_mapping": "spatial_ref",
        **({"ancillary_variables": others} if name == "reflectance" else {}),
    }
    return found
