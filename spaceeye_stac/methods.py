"""The methods by name: how each turns one window of one cell into a state on days, and what it needs around it.

A method is "damped", "guided", "reference", the name of an entry point in the group `spaceeye_stac.methods`, or any
callable `(values, clear, days) -> values`, a `torch.nn.Module` among them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from threading import Lock
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.guided import ALPHA, reconstruct
from spaceeye_stac.model import bridged
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
SAMPLE_SIDE = 128


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

    def at(self, day: int) -> Tensor:
        """Value of the smooth state on any day `(band, y, x)`: linear between `days`, constant outside."""
        before, after = self._around(day)
        if before == after:
            return self.smooth[:, before]
        start, stop = self.days[before], self.days[after]
        return torch.lerp(self.smooth[:, before], self.smooth[:, after], (day - start) / (stop - start))

    def spread(self, day: int) -> Tensor | None:
        """Standard deviation of the state on any day `(y, x)`, in units of one look's noise: see `bridged`."""
        before, after = self._around(day)
        left, right = self._deviation(before), self._deviation(after)
        if left is None or right is None or self.days[before] == day:
            return left
        if before == after:
            return (left.square() + abs(day - self.days[before]) / self.damping_factor).sqrt()
        gaps = day - self.days[before], self.days[after] - day
        return torch.from_numpy(bridged(left.numpy(), right.numpy(), gaps, self.damping_factor))

    def _around(self, day: int) -> tuple[int, int]:
        """Indices of the days at or before and after a day; the same one twice on it and outside all."""
        after = min(int(np.searchsorted(self.days, day)), len(self.days) - 1)
        return (after, after) if after == 0 or self.days[after] <= day else (after - 1, after)

    def _deviation(self, index: int) -> Tensor | None:
        if self.information is None or self.weights is None:
            return None
        return (self.information[index] + self.weights[index]).rsqrt()


@dataclass(frozen=True)
class Method:
    """How a method is run.

    `cell`: side of the fixed cells in pixels; `halo`: pixels around a cell that it also sees; `margin`: how far its
    result reaches into its neighbours, where they are blended. `normalised`: wants values divided by the illuminance.
    `every_day`: its result is not linear between acquisitions, so that all days are kept. `shows`: acquisition days may
    have an image of their own. `truncates`: to uint16.
    `damping_factor`: its own alpha, where that is not the one of the settings.
    """

    name: str
    solve: Callable[[CellLooks, Settings], State]
    cell: int = CELL_PIXELS
    halo: int = 0
    margin: int = 0
    normalised: bool = False
    every_day: bool = False
    shows: bool = False
    truncates: bool = False
    damping_factor: float | None = None


def damped(cell: CellLooks, settings: Settings) -> State:
    """Exact minimiser of SpaceEye's objective, with uncertainty from its leave-one-out residuals."""
    solution = solve(cell.values, cell.clear, cell.days, damping_factor=settings.damping_factor)
    part = _sample(cell.clear)
    q, w, values = solution.information[part], solution.weights[part], cell.values[part]
    seen = cell.clear[part] & (q > 0)
    left_out = (values - solution.keyframes[part]) * (1 + w / q.clamp(min=1e-12))
    remaining = torch.where(seen, left_out, 0.0)
    # a day that was not seen has not its own illuminance either, only the one carried to it
    ratio = 1.0 if cell.carried is None else cell.carried[:, :, None, None]
    residual = torch.where(seen, values - (values - left_out) * ratio, 0.0)
    widths = _widths(residual, remaining, q, seen)
    return State(
        cell.days, solution.keyframes, None, solution.information, solution.weights, widths, settings.damping_factor
    )


def guided(cell: CellLooks, settings: Settings) -> State:
    """Guided method; on acquisition days the observation where clear and leave-one-out + date term elsewhere."""
    found = reconstruct(cell.values, cell.clear, cell.days)
    never = ~cell.clear.any(0)
    part = _sample(cell.clear)
    residual, seen = found.residual[part], (cell.clear & found.determined)[part]
    fitted = cell.alike * (1 + 2 * len(residual)) * seen[0].numel() / never.numel()
    widths = _widths(residual, residual - found.transfer[part], found.information[part], seen, fitted)
    smooth = found.smooth.masked_fill_(never, torch.nan)
    shown = None
    if settings.appearance == "as_seen":
        shown = torch.where(cell.clear, cell.values, found.loo.add_(found.date_term)).masked_fill_(never, torch.nan)
    return State(cell.days, smooth, shown, found.information, found.weights, widths, ALPHA)


def _sample(clear: Tensor) -> tuple[EllipsisType, slice, slice]:
    """Every so many rows and columns, so that the widths are learnt from 16,000 to 65,000 pixels of a large cell."""
    steps = (max(1, side // SAMPLE_SIDE) for side in clear.shape[1:])
    return (..., *(slice(None, None, step) for step in steps))  # type: ignore[return-value]


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


class _OneThread:
    """How many are inside, and how many threads torch had before the first came."""

    lock = Lock()
    inside = 0
    before = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Cells run side by side, each on one thread: sums in a fixed order give the same bits on any number of cores.

    The setting is put back when the last one leaves.
    """
    with _OneThread.lock:
        if _OneThread.inside == 0:
            _OneThread.before = torch.get_num_threads()
        _OneThread.inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _OneThread.lock:
            _OneThread.inside -= 1
            if _OneThread.inside == 0:
                torch.set_num_threads(_OneThread.before)


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
        shows=True,
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
