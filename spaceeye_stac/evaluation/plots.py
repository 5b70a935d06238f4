"""The scores of hidden pixels as one PNG; matplotlib is imported when a picture is asked for."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.days import display_bands
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.evaluation.hidden import KIND_TITLES
from spaceeye_stac.query import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.image import AxesImage

    from spaceeye_stac.evaluation.scores import Example, Scores


NOTHING = 0.85
CAUSAL = ", causal"
HIDDEN = (0.85, 0.1, 0.55)
ERROR_PERCENTILE = 98
INCHES = 2.4
DPI = 120


def picture(scores: "Scores", path: str | Path, bands: Sequence[str]) -> None:
    """Write a PNG: one worked example of every method, its error and its uncertainty below, and error by gap length.

    The example's row shows the truth, what was hidden of it, and each method, with the date; `bands` `(band,)` names
    the example's bands, of which three are shown, stretched alike in every image. The error of a pixel is the root mean
    square over all bands, in reflectance, and so is its uncertainty, the half width of the 68 % interval, on the scale
    of the errors, where a method gives one. Grey is where nothing is known or, below, nothing was hidden. Raises
    InvalidInputError where `bands` does not fit.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - matplotlib is for pictures alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    if len(bands) != len(scores.example.truth):
        raise InvalidInputError(f"bands {','.join(bands)} do not fit the example's {len(scores.example.truth)} bands.")
    columns = 2 + len(scores.methods)
    figure = Figure(figsize=(max(INCHES * columns, 9), 4 * INCHES + 2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.2, 1.2))[:, 0]
    _draw_example(above, scores.example, bands, example_date(scores))
    _draw_gaps(below, scores.as_json(), scores.methods)
    figure.savefig(path, dpi=DPI, format="png")


def example_date(scores: "Scores") -> str:
    """Date of the example, or its day where the first day's is not known."""
    day = scores.example.day
    return f"day {day}" if scores.start is None else str(scores.start + timedelta(days=day))


def _draw_example(figure: "SubFigure", example: "Example", bands: Sequence[str], when: str) -> None:
    rgb_bands = display_bands(bands)
    layers = [list(bands).index(name) for name in rgb_bands]
    names = "/".join(dict.fromkeys(rgb_bands))
    figure.suptitle(f"{KIND_TITLES[example.kind]}: {when}, {int(example.hidden.sum())} hidden pixels, {names}")
    axes = figure.subplots(3, 2 + len(example.estimates), squeeze=False)
    low, high = _stretch(example.truth[layers])
    truth = rgb(example.truth[layers], low, high)
    images = {"truth": truth, "hidden": np.where(example.hidden[..., None], np.array(HIDDEN), truth)}
    images |= {name: rgb(values[layers], low, high) for name, values in example.estimates.items()}
    for axis, (name, image) in zip(axes[0], images.items(), strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(f"{name}\n{when}", fontsize="medium")
    _draw_errors(figure, axes[1:], example)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[1:, :2].flat:
        axis.set_axis_off()


def _draw_errors(figure: "SubFigure", axes: NDArray[Any], example: "Example") -> None:
    """Draw the error below each method, and below that its uncertainty, on one scale."""
    errors = {name: error(example, values) for name, values in example.estimates.items()}
    found = np.concatenate([one[np.isfinite(one)] for one in errors.values()])
    top = max(float(np.percentile(found, ERROR_PERCENTILE)), 1e-4) if found.size else 1.0
    drawn = None
    for (above, below), (name, one) in zip(axes[:, 2:].T, errors.items(), strict=True):
        drawn = _draw_scale(above, one, top, "rmse")
        above.set_title("error", fontsize="small")
        half = example.uncertainties.get(name)
        if half is None:
            below.set_axis_off()
            continue
        _draw_scale(below, _over_bands(example, half.astype(np.float64) ** 2), top, "rms")
        below.set_title("uncertainty, 68 %", fontsize="small")
    if drawn is not None:
        bar = axes[0, 1].inset_axes((0.8, 0, 0.08, 1))
        figure.colorbar(drawn, cax=bar, label="reflectance", ticklocation="left")


def _draw_scale(axis: "Axes", image: NDArray[np.float64], top: float, name: str) -> "AxesImage":
    """Draw errors or uncertainties from 0 to `top`, with their root mean square."""
    axis.set_facecolor((NOTHING,) * 3)
    seen = image[np.isfinite(image)]
    axis.set_xlabel(f"{name} {np.sqrt((seen**2).mean()):.4f}" if seen.size else "no value")
    return axis.imshow(image, vmin=0, vmax=top, cmap="magma", interpolation="nearest")


def _draw_gaps(figure: "SubFigure", found: Json, methods: Sequence[str]) -> None:
    """Draw rmse against the days to the nearest clear look, one panel for each way of hiding."""
    axes = figure.subplots(1, len(KIND_TITLES), sharey=True)
    for axis, (kind, title) in zip(axes, KIND_TITLES.items(), strict=True):
        _draw_kind(axis, found[kind], methods)
        axis.set_title(title)
        axis.set_xlabel("days to the nearest clear look")
    axes[0].set_ylabel("rmse in reflectance")
    axes[0].set_ylim(bottom=0)
    axes[-1].legend(fontsize="small")


def _draw_kind(axis: "Axes", found: Json, methods: Sequence[str]) -> None:
    for method in methods:
        bins = found[method]["bins"]
        heights = [np.nan if one["rmse"] is None else one["rmse"] for one in bins]
        axis.plot(range(len(bins)), heights, "--" if method.endswith(CAUSAL) else "-", marker="o", label=method)
    labels = [_days(*one["days"]) for one in found[methods[0]]["bins"]]
    axis.set_xticks(range(len(labels)), labels)
    axis.set_xlim(-0.4, len(labels) - 0.6)
    axis.grid(visible=True, alpha=0.3)


def _days(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else f"{low}-{high}"


def _stretch(layers: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the 2nd and 98th percentiles `(3, 1, 1)` of the pixels that are not NaN; 0 and 1 where all are."""
    seen = layers[:, np.isfinite(layers).all(axis=0)]
    if not seen.size:
        return np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32)
    low, high = np.percentile(seen, (2, 98), axis=1).astype(np.float32)[:, :, None, None]
    return low, np.maximum(high, low + np.float32(1e-3))


def rgb(layers: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch bands `(3, y, x)` from `low` to `high` `(3, 1, 1)` into colours `(y, x, 3)` in 0..1; NaN is grey."""
    colours = np.moveaxis(np.clip((layers - low) / (high - low), 0, 1), 0, -1)
    return np.where(np.isfinite(colours).all(axis=-1, keepdims=True), colours, np.float32(NOTHING))


def error(example: "Example", values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square error over the bands `(y, x)` in reflectance; NaN where not hidden or without a value."""
    return _over_bands(example, (values.astype(np.float64) - example.truth) ** 2)


def _over_bands(example: "Example", squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean over the bands `(y, x)` where pixels were hidden, NaN elsewhere."""
    return np.where(example.hidden, np.sqrt(squares.mean(axis=0)), np.nan)
