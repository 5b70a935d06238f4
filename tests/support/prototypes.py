"""The executable specifications beside the project, as modules."""

import importlib.util
import sys
from types import ModuleType

from tests.support.material import material


def prototype(name: str) -> ModuleType:
    """A prototype of the reference material that imports no other of them; skips where a user's clone has none."""
    spec = importlib.util.spec_from_file_location(f"prototype_{name}", material(f"prototype/{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module
