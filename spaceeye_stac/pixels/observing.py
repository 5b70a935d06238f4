"""DN and labels of a job's scenes to reflectance and `clear`, one step a day."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.model import GridJob, LookFlag, Scene, metres_per_pixel
from spaceeye_stac.pixels.dn import FLOOR_REFLECTANCE
from spaceeye_stac.pixels.dn import reflectance as reflectance_of
from spaceeye_stac.pixels.illumination import DayTotals, totals
from spaceeye_stac.pixels.masks import (
    LABEL_COUNT,
    SNOW_CLASS,
    WATER_CLASS,
    Classified,
    away_from_cloud,
    classify,
    observed,
    with_model,
)
from spaceeye_stac.pixels.offset_check import Sample, Sampling
from spaceeye_stac.pixels.scene_pixels import ScenePixels
from spaceeye_stac.settings import Settings


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


Every = tuple[()] | tuple[NDArray[np.int64], NDArray[np.int64]]


def observe(pixels: ScenePixels, job: GridJob, part: GeoBox, every: Every = ()) -> Observations:
    """Turn the DN and labels of a job's scenes into reflectance and `clear`, one step a day.

    `part` is where the DN lie; `every`: rows `(y, 1)` and columns `(x,)` that alone are looked at.
    Reflectance is `DN * scale + offset`, at least 0.0001, only where DN is not 0, which is no data. Scenes of one day
    are merged in their order: a pixel comes from the first in which it is clear.
    """
    height, width = (len(along) for along in every) if every else part.shape
    shape = len(job.bands), len(job.acquisitions), int(height), int(width)
    seen = Observations(
        np.zeros(shape, np.float32), np.zeros(shape[1:], bool), np.zeros(shape[1], np.int64), no_looks(job)
    )
    index = 0
    for n, acquisition in enumerate(job.acquisitions):
        covered = np.zeros(shape[2:], bool)
        for scene in acquisition.scenes:
            dn = pixels.values[index][..., *every]
            data = observed(dn)
            covered |= data
            clear = data & _clear(pixels, index, scene, job, part, every)
            reflectance = reflectance_of(dn, scene)
            new = clear & ~seen.clear[n]
            np.maximum(reflectance, np.float32(FLOOR_REFLECTANCE), out=reflectance)
            np.copyto(seen.values[:, n], reflectance, where=new)
            seen.clear[n] |= new
            seen.looks[index] = new.sum()
            index += 1
        seen.observed[n] = covered.sum()
    return seen


def snow_and_water(pixels: ScenePixels, job: GridJob, part: GeoBox) -> NDArray[np.uint8]:
    """Flags `(time, y, x)` of pixels that a scene class calls snow or water, of the first scene of a day that does.

    Masks without classes say neither.
    """
    table = np.zeros(LABEL_COUNT, np.uint8)
    table[[SNOW_CLASS, WATER_CLASS]] = LookFlag.SNOW, LookFlag.WATER
    found = np.zeros((len(job.acquisitions), *part.shape), np.uint8)
    days = [n for n, acquisition in enumerate(job.acquisitions) for _ in acquisition.scenes]
    scenes = (scene for acquisition in job.acquisitions for scene in acquisition.scenes)
    for day, scene, labels in zip(days, scenes, pixels.labels, strict=True):
        if scene.labels is not None and scene.labels.kind == "scl":
            flags = table[labels[_inner(labels, part)]]
            np.copyto(found[day], flags, where=found[day] == 0)
    return found


def no_looks(job: GridJob) -> NDArray[np.int64]:
    """No looks from any of a job's scenes."""
    return np.zeros(len(job.scenes), np.int64)


def sampled(pixels: ScenePixels, scenes: Sequence[Scene], job: GridJob, part: GeoBox) -> Sample:
    """Some clear pixels of each of the `scenes`, of which the pixels are, for the check of the offsets."""
    sampling = Sampling.of(job, part)
    rows, columns = sampling.places((int(part.shape[0]), int(part.shape[1])))
    found = np.full((len(scenes), len(sampling.bands), len(rows)), np.nan, np.float32)
    for n, (out, values, scene) in enumerate(zip(found, pixels.values, scenes, strict=True)):
        dn = values[..., sampling.rows, sampling.columns]
        clear = observed(dn)
        cuts = _inner(pixels.labels[n], part), (sampling.rows, sampling.columns)
        clear &= _judged(pixels, n, scene, job.settings, cuts).clear
        seen = reflectance_of(dn, scene)[list(sampling.bands)].reshape(len(sampling.bands), -1)
        np.copyto(out, seen, where=clear.ravel())
    return Sample(found, rows, columns)


def _clear(
    pixels: ScenePixels, index: int, scene: Scene, job: GridJob, part: GeoBox, every: Every
) -> NDArray[np.bool_]:
    """Clear pixels of one scene on `every` so many rows and columns of a part, by what is said there and around it."""
    reach = job.settings.mask_dilation / metres_per_pixel(part)
    inner = _inner(pixels.labels[index], part)
    if not reach:
        return _judged(pixels, index, scene, job.settings, (inner, every)).clear
    return away_from_cloud(_judged(pixels, index, scene, job.settings), reach)[inner][every]


def _inner(labels: NDArray[np.uint16], part: GeoBox) -> tuple[slice, slice]:
    """Where a part lies in labels that reach farther on every side."""
    halo = (labels.shape[0] - part.shape[0]) // 2
    return slice(halo, halo + part.shape[0]), slice(halo, halo + part.shape[1])


def _judged(
    pixels: ScenePixels, index: int, scene: Scene, settings: Settings, cuts: Sequence[tuple[slice, slice] | Every] = ()
) -> Classified:
    """What a scene's mask and the mask model say of it, after some cuts of its rows and columns."""
    labels, verdict = pixels.labels[index], pixels.verdicts[index] if pixels.verdicts else None
    for cut in cuts:
        labels, verdict = labels[cut], None if verdict is None else verdict[cut]
    found = classify(labels, scene.labels, settings)
    return found if verdict is None else with_model(found, verdict, settings.mask_model_use)
