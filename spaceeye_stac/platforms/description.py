"""The one description of the process, read from the dataclasses of a run: names, types, defaults and texts."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from spaceeye_stac import __version__
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PROCESS_ID = "spaceeye"
ONLY_IN_PYTHON = ("normalize_illuminance", "tolerance", "max_iterations", "check_interval")  # no options of the command
GROUPS: tuple[type, ...] = (Query, Settings, Resources, Output)
PANELS: dict[str, Sequence[str]] = {  # of the help of the command, in their order
    "Where and when": ("catalog", "datetime", "bbox", "intersects", "buffer", "collection", "profile"),
    "Scenes": ("bands", "max_cloud_cover", "tiles", "platforms", "orbits", "exclude", "unreadable", "allow_hrefs"),
    "Masks": (
        *("mask", "mask_asset", "mask_clear_values", "mask_collection", "mask_catalog", "unmasked", "clear_classes"),
        *("max_cloud_probability", "mask_dilation", "mask_model", "mask_model_use"),
    ),
    "Method": (),
    "Grid": ("resolution", "crs", "resampling", "tiling", "clip"),
    "Output": ("collection_id",),
    "Resources": (),
}
PANEL_OF: dict[type, str] = {Query: "Scenes", Settings: "Method", Resources: "Resources", Output: "Output"}
SCALARS: dict[object, Json] = {
    str: {"type": "string"},
    Path: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    object: {},
}
DAYS: Json = {
    "title": "Days",
    "description": "STAC collection with one cloud-free item a day, and the catalog that it is a child of.",
    "type": "object",
    "format": "stac-collection",
    "properties": {"type": {"const": "Collection"}, "id": {"type": "string"}},
    "required": ["type", "id"],
}


@dataclass(frozen=True)
class Parameter:
    """One value that a run can be asked for with: a field of Query, Settings, Resources or Output.

    Parameters
    ----------
    name
        Of the field.
    annotation
        Its type; keywords of JSON Schema that the type cannot say, as choices, stand in an Annotated.
    default
        What it is when left out; MISSING where it must be given, None where something else decides.
    text
        What the docstring says of it, on one line.
    panel
        Under which heading the help of the command has it.

    """

    name: str
    annotation: Any
    default: object
    text: str
    panel: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, or each of its values, where there are such."""
        schema = self.schema
        some = [schema, schema.get("items", {}), *schema.get("anyOf", ())]
        return tuple(str(word) for one in some for word in one.get("enum", one.get("examples", ())))

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def help(self) -> str:
        """The first sentence of the text."""
        return re.split(r"(?<=[^.]\.) (?=\S)", self.text, maxsplit=1)[0]

    @property
    def schema(self) -> Json:
        """Its JSON Schema, with title, default, and as description the text but for what only Python can have."""
        title = self.name.replace("_", " ").capitalize()
        found: Json = {
            "title": title,
            "description": self.text.partition(" In Python")[0],
            **_schema_of(self.annotation),
        }
        if self.required or self.default is None:
            return found
        return {**found, "default": list(self.default) if isinstance(self.default, tuple) else self.default}


def described_fields(group: type) -> list[Field[Any]]:
    """The fields of one of GROUPS, in order, but for those that no JSON can say."""
    return [one for one in fields(group) if one.metadata.get("json", True)]


@cache
def parameters_of(group: type) -> tuple[Parameter, ...]:
    """The parameters of one of GROUPS, in the order of its fields."""
    types, texts = get_type_hints(group, include_extras=True), _texts(inspect.getdoc(group) or "")
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    return tuple(
        Parameter(f.name, types[f.name], f.default, texts.get(f.name, ""), panels.get(f.name, PANEL_OF[group]))
        for f in described_fields(group)
    )


def process_description() -> Json:
    """What the process is, takes and gives: `inputs` and `outputs` are each the JSON Schema of an object.

    Values that only Python can have, as a callable for `method`, are left out: all that is described can be JSON.
    """
    found = [parameter for group in GROUPS for parameter in parameters_of(group)]
    return {
        "$schema": DRAFT,
        "id": PROCESS_ID,
        "version": __version__,
        "title": "A cloud-free Sentinel-2 image for every day",
        "description": "Turns a cloudy Sentinel-2 STAC catalog into a STAC collection with a cloud-free image a day.",
        "inputs": {
            "type": "object",
            "properties": {parameter.name: parameter.schema for parameter in found},
            "required": [parameter.name for parameter in found if parameter.required],
            "oneOf": [{"required": ["bbox"]}, {"required": ["intersects"]}],
            "additionalProperties": False,
        },
        "outputs": {"type": "object", "properties": {"days": DAYS}, "required": ["days"]},
    }


def _texts(docstring: str) -> dict[str, str]:
    """Text of each parameter of a numpydoc docstring, on one line; names that share a text each have it.

    None of any where Python was started without docstrings (-OO).
    """
    section = re.split(r"^Parameters\n-+\n", docstring, flags=re.MULTILINE)[-1]
    entries = re.findall(r"^(\S.*)\n((?:[ ]{4}.*\n?)+)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}


def _schema_of(annotation: Any) -> Json:  # noqa: ANN401 - whatever stands after a field's colon
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return {**_schema_of(parts[0]), **parts[1]}
    if origin in {Union, UnionType}:
        kept = [_schema_of(part) for part in parts if part is not NoneType and get_origin(part) is not Callable]
        alternatives = [schema for i, schema in enumerate(kept) if schema not in kept[:i]]
        return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}
    if origin is Literal:
        return {"type": "string", "enum": list(parts)}
    if origin is Sequence:
        return {"type": "array", "items": _schema_of(parts[0])}
    return dict(SCALARS[annotation])
