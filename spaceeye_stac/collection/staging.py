"""A finished run to a static, self-contained STAC collection, put in place at once or not at all.

Beside the folder `out` of a run stand, while it is at work: `.out.partial`, where it works; `.out.lock`, by which no
two runs work at once; and, for a moment, `.out.old`, the earlier run on its way out. A run that dies at any moment
leaves some of them, and the next one, under the lock, puts them right before it does anything else.
"""

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from spaceeye_stac.collection.durable import exchange, sync
from spaceeye_stac.collection.folder import (
    COLLECTION_FILE,
    DAY_TOTALS,
    KEYFRAMES,
    OTHER_ENTRIES,
    REPLACED_FILE,
    SCRATCH,
    THUMBNAIL_FILE,
    TILES,
    is_ours,
)
from spaceeye_stac.errors import OutputError

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def staged_folder(out: Path, *, overwrite: bool, update: bool = False) -> Iterator[Path]:
    """Give the work folder beside `out` that becomes `out` when the block ends well.

    When it does not, the work folder vanishes too, unless something in it is finished: the next run goes on from there.
    Where nothing is, tiles that were read from stores are kept alone, for whatever run is next.
    `overwrite` starts anew and replaces a run in `out`, `update` takes over what still holds of it. Raises OutputError
    when `out` holds a run and neither is asked for, when it holds anything that is not a run's, and when another run is
    at work on it.
    """
    check_place(out)
    work = _beside(out, "partial")
    with _alone(out):
        _recover(out)
        _check(out, replace=overwrite or update)
        if overwrite:
            shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        if (work / KEYFRAMES).exists():  # a run died just before its end
            (work / KEYFRAMES).rename(work / SCRATCH)
        try:
            yield work
        except BaseException as error:  # noqa: BLE001 - whatever ends a run, it is raised below
            raised = _as_output_error(error, out)
            if raised is not error:  # the disk is full, and tiles may be what fills it
                shutil.rmtree(work / TILES, ignore_errors=True)
            kept = leave_staged(out)
            if kept is not None:
                raised.add_note(f"{kept.capitalize()} is kept beside {out}: the same command again goes on from there.")
            raise raised from (None if raised is not error else error.__cause__)
        _put_in_place(work, out)


def check_place(out: Path) -> None:
    """Raise OutputError where `out` can never be the folder of a run: an address, a file, or not to be written."""
    address = re.sub(r"^([A-Za-z][\w+.-]+):/+", r"\1://", str(out))  # of which a Path has taken a slash
    if "://" in address:
        raise OutputError(f"Output {address} is an address; run into a folder, and publish it there with to.")
    if out.exists() and not out.is_dir():
        raise OutputError(f"Output {out} is a file; name a folder.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Output folder {out} cannot be made: {error.strerror}; choose another with out.") from error
    if not os.access(out.parent, os.W_OK | os.X_OK) or (out.exists() and not os.access(out, os.W_OK | os.X_OK)):
        raise OutputError(f"Output folder {out} cannot be written to; choose another with out.")


def is_unfinished(out: Path) -> bool:
    """Whether a folder is one where a run works, or that of a run that has begun and is not there yet."""
    at_work = any(part.startswith(".") and part.endswith(".partial") for part in out.absolute().parts)
    return at_work or (not out.exists() and _beside(out, "partial").is_dir())


def check_finished(place: Path) -> None:
    """Raise OutputError for what is opened as a run's folder, where the run is not finished or nothing is there."""
    if is_unfinished(place):
        raise OutputError(f"The run in {place} is not finished; run the same command again, which goes on there.")
    if not place.exists():
        raise OutputError(f"There is no {place}; name a run's folder, or a collection's address.")


def _beside(out: Path, kind: str) -> Path:
    return out.parent / f".{out.name}.{kind}"


def leave_staged(out: Path) -> str | None:
    """What is kept for the next run into `out`, in words: "what is finished", "what was read", or None for nothing.

    The work folder vanishes where nothing is kept. Where tiles alone are, nothing tells what was asked for, so that the
    next run may ask for something else.
    """
    work = _beside(out, "partial")
    _beside(out, "lock").unlink(missing_ok=True)
    if work.is_dir() and has_finished(work):
        return "what is finished"
    if any(path.is_file() for path in (work / TILES).glob("*/*")):
        _remove_all_but(work, TILES)
        return "what was read"
    shutil.rmtree(work, ignore_errors=True)
    return None


def _remove_all_but(folder: Path, name: str) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != name:
            shutil.rmtree(entry, ignore_errors=True)
        elif not entry.is_dir():
            entry.unlink(missing_ok=True)


def _as_output_error(error: BaseException, out: Path) -> BaseException:
    """Return the error, or, where the disk is full or fails, one that says so and what to do."""
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        return OutputError(
            f"The folder of {out} cannot be written to ({error.strerror}); "
            "make room there and run the same command again."
        )
    return error


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; the system gives it back when the process dies, however it dies."""
    path = _beside(out, "lock")
    with path.open("w") as lock:
        if not _is_locked(lock, path):
            raise OutputError(f"Another run is at work on {out}; wait for it, or choose another folder.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _is_locked(lock: IO[str], path: Path) -> bool:
    """Whether the lock is ours: nobody has it, and its file is the one that stands there still."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except OSError:
        return False


def _recover(out: Path) -> None:
    """Put right what a run left that died while it put its folder in place.

    An old run in the place of the work folder has been replaced already; where `out` is missing, the old one is it.
    """
    work, old = _beside(out, "partial"), _beside(out, "old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    if (work / REPLACED_FILE).exists():
        _discard(work, out)
    (out / REPLACED_FILE).unlink(missing_ok=True)


def _discard(folder: Path, out: Path) -> None:
    """Remove a folder that has been replaced; what cannot be removed now is removed by the next run."""
    old = _beside(out, "old")
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def has_finished(work: Path) -> bool:
    """Whether a work folder holds a finished day or cell."""
    others = (DAY_TOTALS,)  # which are soon read again
    days = (e for e in work.iterdir() if e.is_dir() and not e.name.startswith(".") and e.name not in others)
    return any(days) or any(work.glob("*/*/done/*.json")) or any(work.glob(".*/*/done/*.json"))


def _check(out: Path, *, replace: bool) -> None:
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


def _put_in_place(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`, in one step where the system can; the old run goes once the new one stands."""
    try:
        sync(work)
        if not out.exists():
            work.rename(out)
        else:
            (out / REPLACED_FILE).touch()
            if exchange(work, out):
                _discard(work, out)
            else:
                _replace(work, out)
        sync(out.parent)
    except OSError as error:
        raise OutputError(
            f"The finished run in {work} cannot be put in the place of {out} ({error.strerror}); "
            "see that the folder can be written to, and run the same command again."
        ) from error


def _replace(work: Path, out: Path) -> None:
    """Replace `out` in two steps, of which the first is taken back where the second fails."""
    old = _beside(out, "old")
    out.rename(old)
    try:
        work.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
