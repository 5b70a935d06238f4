"""The end of a run: the days of all grids described together as one collection."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pystac

from spaceeye_stac.collection import (
    COLLECTION_FILE,
    KEYFRAMES,
    REPORT_FILE,
    SCRATCH,
    THUMBNAIL_FILE,
    Draw,
    RunFacts,
    collection_of,
    drop_strangers,
    link_in_order,
    read_item,
    write_static,
)
from spaceeye_stac.days import display_bands, drop_unused_knot_cogs
from spaceeye_stac.engine.phases import FilledGrid, GridWork
from spaceeye_stac.engine.request import RunRequest
from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json, Query
from spaceeye_stac.sources import SceneList

logger = logging.getLogger(__name__)
WARNINGS = "spaceeye:warnings"


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


def finish(grids: Sequence[FilledGrid], scored: Json | None, scenes: SceneList, draw: Draw | None = None) -> Result:
    """Link the days' items, describe them together, and leave nothing else in the folder.

    `scenes`: those of the run, with what was left out; `draw` makes the page that reports on the run, where one is
    wanted.
    """
    work = grids[0].work
    folder, out = work.folder, work.out
    documents = [item for grid in grids for item in _items(grid)]
    if not documents:
        raise NoClearLookError("No requested day has a clear look in its window; widen datetime or duration.")
    whole = collection_of([grid.work.job for grid in grids], documents, display_bands(work.job.bands))
    _add_thumbnail(whole, documents, folder)
    warnings = (*scenes.unreadable, *(warning for grid in grids for warning in grid.warnings))
    found = {"spaceeye:holdout": scored, WARNINGS: list(warnings)}
    whole.extra_fields |= {name: value for name, value in found.items() if value}
    skipped, kept = (tuple(day for grid in grids for day in grid.named(getattr(grid, of))) for of in ("empty", "kept"))
    if draw is not None:
        warnings += _add_report(whole, draw, _facts(work, whole, documents, scenes, skipped))
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
    return Result(out, tuple(days), skipped, kept, warnings)


def _facts(
    work: GridWork, whole: pystac.Collection, items: Sequence[pystac.Item], scenes: SceneList, skipped: Sequence[str]
) -> RunFacts:
    """What the report is drawn from."""
    documents = [one.to_dict(include_self_link=False, transform_hrefs=False) for one in (whole, *items)]
    request = work.request
    return RunFacts(
        work.folder,
        documents[0],
        documents[1:],
        request.asked,
        request.created,
        tuple(scenes),
        scenes.left_out,
        scenes.filtered,
        skipped,
    )


def _add_report(collection: pystac.Collection, draw: Draw, facts: RunFacts) -> tuple[str, ...]:
    """Put the report into the folder and the collection; a report that cannot be drawn is a warning, and no run's end.

    Gives that warning, which stands in the collection, too.
    """
    try:
        page = draw(facts)
    except Exception as error:  # noqa: BLE001 - of whatever kind, the days are worth more than their picture
        said = f"The report could not be drawn ({type(error).__name__}: {error}); the run stands without it."
        logger.warning(said)
        collection.extra_fields[WARNINGS] = [*collection.extra_fields.get(WARNINGS, ()), said]
        return (said,)
    (facts.folder / REPORT_FILE).write_bytes(page)
    asset = pystac.Asset(
        f"./{REPORT_FILE}", "Report of the run", media_type="text/html", roles=["metadata", "overview"]
    )
    collection.add_asset("report", asset)
    return ()


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
        warnings=tuple(collection.extra_fields.get(WARNINGS, ())),
        new_scenes=tuple(scene.id for scene in scenes if request is None or not request.has_seen(scene)),
    )


def _items(grid: FilledGrid) -> list[pystac.Item]:
    """Items of one grid, linked from day to day."""
    found = [read_item(grid.work.place(day)) for day in grid.full]
    link_in_order(found)
    return found


def _add_thumbnail(collection: pystac.Collection, documents: Sequence[pystac.Item], folder: Path) -> None:
    """Give the collection the thumbnail of the day that was seen best."""
    best = max(documents, key=lambda item: float(item.properties["spaceeye:observed_share"]))
    (folder / THUMBNAIL_FILE).write_bytes((folder / best.id / "thumbnail.png").read_bytes())
    asset = pystac.Asset(f"./{THUMBNAIL_FILE}", "Thumbnail", media_type="image/png", roles=["thumbnail"])
    collection.add_asset("thumbnail", asset)
