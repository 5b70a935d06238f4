"""A run's folder to an object store or another folder: assets first, their items after them, the collection last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET, document_bytes, table_of
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.placing import Placing, lost_links, static_collection, static_items, tilejson_url
from spaceeye_stac.publishing.report import FOREIGN, PublishOptions, Report
from spaceeye_stac.publishing.run_folder import RunFolder
from spaceeye_stac.publishing.staged import cleared
from spaceeye_stac.publishing.store import Store
from spaceeye_stac.publishing.store_place import (
    StorePlace,
    check_own_files,
    check_place,
    days_there,
    files_of,
    foreign_names,
    found_place,
    item_name,
    remove,
    removing,
    whole_item,
)
from spaceeye_stac.publishing.targets import Target, base_url
from spaceeye_stac.publishing.threads import at_once
from spaceeye_stac.query import Json

Step = Callable[[int, int], None]


def publish_to_store(run_folder: RunFolder, target: Target, options: PublishOptions, step: Step) -> Report:
    """Bring a store or folder to what the run's folder holds.

    A reader never finds an item whose files are missing, nor a collection whose items are. Raises TargetError, with
    nothing changed, where the place cannot be used or is another's; `failed` of the report holds the items that were
    not brought there, and why.
    """
    placing = _placing(run_folder, target, options)
    place = found_place(target, (item["id"] for item in run_folder.items))
    check_place(place, run_folder, options)
    with cleared(target, _names(run_folder, place.items.values())):
        return _bring(run_folder, place, placing, options, step)


def _names(run_folder: RunFolder, there: Iterable[Json] = ()) -> set[str]:
    """The name of every file that a publication writes, and of those that the items there name."""
    own = {file.name for file in run_folder.own_files} | {COLLECTION_FILE, PARQUET}
    return own | {name for item in [*run_folder.items, *there] for name in whole_item(item)}


def _placing(run_folder: RunFolder, target: Target, options: PublishOptions) -> Placing:
    base = _base(options)
    if options.tiles_url and base is None:
        raise TargetError("tiles_url needs asset_base_url: a tile server reads the items under their public address.")
    if target.kind == "folder" and Path(target.address).resolve() == run_folder.folder.resolve():
        raise TargetError(f"{target.address} is the run's own folder; publish to another place.")
    tiles = options.tiles_url
    show = (lambda name: tilejson_url(tiles, f"{base}/{name}/{name}.json")) if tiles else None
    return Placing(run_folder, base, local=target.kind == "folder" and base is None, tiles=show)


def _base(options: PublishOptions) -> str | None:
    return base_url(options.asset_base_url, "asset_base_url") if options.asset_base_url else None


def _bring(run_folder: RunFolder, place: StorePlace, placing: Placing, options: PublishOptions, step: Step) -> Report:
    ours = {item["id"] for item in run_folder.items}
    gone = {name: item for name, item in place.items.items() if name not in ours}
    failed = dict.fromkeys(sorted(ours & place.strange), FOREIGN)
    copied, broken = _copy(run_folder, place, [item for item in run_folder.items if item["id"] not in failed], step)
    failed |= broken
    fresh = {item["id"]: placing.item(item) for item in run_folder.items if item["id"] not in failed}
    kept = {name: place.items[name] for name in broken if name in place.items and place.is_intact(place.items[name])}
    damaged = [item_name(name) for name in broken if name in place.items and name not in kept]
    written = _Written(place, {**fresh, **({} if options.prune else gone), **kept}, placing.base)
    documents = written.whole()
    failed |= written.failed
    stays: dict[str, str] = {}
    if documents:
        whole = static_collection(placing.document(run_folder.collection, ""), documents, placing.base, place.foreign)
        doomed = _doomed(place, documents, gone if options.prune else {}, damaged)
        _write_collection(run_folder, place, removing(whole, doomed), documents)
        left = remove(place.store, doomed)
        stays = {day: why for name, why in left.items() if (day := PurePosixPath(name).parts[0]) in gone}
        if doomed and not left:
            place.store.write(COLLECTION_FILE, document_bytes(whole))
    failed |= stays
    new = [name for name in fresh if name in written.ids and name not in failed]
    return Report(
        target=place.store.target.address,
        sent=tuple(new),
        unchanged=tuple(name for name in fresh if name not in written.ids and name not in failed),
        removed=tuple(sorted(gone.keys() - stays.keys())) if options.prune else (),
        stale=() if options.prune else tuple(sorted(gone)),
        failed=failed,
        foreign=_foreign(run_folder, place, documents),
        files=copied,
        lost_links=lost_links(run_folder, placing),
    )


@dataclass
class _Written:
    """Items as they shall stand in a place, their links to each other included.

    What does not stand there afterwards, or lost a file, is `failed`, and the others are written again without it.
    """

    place: StorePlace
    items: dict[str, Json]
    base: str | None
    failed: dict[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def whole(self) -> list[Json]:
        """Write what differs, until all that is linked is there; gives the documents."""
        there = dict(self.place.items)
        while self.items:
            documents = static_items(list(self.items.values()), self.base)
            todo = [item for item in documents if there.get(item["id"]) != item]
            results = at_once(lambda item: _write_item(self.place, item), todo)
            lost = {name: why for name, why in results if why is not None}
            there |= {item["id"]: item for item in todo}
            self.ids |= {item["id"] for item in todo}
            lost |= self.place.lost({item["id"]: whole_item(item) for item in documents if item["id"] not in lost})
            if not lost:
                return documents
            self.failed |= lost
            self.items = {name: item for name, item in self.items.items() if name not in lost}
        return []


def _write_item(place: StorePlace, item: Json) -> tuple[str, str | None]:
    """Write one item; gives its id, and why that failed."""
    try:
        place.store.write(item_name(item["id"]), document_bytes(item))
    except PublishError as error:
        return item["id"], str(error)
    return item["id"], None


def _doomed(place: StorePlace, documents: Sequence[Json], gone: Mapping[str, Json], damaged: Iterable[str]) -> set[str]:
    """Files to remove: of items that are gone or damaged, what items there name no more, and what was being removed."""
    wanted = {name for item in documents for name in whole_item(item)}
    now = {item["id"] for item in documents}
    named = {name for key, item in place.items.items() if key in now for name in files_of(item)}
    named |= {name for item in gone.values() for name in whole_item(item)}
    return {*named, *damaged, *place.removing} - wanted


def _foreign(run_folder: RunFolder, place: StorePlace, documents: Sequence[Json]) -> tuple[str, ...]:
    run = [item for item in run_folder.items if item["id"] not in place.strange]
    items = [*documents, *run, *place.items.values()]
    ours = {name for item in items for name in whole_item(item)}
    return foreign_names(
        place, days_there(place, run_folder.id) | {item["id"] for item in items}, ours - set(place.foreign)
    )


class StoreStream:
    """Brings days to a store one by one as they are made; the collection that links to them comes at the end."""

    def __init__(self, target: Target, options: PublishOptions) -> None:
        self._target, self._options = target, options
        self._place: StorePlace | None = None

    def day(self, day: RunFolder) -> None:
        """Bring a publication of one day."""
        if self._place is None:
            found = found_place(self._target)
            check_place(found, day, self._options)
            self._place = found
        (item,) = day.items
        if self._place.is_foreign(item["id"]):
            raise PublishError(f"{item['id']}: {FOREIGN}.")
        placed = _placing(day, self._target, self._options).item(item)
        with cleared(self._target, whole_item(item)):
            _copy_files(day, self._place, item)
            _, failure = _write_item(self._place, static_items([placed], _base(self._options))[0])
        if failure is not None:
            raise PublishError(f"{item['id']}: {failure}")


def send_files(run_folder: RunFolder, target: Target, step: Step) -> tuple[int, dict[str, str]]:
    """Send the asset files alone; counts those that were not there, and says why items failed."""
    store = Store(target)
    place = StorePlace(store, store.sizes(), None)
    check_own_files(place, run_folder)
    with cleared(target, _names(run_folder)):
        copied, failed = _copy(run_folder, place, run_folder.items, step)
        failed |= place.lost({item["id"]: files_of(item) for item in run_folder.items if item["id"] not in failed})
        if len(failed) == len(run_folder.items):
            return copied, failed
        return copied + _send_own(run_folder, place), failed


def _copy(run_folder: RunFolder, place: StorePlace, items: Sequence[Json], step: Step) -> tuple[int, dict[str, str]]:
    """Bring the files of items; counts those that were not there, and says why items failed."""

    def task(item: Json) -> tuple[str, int, str | None]:
        try:
            return item["id"], _copy_files(run_folder, place, item), None
        except PublishError as error:
            return item["id"], 0, str(error)

    failed, copied = {}, 0
    for done, (name, count, why) in enumerate(at_once(task, items), start=1):
        step(done, len(items))
        copied += count
        if why is not None:
            failed[name] = why
    return copied, failed


def _copy_files(run_folder: RunFolder, place: StorePlace, item: Json) -> int:
    """Bring the files of an item that are not there; none of them where one is not what the item says."""
    files = run_folder.files_of(item)
    fault = next((file.fault for file in files if file.fault), None)
    if fault is not None:
        raise PublishError(f"{fault}; run again")
    there = place.items.get(item["id"], {}).get("assets", {})
    checksums = {PurePosixPath(asset["href"]).name: asset.get("file:checksum") for asset in there.values()}
    todo = [file for file in files if not place.has(file, checksums.get(file.path.name))]
    damage = next((file.damage for file in todo if file.damage), None)
    if damage is not None:
        raise PublishError(f"{damage}; run again")
    for file in todo:
        place.store.write(file.name, file.path, file.checksum)
    return len(todo)


def _write_collection(run_folder: RunFolder, place: StorePlace, whole: Json, documents: Sequence[Json]) -> None:
    _send_own(run_folder, place)
    if place.collection == whole and list(place.items.values()) == list(documents) and PARQUET in place.sizes:
        return
    place.store.write(PARQUET, table_of(documents))
    place.store.write(COLLECTION_FILE, document_bytes(whole))


def _send_own(run_folder: RunFolder, place: StorePlace) -> int:
    todo = [f for f in run_folder.own_files if place.store.read(f.name) != f.path.read_bytes()]
    for file in todo:
        place.store.write(file.name, file.path)
    return len(todo)
