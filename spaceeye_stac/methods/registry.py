"""The methods by name.

A method is "surface", "damped", "reference", the name of an entry point in the group `spaceeye_stac.methods`, or any
callable `(values, clear, days) -> values`, a `torch.nn.Module` among them.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.methods.base import CellLooks, Method, MethodRun, WholeCellRun
from spaceeye_stac.methods.damped import DAMPED
from spaceeye_stac.methods.reference import REFERENCE
from spaceeye_stac.methods.surface import SURFACE
from spaceeye_stac.settings import METHOD_GROUP, MethodCallable, Settings, name_of


def callable_run(model: MethodCallable) -> Callable[[Settings, tuple[int, int]], MethodRun]:
    """A user's model as a method: it fills the acquisition days, and the days between are blended."""

    def make(looks: CellLooks) -> tuple[tuple[int, ...], Tensor]:
        copies = looks.values.clone(), looks.clear.clone(), torch.tensor(looks.days)
        with torch.no_grad():
            made = model(*copies)
            try:
                found = torch.as_tensor(np.asarray(made), dtype=torch.float32)
            except (TypeError, ValueError, RuntimeError):
                raise InvalidInputError(
                    f"method {name_of(model)} returned {type(made).__name__}; it must return values of the same shape."
                ) from None
        if found.shape != looks.values.shape:
            raise InvalidInputError(
                f"method {name_of(model)} returned shape {tuple(found.shape)} for values of shape "
                f"{tuple(looks.values.shape)}; it must return values of the same shape."
            )
        seen = looks.clear.any(0)
        if seen.any() and not (torch.isfinite(found) & seen).any():
            raise InvalidInputError(
                f"method {name_of(model)} returned no finite number, though pixels are clear on some day; "
                "NaN stands for a pixel without a value."
            )
        return looks.days, torch.where(seen, found, torch.nan)

    return lambda _settings, _shape: WholeCellRun(make)


BUILT_IN = {method.name: method for method in (SURFACE, DAMPED, REFERENCE)}


def method_of(settings: Settings) -> Method:
    """Return the method that the settings name or bring along; InvalidInputError where an entry point cannot load."""
    chosen = settings.method
    if not isinstance(chosen, str):
        return Method(name_of(chosen), callable_run(chosen))
    if chosen in BUILT_IN:
        return BUILT_IN[chosen]
    (entry,) = entry_points(group=METHOD_GROUP, name=chosen)
    try:
        return Method(chosen, callable_run(entry.load()))
    except Exception as error:
        raise InvalidInputError(f"method {chosen!r} ({entry.value}) cannot be loaded: {error}.") from error
