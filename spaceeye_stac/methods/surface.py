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

from spaceeye_stac.methods.base import CellLooks, Method, State
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

    def __init__(self, _settings: Settings, shape: tuple[int, int]) -> None:
        self._unit = cached_rows(shape[1])

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""
        values, clear, shape = _in_patches(few)
        self._fit, looks, last = learn_surface(values, clear, few.days, few.bands, shape)
        self._widths = surface_widths(looks, last, self._fit.scale)

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        known = _Known(self._unit)
        for strip in strips:
            known.add(strip)
            if known.ready > known.emitted:
                yield self._state(known, known.ready)
        if known.stop > known.emitted:
            yield self._state(known, known.stop)

    def widths(self) -> Scales:
        """See `MethodRun`."""
        return self._widths

    def _state(self, known: "_Known", stop: int) -> State:
        looks, inner = known.take(stop)
        found = surface_rows(looks.values, looks.clear, looks.days, self._fit, inner)
        return _state(found, looks.days, self._fit)


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


SURFACE = Method("surface", SurfaceRun, cell=384, halo=64, margin=32, strips=True, learns=True, patches=True)
