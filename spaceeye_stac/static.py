"""A finished run to a static, self-contained STAC collection, put in place at once or not at all."""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pystac

from spaceeye_stac.documents import write_document
from spaceeye_stac.errors import OutputError
from spaceeye_stac.geoparquet import PARQUET, table_of
from spaceeye_stac.output import KEYFRAME_COGS

COLLECTION_FILE = "collection.json"
THUMBNAIL_FILE = "thumbnail.png"
SCHEMA_FILE = "spaceeye.schema.json"
KEYFRAMES = "keyframes"
LOCK_FILE = ".lock"
DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
OTHER_ENTRIES = ("run.json", SCHEMA_FILE, PARQUET, KEYFRAMES, KEYFRAME_COGS)


@contextmanager
def staging(out: Path, *, overwrite: bool, update: bool = False) -> Iterator[Path]:
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
        try:
            yield work
        except BaseException as error:  # noqa: BLE001 - whatever ends a run, it is raised below
            told = _told(error, out)
            if leave(out):
                told.add_note(f"What is finished is kept beside {out}: the same command again goes on from there.")
            raise told from (None if told is not error else error.__cause__)
        (work / LOCK_FILE).unlink()
        _swap(work, out)


def _work_folder(out: Path) -> Path:
    return out.parent / f".{out.name}.partial"


def leave(out: Path) -> bool:
    """Whether something finished is kept for the next run into `out`; the work folder vanishes where nothing is."""
    work = _work_folder(out)
    kept = work.is_dir() and has_finished(work)
    if not kept:
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _told(error: BaseException, out: Path) -> BaseException:
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
        ours = any(name.startswith("spaceeye:") for name in document["summaries"])
    except (OSError, ValueError, KeyError, IndexError):
        return set()
    return {COLLECTION_FILE, THUMBNAIL_FILE, *OTHER_ENTRIES, *items} if ours else set()


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


def write_static(folder: Path, collection: pystac.Collection, items: Sequence[pystac.Item]) -> None:
    """Write the documents of a self-contained collection into `folder`, where the assets already are.

    Beside them stand a stac-geoparquet table of the items and the schema of this package's own fields.
    """
    collection.set_self_href(str(folder / COLLECTION_FILE))
    for item in items:
        collection.add_item(item)
        item.set_self_href(str(folder / item.id / f"{item.id}.json"))
    collection.catalog_type = pystac.CatalogType.SELF_CONTAINED
    documents = [item.to_dict(include_self_link=False) for item in items]
    for document in documents:
        write_document(folder / document["id"] / f"{document['id']}.json", document)
    (folder / PARQUET).write_bytes(table_of(documents))
    (folder / SCHEMA_FILE).write_bytes((files("spaceeye_stac") / "schemas" / "spaceeye.json").read_bytes())
    write_document(folder / COLLECTION_FILE, collection.to_dict(include_self_link=False))


def read_item(place: Path) -> pystac.Item:
    """Read the item of a day's folder, without the links that make it part of a collection."""
    item = pystac.Item.from_dict(json.loads((place / f"{place.name}.json").read_text(encoding="utf-8")))
    for rel in ("self", "root", "parent", "collection"):
        item.clear_links(rel)
    return item


def drop_strangers(folder: Path, ids: set[str]) -> None:
    """Remove from a finished work folder what is no part of the collection."""
    ours = {COLLECTION_FILE, THUMBNAIL_FILE, LOCK_FILE, *OTHER_ENTRIES, *ids}
    for entry in folder.iterdir():
        if entry.name not in ours:
            shutil.rmtree(entry, ignore_errors=True)
