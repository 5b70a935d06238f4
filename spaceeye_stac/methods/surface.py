"""The surface method: what the ground looks like on every day, without the haze, cloud and shadow of single dates.

The exact minimiser of SpaceEye's objective with a damping of its own for each group of bands, found from the looks
themselves; with weights of dates by their noise, couplings loosened where the land jumps, and looks that contradict
what is before and after them, as cloud or shadow would, taken out. Source: design of this package, measured on real
stacks and on simulated ones of which the surface is known; see README.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen import AsSeenRun
from spaceeye_stac.methods.base import CellLooks, Method, MethodRun, State, WorkingMemory
from spaceeye_stac.methods.solver import cached_rows
from spaceeye_stac.methods.surface_fit import SurfaceFit, learn_surface
from spaceeye_stac.methods.surface_rows import CONTEXT, SurfaceRows, surface_rows
from spaceeye_stac.methods.surface_widths import surface_widths
from spaceeye_stac.methods.uncertainty import Scales
from spaceeye_stac.settings import Settings

SUSPECT_WEIGHT = 0.25


class SurfaceRun:
    """The surface method on one window of one cell."""

    _fit: SurfaceFit
    _widths: Scales
    used_of_sample: Tensor

    def __init__(self, _settings: Settings, shape: tuple[int, int]) -> None:
        self._unit = cached_rows(shape[1])

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""
        values, clear, shape = _in_patches(few)
        self._fit, looks, last = learn_surface(values, clear, few.days, few.bands, shape)
        self._widths = surface_widths(looks, last, self._fit.scale)
        share = last.weights / self._fit.date_weights[:, None].clamp(min=1e-9)
        self.used_of_sample = _as_image(share >= SUSPECT_WEIGHT, few.patches, shape)

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        for _, state in self.made(strips):
            yield state

    def made(self, strips: Iterable[CellLooks]) -> Iterator[tuple[CellLooks, State]]:
        """Make the rows of a cell: its looks, and the state that they give."""
        known = _Known(self._unit)
        for strip in strips:
            known.add(strip)
            if known.ready > known.emitted:
                yield self._made(known, known.ready)
        if known.stop > known.emitted:
            yield self._made(known, known.stop)

    def widths(self) -> Scales:
        """See `MethodRun`."""
        return self._widths

    def _made(self, known: "_Known", stop: int) -> tuple[CellLooks, State]:
        looks, inner = known.take(stop)
        found = surface_rows(looks.values, looks.clear, looks.days, self._fit, inner)
        mine = replace(looks, values=looks.values[:, :, inner], clear=looks.clear[:, inner])
        return mine, _state(found, looks.days, self._fit)


class SurfaceAsSeenRun:
    """The surface, and on acquisition days the date's own look and light: see `as_seen`.

    Looks that the surface takes out are not seen on their days either.
    """

    def __init__(self, settings: Settings, shape: tuple[int, int]) -> None:
        self._surface, self._as_seen = SurfaceRun(settings, shape), AsSeenRun(settings, shape)

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""
        self._surface.learn(few)
        self._as_seen.learn(replace(few, clear=few.clear & self._surface.used_of_sample))

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        waiting: list[State] = []

        def used() -> Iterator[CellLooks]:
            for looks, state in self._surface.made(strips):
                waiting.append(state)
                yield replace(looks, clear=state.clear)

        for seen in self._as_seen.rows(used()):
            rows = seen.clear.shape[1]
            above = State.joined(waiting)
            waiting[:] = [above.part(slice(rows, None))]
            yield replace(above.part(slice(0, rows)), as_seen=seen.as_seen)

    def widths(self) -> Scales:
        """See `MethodRun`: of filled dates on acquisition days, of the surface on all others."""
        smooth, filled = self._surface.widths(), self._as_seen.widths()
        return replace(smooth, inner=filled.inner, outer=filled.outer)


def _started(settings: Settings, shape: tuple[int, int]) -> MethodRun:
    return SurfaceAsSeenRun(settings, shape) if settings.shows_looks else SurfaceRun(settings, shape)


@dataclass
class _Known:
    """Rows of a cell that have been seen and are needed yet: from `start` to `stop`, of which `emitted` are done."""

    unit: int
    start: int = 0
    stop: int = 0
    emitted: int = 0
    looks: CellLooks | None = None

    @property
    def context(self) -> int:
        """Rows around that a row depends on, in whole units, so that its bits do not depend on the strips."""
        return -(-CONTEXT // self.unit) * self.unit

    @property
    def ready(self) -> int:
        """Rows that can be made: all below them that they depend on are known."""
        return max(self.emitted, self.stop - self.context)

    def add(self, strip: CellLooks) -> None:
        """Take a further strip."""
        if self.looks is not None:
            above = self.looks
            values = torch.cat([above.values, strip.values], dim=-2)
            strip = replace(strip, values=values, clear=torch.cat([above.clear, strip.clear], dim=-2))
        self.looks = strip
        self.stop = self.start + strip.clear.shape[1]

    def take(self, stop: int) -> tuple[CellLooks, slice]:
        """Give all rows that are known, and which of them are to be made; forget those that none after needs."""
        looks = cast("CellLooks", self.looks)
        inner = slice(self.emitted - self.start, stop - self.start)
        first = max(0, stop - self.context)
        self.looks = replace(
            looks,
            values=looks.values[:, :, first - self.start :].clone(),
            clear=looks.clear[:, first - self.start :].clone(),
        )
        self.start, self.emitted = first, stop
        return looks, inner


def _in_patches(few: CellLooks) -> tuple[Tensor, Tensor, tuple[int, int, int]]:
    """Values `(band, time, pixel)`, clear `(time, pixel)`, patch by patch, and the patches' number, rows, columns."""
    (down, right), (height, width) = few.patches, few.clear.shape[1:]
    shape = down * right, height // down, width // right

    def cut(image: Tensor) -> Tensor:
        apart = image.view(*image.shape[:-2], down, shape[1], right, shape[2])
        return apart.transpose(-3, -2).reshape(*image.shape[:-2], -1)

    clear = cut(few.clear)
    return torch.where(clear, cut(few.values), 0.0), clear, shape


def _as_image(flat: Tensor, patches: tuple[int, int], shape: tuple[int, int, int]) -> Tensor:
    """Back from `(time, pixel)` patch by patch to `(time, y, x)` of the sample."""
    (down, right), (_, height, width) = patches, shape
    apart = flat.view(-1, down, right, height, width).transpose(2, 3)
    return apart.reshape(-1, down * height, right * width)


def _state(found: SurfaceRows, days: tuple[int, ...], fit: SurfaceFit) -> State:
    """What was made of some rows; looks that were taken out are not clear in it."""
    used = found.clear & (found.pixel_weights >= SUSPECT_WEIGHT)
    smooth = found.smooth.masked_fill_(~found.clear.any(0), torch.nan)
    return State(
        days,
        used,
        smooth,
        information=found.information,
        weights=found.weights,
        suspect=found.score,
        damping_factor=fit.scale.damping_factor,
    )


def _memory(settings: Settings) -> WorkingMemory:
    """Of the surface alone, and where its acquisition days are filled, too."""
    return WorkingMemory(15.0, 12.0, around=160) if settings.shows_looks else WorkingMemory(8.0, 12.0)


SURFACE = Method(
    "surface",
    _started,
    cell=384,
    halo=64,
    margin=32,
    strips=True,
    learns=True,
    shows=True,
    doubts=True,
    memory=_memory,
)
