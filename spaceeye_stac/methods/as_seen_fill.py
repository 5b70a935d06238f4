"""Rows of a cell filled where a date is not clear: tile by tile and date by date, from what is seen around.

To what is expected of a date, and what the regression of its clear pixels adds, come a Gaussian process on what these
still deviate by, and local means of what remains after it. All that is added fades where nothing is seen near by.

Torch tensors in and out, no I/O.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_process import POINTS, Conditioned, conditioned, coordinates, drawn, shuffled
from spaceeye_stac.methods.as_seen_rows import Made, ReadyRows, tiles_of

MARGIN = 12  # pixels around a tile whose looks it is conditioned on too
CANDIDATES = 1280  # looks among which those are sought that lie far apart
FEW_POINTS = 64  # of the process where one pixel is to be filled; one more for each
BESIDE, FARTHER = 8, 3.0  # so many times as many are drawn of the pixels so near to those to be filled
LOCAL_SIZES, LOCAL_PRIOR = (7, 3), 5.0
LOCAL_REACH = sum(size // 2 for size in LOCAL_SIZES)
SUPPORT_SIZE, SUPPORT_PIXELS = 65, 20.0


@dataclass(frozen=True)
class Corner:
    """Where rows lie: `top` and `left` count the first row and column of the image from a border of tiles."""

    top: int
    left: int


def filled(wide: ReadyRows, rows: slice, corner: Corner, bound: Tensor) -> Tensor:
    """The images of some rows `(band, time, y, x)`: the look where clear, what is expected of it elsewhere.

    `wide`: those rows and what is looked at around them. `bound` `(time, band)`: what is added at most.
    """
    out = Made.of(wide.made[:, rows]).look.clone()
    empty = wide.clear.any(0) & ~wide.clear
    for t in torch.nonzero(empty[:, rows].any(2).any(1)).flatten().tolist():
        date = _Date.of(wide, t, empty[t], corner)
        near = support(wide.clear[t])[rows]
        for columns in tiles_of(near.shape[1], corner.left):
            at = torch.nonzero(empty[t, rows, columns])
            if len(at):
                down, right = at[:, 0], at[:, 1] + columns.start
                expected, added = date.at((rows, columns), down + rows.start, right)
                added = torch.minimum(torch.maximum(added, -bound[t]), bound[t])
                out[t, down, right] = expected.addcmul_(added, near[down, right][:, None])
    return out.permute(3, 0, 1, 2)


def support(clear: Tensor) -> Tensor:
    """Share `(y, x)` of what a date's clear pixels say that counts: n / (n + 20), n of them in a box of 65 pixels."""
    count = box_sums(clear.float(), SUPPORT_SIZE)
    return count / (count + SUPPORT_PIXELS)


def box_sums(image: Tensor, size: int) -> Tensor:
    """Sums over a centred box of an image `(y, x, ...)`, zeros outside."""
    for axis in (0, 1):
        half, shape = size // 2, list(image.shape)
        shape[axis] += 2 * half
        wide = torch.zeros(shape)
        wide.narrow(axis, half, image.shape[axis]).copy_(image)
        image = _consecutive(wide, size, axis)
    return image


def _consecutive(image: Tensor, size: int, axis: int) -> Tensor:
    """Sums of `size` consecutive values along an axis, by sums of 1, 2, 4 ... of them."""
    count = image.shape[axis] - size + 1
    power, taken, bit = image, 0, 1
    shape = list(image.shape)
    shape[axis] = count
    out = torch.zeros(shape)
    while bit <= size:
        if size & bit:
            out += power.narrow(axis, taken, count)
            taken += bit
        if 2 * bit <= size:
            length = power.shape[axis] - bit
            power = power.narrow(axis, 0, length) + power.narrow(axis, bit, length)
        bit *= 2
    return out


@dataclass(frozen=True)
class _Date:
    """Rows of one date: what is `empty`, what is `beside` that, and the looks `touching` it that local means are of."""

    ready: ReadyRows
    date: int
    use: Tensor
    empty: Tensor
    beside: Tensor
    touching: Tensor
    corner: Corner

    @classmethod
    def of(cls, wide: ReadyRows, date: int, empty: Tensor, corner: Corner) -> "_Date":
        """Find them in the rows around those to be filled."""
        use = wide.trust[date] * wide.clear[date]
        near = (box_sums(empty.float(), 2 * reach + 1) > 0 for reach in (BESIDE, LOCAL_REACH))
        beside, touching = near
        return cls(wide, date, use, empty, beside, touching & (use > 0), corner)

    def at(self, tile: tuple[slice, slice], rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """What is expected of pixels of a tile, and what is to be added to it, `(pixel, band)`."""
        made, points = self._made(rows, columns)
        process = self._process(self._window(tile, MARGIN), min(POINTS, FEW_POINTS + len(rows)))
        added = process.at(points).add_(made.added)
        patch = self._window(tile, LOCAL_REACH)
        touching = torch.nonzero(self.touching[patch])
        if len(touching):
            added += self._local(patch, touching, process)[rows - patch[0].start, columns - patch[1].start]
        return made.expected, added

    def _made(self, rows: Tensor, columns: Tensor) -> tuple[Made, Tensor]:
        """What was made of some pixels, and their points of the process."""
        width = self.use.shape[1]
        made = Made.of(self.ready.made[self.date].flatten(0, 1).index_select(0, rows * width + columns))
        return made, coordinates(made.components, rows + self.corner.top, columns + self.corner.left)

    def _window(self, tile: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
        """A tile and some pixels around it, as far as there are any."""
        down, right = (
            slice(max(0, one.start - margin), min(count, one.stop + margin))
            for one, count in zip(tile, self.use.shape, strict=True)
        )
        return down, right

    def _process(self, window: tuple[slice, slice], most: int) -> Conditioned:
        """The process given so many looks of a window at most, those beside what is to be filled first."""
        use, top = self.use[window], (self.corner.top + window[0].start, self.corner.left + window[1].start)
        seen = torch.nonzero(use.flatten() > 0).flatten()
        order = shuffled(use.shape, top)
        order = torch.where(self.beside[window], order, order * FARTHER).flatten()[seen]
        seen = seen[order.topk(min(CANDIDATES, len(seen)), largest=False).indices]
        rows, columns = seen // use.shape[1] + window[0].start, seen % use.shape[1] + window[1].start
        made, points = self._made(rows, columns)
        at = drawn(points, most)
        left = (made.look - made.expected).sub_(made.added)
        return conditioned(points[at], left[at], self.use[rows[at], columns[at]])

    def _local(self, patch: tuple[slice, slice], touching: Tensor, process: Conditioned) -> Tensor:
        """Local means `(y, x, band)`, coarse to fine, of what remains after the process on the looks that touch."""
        rows, columns = touching[:, 0] + patch[0].start, touching[:, 1] + patch[1].start
        made, points = self._made(rows, columns)
        left = (made.look - made.expected).sub_(made.added).sub_(process.at(points))
        use = self.use[rows, columns][:, None]
        layers = torch.zeros(*self.use[patch].shape, left.shape[1] + 1)
        layers[touching[:, 0], touching[:, 1]] = torch.cat([left * use, use], dim=1)
        out = torch.zeros_like(layers[..., :-1])
        for size in LOCAL_SIZES:
            sums = box_sums(layers, size)
            local = sums[..., :-1].div_(sums[..., -1:] + LOCAL_PRIOR)
            out += local
            if size != LOCAL_SIZES[-1]:
                layers[..., :-1] -= local.mul_(layers[..., -1:])
        return out
