"""Where things lie: the project, the reference material beside it, and the request for the Belgian chip in it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
BE_BBOX = (3.0194, 50.8132, 3.0283, 50.8187)
BE_DAYS = "2018-04-11/2018-08-08"


def material(name: str) -> Path:
    """A folder or file of the reference material; skips where a user's clone has none, fails in CI."""
    path = SHARED / name
    if not path.exists():
        reason = f"reference material {name!r} is not here"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
