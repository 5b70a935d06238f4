"""Days to overlapping time windows; pure.

Source: the window rule of FarmVibes.AI's `spaceeye_interpolation_inference` workflow, whose read and
write intervals this module reproduces for the same length, window and step.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spaceeye_stac.model import Window
from spaceeye_stac.query import DateRange
from spaceeye_stac.settings import Settings


def intervals(length: int, duration: int, step: int) -> list[Window]:
    """Cover `length` days with windows of `duration` days about `step` apart.

    Read intervals are spread evenly, the first at 0 and the last at the end, at most `step` apart; write intervals
    meet in the middle of each overlap (rounded down) and tile the whole length. All are half-open.
    """
    count = max(0, -(-(length - duration) // step)) + 1
    starts = [int(s) for s in np.round(np.linspace(0, max(0, length - duration), count))]
    stops = [min(start + duration, length) for start in starts]
    cuts = [0, *((stop + start) // 2 for stop, start in zip(stops[:-1], starts[1:], strict=True)), length]
    return [
        Window(range(start, stop), range(cut, end))
        for start, stop, cut, end in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)
    ]


def windows_of(days: DateRange, settings: Settings) -> list[Window]:
    """Cover the requested days, as indices from `days.start`, with windows for the solve.

    The windows are laid over the range widened by half a window, so that a day at the edge of the request has as much
    context as one in its middle, and each window spans `duration` days. They start a whole number of steps after the
    first, so that a longer request has the same ones and more. Write intervals are cut to the request: no day outside
    it is ever written. With duration "all" the range itself is the one window.
    """
    duration, context = settings.window_days(days), settings.context_days(days)
    step = max(1, round(duration * (1 - settings.time_overlap)))
    beyond = max(0, len(days) + 2 * context - duration)
    laid = intervals(duration + -(-beyond // step) * step, duration, step)
    known, asked = range(-context, len(days) + context), range(len(days))
    cut = [Window(_cut(_shift(w.read, -context), known), _cut(_shift(w.write, -context), asked)) for w in laid]
    return [w for w in cut if len(w.write)]


def causal_windows(days: DateRange, acquired: Sequence[int], settings: Settings) -> list[Window]:
    """Cover the requested days with windows that read no day after those they write.

    Each day of `acquired` (increasing indices from `days.start`), and the first day of the request, begins a window: it
    reads the `duration` days that end with it, or those of them that are known, and is shown until the next. What a day
    is made from so depends on days up to it alone, not even on when the next acquisition is. Where none comes for
    longer than `duration`, a further window without an acquisition writes what is left: nothing.
    """
    duration, first = settings.window_days(days), -settings.context_days(days)
    starts = [0, *(day for day in acquired if 0 < day < len(days)), len(days)]
    found = []
    for start, stop in pairwise(starts):
        end = min(stop, start + duration)
        found.append(Window(range(max(first, start + 1 - duration), start + 1), range(start, end)))
        if end < stop:
            found.append(Window(range(start + 1, end + 1), range(end, stop)))
    return found


def laid_windows(days: DateRange, acquired: Sequence[int], settings: Settings) -> list[Window]:
    """Windows of a run with acquisitions on these days, as the settings want them."""
    return causal_windows(days, acquired, settings) if settings.causal else windows_of(days, settings)


def days_read(days: DateRange, settings: Settings) -> range:
    """Days, as indices from `days.start`, of which some window may read the scenes."""
    if settings.causal:
        return range(-settings.context_days(days), len(days))
    laid = windows_of(days, settings)
    return range(min(w.read.start for w in laid), max(w.read.stop for w in laid))


def _shift(days: range, by: int) -> range:
    return range(days.start + by, days.stop + by)


def _cut(days: range, to: range) -> range:
    return range(max(days.start, to.start), min(days.stop, to.stop))
