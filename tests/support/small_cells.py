"""Cells so small that a simulated region holds several."""

from dataclasses import replace
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.methods.registry import method_of


def solve_in_cells(monkeypatch: pytest.MonkeyPatch, settings: se.Settings, **sizes: Any) -> None:
    """Make runs from here on use the method of these settings in cells of these sizes: `cell`, `halo`, `margin`."""
    cells = replace(method_of(settings), **sizes)
    monkeypatch.setattr("spaceeye_stac.engine.jobs.method_of", lambda _: cells)
