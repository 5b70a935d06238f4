"""The end of a run: the days of all grids described together as one collection."""

import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pystac

from spaceeye_stac.collection import (
    COLLECTION_FILE,
    KEYFRAMES,
    PROVISIONAL,
    REPORT_FILE,
    SCRATCH,
    THUMBNAIL_FILE,
    Draw,
    RunFacts,
    add_keyframes,
    collection_of,
    drop_strangers,
    is_provisional,
    link_in_order,
    link_keyframes,
    read_item,
    write_static,
)
from spaceeye_stac.days import display_bands, drop_unused_knot_cogs, knot_cogs_of
from spaceeye_stac.display import Html, card, element, notes, paragraph
from spaceeye_stac.engine.phases import FilledGrid, GridWork
from spaceeye_stac.engine.request import RunRequest
from spaceeye_stac.errors import NoClearLookError
from spaceeye_stac.model import Scene
from spaceeye_stac.publishing import Store, target_of
from spaceeye_stac.query import Json, Query
from spaceeye_stac.sources import SceneList

if TYPE_CHECKING:
    import xarray as xr

SHOWN_DAYS = 6
DAY_LETTERS = len("2018-04-11")
ROW = "display:flex;flex-wrap:wrap;gap:.6em;margin:.5em 0"
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
    `scenes`: ids of those that were used, with those that served as context; `left_out`: what the search left out, and
    why. `address`: of a run in an object store, which has no folder.
    """

    path: Path
    days: tuple[str, ...]
    skipped: tuple[str, ...]
    kept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    new_scenes: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    address: str | None = None

    @cached_property
    def collection(self) -> pystac.Collection:
        """The published collection."""
        if self.address is None:
            return pystac.Collection.from_file(str(self.path / COLLECTION_FILE))
        found = pystac.Collection.from_dict(json.loads(Store(target_of(self.address)).read(COLLECTION_FILE) or b"{}"))
        found.set_self_href(f"{self.address}/{COLLECTION_FILE}")
        return found

    @property
    def place(self) -> str:
        """The folder or the address."""
        return self.address or str(self.path)

    def cube(self, tile: str | None = None) -> "xr.Dataset":
        """The days as a lazy Dataset, the same as `spaceeye_stac.open` gives for the folder.

        Parameters
        ----------
        tile
            Of a run with tiling: the MGRS tile to open.

        """
        import xarray as xr  # noqa: PLC0415 - which knows this package by its entry point

        return xr.open_dataset(self.place, engine="spaceeye", chunks={}, tile=tile)

    def as_json(self) -> Json:
        """Everything as plain JSON."""
        found = {
            "folder": self.place,
            "collection": self.collection.id,
            "days": self.days,
            "empty": self.skipped,
            "kept": self.kept,
            "scenes": {"used": self.scenes, "left_out": self.left_out, "new": self.new_scenes},
            "warnings": self.warnings,
        }
        return dict(json.loads(json.dumps(found)))

    def __repr__(self) -> str:
        return f"Result({len(self.days)} days, {self.days[0]} to {self.days[-1]}, in {self.place!r})"

    def _repr_html_(self) -> str:
        days = f"{len(self.days)} days, {self.days[0]} to {self.days[-1]}"
        address = f"{self.place}/{COLLECTION_FILE}"
        link = element("a", address, href=address if self.address else Path(address).absolute().as_uri())
        empty = [paragraph("Left out, without a clear look: ", ", ".join(self.skipped))] if self.skipped else []
        return card(days, paragraph(link), *_pictures(self), *empty, notes(self.warnings))


def _pictures(result: Result) -> list[Html]:
    """Thumbnails of a few days between the first and the last, as they lie in the folder, where there is one."""
    if result.address:
        return []
    found = sorted(result.path.glob("*/thumbnail.png"), key=lambda path: path.parent.name[-DAY_LETTERS:])
    chosen = found[:: max(1, -(-len(found) // SHOWN_DAYS))]
    return [element("div", *(_picture(path, path.parent.name[-DAY_LETTERS:]) for path in chosen), style=ROW)]


def _picture(path: Path, day: str) -> Html:
    source = f"data:image/png;base64,{b64encode(path.read_bytes()).decode('ascii')}"
    image = element("img", src=source, alt=f"{day}", style="width:100%;display:block;image-rendering:pixelated")
    return element("figure", image, element("figcaption", day, style="font-size:.85em"), style="margin:0;width:9em")


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
    found = {
        "spaceeye:holdout": scored,
        WARNINGS: list(warnings),
        "spaceeye:provisional_from": _provisional_from(documents),
    }
    whole.extra_fields |= {name: value for name, value in found.items() if value}
    skipped, kept = (tuple(day for grid in grids for day in grid.named(getattr(grid, of))) for of in ("empty", "kept"))
    if draw is not None:
        warnings += _add_report(whole, draw, _facts(work, whole, documents, scenes, skipped))
    _describe_keyframes(folder, whole, documents)
    write_static(folder, whole, documents)
    # what was said of scenes, before what it was said from goes: the next run says it again of those it does not read
    said = {text: ids for grid in grids for text, ids in grid.warnings.items()}
    empty = {name: key for grid in grids for name, key in grid.nothing.items()}
    replace(work.request, warnings=said, empty=empty).write(folder)
    if work.output.keep_keyframes:
        (folder / SCRATCH).rename(folder / KEYFRAMES)
    drop_strangers(folder, {item.id for item in documents})
    days = sorted({grid.work.job.days.day(day).isoformat() for grid in grids for day in grid.full})
    return Result(out, tuple(days), skipped, kept, warnings, scenes=_ids(scenes), left_out=scenes.left_out)


def _describe_keyframes(folder: Path, whole: pystac.Collection, items: Sequence[pystac.Item]) -> None:
    """Describe the keyframes that virtual days are read from, and leave no others."""
    drop_unused_knot_cogs(folder, [folder / item.id for item in items])
    read = {item.id: sorted({path.parent.name for path in knot_cogs_of(folder / item.id)}) for item in items}
    for item in items:
        link_keyframes(item, read[item.id])
    names = sorted({name for used in read.values() for name in used})
    if names:
        add_keyframes(folder, whole, names)


def _ids(scenes: Sequence[Scene]) -> tuple[str, ...]:
    return tuple(scene.id for scene in scenes)


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


def unchanged(folder: Path, query: Query, scenes: SceneList) -> Result:
    """The result of a finished run that is asked for again: its days as they are, and the scenes it has not seen."""
    collection = pystac.Collection.from_file(str(folder / COLLECTION_FILE))
    names = [Path(link.href).stem.removeprefix(f"{collection.id}_") for link in collection.get_item_links()]
    request = RunRequest.read(folder)
    days = sorted({name[-DAY_LETTERS:] for name in names})
    return Result(
        path=folder,
        days=tuple(days),
        skipped=tuple(day for day in map(str, query.days) if day not in days),
        kept=tuple(name.replace("_", " ") for name in names),
        warnings=tuple(collection.extra_fields.get(WARNINGS, ())),
        new_scenes=_ids([scene for scene in scenes if request is None or not request.has_seen(scene)]),
        scenes=_ids([scene for scene in scenes if request is not None and request.has_seen(scene)]),
        left_out=scenes.left_out,
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
    days = [item.properties["start_datetime"][:DAY_LETTERS] for item in items if item.properties[PROVISIONAL]]
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
