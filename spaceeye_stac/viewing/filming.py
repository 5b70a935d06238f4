"""A film of a finished run: every day that it published, one frame each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import Progress, silent
from spaceeye_stac.viewing.captions import Captions
from spaceeye_stac.viewing.film_files import writer_of
from spaceeye_stac.viewing.pictures import Subject, stretch_of, subject_of
from spaceeye_stac.viewing.run_days import RunDay, run_days

EDGE = 960
FPS = 8.0
MOST_FPS = 120
SMALLEST_EDGE, LARGEST_EDGE = 16, 8192


@dataclass(frozen=True)
class FilmFile:
    """A film that was written: its file, the days of its frames, and what they show."""

    path: Path
    days: tuple[str, ...]
    subject: str
    size: tuple[int, int]


def film(
    run: object,
    out: str | Path,
    *,
    bands: Sequence[str] | None = None,
    index: str | None = None,
    datetime: str | None = None,
    tile: str | None = None,
    fps: float = FPS,
    edge: int = EDGE,
    progress: Progress = silent,
) -> FilmFile:
    """Film every day of a finished run.

    A frame shows a day, above it the date and how much was seen, below it the days with looks, and a scale. All days
    go through one stretch, that of `visual`, so that what flickers is the data; NDVI and EVI go from -0.2 to 1, other
    indices from percentile 2 to 98 of seven of the days. Nodata is a neutral grey. A day that the run has not has no
    frame.

    Parameters
    ----------
    run
        A run's folder, or its Result.
    out
        The film: .mp4 (extra `film`), .gif or .webp. Frames of the last two stand in memory, all at once.
    bands, index
        Three bands for red, green and blue (those of the run's `visual` when left out), or an index that spyndex has,
        as "NDVI".
    datetime
        Days to show, as "A/B", both included; all when left out.
    tile
        MGRS tile to show, where the run has several.
    fps
        Days a second.
    edge
        Pixels of the picture's longer side, at most; a small grid is enlarged by a whole factor.
    progress
        Called with a stage's name, the steps done and their number.

    Returns the film. Raises InvalidInputError and OutputError, each with the value and the remedy, and ReadError where
    a day's file is damaged.

    """
    path = Path(out)
    write = writer_of(path)
    if not path.parent.is_dir():
        raise InvalidInputError(f"The folder of the film {path} does not exist; make it, or name another.")
    if not 0 < fps <= MOST_FPS:
        raise InvalidInputError(f"fps {fps!r} is not allowed; give days a second, above 0 and up to {MOST_FPS}.")
    if not SMALLEST_EDGE <= edge <= LARGEST_EDGE:
        raise InvalidInputError(f"edge {edge!r} is not allowed; give {SMALLEST_EDGE} to {LARGEST_EDGE} pixels.")
    days = run_days(Path(str(getattr(run, "path", run))), datetime, tile)
    subject = subject_of(days[0], bands, index)
    captions = Captions(days, stretch_of(days, subject, edge), subject.name, edge)
    write(path, _frames(captions, subject, progress), fps)
    return FilmFile(path, tuple(day.day.isoformat() for day in days), subject.name, captions.size)


def _frames(captions: Captions, subject: Subject, progress: Progress) -> Iterator[Pillow.Image]:
    days: Sequence[RunDay] = captions.days
    for number, day in enumerate(days, 1):
        yield captions.frame(day, captions.stretch.image(subject.values(day, captions.edge)))
        progress("filming", number, len(days))
