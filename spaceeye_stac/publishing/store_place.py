"""What lies in a store or folder: the collection there, its items, whose they are, and the files that they name."""

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.digests import content_digest, is_our_item
from spaceeye_stac.publishing.report import PublishOptions, check_owner
from spaceeye_stac.publishing.run_folder import LocalFile, RunFolder, is_day_of, is_item_name, is_plain_name
from spaceeye_stac.publishing.store import Store
from spaceeye_stac.publishing.targets import Target
from spaceeye_stac.publishing.threads import at_once
from spaceeye_stac.query import Json

REMOVING = "spaceeye:removing"


@dataclass(frozen=True)
class StorePlace:
    """A store as it was found: its files' sizes, the collection there, and its items.

    `items` are those that this package made, by id. `foreign` are the other documents that the collection links to or
    that have the name of one of its days, as hrefs from its folder; `strange` the ids among them.
    """

    store: Store
    sizes: Mapping[str, int]
    collection: Json | None
    items: Mapping[str, Json] = field(default_factory=dict)
    foreign: Sequence[str] = ()

    @property
    def strange(self) -> frozenset[str]:
        """Ids of the items that this package did not make."""
        return frozenset(PurePosixPath(name).parent.name for name in self.foreign if is_item_name(name))

    @property
    def removing(self) -> set[str]:
        """Files of days that a publication was about to remove, and may have been killed at."""
        collection = self.collection or {}
        names = [str(name) for name in collection.get(REMOVING, ())]
        return {n for n in names if _is_day_file(n) and is_day_of(str(collection["id"]), PurePosixPath(n).parts[0])}

    def has(self, file: LocalFile, checksum_there: str | None) -> bool:
        """Whether a file is there already, whole: by the item that stands there, else by reading it back."""
        if self.sizes.get(file.name) != file.size or file.checksum is None:
            return False
        return checksum_there == file.checksum or self.store.checksum(file.name) == file.checksum

    def is_foreign(self, name: str) -> bool:
        """Whether an item of this id is there that this package did not make."""
        if name in self.items or item_name(name) not in self.sizes:
            return name in self.strange
        there = _item(self.store, item_name(name))
        return there is not None and not _is_ours(there, item_name(name))

    def lost(self, wanted: Mapping[str, Mapping[str, int | None]]) -> dict[str, str]:
        """Say which items lack a file, and why; `wanted`: names of each one's files, with their sizes where known."""
        sizes = self.store.sizes()
        found: dict[str, str] = {}
        for key, files in wanted.items():
            for name, size in files.items():
                there = sizes.get(name)
                if there is None or size not in {None, there}:  # a listing may be late
                    there = self.store.size(name)
                if there is None or size not in {None, there}:
                    state = "is not there any more" if there is None else f"has {there} bytes there"
                    found[key] = f"{self.store.target.address}/{name} was sent and {state}"
        return found

    def is_intact(self, item: Json) -> bool:
        """Whether every file that an item there names has the checksum that the item says."""
        sums = {name: asset.get("file:checksum") for name, asset in assets_of(item).items()}
        return all(self.store.checksum(name) == checksum for name, checksum in sums.items() if checksum)


def item_name(name: str) -> str:
    """Where an item's document lies."""
    return f"{name}/{name}.json"


def whole_item(item: Json) -> dict[str, int | None]:
    """An item's document and the files that it names."""
    return {item_name(item["id"]): None, **files_of(item)}


def files_of(item: Json) -> dict[str, int | None]:
    """The files in an item's own folder that its assets name, with their sizes where it says them."""
    return {name: asset.get("file:size") for name, asset in assets_of(item).items()}


def assets_of(item: Json) -> dict[str, Json]:
    """Those of an item's assets whose files are in its own folder, by the names of these."""
    found: dict[str, Json] = {}
    for asset in item.get("assets", {}).values():
        href = str(asset.get("href"))
        path = PurePosixPath(href if "://" in href else posixpath.normpath(posixpath.join(item["id"], href)))
        if is_plain_name(path.name) and path.parent.name == item["id"] and ("://" in href or len(path.parts) == 2):  # noqa: PLR2004
            found[f"{item['id']}/{path.name}"] = asset
    return found


def found_place(target: Target, ids: Iterable[str] = ()) -> StorePlace:
    """A place as it is; items of these ids count too where the collection does not link to them yet."""
    store = Store(target)
    document, sizes = read_document(store, COLLECTION_FILE), store.sizes()
    hrefs = [_normal(link["href"]) for link in _links(document)]
    waiting = [name for name in map(item_name, ids) if name in sizes]
    names = [name for name in dict.fromkeys([*hrefs, *waiting]) if _is_item_place(name)]
    found = dict(at_once(lambda name: (name, _item(store, name)), names))
    ours = {PurePosixPath(name).stem: item for name, item in found.items() if item and _is_ours(item, name)}
    foreign = [name for name in hrefs if PurePosixPath(name).stem not in ours]
    foreign += [name for name, item in found.items() if item and name not in hrefs and not _is_ours(item, name)]
    return StorePlace(store, sizes, document, ours, tuple(name for name in foreign if found.get(name, name)))


def _links(collection: Json | None) -> list[Json]:
    return [link for link in (collection or {}).get("links", []) if link.get("rel") == "item"]


def _normal(href: str) -> str:
    return href if "://" in href else posixpath.normpath(href)


def _is_item_place(name: str) -> bool:
    path = PurePosixPath(name)
    return is_item_name(name) and len(path.parts) == 2 and is_plain_name(path.stem)  # noqa: PLR2004 - a folder and a file


def _is_day_file(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) == 2 and all(map(is_plain_name, parts))  # noqa: PLR2004 - a folder and a file


def removing(collection: Json, names: Iterable[str]) -> Json:
    """A collection that says which files are removed now, so that the next one goes on where this one is killed."""
    return {**collection, REMOVING: sorted(names)} if names else collection


def _is_ours(item: Json, name: str) -> bool:
    return item.get("id") == PurePosixPath(name).stem and is_our_item(item.get("properties"))


def _item(store: Store, name: str) -> Json | None:
    """The document of an item; None where there is none that can be read as one."""
    try:
        return read_document(store, name)
    except TargetError:
        return None


def read_document(store: Store, name: str) -> Json | None:
    """A JSON document, or None where there is none; TargetError where something else has its name."""
    content = store.read(name)
    if content is None:
        return None
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        raise TargetError(
            f"{store.target.address}/{name} is no JSON document; remove it, or choose another place."
        ) from None


def check_place(place: StorePlace, run_folder: RunFolder, options: PublishOptions) -> None:
    """Raise TargetError where there is anything that is not this collection's."""
    address = place.store.target.address
    check_owner(place.collection, run_folder, address, overwrite=options.overwrite)
    own = {file.name for file in run_folder.own_files} | {item["id"] for item in run_folder.items}
    linked = {PurePosixPath(_normal(link["href"])).parts[0] for link in _links(place.collection)}
    known = own | linked | {COLLECTION_FILE, PARQUET}
    strangers = sorted(name for name in place.store.entries() - known if not run_folder.is_day(name))
    if strangers:
        raise stranger(place, run_folder, strangers[0])
    if place.collection is None:
        check_own_files(place, run_folder)
        if PARQUET in place.sizes and not days_there(place, run_folder.id):
            raise stranger(place, run_folder, PARQUET)


def check_own_files(place: StorePlace, run_folder: RunFolder) -> None:
    """Raise TargetError where a file of another has the name of one of the collection's own.

    Where days of the collection are there already, the files are those of an earlier publication.
    """
    if days_there(place, run_folder.id):
        return
    for file in run_folder.own_files:
        there = place.store.checksum(file.name) if file.name in place.sizes else None
        if there is not None and there != content_digest(file.path):
            raise stranger(place, run_folder, file.name)


def days_there(place: StorePlace, collection: str) -> set[str]:
    """Folders in a place that have the name of a day of a collection, whether or not it links to them."""
    folders = {name.partition("/")[0] for name in place.sizes if "/" in name}
    return {name for name in folders if is_day_of(collection, name)}


def stranger(place: StorePlace, run_folder: RunFolder, name: str) -> TargetError:
    """What says that something there is of another."""
    return TargetError(
        f"{place.store.target.address} holds {name!r}, which is no part of {run_folder.id}; choose another place."
    )


def foreign_names(place: StorePlace, days: Iterable[str], ours: Iterable[str]) -> tuple[str, ...]:
    """Files in the folders of days that no item of this package names, and documents that it did not make."""
    inside, known = set(days), set(ours)
    files = [name for name in place.sizes if PurePosixPath(name).parts[0] in inside and "/" in name]
    return tuple(sorted({*(name for name in files if name not in known), *place.foreign}))


def remove(store: Store, names: Iterable[str]) -> dict[str, str]:
    """Remove files, documents first; says of each one that is there afterwards why."""
    todo = sorted(set(names))
    documents = [name for name in todo if name.endswith(".json")]
    try:
        store.delete(documents)
        store.delete([name for name in todo if name not in documents])
    except PublishError as error:
        return dict.fromkeys(todo, str(error))
    sizes = store.sizes()
    left = [name for name in todo if name in sizes and store.size(name) is not None]  # a listing may be late
    return {name: f"{store.target.address}/{name} is still there after its removal" for name in left}
