"""Rows of a cell filled where a date is not clear: tile by tile and date by date, from what is seen around.

To what is expected of a date, and what the regression of its clear pixels adds, come a Gaussian process on what these
still deviate by, and local means of what remains after it. All that is added fades where nothing is seen near by.

Torch tensors in and out, no I/O.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_process import Conditioned, conditioned, coordinates, drawn
from spaceeye_stac.methods.as_seen_rows import TILE, ReadyRows

MARGIN = 12  # pixels around a tile whose looks it is conditioned on too
BESIDE = 8  # pixels from those to be filled of which a larger share is drawn
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
    inner = wide.part(rows)
    out, ever = torch.where(inner.clear, inner.values, 0.0), inner.clear.any(0)
    for t, clear in enumerate(wide.clear):
        empty = ever & ~clear[rows]
        if not bool(empty.any()):
            continue
        near = support(clear)[rows]
        for columns in place.tiles(clear.shape[1]):
            if bool(empty[:, columns].any()):
                tile = _Tile.of(wide, t, (rows, columns), place)
                where = empty[:, columns]
                added = tile.added(where).T.clamp_(-bound[t], bound[t]).T
                expected = inner.base[t][..., columns][:, where]
                out[:, t, :, columns][:, where] = expected + near[:, columns][where] * added
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
class _Tile:
    """One date in one tile and around it: `clear`, `trust`, `left` (what looks deviate by) and `added` of the window.

    `rows` and `columns` of the tile in the window, whose first pixel lies at `top` and `left` of the grid of tiles.
    """

    clear: Tensor
    use: Tensor
    remaining: Tensor
    regression: Tensor
    components: Tensor
    rows: slice
    columns: slice
    corner: tuple[int, int]

    @classmethod
    def of(cls, wide: ReadyRows, date: int, tile: tuple[slice, slice], place: Place) -> "_Tile":
        """Cut the window of a tile out of the rows."""
        height, width = wide.clear.shape[1:]
        around = [slice(max(0, s.start - MARGIN), min(n, s.stop + MARGIN)) for s, n in zip(tile, (height, width), strict=True)]
        window = wide.part(*around)
        clear, base, added = window.clear[date], window.base[date], window.added[date]
        known = torch.where(clear, window.values[:, date], 0.0)
        return cls(
            clear,
            window.trust[date] * clear,
            (known - base).sub_(added),
            added,
            window.components[date],
            *(slice(s.start - a.start, s.stop - a.start) for s, a in zip(tile, around, strict=True)),
            (place.top + around[0].start, place.left + around[1].start),
        )

    def added(self, empty: Tensor) -> Tensor:
        """What is to be added to what is expected of the pixels to be filled `(y, x)` of the tile: `(band, pixel)`."""
        hole = torch.zeros_like(self.clear)
        hole[self.rows, self.columns] = empty
        regression = self.regression[:, hole]
        if not bool((self.use > 0).any()):
            return regression
        beside = box_sums(hole[None].float(), 2 * BESIDE + 1)[0] > 0
        process = self._process(beside)
        touching = (box_sums(hole[None].float(), 2 * LOCAL_REACH + 1)[0] > 0) & (self.use > 0)
        wanted = (hole | touching).flatten()
        mean = process.at(self._coordinates(torch.nonzero(wanted).flatten()))
        image = torch.zeros_like(self.remaining)
        image.flatten(1)[:, wanted] = mean
        return regression + image[:, hole] + self._local(image, touching)[:, hole]

    def _process(self, beside: Tensor) -> Conditioned:
        at = drawn(self.use > 0, beside, self.corner)
        return conditioned(self._coordinates(at), self.remaining.flatten(1)[:, at], self.use.flatten()[at])

    def _coordinates(self, at: Tensor) -> Tensor:
        rows, columns = at // self.clear.shape[1], at % self.clear.shape[1]
        return coordinates(self.components.flatten(1)[:, at], rows, columns)

    def _local(self, mean: Tensor, touching: Tensor) -> Tensor:
        """Local means, coarse to fine, of what remains after the process on the looks that touch what is filled."""
        use = torch.where(touching, self.use, 0.0)
        layers = torch.cat([(self.remaining - mean).mul_(use), use[None]])
        out = torch.zeros_like(mean)
        for size in LOCAL_SIZES:
            sums = box_sums(layers, size)
            local = sums[:-1].div_(sums[-1] + LOCAL_PRIOR)
            out += local
            layers[:-1] -= local.mul_(use)
        return out
