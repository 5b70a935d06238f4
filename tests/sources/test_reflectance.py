"""Scale, offset and baseline as catalogs really write them: right reflectance, or no scene at all."""

from typing import Any

import pytest

from spaceeye_stac.errors import ItemError
from spaceeye_stac.sources.profiles import profile_named
from spaceeye_stac.sources.reflectance import baseline_of, read_baseline
from spaceeye_stac.sources.scenes import scenes_from_items
from tests.support.items import base_item, read_item
from tests.support.material import material

Json = dict[str, Any]
REAL = "stac-items/earthsearch-v1__sentinel-2-l2a__1.0.0"


def offsets(item: Json, profile: str | None = None) -> set[float]:
    (scene,) = scenes_from_items([item], profile)
    return {band.offset for band in scene.bands.values()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("05.09", "05.09"),
        ("5.09", "05.09"),
        ("N0509", "05.09"),
        ("0400", "04.00"),
        (" 04.00 ", "04.00"),
        (4.0, "04.00"),
        (4, "04.00"),
        (5.1, "05.10"),
        ("5.1", "05.10"),
        ("4", "04.00"),
        (2.08, "02.08"),
        ("02.08", "02.08"),
        (5.11, "05.11"),
        (509, "05.09"),
        (400.0, "04.00"),
        (99.99, "99.99"),
        (None, None),
        (True, None),
        ("", None),
        ("1.0", None),  # the version of something else
        ("3.2.1", None),
        (float("nan"), None),
        (float("inf"), None),
        (-4.0, None),
        (["04.00"], None),
    ],
)
def test_a_baseline_in_every_spelling(value: object, expected: str | None) -> None:
    assert read_baseline(value) == expected


def by_baseline(**properties: Any) -> Json:
    """An item whose offset follows from its baseline alone."""
    item = base_item("planetary-computer", old=False)
    for asset in item["assets"].values():
        del asset["raster:offset"]
    del item["properties"]["s2:processing_baseline"]
    item["properties"] |= {key.replace("s2_", "s2:"): value for key, value in properties.items()}
    return item


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"s2_processing_baseline": 4.0}, -0.1),
        ({"s2_processing_baseline": 5.1}, -0.1),
        ({"s2_processing_baseline": 2.08}, 0.0),
        ({"s2_processing_baseline": "02.08"}, 0.0),
        ({"s2_processing_baseline": None, "s2_product_uri": "S2B_MSIL2A_20200728T122715_N0400_R109_T26PPC_x"}, -0.1),
        ({"s2_processing_baseline": None, "s2_datastrip_id": "S2B_OPER_MSI_L2A_DS_x_S20200728T122715_N05.00"}, -0.1),
        ({"s2_datatake_id": "GS2B_20200728T122715_024557_N02.14"}, 0.0),
        ({"s2_processing_baseline": None, "s2_generation_time": "2020-10-07T00:00:00Z"}, 0.0),
        ({"s2_processing_baseline": None, "processing:datetime": "2021-10-07"}, 0.0),
    ],
)
def test_the_offset_without_a_baseline_of_its_own(properties: Json, offset: float) -> None:
    assert offsets(by_baseline(**properties), "planetary-computer") == {offset}


def test_the_names_of_files_say_the_baseline_of_a_real_item_without_one() -> None:
    tried = 0
    for path in sorted(material("stac-items/pc__sentinel-2-l2a__1.0.0").glob("*.json")):
        item = read_item(path)
        (usual,) = scenes_from_items([item])
        for name in ("s2:processing_baseline", "s2:datastrip_id", "s2:datatake_id", "s2:product_uri"):
            item["properties"][name] = None
        (scene,) = scenes_from_items([item])
        assert {b.offset for b in scene.bands.values()} == {b.offset for b in usual.bands.values()}, scene.id
        tried += 1
    assert tried > 5


@pytest.mark.parametrize(
    "properties",
    [
        {"s2_processing_baseline": None},
        {"s2_processing_baseline": "unknown"},
        {"datetime": "2022-03-01T12:00:00Z"},
        {"s2_generation_time": "2023-06-30T02:24:13Z"},
        {
            "s2_product_uri": "S2B_MSIL2A_20200728T122715_N0400_R109_T26PPC_x",
            "s2_datatake_id": "GS2B_20200728T122715_024557_N02.14",
        },
    ],
)
def test_where_nothing_says_the_offset_the_item_is_refused(properties: Json) -> None:
    with pytest.raises(ItemError, match="S2B_26PPC_20200728_0_L2A gives neither an offset nor a processing baseline"):
        scenes_from_items([by_baseline(**properties)], "planetary-computer")


def test_an_offset_that_the_asset_declares_counts_where_there_is_no_baseline() -> None:
    item = by_baseline(s2_processing_baseline=None)
    for asset in item["assets"].values():
        asset["raster:offset"] = -0.1
    assert offsets(item, "planetary-computer") == {-0.1}


def test_real_items_say_their_baseline_in_any_spelling() -> None:
    profile = profile_named("planetary-computer")
    for path in sorted(material("stac-items/pc__sentinel-2-l2a__1.0.0").glob("*.json")):
        item = read_item(path)
        usual = baseline_of(item, profile)
        assert usual is not None
        for spelled in (float(usual), f"N{usual}", usual.replace(".", ""), usual.lstrip("0")):
            item["properties"]["s2:processing_baseline"] = spelled
            assert baseline_of(item, profile) == usual


@pytest.mark.parametrize(
    ("scale", "offset", "said"),
    [
        (0.0001, -1000, "offset -1000, which looks like one in DN; in reflectance it is -0.1"),
        (0.0001, 1000.0, "offset 1000, which looks like one in DN; in reflectance it is 0.1"),
        (0.0001, -1e9, "offset -1e[+]09, which is none of reflectance"),
        (0.0001, "nan", "offset nan"),
        (1, -0.1, "scale 1, which looks as if none were meant; that of reflectance is 0.0001"),
        (10000, -0.1, "scale 10000, which looks like the number that DN are divided by, so 0.0001 is meant"),
        (1e-8, -0.1, "scale 1e-08, which looks like 0.0001 applied twice"),
        (0, -0.1, "scale 0, which is none of reflectance"),
        (-0.0001, -0.1, "scale -0.0001, which is none of reflectance"),
        (0.1, -0.1, "scale 0.1, which is none of reflectance"),
        ("inf", -0.1, "scale inf, which is none of reflectance"),
    ],
)
@pytest.mark.parametrize("old", [True, False])
def test_an_absurd_scale_or_offset_is_refused_with_what_it_looks_like(
    scale: object, offset: object, said: str, *, old: bool
) -> None:
    item = base_item(old=old)
    asset = item["assets"]["red"]
    if old:
        asset["raster:bands"][0] |= {"scale": scale, "offset": offset}
    else:
        asset |= {"raster:scale": scale, "raster:offset": offset}
    with pytest.raises(ItemError, match=f"Item {item['id']} has {said}.*, of https://example.com/red.tif; correct"):
        scenes_from_items([item])


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, -1), (1e-2, 1), (0.0001, -0.1), (2.75e-5, -0.2)])
def test_what_can_be_reflectance_stays(scale: float, offset: float) -> None:
    item = base_item()
    item["assets"]["red"]["raster:bands"][0] |= {"scale": scale, "offset": offset}
    (scene,) = scenes_from_items([item])
    assert (scene.bands["B04"].scale, scene.bands["B04"].offset) == (scale, offset)


@pytest.mark.parametrize("flag", [True, "true", "True", 1])
def test_a_flag_that_the_offset_is_applied_counts_in_any_spelling(flag: object) -> None:
    item = base_item()
    item["properties"]["earthsearch:boa_offset_applied"] = flag
    assert offsets(item) == {0.0}


@pytest.mark.parametrize("flag", [False, "false", None, 0, "no"])
def test_any_other_flag_does_not(flag: object) -> None:
    item = base_item()
    item["properties"]["earthsearch:boa_offset_applied"] = flag
    assert offsets(item) == {-0.1}


def test_an_item_of_jpeg_2000_alone_is_mapped_with_the_offset_that_its_files_have() -> None:
    """The flag is of the COGs; the originals beside them are as they were delivered."""
    tried = 0
    for path in sorted(material(REAL).glob("*.json")):
        item = read_item(path)
        originals = {key: asset for key, asset in item["assets"].items() if key.endswith("-jp2")}
        if not originals:
            continue
        item["assets"] = originals
        (scene,) = scenes_from_items([item])
        assert scene.profile == "earth-search"
        assert set(scene.bands) >= {"B02", "B04", "B8A", "B12"}
        assert all(band.href.endswith(".jp2") for band in scene.bands.values())
        assert scene.labels is not None
        assert scene.labels.href.endswith("SCL.jp2")
        expected = -0.1 if (scene.baseline or "") >= "04.00" else 0.0
        assert {band.offset for band in scene.bands.values()} == {expected}, scene.id
        tried += 1
    assert tried > 8


def test_where_one_cog_is_missing_its_original_takes_its_place_alone() -> None:
    item = read_item(material(f"{REAL}/S2A_32TMT_20200305_1_L2A.json"))
    del item["assets"]["red"]
    (scene,) = scenes_from_items([item])
    assert scene.bands["B04"].href.endswith("B04.jp2")
    assert (scene.bands["B04"].offset, scene.bands["B03"].offset) == (-0.1, 0.0)
    assert scene.bands["B03"].href.endswith(".tif")
