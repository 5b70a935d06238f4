import shutil
from pathlib import Path

import pytest

from spaceeye_stac.keyframes.fingerprint import PACKAGE, code_hash

ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of this package's code."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.mark.parametrize("room", [*ROOMS, ""])
def test_a_change_in_any_room_changes_the_hash_of_the_code(room: str, package: Path) -> None:
    assert code_hash(package) == code_hash(PACKAGE)
    module = max((package / room).glob("*.py"), key=lambda path: path.stat().st_size)
    module.write_text(module.read_text() + "\n# changed\n")
    assert code_hash(package) != code_hash(PACKAGE)


def test_a_module_that_moves_changes_the_hash_of_the_code(package: Path) -> None:
    (package / "days" / "cog.py").rename(package / "pixels" / "cog.py")
    assert code_hash(package) != code_hash(PACKAGE)
