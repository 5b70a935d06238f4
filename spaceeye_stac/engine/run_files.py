"""Where the files of a run have their place: in a folder that all workers see, or elsewhere."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from spaceeye_stac.engine.drafts import finished, intact
from spaceeye_stac.keyframes import Files, LocalFiles

Call = Callable[[Any], Any]  # of a `schedulers.Task`, which workers need not know


class RunFiles(Files, Protocol):
    """Files of keyframes and days below the work folder of a run, which may be an image of what is elsewhere."""

    def finished(self, place: Path, key: str) -> bool:
        """Whether the day of a folder, made from what `key` stands for, is in its place."""

    def intact(self, place: Path, key: str) -> bool:
        """Whether it is in its place and whole, whoever has put it there."""

    def publish(self, place: Path) -> None:
        """Bring the finished folder of a day to its place; its item comes last."""

    def of_earlier(self, out: Path) -> Files:
        """The files of the finished run in `out`, or in what it is an image of."""

    def take_over(self, out: Path, pairs: Sequence[tuple[Path, Path]]) -> None:
        """Let files of the finished run in `out` be files of this one, too: from there, to here."""

    def away(self, task: Any) -> Call:  # noqa: ANN401 - a SolveTask, KnotTask or WriteTask
        """What a worker calls to do the task."""


class LocalRunFiles(LocalFiles):
    """A run in a folder of this machine, which all workers see."""

    def finished(self, place: Path, key: str) -> bool:
        """See `RunFiles`."""
        return finished(place, key)

    def intact(self, place: Path, key: str) -> bool:
        """See `RunFiles`."""
        return intact(place, key)

    def publish(self, place: Path) -> None:
        """See `RunFiles`; it was finished in its place."""

    def of_earlier(self, _out: Path) -> Files:
        """See `RunFiles`."""
        return self

    def take_over(self, _out: Path, pairs: Sequence[tuple[Path, Path]]) -> None:
        """See `RunFiles`; by another name for the same file, where the system has that."""
        for source, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # it may be another name of the very same file
            link(str(source), str(target))

    def away(self, task: Call) -> Call:
        """See `RunFiles`."""
        return task


def link(source: str, target: str) -> None:
    """Give a file another name; documents are copied, since they are written again."""
    if source.endswith(".json"):
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


LOCAL_RUN_FILES = LocalRunFiles()
