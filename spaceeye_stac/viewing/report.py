"""The report of a run: one page that holds all it shows, and reads nothing from anywhere."""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from html import escape
from importlib.metadata import version
from importlib.resources import files
from statistics import fmean, median
from string import Template

from spaceeye_stac.collection import UNCERTAINTY, RunFacts
from spaceeye_stac.outlines import bbox
from spaceeye_stac.query import Json
from spaceeye_stac.viewing import report_tables as tables
from spaceeye_stac.viewing.report_charts import Chart, Days, calendar, share_of
from spaceeye_stac.viewing.report_frames import MOST_FRAMES, ReportFrames, report_frames
from spaceeye_stac.viewing.run_days import RunDay

MOST_BYTES = 4_800_000
SOFTWARE = "spaceeye-stac"


def draw_report(facts: RunFacts) -> bytes:
    """The report of a run as an HTML page of less than 5 MB, in UTF-8.

    It is the same, byte by byte, for the same run, but for the day on which that was made. It shows no folder of this
    machine and no token, and all that items and settings bring is escaped. Raises ReadError for a damaged day.
    """
    days = _by_day(facts)
    parts = {**_head(facts, days), **_words(facts), "charts": _charts(days), "film": "", "calendar": ""}
    room = MOST_BYTES - len(_page(parts | {"calendar": calendar(days, set(days))}))
    first = min((day.tile for found in days.values() for day in found), default="")
    frames = report_frames([day for found in days.values() for day in found if day.tile == first], room)
    parts |= {"film": frames.html(_note(frames, len(days))), "calendar": calendar(days, frames.dates)}
    return _page(parts)


def _by_day(facts: RunFacts) -> Days:
    found = defaultdict[date, list[RunDay]](list)
    for day in sorted((RunDay(facts.folder, item) for item in facts.items), key=lambda one: (one.day, one.tile)):
        found[day.day].append(day)
    return found


def _page(parts: dict[str, str]) -> bytes:
    """The template with its parts; the page runs the one script and takes the one style whose hashes it names."""
    template, style, script = (_own(f"report.{kind}") for kind in ("html", "css", "js"))
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    return Template(template).substitute(parts, style=style, script=script, **hashes).encode()


def _own(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _software() -> str:
    return f"{SOFTWARE} {version(SOFTWARE)}"


def _head(facts: RunFacts, days: Days) -> dict[str, str]:
    """The title, the sentence below it, and the figures."""
    title = str(facts.collection.get("title") or facts.collection["id"])
    return {
        "title": escape(title),
        "heading": " ".join(f"<span>{escape(word)}</span>" for word in title.split()),  # dates do not break at a dash
        "collection": escape(str(facts.collection["id"])),
        "lead": escape(_lead(facts, days)),
        "figures": "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in _figures(days).items()),
        "software": escape(_software()),
        "created": f"{facts.created:%Y-%m-%d}",
    }


def _lead(facts: RunFacts, days: Days) -> str:
    """Where, when, by which method, and on which grid, in a sentence or two."""
    first, last = (str(end) for end in (min(days), max(days)))
    west, south, east, north = bbox([facts.asked["region"]])
    one = next(iter(days.values()))
    height, width = one[0].shape
    grid = f"{width} × {height} pixels" if len(one) == 1 else f"{len(one)} tiles"
    code = one[0].item["properties"]["proj:code"]
    method = one[0].item["properties"]["spaceeye:method"]
    return (
        f"One image a day from {first} to {last}, by the method {method}, of {south:.4f}° to {north:.4f}° north and "
        f"{west:.4f}° to {east:.4f}° east: {grid} of {one[0].pixel_metres:g}\N{NO-BREAK SPACE}m in {code}."
    )


def _figures(days: Days) -> dict[str, str]:
    shares = [share_of(found, "observed") for found in days.values()]
    distances = [value for found in days.values() if (value := _distance(found)) is not None]
    errors = [value for found in days.values() if (value := _uncertainty(found)) is not None]
    return {
        "days published": f"{len(days):,}",
        "days with clear looks": f"{sum(share > 0 for share in shares):,}",
        "of all pixels seen": f"{100 * fmean(shares):.0f} %",
        "to the nearest clear look, median": f"{median(distances):g} d" if distances else "–",
        "uncertainty of reflectance, mean": f"± {fmean(errors):.4f}" if errors else "–",
    }


def _words(facts: RunFacts) -> dict[str, str]:
    return {
        "warnings": tables.warnings(facts),
        "scenes": tables.scenes(facts),
        "scores": tables.scores(facts),
        "settings": tables.settings(facts),
        "cite": tables.cite(facts, _software()),
    }


def _charts(days: Days) -> str:
    looks = [day for day, found in days.items() if share_of(found, "observed") > 0]
    charts = (
        Chart(
            "Distance to the nearest clear look",
            "days, median of the pixels; marks are days with clear looks",
            {day: _distance(found) for day, found in days.items()},
        ),
        Chart(
            "Uncertainty",
            "reflectance, half width of the 68 % interval, mean of the pixels",
            {day: _uncertainty(found) for day, found in days.items()},
        ),
    )
    return f'<div class="charts">{"".join(chart.svg(looks) for chart in charts)}</div>'


def _distance(found: Sequence[RunDay]) -> float | None:
    known = [day.item["properties"].get("spaceeye:median_clear_distance") for day in found]
    values = [float(value) for value in known if value is not None]
    return fmean(values) if values else None


def _uncertainty(found: Sequence[RunDay]) -> float | None:
    """Mean of the pixels, as the statistics of the day's file say it."""
    assets: list[Json] = [day.item["assets"].get(UNCERTAINTY, {}) for day in found]
    layers = [asset["bands"][0] for asset in assets if asset.get("bands")]
    values = [layer["statistics"]["mean"] * layer.get("raster:scale", 1) for layer in layers if "statistics" in layer]
    return fmean(values) if values else None


def _note(frames: ReportFrames, count: int) -> str:
    every = "Every published day" if len(frames.days) == count else f"{MOST_FRAMES} of {count} days, evenly spread"
    tile = f" of tile {frames.days[0].tile}" if frames.days[0].tile else ""
    return (
        f"{every}{tile}, as {frames.subject}. Arrow keys go from day to day, the space bar "
        "plays. A day in the calendar below leads here, too."
    )
