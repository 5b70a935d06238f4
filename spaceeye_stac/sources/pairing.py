"""Masks that are items of their own, paired with their scenes by tile and time, never by their order; pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

from spaceeye_stac.errors import ItemError
from spaceeye_stac.model import Mask, Scene, SourceItem
from spaceeye_stac.sources.duplicates import NO_VERSION, SAME_SENSING, Version, tile_code
from spaceeye_stac.sources.sensing import ONE_DAY, Sensing, is_midnight

Instant = datetime


@dataclass(frozen=True)
class MaskItem:
    """An item of a collection of masks, before it is paired with its scene.

    `sensing` is when it was sensed, at `datetime` where that is None; `version` how new it is among those of one look,
    and `strip` the datastrip that it is of.
    """

    tile: str | None
    day: date
    datetime: datetime
    mask: Mask
    source: SourceItem
    sensing: Sensing | None = None
    version: Version = NO_VERSION
    strip: Instant | None = None

    @property
    def span(self) -> Sensing:
        """The time or the interval in which it was sensed."""
        return self.sensing or Sensing.at(self.datetime)


Other = TypeVar("Other", Scene, MaskItem)
# less than half an orbit (100 minutes), more than from the start of a datatake to its last tile
TOLERANCE = timedelta(minutes=30)
CLEARLY = 2
INSTANT = timedelta(seconds=1)
NONE, FAR = timedelta(0), timedelta.max
OTHER_CALENDAR = TOLERANCE / 3
REACH = 2 * ONE_DAY
SHOWN = 5


@dataclass(frozen=True)
class Paired:
    """Scenes with their masks, in the order given, and for each that has none the reason, by its place in the list.

    `older`: sentences on the masks of which there was a newer version.
    """

    scenes: tuple[Scene, ...]
    unpaired: dict[int, str]
    older: tuple[str, ...] = ()


def paired(scenes: Sequence[Scene], masks: Sequence[MaskItem]) -> Paired:
    """Give each scene the mask of its own tile and solar day that was sensed at its time.

    Of several versions of one mask the newest counts. A mask and a scene belong together when each is clearly the
    nearest in time of the other, within half an hour: any other is more than twice as far, and a second. So the result
    does not depend on the order of either list, no mask serves two scenes, and what cannot be told apart stays
    unpaired. A mask whose interval holds the scene, or that is dated with the scene's day alone, is as near as can be,
    and it serves all scenes that it holds where those are of one overpass.
    """
    newest, older = _newest(masks)
    near, here = _Timeline(newest), _Timeline(scenes)
    found, unpaired = list(scenes), {}
    for s, scene in enumerate(scenes):
        group = near.around(scene) if scene.tile else []
        own = _clearly_nearest([(gap(scene, mask), mask) for mask in group])
        if own is not None and _serves(own, scene, here.around(scene)):
            found[s] = replace(scene, labels=own.mask)
        else:
            unpaired[s] = _reason(scene, group)
    return Paired(tuple(found), unpaired, tuple(older))


def gap(scene: Scene, mask: MaskItem) -> timedelta:
    """How far a scene and a mask are apart in time; NONE where one holds the other, FAR where they are of other days.

    A date alone may be meant in UTC or as the solar day; where these differ, that in UTC is nearer.
    """
    span = mask.span
    if span.is_day_alone or is_midnight(scene.datetime):
        if span.when.astimezone(UTC).date() == scene.datetime.astimezone(UTC).date():
            return NONE
        return OTHER_CALENDAR if mask.day == scene.day else FAR
    if span.start <= scene.datetime <= span.stop:
        return NONE
    return max(span.start - scene.datetime, scene.datetime - span.stop) if mask.day == scene.day else FAR


def settled(pairs: Paired, unmasked: str) -> tuple[list[Scene], list[str]]:
    """Deal with the scenes without a mask as the user wants: "refuse", "clear" or "drop" (see `Query.unmasked`).

    Returns the scenes and a note on each that was without. Raises ItemError naming them when they are refused.
    """
    without = [(pairs.scenes[s].id, reason) for s, reason in sorted(pairs.unpaired.items())]
    if without and unmasked == "refuse":
        named = "; ".join(f"{name} ({reason})" for name, reason in without[:SHOWN])
        more = f", and {len(without) - SHOWN} more" if len(without) > SHOWN else ""
        raise ItemError(
            f"{len(without)} of {len(pairs.scenes)} scenes have no mask: {named}{more}; say with unmasked whether such "
            "scenes are taken as clear or dropped."
        )
    if unmasked == "drop":
        kept = [scene for s, scene in enumerate(pairs.scenes) if s not in pairs.unpaired]
        return kept, [*pairs.older, *(f"Scene {name} left out: {reason}." for name, reason in without)]
    return list(pairs.scenes), [*pairs.older, *(f"Scene {name}: {reason}; taken as clear." for name, reason in without)]


def own_masks(scenes: Sequence[Scene]) -> Paired:
    """Scenes as they are, those without a mask of their own marked so."""
    return Paired(tuple(scenes), {s: "it has no mask asset" for s, one in enumerate(scenes) if one.labels is None})


class _Timeline(Generic[Other]):
    """Scenes or masks by tile, in the order of time."""

    def __init__(self, every: Iterable[Other]) -> None:
        self._of: dict[str | None, list[Other]] = defaultdict(list)
        for one in sorted(every, key=lambda one: one.datetime):
            self._of[tile_code(one.tile)].append(one)
        self._times = {tile: [one.datetime for one in line] for tile, line in self._of.items()}

    def around(self, scene: Scene) -> list[Other]:
        """Those of the scene's tile that may be of its day, whatever calendar it is in."""
        tile, when = tile_code(scene.tile), scene.datetime
        line, times = self._of.get(tile, []), self._times.get(tile, [])
        return line[bisect_left(times, when - REACH) : bisect_right(times, when + REACH)]


def _newest(masks: Sequence[MaskItem]) -> tuple[list[MaskItem], list[str]]:
    """The masks without older versions of one that is there as well, and a sentence on each of these.

    Those of which nothing says that one is newer all stay, and cannot be told apart.
    """
    newest, older = [], []
    for group in _alike(masks):
        best = max(group, key=lambda mask: mask.version)
        for mask in group:
            if mask.version == best.version:
                newest.append(mask)
            else:
                older.append(f"Mask {mask.source.id} left out: {best.source.id} is a newer version of it.")
    return newest, sorted(older)


def _alike(masks: Sequence[MaskItem]) -> list[list[MaskItem]]:
    """Masks of one tile, time and datastrip, together."""
    found: list[list[MaskItem]] = []
    places: dict[object, list[list[MaskItem]]] = defaultdict(list)
    for mask in sorted(masks, key=lambda one: (one.span.start, one.source.id)):
        groups = places[tile_code(mask.tile)]
        own = next((group for group in reversed(groups) if _is_version_of(mask, group[0])), None)
        if own is None:
            groups.append(own := [])
            found.append(own)
        own.append(mask)
        # in the order of time, so that what is past is never looked at again
        groups[:] = [group for group in groups if mask.span.start - group[0].span.start <= SAME_SENSING]
    return found


def _is_version_of(one: MaskItem, other: MaskItem) -> bool:
    if one.strip is not None and other.strip is not None and one.strip != other.strip:
        return False
    ends = abs(one.span.start - other.span.start), abs(one.span.stop - other.span.stop)
    return max(ends) <= SAME_SENSING


def _clearly_nearest(others: Sequence[tuple[timedelta, Other]]) -> Other | None:
    """The one that is nearest in time, if within tolerance and no other is nearly as near."""
    ranked = sorted(others, key=lambda other: other[0])
    if not ranked or ranked[0][0] > TOLERANCE:
        return None
    if len(ranked) > 1 and ranked[1][0] <= CLEARLY * ranked[0][0] + INSTANT:
        return None
    return ranked[0][1]


def _serves(mask: MaskItem, scene: Scene, scenes: Sequence[Scene]) -> bool:
    """Whether a mask is this scene's and no other's, or of the whole overpass that the scene is of."""
    gaps = [(gap(one, mask), one) for one in scenes]
    span = mask.span
    if gap(scene, mask) == NONE and (span.is_day_alone or span.start < span.stop):
        times = [one.datetime for apart, one in gaps if apart == NONE]
        return max(times) - min(times) <= TOLERANCE
    return _clearly_nearest(gaps) is scene


def _reason(scene: Scene, group: Sequence[MaskItem]) -> str:
    if scene.tile is None:
        return "it says no tile, by which a mask could be found"
    close = [mask for mask in group if gap(scene, mask) <= TOLERANCE]
    if not close:
        return (
            f"no mask of tile {scene.tile} within {TOLERANCE.seconds // 60} minutes of {scene.datetime:%Y-%m-%d %H:%M}"
        )
    return f"more than one way to pair it: {', '.join(sorted(mask.source.id for mask in close))}"
