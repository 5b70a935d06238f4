"""The film: every day of a method over the whole stack, in windows as a run lays them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from spaceeye_stac.evaluation.baselines import Float
from spaceeye_stac.evaluation.candidates import Candidate, Solve
from spaceeye_stac.evaluation.looks import LookStack, VegetationIndex
from spaceeye_stac.evaluation.threads import side_by_side
from spaceeye_stac.model import Window

FILM_PIXELS = 128 * 128


@dataclass(frozen=True)
class Film:
    """What is kept of the days from the first acquisition to the last, of every `step` rows and columns.

    `index` `(day, y, x)` of every day, None where the bands have none; `acquired` `(band, time, y, x)` reflectance of
    the acquisition days. NaN where there is no value.
    """

    days: range
    step: int
    index: Float | None
    acquired: Float


def film_of(
    one: Candidate, looks: LookStack, windows: Sequence[Window], index: VegetationIndex | None, workers: int = 1
) -> Film:
    """Solve every window and show each day from the window that writes it.

    The illuminance comes from all looks at once, as in a run. Of an image of more than 128 x 128 pixels every so many
    rows and columns are kept, so that memory does not grow with it.
    """
    days = range(looks.days[0], looks.days[-1] + 1)
    span = range(min(w.read.start for w in windows), max(max(w.read.stop, w.write.stop) for w in windows))
    step = film_step(looks.clear.shape[1:])
    shape = looks.every(step).clear.shape
    film = Film(
        days,
        step,
        None if index is None else np.full((len(days), *shape[1:]), np.nan, np.float32),
        np.full((len(looks.values), *shape), np.nan, np.float32),
    )
    show = partial(_show, one.prepare(looks, span), looks.days, film, index)
    for _ in side_by_side(show, windows, workers):
        pass
    return film


def film_step(shape: tuple[int, ...]) -> int:
    """Every how many rows and columns of an image a film keeps."""
    step = 1
    while -(-shape[0] // step) * -(-shape[1] // step) > FILM_PIXELS:
        step += 1
    return step


def _show(solve: Solve, looked: Sequence[int], film: Film, index: VegetationIndex | None, window: Window) -> None:
    """Put the days that a window writes into the film; no two windows write the same."""
    written = range(max(window.write.start, film.days.start), min(window.write.stop, film.days.stop))
    if not written:
        return
    on = solve(window.read)
    for day in written:
        image = on(day).values[:, :: film.step, :: film.step]
        if film.index is not None and index is not None:
            film.index[day - film.days.start] = index.of(image)
        if day in looked:
            film.acquired[:, looked.index(day)] = image
