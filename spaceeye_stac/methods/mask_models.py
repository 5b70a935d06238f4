"""The models that tell clear pixels from cloud: what they want, and what they say, which is checked.

A mask model is the name of an entry point in the group `spaceeye_stac.masks`, or any callable
`(bands, resolution) -> mask`, a `torch.nn.Module` among them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError, SpaceEyeError, exhausted
from spaceeye_stac.methods.torch_threads import one_torch_thread
from spaceeye_stac.model import CLEAR, CLOUD, UNKNOWN
from spaceeye_stac.query import BANDS
from spaceeye_stac.settings import MASK_GROUP, MaskCallable, Settings, name_of

HALO, MOST_HALO = 64, 1024
SIDE, LEAST_SIDE, MOST_SIDE = 512, 16, 4096
ROUNDING = 1e-3  # a sum of probabilities is seldom 1 to the last digit
Asked = Callable[[NDArray[np.float32], float], object]


@dataclass(frozen=True)
class MaskModel:
    """A mask model and what it wants.

    `bands`: their names, None for those of the query. It is asked square by square: `side` pixels, and `halo` more
    around them, so that what it says of a pixel does not depend on how a region is cut. `coarsest`: metres of the
    largest pixel that it knows, None for those of the output alone. `clear_up_to`: probability of cloud that is clear.
    """

    name: str
    ask: Asked
    bands: tuple[str, ...] | None
    halo: int
    side: int
    coarsest: float | None
    clear_up_to: float

    def verdicts(self, bands: NDArray[np.float32], resolution: float) -> NDArray[np.uint8]:
        """What it says `(y, x)` of reflectance `(band, y, x)`: UNKNOWN, CLEAR or CLOUD.

        Unknown is a pixel with a band that is 0, where there is no data; a model is not asked where there is none at
        all. InvalidInputError, which names the model, for what is no mask.
        """
        known = (bands != 0).all(axis=0)
        if not known.any():
            return np.full(known.shape, UNKNOWN, np.uint8)
        clear = self._clear(self._asked(bands, resolution), known)
        return np.where(known, np.where(clear, CLEAR, CLOUD), UNKNOWN).astype(np.uint8)

    def _asked(self, bands: NDArray[np.float32], resolution: float) -> object:
        """What it returns, on one thread of torch: the same bits on any number of cores."""
        shape = bands.shape
        try:
            with one_torch_thread(), torch.no_grad():
                return self.ask(bands, resolution)
        except Exception as error:
            if isinstance(error, SpaceEyeError) or exhausted(error) is not None:
                raise
            raise InvalidInputError(
                f"mask_model {self.name} failed on bands of shape {shape} ({type(error).__name__}: {error}); "
                "mend it, or leave mask_model out."
            ) from error

    def _clear(self, made: object, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where what it returned says clear, at the pixels that are known."""
        found = _as_array(made)
        if found is None or found.dtype.kind not in "bf":
            what = type(made).__name__ if found is None else found.dtype
            raise self._error(f"{what}", "it must return a clear mask (bool) or a probability of cloud (float)")
        if found.shape != known.shape:
            raise self._error(f"shape {found.shape}", f"it must return (y, x) of its bands, {known.shape}")
        if found.dtype.kind == "b":
            return found
        said = found[known]
        if not np.isfinite(said).all():
            count = int((~np.isfinite(said)).sum())
            raise self._error(f"no finite number at {count} pixels with data", "it must return a probability there")
        worst = max(float(said.max()) - 1, -float(said.min()))
        if worst > ROUNDING:
            least, most = float(said.min()), float(said.max())
            raise self._error(f"{least:g} to {most:g}", "a probability is from 0 to 1, so divide percent by 100")
        return np.asarray(found <= self.clear_up_to)

    def _error(self, returned: str, remedy: str) -> InvalidInputError:
        return InvalidInputError(f"mask_model {self.name} returned {returned}; {remedy}.")


def mask_model_of(settings: Settings) -> MaskModel | None:
    """Return the mask model that the settings name or bring along; None where they have none.

    InvalidInputError where an entry point cannot load, or an attribute of the model makes no sense.
    """
    chosen = settings.mask_model
    if chosen is None:
        return None
    model = _loaded(chosen) if isinstance(chosen, str) else chosen
    name = name_of(chosen)
    return MaskModel(
        name=name,
        ask=_of_module(model) if isinstance(model, torch.nn.Module) else model,
        bands=_bands(model, name),
        halo=_whole(model, name, "halo", HALO, (0, MOST_HALO)),
        side=_whole(model, name, "side", SIDE, (LEAST_SIDE, MOST_SIDE)),
        coarsest=_coarsest(model, name),
        clear_up_to=settings.max_cloud_probability / 100,
    )


@cache
def _loaded(name: str) -> MaskCallable:
    (entry,) = entry_points(group=MASK_GROUP, name=name)
    try:
        model = entry.load()
    except Exception as error:
        raise InvalidInputError(f"mask_model {name!r} ({entry.value}) cannot be loaded: {error}.") from error
    if not callable(model):
        raise InvalidInputError(f"mask_model {name!r} ({entry.value}) is {type(model).__name__}, and no callable.")
    return model  # type: ignore[no-any-return]


def _of_module(model: torch.nn.Module) -> Asked:
    """A module as it is asked: to evaluate and not to learn, on the device that it is on."""
    model.eval()
    where = next((one.device for one in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return lambda bands, resolution: model(torch.from_numpy(bands).to(where), resolution)


def _as_array(made: object) -> NDArray[Any] | None:
    """What a model returned as an array; None where it is none."""
    if isinstance(made, Tensor):
        on_cpu = made.detach().cpu()
        return (on_cpu.float() if on_cpu.is_floating_point() else on_cpu).numpy()
    try:
        found = np.asarray(made)
    except (TypeError, ValueError):
        return None
    return None if found.dtype == object or not hasattr(made, "shape") else found


def _bands(model: MaskCallable, name: str) -> tuple[str, ...] | None:
    wanted = getattr(model, "bands", None)
    if wanted is None:
        return None
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    found = tuple(names) if isinstance(names, Sequence) else ()
    if not found or len(set(found)) < len(found) or not set(found) <= set(BANDS):
        raise InvalidInputError(
            f"mask_model {name} has bands {wanted!r}; let it name each once, from {', '.join(BANDS)}."
        )
    return found


def _whole(model: MaskCallable, name: str, attribute: str, usual: int, limits: tuple[int, int]) -> int:
    found = getattr(model, attribute, usual)
    if not isinstance(found, int) or isinstance(found, bool) or not limits[0] <= found <= limits[1]:
        raise InvalidInputError(
            f"mask_model {name} has {attribute} {found!r}; give whole pixels from {limits[0]} to {limits[1]}."
        )
    return found


def _coarsest(model: MaskCallable, name: str) -> float | None:
    found = getattr(model, "coarsest", None)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < math.inf:
        raise InvalidInputError(f"mask_model {name} has coarsest {found!r}; give metres, above 0.")
    return float(found)
