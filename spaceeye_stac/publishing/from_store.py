"""A published collection, or some of its days, out of a store or folder; what this package did not make stays."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from spaceeye_stac.collection import COLLECTION_FILE, PARQUET, document_bytes, is_ours, table_of
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.placing import static_collection, static_items
from spaceeye_stac.publishing.report import Report
from spaceeye_stac.publishing.run_folder import is_plain_name
from spaceeye_stac.publishing.staged import cleared
from spaceeye_stac.publishing.store_place import (
    REMOVING,
    StorePlace,
    days_there,
    foreign_names,
    found_place,
    item_name,
    remove,
    removing,
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
    names = {one for name in gone for one in whole_item(place.items[name])} | place.removing
    names -= {one for item in left for one in whole_item(item)}
    stays_there = bool(left or place.foreign)
    own = {*_own_files(place.collection), PARQUET}
    with cleared(target, names | own | {COLLECTION_FILE}):
        if stays_there:
            own = set() if left else {PARQUET}
        document = _rewritten(place, left, names)
        stays = remove(place.store, names | own)
        if stays_there and not stays:
            place.store.write(COLLECTION_FILE, document_bytes(document))
        elif not stays:
            stays = remove(place.store, {COLLECTION_FILE})
    kept = {one for item in left for one in whole_item(item)}
    failed = {name.partition("/")[0]: why for name, why in stays.items()}
    return Report(
        address,
        removed=tuple(sorted(gone - failed.keys())),
        failed=failed,
        foreign=foreign_names(place, {*place.items, *days_there(place, collection)}, names | kept),
    )


def _rewritten(place: StorePlace, left: Sequence[Json], gone: Iterable[str]) -> Json:
    """Let the collection hold what is left of ours, link to what is of others, and say which files are to go.

    Returns it as it shall be when they are gone.
    """
    for item in left:
        if place.items[item["id"]] != item:
            place.store.write(item_name(item["id"]), document_bytes(item))
    document = {name: value for name, value in (place.collection or {}).items() if name != REMOVING}
    base = _address(document).removesuffix(f"/{COLLECTION_FILE}") or None
    if left:
        place.store.write(PARQUET, table_of(left))
    whole = static_collection(document, left, base, place.foreign)
    place.store.write(COLLECTION_FILE, document_bytes(removing(whole, gone)))
    return whole


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
