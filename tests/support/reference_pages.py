"""examples/reference.md, built from the docstrings: `python -m tests.support.reference_pages` writes it."""

import inspect
import re
from dataclasses import fields, is_dataclass
from typing import Any

import spaceeye_stac as se
from tests.support.material import ROOT

PAGE = ROOT / "examples" / "reference.md"
GROUPS = {
    "What to ask for": ("Query", "Settings", "Resources", "Output"),
    "From a catalog to days": ("search", "plan", "interpolate", "run", "open", "open_keyframes"),
    "How good it is": ("evaluate", "Scores"),
    "Look at it": ("series", "film", "FilmFile"),
    "Publishing": ("publish", "unpublish", "Report"),
    "What comes back": ("Scene", "SceneList", "Plan", "Result", "Solution", "SpaceEyeError"),
    "Parts": ("scenes_from_items", "solve"),
}
HEAD = """# Python reference

All that `import spaceeye_stac as se` gives, from its docstrings, as `help(se.run)` shows them. The
[how-tos](README.md) show how it goes together; the options have [tables](../spaceeye_stac/README.md#options), too.
"""
SECTION = re.compile(r"^(Parameters|Attributes)\n-+\n", re.MULTILINE)
ENTRY = re.compile(r"^(\S.*)\n((?:[ ]{4}.*\n?)+)\n?", re.MULTILINE)


def documented(docstring: str) -> dict[str, str]:
    """What a numpydoc docstring says of each of its parameters, by name."""
    parts = SECTION.split(docstring)
    found = ENTRY.findall(parts[2]) if len(parts) > 1 else []
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def parameters(thing: Any) -> dict[str, str]:
    """The parameters of a function, or the fields that a dataclass is made from, with their defaults as text."""
    if is_dataclass(thing):
        return {one.name: _default(one.default) for one in fields(thing)}
    found = inspect.signature(thing).parameters.values()
    return {one.name: _default(one.default) for one in found if one.name not in {"self", "args", "kwargs"}}


def _default(value: object) -> str:
    if value is inspect.Parameter.empty or type(value).__name__ == "_MISSING_TYPE":
        return ""
    return getattr(value, "__name__", None) or repr(value)


def _call(name: str, thing: Any) -> str:
    if is_dataclass(thing) and name not in GROUPS["What to ask for"]:
        return f"se.{name}"
    if isinstance(thing, type) and not is_dataclass(thing):
        return f"se.{name}"
    given = [f"{one}={default}" if default else one for one, default in parameters(thing).items()]
    kinds = [one.kind is inspect.Parameter.KEYWORD_ONLY for one in inspect.signature(thing).parameters.values()]
    if any(kinds):
        given.insert(kinds.index(True), "*")
    return f"se.{name}({', '.join(given)})"


def _section(name: str) -> str:
    thing = getattr(se, name)
    text = inspect.getdoc(thing) or ""
    parts = SECTION.split(text)
    lines = [f"### {name}", f"```text\n{_wrapped(_call(name, thing))}\n```", _escaped(parts[0].strip())]
    if len(parts) > 1:
        entries = ENTRY.findall(parts[2])
        lines.append("\n".join(f"- {_named(names)}: {_escaped(' '.join(said.split()))}" for names, said in entries))
        lines.append(_escaped(ENTRY.sub("", parts[2]).strip()))
    return "\n\n".join(line for line in lines if line)


def _named(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _wrapped(text: str, width: int = 110) -> str:
    lines, line = [], ""
    for word in text.split(" "):
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = "   "
        line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def _escaped(text: str) -> str:
    """Signs outside of code that Markdown would take for its own."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<*_\[\]|])", r"\\\1", part) for part in parts)


def page() -> str:
    """The whole page."""
    parts = [HEAD.rstrip()]
    for title, names in GROUPS.items():
        parts += [f"## {title}", *map(_section, names)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
