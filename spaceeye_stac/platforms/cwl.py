"""The process as an OGC EO Application Package (OGC 20-089r1): a workflow of one command line tool, in CWL 1.2."""

from spaceeye_stac import __version__
from spaceeye_stac.platforms.description import (
    ONLY_IN_PYTHON,
    PROCESS_ID,
    Parameter,
    parameters_of,
    process_description,
)
from spaceeye_stac.query import Json, Query
from spaceeye_stac.resources import Output
from spaceeye_stac.settings import Settings

IMAGE = f"spaceeye-stac:{__version__}"
TOOL_ID = f"{PROCESS_ID}-run"
CATALOG, SCENES = "catalog", "scenes"
OUT = "days"
RENAMED = {OUT: "days_form"}  # an input may not be named as the output is
CWL_TYPES = {"string": "string", "integer": "int", "number": "double", "boolean": "boolean"}
RESOURCES: Json = {"class": "ResourceRequirement", "coresMin": 2, "coresMax": 4, "ramMin": 4096, "ramMax": 8192}
STAGED = Parameter(
    SCENES,
    str,
    None,
    "Folder with a staged STAC catalog of the scenes, and their files. One of `scenes` and `catalog` is needed; where "
    "both are given, `scenes` counts.",
)
METADATA: Json = {
    "s:name": "spaceeye-stac",
    "s:description": process_description()["description"],
    "s:softwareVersion": __version__,
    "s:license": "https://spdx.org/licenses/MIT",
    "s:author": {"@type": "s:Organization", "s:name": "the spaceeye-stac authors"},
    "s:citation": "https://arxiv.org/abs/2106.08408",
    "s:keywords": ["STAC", "Sentinel-2", "cloud removal", "SpaceEye", "COG"],
}


def application_package() -> Json:
    """The package as a CWL document, which is JSON and so YAML.

    Resources are those that the platform gives: its cores, and half of the memory that its container allows.
    """
    return {
        "cwlVersion": "v1.2",
        "$namespaces": {"s": "https://schema.org/"},
        **METADATA,
        "$graph": [_workflow(), _tool()],
    }


def _parameters() -> list[Parameter]:
    """What the package takes: all that a run does, but what only Python has or what is of the machine."""
    found = [parameter for group in (Query, Settings, Output) for parameter in parameters_of(group)]
    return [STAGED, *(parameter for parameter in found if parameter.name not in ONLY_IN_PYTHON)]


def _workflow() -> Json:
    process, names = process_description(), [_name(parameter) for parameter in _parameters()]
    output = process["outputs"]["properties"][OUT]
    words = {"label": process["title"], "doc": process["description"]}
    return {
        "class": "Workflow",
        "id": PROCESS_ID,
        **words,
        "inputs": {_name(parameter): _input(parameter) for parameter in _parameters()},
        "outputs": {OUT: {**_words(output), "type": "Directory", "outputSource": f"run/{OUT}"}},
        "steps": {"run": {**words, "run": f"#{TOOL_ID}", "in": {name: name for name in names}, "out": [OUT]}},
    }


def _tool() -> Json:
    output = process_description()["outputs"]["properties"][OUT]
    return {
        "class": "CommandLineTool",
        "id": TOOL_ID,
        "requirements": [{"class": "NetworkAccess", "networkAccess": True}, RESOURCES],
        "hints": [{"class": "DockerRequirement", "dockerPull": IMAGE}],  # which does not rule out an installed command
        "baseCommand": ["spaceeye-stac", "run"],
        "arguments": ["--quiet", f"--out={OUT}", "--workers=$(runtime.cores)"],
        "inputs": {
            _name(parameter): {**_input(parameter), "inputBinding": _binding(parameter)} for parameter in _parameters()
        },
        "outputs": {OUT: {**_words(output), "type": "Directory", "outputBinding": {"glob": OUT}}},
    }


def _name(parameter: Parameter) -> str:
    return RENAMED.get(parameter.name, parameter.name)


def _words(schema: Json) -> Json:
    return {"label": schema["title"], "doc": schema["description"]}


def _input(parameter: Parameter) -> Json:
    """A parameter as an input of the workflow or the tool."""
    schema = parameter.schema
    kinds = ["Directory"] if parameter is STAGED else _types(schema)
    needed = parameter.required and parameter.name != CATALOG
    found = {
        **_words(schema),
        "type": kinds[0] if needed and len(kinds) == 1 else [*([] if needed else ["null"]), *kinds],
    }
    return {**found, "default": schema["default"]} if "default" in schema else found


def _types(schema: Json) -> list[Json | str]:
    """Types of CWL that a schema allows; an object is text there, and one of several types no array."""
    if "anyOf" in schema:
        return [CWL_TYPES[one["type"]] for one in schema["anyOf"] if one["type"] in CWL_TYPES]
    if schema["type"] == "array":
        return [{"type": "array", "items": CWL_TYPES[schema["items"]["type"]]}]
    return [{"type": "enum", "symbols": schema["enum"]}] if "enum" in schema else [CWL_TYPES[schema["type"]]]


def _binding(parameter: Parameter) -> Json:
    """How an input becomes an option: one word, so that no value passes for an option."""
    option = f"--{(CATALOG if parameter is STAGED else parameter.name).replace('_', '-')}"
    if parameter.schema.get("type") == "boolean":
        return {"prefix": option}
    several = {"itemSeparator": ","} if parameter.schema.get("type") == "array" else {}
    # the last of two options counts
    return {"prefix": f"{option}=", "separate": False, **several, **({"position": 1} if parameter is STAGED else {})}
