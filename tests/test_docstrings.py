"""What `help` says: every parameter of every public function is named, and the reference page is made from it."""

import inspect
from typing import Any

import pytest

import spaceeye_stac as se
from tests.support.reference_pages import GROUPS, PAGE, documented, page, parameters

LISTED = [name for names in GROUPS.values() for name in names]
FUNCTIONS = [name for name in dir(se) if inspect.isfunction(getattr(se, name))]
OPTIONS = ["Query", "Settings", "Resources", "Output"]
METHODS: list[Any] = [se.Result.cube]


@pytest.mark.parametrize("thing", [*(getattr(se, name) for name in (*FUNCTIONS, *OPTIONS)), *METHODS])
def test_every_parameter_is_named(thing: Any) -> None:
    found = documented(inspect.getdoc(thing) or "")
    assert list(found) == list(parameters(thing)) or found.keys() == parameters(thing).keys(), thing
    assert all(text.rstrip("*").endswith(".") for text in found.values())


def test_parameters_are_found_where_they_are_and_only_there() -> None:
    assert documented("One.\n\nParameters\n----------\na, b\n    Both.\nc\n    More\n    text.\n\nReturns x.\n") == {
        "a": "Both.",
        "b": "Both.",
        "c": "More text.",
    }
    assert documented("Nothing.") == {}


def test_every_public_name_is_in_the_reference() -> None:
    assert sorted(LISTED) == sorted(set(dir(se)) - {"__version__"})


def test_the_reference_is_up_to_date() -> None:
    """Where this fails: python -m tests.support.reference_pages."""
    assert PAGE.read_text(encoding="utf-8") == page()
