from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.catalog import search
from spaceeye_stac.errors import InvalidInputError, ItemError, NoScenesError, ReadError
from spaceeye_stac.jobs import plan_job
from spaceeye_stac.masks import Judged, away_from_cloud, clear_from_labels, judge, observed
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import NO_LABEL, Mask
from spaceeye_stac.profiles import profile_named, scenes_from_items
from spaceeye_stac.query import MaskChoice
from spaceeye_stac.reading import day_totals, observe_part
from spaceeye_stac.signing import signed
from spaceeye_stac.stack import load
from tests.support.command import command, options_of
from tests.support.items import base_item, edit, items_of, labels_of, read_item
from tests.support.mask_catalogs import boolean, probability, with_asset
from tests.support.material import ROOT, material

SCL = Mask("x.tif", 1.0, 0.0, 0, 20.0)
VALUES = np.array([0, 1, 3, 4, 7, 8, 11, NO_LABEL], np.uint16)


def told(judged: Judged) -> list[str]:
    """Each pixel as "clear", "cloud" or "", and never both."""
    assert not (judged.clear & judged.cloud).any()
    return [str(one) for one in np.select([judged.clear, judged.cloud], ["clear", "cloud"], "")]


def test_only_the_chosen_classes_are_clear_and_nodata_never_is() -> None:
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert np.flatnonzero(clear_from_labels(labels, (4, 5, 6, 7))).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(clear_from_labels(labels, (0, 2, 11))).tolist() == [2, 11]


def test_no_data_and_defects_are_neither_clear_nor_cloud() -> None:
    assert told(judge(VALUES, SCL, se.Settings())) == ["", "", "cloud", "clear", "clear", "cloud", "cloud", ""]


def test_probability_is_clear_up_to_the_threshold_and_0_is_sure_to_be_clear() -> None:
    labels = np.array([0, 25, 40, 41, 100, 101, 255, NO_LABEL], np.uint16)
    mask = replace(SCL, kind="probability", nodata=255)
    expected = ["clear", "clear", "clear", "cloud", "cloud", "", "", ""]
    assert told(judge(labels, mask, se.Settings())) == expected
    lower = told(judge(labels, mask, se.Settings(max_cloud_probability=25)))
    assert lower == ["clear", "clear", "cloud", "cloud", "cloud", "", "", ""]
    of_255 = replace(mask, scale=100 / 255, nodata=NO_LABEL)
    assert told(judge(np.array([0, 102, 103, 255], np.uint16), of_255, se.Settings())) == [
        "clear",
        "clear",
        "cloud",
        "cloud",
    ]


def test_of_a_boolean_mask_the_named_values_are_clear() -> None:
    labels = np.array([0, 1, 2, 255, NO_LABEL], np.uint16)
    mask = replace(SCL, kind="boolean", nodata=255, clear_values=(0, 2))
    assert told(judge(labels, mask, se.Settings())) == ["clear", "cloud", "clear", "", ""]


def test_without_a_mask_everything_is_clear() -> None:
    assert set(told(judge(VALUES, None, se.Settings()))) == {"clear"}


def test_observed_needs_data_in_every_band() -> None:
    values = np.array([[[5, 0, 3]], [[5, 2, 0]]], np.uint16)
    assert observed(values, 0).tolist() == [[True, False, False]]


def far_from(cloud: np.ndarray, reach: float) -> np.ndarray:
    """Pixels farther than `reach` from every cloud pixel, by trying every pair."""
    at = np.argwhere(cloud)
    y, x = np.indices(cloud.shape)
    squares = [(y - row) ** 2 + (x - column) ** 2 for row, column in at]
    return np.asarray(np.min(squares, axis=0) > reach**2) if squares else np.ones(cloud.shape, bool)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 2)),
    st.sampled_from([0, 1, 1.5, 2, 4, 40]),
)
def test_dilation_is_the_euclidean_distance_to_cloud_and_no_data_is_no_cloud(kinds: np.ndarray, reach: float) -> None:
    judged = Judged(kinds == 0, kinds == 1)  # 2: nothing is said
    np.testing.assert_array_equal(away_from_cloud(judged, reach), (kinds == 0) & far_from(kinds == 1, reach))


def test_the_edge_of_a_swath_loses_nothing() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[:, 7:] = 4
    judged = judge(labels, SCL, se.Settings())
    np.testing.assert_array_equal(away_from_cloud(judged, 5), labels == 4)


# what a run makes of it


def same_days(one: Path, other: Path) -> None:
    """Every published raster of two runs is the same, bit for bit."""
    paths = sorted(one.rglob("*.tif"))
    assert len(paths) > 100
    for path in paths:
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path


@pytest.fixture(scope="module")
def by_classes(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classes") / "out"
    se.run(simulated_query, out=out)
    return out


@pytest.mark.parametrize("nodata", [None, 255, 0])
def test_probability_beside_scl_gives_the_same_days(
    simulated: Path, simulated_query: se.Query, by_classes: Path, tmp_path: Path, nodata: int | None
) -> None:
    """Whatever nodata the raster declares: Earth Search's says 0, which is the surest clear look."""
    catalog = with_asset(simulated, tmp_path / "catalog", "probs", probability, nodata)
    se.run(replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs"), out=tmp_path / "out")
    same_days(by_classes, tmp_path / "out")


def test_a_boolean_mask_by_the_command_line_gives_the_same_days(
    simulated: Path, simulated_query: se.Query, by_classes: Path, tmp_path: Path
) -> None:
    catalog = with_asset(simulated, tmp_path / "catalog", "cloudy", boolean)
    given = ("run", *options_of(replace(simulated_query, catalog=catalog)))
    mask = ("--mask", "boolean", "--mask-asset", "cloudy")
    out = ("--out", tmp_path / "out")
    done = command(*given, *mask, *out)
    assert done.returncode == 2
    assert "nothing says which of its values are clear; give mask_clear_values" in done.stderr
    done = command(*given, *mask, "--mask-clear-values", "0", *out)
    assert done.returncode == 0, done.stderr
    same_days(by_classes, tmp_path / "out")


def test_a_stricter_threshold_leaves_less_clear(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    catalog = with_asset(simulated, tmp_path / "catalog", "cloud", probability)
    query = replace(simulated_query, catalog=catalog, mask="probability", profile="generic")
    scenes = search(query)
    assert {labels_of(scene).kind for scene in scenes} == {"probability"}
    shares = []
    for most in (0, 39, 40, 41, 100):
        job = plan_job(scenes, query, se.Settings(max_cloud_probability=most))
        shares.append(float(observe_part(job, job.grid.geobox).clear.mean()))
    assert 0 < shares[0] == shares[1] < shares[2] < shares[3] < shares[4] == 1


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
@pytest.mark.parametrize("nodata", [None, 0, 255])
def test_mask_values_are_read_as_they_stand_and_outside_is_no_label(
    simulated: Path, simulated_query: se.Query, tmp_path: Path, nodata: int | None, crs: str | None
) -> None:
    """Beyond its raster a mask says nothing, on the source's grid as on another."""
    catalog = with_asset(simulated, tmp_path / "catalog", "probs", probability, nodata)
    (scene,) = search(replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs"))[:1]
    with rasterio.open(labels_of(scene).href) as source:
        native, image = GeoBox(source.shape, source.transform, source.crs), source.read(1)
    assert {0, 40, 41, 100} >= set(np.unique(image)) > {0}
    geobox = native.pad(3) if crs is None else native.to_crs(crs).pad(20)
    found = load([scene], geobox, resampling=dict.fromkeys(scene.bands, "nearest"), sign=signed).labels[0]
    outside = found == NO_LABEL
    assert set(np.unique(found[~outside])) == set(np.unique(image))
    if crs is None:
        np.testing.assert_array_equal(found[3:-3, 3:-3], image)
        assert outside.sum() == found.size - image.size
        exact = load([scene], native, resampling=dict.fromkeys(scene.bands, "nearest"), sign=signed)
        np.testing.assert_array_equal(exact.labels[0], image)
    else:
        assert abs((~outside).sum() / image.size - 1) < 0.02


def test_a_jpeg_2000_mask_is_read_as_it_stands(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    """As CDSE has them: no nodata, and a reader of its own."""
    catalog = with_asset(simulated, tmp_path / "catalog", "probs", probability)
    (scene,) = search(replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs"))[:1]
    tif = labels_of(scene)
    with rasterio.open(tif.href) as source:
        native, image, profile = GeoBox(source.shape, source.transform, source.crs), source.read(), source.profile
    jp2 = replace(tif, href=str(tmp_path / "MSK_CLDPRB_20m.jp2"))
    kept = {key: profile[key] for key in ("width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(jp2.href, "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE=True, **kept) as target:
        target.write(image)
    for geobox in (native, native.pad(3), native.zoom_out(0.5).pad(5)):
        how = dict.fromkeys(scene.bands, "nearest")
        found = [load([replace(scene, labels=one)], geobox, resampling=how, sign=signed) for one in (tif, jp2)]
        np.testing.assert_array_equal(found[0].labels, found[1].labels)
        assert {0, 40} <= set(np.unique(found[1].labels))


def test_a_mask_of_fractions_is_refused_as_whole_numbers_would_make_it_clear(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog = with_asset(
        simulated, tmp_path / "catalog", "probs", lambda labels: (probability(labels) / 100).astype(np.float32)
    )
    query = replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs")
    with pytest.raises(ReadError, match=r"probs\.tif holds float32, and uint8 or uint16"):
        se.run(query, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# dilation


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
@pytest.mark.parametrize("metres", [10.0, 45.0, 200.0])
def test_dilation_is_the_same_however_the_grid_is_cut(
    simulated_query: se.Query, metres: float, crs: str | None
) -> None:
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-04/2023-04-09")
    settings = se.Settings(mask_dilation=metres, crs=crs, resolution=10, duration=6)
    job = plan_job(search(query, settings), query, settings)
    whole = observe_part(job, job.grid.geobox).clear
    for cell in job.grid.cells(37, halo=5):
        found = observe_part(job, job.grid.part(cell.view)).clear
        np.testing.assert_array_equal(found, whole[:, cell.view.y, cell.view.x])
    wide = job.grid.geobox.pad(25)
    stacked = load(job.scenes, wide, resampling=dict.fromkeys(job.bands, "nearest"), sign=signed)
    undilated = observe_part(replace(job, settings=se.Settings()), job.grid.geobox).clear
    assert whole.sum() < undilated.sum()
    assert len(stacked.labels) >= 3
    for n, labels in enumerate(stacked.labels):
        cloud = ~np.isin(labels, (0, 1, 4, 5, 6, 7, NO_LABEL))
        assert cloud.any()
        expected = undilated[n] & far_from(cloud, metres / 10)[25:-25, 25:-25]
        np.testing.assert_array_equal(whole[n], expected)


def test_days_do_not_depend_on_the_cells_when_masks_are_dilated(
    simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = se.Settings(mask_dilation=40, normalize_illuminance=False, min_clear_ratio=0)
    se.run(simulated_query, settings, out=tmp_path / "one")
    small = replace(method_of(settings), cell=32)
    monkeypatch.setattr("spaceeye_stac.jobs.method_of", lambda _: small)
    se.run(simulated_query, settings, out=tmp_path / "many")
    checked = 0
    for path in sorted((tmp_path / "one").rglob("*.tif")):
        if path.stem in {"B02", "B04", "B11", "clear_distance"}:  # widths of the intervals are a cell's own
            with (
                rasterio.open(path) as one,
                rasterio.open(tmp_path / "many" / path.relative_to(tmp_path / "one")) as two,
            ):
                np.testing.assert_array_equal(one.read(), two.read())
            checked += 1
    assert checked == 24 * 4


def test_the_survey_of_a_large_region_dilates_by_the_same_metres_on_its_own_grid(simulated_query: se.Query) -> None:
    scenes = search(simulated_query)
    job = plan_job(scenes, simulated_query, se.Settings(mask_dilation=80))
    total = day_totals(job)
    coarse = job.grid.geobox.zoom_out(4)
    stacked = load(job.scenes, coarse.pad(2), resampling=dict.fromkeys(job.bands, "nearest"), sign=signed)
    clear = np.isin(stacked.labels, (4, 5, 6, 7))
    expected = [
        (c & far_from(~c & (labels != NO_LABEL) & (labels > 1), 2))[2:-2, 2:-2].sum()
        for c, labels in zip(clear, stacked.labels, strict=True)
    ]
    assert total.clear.tolist() == expected


# scenes without their mask


def without_scl(simulated: Path, folder: Path, days: list[int]) -> tuple[Path, list[str]]:
    """A catalog in which the scenes of these visits have no mask."""
    catalog = with_asset(simulated, folder, "spare", boolean)
    paths = items_of(catalog)
    names = [sorted(paths)[day] for day in days]
    for name in names:
        edit(paths[name], lambda item: item["assets"].pop("SCL"))
    return catalog, names


def test_a_scene_without_its_mask_is_refused_cleared_or_dropped(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog, (name,) = without_scl(simulated, tmp_path / "catalog", [8])
    query = replace(simulated_query, catalog=catalog)
    with pytest.raises(ItemError, match=f"{name} fits no profile .*: it has no mask asset"):
        search(query)
    dropped = search(replace(query, unmasked="drop"))
    assert name not in {scene.id for scene in dropped}
    assert f"Scene {name} left out: it has no mask asset." in dropped.left_out
    cleared = replace(query, unmasked="clear")
    scenes = search(cleared)
    assert [scene.id for scene in scenes if scene.labels is None] == [name]
    assert len(scenes) == len(dropped) + 1
    assert f"Scene {name}: it has no mask asset; taken as clear." in scenes.left_out
    job = plan_job(scenes, cleared, se.Settings(mask_dilation=100))
    clear = observe_part(job, job.grid.geobox).clear[[scene.id for scene in job.scenes].index(name)]
    assert clear.all()


def test_nothing_left_after_dropping_is_said_so(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    catalog, _ = without_scl(simulated, tmp_path / "catalog", list(range(len(items_of(simulated)))))
    with pytest.raises(NoScenesError, match="0 of them with a mask"):
        search(replace(simulated_query, catalog=catalog, unmasked="drop"))


def test_a_run_of_scenes_all_taken_as_clear_publishes_them_as_they_are(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog, _ = without_scl(simulated, tmp_path / "catalog", list(range(len(items_of(simulated)))))
    query = replace(simulated_query, catalog=catalog, unmasked="clear")
    se.run(query, se.Settings(damping_factor=1e-6, normalize_illuminance=False), out=tmp_path / "out")
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    item = next(collection.get_items())
    with rasterio.open(tmp_path / "out" / item.id / "B04.tif") as day:
        mine, bounds = day.read(1).astype(int), day.bounds
    scene = next(s for s in search(query) if item.datetime is not None and s.day == item.datetime.date())
    with rasterio.open(scene.bands["B04"].href) as source:
        window = source.window(*bounds).round_lengths().round_offsets()
        assert np.abs(mine - source.read(1, window=window)).max() <= 1


def test_level_1c_stays_refused_and_so_does_hls() -> None:
    hls = next(material("stac-items").glob("lpdaac__*/*.json"))
    for choice in (MaskChoice(unmasked="clear"), MaskChoice("boolean", "Fmask", (0,)), MaskChoice(separate=True)):
        with pytest.raises(ItemError, match="is Level-1C"):
            scenes_from_items([{**base_item(), "id": "S2A_MSIL1C_20200101T000000"}], mask=choice)
        with pytest.raises(ItemError, match="Harmonized Landsat Sentinel-2 data, whose bands have other names"):
            scenes_from_items([read_item(hls)], mask=choice)


# which asset it is


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
