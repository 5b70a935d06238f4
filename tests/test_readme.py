import json
import re
import shlex
from pathlib import Path

import pytest
from shapely.geometry import box, shape

from spaceeye_stac.query import Query
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.settings import Settings
from spaceeye_stac.sources.profiles import shipped_profiles
from tests.conftest import command, material
from tests.flaky import FlakyApi, serving

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_there_are_two_setup_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert blocks[0].strip().endswith("spaceeye-stac demo")
    assert blocks[1].strip().endswith("pytest")


def test_every_resource_is_in_its_table() -> None:
    names = set(Resources.__dataclass_fields__) | set(Output.__dataclass_fields__)
    table = README.split("## Any region")[1].split("## ")[0]
    assert not {name for name in names if f"`{name}`" not in table}


REAL = {
    "planetary-computer": "pc__sentinel-2-l2a__1.0.0",
    "earth-search": "earthsearch-v1__sentinel-2-l2a__1.0.0",
    "earth-search-c1": "earthsearch-v1__sentinel-2-c1-l2a__1.0.0",
    "earth-search-v0": "e84-cogs__None__1.1.0",
    "cdse": "cdse__sentinel-2-l2a__1.1.0",
    "digital-earth-africa": "deafrica__s2_l2a_c1__1.0.0",
    "generic": "other__None__1.0.0",
}


@pytest.mark.parametrize("name", shipped_profiles())
def test_the_command_of_each_catalog_finds_a_real_item_of_it(name: str, tmp_path: Path) -> None:
    """The command as it stands, but for the service's address: that of a loopback API with real items of the kind."""
    marks = f"--profile {name} " if name == "generic" else f"--catalog {name} "
    (line,) = [line for line in README.splitlines() if line.startswith("    spaceeye-stac search") and marks in line][
        -1:
    ]
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


def test_every_option_is_in_the_table() -> None:
    names = set(Query.__dataclass_fields__) | set(Settings.__dataclass_fields__)
    table = README.split("## Options")[1].split("## ")[0]
    missing = {name for name in names if f"`{name}`" not in table}
    assert not missing


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
