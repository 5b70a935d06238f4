"""The metrics of a daily film as their specification computes them, of every pixel instead of every few."""

import ast
import re
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from spaceeye_stac.evaluation.hidden import hidden_pixels
from tests.support.material import material

FILES = ("daily_lib.py", "daily_metrics.py", "daily_other_spectra.py")


def daily_prototype(changes: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Functions of the specification, by name; `changes` of their text, and names that they see beside their own.

    Its module imports an early layout of this package, so functions are taken out of the text.
    """
    text = ""
    for name in FILES:
        source = material(f"prototype/{name}").read_text(encoding="utf-8")
        functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        text += "\n".join(ast.get_source_segment(source, node) or "" for node in functions) + "\n"
    text = re.sub(r"\[::\d\]", "", text)
    text = re.sub(r", ::\d\]", "]", text).replace("range(0, P, 5)", "range(P)")
    for old, new in (changes or {}).items():
        assert old in text, f"the specification does not say {old!r}"
        text = text.replace(old, new)

    def far_gaussian(image: Any, sigma: Any, mode: str) -> Any:
        return gaussian_filter(image, sigma, mode=mode, truncate=8)

    found: dict[str, Any] = {"np": np, "gaussian_filter": far_gaussian, "hidden_pixels": hidden_pixels, **names}
    exec(compile(text, "the specification", "exec"), found)  # noqa: S102 - trusted material beside the project
    return found
