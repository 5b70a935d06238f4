"""Where the files of a run have their place: in a folder that all workers see, or elsewhere."""

from collections.abc import Callable
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

    def away(self, task: Call) -> Call:
        """See `RunFiles`."""
        return task


LOCAL_RUN_FILES = LocalRunFiles()
