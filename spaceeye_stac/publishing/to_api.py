"""A run's folder to a STAC API: the collection, then its items; what is there unchanged is left alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spaceeye_stac.collection import is_ours
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.api import PublishedItem, StacApi
from spaceeye_stac.publishing.digests import DIGEST, document_digest, with_digest
from spaceeye_stac.publishing.placing import STRUCTURE, Placing, lost_links, tilejson_url, with_extent
from spaceeye_stac.publishing.report import PublishOptions, Report, check_owner
from spaceeye_stac.publishing.run_folder import RunFolder
from spaceeye_stac.publishing.targets import Target, base_url, target_of
from spaceeye_stac.publishing.to_store import send_files
from spaceeye_stac.query import Json

Step = Callable[[int, int], None]


def publish_to_api(run_folder: RunFolder, target: Target, options: PublishOptions, step: Step) -> Report:
    """Bring an API's collection to what the run's folder holds.

    Raises TargetError, with nothing changed, where the API cannot be used, the hrefs would lead nowhere, or the
    collection is another's. `failed` of the report holds the items that the API or their own files kept from it.
    """
    placing = _placing(run_folder, target, options)
    api = StacApi(target)
    api.check()
    there = api.collection(run_folder.id)
    check_owner(there, run_folder, target.address, overwrite=options.overwrite)
    published = api.items(run_folder.id) if there is not None else {}
    copied, broken = _copy_assets(run_folder, options, step)
    wanted = [with_digest(placing.item(item)) for item in run_folder.items if item["id"] not in broken]
    gone = sorted(published.keys() - {item["id"] for item in run_folder.items})
    state = _State(api, placing.document(run_folder.collection, ""), there)
    state.put_collection([*wanted, *(_as_item(published[name]) for name in published)])
    failed = broken | _send(api, wanted, published, step)
    if options.prune:
        api.delete_items(run_folder.id, gone)
        published = {name: one for name, one in published.items() if name not in gone}
    there_now = {name: _as_item(one) for name, one in published.items()}
    state.put_collection((there_now | {item["id"]: item for item in wanted if item["id"] not in failed}).values())
    same = {item["id"] for item in wanted if _unchanged(item, published)}
    return Report(
        target=target.address,
        sent=tuple(item["id"] for item in wanted if item["id"] not in same | failed.keys()),
        unchanged=tuple(sorted(same)),
        removed=tuple(gone) if options.prune else (),
        stale=() if options.prune else tuple(gone),
        failed=failed,
        files=copied,
        lost_links=lost_links(run_folder, placing),
    )


class ApiStream:
    """Brings days to an API one by one as they are made, the collection before the first; its extent grows."""

    def __init__(self, target: Target, options: PublishOptions) -> None:
        self._target, self._options = target, options
        self._api = StacApi(target)
        self._api.check()
        self._state: _State | None = None
        self._there: dict[str, Json] = {}

    def day(self, day: RunFolder) -> None:
        """Bring a publication of one day."""
        placing = _placing(day, self._target, self._options)
        (item,) = [with_digest(placing.item(item)) for item in day.items]
        if self._options.assets_to:
            send_files(day, target_of(self._options.assets_to), lambda _done, _total: None)
        state = self._state or self._begin(day, placing)
        self._there[item["id"]] = item
        state.put_collection(list(self._there.values()))
        self._api.put_item(item)

    def _begin(self, day: RunFolder, placing: Placing) -> "_State":
        there = self._api.collection(day.id)
        check_owner(there, day, self._target.address, overwrite=self._options.overwrite)
        published = self._api.items(day.id) if there is not None else {}
        self._there = {name: _as_item(one) for name, one in published.items()}
        self._state = _State(self._api, placing.document(day.collection, ""), there)
        return self._state


def _placing(run_folder: RunFolder, target: Target, options: PublishOptions) -> Placing:
    """Decide where assets are read: where the user says, where they were sent, or on this machine for this machine."""
    sent = target_of(options.assets_to) if options.assets_to else None
    if options.asset_base_url:
        base = base_url(options.asset_base_url, "asset_base_url")
    elif sent is not None and sent.kind == "store":
        base = sent.address
    elif target.loopback:
        base = Path(sent.address if sent else run_folder.folder).resolve().as_uri()
    else:
        raise TargetError(
            f"{target.address} is on another machine, which cannot read files of this one: say with assets_to where to "
            "send them, or with asset_base_url where they can be read."
        )
    items = f"{target.address}/collections/{run_folder.id}/items"
    tiles = options.tiles_url
    return Placing(
        run_folder, base, target.loopback, (lambda name: tilejson_url(tiles, f"{items}/{name}")) if tiles else None
    )


def _copy_assets(run_folder: RunFolder, options: PublishOptions, step: Step) -> tuple[int, dict[str, str]]:
    """Send the files where the user wants them, or check they are there; counts them, and says which items fail."""
    if options.assets_to:
        return send_files(run_folder, target_of(options.assets_to), step)
    faults = {
        item["id"]: next((f.fault for f in run_folder.files_of(item) if f.fault), None) for item in run_folder.items
    }
    return 0, {name: fault for name, fault in faults.items() if fault is not None}


def _as_item(published: PublishedItem) -> Json:
    return {"bbox": published.bbox, "properties": published.properties}


def _unchanged(item: Json, published: Mapping[str, PublishedItem]) -> bool:
    there = published.get(item["id"])
    return there is not None and there.properties.get(DIGEST) == item["properties"][DIGEST]


@dataclass
class _State:
    """The collection at the API; it is sent only where it is not what stands there."""

    api: StacApi
    collection: Json
    there: Json | None

    def put_collection(self, items: Iterable[Mapping[str, Any]]) -> None:
        plain = with_extent(self.collection, items)
        document = {**plain, DIGEST: document_digest(plain)}
        if self.there is None or self.there.get(DIGEST) != document[DIGEST]:
            self.api.put_collection(document)
            self.there = document


def _send(api: StacApi, wanted: list[Json], published: Mapping[str, PublishedItem], step: Step) -> dict[str, str]:
    """Send the items that are new or differ; returns why each failed one did."""
    todo = [item for item in wanted if not _unchanged(item, published)]
    failed: dict[str, str] = {}
    for done, (name, why) in enumerate(api.put_items(todo), start=1):
        step(done, len(todo))
        if why is not None:
            failed[name] = why
    return failed


def withdraw_from_api(collection: str, target: Target, days: Callable[[str], bool] | None) -> Report:
    """Remove a collection, or its items of some days, from an API; TargetError where it is not one of ours."""
    api = StacApi(target)
    api.check()
    there = api.collection(collection)
    if there is None:
        raise TargetError(f"{target.address} has no collection {collection}; nothing was removed.")
    if not is_ours(there):
        raise TargetError(f"Collection {collection} at {target.address} was not made by this package; it stays.")
    published = api.items(collection)
    gone = sorted(
        name for name, one in published.items() if days is None or days(str(one.properties.get("datetime"))[:10])
    )
    api.delete_items(collection, gone)
    left = [_as_item(one) for name, one in published.items() if name not in gone]
    if days is None:
        api.delete_collection(collection)
    elif gone and left:
        plain = {k: v for k, v in there.items() if k != DIGEST}
        links = [link for link in there["links"] if link.get("rel") not in STRUCTURE]
        _State(api, {**plain, "links": links}, None).put_collection(left)
    return Report(target.address, removed=tuple(gone))
