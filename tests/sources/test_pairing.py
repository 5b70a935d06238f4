import copy
import json
import random
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import planetary_computer.sas
import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.errors import ItemError, ReadError
from spaceeye_stac.model import Mask, Scene, SourceItem
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.query import MaskChoice
from spaceeye_stac.sources.pairing import TOLERANCE, MaskItem, Paired, paired, settled
from spaceeye_stac.sources.scenes import masks_from_items
from spaceeye_stac.sources.selection import search
from spaceeye_stac.sources.sensing import solar_day
from tests.support.command import command, options_of
from tests.support.damped import DAMPED
from tests.support.failing_api import FlakyApi
from tests.support.items import NOON, absolute, items_of, labels_of, scene
from tests.support.loopback import serving
from tests.support.mask_catalogs import with_collection
from tests.support.same_files import assert_same_but_for_classes
from tests.support.servers import rustac_api

BOOLEAN = MaskChoice("boolean", None, (0,), separate=True)


def mask(name: str, when: datetime = NOON, tile: str | None = "31UDS") -> MaskItem:
    source = SourceItem(name, None, "generic")
    raster = Mask(f"{name}.tif", 1.0, 0.0, 255, 20.0, kind="boolean", clear_values=(0,), source=source)
    return MaskItem(tile, when.date(), when, raster, source)


def pairs(scenes: list[Scene], masks: list[MaskItem]) -> dict[str, str | None]:
    """Id of each scene's mask."""
    found = paired(scenes, masks).scenes
    assert [s.id for s in found] == [s.id for s in scenes]
    return {s.id: None if s.labels is None else s.labels.href.removesuffix(".tif") for s in found}


acquisitions = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["31UDS", "31UES", "5QKB"])), unique=True, max_size=12
)


@given(acquisitions, st.integers(-1700, 1700), st.randoms(), st.data())
def test_masks_find_their_scenes_whatever_the_order_lag_and_gaps(
    taken: list[tuple[int, str]], lag: int, rng: random.Random, data: st.DataObject
) -> None:
    """Overpasses are an orbit and more apart; masks are stamped up to half an hour off, and some are missing."""
    morning = NOON.replace(hour=1)
    times = {f"{tile}-{n}": (morning + timedelta(days=n // 4, minutes=100 * (n % 4)), tile) for n, tile in taken}
    scenes = [scene(name, when, tile) for name, (when, tile) in times.items()]
    have = data.draw(st.sets(st.sampled_from(sorted(times)))) if times else set()
    masks = [mask(n, w + timedelta(seconds=lag), t.zfill(5)) for n, (w, t) in times.items() if n in have]
    rng.shuffle(scenes)
    rng.shuffle(masks)
    assert pairs(scenes, masks) == {name: name if name in have else None for name in times}


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(["31UDS", "31UES", None])), max_size=8),
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(["31UDS", "31UES", None])), max_size=8),
    st.randoms(),
)
def test_no_order_matters_no_mask_serves_twice_and_every_pair_is_of_one_place_and_time(
    some: list[tuple[int, str | None]], others: list[tuple[int, str | None]], rng: random.Random
) -> None:
    scenes = [scene(f"s{n}", NOON + timedelta(seconds=at), tile) for n, (at, tile) in enumerate(some)]
    masks = [mask(f"m{n}", NOON + timedelta(seconds=at), tile) for n, (at, tile) in enumerate(others)]
    found = paired(scenes, masks)
    by_name = {m.source.id: m for m in masks}
    used = []
    for n, one in enumerate(found.scenes):
        assert (one.labels is None) == (n in found.unpaired)
        if one.labels is not None and one.labels.source is not None:
            own = by_name[one.labels.source.id]
            used.append(own.source.id)
            assert own.tile == one.tile is not None
            assert abs(own.datetime - one.datetime) <= TOLERANCE
    assert len(set(used)) == len(used)
    expected = pairs(scenes, masks)
    rng.shuffle(scenes)
    rng.shuffle(masks)
    assert pairs(scenes, masks) == expected


def test_another_tile_another_day_and_another_orbit_are_no_match() -> None:
    late = NOON.replace(hour=23, minute=55)
    assert pairs([scene("s")], [mask("m", tile="31UES")]) == {"s": None}
    assert pairs([scene("s", late)], [mask("m", late + timedelta(minutes=10))]) == {"s": None}
    assert pairs([scene("s")], [mask("m", NOON + TOLERANCE + timedelta(seconds=1))]) == {"s": None}
    assert pairs([scene("s")], [mask("m", NOON + TOLERANCE)]) == {"s": "m"}
    assert pairs([scene("s", tile=None)], [mask("m", tile=None)]) == {"s": None}


def test_what_cannot_be_told_apart_stays_unpaired_and_is_named() -> None:
    twice = paired([scene("s")], [mask("m1"), mask("m2")])
    assert twice.unpaired == {0: "more than one way to pair it: m1, m2"}
    # two strips of one overpass and their masks, all stamped a little late: nearest in time is the wrong one
    strips = [scene("s1"), scene("s2", NOON + timedelta(seconds=10))]
    late = [mask("m1", NOON + timedelta(seconds=290)), mask("m2", NOON + timedelta(seconds=300))]
    assert pairs(strips, late) == {"s1": None, "s2": None}
    one_for_two = paired([scene("s1"), scene("s2")], [mask("m")])
    assert set(one_for_two.unpaired) == {0, 1}
    close = [mask("m1", NOON + timedelta(seconds=2)), mask("m2", NOON + timedelta(seconds=12))]
    assert pairs(strips, close) == {"s1": "m1", "s2": "m2"}


def test_the_refusal_names_scenes_and_reasons_and_does_not_grow_without_end() -> None:
    many = Paired(tuple(scene(f"s{n}") for n in range(9)), dict.fromkeys(range(2, 9), "no mask of tile 31UDS"))
    with pytest.raises(ItemError, match=r"7 of 9 scenes have no mask: s2 \(no mask of tile 31UDS\); .*and 2 more"):
        settled(many, "refuse")
    kept, notes = settled(many, "drop")
    assert [s.id for s in kept] == ["s0", "s1"]
    assert len(notes) == 7
    kept, notes = settled(many, "clear")
    assert len(kept) == 9
    assert notes[0] == "Scene s2: no mask of tile 31UDS; taken as clear."


def item(**properties: Any) -> dict[str, Any]:
    return {
        "id": "mask-1",
        "collection": "cloud-masks",
        "bbox": [179.5, 50, 179.9, 51],
        "properties": {"datetime": "2020-07-28T23:27:15Z", **properties},
        "assets": {
            "thumbnail": {"href": "small.png", "type": "image/png", "roles": ["thumbnail"]},
            "mask": {"href": "mask.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]},
        },
    }


def test_a_mask_item_s_tile_comes_from_its_properties_or_its_id() -> None:
    for given_item in (
        item(**{"s2:mgrs_tile": "1KAB"}),
        item(**{"grid:code": "MGRS-1KAB"}),
        {**item(), "id": "S2A_01KAB_20200728_0_clouds"},
        {**item(), "id": "S2B_MSIL1C_20200728T232715_N0209_R072_T01KAB_20200728T232715"},
    ):
        (found,) = masks_from_items([given_item], mask=BOOLEAN)
        assert (found.tile, found.mask.href, found.mask.kind) == ("01KAB", "mask.tif", "boolean")
        assert found.day == solar_day(found.datetime, 179.7)
        assert found.day.day == 29
    with pytest.raises(ItemError, match="mask-1 names different tiles"):
        masks_from_items([item(**{"grid:code": "MGRS-1KAB", "s2:mgrs_tile": "2KAB"})], mask=BOOLEAN)


def test_a_mask_item_whose_asset_is_not_clear_is_refused_with_what_it_has() -> None:
    two = item()
    two["assets"]["other"] = copy.deepcopy(two["assets"]["mask"])
    with pytest.raises(ItemError, match="Mask item mask-1 has no asset 'boolean' among thumbnail, mask, other"):
        masks_from_items([two], mask=BOOLEAN)
    (found,) = masks_from_items([two], mask=replace(BOOLEAN, asset="other"))
    assert found.mask.source is not None
    with pytest.raises(ItemError, match="Mask item mask-1 has no asset 'scl'"):
        masks_from_items([item()], mask=MaskChoice(separate=True))


@given(
    st.dictionaries(
        st.sampled_from(["datetime", "grid:code", "s2:mgrs_tile"]), st.one_of(st.none(), st.integers(), st.text())
    )
)
def test_junk_in_a_mask_item_is_an_own_error_or_a_mask(properties: dict[str, Any]) -> None:
    try:
        (found,) = masks_from_items([item(**properties)], mask=BOOLEAN)
    except se.SpaceEyeError as error:
        assert "mask-1" in str(error)  # noqa: PT017
        return
    assert isinstance(found, MaskItem)


# a catalog with masks as a collection of their own


@pytest.fixture(scope="module")
def separate(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_collection(simulated, tmp_path_factory.mktemp("separate") / "catalog")


@pytest.fixture
def query(simulated_query: se.Query, separate: Path) -> se.Query:
    return replace(
        simulated_query, catalog=separate, mask="boolean", mask_clear_values=[0], mask_collection="cloud-masks"
    )


def own_mask(one: Scene, catalog: Path) -> bool:
    """Whether a scene's mask item says its day."""
    own = labels_of(one)
    assert own.source is not None
    found = json.loads((catalog.parent / "cloud-masks" / f"{own.source.id}.json").read_text())
    return bool(found["properties"]["datetime"][:10] == one.day.isoformat()) and own.href.endswith(f"{found['id']}.tif")


def test_every_scene_gets_the_mask_of_its_own_day(query: se.Query, separate: Path) -> None:
    scenes = search(query)
    assert len(scenes) > 10
    assert all(own_mask(one, separate) for one in scenes)
    assert scenes.left_out == ()


def test_masks_of_another_catalog_by_path_and_by_api(
    query: se.Query, simulated: Path, separate: Path, tmp_path: Path
) -> None:
    """A real STAC API (rustac) with both collections on loopback, and a static catalog, in every combination."""
    expected = [(s.id, labels_of(s).source) for s in search(query)]
    static = separate.parent / "cloud-masks" / "collection.json"
    apart = search(replace(query, catalog=simulated, mask_catalog=static))
    assert [s.id for s in apart] == [name for name, _ in expected]
    assert all(own_mask(s, separate) for s in apart)
    files = [separate.parent / name / "collection.json" for name in ("sentinel-2-l2a", "cloud-masks")]
    paths = [*items_of(separate).values(), *sorted((separate.parent / "cloud-masks").glob("mask-*.json"))]
    with rustac_api(tmp_path, files, [absolute(path) for path in paths]) as url:
        mine = [str(simulated.parent), str(separate.parent)]
        both = replace(query, catalog=url, profile="planetary-computer", allow_hrefs=mine)
        for asked in (both, replace(both, mask_catalog=url), replace(query, mask_catalog=url, allow_hrefs=mine)):
            found = search(asked)
            assert [s.id for s in found] == [name for name, _ in expected]
            assert all(own_mask(s, separate) for s in found)


def test_a_run_with_paired_masks_equals_one_with_the_same_classes_and_links_to_both(
    query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    result = se.run(query, DAMPED, out=tmp_path / "paired")
    assert_same_but_for_classes(simulated_run, tmp_path / "paired")
    collection = pystac.Collection.from_file(str(tmp_path / "paired" / "collection.json"))
    scenes = {s.id: labels_of(s).source for s in search(query)}
    for published in collection.get_items():
        links = [link for link in published.links if link.rel == "derived_from"]
        titles = [link.title for link in links]
        shaping = [title for title in titles if title in scenes]
        sources = [source.id for name in shaping if name is not None and (source := scenes[name]) is not None]
        assert sorted(map(str, titles)) == sorted(map(str, [*shaping, *sources]))
        assert len(sources) == len(shaping) > 0
        for link in links:
            assert (tmp_path / "paired" / published.id / str(link.href)).resolve().is_file()
    assert len(result.days) == 24


def test_scenes_whose_mask_is_missing(
    simulated: Path, query: se.Query, simulated_query: se.Query, tmp_path: Path
) -> None:
    name = sorted(items_of(simulated))[9]
    catalog = with_collection(simulated, tmp_path / "catalog", leave_out={name: ""})
    missing = replace(query, catalog=catalog)
    reason = f"no mask of tile 31UDS within 30 minutes of {name[11:15]}-{name[15:17]}-{name[17:19]} 10:50"
    with pytest.raises(ItemError, match=rf"1 of \d+ scenes have no mask: {name} \({reason}\); say with unmasked"):
        search(missing)
    usual = [s.id for s in search(simulated_query)]
    dropped = search(replace(missing, unmasked="drop"))
    assert [s.id for s in dropped] == [one for one in usual if one != name]
    assert all(own_mask(s, catalog) for s in dropped)
    cleared = search(replace(missing, unmasked="clear"))
    assert [s.id for s in cleared] == usual
    assert [s.id for s in cleared if s.labels is None] == [name]
    options = ("--mask", "boolean", "--mask-clear-values", "0", "--mask-collection", "cloud-masks")
    line = ("search", *options_of(missing), *options)
    assert command(*line).returncode == 2
    done = command(*line, "--unmasked", "drop", "--json")
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [r["id"] for r in records] == [one for one in usual if one != name]
    assert all(r["mask"] == "boolean" and r["mask_item"].startswith("mask-") for r in records)


def test_masks_half_an_hour_and_more_away_pair_with_nothing(simulated: Path, query: se.Query, tmp_path: Path) -> None:
    catalog = with_collection(simulated, tmp_path / "catalog", late=timedelta(minutes=31))
    with pytest.raises(ItemError, match=r"(\d+) of \1 scenes have no mask: .*and \d+ more"):
        search(replace(query, catalog=catalog))


def test_a_missing_file_of_a_mask_is_named_with_its_scene(query: se.Query, separate: Path, tmp_path: Path) -> None:
    shutil.copytree(separate.parent, tmp_path / "catalog")
    broken = replace(query, catalog=tmp_path / "catalog" / "catalog.json")
    one = search(broken)[5]
    Path(labels_of(one).href).unlink()
    with pytest.raises(ReadError, match=rf"Scene {one.id}: asset .*{Path(labels_of(one).href).name} does not exist"):
        se.run(broken, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_is_signed_as_its_own_profile_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planetary_computer.sas, "TOKEN_CACHE", {})
    mine, other = (f"https://account.blob.core.windows.net/masks/{name}.tif" for name in ("mask", "B02"))
    source = SourceItem("m", None, "planetary-computer")
    own = Mask(mine, 1.0, 0.0, 255, 20.0, kind="boolean", clear_values=(0,), source=source)
    with serving(FlakyApi([])) as api:
        monkeypatch.setattr(planetary_computer.sas.Settings.get(), "sas_url", f"{api.url}/token")
        sign = signed(replace(scene("s"), labels=own))
        assert sign(other) == other
        assert api.paths == []
        assert sign(mine) == f"{mine}?sig=secret"
        assert api.paths == ["/token/account/masks"]
