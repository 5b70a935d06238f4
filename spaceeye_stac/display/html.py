"""How objects show themselves: one short line in a terminal, and HTML in a notebook.

Whatever is not made here is escaped, as much of it comes from catalogs. Colours are those of the notebook around it, so
that dark ones stay dark.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import PurePath
from typing import Any

from spaceeye_stac.errors import printable, redacted

LONGEST_VALUE = 60
MOST_LISTED = 20
VOID = frozenset({"img"})
FAINT = "1px solid color-mix(in srgb, currentColor 25%, transparent)"
CELL = "text-align:left;vertical-align:top;padding:.15em .8em .15em 0;background:none"
NUMBER = CELL.replace("left", "right") + ";white-space:nowrap"
PAGE = "color:inherit;background:none;font-size:.95em;line-height:1.45;max-width:64em"
TITLE = "font-weight:600;font-size:1.05em;margin-bottom:.4em"
NOTE = "margin:.4em 0;opacity:.85"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *parts: object, **attributes: object) -> Html:
    """One element with what is in it; `class_` and `data_day` are attributes `class` and `data-day`."""
    named = "".join(f' {name.rstrip("_").replace("_", "-")}="{_safe(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{named}>" if tag in VOID else f"<{tag}{named}>{joined_parts(parts)}</{tag}>")


def joined_parts(parts: Iterable[object]) -> Html:
    """Parts one after the other."""
    return Html("".join(map(_safe, parts)))


def _safe(part: object) -> str:
    return part if isinstance(part, Html) else escape(printable(str(part)))


def card(title: object, *parts: object) -> str:
    """All that an object shows in a notebook, below its title."""
    return element("div", element("div", title, style=TITLE), *parts, style=PAGE)


def table(head: Sequence[object], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> Html:
    """A table; the columns `numbers` stand to the right. Without a head, the first column names what follows."""
    styles = [NUMBER if i in numbers else CELL for i in range(max(len(head), 8))]

    def row(tag: str, cells: Sequence[object], more: str = "") -> Html:
        return element("tr", *(element(tag, cell, style=styles[i] + more) for i, cell in enumerate(cells)))

    top = [element("thead", row("th", head, f";border-bottom:{FAINT}"))] if head else []
    body = element("tbody", *(row("td", cells) for cells in rows))
    return element("table", *top, body, style="border-collapse:collapse;border:none;margin:.3em 0")


def folded(summary: object, *parts: object, is_open: bool = False) -> Html:
    """Parts that are shown when the summary is clicked."""
    attributes = {"open": "open"} if is_open else {}
    return element("details", element("summary", summary, style="cursor:pointer"), *parts, **attributes)


def notes(lines: Sequence[str]) -> Html:
    """Sentences below each other; nothing of none."""
    items = [element("li", line) for line in lines]
    return element("ul", *items, style=f"{NOTE};padding-left:1.3em") if lines else Html()


def paragraph(*parts: object) -> Html:
    """A paragraph."""
    return element("p", *parts, style=NOTE)


def brief(value: object) -> str:
    """A value as Python writes it, in a few words: no secret of an address, and no long list in full."""
    if isinstance(value, Mapping) and "type" in value:
        return f"<{value['type']} of {vertices(value)} vertices>"
    value = str(value) if isinstance(value, PurePath) else value
    if isinstance(value, str) or not hasattr(value, "__dict__"):
        text = printable(repr(redacted(value) if isinstance(value, str) else value))
    else:
        text = f"<{getattr(value, '__name__', type(value).__name__)}>"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 4]}...{text[-1]}"


def plainly(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and values as the rows of a table: several with commas between, texts and paths as they are."""
    return [(name, _plain(value)) for name, value in values.items()]


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)) and len(value) <= MOST_LISTED:
        return ", ".join(map(_plain, value))
    return redacted(str(value)) if isinstance(value, (str, PurePath)) else brief(value)


def call(name: str, values: Mapping[str, object]) -> str:
    """One short line: how an object is made, with the values that are not the usual ones."""
    return f"{name}({', '.join(f'{key}={brief(value)}' for key, value in values.items())})"


def given(options: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    """The fields of a dataclass that are not what they are when left out, with their values."""
    found = {one.name: (getattr(options, one.name), one.default) for one in fields(options)}
    return {name: value for name, (value, default) in found.items() if value is not default and value != default}


def vertices(geometry: Mapping[str, object]) -> int:
    """How many points a GeoJSON geometry has."""
    parts = geometry.get("geometries")
    if isinstance(parts, (list, tuple)):
        return sum(vertices(part) for part in parts)
    return _points(geometry.get("coordinates"))


def _points(coordinates: object) -> int:
    if not isinstance(coordinates, (list, tuple)) or not coordinates:
        return 0
    return 1 if isinstance(coordinates[0], (int, float)) else sum(_points(part) for part in coordinates)
