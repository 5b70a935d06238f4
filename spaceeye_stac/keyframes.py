"""Keyframes and the daily view over them.

A published day is I[band, day] * lerp(keyframes)(day): everything between two keyframes is one blend away, so a store
of keyframes is the whole result, 3 to 5 times smaller than the days.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.storage import MemoryStore

from spaceeye_stac.model import NO_LOOK, Block, FilledBlock, Illuminance, Job, Window, WindowKeyframes

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed

FARTHEST = 254


def share_between(knots: Sequence[int], day: int) -> tuple[int, float]:
    """Return the index of the knot at or before `day`, and how far the day is on the way to the next one, 0 to 1."""
    before = min(int(np.searchsorted(knots, day, side="right")) - 1, len(knots) - 2) if len(knots) > 1 else 0
    gap = knots[before + 1] - knots[before] if len(knots) > 1 else 1
    return before, (day - knots[before]) / gap


def blend(left: NDArray[np.float32], right: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return (1 - share) * left + share * right, exact at both ends; NaN stays NaN."""
    return left + np.float32(share) * (right - left) if share else left


def clear_distance(clear: NDArray[np.bool_], days: Sequence[int], day: int) -> NDArray[np.uint8]:
    """Days from `day` to the nearest clear look `(y, x)`, 0 = seen that day, 254 = that or more, 255 = none.

    `clear` `(time, y, x)` holds the looks that took part in the day's window, on `days`.
    """
    distance = np.full(clear.shape[1:], NO_LOOK, np.uint8)
    for n in np.argsort([-abs(d - day) for d in days], kind="stable"):
        distance[clear[n]] = min(abs(days[n] - day), FARTHEST)
    return distance


class KeyframeStore:
    """The keyframes of one grid in a Zarr group: in memory, or wherever `store` is.

    Arrays: `keyframe` `(knot, band, y, x)` float32, NaN where never clear; `clear` `(time, y, x)`: looks that were
    used; `knot_day`, `knot_window` `(knot,)`; `illuminance` `(band, day)`. A chunk is a block of `block_pixels`: blocks
    written at the same time never share one.
    """

    def __init__(self, job: Job, light: Illuminance, block_pixels: int, store: Store | None = None) -> None:
        self.job, self.light = job, light
        used = [day for day, ok in zip(job.acquisition_days, light.used, strict=True) if ok]
        per_window = [w.knots([d for d in used if d in w.read]) for w in job.windows]
        self._knots = dict(zip(job.windows, per_window, strict=True))
        self._first = dict(zip(job.windows, np.cumsum([0, *map(len, per_window[:-1])]), strict=True))
        group = zarr.open_group(store=store or MemoryStore(), mode="w")
        height, width = job.grid.shape
        chunk = min(height, block_pixels), min(width, block_pixels)
        self._keyframe = group.create_array(
            "keyframe",
            shape=(sum(map(len, per_window)), len(job.bands), height, width),
            chunks=(1, 1, *chunk),
            dtype="f4",
            fill_value=np.nan,
            compressors=None,
        )
        self._clear = group.create_array(
            "clear",
            shape=(len(job.acquisitions), height, width),
            chunks=(1, *chunk),
            dtype="bool",
            fill_value=False,
            compressors=None,
        )
        for name, values in self._tables(per_window).items():
            group.create_array(name, data=values)

    def _tables(self, per_window: Sequence[Sequence[int]]) -> dict[str, NDArray[np.generic]]:
        return {
            "knot_day": np.array([day for knots in per_window for day in knots], np.int64),
            "knot_window": np.repeat(np.arange(len(per_window)), [len(knots) for knots in per_window]),
            "illuminance": self.light.values,
        }

    def write(self, block: Block, filled: FilledBlock) -> None:
        """Keep one block's keyframes and looks."""
        for part in filled.windows:
            first = int(self._first[part.window])
            self._keyframe[first : first + len(part.knots), :, block.y, block.x] = part.images
        self._clear[:, block.y, block.x] = filled.clear

    def band(self, day: int, band: int) -> NDArray[np.float32]:
        """Reflectance `(y, x)` of one band on one day index, NaN where there is none."""
        window = self.job.window_of(day)
        before, share = share_between(self._knots[window], day)
        first = int(self._first[window]) + before
        left = np.asarray(self._keyframe[first, band])
        right = np.asarray(self._keyframe[first + 1, band]) if share else left
        return np.asarray(blend(left, right, share) * self.light.at(day)[band])

    def distance(self, day: int) -> NDArray[np.uint8]:
        """Return `clear_distance` `(y, x)` of one day index."""
        window = self.job.window_of(day)
        inside = [n for n, when in enumerate(self.job.acquisition_days) if when in window.read]
        looks = (
            np.stack([np.asarray(self._clear[n]) for n in inside])
            if inside
            else np.zeros((0, *self.job.grid.shape), bool)
        )
        return clear_distance(looks, [self.job.acquisition_days[n] for n in inside], day)


def window_days(part: WindowKeyframes, light: Illuminance) -> NDArray[np.float32]:
    """Every written day of one block and window: reflectance `(time, band, y, x)`."""
    days = part.window.write
    out = np.empty((len(days), *part.images.shape[1:]), np.float32)
    for i, day in enumerate(days):
        before, share = share_between(part.knots, day)
        after = min(before + 1, len(part.knots) - 1)
        out[i] = blend(part.images[before], part.images[after], share) * light.at(day)[:, None, None]
    return out


def window_distances(filled: FilledBlock, window: Window, job: Job) -> NDArray[np.uint8]:
    """`clear_distance` of every written day of one block and window: `(time, y, x)`."""
    inside = [n for n, day in enumerate(job.acquisition_days) if day in window.read]
    days = [job.acquisition_days[n] for n in inside]
    return np.stack([clear_distance(filled.clear[inside], days, day) for day in window.write])


def daily_view(job: Job, light: object, filled: Sequence[tuple[Block, "Delayed"]]) -> "xr.Dataset":
    """Lazy daily cubes `(time, band, y, x)` over blocks that are solved when they are first needed.

    `light` and the blocks are dask-delayed Illuminance and FilledBlock: nothing is read until something is computed.
    """
    import dask.array as da  # noqa: PLC0415 - the lazy view is the only user of dask here

    rows: dict[int, list[tuple[Any, Any]]] = {}
    for block, result in filled:
        rows.setdefault(block.y.start, []).append(_lazy_block(job, light, block, result))
    whole = [
        da.concatenate([da.concatenate([part[i] for part in row], axis=-1) for row in rows.values()], axis=-2)
        for i in (0, 1)
    ]
    return _dataset(job, whole[0], whole[1])


def _lazy_block(job: Job, light: object, block: Block, filled: "Delayed") -> tuple[Any, Any]:
    """Reflectance and clear_distance of one block, a chunk per window."""
    import dask.array as da  # noqa: PLC0415
    from dask.delayed import delayed  # noqa: PLC0415

    cubes, distances = [], []
    for i, window in enumerate(job.windows):
        shape = (len(window.write), len(job.bands), *block.shape)
        cube = delayed(window_days)(filled.windows[i], light)
        cubes.append(da.from_delayed(cube, shape=shape, dtype=np.float32))
        distance = delayed(window_distances)(filled, window, job)
        distances.append(da.from_delayed(distance, shape=(shape[0], *shape[2:]), dtype=np.uint8))
    return da.concatenate(cubes), da.concatenate(distances)


def _dataset(job: Job, reflectance: object, distance: object) -> "xr.Dataset":
    import xarray as xr  # noqa: PLC0415
    from odc.geo.xr import xr_coords  # noqa: PLC0415

    coords = {
        "time": np.array(list(job.days), "datetime64[ns]"),
        "band": list(job.bands),
        **xr_coords(job.grid.geobox),
    }
    units = {"units": "1", "long_name": "surface reflectance", "grid_mapping": "spatial_ref"}
    days = {"long_name": "days to the nearest clear look, 255 = none", "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "reflectance": (("time", "band", "y", "x"), reflectance, units),
            "clear_distance": (("time", "y", "x"), distance, days),
        },
        coords=coords,
    )
