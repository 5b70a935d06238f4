"""The help of the commands in panels, and what a shell completes."""

import os
import re

import pytest
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from spaceeye_stac.cli.commands import app
from spaceeye_stac.platforms import GROUPS, parameters_of
from spaceeye_stac.query import BANDS
from spaceeye_stac.sources import shipped_profiles
from tests.support.command import command

PANELS = ["Options", "Where and when", "Scenes", "Masks", "Method", "Grid", "Output", "Resources", "Publishing"]


def help_of(subcommand: str, columns: int) -> list[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    return command(subcommand, "--help", env=environment).stdout.splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_of_a_run_fits_stands_in_panels_and_ends_with_an_example(columns: int) -> None:
    lines = help_of("run", columns)
    assert max(map(len, lines)) <= columns
    titles = [found[1] for line in lines if (found := re.match(r"╭─ (.*?) ─", line))]
    assert titles == [*PANELS, "What is printed"]
    text = "\n".join(lines)
    assert "…" not in text, "no option is cut"
    example = " ".join(part.strip(" \\") for part in text.partition("Example:")[2].split("\n") if part.strip())
    assert example.startswith("spaceeye-stac run --catalog planetary-computer --bbox ")
    assert example.endswith(" --out out")
    for choices in ("[refuse|clear|drop]", "[deflate|zstd]", "[and|or|instead]"):
        assert choices in text


def option_of(subcommand: str, name: str) -> TyperOption:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    found = group.commands[subcommand]
    assert isinstance(found, TyperCommand)
    return next(one for one in found.params if isinstance(one, TyperOption) and one.name == name)


def test_every_option_of_a_run_shows_its_choices_and_stands_in_the_panel_of_the_description() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    shown = {one.name for one in group.commands["run"].params}
    for found in (one for kind in GROUPS for one in parameters_of(kind) if one.name in shown):
        option = option_of("run", found.name)
        assert option.rich_help_panel == found.panel != ""
        words = found.schema.get("enum")
        if words:
            assert re.sub(r"\s", "", option.metavar or "") == f"[{'|'.join(words)}]"


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    asked = {"COMP_WORDS": " ".join(("spaceeye-stac", *words)), "COMP_CWORD": str(len(words))}
    done = command(env={**os.environ, **asked, "_SPACEEYE_STAC_COMPLETE": "complete_bash"})
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_words_of_an_option_are_completed() -> None:
    assert completed("run", "--unmasked", "") == ["refuse", "clear", "drop"]
    assert completed("run", "--method", "d") == ["damped"]


def test_names_of_catalogs_are_completed() -> None:
    assert completed("search", "--catalog", "") == list(shipped_profiles())
    assert completed("search", "--catalog", "earth") == [one for one in shipped_profiles() if one.startswith("earth")]


def test_each_band_of_several_is_completed() -> None:
    assert completed("run", "--bands", "red,B1") == [f"red,{name}" for name in BANDS if name.startswith("B1")]
    assert completed("run", "--bands", "swir") == ["swir16", "swir22"]


def test_completion_can_be_installed() -> None:
    script = command(env={**os.environ, "_SPACEEYE_STAC_COMPLETE": "source_bash"}).stdout
    assert "complete -o default -F" in script
    assert "spaceeye-stac" in script
    text = command("--help").stdout
    assert "--install-completion" in text
    assert "--show-completion" in text
