"""One cell: DN and labels to observations, observations to keyframes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.illumination import DayTotals, totals
from spaceeye_stac.masks import away_from_cloud, judge, observed
from spaceeye_stac.methods import CellLooks, State, alike_pixels, method_of
from spaceeye_stac.model import Cell, Illuminance, Job, Scene, Window, WindowKeyframes, metres_per_pixel
from spaceeye_stac.offset_check import Sample, Sampling

FLOOR_REFLECTANCE = 1e-4


@dataclass(frozen=True)
class Observations:
    """What the acquisitions saw of one part of the grid.

    `values` `(band, time, y, x)` float32 reflectance, 0 where not clear; `clear` `(time, y, x)`; `observed` `(time,)`
    pixels with data; `looks` `(scene,)` clear pixels taken from each scene.
    """

    values: NDArray[np.float32]
    clear: NDArray[np.bool_]
    observed: NDArray[np.int64]
    looks: NDArray[np.int64]

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
    days, (bands, height, width) = len(job.acquisitions), values.shape[1:]
    seen = Observations(
        np.zeros((bands, days, height, width), np.float32),
        np.zeros((days, height, width), bool),
        np.zeros(days, np.int64),
        np.zeros(len(values), np.int64),
    )
    index = 0
    for n, acquisition in enumerate(job.acquisitions):
        covered = np.zeros(values.shape[2:], bool)
        for scene in acquisition.scenes:
            data = observed(values[index], next(iter(scene.bands.values())).nodata)
            covered |= data
            clear = data & _clear(labels[index], scene, job, part)
            reflectance = _reflectance(values[index], scene)
            new = clear & ~seen.clear[n]
            np.maximum(reflectance, np.float32(FLOOR_REFLECTANCE), out=reflectance)
            np.copyto(seen.values[:, n], reflectance, where=new)
            seen.clear[n] |= new
            seen.looks[index] = new.sum()
            index += 1
        seen.observed[n] = covered.sum()
    return seen


def sampled(values: NDArray[np.uint16], labels: NDArray[np.uint16], job: Job, part: GeoBox) -> Sample:
    """Some clear pixels of every scene, for the check of the offsets; arguments as those of `observe`."""
    sampling = Sampling.of(job, part)
    halo = (labels.shape[1] - part.shape[0]) // 2
    inner = labels[:, halo : halo + part.shape[0], halo : halo + part.shape[1]]
    few, marks = values[..., sampling.rows, sampling.columns], inner[:, sampling.rows, sampling.columns]
    rows, columns = sampling.places((int(part.shape[0]), int(part.shape[1])))
    found = np.full((len(values), len(sampling.bands), len(rows)), np.nan, np.float32)
    for out, dn, label, scene in zip(found, few, marks, job.scenes, strict=True):
        clear = observed(dn, next(iter(scene.bands.values())).nodata)
        clear &= judge(label, scene.labels, job.settings).clear
        seen = _reflectance(dn, scene)[list(sampling.bands)].reshape(len(sampling.bands), -1)
        np.copyto(out, seen, where=clear.ravel())
    return Sample(found, rows, columns)


def _clear(labels: NDArray[np.uint16], scene: Scene, job: Job, part: GeoBox) -> NDArray[np.bool_]:
    """Clear pixels of one scene on a part of the grid, from its labels on that part and around it."""
    reach = job.settings.mask_dilation / metres_per_pixel(part)
    clear = away_from_cloud(judge(labels, scene.labels, job.settings), reach)
    halo = (clear.shape[0] - part.shape[0]) // 2
    return clear[halo : halo + part.shape[0], halo : halo + part.shape[1]]


def _reflectance(values: NDArray[np.uint16], scene: Scene) -> NDArray[np.float32]:
    """(DN + offset / scale) * scale `(band, y, x)`; band by band, so that the parts stay in the cache."""
    out = np.empty(values.shape, np.float32)
    for layer, dn, asset in zip(out, values, scene.bands.values(), strict=True):
        # the offset in DN first, a whole number: the same bits whether or not the pixels have it already
        np.add(dn, np.float32(asset.offset / asset.scale), out=layer)
        np.multiply(layer, np.float32(asset.scale), out=layer)
    return out


@dataclass(frozen=True)
class _Part:
    """The used acquisitions of one window as a job of their own, and where their scenes stand among all."""

    job: Job
    scenes: list[int]
    acquisitions: list[int]


def _part_of(job: Job, window: Window, light: Illuminance) -> _Part:
    inside = [n for n, day in enumerate(job.acquisition_days) if light.used[n] and day in window.read]
    starts = np.cumsum([0, *(len(acquisition.scenes) for acquisition in job.acquisitions)])
    scenes = [int(i) for n in inside for i in range(starts[n], starts[n + 1])]
    return _Part(replace(job, acquisitions=tuple(job.acquisitions[n] for n in inside)), scenes, inside)


def fill(
    values: NDArray[np.uint16],
    labels: NDArray[np.uint16],
    light: Illuminance,
    job: Job,
    cell: Cell,
    windows: Iterable[Window],
) -> Iterator[WindowKeyframes]:
    """Solve windows of a cell on their used acquisition days, from DN `(scene, band, y, x)` and labels of its view.

    Yields keyframes at the days needed to give any written day exactly by a linear blend of two: the window's
    acquisition days inside its write interval, and that interval's first and last day. Windows of the same acquisitions
    have the same state, which is solved once.
    """
    known: tuple[_Part, State, Looks] | None = None
    for window in windows:
        part = _part_of(job, window, light)
        if not part.scenes:
            yield _nothing(window, job, cell)
            continue
        if known is None or known[0].scenes != part.scenes or method_of(job.settings).every_day:
            seen = observe(values[part.scenes], labels[part.scenes], part.job, job.grid.part(cell.view))
            looks = np.zeros(len(values), np.int64)
            looks[part.scenes] = seen.looks
            clear = seen.clear[:, *cell.core.within(cell.view)]
            known = part, _solved(seen, light, part, window), Looks(part.job.acquisition_days, clear, looks)
        yield _at_knots(known[1], window, light, cell, known[2])


def _solved(seen: Observations, light: Illuminance, part: _Part, window: Window) -> State:
    job, days = part.job, part.job.acquisition_days
    method = method_of(job.settings)
    if method.normalised:
        np.divide(seen.values, light.values[:, np.asarray(days) - light.first, None, None], out=seen.values)
    carried = None if light.carried is None else torch.from_numpy(light.carried[:, part.acquisitions])
    alike = alike_pixels(abs(job.grid.geobox.resolution.x))
    looks = CellLooks(torch.from_numpy(seen.values), torch.from_numpy(seen.clear), days, window.read, carried, alike)
    return method.solve(looks, job.settings)


def _nothing(window: Window, job: Job, cell: Cell) -> WindowKeyframes:
    """Keyframes of a window without an acquisition."""
    knots = window.knots(())
    images = np.full((len(knots), len(job.bands), *cell.reach.shape), np.nan, np.float32)
    none = np.zeros((0, *cell.core.shape), bool)
    return WindowKeyframes(window, knots, images, (), none, np.zeros(len(job.scenes), np.int64))


@dataclass(frozen=True)
class Looks:
    """`clear` `(time, y, x)` of a cell's core on the used `days` of a window; clear pixels `(scene,)` of its view."""

    days: tuple[int, ...]
    clear: NDArray[np.bool_]
    counts: NDArray[np.int64]


def _at_knots(state: State, window: Window, light: Illuminance, cell: Cell, looks: Looks) -> WindowKeyframes:
    """Cut a state to the cell's reach and carry it to the window's knots."""
    rows, columns = cell.reach.within(cell.view)
    knots = window.knots(state.days)
    images = np.stack([state.at(day)[:, rows, columns].numpy() for day in knots])
    shown = None
    if state.shown is not None:
        shown = np.full_like(images, np.nan)
        for k, day in enumerate(knots):
            if day in state.days:
                shown[k] = state.shown[:, state.days.index(day), rows, columns]
    noise, unseen = _noise(state, knots, light)
    spread = None if noise is None else np.stack([_spread(state, day)[rows, columns] for day in knots])
    return WindowKeyframes(window, knots, images, looks.days, looks.clear, looks.counts, shown, noise, unseen, spread)


def _spread(state: State, day: int) -> NDArray[np.float32]:
    found = state.spread(day)
    assert found is not None  # noqa: S101 - asked for where the method knows its noise
    return np.asarray(found)


def _noise(state: State, knots: Sequence[int], light: Illuminance) -> tuple[NDArray[np.float32] | None, float]:
    """Give `noise` and `unseen` of a window's keyframes, where the method knows."""
    if state.widths is None or state.information is None:
        return None, np.nan
    bright = {day: torch.from_numpy(light.at(day)) for day in {*state.days, *knots}}
    unseen = max(float((state.widths.inner_unseen * bright[day]).max()) for day in knots)
    inner = {day: state.widths.inner[:, n] for n, day in enumerate(state.days)}
    noise = [float((inner[day] * bright[day]).max()) if day in inner else unseen for day in knots]
    return np.array(noise, np.float32), unseen
