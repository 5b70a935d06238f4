"""Series of zones as one PNG; matplotlib is imported when a picture is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# of Okabe and Ito, which people of any colour vision tell apart; the palest last
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6D31")
SEEN_SHARE = 0.5
ONE_BY_ONE = "line: mean, band: quartiles, dot: a day on which half or more was seen"
TOGETHER = "line: median of the means, band: their quartiles, dot: a day on which half of the zones were seen"
WIDTH, HEIGHT, MARGIN, DPI = 10.0, 3.2, 0.9, 130


def plot_series(found: "pd.DataFrame", path: Path) -> None:
    """Write a PNG of a series: a panel for each index, a colour for each zone.

    The line is a zone's mean, the band its quartiles, a dot a day on which half of it or more was seen. Where there are
    more than eight zones, the line is the median of their means, the band the quartiles of these, and a dot stands
    where half of the zones have one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - matplotlib is for pictures alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    zones, indices = found["zone"].unique(), found["index"].unique()
    many = len(zones) > len(COLOURS)
    shown = _median_of_zones(found) if many else found
    figure = Figure(figsize=(WIDTH, HEIGHT * len(indices) + MARGIN), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(indices), 1, sharex=True, squeeze=False)[:, 0]
    for axes, index in zip(panels, indices, strict=True):
        _draw(axes, shown[shown["index"] == index])
        axes.set_ylabel(index if len(index) <= 40 else f"{index[:37]}...")  # noqa: PLR2004
    _label_days(panels[-1])
    handles, labels = panels[0].get_legend_handles_labels()
    what = TOGETHER if many else ONE_BY_ONE
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, title=what)
    figure.savefig(path, dpi=DPI, format="png")


def _median_of_zones(found: "pd.DataFrame") -> "pd.DataFrame":
    """One zone in place of many, of the distribution of their means."""
    dots = found.assign(dot=(found["seen"] >= SEEN_SHARE).astype(float))
    days = dots.groupby(["index", "date"], sort=False)
    means = days["mean"]
    whole = means.quantile(0.25).to_frame("q25")
    whole = whole.assign(mean=means.median(), q75=means.quantile(0.75), seen=days["dot"].mean()).reset_index()
    return whole.assign(zone=f"{found['zone'].nunique()} zones")


def _draw(axes: "Axes", found: "pd.DataFrame") -> None:
    for colour, (zone, days) in zip(COLOURS, found.groupby("zone", sort=False), strict=False):
        axes.fill_between(days["date"], days["q25"], days["q75"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(days["date"], days["mean"], color=colour, linewidth=1.6, label=str(zone))
        seen = days[days["seen"] >= SEEN_SHARE]
        axes.scatter(seen["date"], seen["mean"], color=colour, s=14, zorder=3, edgecolors="white", linewidths=0.4)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)


def _label_days(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
