"""Scenes, published days and the truth as one PNG, with the NDVI of some fields; matplotlib is imported when drawn."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.days import TRUE_COLOUR, quantise, visual
from spaceeye_stac.simulation.farmland import Farmland
from spaceeye_stac.simulation.known import Float, KnownStack, PlantedEvent
from spaceeye_stac.simulation.truth_scores import ndvi

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

DPI = 110
INCHES = 2.1
SHOWN_EVENTS = {"mow": "mowing", "harvest": "harvest", "burn": "fire", "flood": "flood"}
MOST_FIELDS = 3
AFTER_DAYS = 4
NO_SCENE = 230


@dataclass(frozen=True)
class Comparison:
    """What was seen, what was made of it `(band, day, y, x)` in reflectance, and what there was."""

    farmland: Farmland
    known: KnownStack
    film: Float

    @cached_property
    def examples(self) -> dict[int, str]:
        """Days that show what may be in the way, in order, and what each is."""
        visits = self.known.acquisition_days
        hidden = {day: float(self.farmland.sky(day).disturbs.mean()) for day in visits}
        missed = dict(zip(visits, self.known.undetected.mean(axis=(1, 2)), strict=True))
        most_hidden = sorted((day for day in visits if hidden[day] < 0.9), key=lambda day: -hidden[day])  # noqa: PLR2004
        clear = [day for day in visits if hidden[day] < 0.5]  # noqa: PLR2004
        between = sorted(
            set(self.known.days) - set(visits), key=lambda day: -min((abs(day - c) for c in clear), default=0)
        )
        found = dict.fromkeys(most_hidden[:2], "cloud")
        found |= dict.fromkeys(sorted(visits, key=lambda day: -missed[day])[:1], "undetected cloud")
        found |= dict.fromkeys(between[:1], "no scene")
        found |= {
            event.day + AFTER_DAYS: f"{AFTER_DAYS} days after {SHOWN_EVENTS[event.kind]}" for event in self.fields[1:]
        }
        return dict(sorted(found.items()))

    @cached_property
    def fields(self) -> list[PlantedEvent]:
        """The largest field of each kind of event that happens on these days, and not at their ends."""
        inner = range(self.known.days.start + 10, self.known.days.stop - 10)
        events = sorted((e for e in self.known.events if e.day in inner), key=lambda e: -int(e.pixels.sum()))
        largest = (next((e for e in events if e.kind == kind), None) for kind in SHOWN_EVENTS)
        return [event for event in largest if event is not None][:MOST_FIELDS]

    def images(self, day: int) -> Iterator[NDArray[np.uint8]]:
        """Scene, published day and truth `(y, x, 3)` in true colour; grey for a scene where there is none."""
        at, none = self.known.days.index(day), np.full((*self.farmland.shape, 3), NO_SCENE, np.uint8)
        yield self._colours(self.farmland.scene(day)[0]) if day in self.known.acquisition_days else none
        yield self._colours(quantise(self.film[:, at]))
        yield self._colours(quantise(self.known.truth[:, at]))

    def _colours(self, numbers: NDArray[np.uint16]) -> NDArray[np.uint8]:
        layers = [numbers[self.known.bands.index(band)] for band in TRUE_COLOUR]
        return np.moveaxis(visual(layers, TRUE_COLOUR), 0, -1)


def draw(comparison: Comparison, path: Path) -> None:
    """Write the PNG: some days above, each as scene, published day and truth; mean NDVI of some fields below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - matplotlib is for pictures alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows, columns = 5 if comparison.fields else 3.4, max(3, len(comparison.examples))
    figure = Figure(figsize=(INCHES * columns, INCHES * rows), layout="constrained")
    FigureCanvasAgg(figure)
    if comparison.fields:
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.2, 1.6))[:, 0]
        _draw_days(above, comparison)
        _draw_fields(below, comparison)
    else:
        _draw_days(figure, comparison)
    figure.savefig(path, dpi=DPI, format="png")


def _draw_days(figure: "FigureBase", comparison: Comparison) -> None:
    columns = figure.subplots(3, len(comparison.examples), squeeze=False).T
    for column, (day, what) in zip(columns, comparison.examples.items(), strict=True):
        when = comparison.farmland.start + timedelta(days=day)
        column[0].set_title(f"{when.day} {when:%B}\n{what}", fontsize="small")
        for axis, image in zip(column, comparison.images(day), strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, name in zip(columns[0], ("scene", "published", "truth"), strict=True):
        axis.set_ylabel(name)


def _draw_fields(figure: "FigureBase", comparison: Comparison) -> None:
    axes = figure.subplots(1, len(comparison.fields), sharey=True, squeeze=False)[0]
    for axis, event in zip(axes, comparison.fields, strict=True):
        _draw_field(axis, comparison, event)
    axes[0].set_ylabel("mean NDVI of the field")
    axes[0].legend(fontsize="x-small")


def _draw_field(axis: "Axes", comparison: Comparison, event: PlantedEvent) -> None:
    """Draw what the field was, what it was seen as, and what was published, on each day."""
    known = comparison.known
    days = np.array(known.days)
    axis.plot(days, _mean_ndvi(known.truth, known, event), color="0.6", linewidth=3, label="truth")
    axis.plot(days, _mean_ndvi(comparison.film, known, event), color="tab:green", label="published")
    seen = known.clear[:, event.pixels].mean(axis=1) > 0.5  # noqa: PLR2004 - most of the field
    missed = known.undetected[:, event.pixels].mean(axis=1) > 0.2  # noqa: PLR2004 - enough of it to matter
    looks = _mean_ndvi(np.where(known.clear, known.values, np.nan), known, event)
    for which, mark, name in ((seen & ~missed, "o", "seen"), (seen & missed, "x", "seen, undetected cloud")):
        axis.plot(np.array(known.acquisition_days)[which], looks[which], mark, color="k", markersize=4, label=name)
    axis.axvline(event.day, color="tab:red", linewidth=0.8, linestyle=":")
    axis.set_title(f"a field, {SHOWN_EVENTS[event.kind]} on day {event.day}", fontsize="small")
    axis.set_xlabel(f"days since {comparison.farmland.start}")


def _mean_ndvi(images: Float, known: KnownStack, event: PlantedEvent) -> Float:
    """Mean over the pixels of a field that hold a value `(day,)`; NaN where none does."""
    found = ndvi(images[:, :, event.pixels], known.bands)
    count = np.isfinite(found).sum(axis=1)
    return np.asarray(np.where(count > 0, np.nansum(found, axis=1) / np.maximum(count, 1), np.nan))
