"""The tables and lists of a report; whatever comes from an item or a setting is escaped."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from html import escape
from typing import Any

from spaceeye_stac.collection import PAPER, RunFacts
from spaceeye_stac.model import Scene
from spaceeye_stac.publishing import without_local_paths
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output
from spaceeye_stac.settings import Settings

MOST_ROWS = 1000
FEW_COLUMNS = 3
MOST_SENTENCES = 300
MOST_NAMED = 40
IN_THE_HEAD = ("region", "datetime")
WARNINGS = "spaceeye:warnings"
TOKEN = re.compile(r"(\w+://[^\s?#'\"]*)[?#][^\s'\",]*")
KINDS = {"cloud": "Pixels under cloud shapes", "date": "Whole dates", "edge": "Pixels beside real cloud"}
SCORES = {"psnr": "PSNR (dB)", "rmse": "RMSE", "mae": "Mean error, absolute", "bias": "Bias", "n_dates": "Dates"}


def safe(texts: Iterable[object]) -> list[str]:
    """Sentences without folders of this machine and without what follows a `?` in an address; not escaped."""
    found: list[str] = without_local_paths({WARNINGS: list(texts)}, "")[WARNINGS]
    return [TOKEN.sub(r"\1", text) for text in found]


def sentences(texts: Iterable[object]) -> str:
    """A list of sentences; what is too many is counted."""
    found = safe(texts)
    rows = [f"<li>{escape(text)}</li>" for text in found[:MOST_SENTENCES]]
    rows += [f"<li>and {len(found) - MOST_SENTENCES} more.</li>"] if len(found) > MOST_SENTENCES else []
    return f'<ul class="plain">{"".join(rows)}</ul>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML; columns `numbers` are set to the right."""

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=n' if n in numbers else ''}>{cell}</{kind.partition(' ')[0]}>"
            for n, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{cells('th', heads)}</tr></thead>"
    named = escape(f"Table of {', '.join(heads)}")
    kind = "data wide" if len(heads) > FEW_COLUMNS else "data"
    whole = f'<table class="{kind}">{head}<tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{named}">{whole}</div>'


def warnings(facts: RunFacts) -> str:
    """What the run warned of, or nothing."""
    found = facts.collection.get(WARNINGS, ())
    if not found:
        return ""
    title = '<h2 id="warnings">Warnings of the run</h2>'
    return f'<section class="warnings" aria-labelledby="warnings">{title}{sentences(found)}</section>'


def scenes(facts: RunFacts) -> str:
    """The scenes that were used, and why others were not."""
    days = len({scene.day for scene in facts.scenes})
    rows = [_scene(scene) for scene in facts.scenes[:MOST_ROWS]]
    more = len(facts.scenes) - len(rows)
    used = table(["Day", "Tile", "Satellite", "Cloud, %", "Scene"], rows, (3,))
    left = sentences(facts.left_out) if facts.left_out else "<p>The search left none out.</p>"
    gone = [[f"{one.scene.day}", _cloud(one.scene), escape(one.scene.id), escape(one.reason)] for one in facts.filtered]
    if gone:
        heads = ["Day", "Cloud, %", "Scene", "Why"]
        rest = f"<p>and {len(gone) - MOST_ROWS} more.</p>" if len(gone) > MOST_ROWS else ""
        names = f"{table(heads, gone[:MOST_ROWS], (1,))}{rest}"
        left += f"<details><summary>{_count(len(gone), 'scene')} by name</summary>{names}</details>"
    return (
        f"<p>{_count(len(facts.scenes), 'scene')} of {_count(days, 'day')} were used, those around the published days "
        "among them, which serve as context.</p>"
        f"{_skipped(facts)}"
        f"<details><summary>Scenes that were used</summary>{used}{f'<p>and {more} more.</p>' if more else ''}</details>"
        f"<h3>Left out, and why</h3>{left}"
    )


def _skipped(facts: RunFacts) -> str:
    """A sentence on days that were asked for and that hold nothing."""
    if not facts.skipped:
        return ""
    some = ", ".join(facts.skipped[:MOST_NAMED]) + (" …" if len(facts.skipped) > MOST_NAMED else "")
    return f"<p>{_count(len(facts.skipped), 'day')} hold no clear look and were not published: {escape(some)}.</p>"


def _scene(scene: Scene) -> list[str]:
    name, href = escape(scene.id), safe([scene.href or ""])[0]
    if href.startswith(("http://", "https://")):
        name = f'<a href="{escape(href)}" rel="noopener noreferrer">{name}</a>'
    return [f"{scene.day}", escape(scene.tile or ""), escape(scene.platform or ""), _cloud(scene), name]


def _cloud(scene: Scene) -> str:
    return "" if scene.cloud_cover is None else f"{scene.cloud_cover:.0f}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def scores(facts: RunFacts) -> str:
    """The scores that `--evaluate` brought, or how to get them."""
    found = facts.collection.get("spaceeye:holdout")
    if not found:
        return (
            "<p>This run was not scored. <code>spaceeye-stac run … --evaluate</code> hides clear pixels and dates "
            "from the method and says here how near it comes; <code>spaceeye-stac evaluate</code> says more.</p>"
        )
    known = [(kind, methods) for kind, methods in found.items() if _is_scored(methods)]
    keys = [key for key in SCORES if any(key in row for _, methods in known for row in methods.values())]
    rows = [
        [escape(KINDS.get(kind, kind)), escape(method), *(_number(row.get(key)) for key in keys)]
        for kind, methods in known
        for method, row in methods.items()
    ]
    note = "<p>Pixels and dates that were clear were hidden from the method; errors are in reflectance.</p>"
    return note + table(["Hidden", "Method", *(SCORES[key] for key in keys)], rows, range(2, 2 + len(keys)))


def _is_scored(methods: object) -> bool:
    return isinstance(methods, Mapping) and any(isinstance(row, Mapping) and "psnr" in row for row in methods.values())


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "–"


def settings(facts: RunFacts) -> str:
    """What was asked for: first what is not a default, then the rest."""
    defaults = _defaults()
    asked = {name: value for name, value in facts.asked.items() if name not in IN_THE_HEAD}
    changed = {name: value for name, value in asked.items() if value != defaults.get(name)}
    rest = {name: value for name, value in asked.items() if name not in changed}
    first = _options(changed) if changed else "<p>Every setting is left at its default.</p>"
    count = _count(len(rest), "setting")
    return f"{first}<details><summary>{count} at the default</summary>{_options(rest)}</details>"


def _options(values: Json) -> str:
    return table(
        ["Setting", "Value"], [[f"<code>{escape(name)}</code>", _value(value)] for name, value in values.items()]
    )


def _value(value: Any) -> str:  # noqa: ANN401 - of any type that an option has
    if value is None:
        return "–"
    if isinstance(value, list):
        return escape(safe([", ".join(map(str, value))])[0])
    return escape(safe([json.dumps(value) if not isinstance(value, str) else value])[0])


def _defaults() -> Json:
    """The default of each option that has one, as it stands in a run's record."""
    found = {
        f.name: f.default for group in (Query, Settings, Output) for f in fields(group) if f.default is not MISSING
    }
    return dict(json.loads(json.dumps(found)))


def cite(facts: RunFacts, software: str) -> str:
    """What is to be named where the days are used."""
    years = sorted({scene.day.year for scene in facts.scenes}) or [facts.created.year]
    span = f"{years[0]}" if years[0] == years[-1] else f"{years[0]}–{years[-1]}"
    return (
        f"<blockquote>Contains modified Copernicus Sentinel data {span}, processed with {escape(software)}."
        "</blockquote>"
        "<blockquote>Mingmin Zhao, Peder A. Olsen, Ranveer Chandra: Seeing Through Clouds in Satellite Images. 2021. "
        f'<a href="{PAPER}" rel="noopener noreferrer">arXiv:2106.08408</a></blockquote>'
    )
