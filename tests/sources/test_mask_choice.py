"""Which asset of an item is its mask, and what happens to scenes that have none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, ItemError, NoScenesError
from spaceeye_stac.query import MaskChoice
from spaceeye_stac.sources.profiles import profile_named
from spaceeye_stac.sources.scenes import scenes_from_items
from spaceeye_stac.sources.selection import search
from tests.support.items import base_item, items_of, labels_of, read_item
from tests.support.mask_catalogs import without_mask
from tests.support.material import ROOT, material


def test_nothing_left_after_dropping_is_said_so(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    catalog, _ = without_mask(simulated, tmp_path / "catalog", list(range(len(items_of(simulated)))))
    with pytest.raises(NoScenesError, match="0 of them with a mask"):
        search(replace(simulated_query, catalog=catalog, unmasked="drop"))


def test_level_1c_stays_refused_and_so_does_hls() -> None:
    hls = next(material("stac-items").glob("lpdaac__*/*.json"))
    for choice in (MaskChoice(unmasked="clear"), MaskChoice("boolean", "Fmask", (0,)), MaskChoice(separate=True)):
        with pytest.raises(ItemError, match="is Level-1C"):
            scenes_from_items([{**base_item(), "id": "S2A_MSIL1C_20200101T000000"}], mask=choice)
        with pytest.raises(ItemError, match="Harmonized Landsat Sentinel-2 data, whose bands have other names"):
            scenes_from_items([read_item(hls)], mask=choice)


def test_leave_to_be_without_a_mask_opens_no_door_to_other_items() -> None:
    """Of all real items, those that are refused stay so, and the others become the same scenes."""
    kept = 0
    for path in sorted(material("stac-items").glob("*/*.json")):
        given = read_item(path)
        try:
            (usual,) = scenes_from_items([given])
        except ItemError:
            with pytest.raises(ItemError):
                scenes_from_items([given], mask=MaskChoice(unmasked="clear"))
            continue
        (found,) = scenes_from_items([given], mask=MaskChoice(unmasked="clear"))
        assert found == usual
        (bare,) = scenes_from_items([given], mask=MaskChoice(separate=True))
        assert bare == replace(usual, labels=None)
        kept += 1
    assert kept > 50


@pytest.mark.parametrize(
    ("folder", "ending"),
    [
        ("earthsearch-v1__sentinel-2-c1-l2a__1.0.0", "/CLD_20m.tif"),
        ("earthsearch-v1__sentinel-2-l2a__1.0.0", "/qi/CLD_20m.jp2"),
        ("deafrica__s2_l2a_c1__1.0.0", "/CLD_20m.tif"),
        ("cdse__sentinel-2-l2a__1.1.0", "/QI_DATA/MSK_CLDPRB_20m.jp2"),
    ],
)
def test_real_items_give_their_probability_asset(folder: str, ending: str) -> None:
    items = [read_item(path) for path in sorted(material(f"stac-items/{folder}").glob("*.json"))]
    having = [i for i in items if any("CLD" in a["href"] for a in i["assets"].values())]
    assert having
    for item in having:
        (scene,) = scenes_from_items([item], mask=MaskChoice("probability"))
        (usual,) = scenes_from_items([item])
        mask = labels_of(scene)
        assert mask.href.endswith(ending)
        assert (mask.kind, mask.nodata, mask.scale, mask.source) == ("probability", 255, 1.0, None)
        assert (scene.bands, scene.profile, scene.tile) == (usual.bands, usual.profile, usual.tile)


def test_a_profile_without_that_kind_says_so() -> None:
    item = read_item(min(material("stac-items/pc__sentinel-2-l2a__1.0.0").glob("*.json")))
    with pytest.raises(ItemError, match=r"no mask asset 'of the kind probability' \(profile planetary-computer\)"):
        scenes_from_items([item], mask=MaskChoice("probability"))
    with pytest.raises(ItemError, match=r"no mask asset 'clouds' \(profile planetary-computer\)"):
        scenes_from_items([item], mask=MaskChoice("boolean", "clouds", (1,)))


def test_a_profile_of_ones_own_says_which_values_are_clear(tmp_path: Path) -> None:
    shipped = ROOT / "catalogs" / "planetary-computer.toml"
    text = shipped.read_text().replace(
        'assets = ["SCL"]', 'kind = "boolean"\nassets = ["valid"]\nclear_values = [1, 2]'
    )
    (tmp_path / "mine.toml").write_text(text)
    item = base_item("planetary-computer")
    item["assets"]["valid"] = item["assets"].pop("SCL")
    (scene,) = scenes_from_items([item], str(tmp_path / "mine.toml"))
    assert (labels_of(scene).kind, labels_of(scene).clear_values) == ("boolean", (1, 2))
    (tmp_path / "bad.toml").write_text(text.replace('"boolean"', '"guess"'))
    with pytest.raises(se.SpaceEyeError, match="kind must be one of scl, probability, boolean, not 'guess'"):
        profile_named(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"mask": "fmask"}, "mask 'fmask' is not allowed; choose from scl, probability, boolean"),
        ({"mask_asset": "cld"}, "mask_asset 'cld' needs its kind; give mask, scl, probability or boolean"),
        ({"mask": "scl", "mask_clear_values": [4]}, "are those of a boolean mask"),
        ({"mask": "boolean", "mask_clear_values": "x"}, "mask_clear_values 'x' is no value of a mask"),
        ({"mask": "boolean", "mask_clear_values": [-1]}, "mask_clear_values -1 is no value of a mask"),
        ({"unmasked": "guess"}, "unmasked 'guess' is not allowed; choose from refuse, clear, drop"),
    ],
)
def test_mask_options_that_make_no_sense_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        se.Query(catalog="x", bbox=(3, 50, 4, 51), datetime="2020-01-01", **given)


@pytest.mark.parametrize("given", [{"max_cloud_probability": 101}, {"mask_dilation": -1}, {"mask_dilation": 6000}])
def test_mask_settings_have_bounds(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(given))):
        se.Settings(**given)


def test_clear_values_may_come_as_text() -> None:
    query = se.Query(catalog="x", bbox=(3, 50, 4, 51), datetime="2020-01-01", mask="boolean", mask_clear_values="0, 2")
    assert query.mask_choice == MaskChoice("boolean", None, (0, 2), "refuse", separate=False)
    assert not query.mask_choice.is_own
