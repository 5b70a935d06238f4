"""The application package against the description of the process, the command's options and the recipe of its image."""

from typing import Any

from typer.core import TyperGroup, TyperOption
from typer.main import get_command

import spaceeye_stac as se
from spaceeye_stac.cli.commands import app
from spaceeye_stac.platforms import ONLY_IN_PYTHON, packaged, parameters_of, process_description
from spaceeye_stac.resources import Resources
from tests.support.material import ROOT


def processes() -> tuple[dict[str, Any], dict[str, Any]]:
    workflow, tool = packaged("cwl")["$graph"]
    return workflow, tool


def test_the_workflow_and_its_tool_take_the_same() -> None:
    workflow, tool = processes()
    bare = {name: {k: v for k, v in one.items() if k != "inputBinding"} for name, one in tool["inputs"].items()}
    assert workflow["inputs"] == bare
    assert workflow["steps"]["run"]["in"].keys() == bare.keys()
    assert workflow["steps"]["run"]["run"] == f"#{tool['id']}"


def test_all_that_is_no_matter_of_the_machine_is_an_input() -> None:
    inputs = {{"days_form": "days"}.get(name, name): one for name, one in processes()[0]["inputs"].items()}
    described = process_description()["inputs"]["properties"]
    machine = {parameter.name for parameter in parameters_of(Resources)}
    assert inputs.keys() - {"scenes"} == described.keys() - set(ONLY_IN_PYTHON) - machine
    for name in inputs.keys() - {"scenes"}:
        assert inputs[name].get("default") == described[name].get("default"), name
        assert inputs[name]["doc"] == described[name]["description"], name
    assert [name for name, one in inputs.items() if "null" not in one["type"]] == ["datetime"]


def test_every_input_is_an_option_of_the_command() -> None:
    group, tool = get_command(app), processes()[1]
    assert isinstance(group, TyperGroup)
    found = [option for option in group.commands["run"].params if isinstance(option, TyperOption)]
    options = {word: getattr(option, "is_flag", False) for option in found for word in option.opts}
    for name, one in tool["inputs"].items():
        prefix = one["inputBinding"]["prefix"]
        assert options[prefix.removesuffix("=")] is not prefix.endswith("="), name
    for argument in tool["arguments"]:
        assert argument.partition("=")[0] in options


def test_the_version_and_the_image_are_those_of_the_package() -> None:
    image = processes()[1]["hints"][0]["dockerPull"]
    assert image == f"spaceeye-stac:{se.__version__}"
    assert packaged("cwl")["s:softwareVersion"] == se.__version__
    for page in ("spaceeye_stac/platforms/Dockerfile", "examples/platforms.md"):
        assert image in (ROOT / page).read_text(), page
    recipe = (ROOT / "spaceeye_stac/platforms/Dockerfile").read_text()
    for line in (line for line in recipe.splitlines() if line.startswith("COPY")):
        assert all((ROOT / name).exists() for name in line.split()[1:-1]), line
