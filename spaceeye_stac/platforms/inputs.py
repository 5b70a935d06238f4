"""What a platform sends as JSON, made into the dataclasses of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.platforms.description import GROUPS, Parameter, parameters_of
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list, tuple),
}


@dataclass(frozen=True)
class ProcessInputs:
    """All that a run is asked for, each checked."""

    query: Query
    settings: Settings
    resources: Resources
    output: Output


def inputs_from(values: Mapping[str, object]) -> ProcessInputs:
    """Make a run's dataclasses of values as JSON has them, by the names of the description; null is left out.

    Raises InvalidInputError for an unknown or lacking name or a value of another type, and as the dataclasses do.
    """
    given = {name: value for name, value in values.items() if value is not None}
    known = {parameter.name: parameter for group in GROUPS for parameter in parameters_of(group)}
    for name, value in given.items():
        if name not in known:
            raise InvalidInputError(f"{name!r} is no input; choose from {', '.join(known)}.")
        check_kind(known[name], value)
    lacking = [name for name, parameter in known.items() if parameter.required and name not in given]
    if lacking:
        raise InvalidInputError(f"{', '.join(lacking)} must be given, and lacks.")
    made = [group(**{p.name: given[p.name] for p in parameters_of(group) if p.name in given}) for group in GROUPS]
    return ProcessInputs(*made)


def check_kind(parameter: Parameter, value: object) -> None:
    """Raise InvalidInputError for a value of a type that a parameter cannot have."""
    if not _fits(value, parameter.schema):
        raise InvalidInputError(f"{parameter.name} {value!r} is not allowed; give {_named(parameter.schema)}.")


def _fits(value: object, schema: Json) -> bool:
    """Whether a value has a type that a schema allows; what its dataclass checks is left to that."""
    if "anyOf" in schema:
        return any(_fits(value, one) for one in schema["anyOf"])
    kind = cast("str", schema["type"])
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    return kind != "array" or all(_fits(part, schema["items"]) for part in cast("list[object]", value))


def _named(schema: Json) -> str:
    """The types that a schema allows, as the end of a sentence."""
    if "anyOf" in schema:
        return " or ".join(_named(one) for one in schema["anyOf"])
    return f"{schema['type']} of {_named(schema['items'])}" if schema["type"] == "array" else str(schema["type"])
