"""A job's scenes read on some part of its grid, and the light of its days."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac import stack
from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.fill import Observations, Source, observe, sampled
from spaceeye_stac.illumination import DayTotals, illuminance, uniform, untouched
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import Block, Illuminance, Job, Pixels, metres_per_pixel
from spaceeye_stac.offset_check import Sample
from spaceeye_stac.signing import signed

SURVEY_PIXELS = 1024
SURVEY_STRIDE = 4
BATCH_BYTES = 128 * 2**20  # of DN, of the days that are surveyed together

# what is told of a scene's pixels, by its index, on a block, when they are read
Told = Callable[[int, Pixels, Block], None]


def read_scenes(job: Job, geobox: GeoBox, scenes: Sequence[int], resampling: Mapping[str, str]) -> Pixels:
    """Read some scenes, by index, on a part of the grid, labels as far around it as clouds are dilated."""
    halo = math.ceil(job.settings.mask_dilation / metres_per_pixel(geobox))
    chosen = [job.scenes[n] for n in scenes]
    read = stack.load(chosen, geobox, resampling=resampling, sign=signed, label_halo=halo)
    return Pixels(list(read.values), list(read.labels))


def read_part(job: Job, geobox: GeoBox, scenes: Sequence[int] | None = None) -> Pixels:
    """Read scenes, all when left out, on a part of the grid."""
    chosen = range(len(job.scenes)) if scenes is None else scenes
    return read_scenes(job, geobox, chosen, stack.resampling_of(job.scenes, geobox, job.settings.resampling))


class Given:
    """A source of the pixels of all scenes on one block of the grid."""

    def __init__(self, read: Pixels, block: Block) -> None:
        self._read, self._block = read, block

    def pixels(self, scenes: Sequence[int], block: Block) -> Pixels:
        """See `fill.Source`."""
        rows, columns = block.within(self._block)
        values = [self._read.values[n] for n in scenes]
        labels = [self._read.labels[n] for n in scenes]
        return Pixels(
            [image[:, rows, columns] for image in values],
            [image[_wider(image, self._block, (rows, columns))] for image in labels],
        )


def _wider(labels: NDArray[np.uint16], block: Block, place: tuple[slice, slice]) -> tuple[slice, slice]:
    """Where labels that reach farther than a block have a place of that block, and as much around it."""
    halo = labels.shape[0] - block.shape[0]
    return slice(place[0].start, place[0].stop + halo), slice(place[1].start, place[1].stop + halo)


class Held:
    """A source that keeps what it reads of one block of the grid, until other scenes are to be held.

    `told` is called with the index and pixels of each scene and their block, when it is read.
    """

    def __init__(self, job: Job, block: Block, told: Told | None = None) -> None:
        self._job, self._block, self._told = job, block, told
        self._read: dict[int, Pixels] = {}

    def tell(self, told: Told) -> None:
        """Tell of the scenes that are held, and of those that will be read."""
        self._told = told
        for scene, pixels in self._read.items():
            told(scene, pixels, self._block)

    def hold(self, scenes: Sequence[int]) -> None:
        """Let go of all other scenes, and read these where they are not held yet."""
        self._read = {n: pixels for n, pixels in self._read.items() if n in scenes}
        missing = [n for n in scenes if n not in self._read]
        if not missing:
            return
        found = read_part(self._job, self._job.grid.part(self._block), missing)
        for n, values, labels in zip(missing, found.values, found.labels, strict=True):
            self._read[n] = Pixels([values], [labels])
            if self._told is not None:
                self._told(n, self._read[n], self._block)

    def pixels(self, scenes: Sequence[int], block: Block) -> Pixels:
        """See `fill.Source`; what is not held is read, and held as well."""
        if not self._read.keys() >= set(scenes):
            self.hold(sorted({*scenes, *self._read}))
        parts = [Given(self._read[n], self._block).pixels([0], block) for n in scenes]
        return Pixels([part.values[0] for part in parts], [part.labels[0] for part in parts])


class Passing:
    """A source that keeps nothing: every block is read when it is asked for."""

    def __init__(self, job: Job, told: Told | None = None) -> None:
        self._job, self._told = job, told

    def hold(self, scenes: Sequence[int]) -> None:
        """Nothing is held."""

    def pixels(self, scenes: Sequence[int], block: Block) -> Pixels:
        """See `fill.Source`."""
        found = read_part(self._job, self._job.grid.part(block), scenes)
        if self._told is not None:
            for n, values, labels in zip(scenes, found.values, found.labels, strict=True):
                self._told(n, Pixels([values], [labels]), block)
        return found


def observe_part(job: Job, geobox: GeoBox) -> Observations:
    """Read every scene on a part of the grid and mask it."""
    return observe(read_part(job, geobox), job, geobox)


def sample_part(job: Job, geobox: GeoBox) -> Sample:
    """Read every scene on a part of the grid and take some pixels of each."""
    return sampled(read_part(job, geobox), job.scenes, job, geobox)


def survey(job: Job, whole: Source | None = None) -> Illuminance:
    """Illuminance over the region: from the `whole` of it where it is one cell, else from a decimated first pass.

    A few days are read at a time. A method that makes its own of each day takes the days as they are. Raises
    NoClearLookError when no day has enough clear pixels.
    """
    if not method_of(job.settings).normalised:
        return untouched(len(job.bands), len(job.acquisitions), job.span)
    total = day_totals(job, whole)
    compute = illuminance if job.settings.normalize_illuminance else uniform
    light = compute(total, job.acquisition_days, job.span, job.settings.min_clear_ratio)
    if not light.used.any():
        best = float((total.clear / np.maximum(total.observed, 1)).max())
        raise NoClearLookError(
            f"None of {len(job.acquisitions)} days has a clear share above min_clear_ratio "
            f"{job.settings.min_clear_ratio:g} (the best has {best:.3f}); widen datetime or lower min_clear_ratio."
        )
    return light


def day_totals(job: Job, whole: Source | None = None) -> DayTotals:
    """Sums of every acquisition over the region: see `survey`."""
    return DayTotals.following([_totals(job, days, whole) for days in _batches(job, whole)])


def _totals(job: Job, days: slice, whole: Source | None) -> DayTotals:
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


def _stride(job: Job) -> int:
    return max(SURVEY_STRIDE, -(-max(job.grid.shape) // SURVEY_PIXELS))


def _batches(job: Job, whole: Source | None) -> Iterator[slice]:
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
