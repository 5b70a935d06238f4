"""A run's folder to a STAC API: the collection, then its items; what is there unchanged is left alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.api import PublishedItem, StacApi
from spaceeye_stac.publishing.apis import api_of, placing_for, shown
from spaceeye_stac.publishing.digests import DIGEST, document_digest, is_our_item, with_digest
from spaceeye_stac.publishing.geocatalog import STREAM_SECONDS
from spaceeye_stac.publishing.placing import STRUCTURE, Placing, lost_links, with_extent
from spaceeye_stac.publishing.report import FOREIGN, PublishOptions, Report, check_owner, is_our_collection
from spaceeye_stac.publishing.run_folder import RunFolder
from spaceeye_stac.publishing.targets import Target, target_of
from spaceeye_stac.publishing.to_store import publish_to_store, send_files
from spaceeye_stac.query import Json

Step = Callable[[int, int], None]
Failures = dict[str, str]
KEPT_FIELDS = ("title", "description", "license", "extent", "keywords", "providers", "summaries")


def publish_to_api(run_folder: RunFolder, target: Target, options: PublishOptions, step: Step) -> Report:
    """Bring an API's collection to what the run's folder holds; believed is only what the API lists afterwards.

    Raises TargetError, with nothing changed, where the API cannot be used, the hrefs would lead nowhere, or the
    collection is another's. `failed` of the report holds the items that the API or their own files kept from it.
    """
    placing = placing_for(run_folder, target, options)
    api = api_of(target, options, placing)
    api.check()
    there = api.collection(run_folder.id)
    before = api.items(run_folder.id) if there is not None else {}
    check_owner(there, run_folder, target.address, overwrite=options.overwrite, items=_properties(before))
    copied, broken = _copy_assets(run_folder, placing, options, step)
    ids = {item["id"] for item in run_folder.items}
    blocked = broken | {name: FOREIGN for name in ids if name in before and not before[name].is_ours}
    wanted = {item["id"]: with_digest(placing.item(item)) for item in run_folder.items if item["id"] not in blocked}
    if not wanted:
        return Report(target.address, failed=blocked, files=copied)
    state = _State(api, placing.document(run_folder.collection, ""), there)
    state.put_collection([*wanted.values(), *(_as_item(one) for one in before.values())])
    gone = sorted(name for name, one in before.items() if one.is_ours and name not in ids)
    change = _Change(api, run_folder.id, wanted, gone if options.prune else ())
    after, failed = change.made(before, step)
    state.put_collection([_as_item(one) for one in after.values()])
    failed |= shown(api, run_folder.collection)
    same = {name for name, item in wanted.items() if _unchanged(item, before)} - failed.keys()
    return Report(
        target=target.address,
        sent=tuple(name for name in wanted if name not in same | failed.keys()),
        unchanged=tuple(sorted(same)),
        removed=tuple(name for name in change.gone if name not in failed),
        stale=() if options.prune else tuple(gone),
        failed=blocked | failed,
        foreign=tuple(sorted(name for name, one in after.items() if not one.is_ours)),
        files=copied,
        lost_links=lost_links(run_folder, placing),
    )


class ApiStream:
    """Brings days to an API one by one as they are made, the collection before the first; its extent grows."""

    def __init__(self, target: Target, options: PublishOptions) -> None:
        self._target, self._options = target, options
        brief = target.kind == "geocatalog" and options.wait is None
        self._api = api_of(target, replace(options, wait=STREAM_SECONDS) if brief else options)
        self._api.check()
        self._state: _State | None = None
        self._there: dict[str, Json] = {}

    def day(self, day: RunFolder) -> None:
        """Bring a publication of one day."""
        placing = placing_for(day, self._target, self._options)
        (item,) = [with_digest(placing.item(item)) for item in day.items]
        if self._options.assets_to:
            send_files(day, target_of(self._options.assets_to), lambda _done, _total: None)
        state = self._state or self._begin(day, placing)
        if self._foreign(item["id"]):
            raise PublishError(f"{item['id']}: {FOREIGN}.")
        self._there[item["id"]] = item
        state.put_collection(list(self._there.values()))
        self._api.put_item(item)

    def _foreign(self, name: str) -> bool:
        return name in self._there and not is_our_item(self._there[name]["properties"])

    def _begin(self, day: RunFolder, placing: Placing) -> "_State":
        there = self._api.collection(day.id)
        published = self._api.items(day.id) if there is not None else {}
        check_owner(there, day, self._target.address, overwrite=self._options.overwrite, items=_properties(published))
        self._there = {name: _as_item(one) for name, one in published.items()}
        self._state = _State(self._api, placing.document(day.collection, ""), there)
        return self._state


def _copy_assets(
    run_folder: RunFolder, placing: Placing, options: PublishOptions, step: Step
) -> tuple[int, dict[str, str]]:
    """Send the files where the user wants them, or check they are there; counts them, and says which items fail."""
    if options.assets_to and options.ingest:
        return _publish_source(run_folder, placing, options, step)
    if options.assets_to:
        return send_files(run_folder, target_of(options.assets_to), step)
    faults = {
        item["id"]: next((f.fault for f in run_folder.files_of(item) if f.fault), None) for item in run_folder.items
    }
    return 0, {name: fault for name, fault in faults.items() if fault is not None}


def _publish_source(
    run_folder: RunFolder, placing: Placing, options: PublishOptions, step: Step
) -> tuple[int, dict[str, str]]:
    """Publish the static catalog that a GeoCatalog fetches, its items with the digests that they have as sent ones."""
    items = [
        {**item, "properties": {**item["properties"], DIGEST: with_digest(placing.item(item))["properties"][DIGEST]}}
        for item in run_folder.items
    ]
    source = RunFolder(run_folder.folder, run_folder.collection, tuple(items))
    there = replace(options, asset_base_url=placing.base, ingest=None)
    report = publish_to_store(source, target_of(str(options.assets_to)), there, step)
    return report.files, dict(report.failed)


def _properties(items: Mapping[str, PublishedItem]) -> dict[str, Mapping[str, Any]]:
    return {name: one.properties for name, one in items.items()}


def _as_item(published: PublishedItem) -> Json:
    return {"bbox": published.bbox, "properties": published.properties}


def _unchanged(item: Json, published: Mapping[str, PublishedItem]) -> bool:
    there = published.get(item["id"])
    return there is not None and there.digest == item["properties"][DIGEST]


@dataclass
class _State:
    """The collection at the API; it is sent only where it is not what stands there."""

    api: StacApi
    collection: Json
    there: Json | None

    def put_collection(self, items: Iterable[Mapping[str, Any]]) -> None:
        plain = with_extent(self.collection, items)
        document = {**plain, DIGEST: document_digest(plain)}
        if self.there is None or not _same_collection(self.there, document):
            self.api.put_collection(document, there=self.there)
            self.there = document


def _same_collection(there: Json, document: Json) -> bool:
    """Whether a collection is what stands there: by its digest, or by what is left where the server drops that."""
    if DIGEST in there:
        return bool(there[DIGEST] == document[DIGEST])
    return all(there.get(name) == document.get(name) for name in KEPT_FIELDS)


@dataclass(frozen=True)
class _Change:
    """What a collection's items at an API shall be: `wanted` as they are here, those of `gone` no more."""

    api: StacApi
    collection: str
    wanted: Mapping[str, Json]
    gone: Sequence[str]

    def made(self, before: Mapping[str, PublishedItem], step: Step) -> tuple[Mapping[str, PublishedItem], Failures]:
        """Make it so; gives what the API holds afterwards, and why some items are not as they shall be."""
        todo = [item for item in self.wanted.values() if not _unchanged(item, before)]
        if not todo and not self.gone:
            return before, {}
        answers, failed = self._send(todo, step)
        failed |= self.api.delete_items(self.collection, self.gone)
        after = self.api.settled(self.collection, lambda found: len(self._amiss(found) - failed.keys()))
        unlisted = [name for name in self._amiss(after) - failed.keys() if name in self.wanted]
        after |= self.api.read_back(self.collection, unlisted)
        amiss = sorted(self._amiss(after) - failed.keys())
        failed |= {name: self._why(after.get(name), answers.get(name)) for name in amiss}
        return after, failed

    def _send(self, todo: Sequence[Json], step: Step) -> tuple[dict[str, str], dict[str, str]]:
        answers, failed = {}, {}
        for done, one in enumerate(self.api.put_items(todo), start=1):
            step(done, len(todo))
            answers[one.id] = one.answer
            if one.failure is not None:
                failed[one.id] = one.failure
        return answers, failed

    def _amiss(self, there: Mapping[str, PublishedItem]) -> set[str]:
        """Items that are not there as they shall be, or still are."""
        absent = {name for name, item in self.wanted.items() if not _unchanged(item, there)}
        return absent | {name for name in self.gone if name in there}

    def _why(self, there: PublishedItem | None, answer: str | None) -> str:
        if there is not None and there.id in self.gone:
            return "the API still holds it after its removal"
        said = f"the API answered {answer}" if answer else "the API held it before"
        page = ", a page (is a login in between?)" if answer and "html" in answer else ""
        return f"{said}{page}, and {'does not hold it now' if there is None else 'holds it otherwise than it was sent'}"


def withdraw_from_api(collection: str, target: Target, days: Callable[[str], bool] | None) -> Report:
    """Remove a collection, or its items of some days, from an API; what this package did not make stays.

    Raises TargetError where the collection is not one of ours. A collection that holds items of others stays for them.
    """
    api = api_of(target, PublishOptions())
    api.check()
    there = api.collection(collection)
    if there is None:
        raise TargetError(f"{target.address} has no collection {collection}; nothing was removed.")
    published = api.items(collection)
    if not is_our_collection(there, [one.properties for one in published.values()]):
        raise TargetError(f"Collection {collection} at {target.address} was not made by this package; it stays.")
    ours = [name for name, one in published.items() if one.is_ours]
    gone = sorted(n for n in ours if days is None or days(str(published[n].properties.get("datetime"))[:10]))
    left, failed = _Change(api, collection, {}, gone).made(published, lambda _done, _total: None)
    foreign = tuple(sorted(name for name, one in left.items() if not one.is_ours))
    if days is None and not left:
        api.delete_collection(collection)
    elif gone and left:
        plain = {k: v for k, v in there.items() if k != DIGEST}
        links = [link for link in there.get("links", ()) if link.get("rel") not in STRUCTURE]
        _State(api, {**plain, "links": links}, there).put_collection([_as_item(one) for one in left.values()])
    return Report(target.address, removed=tuple(n for n in gone if n not in failed), failed=failed, foreign=foreign)
