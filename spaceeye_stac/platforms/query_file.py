"""A Query and Settings in a file of TOML, for people to keep, to change and to send.

    [query]
    catalog = "planetary-computer"
    datetime = "2023-04-11/2023-08-08"
    bbox = [3.0194, 50.8132, 3.0283, 50.8187]

    [settings]
    duration = 48

Only what is not usual is written, and no address that may hold a secret.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

from spaceeye_stac.display import given
from spaceeye_stac.errors import InvalidInputError, OutputError, redacted
from spaceeye_stac.platforms.description import Parameter, parameters_of
from spaceeye_stac.platforms.inputs import check_kind
from spaceeye_stac.query import Json, Query
from spaceeye_stac.settings import Settings

TABLES: Mapping[str, type] = {"query": Query, "settings": Settings}


def read_query_file(path: Path) -> Json:
    """The fields that a file gives, by their names, each of a type that it may have; a field may lack.

    Raises InvalidInputError for a file that cannot be read, is no TOML, or has what is no field.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"Query file {path} cannot be read: {error}.") from None
    values: Json = {}
    for table, fields in found.items():
        known = _known(table) if table in TABLES and isinstance(fields, dict) else None
        if known is None:
            raise InvalidInputError(f"Query file {path} has {table!r}; its tables are [query] and [settings].")
        for name, value in fields.items():
            if name not in known:
                raise InvalidInputError(f"Query file {path} has {name!r} in [{table}]{_meant(name, known)}.")
            check_kind(known[name], value)
            values[name] = value
    return values


def _known(table: str) -> dict[str, Parameter]:
    return {one.name: one for one in parameters_of(TABLES[table])}


def _meant(name: str, known: Mapping[str, Parameter]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; {near[0]} is meant" if near else f"; choose from {', '.join(known)}"


def write_query_file(path: Path, query: Query, settings: Settings) -> None:
    """Write what is not usual of a query and settings; OutputError where that is no text, or no file can be made."""
    text = "\n".join(
        line for table, options in (("query", query), ("settings", settings)) for line in _table(table, options)
    )
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise OutputError(f"Query file {path} cannot be written: {error}.") from None


def _table(table: str, options: Query | Settings) -> Iterator[str]:
    yield f"[{table}]"
    for name, value in given(options).items():
        if _may_be_secret(value):
            yield f"# {name} is left out, as its address may hold a secret: give it beside this file."
        else:
            yield f"{name} = {_toml(name, value)}"
    yield ""


def _may_be_secret(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_may_be_secret, value))
    return isinstance(value, str) and redacted(value) != value


def _toml(name: str, value: Any) -> str:  # noqa: ANN401 - any value of a field
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, PurePath)):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(name, part) for part in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {_toml(name, part)}' for key, part in value.items())}}}"
    raise OutputError(f"{name} {type(value).__name__} cannot be saved in a file; leave it out, or name what it is.")
