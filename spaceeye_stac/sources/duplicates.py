"""Scenes that show one acquisition twice, and which of them is kept."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spaceeye_stac.model import Scene
from spaceeye_stac.query import Json
from spaceeye_stac.sources.sensing import time_of

SAME_SENSING = timedelta(seconds=2)
TILE_LETTERS = 5
DATATAKE_FIELDS = ("s2:datatake_id", "eopf:datatake_id", "s2:product_uri")
DATASTRIP_FIELDS = ("s2:datastrip_id", "eopf:datastrip_id")
PROCESSED_FIELDS = ("s2:generation_time", "processing:datetime", "created")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Duplicate:
    """A scene that shows the acquisition of a `better` one."""

    scene: Scene
    better: Scene

    @property
    def note(self) -> str:
        """What was kept and why."""
        same = f"the same acquisition as {self.better.id}, {_why(self.better, self.scene)}"
        return f"Scene {self.scene.id} left out: {same}."


def without_duplicates(scenes: Sequence[Scene]) -> tuple[list[Scene], list[str]]:
    """Keep one scene of each acquisition: the newest baseline, then processing time, then version, sequence and id.

    Two scenes show one acquisition when they have the same tile and satellite and their datatake and datastrip are the
    same; where no datastrip is given, when they were sensed at most two seconds apart. Two datastrips of one day
    are both kept.

    Returns the kept scenes in the order given, and for each dropped one a sentence saying what was kept and why.
    """
    found = duplicates(scenes)
    dropped = {id(one.scene) for one in found}
    return [scene for scene in scenes if id(scene) not in dropped], sorted(one.note for one in found)


def duplicates(scenes: Sequence[Scene]) -> list[Duplicate]:
    """Every scene of which there is a better one, in time that grows with their number, as each has few neighbours."""
    kept, found = _Kept(), list[Duplicate]()
    for scene in sorted(scenes, key=_rank, reverse=True):
        mark = _Marks.of(scene)
        better = kept.twin_of(mark)
        if better is None:
            kept.add(mark)
        else:
            found.append(Duplicate(scene, better))
    return found


@dataclass(frozen=True, eq=False)
class _Marks:
    """By what a scene is compared with others, read once."""

    scene: Scene
    tile: str | None
    platform: str | None
    datatake: str | None
    strip: datetime | None

    @classmethod
    def of(cls, scene: Scene) -> "_Marks":
        return cls(scene, tile_code(scene.tile), _platform(scene), _datatake(scene), strip_start(scene.item))

    @property
    def slots(self) -> dict[str, int]:
        """Times in steps of the tolerance, so that what is within it is in the same step or the next one."""
        times = {"sensed": self.scene.datetime, "strip": self.strip}
        return {name: (when - LONG_AGO) // SAME_SENSING for name, when in times.items() if when is not None}


class _Kept:
    """Scenes that are kept, by their tile and time, so that each is compared with its neighbours in time alone."""

    def __init__(self) -> None:
        self._count = 0
        self._places: dict[tuple[str, str, int], list[tuple[int, _Marks]]] = defaultdict(list)

    def add(self, mark: _Marks) -> None:
        """Keep a scene; one without a tile is like no other."""
        if mark.tile is None:
            return
        self._count += 1
        for name, slot in mark.slots.items():
            self._places[mark.tile, name, slot].append((self._count, mark))

    def twin_of(self, mark: _Marks) -> Scene | None:
        """The first kept scene that shows the same acquisition; None where there is none."""
        if mark.tile is None:
            return None
        near = (
            one
            for name, slot in mark.slots.items()
            for at in (slot - 1, slot, slot + 1)
            for one in self._places.get((mark.tile, name, at), ())
        )
        twins = [one for one in near if _same_acquisition(mark, one[1])]
        return min(twins, key=lambda one: one[0])[1].scene if twins else None


def _same_acquisition(one: _Marks, other: _Marks) -> bool:
    if _differ(one.platform, other.platform) or _differ(one.datatake, other.datatake):
        return False
    if one.strip is not None and other.strip is not None:
        return abs(one.strip - other.strip) <= SAME_SENSING
    return abs(one.scene.datetime - other.scene.datetime) <= SAME_SENSING


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def tile_code(tile: str | None) -> str | None:
    """A tile as it is compared, "01CCV" for "1ccv"; None where there is none."""
    return tile.upper().zfill(TILE_LETTERS) if tile else None


def _platform(scene: Scene) -> str | None:
    """Letter of the satellite, from "sentinel-2a", "Sentinel-2A" or the name of the item."""
    found = re.search(r"(?i)(?:^|-|\bS)2([A-Z])(?:$|_)", scene.platform or scene.id)
    return found[1].upper() if found else None


def _texts(item: Json, names: Sequence[str]) -> list[str]:
    return [str(item["properties"][n]) for n in names if item["properties"].get(n) is not None]


def _datatake(scene: Scene) -> str | None:
    """Satellite and start of the datatake, as "S2A 20200305T103021", without its baseline."""
    texts = [*_texts(scene.item, DATATAKE_FIELDS), scene.id]
    found = next(filter(None, (re.search(r"(S2[A-Z])_(?:MSIL\w{2}_)?(\d{8}T\d{6})", text) for text in texts)), None)
    return f"{found[1]} {found[2]}" if found else None


def strip_start(item: Json) -> datetime | None:
    """When the datastrip starts, the part of its id that processing it again does not change."""
    found = next(filter(None, (re.search(r"_S(\d{8}T\d{6})", text) for text in _texts(item, DATASTRIP_FIELDS))), None)
    return time_of(found[1]) if found else None


def _baseline(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text or ""))


def _processed(item: Json) -> datetime:
    times = (time_of(text) for text in _texts(item, PROCESSED_FIELDS))
    return next((when for when in times if when is not None), LONG_AGO)


def _sequence(item: Json) -> int:
    text = "".join(_texts(item, ("s2:sequence",))) or "".join(re.findall(r"_(\d{1,3})(?:_L2A)?$", item["id"]))
    return int(text) if text.isdecimal() else -1


Version = tuple[tuple[int, ...], datetime, tuple[int, ...], int]
NO_VERSION: Version = (), LONG_AGO, (), -1


def version_of(item: Json, baseline: str | None) -> Version:
    """How new an item is among those of one acquisition: by baseline, processing time, version and sequence."""
    said = str(item["properties"].get("version") or "")
    version = tuple(int(part) for part in re.findall(r"\d{1,9}", said))
    return _baseline(baseline), _processed(item), version, _sequence(item)


def _rank(scene: Scene) -> tuple[Version, str, list[str]]:
    """What makes a scene better than its twin; the hrefs only make the order total."""
    hrefs = sorted(band.href for band in scene.bands.values())
    return version_of({**scene.item, "id": scene.id}, scene.baseline), scene.id, hrefs


def _why(better: Scene, worse: Scene) -> str:
    if _baseline(better.baseline) != _baseline(worse.baseline):
        return f"which has the newer processing baseline {better.baseline} (not {worse.baseline or 'given'})"
    if _processed(better.item) != _processed(worse.item):
        return f"which was processed later, at {_processed(better.item):%Y-%m-%dT%H:%M:%SZ}"
    if better.id != worse.id:
        return "which has the later number or name"
    return "which has the same id"
