"""A run's folder to an object store or another folder: assets first, their items after them, the collection last."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET, is_ours, table_of
from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.placing import Placing, lost_links, static_collection, static_items, tilejson_url
from spaceeye_stac.publishing.report import PublishOptions, Report, check_owner
from spaceeye_stac.publishing.run_folder import LocalFile, RunFolder
from spaceeye_stac.publishing.store import Store
from spaceeye_stac.publishing.targets import Target, base_url
from spaceeye_stac.query import Json

Step = Callable[[int, int], None]
T = TypeVar("T")
R = TypeVar("R")
THREADS = 8


@dataclass(frozen=True)
class _Place:
    """A store as it was found: its files' sizes, the collection there, and the items that this one links to."""

    store: Store
    sizes: Mapping[str, int]
    collection: Json | None
    items: Mapping[str, Json] = field(default_factory=dict)

    def has(self, file: LocalFile, checksum_there: str | None) -> bool:
        """Whether a file is there already, whole: by the item that stands there, else by reading it back."""
        if self.sizes.get(file.name) != file.size or file.checksum is None:
            return False
        return checksum_there == file.checksum or self.store.checksum(file.name) == file.checksum


def _found(target: Target, ids: Iterable[str] = ()) -> _Place:
    """A place as it is; items of these ids count too where the collection does not link to them yet."""
    store = Store(target)
    document, sizes = _read(store, COLLECTION_FILE), store.sizes()
    waiting = [name for name in (f"{one}/{one}.json" for one in ids) if name in sizes]
    names = [PurePosixPath(name) for name in dict.fromkeys([*_linked(document), *waiting])]
    items = dict(_at_once(lambda path: (path.parent.name, _read(store, str(path))), names))
    return _Place(store, sizes, document, {name: item for name, item in items.items() if item is not None})


def _linked(collection: Json | None) -> list[str]:
    links = collection.get("links", []) if collection else []
    return [link["href"].removeprefix("./") for link in links if link.get("rel") == "item"]


def _read(store: Store, name: str) -> Json | None:
    content = store.read(name)
    if content is None:
        return None
    try:
        return dict(json.loads(content))
    except (ValueError, TypeError):
        raise TargetError(f"{store.target.address}/{name} is no JSON document; choose another place.") from None


def _at_once(task: Callable[[T], R], todo: Iterable[T]) -> Iterator[R]:
    """Do tasks on threads, in order; the first error ends it."""
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            yield from pool.map(task, todo)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check(place: _Place, run_folder: RunFolder, options: PublishOptions) -> None:
    """Raise TargetError where there is anything that is not this collection's."""
    address = place.store.target.address
    check_owner(place.collection, run_folder, address, overwrite=options.overwrite)
    own = {file.name for file in run_folder.own_files} | {item["id"] for item in run_folder.items}
    known = own | {COLLECTION_FILE, PARQUET} | {PurePosixPath(name).parts[0] for name in _linked(place.collection)}
    strangers = sorted(name for name in place.store.entries() - known if not run_folder.is_day(name))
    if strangers:
        raise TargetError(
            f"{address} holds {strangers[0]!r}, which is no part of {run_folder.id}; choose another place."
        )


def publish_to_store(run_folder: RunFolder, target: Target, options: PublishOptions, step: Step) -> Report:
    """Bring a store or folder to what the run's folder holds.

    A reader never finds an item whose files are missing, nor a collection whose items are. Raises TargetError, with
    nothing changed, where the place cannot be used or is another's; `failed` of the report holds the items that were
    not brought there, and why.
    """
    placing = _placing(run_folder, target, options)
    place = _found(target, (item["id"] for item in run_folder.items))
    _check(place, run_folder, options)
    return _bring(run_folder, place, placing, options, step)


def _placing(run_folder: RunFolder, target: Target, options: PublishOptions) -> Placing:
    base = base_url(options.asset_base_url, "asset_base_url") if options.asset_base_url else None
    if options.tiles_url and base is None:
        raise TargetError("tiles_url needs asset_base_url: a tile server reads the items under their public address.")
    if target.kind == "folder" and Path(target.address).resolve() == run_folder.folder.resolve():
        raise TargetError(f"{target.address} is the run's own folder; publish to another place.")
    tiles = options.tiles_url
    show = (lambda name: tilejson_url(tiles, f"{base}/{name}/{name}.json")) if tiles else None
    return Placing(run_folder, base, local=target.kind == "folder" and base is None, tiles=show)


def _bring(run_folder: RunFolder, place: _Place, placing: Placing, options: PublishOptions, step: Step) -> Report:
    ours = {item["id"] for item in run_folder.items}
    gone = {name: item for name, item in place.items.items() if name not in ours}
    stale = {} if options.prune else gone
    copied, failed = _copy(run_folder, place, step)
    kept = {name: item for name, item in place.items.items() if name in failed}
    fresh = [placing.item(item) for item in run_folder.items if item["id"] not in failed]
    documents = static_items([*fresh, *stale.values(), *kept.values()])
    written = set(_write_items(place, documents))
    whole = static_collection(placing.document(run_folder.collection, ""), documents, placing.base)
    _write_collection(run_folder, place, whole, documents)
    if options.prune:
        _remove_strays(run_folder, place, documents)
    new = [item["id"] for item in fresh if item["id"] in written]
    return Report(
        target=place.store.target.address,
        sent=tuple(new),
        unchanged=tuple(item["id"] for item in fresh if item["id"] not in written),
        removed=tuple(sorted(gone)) if options.prune else (),
        stale=tuple(sorted(stale)),
        failed=failed,
        files=copied,
        lost_links=lost_links(run_folder, placing),
    )


class StoreStream:
    """Brings days to a store one by one as they are made; the collection that links to them comes at the end."""

    def __init__(self, target: Target, options: PublishOptions) -> None:
        self._target, self._options = target, options
        self._place: _Place | None = None

    def day(self, day: RunFolder) -> None:
        """Bring a publication of one day."""
        if self._place is None:
            found = _found(self._target)
            _check(found, day, self._options)
            self._place = found
        (item,) = day.items
        _copy_files(day, self._place, item)
        placed = _placing(day, self._target, self._options).item(item)
        list(_write_items(self._place, static_items([placed])))


def send_files(run_folder: RunFolder, target: Target, step: Step) -> tuple[int, dict[str, str]]:
    """Send the asset files alone; counts those that were not there, and says why items failed."""
    store = Store(target)
    place = _Place(store, store.sizes(), None)
    copied, failed = _copy(run_folder, place, step)
    return copied + _send_own(run_folder, place), failed


def _copy(run_folder: RunFolder, place: _Place, step: Step) -> tuple[int, dict[str, str]]:
    """Bring every item's files; counts those that were not there, and says why items failed."""

    def task(item: Json) -> tuple[str, int, str | None]:
        try:
            return item["id"], _copy_files(run_folder, place, item), None
        except PublishError as error:
            return item["id"], 0, str(error)

    failed, copied = {}, 0
    for done, (name, count, why) in enumerate(_at_once(task, run_folder.items), start=1):
        step(done, len(run_folder.items))
        copied += count
        if why is not None:
            failed[name] = why
    return copied, failed


def _copy_files(run_folder: RunFolder, place: _Place, item: Json) -> int:
    files = run_folder.files_of(item)
    fault = next((file.fault for file in files if file.fault), None)
    if fault is not None:
        raise PublishError(f"{fault}; run again")
    there = place.items.get(item["id"], {}).get("assets", {})
    checksums = {PurePosixPath(asset["href"]).name: asset.get("file:checksum") for asset in there.values()}
    todo = [file for file in files if not place.has(file, checksums.get(file.path.name))]
    for file in todo:
        place.store.write(file.name, file.path, file.checksum)
    return len(todo)


def _write_items(place: _Place, documents: Sequence[Json]) -> Iterator[str]:
    """Write the items that are not there as they shall be; gives their ids."""
    todo = [item for item in documents if place.items.get(item["id"]) != item]

    def task(item: Json) -> str:
        place.store.write(f"{item['id']}/{item['id']}.json", _text(item))
        return str(item["id"])

    return _at_once(task, todo)


def _write_collection(run_folder: RunFolder, place: _Place, whole: Json, documents: Sequence[Json]) -> None:
    _send_own(run_folder, place)
    if place.collection == whole and list(place.items.values()) == list(documents) and PARQUET in place.sizes:
        return
    place.store.write(PARQUET, table_of(documents))
    place.store.write(COLLECTION_FILE, _text(whole))


def _send_own(run_folder: RunFolder, place: _Place) -> int:
    todo = [f for f in run_folder.own_files if place.store.read(f.name) != f.path.read_bytes()]
    for file in todo:
        place.store.write(file.name, file.path)
    return len(todo)


def _text(document: Json) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _remove_strays(run_folder: RunFolder, place: _Place, documents: Sequence[Json]) -> None:
    """Remove what lies in the folders of items but belongs to none any more: documents first, then files."""
    wanted = {f"{item['id']}/{item['id']}.json" for item in documents}
    wanted |= {file.name for item in run_folder.items for file in run_folder.files_of(item)}
    places = {name: PurePosixPath(name).parts for name in place.sizes}
    days = {name for name, parts in places.items() if len(parts) > 1 and run_folder.is_day(parts[0])}
    linked = {name for name, parts in places.items() if len(parts) > 1 and parts[0] in place.items}
    strays = sorted((days | linked) - wanted)
    _remove(place.store, strays)


def _remove(store: Store, names: Sequence[str]) -> None:
    documents = [name for name in names if name.endswith(".json")]
    store.delete(documents)
    store.delete([name for name in names if name not in documents])


def withdraw_from_store(collection: str, target: Target, days: Callable[[str], bool] | None) -> Report:
    """Remove a collection, or its items of some days, and their files; TargetError where it is not one of ours."""
    place = _found(target)
    address = target.address
    if place.collection is None or place.collection.get("id") != collection:
        raise TargetError(f"{address} holds no collection {collection}; nothing was removed.")
    if not is_ours(place.collection):
        raise TargetError(f"Collection {collection} at {address} was not made by this package; it stays.")
    gone = {n for n, item in place.items.items() if days is None or days(str(item["properties"]["datetime"])[:10])}
    left = static_items([item for name, item in place.items.items() if name not in gone])
    inside = [name for name in place.sizes if PurePosixPath(name).parts[0] in gone and "/" in name]
    if left:
        self_link = next((link["href"] for link in place.collection["links"] if link["rel"] == "self"), None)
        base = self_link.removesuffix(f"/{COLLECTION_FILE}") if self_link else None
        list(_write_items(place, left))
        place.store.write(PARQUET, table_of(left))
        place.store.write(COLLECTION_FILE, _text(static_collection(place.collection, left, base)))
    else:
        own = [asset["href"].removeprefix("./") for asset in place.collection.get("assets", {}).values()]
        own += [link["href"].removeprefix("./") for link in place.collection["links"] if link["rel"] == "describedby"]
        place.store.delete(name for name in [COLLECTION_FILE] if name in place.sizes)
        inside += [PurePosixPath(name).name for name in own] + [PARQUET]
    _remove(place.store, [name for name in inside if name in place.sizes])
    return Report(address, removed=tuple(sorted(gone)))
