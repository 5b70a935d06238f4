"""A cube of some dates, in memory or on dask, filled to a cube of every day by the methods of this package."""

import numpy as np
import xarray as xr

from spaceeye_stac.engine import lazy_days
from spaceeye_stac.errors import NoScenesError
from spaceeye_stac.keyframes import days_read, laid_windows
from spaceeye_stac.model import GridJob
from spaceeye_stac.platforms.cube_pixels import CubePixels, Units
from spaceeye_stac.query import DateRange, parse_datetime
from spaceeye_stac.settings import Settings


def fill_clouds(
    data: xr.DataArray,
    *,
    mask: xr.DataArray | None = None,
    scl: str | None = None,
    datetime: str | None = None,
    units: Units | None = None,
    settings: Settings | None = None,
) -> xr.DataArray:
    """Fill a cube of some dates to a cube of every day.

    Parameters
    ----------
    data
        A cube with time (t), bands, y and x. Dates of one day are merged: a pixel is that of the first that is clear.
    mask
        The same without bands: what is not 0 is not clear.
    scl
        The band with the classes of Sentinel-2's scene classification, which tell what is clear. Without it and without
        a mask every pixel with data is clear, as in a cube that was masked before.
    datetime
        The days to give, as in `Query`; left out, from the first date of the cube to the last.
    units
        What the numbers mean; left out, they are DN of 0.0001, and 0 is nodata.
    settings
        How to compute; grids, tiling and mask models are not for cubes.

    Returns a cube with the dimensions and units of `data`, float32, NaN = nodata, a step a day, without the band `scl`,
    on dask: parts of `data` are read when some of it is computed. Raises InvalidInputError for what is no such cube,
    NoScenesError for days without a date around them, and NoClearLookError when it is computed.

    """
    cube, chosen = CubePixels.of(data, mask, scl, units or Units()), settings or Settings()
    job = _job(cube, parse_datetime(datetime) if datetime else None, chosen)
    time, band, *_ = cube.dims
    gone = {name for name in cube.data.coords if {time, band} & set(cube.data[name].dims)}
    kept = {name: cube.data[name] for name in set(cube.data.coords) - gone}
    stepped = {time: np.array(list(job.days), "datetime64[ns]"), band: np.array(cube.bands, object)}
    filled = xr.DataArray(lazy_days(job, cube).reflectance.data, {**kept, **stepped}, cube.dims, data.name)
    return cube.units.values(filled).transpose(*data.dims)


def _job(cube: CubePixels, days: DateRange | None, settings: Settings) -> GridJob:
    """What is to be solved: the dates that some window reads."""
    dates = [acquisition.day for acquisition in cube.acquisitions]
    if not dates:
        raise NoScenesError("The cube has no date; widen its temporal extent.")
    wanted = days or DateRange(dates[0], dates[-1])
    near = tuple(one for one in cube.acquisitions if wanted.index(one.day) in days_read(wanted, settings))
    if not near:
        raise NoScenesError(f"The cube's dates, {dates[0]} to {dates[-1]}, are not near the days that are asked for.")
    windows = tuple(laid_windows(wanted, [wanted.index(one.day) for one in near], settings))
    return GridJob(wanted, cube.grid, cube.bands, near, windows, settings)
