"""One cell: DN and labels to observations, observations to keyframes, strip by strip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.keyframes import KeyframeRows, WindowFacts, WindowKeyframes
from spaceeye_stac.methods import (
    DOUBTED_SCORE,
    CellLooks,
    MethodRun,
    Places,
    Scales,
    State,
    cached_rows,
    method_of,
)
from spaceeye_stac.model import Block, Cell, GridJob, Illuminance, LookFlag, Window
from spaceeye_stac.pixels import Observations, PixelSource, ScenePixels, no_looks, observe, snow_and_water


@dataclass(frozen=True)
class Stretch:
    """Windows, by index, that use the same acquisitions and so have the same state, which is solved once.

    `job`: with these acquisitions alone; `scenes` and `acquisitions`: where they stand among all. `read`: the days of
    the first window.
    """

    windows: tuple[int, ...]
    job: GridJob
    scenes: tuple[int, ...]
    acquisitions: tuple[int, ...]
    read: range


def stretches(job: GridJob, illuminance: Illuminance) -> list[Stretch]:
    """All windows of a job, in order."""
    found: list[Stretch] = []
    for w, window in enumerate(job.windows):
        one = _stretch(job, illuminance, w, window)
        same = found and found[-1].acquisitions == one.acquisitions and not method_of(job.settings).every_day
        if same:
            found[-1] = replace(found[-1], windows=(*found[-1].windows, w))
        else:
            found.append(one)
    return found


def _stretch(job: GridJob, illuminance: Illuminance, index: int, window: Window) -> Stretch:
    inside = [n for n, day in enumerate(job.acquisition_days) if illuminance.used[n] and day in window.read]
    starts = np.cumsum([0, *(len(acquisition.scenes) for acquisition in job.acquisitions)])
    scenes = tuple(int(i) for n in inside for i in range(starts[n], starts[n + 1]))
    part = replace(job, acquisitions=tuple(job.acquisitions[n] for n in inside))
    return Stretch((index,), part, scenes, tuple(inside), window.read)


STRIP_ROWS = 128
FEW_LOOKS = 3  # with fewer, no look can be told from those around it


def strips_of(job: GridJob, view: Block, rows: int) -> list[slice]:
    """Rows of the view that are worked on at once: about so many, and all of them where a method needs them."""
    height, width = view.shape
    if not method_of(job.settings).strips:
        return [slice(0, height)]
    whole = cached_rows(width)
    step = max(1, rows // whole) * whole
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


@dataclass(frozen=True)
class CellSolve:
    """A stretch of one cell on its way from pixels to keyframes, about so many `rows` of its view at once.

    Windows keep images on the days that give any written day exactly by a linear blend of two: their acquisition days
    inside the write interval, and that interval's first and last day.
    """

    source: PixelSource
    illuminance: Illuminance
    job: GridJob
    cell: Cell
    stretch: Stretch
    rows: int = STRIP_ROWS

    def __iter__(self) -> Iterator[list[KeyframeRows]]:
        """Give some rows of every window of the stretch, from top to bottom; `facts` are known afterwards."""
        top = 0
        for state in self._states():
            rows = slice(top, top + state.clear.shape[1])
            flags = _look_flags(state, self._ground_of(state.clear.shape))
            yield [self._at_knots(state, self.job.windows[w], rows, flags) for w in self.stretch.windows]
            top = rows.stop

    def facts(self) -> list[WindowFacts]:
        """Give what each window keeps but the images."""
        widths = self._run.widths() if self._days else None
        return [self._facts(self.job.windows[w], widths) for w in self.stretch.windows]

    def whole(self) -> list[WindowKeyframes]:
        """Make everything of every window."""
        parts: list[dict[str, NDArray]] = [{} for _ in self.stretch.windows]  # type: ignore[type-arg]
        for strips in self:
            for part, strip in zip(parts, strips, strict=True):
                _put(part, strip, self.cell)
        return [WindowKeyframes(facts, **part) for facts, part in zip(self.facts(), parts, strict=True)]

    @cached_property
    def _days(self) -> tuple[int, ...]:
        return self.stretch.job.acquisition_days

    @cached_property
    def _run(self) -> MethodRun:
        return method_of(self.job.settings).start(self.job.settings, self.cell.view.shape)

    @cached_property
    def _looks(self) -> NDArray[np.int64]:
        return no_looks(self.job)

    @cached_property
    def _ground(self) -> list[NDArray[np.uint8]]:
        """Flags of snow and water `(time, y, x)` of rows of which the state is not made yet, from top to bottom."""
        return []

    def _ground_of(self, shape: Sequence[int]) -> NDArray[np.uint8]:
        """The flags of the next rows, of that shape `(time, y, x)`."""
        if not self._days:
            return np.zeros(tuple(shape), np.uint8)
        known = _above_each_other(self._ground)
        self._ground[:] = [known[:, shape[1] :]]
        return known[:, : shape[1]]

    def _states(self) -> Iterator[State]:
        """Solve the strips; where there is no look, all is unknown."""
        strips = strips_of(self.job, self.cell.view, self.rows)
        if not self._days:
            for rows in strips:
                yield self._unknown(rows)
            return
        if method_of(self.job.settings).learns:
            places = Places.of(self.cell.view.shape)
            few = [self._observed(rows, picked) for rows in strips if len((picked := places.among(rows)).rows)]
            self._run.learn(replace(self._cell_looks(*few), patches=places.patches))
        yield from self._run.rows(self._counted(rows) for rows in strips)

    def _unknown(self, rows: slice) -> State:
        shape = 1, rows.stop - rows.start, self.cell.view.shape[1]
        nothing = torch.full((len(self.job.bands), *shape), torch.nan)
        return State((self.stretch.read.start,), torch.zeros(shape, dtype=torch.bool)[:0], nothing)

    def _block(self, rows: slice) -> Block:
        """Rows of the cell's view on the grid."""
        view = self.cell.view
        return Block(slice(view.y.start + rows.start, view.y.start + rows.stop), view.x)

    def _observed(self, rows: slice, places: Places) -> Observations:
        """What the acquisitions saw of some places in some rows of the view."""
        pixels, part = self._read(rows)
        return self._normalised(observe(pixels, self.stretch.job, part, (places.rows[:, None], places.columns)))

    def _read(self, rows: slice) -> tuple[ScenePixels, GeoBox]:
        """Pixels of some rows of the view, and where they lie."""
        block = self._block(rows)
        return self.source.pixels(self.stretch.scenes, block), self.stretch.job.grid.part(block)

    def _normalised(self, seen: Observations) -> Observations:
        """Over the illuminance where the method asks for it."""
        if method_of(self.job.settings).normalised:
            bright = self.illuminance.values[:, np.asarray(self._days) - self.illuminance.first, None, None]
            np.divide(seen.values, bright, out=seen.values)
        return seen

    def _counted(self, rows: slice) -> CellLooks:
        """Rows of the view to be solved, of which the looks are counted and snow and water remembered."""
        pixels, part = self._read(rows)
        seen = self._normalised(observe(pixels, self.stretch.job, part))
        self._looks[list(self.stretch.scenes)] += seen.looks
        self._ground.append(snow_and_water(pixels, self.stretch.job, part))
        return self._cell_looks(seen)

    def _cell_looks(self, *parts: Observations) -> CellLooks:
        """What was seen of one part, or of several above each other."""
        carried = self.illuminance.carried
        return CellLooks(
            torch.from_numpy(_above_each_other([seen.values for seen in parts])),
            torch.from_numpy(_above_each_other([seen.clear for seen in parts])),
            self._days,
            self.stretch.read,
            None if carried is None else torch.from_numpy(carried[:, list(self.stretch.acquisitions)]),
            self.job.bands,
            origin=_origin(self.cell),
        )

    def _at_knots(self, state: State, window: Window, rows: slice, flags: NDArray[np.uint8]) -> KeyframeRows:
        """Cut rows of the view to the cell's reach and carry them to the window's knots; `flags` are of the looks."""
        at, (down, right) = _shared(rows, self.cell.reach, self.cell.view)
        knots = self._knots(window)
        images = np.stack([state.at(day)[:, down, right].numpy() for day in knots])
        spread = None
        if state.information is not None:
            spread = np.stack([np.asarray(state.spread(day))[down, right] for day in knots])
        core, inner = _shared(rows, self.cell.core, self.cell.view)
        return KeyframeRows(at, images, _as_seen(state, knots, (down, right)), spread, core, flags[:, *inner])

    def _knots(self, window: Window) -> tuple[int, ...]:
        return window.knots(window.read if method_of(self.job.settings).every_day else self._days)

    def _facts(self, window: Window, widths: Scales | None) -> WindowFacts:
        knots = self._knots(window)
        if widths is None:
            return WindowFacts(window, knots, self._days, self._looks)
        bright = {day: torch.from_numpy(self.illuminance.at(day)) for day in {*self._days, *knots}}
        unseen = torch.stack([widths.inner_unseen * bright[day] for day in knots]).amax(0)
        inner = {day: widths.inner[:, n] for n, day in enumerate(self._days)}
        noise = torch.stack([inner[day] * bright[day] if day in inner else unseen for day in knots])
        return WindowFacts(window, knots, self._days, self._looks, noise.numpy(), unseen.numpy(), widths.damping_factor)


def _look_flags(state: State, ground: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is kept of each look `(time, y, x)`, see `LookFlag`; `ground`: its snow and water."""
    used = state.clear.numpy()
    flags = ground | used.view(np.uint8)  # USED is 1
    flags |= np.where(used.sum(0) < FEW_LOOKS, np.uint8(LookFlag.FEW), np.uint8(0))
    if state.suspect is not None:
        doubted = state.suspect.numpy() > DOUBTED_SCORE
        flags |= np.where(used, np.uint8(LookFlag.DOUBTED), np.uint8(LookFlag.SUSPECT)) * doubted
    return flags


def _origin(cell: Cell) -> tuple[int, int]:
    """Row and column of the view's first pixel, counted from a border of cells."""
    of_view, of_core = (cell.view.y, cell.view.x), (cell.core.y, cell.core.x)
    # the first core may begin inside its cell, at the grid's edge, but ends with it
    borders = [core.start if index else core.stop for core, index in zip(of_core, cell.index, strict=True)]
    down, right = (view.start - border for view, border in zip(of_view, borders, strict=True))
    return down, right


def _above_each_other(parts: Sequence[NDArray]) -> NDArray:  # type: ignore[type-arg]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)


def _shared(rows: slice, part: Block, view: Block) -> tuple[slice, tuple[slice, slice]]:
    """Rows of a part that are among `rows` of the view; and the same, and the part's columns, counted in `rows`."""
    down, right = part.within(view)
    start, stop = max(rows.start, down.start), min(rows.stop, down.stop)
    stop = max(start, stop)
    return slice(start - down.start, stop - down.start), (slice(start - rows.start, stop - rows.start), right)


def _as_seen(state: State, knots: Sequence[int], place: tuple[slice, slice]) -> NDArray[np.float32] | None:
    """Images of acquisition days at the knots, NaN at the others; None where the method has none."""
    if state.as_seen is None:
        return None
    found = [state.as_seen[:, state.days.index(day), *place] if day in state.days else None for day in knots]
    nothing = torch.full_like(state.smooth[:, 0, *place], torch.nan)
    return np.stack([(nothing if image is None else image).numpy() for image in found])


def _put(whole: dict[str, NDArray], strip: KeyframeRows, cell: Cell) -> None:  # type: ignore[type-arg]
    """Put rows into arrays of the whole cell, which are made with the first."""
    for name, rows, part in (
        ("images", strip.rows, cell.reach),
        ("as_seen", strip.rows, cell.reach),
        ("spread", strip.rows, cell.reach),
        ("look_flags", strip.core_rows, cell.core),
    ):
        values = getattr(strip, name)
        if values is not None:
            if name not in whole:
                whole[name] = np.empty((*values.shape[:-2], *part.shape), values.dtype)
            whole[name][..., rows, :] = values
