"""Keyframes and the daily view over them.

A published day is I[band, day] * lerp(keyframes)(day): everything between two keyframes is one blend away, so a store
of keyframes is the whole result, 3 to 5 times smaller than the days.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore, MemoryStore

from spaceeye_stac.model import NO_LOOK, Block, Cell, FilledCell, Illuminance, Job, Window, bridged

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


@dataclass(frozen=True)
class Layout:
    """How a job is cut: fixed cells of `size` pixels, and how many pixels of margin are blended at their borders."""

    cells: tuple[Cell, ...]
    size: int
    margin: int

    @classmethod
    def of(cls, job: Job, size: int, halo: int, margin: int) -> "Layout":
        """Cut the grid of a job."""
        return cls(tuple(job.grid.cells(size, halo, margin)), size, margin)

    def blend(self, core: Cell, tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give `(..., y, x)` over a cell's core: its own `tile` faded into its neighbours' across their borders.

        Weights are linear over twice the margin and add up to 1; cells are added in a fixed order.
        """
        near = [cell for cell in self.cells if _touch(cell.reach, core.core)]
        if len(near) == 1:
            return tile(core)[..., *core.core.within(core.reach)]
        out = None
        for cell in near:
            shared = _intersection(cell.reach, core.core)
            weight = np.outer(*(self._weight(cell, shared, axis) for axis in (0, 1))).astype(np.float32)
            part = tile(cell)[..., *shared.within(cell.reach)] * weight
            if out is None:
                out = np.zeros((*part.shape[:-2], *core.core.shape), np.float32)
            out[..., *shared.within(core.core)] += part
        return np.asarray(out)

    def _weight(self, cell: Cell, shared: Block, axis: int) -> NDArray[np.float64]:
        """Weight of a cell along one axis of a block that it reaches."""
        core, part = ((b.y, b.x)[axis] for b in (cell.core, shared))
        last = max(c.index[axis] for c in self.cells)
        at = np.arange(part.start, part.stop) + 0.5
        up = np.clip((at - core.start + self.margin) / (2 * self.margin), 0, 1) if cell.index[axis] else 1.0
        down = np.clip((core.stop + self.margin - at) / (2 * self.margin), 0, 1) if cell.index[axis] < last else 1.0
        return np.asarray(np.ones(len(at)) * up * down)


def _intersection(one: Block, other: Block) -> Block:
    return Block(
        slice(max(one.y.start, other.y.start), min(one.y.stop, other.y.stop)),
        slice(max(one.x.start, other.x.start), min(one.x.stop, other.x.stop)),
    )


def _touch(one: Block, other: Block) -> bool:
    return min(_intersection(one, other).shape) > 0


def day_between(
    at: Callable[[str, int], NDArray[np.float32]], knots: Sequence[int], day: int, *, seen: bool
) -> NDArray[np.float32]:
    """Give the normalised image of a day; `at(name, knot)` gives "images" or, where `seen`, "shown" of a knot."""
    before, share = share_between(knots, day)
    if seen:
        return at("shown", list(knots).index(day))
    left = at("images", before)
    return blend(left, at("images", before + 1), share) if share else left


def uncertainty_between(
    at: Callable[[str, int], NDArray[np.float32]],
    knots: Sequence[int],
    day: int,
    damping_factor: float,
    distance: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """68 % half width of a day's error, in reflectance, the largest over bands: noise * sqrt(1 + spread^2).

    Where the day itself was seen it is the noise of one look. NaN where no look was left out to learn it from.
    """
    before, _ = share_between(knots, day)
    if day in knots:
        knot = list(knots).index(day)
        noise, spread = at("noise", knot), at("spread", knot)
    else:
        gaps = day - knots[before], knots[before + 1] - day
        noise, spread = at("unseen", 0), bridged(at("spread", before), at("spread", before + 1), gaps, damping_factor)
    with np.errstate(invalid="ignore"):  # no noise times no information, at pixels that are masked below
        hidden = np.where(distance == 0, noise, noise * np.sqrt(1 + spread**2))
    return np.where((distance == NO_LOOK) | ~(noise > 0), np.float32(np.nan), hidden)


def keyframe_bytes(job: Job, *, every_day: bool) -> int:
    """Return the size of a job's keyframes, at most: every acquisition a knot of each window that reads it."""
    days = range(job.span.start, job.span.stop) if every_day else job.acquisition_days
    knots = sum(len(w.knots([d for d in days if d in w.read])) for w in job.windows)
    height, width = job.grid.shape
    return 4 * knots * len(job.bands) * height * width


class KeyframeStore:
    """The keyframes of one grid in a Zarr group: in memory, or in the folder `path`.

    Arrays: `images` and `shown` `(knot, band, y, x)`, `noise` and `spread` `(knot, y, x)`, `unseen` `(window, y, x)`
    float32, NaN where there is nothing, cell beside cell, each with its margin; `clear` `(time, y, x)`: used looks;
    `knot_day`, `knot_window` `(knot,)`; `illuminance` `(band, day)`. A chunk is a cell: cells written together share
    none.
    """

    def __init__(
        self, job: Job, light: Illuminance, layout: Layout, *, every_day: bool, path: Path | None = None
    ) -> None:
        self.job, self.light, self.layout = job, light, layout
        used = [day for day, ok in zip(job.acquisition_days, light.used, strict=True) if ok]
        kept = list(job.span) if every_day else used
        self._acquired = frozenset(used)
        per_window = [w.knots([d for d in kept if d in w.read]) for w in job.windows]
        self._knots = dict(zip(job.windows, per_window, strict=True))
        self._first = dict(zip(job.windows, np.cumsum([0, *map(len, per_window[:-1])]), strict=True))
        self._group = zarr.open_group(store=LocalStore(path) if path else MemoryStore(), mode="w")
        height, width = job.grid.shape
        self._tile = min(height, layout.size + 2 * layout.margin), min(width, layout.size + 2 * layout.margin)
        self._has = set[str]()
        chunk = min(height, layout.size), min(width, layout.size)
        self._make("clear", (len(job.acquisitions),), (height, width), chunk, "bool")
        for name, values in self._tables(per_window).items():
            self._group.create_array(name, data=values)
        self._make_tiled(sum(map(len, per_window)))

    def _make_tiled(self, knots: int) -> None:
        rows, columns = (1 + max(cell.index[axis] for cell in self.layout.cells) for axis in (0, 1))
        whole = rows * self._tile[0], columns * self._tile[1]
        for name in ("images", "shown"):
            self._make(name, (knots, len(self.job.bands)), whole, self._tile, "f4")
        for name, count in (("noise", knots), ("spread", knots), ("unseen", len(self.job.windows))):
            self._make(name, (count,), whole, self._tile, "f4")

    def _make(
        self, name: str, leading: tuple[int, ...], shape: tuple[int, int], chunk: tuple[int, int], dtype: str
    ) -> None:
        self._group.create_array(
            name,
            shape=(*leading, *shape),
            chunks=(*(1 for _ in leading), *chunk),
            dtype=dtype,
            fill_value=False if dtype == "bool" else np.nan,
            compressors=None,
        )

    def _tables(self, per_window: Sequence[Sequence[int]]) -> dict[str, NDArray[np.generic]]:
        return {
            "knot_day": np.array([day for knots in per_window for day in knots], np.int64),
            "knot_window": np.repeat(np.arange(len(per_window)), [len(knots) for knots in per_window]),
            "illuminance": self.light.values,
        }

    def _array(self, name: str) -> zarr.Array[Any]:
        found = self._group[name]
        assert isinstance(found, zarr.Array)  # noqa: S101 - made above
        return found

    def _place(self, cell: Cell) -> tuple[slice, slice]:
        """Where a cell's tile lies in the tiled arrays."""
        (i, j), (height, width) = cell.index, cell.reach.shape
        top, left = i * self._tile[0], j * self._tile[1]
        return slice(top, top + height), slice(left, left + width)

    def write(self, cell: Cell, filled: FilledCell) -> None:
        """Keep one cell's keyframes and looks."""
        rows, columns = self._place(cell)
        for part in filled.windows:
            first = int(self._first[part.window])
            for name in ("images", "shown", "noise", "spread"):
                values = getattr(part, name)
                if values is not None:
                    self._array(name)[first : first + len(part.knots), ..., rows, columns] = values
                    self._has.add(name)
            if part.unseen is not None:
                self._array("unseen")[self.job.windows.index(part.window), rows, columns] = part.unseen
        self._array("clear")[:, cell.core.y, cell.core.x] = filled.clear

    @property
    def has_uncertainty(self) -> bool:
        """Whether the method says how far to trust it."""
        return "noise" in self._has

    def _reader(self, window: Window, *index: int) -> Callable[[str, int], NDArray[np.float32]]:
        """Give images of a knot over the whole grid `(y, x)`, neighbours blended."""

        def at(name: str, knot: int) -> NDArray[np.float32]:
            first = self.job.windows.index(window) if name == "unseen" else int(self._first[window])
            tiled = np.asarray(self._array(name)[(first + knot, *index)])
            out = np.empty(self.job.grid.shape, np.float32)
            for cell in self.layout.cells:
                out[cell.core.y, cell.core.x] = self.layout.blend(cell, lambda c: tiled[self._place(c)])
            return out

        return at

    def band(self, day: int, band: int) -> NDArray[np.float32]:
        """Reflectance `(y, x)` of one band on one day index, NaN where there is none."""
        window = self.job.window_of(day)
        seen = "shown" in self._has and day in self._acquired
        image = day_between(self._reader(window, band), self._knots[window], day, seen=seen)
        return np.asarray(image * self.light.at(day)[band])

    def uncertainty(self, day: int, distance: NDArray[np.uint8], damping_factor: float) -> NDArray[np.float32]:
        """Give `uncertainty_between` `(y, x)` on one day index."""
        window = self.job.window_of(day)
        return uncertainty_between(self._reader(window), self._knots[window], day, damping_factor, distance)

    def distance(self, day: int) -> NDArray[np.uint8]:
        """Return `clear_distance` `(y, x)` of one day index."""
        window = self.job.window_of(day)
        days = self.job.acquisition_days
        inside = [n for n, when in enumerate(days) if when in window.read]
        looks = np.zeros((len(inside), *self.job.grid.shape), bool)
        for i, n in enumerate(inside):
            looks[i] = self._array("clear")[n]
        return clear_distance(looks, [days[n] for n in inside], day)


def window_days(
    job: Job, light: Illuminance, layout: Layout, core: Cell, window: int, near: Sequence[tuple[Cell, FilledCell]]
) -> NDArray[np.float32]:
    """Every written day of one cell's core in one window: reflectance `(time, band, y, x)`."""
    tiles = {cell.index: filled.windows[window] for cell, filled in near}
    own = tiles[core.index]
    days = own.window.write
    acquired = {day for day, ok in zip(job.acquisition_days, light.used, strict=True) if ok}
    out = np.empty((len(days), len(job.bands), *core.core.shape), np.float32)

    def at(name: str, knot: int) -> NDArray[np.float32]:
        return layout.blend(core, lambda cell: getattr(tiles[cell.index], name)[knot])

    for i, day in enumerate(days):
        seen = own.shown is not None and day in acquired
        out[i] = day_between(at, own.knots, day, seen=seen) * light.at(day)[:, None, None]
    return out


def window_distances(filled: FilledCell, window: Window, job: Job) -> NDArray[np.uint8]:
    """`clear_distance` of every written day of one cell and window: `(time, y, x)`."""
    inside = [n for n, day in enumerate(job.acquisition_days) if day in window.read]
    days = [job.acquisition_days[n] for n in inside]
    return np.stack([clear_distance(filled.clear[inside], days, day) for day in window.write])


def daily_view(job: Job, light: object, layout: Layout, filled: Sequence["Delayed"]) -> "xr.Dataset":
    """Lazy daily cubes `(time, band, y, x)` over cells that are solved when they are first needed.

    `light` and the cells are dask-delayed Illuminance and FilledCell: nothing is read until something is computed.
    """
    import dask.array as da  # noqa: PLC0415 - the lazy view is the only user of dask here

    rows: dict[int, list[tuple[Any, Any]]] = {}
    for cell in layout.cells:
        rows.setdefault(cell.index[0], []).append(_lazy_cell(job, light, layout, cell, filled))
    whole = [
        da.concatenate([da.concatenate([part[i] for part in row], axis=-1) for row in rows.values()], axis=-2)
        for i in (0, 1)
    ]
    return _dataset(job, whole[0], whole[1])


def _lazy_cell(job: Job, light: object, layout: Layout, core: Cell, filled: Sequence["Delayed"]) -> tuple[Any, Any]:
    """Reflectance and clear_distance of one cell's core, a chunk per window."""
    import dask.array as da  # noqa: PLC0415
    from dask.delayed import delayed  # noqa: PLC0415

    cells = list(zip(layout.cells, filled, strict=True))
    near = [(cell, result) for cell, result in cells if _touch(cell.reach, core.core)]
    own = next(result for cell, result in near if cell.index == core.index)
    cubes, distances = [], []
    for i, window in enumerate(job.windows):
        shape = (len(window.write), len(job.bands), *core.core.shape)
        cube = delayed(window_days)(job, light, layout, core, i, near)
        cubes.append(da.from_delayed(cube, shape=shape, dtype=np.float32))
        distance = delayed(window_distances)(own, window, job)
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
