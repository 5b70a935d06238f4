"""Which pixels a mask says are clear, as its values stand, and what lies near cloud."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.model import NO_LABEL, Mask
from spaceeye_stac.pixels.first_pass import day_totals, observe_part
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.masks import Classified, away_from_cloud, classify, clear_from_labels, observed
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources.selection import search
from tests.support.items import labels_of
from tests.support.mask_catalogs import probability, with_asset

SCL = Mask("x.tif", 1.0, 0.0, 0, 20.0)
VALUES = np.array([0, 1, 3, 4, 7, 8, 11, NO_LABEL], np.uint16)


def told(judged: Classified) -> list[str]:
    """Each pixel as "clear", "cloud" or "", and never both."""
    assert not (judged.clear & judged.cloud).any()
    return [str(one) for one in np.select([judged.clear, judged.cloud], ["clear", "cloud"], "")]


def test_only_the_chosen_classes_are_clear_and_nodata_never_is() -> None:
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert np.flatnonzero(clear_from_labels(labels, (4, 5, 6, 7))).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(clear_from_labels(labels, (0, 2, 11))).tolist() == [2, 11]


def test_no_data_and_defects_are_neither_clear_nor_cloud() -> None:
    assert told(classify(VALUES, SCL, se.Settings())) == ["", "", "cloud", "clear", "clear", "cloud", "cloud", ""]


def test_probability_is_clear_up_to_the_threshold_and_0_is_sure_to_be_clear() -> None:
    labels = np.array([0, 25, 40, 41, 100, 101, 255, NO_LABEL], np.uint16)
    mask = replace(SCL, kind="probability", nodata=255)
    expected = ["clear", "clear", "clear", "cloud", "cloud", "", "", ""]
    assert told(classify(labels, mask, se.Settings())) == expected
    lower = told(classify(labels, mask, se.Settings(max_cloud_probability=25)))
    assert lower == ["clear", "clear", "cloud", "cloud", "cloud", "", "", ""]
    of_255 = replace(mask, scale=100 / 255, nodata=NO_LABEL)
    assert told(classify(np.array([0, 102, 103, 255], np.uint16), of_255, se.Settings())) == [
        "clear",
        "clear",
        "cloud",
        "cloud",
    ]


def test_of_a_boolean_mask_the_named_values_are_clear() -> None:
    labels = np.array([0, 1, 2, 255, NO_LABEL], np.uint16)
    mask = replace(SCL, kind="boolean", nodata=255, clear_values=(0, 2))
    assert told(classify(labels, mask, se.Settings())) == ["clear", "cloud", "clear", "", ""]


def test_without_a_mask_everything_is_clear() -> None:
    assert set(told(classify(VALUES, None, se.Settings()))) == {"clear"}


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
    judged = Classified(kinds == 0, kinds == 1)  # 2: nothing is said
    np.testing.assert_array_equal(away_from_cloud(judged, reach), (kinds == 0) & far_from(kinds == 1, reach))


def test_the_edge_of_a_swath_loses_nothing() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[:, 7:] = 4
    judged = classify(labels, SCL, se.Settings())
    np.testing.assert_array_equal(away_from_cloud(judged, 5), labels == 4)


def test_a_stricter_threshold_leaves_less_clear(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    catalog = with_asset(simulated, tmp_path / "catalog", "cloud", probability)
    query = replace(simulated_query, catalog=catalog, mask="probability", profile="generic")
    scenes = search(query)
    assert {labels_of(scene).kind for scene in scenes} == {"probability"}
    shares = []
    for most in (0, 39, 40, 41, 100):
        job = grid_job(scenes, query, se.Settings(max_cloud_probability=most))
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


@pytest.mark.parametrize("crs", [None, "EPSG:32632"])
@pytest.mark.parametrize("metres", [10.0, 45.0, 200.0])
def test_dilation_is_the_same_however_the_grid_is_cut(
    simulated_query: se.Query, metres: float, crs: str | None
) -> None:
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-04/2023-04-09")
    settings = se.Settings(mask_dilation=metres, crs=crs, resolution=10, duration=6)
    job = grid_job(search(query, settings), query, settings)
    whole = observe_part(job, job.grid.geobox).clear
    for cell in job.grid.cells(61, halo=5):
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


def test_the_survey_of_a_large_region_dilates_by_the_same_metres_on_its_own_grid(simulated_query: se.Query) -> None:
    scenes = search(simulated_query)
    job = grid_job(scenes, simulated_query, se.Settings(mask_dilation=80))
    total = day_totals(job)
    coarse = job.grid.geobox.zoom_out(4)
    stacked = load(job.scenes, coarse.pad(2), resampling=dict.fromkeys(job.bands, "nearest"), sign=signed)
    clear = np.isin(stacked.labels, (4, 5, 6, 7))
    expected = [
        (c & far_from(~c & (labels != NO_LABEL) & (labels > 1), 2))[2:-2, 2:-2].sum()
        for c, labels in zip(clear, stacked.labels, strict=True)
    ]
    assert total.clear.tolist() == expected
