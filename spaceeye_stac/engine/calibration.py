"""How fast this machine is at a job: one small block solved, one image written and read again, about a second."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from spaceeye_stac.collection import temporary_folder
from spaceeye_stac.days import Encoding, Raster, quantise
from spaceeye_stac.engine.budget import looks_in, solved_together
from spaceeye_stac.engine.cell import CellSolve, stretches
from spaceeye_stac.engine.costs import SURVEY_SHARE, all_knots
from spaceeye_stac.engine.jobs import layout_of
from spaceeye_stac.methods import one_torch_thread
from spaceeye_stac.model import Block, Cell, GridJob
from spaceeye_stac.pixels import MemoryPixels, ScenePixels, unit_illuminance

BLOCK_PIXELS = 256  # of a side: what is learnt from some pixels of a cell takes as long for a smaller one
IMAGE_PIXELS = 640
START_SECONDS = 1.5  # modules, and the collection at the end
OPENING_SECONDS = 0.003  # of one asset of one scene: header, virtual raster, graph
DAY_SECONDS = 0.015  # item and thumbnail
VISUAL_IMAGES = 1.6  # three layers of a byte and their stretch, in bands
TRUST_IMAGES = 0.5  # clear_distance and uncertainty, in bands
REPEATS = 2


@dataclass(frozen=True)
class Speed:
    """Seconds of one worker: to solve one look of one pixel, to write one pixel of one band, and to read one.

    `squeezed`: bytes of an image in the compression asked for over those in the default one.
    """

    solve: float
    write: float
    read: float
    squeezed: float

    def seconds(self, job: GridJob, days: int, workers: int) -> float:
        """What a job of so many published days takes, the network aside."""
        layout = layout_of(job)
        seen = sum(math.prod(cell.view.shape) for cell in layout.cells)
        rasters = len(job.scenes) * (len(job.bands) + 1)
        several = len(layout.cells) > 1
        reading = rasters * seen * self.read * (1 + SURVEY_SHARE * several)
        opening = rasters * OPENING_SECONDS * (len(layout.cells) + several)
        solving = sum(map(len, solved_together(job))) * seen * self.solve
        images = len(job.bands) + VISUAL_IMAGES + TRUST_IMAGES
        writing = days * (images * math.prod(job.grid.shape) * self.write + DAY_SECONDS)
        solvers = min(workers, len(layout.cells))
        writers = min(workers, sum(map(len, all_knots(job))))
        return START_SECONDS + (reading + opening + solving) / solvers + writing / writers


def measured_speed(job: GridJob, encoding: Encoding) -> Speed:
    """Measure on made-up pixels of this job's shape, bands and scenes; nothing of the sources is read."""
    with temporary_folder() as folder:
        plain, usual, _ = _written(job, folder, Encoding())
        write, size, read = _written(job, folder, encoding) if encoding != Encoding() else (plain, usual, None)
        read = _reading(folder, job) if read is None else read
    return Speed(_solving(job), write, read, size / usual)


def _side(job: GridJob) -> tuple[slice, slice]:
    height, width = (min(IMAGE_PIXELS, side) for side in job.grid.shape)
    return slice(0, height), slice(0, width)


def _scene(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Reflectance with slopes and noise as a landscape has them, always the same."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = 0.15 + 0.05 * np.sin(y / 40) * np.cos(x / 55)
    return np.asarray(smooth + rng.normal(0, 0.006, shape), np.float32)


def _written(job: GridJob, folder: Path, encoding: Encoding) -> tuple[float, int, float]:
    """Seconds a pixel to write an image, its bytes, and seconds a pixel to read it."""
    box = job.grid.geobox[_side(job)]
    reflectance = _scene((int(box.shape[0]), int(box.shape[1])))

    def write() -> int:
        raster = Raster(folder / "image.tif", box, "uint16", encoding=encoding)
        raster.write(quantise(reflectance * np.float32(1.01) + reflectance), 0)
        return raster.close().file.size

    size = write()
    return _best(write) / reflectance.size, size, _reading(folder, job)


def _reading(folder: Path, job: GridJob) -> float:
    def read() -> None:
        with rasterio.open(folder / "image.tif") as raster:
            raster.read(1)

    height, width = _side(job)
    return _best(read) / float(height.stop * width.stop)


def _solving(job: GridJob) -> float:
    """Seconds to solve one day of one pixel: the window with the most, on a small block."""
    days, windows = max(solved_together(job).items(), key=lambda one: len(one[0]))
    if not max(looks_in(job)):
        return 0.0
    place = Block(*(slice(0, min(BLOCK_PIXELS, side)) for side in job.grid.shape))
    cell = Cell((0, 0), place, place, place)
    source = MemoryPixels(_made_up(job, place.shape), place)
    illuminance, plain = unit_illuminance(len(job.bands), len(job.acquisitions), job.span), _undilated(job)
    window = job.windows.index(windows[0])
    stretch = replace(next(s for s in stretches(plain, illuminance) if window in s.windows), windows=(window,))
    with one_torch_thread():
        took = _best(lambda: CellSolve(source, illuminance, plain, cell, stretch).whole())
    return took / len(days) / math.prod(place.shape)


def _undilated(job: GridJob) -> GridJob:
    """Return the job without dilation, whose halo the made-up labels do not have."""
    return replace(job, settings=replace(job.settings, mask_dilation=0.0, clear_classes=(4,)))


def _made_up(job: GridJob, shape: tuple[int, int]) -> ScenePixels:
    """DN of every scene and labels of which six in ten are clear."""
    rng = np.random.default_rng(0)
    base = _scene(shape) * 10_000
    count = len(job.scenes)
    values = base + rng.normal(0, 50, (count, len(job.bands), *shape))
    labels = np.where(rng.random((count, *shape)) < 0.6, 4, 9).astype(np.uint16)  # noqa: PLR2004
    return ScenePixels(list(values.astype(np.uint16)), list(labels))


def _best(task: Callable[[], object]) -> float:
    """Shortest of a few runs, in seconds; the first makes ready."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)
