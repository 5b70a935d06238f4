"""What a kill or a power cut leaves done or not done, never half done."""

import ctypes
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TEMPORARY = ".spaceeye-scratch-"  # of what is removed wherever it is left
RENAME_EXCHANGE = 2  # of Linux' renameat2
AT_CURRENT_FOLDER = -100


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change their places in one step; False where the system or the file system cannot."""
    rename = of_glibc("renameat2")
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(AT_CURRENT_FOLDER, names[0], AT_CURRENT_FOLDER, names[1], RENAME_EXCHANGE) == 0)


def sync(folder: Path) -> None:
    """Bring all that was written on the file system of a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
        sync_file_system = of_glibc("syncfs")
        if sync_file_system is None:
            os.sync()
        else:
            sync_file_system(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name, bring it to the disk, and rename it."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def temporary_folder(within: str | None = None) -> Iterator[Path]:
    """A folder for a while. One that a program left that was killed is removed by the next one that wants one there.

    Each is locked while it is used, and the system gives a lock back when its program dies.
    """
    for left in Path(within or tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            handle = _locked(left, fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
            os.close(handle)
    folder, handle = _new_folder(within)
    try:
        with folder as name:
            yield Path(name)
    finally:
        os.close(handle)


def _new_folder(within: str | None) -> "tuple[TemporaryDirectory[str], int]":
    """An own folder, and by what it is locked; another program may take one for left before it is."""
    while True:
        folder = TemporaryDirectory(prefix=TEMPORARY, dir=within, ignore_cleanup_errors=True)
        with suppress(FileNotFoundError):
            handle = _locked(Path(folder.name))
            if os.fstat(handle).st_nlink:
                return folder, handle
            os.close(handle)
        folder.cleanup()


def _locked(folder: Path, how: int = 0) -> int:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except OSError:
        os.close(handle)
        raise
    return handle


def of_glibc(name: str) -> Any:  # noqa: ANN401 - a function of C
    """One of glibc's functions; None elsewhere, as on some Linux, too."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
