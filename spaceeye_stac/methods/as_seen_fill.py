"""Rows of a cell filled where a date is not clear: tile by tile and date by date, from what is seen around.

To what is expected of a date, and what the regression of its clear pixels adds, come a Gaussian process on what these
still deviate by, and local means of what remains after it. All that is added fades where nothing is seen near by.

Torch tensors in and out, no I/O.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_process import Conditioned, conditioned, coordinates, drawn, shuffled
from spaceeye_stac.methods.as_seen_rows import TILE, ReadyRows

MARGIN = 12  # pixels around a tile whose looks it is conditioned on too
CANDIDATES = 1280  # looks among which those are sought that lie far apart
BESIDE, FARTHER = 8, 3.0  # so many times as many are drawn of the pixels so near to those to be filled
LOCAL_SIZES, LOCAL_PRIOR = (7, 3), 5.0
LOCAL_REACH = sum(size // 2 for size in LOCAL_SIZES)
SUPPORT_SIZE, SUPPORT_PIXELS = 65, 20.0


@dataclass(frozen=True)
class Place:
    """Where rows lie: `top` and `left` count the first row and column of the image from a border of tiles."""

    top: int
    left: int

    def tiles(self, width: int) -> list[slice]:
        """Columns of an image of that width by tiles."""
        borders = [0, *range(TILE - self.left % TILE, width, TILE), width]
        return [slice(a, b) for a, b in zip(borders[:-1], borders[1:], strict=True) if b > a]


def filled(wide: ReadyRows, rows: slice, place: Place, bound: Tensor) -> Tensor:
    """The images of some rows `(band, time, y, x)`: the look where clear, what is expected of it elsewhere.

    `wide`: those rows and what is looked at around them. `bound` `(time, band)`: what is added at most.
    """
    out = wide.part(rows).values.clone()
    empty = wide.clear.any(0) & ~wide.clear
    for t in torch.nonzero(empty[:, rows].any(2).any(1)).flatten().tolist():
        date = _Date.of(wide, t, empty[t], place)
        near = support(wide.clear[t])[rows]
        for columns in place.tiles(near.shape[1]):
            at = torch.nonzero(empty[t, rows, columns])
            if len(at):
                down, right = at[:, 0], at[:, 1] + columns.start
                expected, added = date.at((rows, columns), down + rows.start, right)
                added = torch.minimum(torch.maximum(added, -bound[t, :, None]), bound[t, :, None])
                out[:, t, down, right] = expected.addcmul_(added, near[down, right])
    return out


def support(clear: Tensor) -> Tensor:
    """Share `(y, x)` of what a date's clear pixels say that counts: n / (n + 20), n of them in a box of 65 pixels."""
    count = box_sums(clear[None].float(), SUPPORT_SIZE)[0]
    return count / (count + SUPPORT_PIXELS)


def box_sums(image: Tensor, size: int) -> Tensor:
    """Sums over a centred box of an image `(layer, y, x)`, zeros outside."""
    for axis in (1, 2):
        image = _along(image, size, axis)
    return image


def _along(image: Tensor, size: int, axis: int) -> Tensor:
    half, count = size // 2, image.shape[axis]
    total = torch.cumsum(image, axis)
    upper = torch.arange(half, count + half).clamp(max=count - 1)
    out = total.index_select(axis, upper)
    if count > half + 1:
        out.narrow(axis, half + 1, count - half - 1).sub_(total.narrow(axis, 0, count - half - 1))
    return out


@dataclass(frozen=True)
class _Date:
    """Rows of one date: what is to be filled or `beside` it, and the looks that are `touching` it for the local means."""

    ready: ReadyRows
    date: int
    use: Tensor
    empty: Tensor
    beside: Tensor
    touching: Tensor
    place: Place

    @classmethod
    def of(cls, wide: ReadyRows, date: int, empty: Tensor, place: Place) -> "_Date":
        """Find them in the rows around those to be filled."""
        use = wide.trust[date] * wide.clear[date]
        near = (box_sums(empty[None].float(), 2 * reach + 1)[0] > 0 for reach in (BESIDE, LOCAL_REACH))
        beside, touching = near
        return cls(wide, date, use, empty, beside, touching & (use > 0), place)

    def at(self, tile: tuple[slice, slice], rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """What is expected of pixels of a tile, and what is to be added to it, `(band, pixel)`."""
        expected, added, components = self._made(rows, columns)
        process = self._process(self._window(tile, MARGIN))
        added = added + process.at(coordinates(components, rows, columns))
        patch = self._window(tile, LOCAL_REACH)
        touching = torch.nonzero(self.touching[patch])
        if len(touching):
            local = self._local(patch, touching, process)
            added += local[:, rows - patch[0].start, columns - patch[1].start]
        return expected, added

    def _made(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """What is expected, what is added to it and the components of some pixels."""
        bands = len(self.ready.values)
        found = self.ready.made[self.date][:, rows, columns]
        return found[:bands], found[bands : 2 * bands], found[2 * bands :]

    def _window(self, tile: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
        """A tile and some pixels around it, as far as there are any."""
        down, right = (
            slice(max(0, one.start - margin), min(count, one.stop + margin))
            for one, count in zip(tile, self.use.shape, strict=True)
        )
        return down, right

    def _remaining(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """What looks deviate by from what is made of them, `(band, pixel)`, and their points of the process."""
        expected, added, components = self._made(rows, columns)
        seen = self.ready.values[:, self.date][:, rows, columns]
        return seen.sub_(expected).sub_(added), coordinates(components, rows, columns)

    def _process(self, window: tuple[slice, slice]) -> Conditioned:
        """The process given some of the looks of a window, those beside what is to be filled first."""
        use, top = self.use[window], (self.place.top + window[0].start, self.place.left + window[1].start)
        order = shuffled(use.shape, top)
        order = torch.where(self.beside[window], order, order * FARTHER)
        order = torch.where(use > 0, order, torch.inf).flatten()
        known = order.topk(min(CANDIDATES, int((use > 0).sum())), largest=False).indices
        rows, columns = known // use.shape[1] + window[0].start, known % use.shape[1] + window[1].start
        left, points = self._remaining(rows, columns)
        at = drawn(points)
        return conditioned(points[:, at], left[:, at], self.use[rows[at], columns[at]])

    def _local(self, patch: tuple[slice, slice], touching: Tensor, process: Conditioned) -> Tensor:
        """Local means, coarse to fine, of what remains after the process on the looks that touch what is filled."""
        rows, columns = touching[:, 0] + patch[0].start, touching[:, 1] + patch[1].start
        left, points = self._remaining(rows, columns)
        use, place = self.use[rows, columns], (touching[:, 0], touching[:, 1])
        layers = torch.zeros(len(left) + 1, *self.use[patch].shape)
        layers[:-1, place[0], place[1]] = left.sub_(process.at(points)).mul_(use)
        layers[-1, place[0], place[1]] = use
        out = torch.zeros_like(layers[:-1])
        for size in LOCAL_SIZES:
            sums = box_sums(layers, size)
            local = sums[:-1].div_(sums[-1] + LOCAL_PRIOR)
            out += local
            if size != LOCAL_SIZES[-1]:
                layers[:-1] -= local.mul_(layers[-1])
        return out
