"""The methods by name: how each turns one window of one cell into a state on days, and what it needs around it.

A method is "damped", "guided", "reference", the name of an entry point in the group `spaceeye_stac.methods`, or any
callable `(values, clear, days) -> values`, a `torch.nn.Module` among them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.guided import ALPHA, reconstruct
from spaceeye_stac.query import METHOD_GROUP, MethodCallable, Settings
from spaceeye_stac.reference import iterate
from spaceeye_stac.solver import solve
from spaceeye_stac.uncertainty import Scales, scales

CELL_PIXELS = 512
GUIDED_CELL_PIXELS = 384
GUIDED_HALO_PIXELS = 64
GUIDED_MARGIN_PIXELS = 32
REFERENCE_CELL_PIXELS = 448
LABEL_METRES = 20.0


@dataclass(frozen=True)
class CellLooks:
    """One window of one cell: values `(band, time, y, x)` float32, 0 where not clear; `read`: the window's days.

    `carried` `(band, time)`: each day's illuminance as the other days would give it, over its own. `alike`: pixels of
    the grid in one of 20 m, the pixel of the labels and of most bands.
    """

    values: Tensor
    clear: Tensor
    days: tuple[int, ...]
    read: range
    carried: Tensor | None = None
    alike: float = 1.0


def alike_pixels(resolution: float) -> float:
    """Pixels of a grid of that many metres that share one pixel of the labels."""
    return max(1.0, (LABEL_METRES / resolution) ** 2)


@dataclass(frozen=True)
class State:
    """What a method makes of a cell: `smooth` `(band, time, y, x)` on `days`, linear between them.

    `shown` replaces `smooth` on those days where it is given. `information` Q and `weights` `(time, y, x)`, `widths`
    and `damping_factor` say how far to trust it, where the method knows. Never-clear pixels are NaN.
    """

    days: tuple[int, ...]
    smooth: Tensor
    shown: Tensor | None = None
    information: Tensor | None = None
    weights: Tensor | None = None
    widths: Scales | None = None
    damping_factor: float = 1.0


@dataclass(frozen=True)
class Method:
    """How a method is run.

    `cell`: side of the fixed cells in pixels; `halo`: pixels around a cell that it also sees; `margin`: how far its
    result reaches into its neighbours, where they are blended. `normalised`: wants values divided by the illuminance.
    `every_day`: its result is not linear between acquisitions, so that all days are kept. `truncates`: to uint16.
    `damping_factor`: its own alpha, where that is not the one of the settings.
    """

    name: str
    solve: Callable[[CellLooks, Settings], State]
    cell: int = CELL_PIXELS
    halo: int = 0
    margin: int = 0
    normalised: bool = False
    every_day: bool = False
    truncates: bool = False
    damping_factor: float | None = None


def damped(cell: CellLooks, settings: Settings) -> State:
    """Exact minimiser of SpaceEye's objective, with uncertainty from its leave-one-out residuals."""
    solution = solve(cell.values, cell.clear, cell.days, damping_factor=settings.damping_factor)
    q, w = solution.information, solution.weights
    seen = cell.clear & (q > 0)
    left_out = (cell.values - solution.keyframes) * (1 + w / q.clamp(min=1e-12))
    remaining = torch.where(seen, left_out, 0.0)
    # a day that was not seen has not its own illuminance either, only the one carried to it
    ratio = 1.0 if cell.carried is None else cell.carried[:, :, None, None]
    residual = torch.where(seen, cell.values - (cell.values - left_out) * ratio, 0.0)
    widths = _widths(residual, remaining, q, seen)
    return State(cell.days, solution.keyframes, None, q, w, widths, settings.damping_factor)


def guided(cell: CellLooks, settings: Settings) -> State:
    """Guided method; on acquisition days the observation where clear and leave-one-out + date term elsewhere."""
    found = reconstruct(cell.values, cell.clear, cell.days)
    never = ~cell.clear.any(0)
    seen = cell.clear & found.determined
    remaining = found.residual - found.transfer
    widths = _widths(found.residual, remaining, found.information, seen, cell.alike * (1 + 2 * len(remaining)))
    smooth = found.smooth.masked_fill_(never, torch.nan)
    shown = None
    if settings.appearance == "as_seen":
        shown = torch.where(cell.clear, cell.values, found.loo.add_(found.date_term)).masked_fill_(never, torch.nan)
    return State(cell.days, smooth, shown, found.information, found.weights, widths, ALPHA)


def reference(cell: CellLooks, settings: Settings) -> State:
    """FarmVibes.AI's iterate on every day of the window, with its start and stopping rule."""
    days = [day - cell.read.start for day in cell.days]
    found = iterate(
        cell.values,
        cell.clear,
        days,
        len(cell.read),
        damping_factor=settings.damping_factor,
        tolerance=settings.tolerance,
        max_iterations=settings.max_iterations,
        check_interval=settings.check_interval,
    )
    return State(tuple(cell.read), found)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Cells run side by side, each on one thread: sums in a fixed order give the same bits on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _widths(residual: Tensor, remaining: Tensor, information: Tensor, seen: Tensor, fitted: float = 0) -> Scales:
    bands, dates = residual.shape[:2]
    flat = residual.reshape(bands, dates, -1), remaining.reshape(bands, dates, -1)
    return scales(*flat, information.reshape(dates, -1), seen.reshape(dates, -1), fitted)


@dataclass(frozen=True)
class _Called:
    """A user's model as a method: it fills the acquisition days, and the days between are blended."""

    model: MethodCallable

    def __call__(self, cell: CellLooks, _settings: Settings) -> State:
        given = cell.values.clone(), cell.clear.clone(), torch.tensor(cell.days)
        with torch.no_grad():
            found = torch.as_tensor(np.asarray(self.model(*given)), dtype=torch.float32)
        if found.shape != cell.values.shape:
            raise InvalidInputError(
                f"method {_name(self.model)} returned shape {tuple(found.shape)} for values of shape "
                f"{tuple(cell.values.shape)}; it must return values of the same shape."
            )
        return State(cell.days, torch.where(cell.clear.any(0), found, torch.nan))


_BUILT_IN = {
    "damped": Method("damped", damped, normalised=True),
    "guided": Method(
        "guided",
        guided,
        cell=GUIDED_CELL_PIXELS,
        halo=GUIDED_HALO_PIXELS,
        margin=GUIDED_MARGIN_PIXELS,
        damping_factor=ALPHA,
    ),
    "reference": Method(
        "reference", reference, cell=REFERENCE_CELL_PIXELS, normalised=True, every_day=True, truncates=True
    ),
}


def method_of(settings: Settings) -> Method:
    """Return the method that the settings name or bring along; InvalidInputError where an entry point cannot load."""
    chosen = settings.method
    if not isinstance(chosen, str):
        return Method(_name(chosen), _Called(chosen))
    if chosen in _BUILT_IN:
        return _BUILT_IN[chosen]
    (entry,) = entry_points(group=METHOD_GROUP, name=chosen)
    try:
        return Method(chosen, _Called(entry.load()))
    except Exception as error:
        raise InvalidInputError(f"method {chosen!r} ({entry.value}) cannot be loaded: {error}.") from error


def _name(model: MethodCallable) -> str:
    return str(getattr(model, "__name__", type(model).__name__))
