"""The installed command, run as a user does."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import spaceeye_stac as se


def command_line(*arguments: object) -> list[str]:
    """The words that start the command."""
    return [sys.executable, "-m", "spaceeye_stac.cli", *map(str, arguments)]


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    line = command_line(*arguments)
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, **options)


def as_bbox(corners: Sequence[float]) -> str:
    """A bbox as the command takes it."""
    return ",".join(map(str, corners))


def options_of(query: se.Query) -> list[str]:
    """The options of the command that ask for what a query with a bbox does."""
    line = ["--catalog", str(query.catalog), "--bbox", as_bbox(query.bbox or ()), "--datetime", str(query.datetime)]
    return line if query.bands is None else [*line, "--bands", ",".join(query.bands)]
