"""Rows of a cell made ready pixel by pixel, and kept while those around them are filled.

Rows come in strips of any height and are made in bands of fixed ones, so that no bit depends on the strips.

Torch tensors in and out, no I/O.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

from spaceeye_stac.methods.as_seen_states import expected, looks_weights
from spaceeye_stac.methods.as_seen_terms import COMPONENTS, DateTerms, linear
from spaceeye_stac.methods.base import CellLooks
from spaceeye_stac.methods.solver import cached_strips

TILE = 64
HALO = 32


@dataclass(frozen=True)
class ReadyRows:
    """Rows on the acquisition days, float32 but for `clear`.

    `made` `(time, y, x, output)`, which `Made` takes apart. `smooth` `(band, time, y, x)`. `trust` (0 where no other
    date says anything), `information` and `weights` `(time, y, x)`.
    """

    made: Tensor
    clear: Tensor
    smooth: Tensor
    trust: Tensor
    information: Tensor
    weights: Tensor

    @classmethod
    def empty(cls, bands: int, dates: int, shape: tuple[int, int]) -> "ReadyRows":
        """Room for so many rows and columns."""
        mask = (dates, *shape)
        made, clear = torch.empty(*mask, 3 * bands + COMPONENTS), torch.empty(mask, dtype=torch.bool)
        return cls(made, clear, torch.empty(bands, *mask), *(torch.empty(mask) for _ in range(3)))

    def part(self, rows: slice) -> "ReadyRows":
        """Some rows of it, in the same memory."""
        others = (getattr(self, field.name)[..., rows, :] for field in fields(self)[1:])
        return ReadyRows(self.made[:, rows], *others)

    def copy_(self, other: "ReadyRows") -> None:
        """Take over what other rows hold."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


@dataclass(frozen=True)
class Made:
    """What was made of pixels, each `(..., band)`: what is expected, what the date's clear pixels say to add, the look.

    `components` `(..., component)` are those of the process.
    """

    expected: Tensor
    added: Tensor
    components: Tensor
    look: Tensor

    @classmethod
    def of(cls, made: Tensor) -> "Made":
        """Take outputs `(..., output)` apart, in the same memory."""
        bands = (made.shape[-1] - COMPONENTS) // 3
        return cls(*torch.split(made, [bands, bands, COMPONENTS, bands], dim=-1))


def tiles_of(length: int, start: int) -> list[slice]:
    """Pixels along an axis by tiles; `start`: the first of them, counted from a border of tiles."""
    borders = [0, *range(TILE - start % TILE, length, TILE), length]
    return [slice(first, stop) for first, stop in pairwise(borders) if stop > first]


def by_bands(strips: Iterable[CellLooks], height: int) -> Iterator[CellLooks]:
    """Looks of a cell of that height cut anew into the rows of its tiles."""
    held: list[CellLooks] = []
    borders: list[slice] | None = None
    done = count = 0
    for strip in strips:
        borders = borders or tiles_of(height, strip.origin[0])
        held.append(strip)
        count += strip.clear.shape[1]
        while done < len(borders) and borders[done].stop <= count:
            rows = borders[done].stop - borders[done].start
            band, held = _taken(held, rows)
            yield band
            done += 1


def _taken(held: list[CellLooks], rows: int) -> tuple[CellLooks, list[CellLooks]]:
    """The first rows of looks above each other, and what is left of them."""
    taken: list[CellLooks] = []
    while rows:
        first, *rest = held
        height = first.clear.shape[1]
        taken.append(_rows_of(first, slice(0, min(rows, height))))
        held = [_rows_of(first, slice(rows, height)), *rest] if height > rows else rest
        rows -= min(rows, height)
    if len(taken) == 1:
        return taken[0], held
    values, clear = torch.cat([one.values for one in taken], 2), torch.cat([one.clear for one in taken], 1)
    return replace(taken[0], values=values, clear=clear), held


def _rows_of(looks: CellLooks, rows: slice) -> CellLooks:
    return replace(looks, values=looks.values[:, :, rows], clear=looks.clear[:, rows])


@dataclass
class RollingRows:
    """The last rows of a cell of that `height` that were made ready: `count` of them from row `first`.

    The lowest lacks the shift of its image until the row below it is known.
    """

    room: ReadyRows
    terms: DateTerms
    height: int
    first: int = 0
    count: int = 0

    @classmethod
    def of(cls, looks: CellLooks, terms: DateTerms, height: int) -> "RollingRows":
        """Room for rows of tiles of this width, and those that are looked at around them."""
        bands, dates, _, width = looks.values.shape
        return cls(ReadyRows.empty(bands, dates, (2 * HALO + 2 * TILE, width)), terms, height)

    @property
    def stop(self) -> int:
        """Row of the cell below those that are ready."""
        return self.first + self.count

    def complete(self, rows: slice) -> bool:
        """Whether all is known that is looked at around rows of the cell."""
        return self.stop == self.height or rows.stop + HALO < self.stop

    def around(self, rows: slice) -> tuple[ReadyRows, slice]:
        """Rows of the cell with the halo above and below, and where among these they are."""
        start, stop = max(0, rows.start - HALO), min(self.height, rows.stop + HALO)
        wide = self.room.part(slice(start - self.first, stop - self.first))
        return wide, slice(rows.start - start, rows.stop - start)

    def add(self, looks: CellLooks, needed: slice) -> None:
        """Make further rows ready, and forget those that the rows still `needed`, and all below, do not look at."""
        self._forget(needed.start - HALO)
        rows = slice(self.count, self.count + looks.clear.shape[1])
        _make_ready(looks, self.terms, self.room.part(rows))
        self.count = rows.stop
        self._shift(rows)

    def _forget(self, above: int) -> None:
        gone = above - self.first
        if gone > 0:
            left = self.count - gone
            for top in range(0, left, gone):  # no row is written over before it has moved
                stop = min(top + gone, left)
                self.room.part(slice(top, stop)).copy_(self.room.part(slice(top + gone, stop + gone)))
            self.first, self.count = above, left

    def _shift(self, rows: slice) -> None:
        """Add the shift to rows of which those above and below are ready: all but the last, and the one before them."""
        start, stop = max(0, rows.start - 1), rows.stop - (self.stop < self.height)
        for t, (down, right) in enumerate(self.terms.shift.tolist()):
            if down or right:
                made = Made.of(self.room.made[t, : self.count])
                _add_differences(made.added, made.expected, (start, stop), down)
                added, image = (one[start:stop].transpose(0, 1) for one in (made.added, made.expected))
                _add_differences(added, image, (0, len(image)), right)


def _add_differences(out: Tensor, image: Tensor, rows: tuple[int, int], share: float) -> None:
    """Add to some rows of `out` a share of the central differences of an image, one-sided at its first and last row."""
    start, stop = rows
    last = len(image) - 1
    if not last:
        return
    for row, before in ((0, 0), (last, last - 1)):
        if start <= row < stop:
            out[row] += share * (image[before + 1] - image[before])
    start, stop = max(start, 1), min(stop, last)
    if stop > start:
        out[start:stop].add_(image[start + 1 : stop + 1], alpha=share / 2)
        out[start:stop].sub_(image[start - 1 : stop - 1], alpha=share / 2)


def _make_ready(looks: CellLooks, terms: DateTerms, out: ReadyRows) -> None:
    """Put into `out` all that a pixel has from itself."""
    out.clear.copy_(looks.clear)
    bands, dates, height, width = looks.values.shape
    for rows in cached_strips(height, width):
        clear = looks.clear[:, rows].reshape(dates, -1)
        x = torch.where(clear, looks.values[:, :, rows].reshape(bands, dates, -1), 0.0)
        w = looks_weights(x, clear.float(), terms.basis, terms.weighting)
        known = expected(x, w, terms.basis, terms.blend)
        made = out.made[:, rows].view(dates, -1, out.made.shape[-1])
        made[..., -bands:] = x.permute(1, 2, 0)
        linear(known, terms.maps, made[..., :-bands])
        trust = known.trust * known.determined
        of_pixels = {"smooth": known.smooth, "trust": trust, "information": known.information, "weights": w}
        for name, value in of_pixels.items():
            room = getattr(out, name)[..., rows, :]
            room.copy_(value.view(room.shape))
