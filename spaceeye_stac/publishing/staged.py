"""What a publication that was killed had on its way into a folder.

obstore writes a file as `<name>#<n>` beside its place and renames it; it never lists such names itself.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spaceeye_stac.publishing.targets import Target


@contextmanager
def cleared(target: Target, names: Iterable[str]) -> Iterator[None]:
    """Publish to a target, of which a folder is rid of what was on its way to these names when its writer died.

    Where another publication is at work in that folder, what is there may be on its way still, and stays.
    """
    if target.kind != "folder":
        yield
        return
    folder = Path(target.address)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # another is at work, or a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder, set(names))
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _remove(folder: Path, names: set[str]) -> None:
    for place in {Path(name).parent for name in names}:
        for path in (folder / place).glob("*#*"):
            name, _, number = path.name.rpartition("#")
            if number.isdecimal() and (place / name).as_posix() in names:
                path.unlink()
