"""A published collection, or some of its days, out of a store or folder; what this package did not make stays."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET, document_bytes, is_ours, table_of
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.placing import static_collection, static_items
from spaceeye_stac.publishing.report import Report
from spaceeye_stac.publishing.run_folder import is_plain_name
from spaceeye_stac.publishing.staged import cleared
from spaceeye_stac.publishing.store_place import (
    StorePlace,
    days_there,
    foreign_names,
    found_place,
    item_name,
    remove,
    whole_item,
)
from spaceeye_stac.publishing.targets import Target
from spaceeye_stac.query import Json


def withdraw_from_store(collection: str, target: Target, days: Callable[[str], bool] | None) -> Report:
    """Remove a collection, or its items of some days, and the files that they name.

    Raises TargetError where the collection is not one of ours. It stays, with links to them, where it has items of
    others.
    """
    place = found_place(target)
    address = target.address
    if place.collection is None or place.collection.get("id") != collection:
        raise TargetError(f"{address} holds no collection {collection}; nothing was removed.")
    if not is_ours(place.collection):
        raise TargetError(f"Collection {collection} at {address} was not made by this package; it stays.")
    gone = {n for n, item in place.items.items() if days is None or days(str(item["properties"]["datetime"])[:10])}
    left = static_items([item for name, item in place.items.items() if name not in gone])
    names = {one for name in gone for one in whole_item(place.items[name])}
    own = {*_own_files(place.collection), PARQUET}
    with cleared(target, names | own | {COLLECTION_FILE}):
        if left or place.foreign:
            _rewrite(place, left)
            own = set() if left else {PARQUET}
        else:
            place.store.delete([COLLECTION_FILE])
        stays = remove(place.store, names | own)
    kept = {one for item in left for one in whole_item(item)}
    failed = {name.partition("/")[0]: why for name, why in stays.items()}
    return Report(
        address,
        removed=tuple(sorted(gone - failed.keys())),
        failed=failed,
        foreign=foreign_names(place, {*place.items, *days_there(place, collection)}, names | kept),
    )


def _rewrite(place: StorePlace, left: Sequence[Json]) -> None:
    """Let the collection hold what is left of ours, and link to what is of others."""
    for item in left:
        if place.items[item["id"]] != item:
            place.store.write(item_name(item["id"]), document_bytes(item))
    document = place.collection or {}
    base = _address(document).removesuffix(f"/{COLLECTION_FILE}") or None
    if left:
        place.store.write(PARQUET, table_of(left))
    place.store.write(COLLECTION_FILE, document_bytes(static_collection(document, left, base, place.foreign)))


def _own_files(collection: Json) -> list[str]:
    """The files beside the collection that it names as its own."""
    hrefs = [asset["href"] for asset in collection.get("assets", {}).values()]
    hrefs += [link["href"] for link in collection["links"] if link["rel"] == "describedby"]
    names = [PurePosixPath(href.removeprefix("./")) for href in hrefs]
    base = PurePosixPath(_address(collection)).parent
    return [path.name for path in names if is_plain_name(path.name) and path.parent in {PurePosixPath(), base}]


def _address(collection: Json) -> str:
    """Where a collection says it stands; nothing where it does not."""
    return next((str(link["href"]) for link in collection["links"] if link["rel"] == "self"), "")
