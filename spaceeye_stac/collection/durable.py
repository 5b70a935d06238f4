"""What a kill or a power cut leaves done or not done, never half done."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

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


def of_glibc(name: str) -> Any:  # noqa: ANN401 - a function of C
    """One of glibc's functions; None elsewhere, as on some Linux, too."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if sys.platform == "linux" else None
