import re
from pathlib import Path

from spaceeye_stac.query import Query, Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_there_are_two_setup_commands() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert blocks[0].strip().endswith("spaceeye-stac demo")
    assert blocks[1].strip().endswith("pytest")


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
