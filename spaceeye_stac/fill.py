"""One block: DN and labels to observations, observations to keyframes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.illumination import DayTotals, totals
from spaceeye_stac.masks import clear_from_labels, observed
from spaceeye_stac.model import FilledBlock, Illuminance, Job, Scene, Window, WindowKeyframes
from spaceeye_stac.solver import solve

FLOOR_REFLECTANCE = 1e-4


@dataclass(frozen=True)
class Observations:
    """What the acquisitions saw of one block.

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


def observe(values: NDArray[np.uint16], labels: NDArray[np.uint16], job: Job) -> Observations:
    """Turn DN `(scene, band, y, x)` and labels `(scene, y, x)` into reflectance and `clear`, one step a day.

    Reflectance is `DN * scale + offset`, at least 0.0001, only where DN is not nodata. Scenes of one day are merged in
    their order: a pixel comes from the first in which it is clear.
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
        covered = np.zeros((height, width), bool)
        for scene in acquisition.scenes:
            data = observed(values[index], next(iter(scene.bands.values())).nodata)
            covered |= data
            new = data & clear_from_labels(labels[index], job.settings.clear_classes) & ~seen.clear[n]
            np.copyto(seen.values[:, n], _reflectance(values[index], scene), where=new)
            seen.clear[n] |= new
            seen.looks[index] = new.sum()
            index += 1
        seen.observed[n] = covered.sum()
    return seen


def _reflectance(values: NDArray[np.uint16], scene: Scene) -> NDArray[np.float32]:
    assets = list(scene.bands.values())
    scale = np.array([asset.scale for asset in assets])[:, None, None]
    offset = np.array([asset.offset for asset in assets])[:, None, None]
    return np.asarray(np.maximum(values * scale + offset, FLOOR_REFLECTANCE), np.float32)


def fill(seen: Observations, light: Illuminance, job: Job) -> FilledBlock:
    """Solve every window of a block on its used acquisition days.

    Returns keyframes at the days needed to give any written day exactly by a linear blend of two: the window's
    acquisition days inside its write interval, and that interval's first and last day.
    """
    clear = seen.clear & light.used[:, None, None]
    solved = tuple(_solve_window(seen.values, clear, light, window, job) for window in job.windows)
    scene_day = np.repeat(np.arange(len(job.acquisitions)), [len(a.scenes) for a in job.acquisitions])
    return FilledBlock(solved, clear, seen.looks * light.used[scene_day])


def _solve_window(
    values: NDArray[np.float32], clear: NDArray[np.bool_], light: Illuminance, window: Window, job: Job
) -> WindowKeyframes:
    inside = [n for n, day in enumerate(job.acquisition_days) if light.used[n] and day in window.read]
    days = [job.acquisition_days[n] for n in inside]
    normalised = values[:, inside]
    normalised /= light.values[:, np.asarray(days, int) - light.first, None, None]
    solution = solve(normalised, clear[inside], days, damping_factor=job.settings.damping_factor)
    knots = window.knots(days)
    return WindowKeyframes(window, knots, np.stack([solution.at(day).numpy() for day in knots]))
