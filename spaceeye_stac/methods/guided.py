"""The guided method as a method of the registry."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from spaceeye_stac.methods.base import CellLooks, Method, State, learning_steps, thinned
from spaceeye_stac.methods.guided_passes import GUIDED_ALPHA, GuidedFit, learn_guided
from spaceeye_stac.methods.guided_strips import guided_strips
from spaceeye_stac.methods.uncertainty import Scales, scales
from spaceeye_stac.settings import Settings


class GuidedRun:
    """The guided method; on acquisition days the observation where clear and leave-one-out + date term elsewhere."""

    _learnt: GuidedFit
    _widths: Scales

    def __init__(self, settings: Settings, shape: tuple[int, int]) -> None:
        self._as_seen, self._steps = settings.shows_looks, learning_steps(shape)

    def learn(self, few: CellLooks) -> None:
        """See `MethodRun`."""
        share = self._steps[0] * self._steps[1]
        self._learnt = found = learn_guided(few.values, few.clear, few.days, share=share)
        shape = int(few.clear.shape[1]), int(few.clear.shape[2])
        residual, remaining, q, seen = (
            thinned(image.view(*image.shape[:-1], *shape), learning_steps(shape)).flatten(-2)
            for image in (found.residual, found.remaining, found.information, found.seen)
        )
        # pixels farther apart than those of 20 m are not alike
        alike = max(1.0, few.alike / share)
        fitted = alike * (1 + 2 * len(residual)) * seen.shape[1] / (shape[0] * shape[1])
        self._widths = scales(residual, remaining, q, seen, fitted)

    def rows(self, strips: Iterable[CellLooks]) -> Iterator[State]:
        """See `MethodRun`."""
        days: tuple[int, ...] = ()

        def looks() -> Iterator[tuple[Tensor, Tensor]]:
            nonlocal days
            for strip in strips:
                days = strip.days
                yield strip.values, strip.clear

        for found in guided_strips(looks(), self._learnt):
            never = ~found.clear.any(0)
            as_seen = None
            if self._as_seen:  # in the room of the date term, which is not needed any more
                as_seen = torch.add(found.loo, found.date_term, out=found.date_term)
                torch.where(found.clear, found.values, as_seen, out=as_seen).masked_fill_(never, torch.nan)
            smooth = found.smooth.masked_fill_(never, torch.nan)
            yield State(
                days, found.clear, smooth, as_seen, found.information, found.weights, damping_factor=GUIDED_ALPHA
            )

    def widths(self) -> Scales:
        """See `MethodRun`."""
        return self._widths


GUIDED = Method(
    "guided",
    GuidedRun,
    cell=384,
    halo=64,
    margin=32,
    strips=True,
    learns=True,
    shows=True,
    damping_factor=GUIDED_ALPHA,
)
