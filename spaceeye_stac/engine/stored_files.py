"""A run in an object store: nothing but the store is shared, and every task has a folder of its own while it works.

Objects are named as the files of a run's folder are. An object is whole or not there, and nothing is renamed. A day is
there when its item is: files that an earlier item names are never replaced by others under the same name; those of a
virtual day, which name each other, are while it has no item.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from spaceeye_stac.collection import FINGERPRINT, document_bytes, temporary_folder
from spaceeye_stac.engine.run_files import Call
from spaceeye_stac.keyframes import DONE
from spaceeye_stac.publishing import Store, assets_of, do_all, item_name
from spaceeye_stac.query import Json

CHECKSUM, SIZE = "file:checksum", "file:size"
NAME_DIGITS = 8
VRT = ".vrt"


class MovableTask(Protocol):
    """A task that knows the folder of its run."""

    folder: Path

    def __call__(self, one: Any, /) -> Any:  # noqa: ANN401 - whatever the task takes and gives
        """Do one thing."""

    def moved(self, folder: Path, files: "StoredFiles") -> Call:
        """The same task in a folder that is an image of the run's."""


@dataclass(frozen=True)
class StoredFiles:
    """Files below `folder` that have their place in a store, under their names from there.

    `since`: when a run began that makes all days anew.
    """

    store: Store
    folder: Path
    since: str | None = None

    def bring(self, paths: Iterable[Path]) -> None:
        """See `Files`."""
        do_all(self._bring, [path for path in paths if not path.is_file()])

    def _bring(self, path: Path) -> None:
        content = self.store.read(self._name(path))
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def send(self, paths: Iterable[Path]) -> None:
        """See `Files`; what is in the store is no longer here."""
        do_all(self._send, paths)

    def keep(self, folder: Path, *, last: str) -> None:
        """See `Files`; the folder is no longer here."""
        paths = [path for path in folder.iterdir() if path.name != last]
        for group in (paths, [folder / last]):
            do_all(lambda path: self.store.write(self._name(path), path), group)
        shutil.rmtree(folder)

    def _send(self, path: Path) -> None:
        self.store.put(self._name(path), path)
        path.unlink()

    def is_there(self, path: Path) -> bool:
        """See `Files`: as it was when it was first asked for."""
        return self._name(path) in self._sizes

    def check_chunk(self, path: Path) -> None:
        """See `Files`: there at all; days read back what they are made from, and ask for it anew if it is damaged."""
        if not self.is_there(path):
            raise FileNotFoundError(path)

    def drop(self, paths: Iterable[Path]) -> None:
        """See `Files`."""
        names = []
        for path in paths:
            path.unlink(missing_ok=True)
            names.append(self._name(path))
        self.store.delete(names)

    def drop_below(self, folder: Path) -> None:
        """See `Files`."""
        delete_marks_first(self.store, self.store.sizes(self._name(folder)))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def finished(self, place: Path, key: str) -> bool:
        """See `RunFiles`: a day is there when its item is."""
        return self._made(place, key) is not None

    def _made(self, place: Path, key: str) -> Json | None:
        """The item of a day, if it was made from what the key stands for."""
        item = self.item(place.name)
        if item is None or item["properties"].get(FINGERPRINT) != key:
            return None
        return item if str(item["properties"].get("processing:datetime")) >= (self.since or "") else None

    def intact(self, place: Path, key: str) -> bool:
        """See `RunFiles`: with all its files, by their sizes; each was read back when it was put there."""
        item = self._made(place, key)
        return item is not None and all(self._sizes.get(name) == asset[SIZE] for name, asset in assets_of(item).items())

    @cached_property
    def _sizes(self) -> Mapping[str, int]:
        """Sizes of all objects when they were first asked for."""
        return self.store.sizes()

    def item(self, name: str) -> Json | None:
        """The item of a day's folder; None where there is none that can be read."""
        content = self.store.read(item_name(name))
        try:
            found = None if content is None else dict(json.loads(content))
            return found if found and found["properties"] and found["assets"] else None
        except (ValueError, KeyError, TypeError):
            return None

    def publish(self, place: Path) -> None:
        """See `RunFiles`: each file is read back and compared with its checksum; the folder vanishes."""
        item = json.loads((place / f"{place.name}.json").read_text(encoding="utf-8"))
        # files of this machine mean nothing elsewhere
        item["links"] = [link for link in item["links"] if link["rel"] != "derived_from" or "://" in link["href"]]
        before = self.item(place.name)
        if before is not None and _has_virtual(item, before):  # whose files name each other
            self.store.delete([item_name(place.name)])
            before = None
        taken = {name: asset.get(CHECKSUM) for name, asset in assets_of(before or item).items()}
        todo = []
        for asset in item["assets"].values():
            path, checksum = place / asset["href"], asset[CHECKSUM]
            if taken.get(self._name(path), checksum) != checksum:
                asset["href"] = f"./{path.stem}-{checksum[-NAME_DIGITS:]}{path.suffix}"
            todo.append((self._name(place / asset["href"]), path, checksum))
        do_all(lambda one: self.store.write(*one), todo)
        self.store.write(item_name(place.name), document_bytes(item))
        shutil.rmtree(place)

    def of_earlier(self, out: Path) -> "StoredFiles":
        """See `RunFiles`."""
        return replace(self, folder=out)

    def take_over(self, out: Path, pairs: Sequence[tuple[Path, Path]]) -> None:
        """See `RunFiles`; the store itself copies them."""
        names = [(source.relative_to(out).as_posix(), self._name(target)) for source, target in pairs]
        do_all(lambda one: self.store.copy(*one), names)

    def away(self, task: MovableTask) -> Call:
        """See `RunFiles`."""
        return AwayTask(task, self)


def delete_marks_first(store: Store, names: Iterable[str]) -> None:
    """Remove objects; if that ends midway, no mark says that a cell is whole of which something is gone already."""
    todo = set(names)
    marks = {name for name in todo if f"/{DONE}/" in name}
    store.delete(marks)
    store.delete(todo - marks)


def _has_virtual(*items: Json) -> bool:
    return any(asset["href"].endswith(VRT) for item in items for asset in item["assets"].values())


@dataclass(frozen=True)
class AwayTask:
    """A task on a worker that shares nothing but the store with the others, and keeps nothing afterwards."""

    task: MovableTask
    files: StoredFiles

    def __call__(self, one: Any, /) -> Any:  # noqa: ANN401 - as the task's
        """Do one thing in a folder of its own."""
        with temporary_folder(worker_folder()) as folder:
            return self.task.moved(folder, replace(self.files, folder=folder))(one)


def worker_folder() -> str | None:
    """The folder of the cluster's worker that this is, which removes it if this process dies; None elsewhere."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker  # noqa: PLC0415 - which is there already

    try:
        return str(get_worker().local_directory)
    except ValueError:
        return None
