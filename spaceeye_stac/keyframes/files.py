"""Where the files of a keyframe store have their place: here, or elsewhere with an image of them here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from spaceeye_stac.keyframes.chunks import read_chunk


class Files(Protocol):
    """Files below a folder of this machine, that may be an image of what has its place elsewhere."""

    def bring(self, paths: Iterable[Path]) -> None:
        """Have these files here, those that are anywhere."""

    def send(self, paths: Iterable[Path]) -> None:
        """Keep these files in their place, each whole or not at all; afterwards they may have to be brought again."""

    def keep(self, folder: Path, *, last: str) -> None:
        """Keep all files of a folder in their place, verified, the one of the name `last` at the end."""

    def is_there(self, path: Path) -> bool:
        """Whether a file is in its place."""

    def check_chunk(self, path: Path) -> None:
        """Raise OSError or ValueError where a chunk that was written is not whole."""

    def drop(self, paths: Iterable[Path]) -> None:
        """Remove these files, those that are anywhere."""

    def drop_below(self, folder: Path) -> None:
        """Remove all files below a folder from their place elsewhere."""


class LocalFiles:
    """Files that have their place where they are."""

    def bring(self, paths: Iterable[Path]) -> None:
        """See `Files`."""

    def send(self, paths: Iterable[Path]) -> None:
        """See `Files`."""

    def keep(self, folder: Path, *, last: str) -> None:
        """See `Files`."""

    def is_there(self, path: Path) -> bool:
        """See `Files`."""
        return path.is_file()

    def check_chunk(self, path: Path) -> None:
        """See `Files`: by its checksum."""
        read_chunk(path)

    def drop(self, paths: Iterable[Path]) -> None:
        """See `Files`."""
        for path in paths:
            path.unlink(missing_ok=True)

    def drop_below(self, folder: Path) -> None:
        """See `Files`."""


LOCAL_FILES = LocalFiles()
