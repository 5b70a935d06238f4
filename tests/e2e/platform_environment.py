"""The environment of the platforms' own tools, which sees the project's: `.ci/platforms` makes it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.services import CACHE, need

PLATFORMS = CACHE / "platforms" / "bin"


def platform_program(name: str) -> Path:
    """Path of a program that tests/e2e/platforms.txt installs; a test without it is skipped, and fails in CI."""
    return need(PLATFORMS / name, name)


def platform_python() -> Path:
    """Path of the interpreter that imports both this package and the platforms' libraries."""
    return platform_program("python")


def on_platform(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one of these programs to its end, with the command `spaceeye-stac` in reach."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    line = [str(platform_program(name)), *map(str, arguments)]
    usual = {"env": {**os.environ, "PATH": path}, "timeout": 300, **options}
    return subprocess.run(line, capture_output=True, text=True, check=False, **usual)
