"""The exact minimiser of SpaceEye's objective as a method."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from spaceeye_stac.methods.base import CellLooks, Method, State, WorkingMemory, learning_steps, thinned
from spaceeye_stac.methods.solver import Solution, solve
from spaceeye_stac.methods.uncertainty import Scales, scales
from spaceeye_stac.settings import Settings


class DampedRun:
    """Exact minimiser of SpaceEye's objective, with uncertainty from its leave-one-out residuals."""

    def __init__(self, settings: Settings, shape: tuple[int, int]) -> None:
        self._alpha, self._steps = settings.damping_factor, learning_steps(shape)
        self._sampled: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        top = 0
        for looks in strips:
            solution = solve(looks.values, looks.clear, looks.days, damping_factor=self._alpha)
            self._keep_some(looks, solution, top)
            top += looks.clear.shape[1]
            q, w = solution.information, solution.weights
            yield State(looks.days, looks.clear, solution.keyframes, None, q, w, damping_factor=self._alpha)

    def _keep_some(self, looks: CellLooks, solution: Solution, top: int) -> None:
        """Leave-one-out residuals of some pixels."""
        q, w, values, clear, keyframes = (
            thinned(image, self._steps, top)
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
        """See `MethodRun`."""
        residual, remaining, q, seen = (torch.cat(parts, dim=-1) for parts in zip(*self._sampled, strict=True))
        return scales(residual, remaining, q, seen)


DAMPED = Method("damped", DampedRun, strips=True, normalised=True, memory=lambda _: WorkingMemory(5.6))
