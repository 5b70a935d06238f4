"""The guided method on the rows of a cell, strip by strip, once it is learnt."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from spaceeye_stac.methods.base import learning_steps
from spaceeye_stac.methods.guided_passes import (
    DETERMINED,
    EPSILON,
    GuidedFit,
    Predicted,
    date_transfer,
    learn_guided,
    leave_one_out,
    pixel_weights,
)
from spaceeye_stac.methods.solver import cached_strips

SCALES, LOCAL_PRIOR = (33, 15, 7, 3), 5.0
SUPPORT_BOX, SUPPORT_PIXELS = 65, 20.0
HALO = SUPPORT_BOX // 2


@dataclass(frozen=True)
class GuidedRows:
    """A cell, or a strip of one, on its acquisition days; every tensor float32 but the two of bool.

    `values` `(band, time, y, x)` and `clear` `(time, y, x)` as given. `smooth` and `loo` `(band, time, y, x)`: the
    minimiser, and what the other dates say; `date_term`: to be added to `loo` on that date; `transfer`: its regression
    part, not faded. `information` Q and `weights` `(time, y, x)`; `determined` `(time, y, x)` bool: other dates say
    something.
    """

    values: Tensor
    clear: Tensor
    smooth: Tensor
    loo: Tensor
    date_term: Tensor
    transfer: Tensor
    information: Tensor
    weights: Tensor
    determined: Tensor


def reconstruct(values: Tensor, clear: Tensor, days: Sequence[int], *, support: bool = True) -> GuidedRows:
    """Run the guided method on one cell.

    Parameters
    ----------
    values
        `(band, time, y, x)` float32 reflectance; what stands where not clear (NaN too) has no effect.
    clear
        `(time, y, x)` bool, True = usable.
    days
        `(time,)` strictly increasing whole days.
    support
        Fade the date term far from that date's clear pixels by n / (n + 20), n = clear pixels in a 65 x 65 box.

    Pixels never clear hold the cell's mean spectrum in `smooth`; the caller marks them. At the cell's edges boxes are
    cut. A date with nothing clear has no date term. Source: measured on real Sentinel-2 stacks; see README.

    """
    down, right = learning_steps((int(clear.shape[1]), int(clear.shape[2])))
    few = (..., slice(None, None, down), slice(None, None, right))
    learnt = learn_guided(values[few], clear[few], days, share=down * right)
    rolling = _RollingRows.of(values, clear)
    rolling.add(values, clear, learnt)
    return _finished(rolling.whole, slice(0, rolling.count), support=support)


def guided_strips(
    looks: Iterable[tuple[Tensor, Tensor]], learnt: GuidedFit, *, support: bool = True
) -> Iterator[GuidedRows]:
    """Make a cell from its strips of `(values, clear)`, from top to bottom; gives strips of other heights, all rows.

    Strips but the last are multiples of the cached rows (`solver.cached_rows`), none higher than the first. A row is
    emitted when the 32 below it are known. What is emitted is good until the next is asked for.
    """
    rolling: _RollingRows | None = None
    for values, clear in looks:
        if rolling is None:
            rolling = _RollingRows.of(values, clear)
        rolling.add(values, clear, learnt)
        ready = slice(rolling.emitted, rolling.count - HALO)
        if ready.stop > ready.start:
            rolling.emitted = ready.stop
            yield _finished(rolling.whole, ready, support=support)
    if rolling is not None and rolling.emitted < rolling.count:
        yield _finished(rolling.whole, slice(rolling.emitted, rolling.count), support=support)


@dataclass
class _RollingRows:
    """The last rows of a cell: `count` of them, of which the first `emitted` are done with; the rest is to come."""

    room: GuidedRows
    count: int = 0
    emitted: int = 0

    @classmethod
    def of(cls, values: Tensor, clear: Tensor) -> "_RollingRows":
        """Room for strips of this size and what is looked at above them."""
        bands, dates, height, width = values.shape
        image, mask = (bands, dates, 2 * HALO + height, width), (dates, 2 * HALO + height, width)
        smooth, loo, transfer = (torch.empty(image) for _ in range(3))
        information, weights = torch.empty(mask), torch.empty(mask)
        clear, determined = torch.empty(mask, dtype=torch.bool), torch.empty(mask, dtype=torch.bool)
        room = torch.empty(image), clear, smooth, loo, transfer, transfer, information, weights, determined
        return cls(GuidedRows(*room))

    @property
    def whole(self) -> GuidedRows:
        """All rows that are known."""
        return _rows(self.room, slice(0, self.count))

    def add(self, values: Tensor, clear: Tensor, learnt: GuidedFit) -> None:
        """Make a further strip, and forget the rows that no later one looks at."""
        top = max(0, self.emitted - HALO)
        for field in fields(self.room):
            if field.name != "transfer":  # the same room as `date_term`
                room = getattr(self.room, field.name)
                room[..., : self.count - top, :] = room[..., top : self.count, :].clone()
        self.emitted, self.count = self.emitted - top, self.count - top
        below = slice(self.count, self.count + values.shape[2])
        _pixelwise(values, clear, learnt, _rows(self.room, below))
        self.count = below.stop


def _rows(rolling: GuidedRows, rows: slice) -> GuidedRows:
    return GuidedRows(*(getattr(rolling, field.name)[..., rows, :] for field in fields(rolling)))


def _pixelwise(values: Tensor, clear: Tensor, learnt: GuidedFit, out: GuidedRows) -> None:
    """Put into `out` all that a pixel has from itself: every pass with the weights that were learnt."""
    out.values.copy_(values)
    out.clear.copy_(clear)
    width = values.shape[3]
    for rows in cached_strips(values.shape[2], width):
        bands, dates, height, _ = values[:, :, rows].shape
        flat = clear[:, rows].reshape(dates, -1)
        x = torch.where(flat, values[:, :, rows].reshape(bands, dates, -1), 0.0)
        one, w = _predict(x, flat.float(), learnt)
        made = {"loo": one.loo, "transfer": date_transfer(one, learnt.fit), "smooth": _smooth(x, one, w, learnt.mean)}
        made |= {"information": one.information, "weights": w, "determined": one.determined}
        for name, value in made.items():
            getattr(out, name)[..., rows, :] = value.view(*value.shape[:-1], height, width)


def _predict(x: Tensor, seen: Tensor, learnt: GuidedFit) -> tuple[Predicted, Tensor]:
    """Last pass of some pixels, and the weights it was made with."""
    w = seen
    for found in learnt.rounds:
        w = pixel_weights(x, seen, leave_one_out(x, w, learnt), found)[0] * found.date_weights[:, None]
    return leave_one_out(x, w, learnt), w


def _smooth(x: Tensor, one: Predicted, w: Tensor, mean: Tensor) -> Tensor:
    """Minimiser: the leave-one-out state and the date's own look, weighted by their information."""
    q = one.information * one.determined
    total = q + w
    state = torch.mul(one.loo, q).addcmul_(x, w).div_(total.clamp(min=EPSILON))
    unknown = total <= DETERMINED
    return torch.where(unknown, mean[:, None, None], state) if bool(unknown.any()) else state


def _finished(rolling: GuidedRows, rows: slice, *, support: bool) -> GuidedRows:
    """Some rows with their date term, for which up to 32 rows around them are looked at."""
    around = slice(max(0, rows.start - HALO), min(rolling.clear.shape[1], rows.stop + HALO))
    wide, out = _rows(rolling, around), _rows(rolling, rows)
    inner = slice(rows.start - around.start, rows.stop - around.start)
    term, box = out.transfer.clone(), _Box(len(wide.values) + 1, *wide.clear.shape[1:])
    for t, clear in enumerate(wide.clear):
        if bool(clear.any()):
            _add_local(term[:, t], wide, t, inner, box)
        if support:
            near = box.sums(clear[None].float(), SUPPORT_BOX)[:, inner]
            term[:, t] *= near / (near + SUPPORT_PIXELS)
    return replace(out, date_term=term)


def _add_local(term: Tensor, wide: GuidedRows, date: int, inner: slice, box: "_Box") -> None:
    """Add to the transfer `(band, y, x)` of one date the local means, coarse to fine, of what remains where clear."""
    q, bands = wide.information[date], len(wide.values)
    use = wide.clear[date] * wide.determined[date] * (q / (1 + q))
    # the last layer holds the weights: one box filter serves the weighted sum and its norm
    left = torch.empty(bands + 1, *use.shape)
    left[bands] = use
    known = torch.where(wide.clear[date], wide.values[:, date], 0.0)
    torch.sub(known, wide.loo[:, date], out=left[:bands]).sub_(wide.transfer[:, date]).mul_(use)
    for size in SCALES:
        sums = box.sums(left, size)
        mean = sums[:bands].div_(sums[bands] + LOCAL_PRIOR)
        term += mean[:, inner]
        if size != SCALES[-1]:
            left[:bands] -= mean.mul_(use)


class _Box:
    """Sums over a centred box of images of one size, zeros outside; the same bits however many rows are around."""

    def __init__(self, layers: int, height: int, width: int) -> None:
        highest = height + SUPPORT_BOX - 1
        self._running = torch.empty(layers, height, width)
        self._powers = torch.empty(layers, highest, width), torch.empty(layers, highest, width)
        self._out = torch.empty(layers, height, width)

    def sums(self, image: Tensor, size: int) -> Tensor:
        """Sums `(layer, y, x)` of an image, good until the next are asked for."""
        layers, height, width = image.shape
        half, rows = size // 2, self._powers[0][:layers, : height + size - 1]
        rows[:, :half] = rows[:, half + height :] = 0
        # along x every row is for itself, so that running sums will do
        total = torch.cumsum(image, 2, out=self._running[:layers])
        wide = rows[:, half : half + height]
        inside = max(0, width - half)
        wide[..., :inside] = total[..., width - inside :]
        wide[..., inside:] = total[..., -1:]
        wide[..., half + 1 :] -= total[..., : max(0, width - half - 1)]
        return self._down(rows, size, height)

    def _down(self, rows: Tensor, size: int, height: int) -> Tensor:
        """Sums of `size` consecutive rows, by sums of 1, 2, 4 ... rows, always added in the same order."""
        out, taken, bit = self._out[: len(rows)].zero_(), 0, 1
        power, free = rows, 1
        while bit <= size:
            if size & bit:
                out += power[:, taken : taken + height]
                taken += bit
            if 2 * bit <= size:
                longer = self._powers[free][: len(rows), : power.shape[1] - bit]
                power, free = torch.add(power[:, :-bit], power[:, bit:], out=longer), 1 - free
            bit *= 2
        return out
