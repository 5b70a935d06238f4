"""Where a run is to stand: a folder of this machine, or a place in an object store, of which this machine has an image.

In a store nothing is renamed. Days have their own names from the start and count once their item is there; keyframes
and the record of the run stand beside them under hidden names, until the collection, which comes last, is there.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

from PIL import Image

from spaceeye_stac.collection import (
    COLLECTION_FILE,
    DAY_TOTALS,
    KEYFRAME_COGS,
    KEYFRAMES,
    OTHER_ENTRIES,
    SCRATCH,
    THUMBNAIL_FILE,
    check_place,
    is_ours,
    staged_folder,
    temporary_folder,
)
from spaceeye_stac.days import knot_cogs_of
from spaceeye_stac.engine.request import RECORD_FILE
from spaceeye_stac.engine.run_files import LOCAL_RUN_FILES, RunFiles
from spaceeye_stac.engine.stored_files import StoredFiles, delete_marks_first
from spaceeye_stac.errors import OutputError, SpaceEyeError
from spaceeye_stac.keyframes import DONE
from spaceeye_stac.model import Progress
from spaceeye_stac.publishing import (
    LOCK,
    Store,
    StoreLock,
    Target,
    alone,
    assets_of,
    at_once,
    do_all,
    item_name,
    target_of,
)
from spaceeye_stac.query import Json

if TYPE_CHECKING:  # a refusal does not wait for torch
    from spaceeye_stac.engine.phases import FilledGrid

UNFINISHED = f".{RECORD_FILE}"  # the record of a run while it is at work
OWN = (COLLECTION_FILE, THUMBNAIL_FILE, *OTHER_ENTRIES, SCRATCH, UNFINISHED, LOCK)
DAY_FOLDER = re.compile(r".+_\d{4}-\d{2}-\d{2}")
PICTURES_BYTES = 2**29  # that are read for the report


class Named(TypedDict, total=False):
    """Of the fields of a `Result` those that say where it stands."""

    path: Path
    address: str


class RunPlace(Protocol):
    """Where a run is to stand."""

    @property
    def folder(self) -> Path:
        """Of the finished run, or the image of its documents."""

    @property
    def named(self) -> Named:
        """What the result of a run says of where it stands."""

    def staged(self, *, overwrite: bool, update: bool) -> AbstractContextManager[Path]:
        """Give the work folder of a run that stands in its place when the block ends well."""

    def files(self, folder: Path) -> RunFiles:
        """Where the files of the work folder have their place."""

    def begin(self, folder: Path) -> None:
        """Let the record in the work folder tell the next run what this one was asked for."""

    def bring_days(self, grids: "Sequence[FilledGrid]") -> None:
        """Have in the work folder what is needed of all days to describe them together."""

    def guarded(self, progress: Progress) -> Progress:
        """Progress that ends a run that has lost its place to another one."""


@contextmanager
def run_place(out: str | Path) -> Iterator[RunPlace]:
    """The place of a run; OutputError for what can never be one, TargetError for a store that cannot be used."""
    if "://" not in str(out):
        check_place(Path(out))
        yield FolderPlace(Path(out))
        return
    target = target_of(out)
    if target.kind != "store":
        check_place(Path(target.address if target.kind == "folder" else str(out)))
        yield FolderPlace(Path(target.address))
        return
    with temporary_folder() as image:
        yield StoredPlace(target, image)


@dataclass(frozen=True)
class FolderPlace:
    """A folder of this machine."""

    folder: Path

    @property
    def named(self) -> Named:
        """See `RunPlace`."""
        return {"path": self.folder}

    def staged(self, *, overwrite: bool, update: bool) -> AbstractContextManager[Path]:
        """See `staged_folder`."""
        return staged_folder(self.folder, overwrite=overwrite, update=update)

    def files(self, _folder: Path) -> RunFiles:
        """See `RunPlace`."""
        return LOCAL_RUN_FILES

    def begin(self, _folder: Path) -> None:
        """See `RunPlace`; the folder is it."""

    def bring_days(self, _grids: "Sequence[FilledGrid]") -> None:
        """See `RunPlace`; all is there."""

    def guarded(self, progress: Progress) -> Progress:
        """See `RunPlace`; the system guards a folder."""
        return progress


class StoredPlace:
    """A place in an object store, with images of its documents in the folders `out` and `work` of this machine."""

    def __init__(self, target: Target, image: Path) -> None:
        self.address, self.folder, self._work = target.address, image / "out", image / "work"
        self._store = Store(target)
        self._lock: StoreLock | None = None
        self._since: str | None = None
        for folder in (self.folder, self._work):
            folder.mkdir()
        finished = [self.folder / name for name in (COLLECTION_FILE, RECORD_FILE)]
        StoredFiles(self._store, self.folder).bring(finished)
        if not finished[0].is_file():
            finished[1].unlink(missing_ok=True)

    @property
    def named(self) -> Named:
        """See `RunPlace`."""
        return {"path": Path(self.address), "address": self.address}

    def files(self, folder: Path) -> StoredFiles:
        """See `RunPlace`."""
        return StoredFiles(self._store, folder, self._since)

    @contextmanager
    def staged(self, *, overwrite: bool, update: bool) -> Iterator[Path]:
        """See `RunPlace`; raises OutputError for what `staged_folder` does."""
        self._check(replace=overwrite or update)
        with alone(self._store) as self._lock:
            if overwrite:
                self._since = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
                self._drop_unfinished()
            record = self._store.read(UNFINISHED)
            if record is not None:
                (self._work / RECORD_FILE).write_bytes(record)
            if update:
                totals = self._store.sizes(DAY_TOTALS)
                StoredFiles(self._store, self.folder).bring(self.folder / name for name in totals)
            try:
                yield self._work
                self._lock.check()
                self._complete()
            except BaseException as error:
                with suppress(SpaceEyeError):
                    self._leave(error)
                raise

    def _check(self, *, replace: bool) -> None:
        """Raise OutputError where the place holds what is no run's, or a run that is not to be replaced."""
        entries = self._store.entries()
        collection: Json = {}
        if COLLECTION_FILE in entries:
            collection = _document(self.folder / COLLECTION_FILE)
        links = collection.get("links", ())
        known = {*OWN, *(link["href"].split("/")[1] for link in links if link["rel"] == "item")}
        if COLLECTION_FILE in entries and not is_ours(collection):
            known -= {COLLECTION_FILE}
        days = {name for name in entries if DAY_FOLDER.fullmatch(name)} if {UNFINISHED, SCRATCH} & entries else set()
        strangers = sorted(entries - known - days)
        if strangers:
            raise OutputError(
                f"{self.address} holds {strangers[0]!r}, which is no part of a run; choose another place."
            )
        if collection and not replace:
            raise OutputError(f"{self.address} already holds a run; choose another place, update it, or overwrite it.")

    def begin(self, folder: Path) -> None:
        """See `RunPlace`."""
        self._store.put(UNFINISHED, folder / RECORD_FILE)

    def guarded(self, progress: Progress) -> Progress:
        """See `RunPlace`."""

        def watch(stage: str, done: int, total: int) -> None:
            if self._lock is not None:
                self._lock.check()
            progress(stage, done, total)

        return watch

    def bring_days(self, grids: "Sequence[FilledGrid]") -> None:
        """See `RunPlace`: items, thumbnails, and for the report the pictures, which are the thumbnails if large."""
        names = [grid.work.place(day).name for grid in grids for day in grid.full]
        items = dict(at_once(lambda name: (name, self._item(name)), names))
        pictures = {name: item["assets"]["visual"] for name, item in items.items()}
        whole = sum(int(asset["file:size"]) for asset in pictures.values()) <= PICTURES_BYTES
        do_all(lambda name: self._bring_pictures(items[name], whole_picture=whole), names)

    def _item(self, name: str) -> Json:
        """Have the item of a day in the work folder."""
        path = self._work / item_name(name)
        self.files(self._work).bring([path])
        return _document(path)

    def _bring_pictures(self, item: Json, *, whole_picture: bool) -> None:
        place, assets = self._work / item["id"], item["assets"]
        thumbnail, visual = (place / assets[key]["href"] for key in ("thumbnail", "visual"))
        virtual = [place / asset["href"] for asset in assets.values() if asset["href"].endswith(".vrt")]
        self.files(self._work).bring([thumbnail, *virtual, *([visual] if whole_picture else [])])
        if visual in virtual:
            whole_picture = False
        plain = place / "thumbnail.png"
        if thumbnail != plain:
            thumbnail.rename(plain)
        if not whole_picture:
            # a virtual picture can be read beside its keyframes alone; the name says nothing to who reads it
            visual.unlink(missing_ok=True)
            Image.open(plain).convert("RGB").save(visual, format="TIFF")

    def _complete(self) -> None:
        """Put the documents, the collection last, and remove what is no part of it."""
        paths = sorted(path for path in self._work.glob("*.*") if path.is_file() and path.name != COLLECTION_FILE)
        items = [_document(path) for path in sorted(self._work.glob("*/*.json")) if path.stem == path.parent.name]
        documents = [self._work / item_name(item["id"]) for item in items]
        if (self._work / KEYFRAMES).is_dir():
            self._keep_keyframes()
        totals = sorted((self._work / DAY_TOTALS).glob("*"))
        keyframes = sorted((self._work / KEYFRAME_COGS).glob("*.json"))
        for group in (documents, [*paths, *totals, *keyframes], [self._work / COLLECTION_FILE]):
            do_all(self._put, group)
        wanted = {path.relative_to(self._work).as_posix() for path in (*documents, *paths, *totals, *keyframes)}
        wanted |= {name for item in items for name in assets_of(item)} | {COLLECTION_FILE, LOCK}
        kept = {path.parent for item in items for path in knot_cogs_of(self._work / item["id"])}
        kept |= {self._work / KEYFRAMES} if (self._work / KEYFRAMES).is_dir() else set()
        folders = tuple(f"{path.relative_to(self._work).as_posix()}/" for path in kept)
        rest = (name for name in self._store.sizes() if name not in wanted and not name.startswith(folders))
        delete_marks_first(self._store, rest)

    def _put(self, path: Path) -> None:
        """Store a document unless it is there."""
        name, content = path.relative_to(self._work).as_posix(), path.read_bytes()
        if self._store.read(name) != content:
            self._store.write(name, content)

    def _keep_keyframes(self) -> None:
        """Give the keyframes the name under which a finished run has them; the store itself copies them."""
        there = self._store.sizes(KEYFRAMES)
        names = {name: KEYFRAMES + name.removeprefix(SCRATCH) for name in self._store.sizes(SCRATCH)}
        self._store.delete(there.keys() - set(names.values()))
        do_all(lambda name: self._store.copy(name, names[name]), names)

    def _leave(self, error: BaseException) -> None:
        """Keep what is finished, and say so; where nothing is, the next run may ask for something else."""
        if any(f"/{DONE}/" in name for name in self._store.sizes(SCRATCH)):
            error.add_note(f"What is finished is kept in {self.address}: the same command again goes on from there.")
        else:
            self._drop_unfinished()

    def _drop_unfinished(self) -> None:
        self.files(self._work).drop_below(self._work / SCRATCH)
        self._store.delete([UNFINISHED] if self._store.size(UNFINISHED) else [])


def _document(path: Path) -> Json:
    try:
        return dict(json.loads(path.read_bytes()))
    except ValueError as error:
        raise OutputError(f"{path.name} is no JSON ({error}); run with overwrite to start anew.") from None
