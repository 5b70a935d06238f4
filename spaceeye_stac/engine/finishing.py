"""The end of a run: the days of all grids described together as one collection."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import pystac

from spaceeye_stac.collection import (
    COLLECTION_FILE,
    KEYFRAMES,
    PROVISIONAL,
    SCRATCH,
    THUMBNAIL_FILE,
    collection_of,
    drop_strangers,
    is_provisional,
    link_in_order,
    read_item,
    write_static,
)
from spaceeye_stac.days import display_bands, drop_unused_knot_cogs
from spaceeye_stac.engine.phases import FilledGrid
from spaceeye_stac.engine.request import RunRequest
from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json, Query


@dataclass(frozen=True)
class Result:
    """What a run published: its folder, and the days that hold nothing and were not published.

    `collection` is read from the folder when it is first asked for, so that every href leads to a file. `kept`: days
    that were there already, from an interrupted or an earlier run, and still hold. `warnings`: sentences on scenes that
    cannot be read, files that are not what their item says, and scenes whose pixels contradict each other; they stand
    in the collection, too. With `tiling`, `days` are those that some tile holds, and `skipped` and `kept` say tile and
    day. `new_scenes`: ids of scenes that a finished run has not seen, where it is asked for again; `update` uses them.
    """

    path: Path
    days: tuple[str, ...]
    skipped: tuple[str, ...]
    kept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    new_scenes: tuple[str, ...] = ()

    @cached_property
    def collection(self) -> pystac.Collection:
        """The published collection."""
        return pystac.Collection.from_file(str(self.path / COLLECTION_FILE))


def finish(grids: Sequence[FilledGrid], scored: Json | None, unreadable: Sequence[str] = ()) -> Result:
    """Link the days' items, describe them together, and leave nothing else in the folder.

    `unreadable`: sentences on the scenes that were left out as their files cannot be opened.
    """
    work = grids[0].work
    folder, out = work.folder, work.out
    documents = [item for grid in grids for item in _items(grid)]
    if not documents:
        raise NoClearLookError("No requested day has a clear look in its window; widen datetime or duration.")
    whole = collection_of([grid.work.job for grid in grids], documents, display_bands(work.job.bands))
    _add_thumbnail(whole, documents, folder)
    warnings = (*unreadable, *(warning for grid in grids for warning in grid.warnings))
    found = {
        "spaceeye:holdout": scored,
        "spaceeye:warnings": list(warnings),
        "spaceeye:provisional_from": _provisional_from(documents),
    }
    whole.extra_fields |= {name: value for name, value in found.items() if value}
    write_static(folder, whole, documents)
    # what was said of scenes, before what it was said from goes: the next run says it again of those it does not read
    said = {text: ids for grid in grids for text, ids in grid.warnings.items()}
    empty = {name: key for grid in grids for name, key in grid.nothing.items()}
    replace(work.request, warnings=said, empty=empty).write(folder)
    if work.output.keep_keyframes:
        (folder / SCRATCH).rename(folder / KEYFRAMES)
    drop_strangers(folder, {item.id for item in documents})
    drop_unused_knot_cogs(folder, [folder / item.id for item in documents])
    days = sorted({grid.work.job.days.day(day).isoformat() for grid in grids for day in grid.full})
    skipped, kept = (tuple(day for grid in grids for day in grid.named(getattr(grid, of))) for of in ("empty", "kept"))
    return Result(out, tuple(days), skipped, kept, warnings)


def unchanged(folder: Path, query: Query, scenes: Sequence[Scene]) -> Result:
    """The result of a finished run that is asked for again: its days as they are, and the scenes it has not seen."""
    collection = pystac.Collection.from_file(str(folder / COLLECTION_FILE))
    names = [Path(link.href).stem.removeprefix(f"{collection.id}_") for link in collection.get_item_links()]
    request = RunRequest.read(folder)
    days = sorted({name[-len("2018-04-11") :] for name in names})
    return Result(
        path=folder,
        days=tuple(days),
        skipped=tuple(day for day in map(str, query.days) if day not in days),
        kept=tuple(name.replace("_", " ") for name in names),
        warnings=tuple(collection.extra_fields.get("spaceeye:warnings", ())),
        new_scenes=tuple(scene.id for scene in scenes if request is None or not request.has_seen(scene)),
    )


def _items(grid: FilledGrid) -> list[pystac.Item]:
    """Items of one grid, linked from day to day; of days that were there already it may have become known for good."""
    found = [read_item(grid.work.place(day)) for day in grid.full]
    for item in found:
        window_end = date.fromisoformat(item.properties["spaceeye:window"][1])
        item.properties[PROVISIONAL] = is_provisional(window_end, grid.work.request.created, grid.work.job.settings)
    link_in_order(found)
    return found


def _provisional_from(items: Sequence[pystac.Item]) -> str | None:
    """First day that looks to come may change."""
    days = [item.properties["start_datetime"][: len("2018-04-11")] for item in items if item.properties[PROVISIONAL]]
    return min(days, default=None)


def _add_thumbnail(collection: pystac.Collection, documents: Sequence[pystac.Item], folder: Path) -> None:
    """Give the collection the thumbnail of the day that tells most."""
    best = max(documents, key=_worth_showing)
    (folder / THUMBNAIL_FILE).write_bytes((folder / best.id / "thumbnail.png").read_bytes())
    asset = pystac.Asset(f"./{THUMBNAIL_FILE}", "Thumbnail", media_type="image/png", roles=["thumbnail"])
    collection.add_asset("thumbnail", asset)


def _worth_showing(item: pystac.Item) -> tuple[float, float]:
    """How good a picture a day is: most of the region seen and not doubted, in percent, then the most contrast."""
    seen = 100 * item.properties["spaceeye:observed_share"] - item.properties.get("eo:cloud_cover", 0)
    bands = item.assets["visual"].extra_fields["bands"]
    return round(seen), sum(band["statistics"]["stddev"] for band in bands)
