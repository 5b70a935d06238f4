"""Where the pixels of a job's scenes come from: memory, a cache, or the source each time."""

import math
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.model import Block, GridJob, Scene, metres_per_pixel
from spaceeye_stac.pixels.loader import first_unreadable, load, load_ahead, resampling_of
from spaceeye_stac.pixels.mask_squares import Verdict, verdicts_of
from spaceeye_stac.pixels.overviews import OVERVIEWS
from spaceeye_stac.pixels.signing import signed


@dataclass(frozen=True)
class ScenePixels:
    """DN `(band, y, x)` uint16 of some scenes on a part of a grid, and labels `(y, x)`, which may reach farther.

    Labels reach as many pixels farther on every side. `doubts`: of each scene, sentences on files that are not what
    their item says, where they have just been read. `verdicts`: what a mask model says where there are labels; none
    where there is no model.
    """

    values: Sequence[NDArray[np.uint16]]
    labels: Sequence[NDArray[np.uint16]]
    doubts: Sequence[tuple[str, ...]] = ()
    verdicts: Sequence[Verdict] = ()

    def each(self) -> "list[ScenePixels]":
        """The pixels of each scene alone."""
        doubts = self.doubts or [()] * len(self.values)
        said = [[verdict] for verdict in self.verdicts] or [[]] * len(self.values)
        each = zip(self.values, self.labels, doubts, said, strict=True)
        return [ScenePixels([v], [n], [d], s) for v, n, d, s in each]


# called with a scene's index and its pixels on a block, when they are read
OnRead = Callable[[int, ScenePixels, Block], None]


def read_scenes(
    job: GridJob, geobox: GeoBox, scenes: Sequence[int], resampling: Mapping[str, str], whole: GeoBox | None = None
) -> ScenePixels:
    """Read some scenes, by index, on a part of the `whole`, labels as far around it as clouds are dilated.

    A mask model is asked there, too. The whole is the geobox itself when left out.
    """
    halo = _halo(job, geobox)
    chosen = [job.scenes[n] for n in scenes]
    read = load(chosen, geobox, resampling=resampling, sign=signed, label_halo=halo)
    said = verdicts_of(job, chosen, geobox.pad(halo), (whole or geobox).pad(halo))
    doubts = [tuple(dict.fromkeys([*a, *b])) for a, b in zip_longest(read.doubts, said.doubts, fillvalue=())]
    return ScenePixels(list(read.values), list(read.labels), doubts, said.images)


def read_ahead(job: GridJob, block: Block, scenes: Sequence[int]) -> "Iterator[Coroutine[Any, Any, int]]":
    """Give work for the network that brings what `read_part` will read of a block into the cache; see `load_ahead`."""
    geobox, chosen = job.grid.part(block), [job.scenes[n] for n in scenes]
    how = resampling_of(job.scenes, geobox, job.settings.resampling)
    return load_ahead(chosen, geobox, resampling=how, sign=signed, label_halo=_halo(job, geobox))


def _halo(job: GridJob, geobox: GeoBox) -> int:
    """Pixels around a part on which labels are read."""
    return math.ceil(job.settings.mask_dilation / metres_per_pixel(geobox))


def read_part(job: GridJob, geobox: GeoBox, scenes: Sequence[int] | None = None) -> ScenePixels:
    """Read scenes, all when left out, on a part of the grid."""
    chosen = range(len(job.scenes)) if scenes is None else scenes
    how = resampling_of(job.scenes, geobox, job.settings.resampling, coarser=OVERVIEWS)
    return read_scenes(job, geobox, chosen, how, job.grid.geobox)


def reason_unreadable(scene: Scene, also: Sequence[str] = ()) -> str | None:
    """Which file of a scene, spare bands among them `also`, cannot be opened, and why; None where all can be.

    No pixel is read.
    """
    more = [name for name in also if name in scene.spare]
    return first_unreadable(scene.with_bands([*scene.bands, *more]), signed)


class MemoryPixels:
    """A source of the pixels of all scenes on one block of the grid."""

    def __init__(self, read: ScenePixels, block: Block) -> None:
        self._read, self._block = read, block

    def pixels(self, scenes: Sequence[int], block: Block) -> ScenePixels:
        """See `PixelSource`."""
        rows, columns = block.within(self._block)
        values = [self._read.values[n] for n in scenes]
        labels = [self._read.labels[n] for n in scenes]
        verdicts = [self._read.verdicts[n] for n in scenes] if self._read.verdicts else []
        return ScenePixels(
            [image[:, rows, columns] for image in values],
            [image[_wider(image, self._block, (rows, columns))] for image in labels],
            verdicts=[image[_wider(image, self._block, (rows, columns))] for image in verdicts],
        )


def _wider(labels: NDArray[np.integer], block: Block, place: tuple[slice, slice]) -> tuple[slice, slice]:
    """Where labels that reach farther than a block have a place of that block, and as much around it."""
    halo = labels.shape[0] - block.shape[0]
    return slice(place[0].start, place[0].stop + halo), slice(place[1].start, place[1].stop + halo)


class CachedPixels:
    """A source that keeps what it reads of one block of the grid, until other scenes are wanted.

    `on_read` is called with the index and pixels of each scene and their block, when it is read.
    """

    def __init__(self, job: GridJob, block: Block, on_read: OnRead | None = None) -> None:
        self._job, self._block, self._on_read = job, block, on_read
        self._read: dict[int, ScenePixels] = {}

    def set_on_read(self, on_read: OnRead) -> None:
        """Call this for the scenes that are cached, and for those that will be read."""
        self._on_read = on_read
        for scene, pixels in self._read.items():
            on_read(scene, pixels, self._block)

    def hold(self, scenes: Sequence[int]) -> None:
        """Let go of all other scenes, and read these where they are not cached yet."""
        self._read = {n: pixels for n, pixels in self._read.items() if n in scenes}
        missing = [n for n in scenes if n not in self._read]
        if not missing:
            return
        found = read_part(self._job, self._job.grid.part(self._block), missing)
        for n, one in zip(missing, found.each(), strict=True):
            self._read[n] = one
            if self._on_read is not None:
                self._on_read(n, self._read[n], self._block)

    def pixels(self, scenes: Sequence[int], block: Block) -> ScenePixels:
        """See `PixelSource`; what is not cached is read, and cached as well."""
        if not self._read.keys() >= set(scenes):
            self.hold(sorted({*scenes, *self._read}))
        parts = [MemoryPixels(self._read[n], self._block).pixels([0], block) for n in scenes]
        return ScenePixels(
            [part.values[0] for part in parts],
            [part.labels[0] for part in parts],
            verdicts=[verdict for part in parts for verdict in part.verdicts],
        )


class StreamedPixels:
    """A source that keeps nothing: every block is read when it is asked for."""

    def __init__(self, job: GridJob, on_read: OnRead | None = None) -> None:
        self._job, self._on_read = job, on_read

    def hold(self, scenes: Sequence[int]) -> None:
        """Nothing is cached."""

    def pixels(self, scenes: Sequence[int], block: Block) -> ScenePixels:
        """See `PixelSource`."""
        found = read_part(self._job, self._job.grid.part(block), scenes)
        if self._on_read is not None:
            for n, one in zip(scenes, found.each(), strict=True):
                self._on_read(n, one, block)
        return found


class PixelSource(Protocol):
    """Where the pixels of a job's scenes come from."""

    def pixels(self, scenes: Sequence[int], block: Block) -> ScenePixels:
        """Give the pixels of some scenes, by index, on a block of the job's grid."""
