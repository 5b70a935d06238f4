"""The methods by name: how each turns one window of one cell into a state on days, and what it needs around it.

A method is "damped", "guided", "reference", the name of an entry point in the group `spaceeye_stac.methods`, or any
callable `(values, clear, days) -> values`, a `torch.nn.Module` among them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from spaceeye_stac import guided
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import bridged
from spaceeye_stac.query import METHOD_GROUP, MethodCallable, Settings
from spaceeye_stac.reference import iterate
from spaceeye_stac.solver import Solution, solve
from spaceeye_stac.uncertainty import Scales, scales

CELL_PIXELS = 512
GUIDED_CELL_PIXELS = 384
GUIDED_HALO_PIXELS = 64
GUIDED_MARGIN_PIXELS = 32
REFERENCE_CELL_PIXELS = 448
LABEL_METRES = 20.0
SAMPLE_SIDE = 128
PER_PIXEL = ("clear", "smooth", "shown", "information", "weights")


@dataclass(frozen=True)
class CellLooks:
    """One window of one cell, or of some of its pixels: values `(band, time, y, x)` float32, 0 where not clear.

    `clear` `(time, y, x)`; `days`: the acquisition days; `read`: the days of the window.
    `carried` `(band, time)`: each day's illuminance as the other days would give it, over its own. `alike`: pixels of
    the grid in one of 20 m, the pixel of the labels and of most bands.
    """

    values: Tensor
    clear: Tensor
    days: tuple[int, ...]
    read: range
    carried: Tensor | None = None
    alike: float = 1.0

    def every(self, steps: tuple[int, int]) -> "CellLooks":
        """Some rows and columns alone."""
        return replace(self, values=_every(self.values, steps), clear=_every(self.clear, steps))


def alike_pixels(resolution: float) -> float:
    """Pixels of a grid of that many metres that share one pixel of the labels."""
    return max(1.0, (LABEL_METRES / resolution) ** 2)


@dataclass(frozen=True)
class State:
    """What a method makes of a cell, or of some of its rows: `smooth` `(band, time, y, x)` on `days`, linear between.

    `clear` `(time, y, x)`: where it was made from a look. `shown` replaces `smooth` on those days where it is given.
    `information` Q and `weights` `(time, y, x)`, `widths` (of the whole cell) and `damping_factor` say how far to trust
    it, where the method knows. Never-clear pixels are NaN.
    """

    days: tuple[int, ...]
    clear: Tensor
    smooth: Tensor
    shown: Tensor | None = None
    information: Tensor | None = None
    weights: Tensor | None = None
    widths: Scales | None = None
    damping_factor: float = 1.0

    @classmethod
    def joined(cls, strips: "list[State]") -> "State":
        """Of strips above each other."""
        joined = {
            name: torch.cat([getattr(strip, name) for strip in strips], dim=-2)
            for name in PER_PIXEL
            if getattr(strips[0], name) is not None
        }
        return replace(strips[0], **joined)  # type: ignore[arg-type]

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


class Solver(Protocol):
    """A method at work on one window of one cell."""

    def learn(self, few: CellLooks) -> None:
        """See the rows and columns at `learning_steps` of the cell; asked for first, where the method `learns`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """Make the cell from its strips, top to bottom; gives strips of any height. One is good until the next."""

    def widths(self) -> Scales | None:
        """How far to trust it, where the method knows, once all rows are made."""


@dataclass(frozen=True)
class Method:
    """How a method is run.

    `solver`: made for each window of each cell, from settings and the rows and columns of the cell's view. `cell`: side
    of the fixed cells in pixels; `halo`: pixels around a cell that it also sees; `margin`: how far its result reaches
    into its neighbours, where they are blended. `strips`: a cell can be made strip by strip, of whole
    `solver.cached_rows`; `learns`: from some pixels of the whole cell first. `normalised`: wants values divided by the
    illuminance. `every_day`: its result is not linear between acquisitions, so that all days are kept. `shows`:
    acquisition days may have an image of their own. `truncates`: to uint16. `damping_factor`: its own alpha, where that
    is not the one of the settings.
    """

    name: str
    solver: Callable[[Settings, tuple[int, int]], Solver]
    cell: int = CELL_PIXELS
    halo: int = 0
    margin: int = 0
    strips: bool = False
    learns: bool = False
    normalised: bool = False
    every_day: bool = False
    shows: bool = False
    truncates: bool = False
    damping_factor: float | None = None

    def solve(self, looks: CellLooks, settings: Settings) -> State:
        """Make a whole cell at once."""
        shape = int(looks.clear.shape[1]), int(looks.clear.shape[2])
        solver = self.solver(settings, shape)
        if self.learns:
            solver.learn(looks.every(learning_steps(shape)))
        whole = State.joined(list(solver.rows([looks])))
        return replace(whole, widths=solver.widths())


def _every(image: Tensor, steps: tuple[int, int], top: int = 0) -> Tensor:
    """Every so many rows and columns of an image `(..., y, x)` that begins at row `top` of its cell."""
    return image[..., -top % steps[0] :: steps[0], :: steps[1]]


def learning_steps(shape: tuple[int, int]) -> tuple[int, int]:
    """Of so many rows and columns of a cell a method that `learns` sees one before all else."""
    return guided.sample_steps(*shape)


def _thin(shape: tuple[int, int]) -> tuple[int, int]:
    """Steps along y and x that leave 16,000 to 65,000 pixels of a large cell, for the widths to be learnt from."""
    height, width = shape
    return max(1, height // SAMPLE_SIDE), max(1, width // SAMPLE_SIDE)


class Damped:
    """Exact minimiser of SpaceEye's objective, with uncertainty from its leave-one-out residuals."""

    def __init__(self, settings: Settings, shape: tuple[int, int]) -> None:
        self._alpha, self._steps = settings.damping_factor, _thin(shape)
        self._sampled: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def learn(self, few: CellLooks) -> None:
        """See `Solver`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `Solver`."""
        top = 0
        for looks in strips:
            solution = solve(looks.values, looks.clear, looks.days, damping_factor=self._alpha)
            self._keep_some(looks, solution, top)
            top += looks.clear.shape[1]
            q, w = solution.information, solution.weights
            yield State(looks.days, looks.clear, solution.keyframes, None, q, w, None, self._alpha)

    def _keep_some(self, looks: CellLooks, solution: Solution, top: int) -> None:
        """Leave-one-out residuals of some pixels."""
        q, w, values, clear, keyframes = (
            _every(image, self._steps, top)
            for image in (solution.information, solution.weights, looks.values, looks.clear, solution.keyframes)
        )
        seen = clear & (q > 0)
        left_out = (values - keyframes) * (1 + w / q.clamp(min=1e-12))
        remaining = torch.where(seen, left_out, 0.0)
        # a day that was not seen has not its own illuminance either, only the one carried to it
        ratio = 1.0 if looks.carried is None else looks.carried[:, :, None, None]
        residual = torch.where(seen, values - (values - left_out) * ratio, 0.0)
        self._sampled.append(tuple(image.flatten(-2) for image in (residual, remaining, q, seen)))  # type: ignore[arg-type]

    def widths(self) -> Scales:
        """See `Solver`."""
        residual, remaining, q, seen = (torch.cat(parts, dim=-1) for parts in zip(*self._sampled, strict=True))
        return scales(residual, remaining, q, seen)


class Guided:
    """Guided method; on acquisition days the observation where clear and leave-one-out + date term elsewhere."""

    _learnt: guided.Learnt
    _widths: Scales

    def __init__(self, settings: Settings, shape: tuple[int, int]) -> None:
        self._as_seen, self._steps = settings.appearance == "as_seen", learning_steps(shape)

    def learn(self, few: CellLooks) -> None:
        """See `Solver`."""
        share = self._steps[0] * self._steps[1]
        self._learnt = found = guided.learn(few.values, few.clear, few.days, share=share)
        shape = int(few.clear.shape[1]), int(few.clear.shape[2])
        residual, remaining, q, seen = (
            _every(image.view(*image.shape[:-1], *shape), _thin(shape)).flatten(-2)
            for image in (found.residual, found.remaining, found.information, found.seen)
        )
        # pixels farther apart than those of 20 m are not alike
        alike = max(1.0, few.alike / share)
        fitted = alike * (1 + 2 * len(residual)) * seen.shape[1] / (shape[0] * shape[1])
        self._widths = scales(residual, remaining, q, seen, fitted)

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `Solver`."""
        days: tuple[int, ...] = ()

        def looks() -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal days
            for strip in strips:
                days = strip.days
                yield strip.values, strip.clear

        for found in guided.strips(looks(), self._learnt):
            never = ~found.clear.any(0)
            shown = None
            if self._as_seen:  # in the room of the date term, which is not needed any more
                shown = torch.add(found.loo, found.date_term, out=found.date_term)
                torch.where(found.clear, found.values, shown, out=shown).masked_fill_(never, torch.nan)
            smooth = found.smooth.masked_fill_(never, torch.nan)
            yield State(days, found.clear, smooth, shown, found.information, found.weights, None, guided.ALPHA)

    def widths(self) -> Scales:
        """See `Solver`."""
        return self._widths


class Whole:
    """A method that sees a whole cell at once and does not know how far to trust itself."""

    def __init__(self, make: Callable[[CellLooks], tuple[tuple[int, ...], Tensor]]) -> None:
        self._make = make

    def learn(self, few: CellLooks) -> None:
        """See `Solver`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `Solver`."""
        (looks,) = strips
        days, found = self._make(looks)
        yield State(days, looks.clear, found)

    def widths(self) -> None:
        """See `Solver`."""


def reference(settings: Settings, _shape: tuple[int, int]) -> Solver:
    """FarmVibes.AI's iterate on every day of the window, with its start and stopping rule."""

    def make(looks: CellLooks) -> tuple[tuple[int, ...], Tensor]:
        found = iterate(
            looks.values,
            looks.clear,
            [day - looks.read.start for day in looks.days],
            len(looks.read),
            damping_factor=settings.damping_factor,
            tolerance=settings.tolerance,
            max_iterations=settings.max_iterations,
            check_interval=settings.check_interval,
        )
        return tuple(looks.read), found

    return Whole(make)


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


def called(model: MethodCallable) -> Callable[[Settings, tuple[int, int]], Solver]:
    """A user's model as a method: it fills the acquisition days, and the days between are blended."""

    def make(looks: CellLooks) -> tuple[tuple[int, ...], Tensor]:
        given = looks.values.clone(), looks.clear.clone(), torch.tensor(looks.days)
        with torch.no_grad():
            found = torch.as_tensor(np.asarray(model(*given)), dtype=torch.float32)
        if found.shape != looks.values.shape:
            raise InvalidInputError(
                f"method {_name(model)} returned shape {tuple(found.shape)} for values of shape "
                f"{tuple(looks.values.shape)}; it must return values of the same shape."
            )
        return looks.days, torch.where(looks.clear.any(0), found, torch.nan)

    return lambda _settings, _shape: Whole(make)


_BUILT_IN = {
    "damped": Method("damped", Damped, strips=True, normalised=True),
    "guided": Method(
        "guided",
        Guided,
        cell=GUIDED_CELL_PIXELS,
        halo=GUIDED_HALO_PIXELS,
        margin=GUIDED_MARGIN_PIXELS,
        strips=True,
        learns=True,
        shows=True,
        damping_factor=guided.ALPHA,
    ),
    "reference": Method(
        "reference", reference, cell=REFERENCE_CELL_PIXELS, normalised=True, every_day=True, truncates=True
    ),
}


def method_of(settings: Settings) -> Method:
    """Return the method that the settings name or bring along; InvalidInputError where an entry point cannot load."""
    chosen = settings.method
    if not isinstance(chosen, str):
        return Method(_name(chosen), called(chosen))
    if chosen in _BUILT_IN:
        return _BUILT_IN[chosen]
    (entry,) = entry_points(group=METHOD_GROUP, name=chosen)
    try:
        return Method(chosen, called(entry.load()))
    except Exception as error:
        raise InvalidInputError(f"method {chosen!r} ({entry.value}) cannot be loaded: {error}.") from error


def _name(model: MethodCallable) -> str:
    return str(getattr(model, "__name__", type(model).__name__))
