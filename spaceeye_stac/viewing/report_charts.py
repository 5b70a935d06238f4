"""The calendar and the charts of a report, as HTML and SVG that need no style of their own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from statistics import fmean, median

from spaceeye_stac.viewing.run_days import RunDay

LEVELS = 10
WIDE, HIGH = 1000.0, 200.0
LOOK_HIGH = 9.0
MONTH_DAYS = 31
STEPS = (1, 2, 4, 5, 10)

Days = Mapping[date, Sequence[RunDay]]  # of each day the items of all tiles


def share_of(days: Sequence[RunDay], name: str) -> float:
    """A share of the pixels of one day, over all its tiles."""
    return fmean(day.share(name) for day in days)


def summed_up(days: Sequence[RunDay]) -> str:
    """What a day is made of, in words."""
    seen, none = (100 * share_of(days, name) for name in ("observed", "nodata"))
    return f"{seen:.0f} % seen, {max(0.0, 100 - seen - none):.0f} % reconstructed, {none:.0f} % without data"


def calendar(days: Days, frames: set[date]) -> str:
    """A row a month and a cell a day, coloured by the share that was seen; those with a frame lead to it."""
    months = list(dict.fromkeys((day.year, day.month) for day in _all_days(days)))
    heads = "".join(f'<th scope="col">{n}</th>' for n in range(1, MONTH_DAYS + 1))
    rows = "".join(_month(year, month, days, frames) for year, month in months)
    scale = "".join(f'<i class="s{level}"></i>' for level in range(LEVELS + 1))
    return (
        '<table class="cal"><caption class="vh">Share of the pixels that was seen, day by day</caption>'
        f'<thead><tr><th class="month"><span class="vh">Month</span></th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f'<ul class="key"><li><span>all reconstructed</span>{scale}<span>all seen</span></li>'
        '<li><i class="none"></i><span>not published</span></li></ul>'
    )


def _all_days(days: Days) -> list[date]:
    first, last = min(days), max(days)
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _month(year: int, month: int, days: Days, frames: set[date]) -> str:
    first = date(year, month, 1)
    inside = [day for n in range(MONTH_DAYS) if (day := first + timedelta(n)).month == month]
    cells = "".join(_cell(day, days.get(day), framed=day in frames, ends=(min(days), max(days))) for day in inside)
    return f'<tr><th scope="row">{first:%b} {year}</th>{cells}</tr>'


def _cell(day: date, found: Sequence[RunDay] | None, *, framed: bool, ends: tuple[date, date]) -> str:
    if found is None:
        inside = ends[0] <= day <= ends[1]
        return f'<td class="none" title="{day}: not published"></td>' if inside else "<td></td>"
    level = round(LEVELS * share_of(found, "observed"))
    words, data = summed_up(found), f' data-day="{day}"' if framed else ""
    return f'<td class="s{level}"{data} title="{day}: {words}"><span class="vh">{words.partition(",")[0]}</span></td>'


@dataclass(frozen=True)
class Chart:
    """A line over the days: its title, its unit in words, and the value of each day; None where there is none."""

    title: str
    unit: str
    values: Mapping[date, float | None]

    def svg(self, looks: Sequence[date]) -> str:
        """The chart with its axes, and a mark on each day with a clear look."""
        known = [value for value in self.values.values() if value is not None]
        if not known:
            return (
                f"<figure><figcaption><strong>{escape(self.title)}</strong>Not known of this run.</figcaption></figure>"
            )
        top, first, last = nice_top(max(known)), min(self.values), max(self.values)
        said = f"{self.title}, {self.unit}: {min(known):.3g} to {max(known):.3g}, median {median(known):.3g}"
        marks = "".join(f"M{_x(day, first, last)} {HIGH:g}v-{LOOK_HIGH:g}" for day in looks)
        levels = "".join(f"M0 {HIGH * n / 2:g}H{WIDE:g}" for n in range(3))
        paths = "".join(
            f'<path class="{name}" vector-effect="non-scaling-stroke" d="{path}"/>'
            for name, path in (("grid", levels), ("looks", marks), ("line", self._line(top, first, last)))
        )
        middle = first + (last - first) / 2
        numbers = "".join(f"<span>{top * n / 2:g}</span>" for n in (2, 1, 0))
        dates = "".join(f"<span>{_short(day)}</span>" for day in dict.fromkeys((first, middle, last)))
        return (
            f"<figure><figcaption><strong>{escape(self.title)}</strong>{escape(self.unit)}</figcaption>"
            f'<div class="plot"><div class="y" aria-hidden="true">{numbers}</div>'
            f'<svg viewBox="0 0 {WIDE:g} {HIGH:g}" preserveAspectRatio="none" role="img" aria-label="{escape(said)}">'
            f'{paths}</svg><div class="x" aria-hidden="true">{dates}</div></div></figure>'
        )

    def _line(self, top: float, first: date, last: date) -> str:
        """The path from day to day, broken where a day has no value."""
        path, before = "", None
        for day, value in sorted(self.values.items()):
            if value is not None:
                joined = before is not None and (day - before).days == 1
                path += f"{'L' if joined else 'M'}{_x(day, first, last)} {HIGH * (1 - value / top):.1f}"
                path += "" if joined else "h.1"  # a day alone is a dot
                before = day
        return path


def _short(day: date) -> str:
    return f"{day.day} {day:%b} {day.year}"


def _x(day: date, first: date, last: date) -> str:
    return f"{WIDE * (day - first).days / max(1, (last - first).days):.1f}"


def nice_top(most: float) -> float:
    """The end of an axis from 0 that holds `most` and whose half is a short number."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return float(f"{next(step * power for step in STEPS if step * power >= most * (1 - 1e-9)):.6g}")
