"""Scenes that show one acquisition twice, and which of them is kept."""

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from spaceeye_stac.model import Scene

SAME_SENSING = timedelta(seconds=2)
DATATAKE_FIELDS = ("s2:datatake_id", "eopf:datatake_id", "s2:product_uri")
DATASTRIP_FIELDS = ("s2:datastrip_id", "eopf:datastrip_id")
PROCESSED_FIELDS = ("s2:generation_time", "processing:datetime", "created")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def without_duplicates(scenes: Sequence[Scene]) -> tuple[list[Scene], list[str]]:
    """Keep one scene of each acquisition: the newest baseline, then processing time, then sequence and id.

    Two scenes show one acquisition when they have the same tile and satellite and their datatake and datastrip are the
    same; where no datastrip is given, when they were sensed at most two seconds apart. Two datastrips of one day
    are both kept.

    Returns the kept scenes in the order given, and for each dropped one a sentence saying what was kept and why.
    """
    kept: dict[str | None, list[Scene]] = defaultdict(list)
    notes, dropped = [], set()
    for scene in sorted(scenes, key=_rank, reverse=True):
        better = next((other for other in kept[_tile(scene)] if _same_acquisition(scene, other)), None)
        if better is None:
            kept[_tile(scene)].append(scene)
        else:
            dropped.add(id(scene))
            notes.append(f"Scene {scene.id} left out: the same acquisition as {better.id}, {_why(better, scene)}.")
    return [scene for scene in scenes if id(scene) not in dropped], sorted(notes)


def _same_acquisition(one: Scene, other: Scene) -> bool:
    if one is other:
        return True
    if _tile(one) is None or _differ(_platform(one), _platform(other)) or _differ(_datatake(one), _datatake(other)):
        return False
    strips = _strip_start(one), _strip_start(other)
    if strips[0] is not None and strips[1] is not None:
        return abs(strips[0] - strips[1]) <= SAME_SENSING
    return abs(one.datetime - other.datetime) <= SAME_SENSING


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _tile(scene: Scene) -> str | None:
    return scene.tile.upper().lstrip("0") if scene.tile else None


def _platform(scene: Scene) -> str | None:
    """Letter of the satellite, from "sentinel-2a", "Sentinel-2A" or the name of the item."""
    found = re.search(r"(?i)(?:^|-|\bS)2([A-Z])(?:$|_)", scene.platform or scene.id)
    return found[1].upper() if found else None


def _texts(scene: Scene, names: Sequence[str]) -> list[str]:
    return [str(scene.item["properties"][n]) for n in names if scene.item["properties"].get(n) is not None]


def _datatake(scene: Scene) -> str | None:
    """Satellite and start of the datatake, as "S2A 20200305T103021", without its baseline."""
    texts = [*_texts(scene, DATATAKE_FIELDS), scene.id]
    found = next(filter(None, (re.search(r"(S2[A-Z])_(?:MSIL\w{2}_)?(\d{8}T\d{6})", text) for text in texts)), None)
    return f"{found[1]} {found[2]}" if found else None


def _strip_start(scene: Scene) -> datetime | None:
    """When the datastrip starts, the part of its id that processing it again does not change."""
    found = next(filter(None, (re.search(r"_S(\d{8}T\d{6})", text) for text in _texts(scene, DATASTRIP_FIELDS))), None)
    return _time(found[1]) if found else None


def _time(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _baseline(scene: Scene) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", scene.baseline or ""))


def _processed(scene: Scene) -> datetime:
    times = (_time(text) for text in _texts(scene, PROCESSED_FIELDS))
    return next((when for when in times if when is not None), LONG_AGO)


def _sequence(scene: Scene) -> int:
    text = "".join(_texts(scene, ("s2:sequence",))) or "".join(re.findall(r"_(\d{1,3})(?:_L2A)?$", scene.id))
    return int(text) if text.isdecimal() else -1


def _rank(scene: Scene) -> tuple[tuple[int, ...], datetime, int, str, list[str]]:
    """What makes a scene better than its twin; the hrefs only make the order total."""
    hrefs = sorted(band.href for band in scene.bands.values())
    return _baseline(scene), _processed(scene), _sequence(scene), scene.id, hrefs


def _why(better: Scene, worse: Scene) -> str:
    if _baseline(better) != _baseline(worse):
        return f"which has the newer processing baseline {better.baseline} (not {worse.baseline or 'given'})"
    if _processed(better) != _processed(worse):
        return f"which was processed later, at {_processed(better):%Y-%m-%dT%H:%M:%SZ}"
    if better.id != worse.id:
        return "which has the later number or name"
    return "which has the same id"
