"""What every part of the score of the film is given."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from spaceeye_stac.evaluation.candidates import Candidate
from spaceeye_stac.evaluation.looks import LookStack, VegetationIndex, bluest_band, good_dates, vegetation_index
from spaceeye_stac.evaluation.threads import side_by_side
from spaceeye_stac.model import Progress, silent
from spaceeye_stac.query import DateRange

Case = TypeVar("Case")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Trial:
    """Looks of a region, and who is scored on them.

    `asked`: the days that a run would publish, of which the looks' days are indices. `seed`: of every draw. `limit`:
    at most so many cases of each kind. `workers`: cases at once, on threads.
    """

    looks: LookStack
    bands: tuple[str, ...]
    asked: DateRange
    candidates: Mapping[str, Candidate]
    seed: int = 0
    limit: int | None = None
    workers: int = 1
    progress: Progress = silent

    @cached_property
    def index(self) -> VegetationIndex | None:
        """NDVI of the bands, where they have it."""
        return vegetation_index(self.bands)

    @cached_property
    def good(self) -> list[int]:
        """Indices of the dates that agree with their neighbours in time."""
        return good_dates(self.looks, self.index, self.bluest)

    @property
    def bluest(self) -> int:
        """Index of the bluest band."""
        return bluest_band(self.bands)

    @cached_property
    def windows(self) -> dict[str, int]:
        """Days of each candidate's windows."""
        return {name: one.settings.window_days(self.asked) for name, one in self.candidates.items()}

    @property
    def shortest(self) -> int:
        """Days of the shortest window that goes on after a day, or of all where none does."""
        usual = [days for name, days in self.windows.items() if name not in self.causal]
        return min(usual or self.windows.values())

    @cached_property
    def causal(self) -> frozenset[str]:
        """Names of the candidates that see no look after a day."""
        return frozenset(name for name, one in self.candidates.items() if one.settings.causal)

    def reads(self, name: str, day: int) -> range:
        """Days around a day of which a candidate reads the looks: its window, before which a causal one has another."""
        window = centred(day, self.windows[name])
        return range(window.start - len(window), window.stop) if name in self.causal else window

    def around(self, day: int) -> range:
        """Days around a day that some candidate reads."""
        reads = [self.reads(name, day) for name in self.candidates]
        return range(min(read.start for read in reads), max(read.stop for read in reads))

    def most(self, usual: int) -> int:
        """How many cases of a kind, of which so many are usual."""
        return usual if self.limit is None else min(usual, self.limit)

    def each(self, stage: str, work: Callable[[Case], Found], cases: Sequence[Case]) -> Iterator[Found]:
        """Give what is found in every case, in order, and report each."""
        self.progress(stage, 0, len(cases))
        for done, found in enumerate(side_by_side(work, cases, self.workers), start=1):
            self.progress(stage, done, len(cases))
            yield found


def centred(day: int, duration: int) -> range:
    """Return the days of a window around a day."""
    return range(day - duration // 2, day - duration // 2 + duration)


def ending(day: int, duration: int) -> range:
    """Return the days of a window that ends with a day."""
    return range(day + 1 - duration, day + 1)
