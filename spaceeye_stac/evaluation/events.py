"""How much of a planted event a film keeps, when, and whether it takes it for cloud.

On a good date a block of ground moves towards another spectrum and is seen so in its next 1, 2, 3 or all looks. Each
method solves its window with and without it. With D the change of the first such look y, and x, x0 the method's images
with and without the event, over the block's clear pixels:

    kept(day) = <x - x0, D> / <D, D>        1 = all of it, 0 = nothing
    kept      on the day of the first look that shows it; `kept_p10` its 10th percentile over events
    leak      on the day of the last look before it, where it should be 0
    delay     first day from that one on with kept >= 0.5, less the middle of the gap between the two looks, in days
    never     share of events that are not kept by half up to that look
    flagged   share of the block's pixels that the method suspects to be cloud on that day, where it says so
    coverage  share of the pixels' values y that lie in the 68 and 90 % intervals on that day

Blocks of all four kinds are planted at once, one in each quarter of the image. Causal methods are not asked, as each
day would be a window of its own: what they show of an event they have not seen yet is nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from spaceeye_stac.evaluation.baselines import Bool, Float
from spaceeye_stac.evaluation.candidates import Reconstruction
from spaceeye_stac.evaluation.date_errors import DateErrors, coverage, date_errors
from spaceeye_stac.evaluation.looks import LookStack, VegetationIndex, spread_evenly
from spaceeye_stac.evaluation.planted import EVENTS, Event, event_blocks, event_spectra, find_event, plant_events
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.query import Json

SEEN_IN: dict[str, int | None] = {"1": 1, "2": 2, "3": 3, "all": None}
EVENT_DATES = 8
LATEST = 5
HALF = 0.5
KEPT_DIGITS = 4  # halfway between two looks, linear interpolation has a half but for rounding
SUSPECT = 4.5  # deviations above which the surface method's specification calls a look suspect
DRAW = 2


@dataclass(frozen=True)
class EventTrace:
    """What one method made of one event; `delay` None where it never kept half of it."""

    kept: float
    leak: float
    delay: float | None
    flagged: float | None
    errors: DateErrors


def score_events(trial: Trial) -> Json:
    """By kind of event, by the looks it is seen in, and by method: see this module."""
    spectra = event_spectra(trial.looks, trial.bands)
    dates = [t for t in trial.good if 0 < t < len(trial.looks.days) - LATEST]
    cases = spread_evenly(dates, trial.most(EVENT_DATES))
    found = list(trial.each("planted events", partial(_score, trial, spectra), cases))
    return {
        kind: {
            seen: {
                name: _summed([one[seen, kind, name] for one in found if (seen, kind, name) in one])
                for name in trial.candidates
            }
            for seen in SEEN_IN
        }
        for kind in EVENTS
    }


def _score(trial: Trial, spectra: dict[str, Float], target: int) -> Mapping[tuple[str, str, str], EventTrace]:
    """By looks, kind and method, of the events that are planted on one date."""
    day = trial.looks.days[target]
    clean = trial.looks.inside(trial.around(day))
    blocks = event_blocks(clean.clear.shape[1:], np.random.default_rng([trial.seed, DRAW, target]))
    planted = {seen: _events(clean, blocks, clean.days.index(day), count) for seen, count in SEEN_IN.items()}
    if not any(planted.values()):
        return {}
    changed = {seen: plant_events(clean, events, spectra) for seen, events in planted.items()}
    found = {}
    for name, one in trial.candidates.items():
        if name in trial.causal:
            continue
        read = trial.reads(name, day)
        without = cache(one.window(clean, read))
        for seen, events in planted.items():
            pair = without, cache(one.window(changed[seen], read))
            for event in events:
                trace = _trace(event, (clean, changed[seen]), pair, trial.index)
                if trace is not None:
                    found[seen, event.kind, name] = trace
    return found


def _events(looks: LookStack, blocks: Mapping[str, Bool], target: int, count: int | None) -> list[Event]:
    found = (find_event(looks, kind, where, target, count) for kind, where in blocks.items())
    return [event for event in found if event is not None]


def _trace(
    event: Event,
    looks: tuple[LookStack, LookStack],
    images: tuple[Reconstruction, Reconstruction],
    index: VegetationIndex | None,
) -> EventTrace | None:
    """Compare looks and images without and with the event; None where a method has no value in the block."""
    days = range(looks[0].days[event.before], looks[0].days[event.first] + 1)
    where = event.where & looks[0].clear[event.first]
    before, after = (one.values[:, event.first, where].astype(np.float64) for one in looks)
    change = after - before
    made = np.stack([images[1](day).values[:, where] - images[0](day).values[:, where] for day in days])
    kept = (made * change).sum(axis=(1, 2)) / np.square(change).sum()
    if not np.isfinite(kept).all():
        return None
    half = np.flatnonzero(kept.round(KEPT_DIGITS) >= HALF)
    shown = images[1](days[-1])
    return EventTrace(
        kept=float(kept[-1]),
        leak=float(kept[0]),
        delay=float(days[half[0]] - (days[0] + days[-1]) / 2) if len(half) else None,
        flagged=None if shown.suspect is None else float((shown.suspect[where] > SUSPECT).mean()),
        errors=date_errors(shown, looks[1].values[:, event.first], where, index),
    )


def _summed(traces: Sequence[EventTrace]) -> Json | None:
    if not traces:
        return None
    kept, delays = [trace.kept for trace in traces], [trace.delay for trace in traces if trace.delay is not None]
    flagged = [trace.flagged for trace in traces if trace.flagged is not None]
    return {
        "kept": float(np.mean(kept)),
        "kept_p10": float(np.quantile(kept, 0.1)),
        "leak": float(np.mean([trace.leak for trace in traces])),
        "delay": float(np.mean(delays)) if delays else None,
        "never": 1 - len(delays) / len(traces),
        "flagged": float(np.mean(flagged)) if flagged else None,
        "coverage": coverage([trace.errors for trace in traces]),
        "n": len(traces),
    }
