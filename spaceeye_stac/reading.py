"""A job's scenes read on some part of its grid, and the light of its days."""

import math
from collections.abc import Mapping

import numpy as np
from odc.geo.geobox import GeoBox

from spaceeye_stac import stack
from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.fill import Observations, observe, sampled
from spaceeye_stac.illumination import DayTotals, illuminance, uniform, untouched
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import Illuminance, Job, metres_per_pixel
from spaceeye_stac.offset_check import Sample
from spaceeye_stac.signing import signed

SURVEY_PIXELS = 1024
SURVEY_STRIDE = 4


def read_scenes(job: Job, geobox: GeoBox, resampling: Mapping[str, str]) -> stack.Stacked:
    """Read every scene on a part of the grid, labels as far around it as clouds are dilated."""
    halo = math.ceil(job.settings.mask_dilation / metres_per_pixel(geobox))
    return stack.load(job.scenes, geobox, resampling=resampling, sign=signed, label_halo=halo)


def read_part(job: Job, geobox: GeoBox) -> stack.Stacked:
    """Read every scene on a part of the grid."""
    return read_scenes(job, geobox, stack.resampling_of(job.scenes, geobox, job.settings.resampling))


def observe_part(job: Job, geobox: GeoBox) -> Observations:
    """Read every scene on a part of the grid and mask it."""
    read = read_part(job, geobox)
    return observe(read.values, read.labels, job, geobox)


def sample_part(job: Job, geobox: GeoBox) -> Sample:
    """Read every scene on a part of the grid and take some pixels of each."""
    read = read_part(job, geobox)
    return sampled(read.values, read.labels, job, geobox)


def survey(job: Job, whole: stack.Stacked | None = None) -> Illuminance:
    """Illuminance over the region: from `whole` where it is one cell, else from a decimated first pass.

    A method that makes its own of each day takes the days as they are. Raises NoClearLookError when no day has enough
    clear pixels.
    """
    if not method_of(job.settings).normalised:
        return untouched(len(job.bands), len(job.acquisitions), job.span)
    total = _coarse_totals(job) if whole is None else observe(whole.values, whole.labels, job, job.grid.geobox).totals
    compute = illuminance if job.settings.normalize_illuminance else uniform
    light = compute(total, job.acquisition_days, job.span, job.settings.min_clear_ratio)
    if not light.used.any():
        best = float((total.clear / np.maximum(total.observed, 1)).max())
        raise NoClearLookError(
            f"None of {len(job.acquisitions)} days has a clear share above min_clear_ratio "
            f"{job.settings.min_clear_ratio:g} (the best has {best:.3f}); widen datetime or lower min_clear_ratio."
        )
    return light


def _coarse_totals(job: Job) -> DayTotals:
    """Totals from a grid at least four times coarser, read by nearest neighbour and dilated by as many metres."""
    stride = max(SURVEY_STRIDE, -(-max(job.grid.shape) // SURVEY_PIXELS))
    coarse = job.grid.geobox.zoom_out(stride)
    read = read_scenes(job, coarse, dict.fromkeys(job.bands, "nearest"))
    return observe(read.values, read.labels, job, coarse).totals
