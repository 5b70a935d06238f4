"""The decimated first pass over a region, from which the illuminance of each day comes."""

from collections.abc import Iterator
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


def survey(job: GridJob, whole: PixelSource | None = None) -> Illuminance:
    """Illuminance over the region: from the `whole` of it where it is one cell, else from a decimated first pass.

    A few days are read at a time. A method that makes its own of each day takes the days as they are. Raises
    NoClearLookError when no day has enough clear pixels.
    """
    if not method_of(job.settings).normalised:
        return unit_illuminance(len(job.bands), len(job.acquisitions), job.span)
    total = day_totals(job, whole)
    illuminance = illuminance_of(total, job.acquisition_days, job.span, job.settings)
    if not illuminance.used.any():
        best = float((total.clear / np.maximum(total.observed, 1)).max())
        raise NoClearLookError(
            f"None of {len(job.acquisitions)} days has a clear share above min_clear_ratio "
            f"{job.settings.min_clear_ratio:g} (the best has {best:.3f}); widen datetime or lower min_clear_ratio."
        )
    return illuminance


def day_totals(job: GridJob, whole: PixelSource | None = None) -> DayTotals:
    """Sums of every acquisition over the region: see `survey`."""
    return DayTotals.following([_totals(job, days, whole) for days in _batches(job, whole)])


def _totals(job: GridJob, days: slice, whole: PixelSource | None) -> DayTotals:
    """Totals of some acquisitions: of all pixels, or of a grid at least four times coarser.

    That one is read by nearest neighbour, and clouds are dilated on it by as many metres.
    """
    part = replace(job, acquisitions=job.acquisitions[days])
    first = sum(len(acquisition.scenes) for acquisition in job.acquisitions[: days.start])
    scenes = range(first, first + len(part.scenes))
    if whole is not None:
        block = Block(*(slice(0, side) for side in job.grid.shape))
        return observe(whole.pixels(scenes, block), part, job.grid.geobox).totals
    coarse = job.grid.geobox.zoom_out(_stride(job))
    read = read_scenes(job, coarse, scenes, dict.fromkeys(job.bands, "nearest"))
    return observe(read, part, coarse).totals


def _stride(job: GridJob) -> int:
    return max(SURVEY_STRIDE, -(-max(job.grid.shape) // SURVEY_PIXELS))


def _batches(job: GridJob, whole: PixelSource | None) -> Iterator[slice]:
    """Acquisitions that are surveyed together."""
    height, width = (side if whole is not None else -(-side // _stride(job)) for side in job.grid.shape)
    most = BATCH_BYTES // (height * width * len(job.bands) * np.dtype(np.uint16).itemsize)
    start = 0
    while start < len(job.acquisitions):
        stop, scenes = start + 1, len(job.acquisitions[start].scenes)
        while stop < len(job.acquisitions) and scenes + len(job.acquisitions[stop].scenes) <= most:
            scenes += len(job.acquisitions[stop].scenes)
            stop += 1
        yield slice(start, stop)
        start = stop
