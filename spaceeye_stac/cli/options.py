"""The command line's options: those of a run are read from the description of the process, others written once."""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

import typer

from spaceeye_stac import __version__, platforms
from spaceeye_stac.cli.completion import completion_of
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.settings import Settings

WIDEST_CHOICES = 22
OF_SOME_COMMANDS = ("method", "appearance", "collection_id")
_TYPES: dict[str, type] = {"boolean": bool, "integer": int, "number": float}
_SETTINGS = {parameter.name: parameter for parameter in platforms.parameters_of(Settings)}


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"spaceeye-stac {__version__}")
        raise typer.Exit


def _take_from_file(ctx: typer.Context, path: Path | None) -> Path | None:
    """Let what a file says stand for the options that the command line lacks."""
    if path is not None and not ctx.resilient_parsing:
        ctx.obj = platforms.read_query_file(path)
        ctx.default_map = {name: _text(value) for name, value in ctx.obj.items()}
    return path


def _text(value: Any) -> Any:  # noqa: ANN401 - any value of a field
    """A value as an option takes it."""
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _described(found: platforms.Parameter) -> Any:  # noqa: ANN401 - typer's own
    """A parameter of the process as typer wants it: its text, panel, choices, and what a shell completes."""
    name, kind = f"--{found.name.replace('_', '-')}", found.schema.get("type")
    return typer.Option(
        *([name] if kind == "boolean" else []),
        help=found.help,
        metavar="A,B,..." if kind == "array" else _choices(found.schema.get("enum", ())),
        rich_help_panel=found.panel,
        autocompletion=completion_of(found),
    )


def _choices(words: Sequence[str]) -> str | None:
    """The words that an option may be, on lines that leave room for its text; None of none."""
    return "\n ".join(wrap(f"[{'| '.join(words)}]", WIDEST_CHOICES)).replace("| ", "|") if words else None


def _panel(panel: str, *names: str, **options: Any) -> Any:  # noqa: ANN401 - typer's own
    return typer.Option(*names, rich_help_panel=panel, **options)


PRINTING, PUBLISHING = "What is printed", "Publishing"
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
]
QueryFile = Annotated[
    Path | None,
    _panel(
        "Where and when",
        "--query",
        is_eager=True,
        callback=_take_from_file,
        metavar="FILE.toml",
        help="Query and settings from a file; other options win.",
    ),
]
SaveQuery = Annotated[
    Path | None,
    _panel(
        "Where and when", "--save-query", metavar="FILE.toml", help="Write query and settings to a file, for --query."
    ),
]
Out = Annotated[str, _panel("Output", help="Folder of the new collection, or s3://, az://, gs://.")]
CollectionId = Annotated[str, _described(_SETTINGS["collection_id"])]
Method = Annotated[str, _described(_SETTINGS["method"])]
Appearance = Annotated[str | None, _described(_SETTINGS["appearance"])]
Duration = Annotated[str | None, _described(_SETTINGS["duration"])]
Verbose = Annotated[
    int, _panel(PRINTING, "--verbose", "-v", count=True, help="Log a line a stage; twice: a line a file.")
]
Quiet = Annotated[bool, _panel(PRINTING, "--quiet", help="No progress bars.")]
AsJson = Annotated[bool, _panel(PRINTING, "--json", help="Print JSON.")]
WithReport = Annotated[bool, _panel("Output", "--report/--no-report", help="Leave a page report.html in the folder.")]
Overwrite = Annotated[bool, _panel("Output", "--overwrite", help="Replace the run in the folder.")]
Update = Annotated[bool, _panel("Output", "--update", help="Redo only what new scenes or days touch.")]
To = Annotated[
    str,
    _panel(
        PUBLISHING, "--to", help="STAC API (https://...), geocatalog+https://..., s3://, az://, gs://, or a folder."
    ),
]
RunTo = Annotated[
    str | None, _panel(PUBLISHING, "--to", help="Publish there too, day by day: STAC API, store or folder.")
]
AssetBaseUrl = Annotated[str | None, _panel(PUBLISHING, help="Public address of the files, for their hrefs.")]
AssetsTo = Annotated[str | None, _panel(PUBLISHING, help="For an API: store or folder to send the files to first.")]
Ingest = Annotated[
    str | None,
    _panel(
        PUBLISHING,
        help="A GeoCatalog fetches new items itself: from the catalog or geoparquet at --assets-to.",
        metavar="[catalog|geoparquet]",
    ),
]
Wait = Annotated[
    float | None, _panel(PUBLISHING, help="Seconds for what an API has only accepted; 60, a GeoCatalog 900.")
]
StacVersion = Annotated[
    str,
    _panel(PUBLISHING, help="1.1, or 1.0 for servers and readers that know no newer one.", metavar="[1.1|1.0]"),
]
TilesUrl = Annotated[str | None, _panel(PUBLISHING, help="Root of a titiler that shows the items as tiles.")]
Prune = Annotated[bool, _panel(PUBLISHING, "--prune", help="Remove items that the run no longer has.")]
Replace = Annotated[bool, _panel(PUBLISHING, "--overwrite", help="Replace another run's collection of this id.")]


def options_of(group: type) -> dict[str, platforms.Parameter]:
    """The parameters of Query, Settings, Resources or Output that are options of every command that takes it."""
    left_out = {*OF_SOME_COMMANDS, *platforms.ONLY_IN_PYTHON}
    return {found.name: found for found in platforms.parameters_of(group) if found.name not in left_out}


def days_of(duration: str | None) -> Any:  # noqa: ANN401 - which Settings checks
    """Whole days, or the text that Settings judges."""
    return _value(_SETTINGS["duration"], duration)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameters of type Query, Settings, Resources and Output by the options they are made of.

    With them come `--query` and `--save-query`, a file of all that is asked for.
    """
    own = signature(command).parameters
    groups = {name: parameter.annotation for name, parameter in own.items() if parameter.annotation in platforms.GROUPS}

    @wraps(command)
    def call(ctx: typer.Context, query_file: Path | None, save_query: Path | None, **arguments: Any) -> None:  # noqa: ANN401 - of any type that an option has
        del query_file  # which has been read before any other option
        saved = _Saved.of(ctx)
        made = {name: group(**saved.fields(group, arguments)) for name, group in groups.items()}
        if save_query is not None:
            settings = made.get("settings", Settings(**saved.fields(Settings, {})))
            others = {name: _value(_SETTINGS[name], value) for name, value in arguments.items() if name in _SETTINGS}
            platforms.write_query_file(save_query, made["query"], replace(settings, **others))
        command(**made, **arguments)

    options: list[Parameter] = [Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    files = {"query_file": QueryFile, "save_query": SaveQuery}
    for name, parameter in own.items():
        options += map(_option, options_of(groups[name]).values()) if name in groups else [parameter]
    options += [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in files.items()]
    options = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in sorted(options, key=_place)]
    call.__signature__ = Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


def _place(option: Parameter) -> int:
    """Where the help has an option: as the dataclasses have it, a command's own before those of the files of days."""
    *first, last = ([found.name for found in platforms.parameters_of(group)] for group in platforms.GROUPS)
    names = [name for group in first for name in group]
    return names.index(option.name) if option.name in names else len(names) + (option.name in last)


@dataclass(frozen=True)
class _Saved:
    """What a query file gives, and the names of the options that the command line itself gives."""

    values: Mapping[str, Any]
    typed: Container[str]

    @classmethod
    def of(cls, ctx: typer.Context) -> "_Saved":
        sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
        typed = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
        values = dict(ctx.obj or {})
        if typed & {"bbox", "intersects"}:  # one region goes for the other
            values |= dict.fromkeys(("bbox", "intersects", "buffer"))
        return cls(values, typed)

    def fields(self, group: type, arguments: dict[str, Any]) -> dict[str, Any]:
        """Values of a group's fields, of the command line, which leave the arguments, and of the file."""
        given = {name: arguments.pop(name) for name in options_of(group) if name in arguments}
        found = {name: _value(option, given[name]) for name, option in options_of(group).items() if name in given}
        names = [one.name for one in platforms.parameters_of(group)]
        kept = {name: self.values[name] for name in names if name in self.values and name not in self.typed}
        return {**found, **kept}


def _option(found: platforms.Parameter) -> Parameter:
    """A parameter of the process as an option: a flag, a number, or text, with commas where it has several values."""
    kind = _TYPES.get(found.schema.get("type", ""), str)
    default = ",".join(map(str, found.default)) if isinstance(found.default, tuple) else found.default
    return Parameter(
        found.name,
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if found.required else default,
        annotation=Annotated[kind | None if default is None else kind, _described(found)],
    )


def _value(found: platforms.Parameter, given: Any) -> Any:  # noqa: ANN401 - of any type that an option has
    """What an option's text stands for: several values, or a whole number where it may be one."""
    if not isinstance(given, str):
        return given
    schema = found.schema
    if schema.get("type") == "array":
        parts = [part.strip() for part in given.split(",")]
        return [_whole(part, found.name) for part in parts] if schema["items"]["type"] == "integer" else parts
    return int(given) if given.isdecimal() and {"type": "integer"} in schema.get("anyOf", ()) else given


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{name} {text!r} is no whole number.") from None
