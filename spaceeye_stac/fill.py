"""One cell: DN and labels to observations, observations to keyframes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from torch import Tensor

from spaceeye_stac.illumination import DayTotals, totals
from spaceeye_stac.masks import away_from_cloud, judge, observed
from spaceeye_stac.methods import CellLooks, Method, State, alike_pixels, method_of
from spaceeye_stac.model import (
    Cell,
    FilledCell,
    Illuminance,
    Job,
    Scene,
    Window,
    WindowKeyframes,
    bridged,
    metres_per_pixel,
)
from spaceeye_stac.offset_check import Sample, Sampling

FLOOR_REFLECTANCE = 1e-4


@dataclass(frozen=True)
class Observations:
    """What the acquisitions saw of one part of the grid.

    `values` `(band, time, y, x)` float32 reflectance, 0 where not clear; `clear` `(time, y, x)`; `observed` `(time,)`
    pixels with data; `looks` `(scene,)` clear pixels taken from each scene; `sample`: some pixels of each scene.
    """

    values: NDArray[np.float32]
    clear: NDArray[np.bool_]
    observed: NDArray[np.int64]
    looks: NDArray[np.int64]
    sample: Sample

    @property
    def totals(self) -> DayTotals:
        """The sums that illuminance needs."""
        return totals(self.values, self.clear, self.observed)


def observe(values: NDArray[np.uint16], labels: NDArray[np.uint16], job: Job, part: GeoBox) -> Observations:
    """Turn DN `(scene, band, y, x)` and labels `(scene, y, x)` into reflectance and `clear`, one step a day.

    `part` is where the DN lie; labels may reach farther, by as many pixels on every side. Reflectance is
    `DN * scale + offset`, at least 0.0001, only where DN is not nodata. Scenes of one day are merged in their order: a
    pixel comes from the first in which it is clear.
    """
    sampling = Sampling.of(job, part)
    seen = _nothing_seen(values.shape, len(job.acquisitions), sampling)
    index = 0
    for n, acquisition in enumerate(job.acquisitions):
        covered = np.zeros(values.shape[2:], bool)
        for scene in acquisition.scenes:
            data = observed(values[index], next(iter(scene.bands.values())).nodata)
            covered |= data
            clear = data & _clear(labels[index], scene, job, part)
            reflectance = _reflectance(values[index], scene)
            seen.sample.values[index] = sampling.take(reflectance, clear)
            new = clear & ~seen.clear[n]
            np.copyto(seen.values[:, n], np.maximum(reflectance, FLOOR_REFLECTANCE), where=new)
            seen.clear[n] |= new
            seen.looks[index] = new.sum()
            index += 1
        seen.observed[n] = covered.sum()
    return seen


def _nothing_seen(shape: tuple[int, ...], days: int, sampling: Sampling) -> Observations:
    scenes, bands, height, width = shape
    rows, columns = sampling.places((height, width))
    return Observations(
        np.zeros((bands, days, height, width), np.float32),
        np.zeros((days, height, width), bool),
        np.zeros(days, np.int64),
        np.zeros(scenes, np.int64),
        Sample(np.full((scenes, len(sampling.bands), len(rows)), np.nan, np.float32), rows, columns),
    )


def _clear(labels: NDArray[np.uint16], scene: Scene, job: Job, part: GeoBox) -> NDArray[np.bool_]:
    """Clear pixels of one scene on a part of the grid, from its labels on that part and around it."""
    reach = job.settings.mask_dilation / metres_per_pixel(part)
    clear = away_from_cloud(judge(labels, scene.labels, job.settings), reach)
    halo = (clear.shape[0] - part.shape[0]) // 2
    return clear[halo : halo + part.shape[0], halo : halo + part.shape[1]]


def _reflectance(values: NDArray[np.uint16], scene: Scene) -> NDArray[np.float32]:
    assets = list(scene.bands.values())
    scale = np.array([asset.scale for asset in assets])[:, None, None]
    offset = np.array([asset.offset for asset in assets])[:, None, None]
    return np.asarray(values * scale + offset, np.float32)


def fill(seen: Observations, light: Illuminance, job: Job, cell: Cell) -> FilledCell:
    """Solve every window of a cell on its used acquisition days, from the observations of its view.

    Returns keyframes at the days needed to give any written day exactly by a linear blend of two: the window's
    acquisition days inside its write interval, and that interval's first and last day.
    """
    method = method_of(job.settings)
    clear = seen.clear & light.used[:, None, None]
    solved = tuple(_solve_window(seen.values, clear, light, window, job, method, cell) for window in job.windows)
    scene_day = np.repeat(np.arange(len(job.acquisitions)), [len(a.scenes) for a in job.acquisitions])
    core = cell.core.within(cell.view)
    return FilledCell(solved, clear[:, *core], seen.looks * light.used[scene_day])


def _solve_window(
    values: NDArray[np.float32],
    clear: NDArray[np.bool_],
    light: Illuminance,
    window: Window,
    job: Job,
    method: Method,
    cell: Cell,
) -> WindowKeyframes:
    inside = [n for n, day in enumerate(job.acquisition_days) if light.used[n] and day in window.read]
    days = tuple(job.acquisition_days[n] for n in inside)
    if not days:
        return _nothing(window, len(job.bands), cell)
    normalised = values[:, inside]
    if method.normalised:
        normalised /= light.values[:, np.asarray(days) - light.first, None, None]
    carried = None if light.carried is None else torch.from_numpy(light.carried[:, inside])
    looks = CellLooks(
        torch.from_numpy(normalised), torch.from_numpy(clear[inside]), days, window.read, carried, _alike(job)
    )
    state = method.solve(looks, job.settings)
    return _at_knots(state, window, light, cell)


def _alike(job: Job) -> float:
    return alike_pixels(abs(job.grid.geobox.resolution.x))


def _nothing(window: Window, bands: int, cell: Cell) -> WindowKeyframes:
    """Keyframes of a window without an acquisition."""
    knots = window.knots(())
    return WindowKeyframes(window, knots, np.full((len(knots), bands, *cell.reach.shape), np.nan, np.float32))


def _at_knots(state: State, window: Window, light: Illuminance, cell: Cell) -> WindowKeyframes:
    """Cut a state to the cell's reach and carry it to the window's knots."""
    rows, columns = cell.reach.within(cell.view)
    knots = window.knots(state.days)
    smooth = state.smooth[:, :, rows, columns]
    images = torch.stack([_lerp(smooth, state.days, day) for day in knots]).numpy()
    shown = None
    if state.shown is not None:
        shown = np.full(images.shape, np.nan, np.float32)
        for k, day in enumerate(knots):
            if day in state.days:
                shown[k] = state.shown[:, state.days.index(day), rows, columns].numpy()
    return WindowKeyframes(window, knots, images, shown, *_trust_at(state, knots, light, cell))


def _trust_at(
    state: State, knots: Sequence[int], light: Illuminance, cell: Cell
) -> tuple[NDArray[np.float32], ...] | tuple[None, ...]:
    """Give `noise`, `spread` and `unseen` of a window's keyframes, where the method knows."""
    if state.widths is None or state.information is None or state.weights is None:
        return (None, None, None)
    rows, columns = cell.reach.within(cell.view)
    bright = {day: torch.from_numpy(light.at(day)) for day in {*state.days, *knots}}
    unseen = max(float((state.widths.inner_unseen * bright[day]).max()) for day in knots)
    noise = np.full((len(knots), *cell.reach.shape), unseen, np.float32)
    for k, day in enumerate(knots):
        if day in state.days:
            noise[k] = float((state.widths.inner[:, state.days.index(day)] * bright[day]).max())
    state_sd = (state.information + state.weights)[:, rows, columns].rsqrt()[None]
    spread = np.stack([_spread_at(state_sd, state, day) for day in knots])
    return noise, spread, np.full(cell.reach.shape, unseen, np.float32)


def _lerp(images: Tensor, days: Sequence[int], day: int) -> Tensor:
    """Value on a day `(band, y, x)`: linear between `days`, constant outside."""
    after = int(np.searchsorted(days, day))
    if after == 0 or after == len(days) or days[after] == day:
        return images[:, min(after, len(days) - 1)]
    return torch.lerp(images[:, after - 1], images[:, after], (day - days[after - 1]) / (days[after] - days[after - 1]))


def _spread_at(state_sd: Tensor, state: State, day: int) -> NDArray[np.float32]:
    """Standard deviation of the state on a day `(y, x)`, in units of one look's noise: see `bridged`."""
    days = state.days
    after = int(np.searchsorted(days, day))
    known = state_sd[0]
    if after < len(days) and days[after] == day:
        return np.asarray(known[after])
    if after in {0, len(days)}:
        nearest = min(after, len(days) - 1)
        gap = abs(day - days[nearest])
        return np.asarray((known[nearest].square() + gap / state.damping_factor).sqrt())
    gaps = day - days[after - 1], days[after] - day
    return bridged(known[after - 1].numpy(), known[after].numpy(), gaps, state.damping_factor)
