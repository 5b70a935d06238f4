"""Real items of every kind at hand: each is mapped as its format says, or refused with the reason."""

import copy
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaceeye_stac.errors import CatalogError, ItemError, SpaceEyeError
from spaceeye_stac.model import Scene
from spaceeye_stac.sources.profiles import profile_named, shipped_profiles
from spaceeye_stac.sources.reflectance import offset_of
from spaceeye_stac.sources.scenes import scenes_from_items
from tests.support.items import DIALECTS, base_item, labels_of, read_item
from tests.support.material import ROOT, material

NATIVE = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10.0),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20.0),
    **dict.fromkeys(("B01", "B09"), 60.0),
}


@dataclass(frozen=True)
class Mapped:
    """What an item becomes: its profile, its bands' offset, and the end of its files' names."""

    profile: str
    offset: float
    suffix: str = ".tif"


@dataclass(frozen=True)
class Refused:
    """What the error says."""

    reason: str


@dataclass(frozen=True)
class OtherZone:
    """A tile that lies in another zone than the item's CRS: which of them is right, the files tell."""

    tile: str
    epsg: int


L1C = Refused("is Level-1C, which has no mask")
NO_MASK = Refused("fits no profile .*: it has no mask asset")
ZARR = Refused("fits no profile .*: its bands are in Zarr")
WRONG_GRID_CODE = Refused(r"names different tiles \(01CCV, 60CWE\)")
WRONG_ZONE = OtherZone("26SKD", 32635)

# Written from the formats' documentation and the items' own fields. First pattern that fits an item's file counts.
EXPECTED: dict[str, dict[str, Mapped | Refused | OtherZone]] = {
    "aws-sentinel-s2-l1c__sentinel-2-l1c__1.0.0": {"*": L1C},
    # STAC's old sample: id and product of tile 26SKD, but files and CRS of 35VMK; 0.8.1 gives no CRS at all
    "aws-sentinel-s2-l2a__s2-l2a__1.0.0-beta.2": {"*": WRONG_ZONE},
    "aws-sentinel-s2-l2a__sentinel-s2-l2a__0.8.1": {"*": Refused("must give one EPSG code")},
    "aws-sentinel-s2-l2a__sentinel-s2-l2a__0.9.0": {"*": WRONG_ZONE},
    # `raster:offset` on the asset, for a product of 2020 that was processed again as well
    "cdse__sentinel-2-l2a__1.1.0": {"*": Mapped("cdse", -0.1, ".jp2")},
    "deafrica__s2_l2a_c1__1.0.0": {"*": Mapped("digital-earth-africa", -0.1)},
    # baselines 02.x in the product's name alone; a nodata of "nan" for one band
    "e84-cogs__None__1.1.0": {"*": Mapped("earth-search-v0", 0.0)},
    "e84-cogs__sentinel-s2-l2a-cogs__1.0.0": {"*": WRONG_GRID_CODE},
    "e84-cogs__sentinel-s2-l2a-cogs__1.0.0-beta.2": {"*": Mapped("earth-search-v0", 0.0)},
    "earthsearch-v0__sentinel-s2-l2a-cogs__1.0.0": {"*": WRONG_GRID_CODE},
    # baselines 04.00 and 05.11 with `sentinel:boa_offset_applied`, and 02.12
    "earthsearch-v0__sentinel-s2-l2a-cogs__1.0.0-beta.2": {"*": Mapped("earth-search-v0", 0.0)},
    "earthsearch-v1__sentinel-2-c1-l2a__1.0.0": {"*": Mapped("earth-search-c1", -0.1)},
    "earthsearch-v1__sentinel-2-l1c__1.0.0": {"*": L1C},
    "earthsearch-v1__sentinel-2-l2a__1.0.0": {
        "S2A_52HGH_20221007_0_L2A*": Mapped("earth-search", -0.1, ".jp2"),  # ESA's own files: nothing applied
        "*": Mapped("earth-search", 0.0),  # declared 0, or declared -0.1 and applied
    },
    "eopf__sentinel-2-l2a__1.1.0": {"*": ZARR},
    "lpdaac__HLSL30.v1.5__1.0.0-rc.4": {"*": NO_MASK},
    "other__None__1.0.0": {
        "*MSIL1C*": L1C,
        "*-calibrated.json": NO_MASK,
        "*.SAFE.json": NO_MASK,  # all bands in one file
        "*_T60CWS.json": Mapped("generic", -0.1, ".jp2"),
        "*_T01KAB_*": Mapped("generic", -0.1, ".jp2"),
    },
    "other__None__1.1.0": {
        "*L1C*": L1C,
        "*_T34VEL.json": Mapped("generic", -0.1, ".jp2"),
        "*_T10SDG.json": Mapped("generic", 0.0, ".jp2"),
        "*_T34LBP.json": Mapped("generic", -0.1, ".jp2"),
        "*_T01WC[PS]_*": Mapped("generic", -0.1, ".jp2"),
        "*_T07HFE_*": Mapped("generic", 0.0),
        "*_T34LBQ_*": Mapped("generic", -0.7, ".jp2"),  # what its assets declare, at baseline 04.00
        "*_T01CCV_*": Mapped("generic", 0.0),
        "*_T33XWJ_*": Mapped("generic", -0.1),
    },
    "other__S2_MSI_L1C__1.0.0": {"*": L1C},
    "other__S2_MSI_L1C__1.1.0": {"*": L1C},
    "other__ga_s2am_ard_3__1.0.0": {"*": NO_MASK},
    "other__s2_l2a_zarr_sample__1.0.0": {"*": ZARR},
    "other__sentinel-s2-l2a__1.1.0": {"*": Refused("must give one EPSG code .* it gives none")},
    "other__sentinel2-l1c-example__1.0.0": {"*": L1C},
    "other__sentinel2-l2a-example__1.0.0": {"*": Mapped("generic", 0.0)},
    # neither scale nor offset in the items: baseline 02.12, or 04.00 and later
    "pc__sentinel-2-l2a__1.0.0": {
        "S2A_MSIL2A_20150704*": Mapped("planetary-computer", 0.0),
        "S2A_MSIL2A_20190101*": Mapped("planetary-computer", 0.0),
        "S2B_MSIL2A_20190629*": Mapped("planetary-computer", 0.0),
        "S2B_MSIL2A_20200606*": Mapped("planetary-computer", 0.0),
        "*": Mapped("planetary-computer", -0.1),
    },
}


def expectation(path: Path) -> Mapped | Refused | OtherZone:
    return next(found for pattern, found in EXPECTED[path.parent.name].items() if fnmatch(path.name, pattern))


def epsg_of(item: dict[str, Any]) -> int:
    places = [item["properties"], *item["assets"].values()]
    codes = {str(place.get("proj:epsg") or place.get("proj:code", "")).removeprefix("EPSG:") for place in places}
    return int(max(codes, key=len))


def check(scene: Scene, item: dict[str, Any], expected: Mapped) -> None:
    assert scene.profile == expected.profile
    assert set(scene.bands) == set(NATIVE)
    for name, band in scene.bands.items():
        assert re.search(rf"\b(\w*_)?{name}(_\d+m)?{re.escape(expected.suffix)}$", band.href), (name, band.href)
        assert (band.scale, band.offset, band.nodata) == (0.0001, expected.offset, 0), name
        assert band.resolution == NATIVE[name], name
    assert re.search(rf"SCL(_20m)?{re.escape(expected.suffix)}$", labels_of(scene).href)
    assert labels_of(scene).resolution in {20.0, None}
    assert scene.epsg == epsg_of(item)
    assert re.search(rf"_T?0?{(scene.tile or '').lstrip('0')}(_|$)", scene.id), scene.tile
    assert re.fullmatch(r"0[0-5]\.\d\d", scene.baseline or ""), scene.baseline


def test_every_item_of_every_kind_is_mapped_or_refused_as_its_format_says() -> None:
    paths = sorted(material("stac-items").glob("*/*.json"))
    assert {path.parent.name for path in paths} == set(EXPECTED)
    for path in paths:
        item, expected = read_item(path), expectation(path)
        if isinstance(expected, Refused):
            with pytest.raises(ItemError, match=expected.reason) as refusal:
                scenes_from_items([item])
            assert item["id"] in str(refusal.value)
            continue
        (scene,) = scenes_from_items([item])
        if isinstance(expected, OtherZone):
            assert (scene.tile, scene.epsg) == (expected.tile, expected.epsg)
        else:
            check(scene, item, expected)


def mapped_items() -> list[dict[str, Any]]:
    paths = sorted(material("stac-items").glob("*/*.json"))
    return [read_item(path) for path in paths if isinstance(expectation(path), Mapped)]


@pytest.mark.filterwarnings("ignore:Could not parse bucket:UserWarning")
def test_items_that_pystac_has_migrated_map_to_the_same_scenes() -> None:
    for item in mapped_items():
        (plain,) = scenes_from_items([item])
        (migrated,) = scenes_from_items([pystac.Item.from_dict(copy.deepcopy(item))])
        assert (migrated.bands, migrated.tile, migrated.baseline) == (plain.bands, plain.tile, plain.baseline), plain.id
        assert migrated.profile == plain.profile


def test_of_jpeg_2000_and_cog_the_generic_profile_takes_the_cog() -> None:
    item = read_item(material("stac-items/earthsearch-v1__sentinel-2-l2a__1.0.0/S2A_13TDE_20231008_0_L2A.json"))
    item["assets"] = dict(reversed(item["assets"].items()))
    (scene,) = scenes_from_items([item], "generic")
    check(scene, item, Mapped("generic", 0.0))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["href", "name", "offset"]), st.integers(), max_size=2),
)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect_is_recognised_in_both_stac_versions(dialect: str, *, old: bool) -> None:
    (scene,) = scenes_from_items([base_item(dialect, old=old)])
    assert (scene.profile, scene.epsg, scene.tile) == (dialect, 32626, "26PPC")
    assert {band.offset for band in scene.bands.values()} == {-0.1}


@pytest.mark.parametrize(
    ("profile", "properties", "offset"),
    [
        ("earth-search", {"earthsearch:boa_offset_applied": True}, 0.0),
        ("earth-search", {"earthsearch:boa_offset_applied": None}, -0.2),
        ("earth-search", {"s2:processing_baseline": "02.14"}, -0.2),
        ("earth-search-c1", {"earthsearch:boa_offset_applied": True}, -0.2),
        ("planetary-computer", {"s2:processing_baseline": "03.01"}, 0.0),
        ("planetary-computer", {"s2:processing_baseline": None, "processing:version": "04.00"}, -0.1),
        ("earth-search-v0", {"sentinel:processing_baseline": "05.11"}, -0.1),
        ("earth-search-v0", {"sentinel:processing_baseline": "05.11", "sentinel:boa_offset_applied": True}, 0.0),
        ("earth-search-v0", {"sentinel:product_id": "S2A_MSIL2A_20221106T155441_N0400_R054_T26PPC_20221106"}, -0.1),
        ("earth-search-v0", {"sentinel:product_id": "S2A_MSIL2A_20221106T155441_N0301_R054_T26PPC_20221106"}, 0.0),
    ],
)
def test_the_offset_follows_from_the_item_s_own_fields(profile: str, properties: dict[str, Any], offset: float) -> None:
    item = base_item()
    item["properties"].update(properties)
    assert offset_of(item, {"raster:offset": -0.2}, profile_named(profile)) == offset


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every key of every object and list in a document."""
    inside = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in inside] + [place for _, child in inside for place in places(child)]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([None, *shipped_profiles()]))
def test_whatever_an_item_holds_only_a_scene_or_an_own_error_comes_out(
    data: st.DataObject, profile: str | None
) -> None:
    item = base_item()
    for _ in range(data.draw(st.integers(1, 4))):
        node, key = data.draw(st.sampled_from(places(item)))
        if data.draw(st.booleans()):
            node[key] = data.draw(JUNK)
        elif isinstance(node, dict):
            node.pop(key)
    try:
        (scene,) = scenes_from_items([item], profile)
    except SpaceEyeError:
        return
    assert isinstance(scene, Scene)
    assert all(isinstance(band.href, str) and band.scale > 0 for band in scene.bands.values())


def test_an_item_with_neither_offset_nor_baseline_is_refused_rather_than_guessed() -> None:
    item = base_item()
    del item["properties"]["s2:processing_baseline"]
    del item["assets"]["red"]["raster:bands"][0]["offset"]
    with pytest.raises(ItemError, match="S2B_26PPC_20200728_0_L2A gives neither an offset nor a processing baseline"):
        scenes_from_items([item])


def test_a_profile_file_of_ones_own_serves_as_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    shipped = ROOT / "catalogs" / "earth-search.toml"
    path.write_text(shipped.read_text().replace('"declared"', '"none"'))
    (scene,) = scenes_from_items([base_item()], str(path))
    assert scene.profile == str(path)
    assert {band.offset for band in scene.bands.values()} == {0.0}
    assert profile_named(scene.profile).gdal_env["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[bands]", "[bands", "is malformed: "),
        ("[labels]", "[label]", "lacks 'labels'"),
        ('"declared"', '"by date"', "offset_rule must be one of declared, baseline, none, not 'by date'"),
        ('"none"', '"magic"', "signing must be one of none, planetary-computer, not 'magic'"),
        ("platform =", "plat =", "lacks 'platform'"),
        ('B02 = ["blue", "blue-jp2"]', "B02 = 2", "2.* must be a text or a list of texts"),
    ],
)
def test_a_malformed_profile_file_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = tmp_path / "mine.toml"
    shipped = ROOT / "catalogs" / "earth-search.toml"
    path.write_text(shipped.read_text().replace(old, new))
    with pytest.raises(CatalogError, match=f"mine.toml.*{reason}"):
        profile_named(str(path))


def test_a_profile_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere\.toml' cannot be read"):
        profile_named(str(tmp_path / "nowhere.toml"))
