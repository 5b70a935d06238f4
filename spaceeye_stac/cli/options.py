"""The command line's options: those of a run are read from the description of the process, others written once."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from spaceeye_stac import __version__, platforms
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.settings import Settings

OF_SOME_COMMANDS = ("method", "appearance", "collection_id")
_TYPES: dict[str, type] = {"boolean": bool, "integer": int, "number": float}
_SETTINGS = {parameter.name: parameter for parameter in platforms.parameters_of(Settings)}


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        typer.echo(f"spaceeye-stac {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
]
Out = Annotated[Path, typer.Option(help="Folder of the new collection.")]
CollectionId = Annotated[str, typer.Option(help=_SETTINGS["collection_id"].help)]
Method = Annotated[str, typer.Option(help=_SETTINGS["method"].help)]
Appearance = Annotated[str | None, typer.Option(help=_SETTINGS["appearance"].help)]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log a line a stage; twice: a line a file.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Update = Annotated[bool, typer.Option("--update", help="Redo only what new scenes or days touch.")]
WithReport = Annotated[bool, typer.Option("--report/--no-report", help="Leave a page report.html in the folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
To = Annotated[
    str, typer.Option("--to", help="STAC API (https://...), geocatalog+https://..., s3://, az://, gs://, or a folder.")
]
RunTo = Annotated[str | None, typer.Option("--to", help="Publish there too, day by day: STAC API, store or folder.")]
AssetBaseUrl = Annotated[str | None, typer.Option(help="Public address of the files, for their hrefs.")]
AssetsTo = Annotated[str | None, typer.Option(help="For an API: store or folder to send the files to first.")]
Ingest = Annotated[
    str | None,
    typer.Option(help="A GeoCatalog fetches new items itself: from the catalog or geoparquet at --assets-to."),
]
Wait = Annotated[float | None, typer.Option(help="Seconds for what an API has only accepted; 60, a GeoCatalog 900.")]
TilesUrl = Annotated[str | None, typer.Option(help="Root of a titiler that shows the items as tiles.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove items that the run no longer has.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace another run's collection of this id.")]
Duration = Annotated[str | None, typer.Option(help=_SETTINGS["duration"].help)]


def options_of(group: type) -> dict[str, platforms.Parameter]:
    """The parameters of Query, Settings, Resources or Output that are options of every command that takes it."""
    left_out = {*OF_SOME_COMMANDS, *platforms.ONLY_IN_PYTHON}
    return {found.name: found for found in platforms.parameters_of(group) if found.name not in left_out}


def days_of(duration: str | None) -> Any:  # noqa: ANN401 - which Settings checks
    """Whole days, or the text that Settings judges."""
    return _value(_SETTINGS["duration"], duration)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameters of type Query, Settings, Resources and Output by the options they are made of."""
    own = signature(command).parameters
    groups = {name: parameter.annotation for name, parameter in own.items() if parameter.annotation in platforms.GROUPS}

    @wraps(command)
    def call(**arguments: Any) -> None:  # noqa: ANN401 - of any type that an option has
        made = {
            name: group(**{key: _value(found, arguments.pop(key)) for key, found in options_of(group).items()})
            for name, group in groups.items()
        }
        command(**made, **arguments)

    options: list[Parameter] = []
    for name, parameter in own.items():
        options += map(_option, options_of(groups[name]).values()) if name in groups else [parameter]
    options = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
    call.__signature__ = Signature(options)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


def _option(found: platforms.Parameter) -> Parameter:
    """A parameter of the process as an option: a flag, a number, or text, with commas where it has several values."""
    kind = _TYPES.get(found.schema.get("type", ""), str)
    names = [f"--{found.name.replace('_', '-')}"] if kind is bool else []
    metavar = "A,B,..." if found.schema.get("type") == "array" else None
    default = ",".join(map(str, found.default)) if isinstance(found.default, tuple) else found.default
    return Parameter(
        found.name,
        Parameter.KEYWORD_ONLY,
        default=Parameter.empty if found.required else default,
        annotation=Annotated[
            kind | None if default is None else kind, typer.Option(*names, help=found.help, metavar=metavar)
        ],
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
