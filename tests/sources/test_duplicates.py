import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.model import Scene
from spaceeye_stac.sources.duplicates import _Marks, _rank, _same_acquisition, without_duplicates
from spaceeye_stac.sources.scenes import scenes_from_items
from tests.support import items
from tests.support.items import ASSET
from tests.support.material import material

NOON = datetime(2020, 3, 5, 10, 30, tzinfo=UTC)


def scene(name: str, seconds: float = 0, *, tile: str | None = "32TMT", **fields: Any) -> Scene:
    """One scene; `baseline` and `platform` are the scene's own, other fields are the item's properties."""
    own = {key: fields.pop(key, None) for key in ("baseline", "platform")}
    item = {"id": name, "properties": {key.replace("s2_", "s2:"): value for key, value in fields.items()}}
    return items.scene(name, NOON + timedelta(seconds=seconds), tile, epsg=32632, item=item, **own)


def kept(*scenes: Scene) -> list[str]:
    return [s.id for s in without_duplicates(scenes)[0]]


def strip(start: str, baseline: str = "02.14") -> str:
    return f"S2A_OPER_MSI_L2A_DS_SGS__20200305T132101_S{start}_N{baseline}"


def from_material(pattern: str) -> list[Scene]:
    base = material("data" if pattern.startswith("tz") else "stac-items")
    items = [json.loads(path.read_text()) for path in sorted(base.glob(pattern))]
    assert len(items) >= 2, pattern
    return scenes_from_items(items)


def test_a_real_reprocessed_acquisition_is_kept_once() -> None:
    scenes = from_material("earthsearch-v1__sentinel-2-l2a__1.0.0/S2A_32TMT_20200305_*.json")
    left, notes = without_duplicates(scenes)
    assert [s.id for s in left] == ["S2A_32TMT_20200305_1_L2A"]
    (note,) = notes
    assert note.startswith("Scene S2A_32TMT_20200305_0_L2A left out: the same acquisition as S2A_32TMT_20200305_1_L2A,")
    assert note.endswith(" which has the newer processing baseline 05.00 (not 02.14).")


@pytest.mark.parametrize("day", ["20191125", "20200119"])
def test_two_real_datastrips_of_one_day_are_both_kept(day: str) -> None:
    scenes = from_material(f"tz-37mbs/sentinel-2-l2a/*_{day}_*/*.json")
    assert without_duplicates(scenes) == (scenes, [])


def test_newest_baseline_then_time_then_sequence_then_id() -> None:
    old, new = scene("b", baseline="02.14", s2_generation_time="2024-01-01T00:00:00Z"), scene("a", baseline="05.00")
    assert kept(old, new) == ["a"]
    assert kept(scene("a", baseline="5.9"), scene("b", baseline="05.10")) == ["b"]
    early, late = scene("z", created="2020-01-01T00:00:00Z"), scene("a", created="2021-01-01T00:00:00Z")
    assert kept(early, late) == ["a"]
    assert kept(scene("S2A_32TMT_20200305_10_L2A"), scene("S2A_32TMT_20200305_9_L2A")) == ["S2A_32TMT_20200305_10_L2A"]
    assert kept(scene("z", s2_sequence="0"), scene("a", s2_sequence="1")) == ["a"]
    assert kept(scene("a"), scene("b")) == ["b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scene("a"), scene("b", tile="32TNT")),
        (scene("a", tile=None), scene("b", tile=None)),
        (scene("a"), scene("b", 2.5)),
        (scene("a", platform="sentinel-2a"), scene("b", platform="Sentinel-2B")),
        (
            scene("a", s2_datastrip_id=strip("20200305T103210")),
            scene("b", s2_datastrip_id=strip("20200305T103510", "05.00")),
        ),
        (
            scene("a", s2_datatake_id="GS2A_20200305T103021_024558_N02.14"),
            scene("b", s2_datatake_id="GS2A_20200305T085021_024557_N02.14"),
        ),
    ],
)
def test_different_acquisitions_are_both_kept(one: Scene, other: Scene) -> None:
    assert kept(one, other) == ["a", "b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scene("a"), scene("b", 2)),
        (scene("a", platform="sentinel-2a"), scene("b", platform="Sentinel-2A")),
        (
            scene("a", s2_datastrip_id=strip("20200305T103210")),
            scene("b", 8, s2_datastrip_id=strip("20200305T103210", "05.00")),
        ),
        (
            scene("S2A_MSIL2A_20200305T103021_R108_T32TMT_20200305T132101"),
            scene("S2A_MSIL2A_20200305T103021_R108_T32TMT_20230630T022413"),
        ),
    ],
)
def test_the_same_acquisition_is_kept_once(one: Scene, other: Scene) -> None:
    assert kept(one, other) == kept(other, one) == [other.id]


def test_an_item_that_came_twice_is_kept_once() -> None:
    twice = [scene("a"), replace(scene("a"), bands={"B02": replace(ASSET, href="y.tif")})]
    for order in (twice, twice[::-1]):
        left, notes = without_duplicates(order)
        assert [s.bands["B02"].href for s in left] == ["y.tif"]
        assert notes == ["Scene a left out: the same acquisition as a, which has the same id."]


scenes_of_a_few_days = st.lists(
    st.builds(
        lambda number, seconds, tile, baseline, platform, start: scene(
            f"s{number}",
            seconds,
            tile=tile,
            baseline=baseline,
            platform=platform,
            **({"s2_datastrip_id": strip(f"20200305T1030{start:02}")} if start is not None else {}),
        ),
        st.integers(0, 99),
        st.sampled_from([0, 1, 1.5, 3, 4, 8, 86400]),
        st.sampled_from(["32TMT", "32TNT", None]),
        st.sampled_from([None, "02.14", "05.00"]),
        st.sampled_from([None, "sentinel-2a", "Sentinel-2B"]),
        st.sampled_from([None, 0, 1, 30]),
    ),
    max_size=9,
    unique_by=lambda s: s.id,
)


@given(scenes_of_a_few_days, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_every_dropped_scene_has_a_kept_twin(scenes: Sequence[Scene], random: Any) -> None:
    left, notes = without_duplicates(scenes)
    mixed = list(scenes)
    random.shuffle(mixed)
    again, notes_again = without_duplicates(mixed)
    assert {s.id for s in again} == {s.id for s in left}
    assert notes_again == notes
    assert [s.id for s in left] == [s.id for s in scenes if s in left]
    assert without_duplicates(left) == (left, [])
    dropped = [s for s in scenes if s not in left]
    assert len(notes) == len(dropped)
    for gone in dropped:
        twins = [other.id for other in left if kept(gone, other) == [other.id]]
        assert any(f"{gone.id} left out: the same acquisition as {twin}," in note for twin in twins for note in notes)


def every_pair(scenes: Sequence[Scene]) -> tuple[list[str], list[str]]:
    """What was kept, and the twins, where each scene is compared with all that are better."""
    kept: list[Scene] = []
    twins = []
    for one in sorted(scenes, key=_rank, reverse=True):
        better = next((other for other in kept if one is other or same(one, other)), None)
        if better is None:
            kept.append(one)
        else:
            twins.append(f"{one.id} {better.id}")
    return sorted(s.id for s in kept), sorted(twins)


def same(one: Scene, other: Scene) -> bool:
    marks = [_Marks.of(scene) for scene in (one, other)]
    return marks[0].tile is not None and marks[0].tile == marks[1].tile and _same_acquisition(*marks)


@given(scenes_of_a_few_days)
def test_the_result_is_that_of_comparing_each_with_all(scenes: Sequence[Scene]) -> None:
    left, notes = without_duplicates(scenes)
    twins = sorted(f"{note.split()[1]} {note.split(' as ')[1].split(',')[0]}" for note in notes)
    assert (sorted(s.id for s in left), twins) == every_pair(scenes)


def test_thousands_of_scenes_of_one_tile_are_compared_with_their_neighbours_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = [0]

    def counted(one: _Marks, other: _Marks) -> bool:
        count[0] += 1
        return _same_acquisition(one, other)

    monkeypatch.setattr("spaceeye_stac.sources.duplicates._same_acquisition", counted)
    number = 4000
    times = [NOON + timedelta(days=2.5 * (n // 2)) for n in range(number)]
    scenes = [
        scene(f"S2A_{n}_{n % 2}_L2A", (when - NOON).total_seconds(), s2_datastrip_id=strip(f"{when:%Y%m%dT%H%M%S}"))
        for n, when in enumerate(times)
    ]
    left, notes = without_duplicates(scenes)
    assert len(left) == len(notes) == number // 2
    assert count[0] < 4 * number
