"""Acquisition days with their own look and light: the look where it is clear, elsewhere what the date would have shown.

What is of the whole cell is learnt from a sample of it; rows are then made ready pixel by pixel, and filled tile by
tile.
"""

from collections.abc import Iterable, Iterator

import torch

from spaceeye_stac.methods.as_seen_fill import Corner, filled
from spaceeye_stac.methods.as_seen_rows import RollingRows, by_bands
from spaceeye_stac.methods.as_seen_states import DAMPINGS, SMOOTHEST
from spaceeye_stac.methods.as_seen_terms import CellSample, DateTerms, learn_terms
from spaceeye_stac.methods.as_seen_widths import learn_widths
from spaceeye_stac.methods.base import CellLooks, State
from spaceeye_stac.methods.uncertainty import Scales
from spaceeye_stac.settings import Settings


class AsSeenRun:
    """Fills each acquisition day with what its clear pixels, and the other days, say of the others."""

    _terms: DateTerms
    _widths: Scales

    def __init__(self, _settings: Settings, shape: tuple[int, int]) -> None:
        self._height, self._pixels = shape[0], shape[0] * shape[1]

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""
        values = torch.where(few.clear, few.values, 0.0)
        fit = learn_terms(CellSample(values, few.clear, few.days, self._pixels / few.clear[0].numel()))
        self._terms, self._widths = fit.terms, learn_widths(fit)

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`. Gives the rows of a tile at a time."""
        waiting: list[slice] = []
        rolling: RollingRows | None = None
        for looks in by_bands(strips, self._height):
            rolling = rolling or RollingRows.of(looks, self._terms, self._height)
            start = rolling.stop
            waiting.append(slice(start, start + looks.clear.shape[1]))
            rolling.add(looks, waiting[0])
            while waiting and rolling.complete(waiting[0]):
                yield self._state(looks, rolling, waiting.pop(0))

    def _state(self, looks: CellLooks, rolling: RollingRows, rows: slice) -> State:
        wide, inner = rolling.around(rows)
        corner = Corner(looks.origin[0] + rows.start - inner.start, looks.origin[1])
        ready = wide.part(inner)
        never = ~ready.clear.any(0)
        as_seen = filled(wide, inner, corner, self._terms.bound).masked_fill_(never, torch.nan)
        smooth = ready.smooth.masked_fill(never, torch.nan)
        return State(
            looks.days,
            ready.clear,
            smooth,
            as_seen,
            ready.information,
            ready.weights,
            damping_factor=DAMPINGS[SMOOTHEST],
        )

    def widths(self) -> Scales:
        """See `MethodRun`."""
        return self._widths
