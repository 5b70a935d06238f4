"""What is known of one finished day, from which its item is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from spaceeye_stac.collection.flags import Flag
from spaceeye_stac.model import Scene
from spaceeye_stac.query import DateRange
from spaceeye_stac.settings import Settings

PROVISIONAL = "spaceeye:provisional"


def is_provisional(window_end: date, made: datetime, settings: Settings) -> bool:
    """Whether looks that are yet to come may change a day when a run is brought up to date.

    That is so where the last day of its window was not over on the day on which the run was `made` (UTC): what was
    searched may have ended earlier, but nothing else tells a catalog that goes on from one that is finished. Causal
    days never are: no look after them has a part in them.
    """
    return not settings.causal and window_end >= made.date()


@dataclass(frozen=True)
class WrittenFile:
    """A file as it stands on the disk: `checksum` is a multihash (sha2-256) in hexadecimal."""

    path: Path
    size: int
    checksum: str


@dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of one band, in DN; `valid_percent` is their share of all pixels."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


@dataclass(frozen=True)
class DayFiles:
    """The files of one day by asset key, the statistics of each raster band in them, and the bands of `visual`."""

    files: Mapping[str, WrittenFile]
    statistics: Mapping[str, Sequence[Statistics]]
    rgb_bands: tuple[str, str, str]


@dataclass(frozen=True)
class DayQuality:
    """How the pixels of a day were made.

    `flagged`: share of all pixels of the region that have each `Flag`. `nodata`: share of them without a value.
    `doubted`: share of the pixels with data whose nearest used look may show cloud, haze or shadow; None where the
    method does not look for that. `median_clear_distance`: days to the nearest used look, of the pixels with data.
    """

    flagged: Mapping[Flag, float]
    nodata: float
    doubted: float | None
    median_clear_distance: float

    @property
    def observed(self) -> float:
        """Share of the pixels that were seen that day."""
        return self.flagged[Flag.SEEN]


@dataclass(frozen=True)
class DayImages:
    """One published day: its files, the window it was solved in, and the scenes that shaped it."""

    day: date
    window: DateRange
    written: DayFiles
    quality: DayQuality
    scenes: tuple[Scene, ...]
