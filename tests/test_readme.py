"""The front page and all other pages: commands parse, links lead somewhere, code compiles, nothing lacks."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from shapely.geometry import box, shape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import spaceeye_stac as se
from spaceeye_stac.cli.commands import app
from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.sources.profiles import shipped_profiles
from tests.support.command import command
from tests.support.failing_api import FlakyApi
from tests.support.loopback import serving
from tests.support.material import ROOT, material

FRONT, EXAMPLES, CATALOGS, REFERENCE, TESTS, PLATFORMS, PYTHON_REFERENCE, CLUSTERS = PAGES = (
    "README.md",
    "examples/README.md",
    "catalogs/README.md",
    "spaceeye_stac/README.md",
    "tests/README.md",
    "examples/platforms.md",
    "examples/reference.md",
    "examples/clusters.md",
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELLIPSIS = "..."  # stands for the options of another command
CATALOG_COMMAND = "spaceeye-stac search "
PROGRAMS = ("Query", "Settings", "Resources", "Output")


@cache
def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, *languages: str) -> list[str]:
    """Code of the page in fences of these languages."""
    return [code for language, code in FENCE.findall(page(name)) if language in languages]


def prose(name: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^ {4}\S.*$", "", FENCE.sub("", page(name)), flags=re.MULTILINE)


def inline(name: str) -> list[str]:
    """Code within the page's sentences and tables."""
    return re.findall(r"`([^`\n]+)`", prose(name))


def section(name: str, title: str) -> str:
    """What stands below a heading, down to the next one of its rank or a higher one."""
    pattern = rf"^(#+) {re.escape(title)}$\n(.*?)(?=^(?!\1#)#+ |\Z)"
    found = re.search(pattern, FENCE.sub("", page(name)), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{name} has no section {title!r}"
    return found[2]


def commands(name: str) -> list[str]:
    """Every command line `spaceeye-stac ...` in a block of the page, whole where it goes on in the next line."""
    text = "\n".join([*blocks(name, "sh", "bash"), *re.findall(r"^ {4}(spaceeye-stac .*)$", page(name), re.MULTILINE)])
    parts = re.split(r"&&| > |\n", text.replace("\\\n", " "))
    return [part.strip() for part in parts if re.match(r"\s*(\.venv/bin/)?spaceeye-stac ", part)]


ALL_COMMANDS = [(name, line) for name in PAGES for line in commands(name)]


@cache
def group() -> TyperGroup:
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    return found


def options_of(subcommand: str) -> set[str]:
    found = group().commands.get(subcommand)
    assert isinstance(found, TyperCommand), f"there is no spaceeye-stac {subcommand}"
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_there_are_two_setup_commands() -> None:
    first, second = blocks(FRONT, "sh")
    assert first.strip().endswith("spaceeye-stac demo")
    assert second.strip().endswith("pytest")
    assert not [name for name in PAGES[1:] if blocks(name, "sh")], "they stand on the front page alone"


def test_the_front_page_says_first_what_matters() -> None:
    lines = page(FRONT).splitlines()
    assert len(lines) <= 150

    def line_of(text: str) -> int:
        return next(number for number, line in enumerate(lines, 1) if line.startswith(text))

    assert line_of("![") < 10
    assert line_of("spaceeye-stac run") < line_of("result = se.run(") <= 40
    assert line_of("| Belgium, whole dates") < line_of("## What nobody else gives") < 70
    assert len([line for line in blocks(FRONT, "python")[0].splitlines() if line.strip()]) == 6


def test_the_front_page_has_the_figures_of_the_reference() -> None:
    def rows(name: str) -> dict[str, list[str]]:
        found = [row.strip("| ").split(" | ") for row in section(name, "Accuracy").splitlines() if "±" in row]
        return {re.sub(r" \(.*\)", "", site): values for site, *values in found if site.startswith(("Bel", "Tan"))}

    front, reference = rows(FRONT), rows(REFERENCE)
    assert len(front) == 6
    for site, values in front.items():
        _nearest, linear, damped, iterated, _damped_holds = reference[site]
        assert values == [linear, damped, iterated], site


@pytest.mark.parametrize(("name", "line"), ALL_COMMANDS)
def test_every_command_line_parses(name: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "field.toml").write_text('[query]\ncatalog = "cdse"\ndatetime = "2023"\nbbox = [3, 50, 4, 51]\n')
    arguments = shlex.split(line, comments=True)[1:]
    subcommand, rest = arguments[0], [part for part in arguments[1:] if part != ELLIPSIS]
    known = options_of(subcommand)
    used = {part.partition("=")[0] for part in rest if part.startswith("--")}
    assert used <= known, f"{name}: {subcommand} has no {', '.join(sorted(used - known))}"
    if ELLIPSIS not in arguments:
        group().commands[subcommand].make_context(subcommand, rest)  # a missing or a malformed option is an error


def test_the_pages_show_every_command() -> None:
    assert len(ALL_COMMANDS) > 30
    assert {shlex.split(line)[1] for _, line in ALL_COMMANDS} == set(group().commands)


@pytest.mark.parametrize("name", PAGES)
def test_every_option_in_a_sentence_exists(name: str) -> None:
    """`--option` is one of some command, `run --option` and `spaceeye-stac run --option` one of that."""
    anywhere = {option for parameter in group().params for option in parameter.opts}
    anywhere = anywhere.union(*(options_of(subcommand) for subcommand in group().commands))
    for code in inline(name):
        words = code.removeprefix("spaceeye-stac ").split()
        known = options_of(words[0]) if words[0] in group().commands else anywhere
        if words[0].startswith("--") or known is not anywhere:
            assert {word for word in words if word.startswith("--")} <= known, code
        elif code.startswith("spaceeye-stac "):
            pytest.fail(f"{code}: no such command")


def slugs(name: str) -> set[str]:
    """What a link may name after #, as GitHub has it."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page(name)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(name: str) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(name))
    yield from re.findall(r"(?:href|src)=\"([^\"]+)\"", prose(name))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in links(name):
        address, _, anchor = link.partition("#")
        if address.startswith("https://"):
            continue
        path = (ROOT / name).parent / address if address else ROOT / name
        assert path.exists(), f"{name}: {link}"
        assert path.resolve().is_relative_to(ROOT), f"{name}: {link} leads out of the project"
        if anchor:
            assert anchor in slugs(path.resolve().relative_to(ROOT).as_posix()), f"{name}: {link}"


def test_the_front_page_leads_to_all_others() -> None:
    found = {link.partition("#")[0] for link in links(FRONT)}
    assert {*PAGES[1:], ".github/CHANGELOG.md", "LICENSE"} <= found


def test_every_file_of_the_folders_is_named() -> None:
    for name in (EXAMPLES, CATALOGS):
        folder = (ROOT / name).parent
        shown = {path.name for path in folder.iterdir() if path.suffix in {".py", ".png", ".toml", ".ipynb"}}
        assert shown <= set(links(name)), shown - set(links(name))


def test_pictures_are_small_enough_to_load() -> None:
    assert not [path for path in (ROOT / "examples").glob("*.png") if path.stat().st_size > 900_000]


PYTHON = [(name, code) for name in PAGES for code in blocks(name, "python")]


@pytest.mark.parametrize(("name", "code"), PYTHON)
def test_every_python_block_compiles(name: str, code: str) -> None:
    tree = ast.parse(code, filename=name)
    compile(tree, name, "exec")
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr in PROGRAMS:
            known = set(getattr(se, call.func.attr).__dataclass_fields__)
            assert {keyword.arg for keyword in call.keywords} <= known


@pytest.mark.parametrize("name", PAGES)
def test_every_public_name_exists(name: str) -> None:
    assert set(re.findall(r"\bse\.(\w+)", page(name))) <= set(dir(se)) | {"__version__"}


REAL = {
    "planetary-computer": "pc__sentinel-2-l2a__1.0.0",
    "earth-search": "earthsearch-v1__sentinel-2-l2a__1.0.0",
    "earth-search-c1": "earthsearch-v1__sentinel-2-c1-l2a__1.0.0",
    "earth-search-v0": "e84-cogs__None__1.1.0",
    "cdse": "cdse__sentinel-2-l2a__1.1.0",
    "digital-earth-africa": "deafrica__s2_l2a_c1__1.0.0",
    "generic": "other__None__1.0.0",
}


@pytest.mark.parametrize(
    "name",
    [
        name if name in {"planetary-computer", "earth-search"} else pytest.param(name, marks=pytest.mark.slow)
        for name in shipped_profiles()
    ],
)
def test_the_command_of_each_catalog_finds_a_real_item_of_it(name: str, tmp_path: Path) -> None:
    """The command as it stands, but for the service's address: that of a loopback API with real items of the kind."""
    marks = f"--profile {name} " if name == "generic" else f"--catalog {name} "
    line = next(line for line in commands(CATALOGS) if line.startswith(CATALOG_COMMAND) and marks in line)
    arguments = shlex.split(line)[1:]
    items = [json.loads(path.read_text()) for path in sorted(material(f"stac-items/{REAL[name]}").glob("*.json"))]
    wanted = box(*map(float, re.findall(r"-?[\d.]+", line.split("--bbox")[1].split("--datetime")[0])))
    items = [item for item in items if shape(item["geometry"]).intersects(wanted)]  # as a service would
    for asset in (asset for item in items for asset in item["assets"].values()):
        asset["href"] = re.sub(r"^\./", "https://store.example.org/", asset["href"])
    collection = shipped_profiles()[name].collection
    with serving(FlakyApi([{**item, "collection": collection} for item in items])) as api:
        shipped = (ROOT / "catalogs" / f"{name}.toml").read_text()
        moved = re.sub(r'^url = ".*"$', f'url = "{api.url}"', shipped, flags=re.MULTILINE)
        (tmp_path / f"{name}.toml").write_text(moved)
        arguments[arguments.index("--catalog") + 1] = str(tmp_path / f"{name}.toml")
        done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[1-9]\d* scenes", done.stdout, re.MULTILINE), done.stdout


def test_every_field_of_a_profile_is_explained() -> None:
    text = section(CATALOGS, "Write your own profile")
    for path in (ROOT / "catalogs").glob("*.toml"):
        names = set(re.findall(r"^\[*([a-z_]+)\]*(?: =|$)", path.read_text(), re.MULTILINE))
        missing = {name for name in names if not re.search(rf"`\[*{name}\]*`", text)}
        assert not missing, f"{path.name}: {missing}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_is_in_its_table(name: str) -> None:
    table = section(REFERENCE, name)
    assert not {field for field in getattr(se, name).__dataclass_fields__ if f"`{field}`" not in table}


def test_every_option_of_a_command_is_in_the_reference() -> None:
    fields: set[str] = set().union(*(getattr(se, name).__dataclass_fields__ for name in PROGRAMS))
    text = section(REFERENCE, "Options of the commands")
    for subcommand in group().commands:
        shown = section(REFERENCE, "Publish options") if subcommand == "publish" else text
        own = {option for option in options_of(subcommand) if option.startswith("--")}
        own = {option for option in own if option.removeprefix("--").replace("-", "_") not in fields}
        assert not {option for option in own if f"`{option}`" not in shown}, subcommand


def test_every_error_is_in_the_reference() -> None:
    import_module("spaceeye_stac.platforms.service_jobs")  # which is loaded by a platform alone

    def below(error: type[SpaceEyeError]) -> Iterator[type[SpaceEyeError]]:
        for child in error.__subclasses__():
            yield child
            yield from below(child)

    rows: dict[str, Any] = dict(re.findall(r"^\| `(\w+Error)` \| (\d) \|", section(REFERENCE, "Errors"), re.MULTILINE))
    own = [error for error in below(SpaceEyeError) if error.__module__.startswith("spaceeye_stac")]
    found = {error.__name__: str(error.exit_code) for error in own if not error.__name__.startswith("UserError")}
    assert rows == found


def test_every_field_is_in_the_reference() -> None:
    schema = (ROOT / "spaceeye_stac" / "collection" / "spaceeye.schema.json").read_text()
    named = set(re.findall(r'"(spaceeye:\w+)": \{', schema))
    assert named
    assert not {field for field in named if f"`{field}`" not in section(REFERENCE, "Fields")}


def test_the_top_level_is_as_agreed() -> None:
    agreed = {
        "pyproject.toml",
        "README.md",
        "spaceeye_stac",
        "catalogs",
        "tests",
        "examples",
        "LICENSE",
        "constraints.txt",
    }
    made = {"demo", "out", "dist", "build"}
    assert {p.name for p in ROOT.iterdir() if not p.name.startswith(".")} - made == agreed
