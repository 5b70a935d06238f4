"""A finished run to a static, self-contained STAC collection, put in place at once or not at all."""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spaceeye_stac.collection.folder import (
    COLLECTION_FILE,
    KEYFRAMES,
    LOCK_FILE,
    OTHER_ENTRIES,
    SCRATCH,
    THUMBNAIL_FILE,
    is_ours,
)
from spaceeye_stac.errors import OutputError

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def staged_folder(out: Path, *, overwrite: bool, update: bool = False) -> Iterator[Path]:
    """Give the work folder beside `out` that becomes `out` when the block ends well.

    When it does not, the work folder vanishes too, unless something in it is finished: the next run goes on from there.
    `overwrite` starts anew and replaces a run in `out`, `update` takes over what still holds of it. Raises OutputError
    when `out` holds a run and neither is given, when it holds anything that is not a run's, and when another run is at
    work on it.
    """
    _check(out, replace=overwrite or update)
    work = _work_folder(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Output folder {out} cannot be made: {error.strerror}; choose another with out.") from error
    with _alone(work, out):
        if overwrite:
            _empty(work)
        if (work / KEYFRAMES).exists():  # a run died just before its end
            (work / KEYFRAMES).rename(work / SCRATCH)
        try:
            yield work
        except BaseException as error:  # noqa: BLE001 - whatever ends a run, it is raised below
            raised = _as_output_error(error, out)
            if leave_staged(out):
                raised.add_note(f"What is finished is kept beside {out}: the same command again goes on from there.")
            raise raised from (None if raised is not error else error.__cause__)
        (work / LOCK_FILE).unlink()
        _swap(work, out)


def _work_folder(out: Path) -> Path:
    return out.parent / f".{out.name}.partial"


def leave_staged(out: Path) -> bool:
    """Whether something finished is kept for the next run into `out`; the work folder vanishes where nothing is."""
    work = _work_folder(out)
    kept = work.is_dir() and has_finished(work)
    if not kept:
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _as_output_error(error: BaseException, out: Path) -> BaseException:
    """Return the error, or, where the disk is full or fails, one that says so and what to do."""
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        return OutputError(
            f"The folder of {out} cannot be written to ({error.strerror}); "
            "make room there and run the same command again."
        )
    return error


@contextmanager
def _alone(work: Path, out: Path) -> Iterator[None]:
    """Hold the lock of a work folder; the system gives it back when the process dies, however it dies."""
    with (work / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"Another run is at work on {out}; wait for it, or choose another folder.") from None
        yield


def _empty(work: Path) -> None:
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK_FILE:
            entry.unlink()


def has_finished(work: Path) -> bool:
    """Whether a work folder holds a finished day or cell."""
    days = (entry for entry in work.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return any(days) or any(work.glob("*/*/done/*.json")) or any(work.glob(".*/*/done/*.json"))


def _check(out: Path, *, replace: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"Output {out} is a file; name a folder.")
    entries = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if not entries:
        return
    strangers = [name for name in entries if name not in _own_entries(out)]
    if strangers:
        raise OutputError(
            f"Output folder {out} holds {strangers[0]!r}, which is no part of a run; choose another folder."
        )
    if not replace:
        raise OutputError(
            f"Output folder {out} already holds a run; choose another folder, update it, or overwrite it."
        )


def _own_entries(out: Path) -> set[str]:
    """Names in `out` that an earlier run of this package made."""
    try:
        document = json.loads((out / COLLECTION_FILE).read_text(encoding="utf-8"))
        items = {link["href"].split("/")[1] for link in document["links"] if link["rel"] == "item"}
    except (OSError, ValueError, KeyError, IndexError):
        return set()
    return {COLLECTION_FILE, THUMBNAIL_FILE, *OTHER_ENTRIES, *items} if is_ours(document) else set()


def _swap(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`; the old folder is deleted only once the new one stands."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_suffix(".old")
    out.rename(old)
    try:
        work.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)
