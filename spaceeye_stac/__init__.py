"""Turn a cloudy Sentinel-2 catalog into a cloud-free image for every day, published as a new STAC collection."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.query import Query, Settings

if TYPE_CHECKING:
    from spaceeye_stac.catalog import search
    from spaceeye_stac.cube import open_keyframes
    from spaceeye_stac.evaluation import evaluate
    from spaceeye_stac.holdout import Scores
    from spaceeye_stac.model import Scene, SceneList
    from spaceeye_stac.output import Output
    from spaceeye_stac.pipeline import Result, interpolate, run
    from spaceeye_stac.planner import Plan, plan
    from spaceeye_stac.profiles import scenes_from_items
    from spaceeye_stac.publication import Report
    from spaceeye_stac.publishing import publish, unpublish
    from spaceeye_stac.resources import Resources
    from spaceeye_stac.solver import Solution, solve

__all__ = [
    "Output",
    "Plan",
    "Query",
    "Report",
    "Resources",
    "Result",
    "Scene",
    "SceneList",
    "Scores",
    "Settings",
    "Solution",
    "SpaceEyeError",
    "evaluate",
    "interpolate",
    "open_keyframes",
    "plan",
    "publish",
    "run",
    "scenes_from_items",
    "search",
    "solve",
    "unpublish",
]

# no submodule has the name of a public function: importing it would hide the function
# torch, rasterio and pystac take seconds to import: they are loaded when a name that needs them is first used
_LAZY = {
    "Report": "publication",
    "Output": "output",
    "Resources": "resources",
    "Result": "pipeline",
    "Scene": "model",
    "SceneList": "model",
    "Solution": "solver",
    "Scores": "holdout",
    "evaluate": "evaluation",
    "interpolate": "pipeline",
    "Plan": "planner",
    "plan": "planner",
    "publish": "publishing",
    "open_keyframes": "cube",
    "run": "pipeline",
    "scenes_from_items": "profiles",
    "search": "catalog",
    "solve": "solver",
    "unpublish": "publishing",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _uncollected():
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while modules are imported: it finds none, and takes a sixth of the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def __dir__() -> list[str]:
    return sorted(__all__)
