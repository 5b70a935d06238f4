"""Masks that are items of their own, paired with their scenes by tile and time, never by their order; pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TypeVar

from spaceeye_stac.errors import ItemError
from spaceeye_stac.model import Mask, Scene, SourceItem


@dataclass(frozen=True)
class MaskItem:
    """An item of a collection of masks, before it is paired with its scene."""

    tile: str | None
    day: date
    datetime: datetime
    mask: Mask
    source: SourceItem


Timed = TypeVar("Timed", Scene, MaskItem)
# less than half an orbit (100 minutes), more than from the start of a datatake to its last tile
TOLERANCE = timedelta(minutes=30)
CLEARLY = 2
INSTANT = timedelta(seconds=1)
SHOWN = 5


@dataclass(frozen=True)
class Paired:
    """Scenes with their masks, in the order given, and for each that has none the reason, by its place in the list."""

    scenes: tuple[Scene, ...]
    unpaired: dict[int, str]


def paired(scenes: Sequence[Scene], masks: Sequence[MaskItem]) -> Paired:
    """Give each scene the mask of its own tile and solar day that was sensed at its time.

    A mask and a scene belong together when each is clearly the nearest in time of the other, within half an hour: any
    other is more than twice as far, and a second. So the result does not depend on the order of either list, no mask
    serves two scenes, and what cannot be told apart stays unpaired.
    """
    near: dict[object, list[int]] = defaultdict(list)
    for m, mask in enumerate(masks):
        near[_place(mask)].append(m)
    here: dict[object, list[int]] = defaultdict(list)
    for s, scene in enumerate(scenes):
        here[_place(scene)].append(s)
    found, unpaired = list(scenes), {}
    for s, scene in enumerate(scenes):
        group = [masks[m] for m in near[_place(scene)]] if scene.tile else []
        own = _clearly_nearest(scene, group)
        back = None if own is None else _clearly_nearest(own, [scenes[n] for n in here[_place(scene)]])
        if own is not None and back is scene:
            found[s] = replace(scene, labels=own.mask)
        else:
            unpaired[s] = _reason(scene, group)
    return Paired(tuple(found), unpaired)


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
        return kept, [f"Scene {name} left out: {reason}." for name, reason in without]
    return list(pairs.scenes), [f"Scene {name}: {reason}; taken as clear." for name, reason in without]


def own_masks(scenes: Sequence[Scene]) -> Paired:
    """Scenes as they are, those without a mask of their own marked so."""
    return Paired(tuple(scenes), {s: "it has no mask asset" for s, one in enumerate(scenes) if one.labels is None})


def _place(one: Scene | MaskItem) -> object:
    tile = None if one.tile is None else one.tile.upper().zfill(5)
    return tile, one.day


def _clearly_nearest(one: Scene | MaskItem, others: Sequence[Timed]) -> Timed | None:
    """The one of `others` that is nearest in time, if within tolerance and no other is nearly as near."""
    gaps = sorted(((abs(other.datetime - one.datetime), n) for n, other in enumerate(others)), key=lambda gap: gap[0])
    if not gaps or gaps[0][0] > TOLERANCE:
        return None
    if len(gaps) > 1 and gaps[1][0] <= CLEARLY * gaps[0][0] + INSTANT:
        return None
    return others[gaps[0][1]]


def _reason(scene: Scene, group: Sequence[MaskItem]) -> str:
    if scene.tile is None:
        return "it says no tile, by which a mask could be found"
    close = [mask for mask in group if abs(mask.datetime - scene.datetime) <= TOLERANCE]
    if not close:
        return (
            f"no mask of tile {scene.tile} within {TOLERANCE.seconds // 60} minutes of {scene.datetime:%Y-%m-%d %H:%M}"
        )
    return f"more than one way to pair it: {', '.join(sorted(mask.source.id for mask in close))}"
