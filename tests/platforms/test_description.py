"""The description of the process against its dataclasses, the command line, and a validator of JSON Schema."""

import json
import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import jsonschema
import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

import spaceeye_stac as se
from spaceeye_stac.cli.commands import app
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.platforms import GROUPS, ONLY_IN_PYTHON, described_fields, inputs_from, process_description
from tests.support.command import command

ASKED = {"catalog": "https://example.org", "bbox": [3.0, 50.8, 3.1, 50.9], "datetime": "2023-04-01/2023-04-05"}
# what makes a choice's own rule speak of it alone
BESIDE = {"mask_model_use": {}, "appearance": {"method": "surface"}}


def inputs() -> dict[str, Any]:
    found: dict[str, Any] = process_description()["inputs"]["properties"]
    return found


def test_every_field_is_described_with_its_default() -> None:
    own = {field.name: field for group in GROUPS for field in described_fields(group)}
    assert list(inputs()) == list(own)
    assert sum(len(described_fields(group)) for group in GROUPS) == len(own), "a name has two meanings"
    assert {field.name for group in GROUPS for field in fields(group)} - own.keys() == {"client"}
    for name, schema in inputs().items():
        default = own[name].default
        asked = None if default in (MISSING, None) else default
        assert schema.get("default") == (list(asked) if isinstance(asked, tuple) else asked), name
        assert schema["description"].endswith("."), name


def test_the_description_is_valid_and_so_are_its_defaults() -> None:
    schema = process_description()["inputs"]
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    check.validate({**ASKED, **{name: one["default"] for name, one in inputs().items() if "default" in one}})
    others: list[dict[str, Any]] = [
        {"bands": ["B2"]},
        {"bbox": [1, 2, 3]},
        {"resolution": "fine"},
        {"intersects": {}},
        {"colour": 1},
    ]
    for wrong in others:
        assert not check.is_valid({**ASKED, **wrong}), wrong
    assert json.loads(command("package", "process").stdout) == process_description()


@pytest.mark.parametrize("name", [name for name, schema in inputs().items() if "enum" in schema])
def test_choices_are_those_that_are_allowed(name: str) -> None:
    asked = {**ASKED, **BESIDE.get(name, {})}
    for choice in inputs()[name]["enum"]:
        inputs_from({**asked, name: choice})
    with pytest.raises(InvalidInputError, match=f"^{name} 'other' is not allowed"):
        inputs_from({**asked, name: "other"})


@pytest.mark.parametrize("subcommand", ["run", "plan", "search", "evaluate"])
def test_the_options_of_the_command_line_agree(subcommand: str) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    found = group.commands[subcommand]
    assert isinstance(found, TyperCommand)
    options = {option.name: option for option in found.params if isinstance(option, TyperOption)}
    options = {name: option for name, option in options.items() if name in inputs()}
    for name, option in options.items():
        schema = inputs()[name]
        default = schema.get("default", False if schema.get("type") == "boolean" else None)
        assert option.default == (",".join(map(str, default)) if isinstance(default, list) else default), name
        assert schema["description"].startswith(getattr(option, "help", "?").removesuffix("  [required]")), name
        assert option.required == (name in process_description()["inputs"]["required"]), name
    if subcommand == "run":
        assert options.keys() == inputs().keys() - set(ONLY_IN_PYTHON)


def test_json_becomes_what_a_run_takes() -> None:
    asked = {
        **ASKED,
        "orbits": [51],
        "clear_classes": [4, 5],
        "duration": "all",
        "memory": "2GB",
        "level": 3,
        "crs": 32631,
    }
    found = inputs_from({**asked, "tiles": None})
    assert found.query == se.Query(**ASKED, orbits=[51])  # type: ignore[arg-type]
    assert found.settings == se.Settings(clear_classes=[4, 5], duration="all", crs=32631)
    assert (found.resources, found.output) == (se.Resources(memory="2GB"), se.Output(level=3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "'colour' is no input; choose from catalog, datetime"),
        ({"resolution": "ten"}, "resolution 'ten' is not allowed; give number"),
        ({"clip": 1}, "clip 1 is not allowed; give boolean"),
        ({"orbits": [True]}, r"orbits \[True\] is not allowed; give array of integer"),
        ({"duration": 1.5}, "duration 1.5 is not allowed; give integer or string"),
        ({"catalog": None}, "catalog must be given"),
        ({"method": "wurst"}, "method 'wurst' is not allowed; choose from surface"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        inputs_from({**ASKED, **change})


def test_an_unknown_form_is_one_sentence() -> None:
    done = command("package", "wps")
    assert (done.returncode, done.stderr) == (
        2,
        "Error: form 'wps' is not known; choose from process, cwl, openeo, queryables.\n",
    )


def test_the_command_line_works_without_docstrings() -> None:
    line = [sys.executable, "-OO", "-m", "spaceeye_stac.cli", "run", "--help"]
    assert "--catalog" in subprocess.run(line, check=True, capture_output=True, text=True).stdout
