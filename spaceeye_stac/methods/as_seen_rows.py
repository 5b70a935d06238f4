"""Rows of a cell made ready pixel by pixel, and kept while those around them are filled.

Rows come in strips of any height and are made in bands of fixed ones, so that no bit depends on the strips.

Torch tensors in and out, no I/O.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

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

    `made` `(time, y, x, output)`, which `Made` takes apart. `smooth` `(band, time, y, x)`. `trust` (0 where no other date
    says anything), `information` and `weights` `(time, y, x)`.
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

    def clone(self) -> "ReadyRows":
        """Give a copy of it."""
        return ReadyRows(*(getattr(self, field.name).clone() for field in fields(self)))


@dataclass(frozen=True)
class Made:
    """What was made of pixels, each `(..., band)`: what is `expected`, what the date's clear pixels say to add, the look.

    `components` `(..., component)`.
    """

    expected: Tensor
    added: Tensor
    components: Tensor
    look: Tensor

    @classmethod
    def of(cls, made: Tensor) -> "Made":
        """Take outputs `(..., output)` apart, in the same memory."""
        bands = (made.shape[-1] - COMPONENTS) // 3
        return cls(*made.split([bands, bands, COMPONENTS, bands], dim=-1))


def bands_of(height: int, top: int) -> list[slice]:
    """Rows of a cell by tiles; `top`: the rows of the first tile that lie above the cell."""
    borders = [0, *range(TILE - top, height, TILE), height]
    return [slice(start, stop) for start, stop in zip(borders[:-1], borders[1:], strict=True) if stop > start]


def by_bands(strips: Iterable[CellLooks], height: int) -> Iterator[CellLooks]:
    """Looks of a cell of that height cut anew into the rows of its tiles."""
    held: list[CellLooks] = []
    borders: list[slice] | None = None
    done = count = 0
    for strip in strips:
        borders = borders or bands_of(height, strip.origin[0] % TILE)
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
    """The last rows of a cell that were made ready: `count` of them from row `first`, `shifted` of them complete."""

    room: ReadyRows
    terms: DateTerms
    first: int = 0
    count: int = 0

    @classmethod
    def of(cls, looks: CellLooks, terms: DateTerms) -> "RollingRows":
        """Room for rows of tiles of this width, and those that are looked at around them."""
        bands, dates, _, width = looks.values.shape
        return cls(ReadyRows.empty(bands, dates, (2 * HALO + 2 * TILE, width)), terms)

    @property
    def stop(self) -> int:
        """Row of the cell below those that are ready."""
        return self.first + self.count

    def around(self, rows: slice, height: int) -> tuple[ReadyRows, slice]:
        """Rows of a cell of that height with the halo above and below, and where among these they are."""
        start, stop = max(0, rows.start - HALO), min(height, rows.stop + HALO)
        wide = self.room.part(slice(start - self.first, stop - self.first))
        return wide, slice(rows.start - start, rows.stop - start)

    def add(self, looks: CellLooks, needed: int, last: bool) -> None:
        """Make further rows ready, and forget those above row `needed` of the cell."""
        self._forget(needed)
        rows = slice(self.count, self.count + looks.clear.shape[1])
        _make_ready(looks, self.terms, self.room.part(rows))
        self.count = rows.stop
        self._shift(rows, last)

    def _forget(self, needed: int) -> None:
        gone = needed - self.first
        if gone > 0:
            self.room.part(slice(0, self.count - gone)).copy_(self.room.part(slice(gone, self.count)).clone())
            self.first, self.count = needed, self.count - gone

    def _shift(self, rows: slice, last: bool) -> None:
        """Add the shift to rows of which those above and below are ready: all but the last, and the one before them."""
        start, stop = max(0, rows.start - 1), rows.stop - (not last)
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
