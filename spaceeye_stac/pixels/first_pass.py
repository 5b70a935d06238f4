"""The decimated first pass over a region, from which the illuminance of each day comes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from odc.geo.geobox import GeoBox

from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import Block, GridJob, Illuminance
from spaceeye_stac.pixels.illumination import DayTotals, illuminance_of, unit_illuminance
from spaceeye_stac.pixels.observing import Observations, observe, sampled
from spaceeye_stac.pixels.offset_check import Sample
from spaceeye_stac.pixels.scene_pixels import PixelSource, read_part, read_scenes

SURVEY_PIXELS = 1024
SURVEY_STRIDE = 4
BATCH_BYTES = 128 * 2**20  # of DN, of the days that are surveyed together


def observe_part(job: GridJob, geobox: GeoBox) -> Observations:
    """Read every scene on a part of the grid and mask it."""
    return observe(read_part(job, geobox), job, geobox)


def sample_part(job: GridJob, geobox: GeoBox) -> Sample:
    """Read every scene on a part of the grid and take some pixels of each."""
    return sampled(read_part(job, geobox), job.scenes, job, geobox)


def survey(job: GridJob, whole: PixelSource | None = None, known: dict[int, DayTotals] | None = None) -> Illuminance:
    """Illuminance over the region: from the `whole` of it where it is one cell, else from a decimated first pass.

    A few days are read at a time, and none of which the totals are `known`, by index; what is read comes to these. A
    method that makes its own of each day takes the days as they are. Raises NoClearLookError when no day has enough
    clear pixels.
    """
    if not method_of(job.settings).normalised:
        return unit_illuminance(len(job.bands), len(job.acquisitions), job.span)
    total = day_totals(job, whole, known)
    illuminance = illuminance_of(total, job.acquisition_days, job.span, job.settings)
    if not illuminance.used.any():
        best = float((total.clear / np.maximum(total.observed, 1)).max())
        raise NoClearLookError(
            f"None of {len(job.acquisitions)} days has a clear share above min_clear_ratio "
            f"{job.settings.min_clear_ratio:g} (the best has {best:.3f}); widen datetime or lower min_clear_ratio."
        )
    return illuminance


def day_totals(job: GridJob, whole: PixelSource | None = None, known: dict[int, DayTotals] | None = None) -> DayTotals:
    """Sums of every acquisition over the region: see `survey`."""
    known = {} if known is None else known
    missing = [n for n in range(len(job.acquisitions)) if n not in known]
    for days in _batches(job, whole, missing):
        found = _totals(job, days, whole)
        known |= {n: found.day(index) for index, n in enumerate(days)}
    return DayTotals.following([known[n] for n in range(len(job.acquisitions))])


def _totals(job: GridJob, days: Sequence[int], whole: PixelSource | None) -> DayTotals:
    """Totals of some acquisitions: of all pixels, or of a grid at least four times coarser.

    That one is read by nearest neighbour, and clouds are dilated on it by as many metres.
    """
    part = replace(job, acquisitions=tuple(job.acquisitions[n] for n in days))
    starts = np.cumsum([0, *(len(acquisition.scenes) for acquisition in job.acquisitions)])
    scenes = [int(scene) for n in days for scene in range(starts[n], starts[n + 1])]
    if whole is not None:
        block = Block(*(slice(0, side) for side in job.grid.shape))
        return observe(whole.pixels(scenes, block), part, job.grid.geobox).totals
    coarse = job.grid.geobox.zoom_out(_stride(job))
    read = read_scenes(job, coarse, scenes, dict.fromkeys(job.bands, "nearest"))
    return observe(read, part, coarse).totals


def _stride(job: GridJob) -> int:
    return max(SURVEY_STRIDE, -(-max(job.grid.shape) // SURVEY_PIXELS))


def _batches(job: GridJob, whole: PixelSource | None, days: Sequence[int]) -> Iterator[list[int]]:
    """Acquisitions, of these, that are surveyed together."""
    height, width = (side if whole is not None else -(-side // _stride(job)) for side in job.grid.shape)
    most = BATCH_BYTES // (height * width * len(job.bands) * np.dtype(np.uint16).itemsize)
    batch, scenes = list[int](), 0
    for day in days:
        more = len(job.acquisitions[day].scenes)
        if batch and scenes + more > most:
            yield batch
            batch, scenes = [], 0
        batch.append(day)
        scenes += more
    if batch:
        yield batch
