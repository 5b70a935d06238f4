"""What a run knows at its end, for those who draw it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from spaceeye_stac.model import FilteredScene, Scene
from spaceeye_stac.query import Json


@dataclass(frozen=True)
class RunFacts:
    """A run whose days are written, and whose folder is not yet in its place.

    `folder`: where the files of its days are now. `collection` and `items`: its documents, with hrefs from the folder;
    `asked`: what it was asked for, by the names of the options; `created`: when that was. `scenes`: those that it used,
    in order of time; `left_out`: sentences on those that the search found and that were not; `filtered`: each that a
    filter left out. `skipped`: days that hold nothing.
    """

    folder: Path
    collection: Json
    items: Sequence[Json]
    asked: Json
    created: datetime
    scenes: Sequence[Scene] = ()
    left_out: Sequence[str] = ()
    filtered: Sequence[FilteredScene] = ()
    skipped: Sequence[str] = ()


Draw = Callable[[RunFacts], bytes]
