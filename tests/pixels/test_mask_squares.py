"""A mask model gives the same verdict of a pixel however a region is cut, and the mask that it is asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import uniform_filter

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.model import CLEAR, CLOUD, UNKNOWN, Block, GridJob
from spaceeye_stac.pixels.first_pass import day_totals, observe_part
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.mask_squares import asked_share, asking_bytes, model_bands, verdicts_of
from spaceeye_stac.pixels.masks import Classified, with_model
from spaceeye_stac.pixels.scene_pixels import CachedPixels, MemoryPixels, read_part
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources.selection import search
from tests.support.mask_models import Dark, Net, Restless

KINDS = {"clear": (True, False), "cloud": (False, True), "": (False, False)}


@pytest.fixture(scope="module")
def query(simulated_query: se.Query) -> se.Query:
    return replace(simulated_query, bands=["B04", "B11"], datetime="2023-04-01/2023-04-07")


def job_of(query: se.Query, model: Any, **options: Any) -> GridJob:
    asked = se.Settings(mask_model=model, duration=7, **options)
    return grid_job(search(query, asked), query, asked)


def all_of(job: GridJob) -> np.ndarray:
    return np.stack(verdicts_of(job, job.scenes, job.grid.geobox, job.grid.geobox).images)


def reflectance_around(job: GridJob, bands: tuple[str, ...], pixels: int) -> np.ndarray:
    """Reflectance `(scene, band, y, x)` of the grid and so many pixels around it, read at once."""
    scenes = [scene.with_bands(bands) for scene in job.scenes]
    found = load(scenes, job.grid.geobox.pad(pixels), resampling=dict.fromkeys(bands, "nearest"), sign=signed).values
    offsets = np.array([[asset.offset for asset in scene.bands.values()] for scene in scenes])[..., None, None]
    return np.asarray(np.where(found == 0, 0, np.maximum(found * 1e-4 + offsets, 1e-4)), np.float32)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("and", "clear cloud - / cloud cloud cloud / - cloud -"),
        ("or", "clear clear clear / clear cloud cloud / clear cloud -"),
        ("instead", "clear cloud - / clear cloud - / clear cloud -"),
    ],
)
def test_and_or_and_instead_of_a_mask(use: str, expected: str) -> None:
    """Rows: the mask says clear, cloud, nothing; columns: so does the model."""
    said = [one.split() for one in expected.split("/")]
    for row, first in enumerate(KINDS):
        labelled = Classified(*(np.full(3, kind) for kind in KINDS[first]))
        found = with_model(labelled, np.array([CLEAR, CLOUD, UNKNOWN], np.uint8), use)
        assert not (found.clear & found.cloud).any()
        assert np.select([found.clear, found.cloud], ["clear", "cloud"], "-").tolist() == said[row]


def mean_of(size: int) -> Callable[[Any, float], Any]:
    def model(bands: Any, _metres: float) -> Any:
        return uniform_filter(bands[0].astype(np.float64), size, mode="constant") < 0.12

    model.bands, model.halo, model.side = ("B03",), size // 2, 32  # type: ignore[attr-defined]
    return model


def test_a_model_that_looks_around_sees_what_is_around(query: se.Query) -> None:
    """Against one look at everything: squares show no border, neither inside of the grid nor at its edge."""
    job = job_of(query, mean_of(9))
    around = reflectance_around(job, ("B03",), 4)[:, 0].astype(np.float64)
    smooth = np.stack([uniform_filter(image, 9, mode="constant") for image in around])[:, 4:-4, 4:-4]
    expected = np.where(around[:, 4:-4, 4:-4] == 0, UNKNOWN, np.where(smooth < 0.12, CLEAR, CLOUD))
    assert min(job.grid.shape) > 2 * 32
    assert {CLEAR, CLOUD} <= set(np.unique(expected))
    undecided = np.abs(smooth - 0.12) < 1e-12
    np.testing.assert_array_equal(all_of(job)[~undecided], expected[~undecided])


@pytest.mark.parametrize(("model", "crs"), [(Restless(), None), (Restless(), "EPSG:32632"), (Net(), None)])
def test_a_verdict_does_not_depend_on_the_cut(query: se.Query, model: Any, crs: str | None) -> None:
    job = job_of(query, model, crs=crs, resolution=10)
    whole = all_of(job)
    assert {CLEAR, CLOUD} <= set(np.unique(whole))
    for cell in job.grid.cells(53, halo=7):
        found = read_part(job, job.grid.part(cell.view)).verdicts
        np.testing.assert_array_equal(found, whole[:, cell.view.y, cell.view.x])


@pytest.fixture(scope="module")
def dilated(query: se.Query) -> dict[float, tuple[GridJob, np.ndarray]]:
    """Jobs of one scene by their dilation, and what of all their pixels is clear."""
    one = replace(query, datetime="2023-04-04")
    jobs = {metres: job_of(one, Restless(), mask_dilation=metres) for metres in (0.0, 10.0, 65.0)}
    return {metres: (job, observe_part(job, job.grid.geobox).clear) for metres, job in jobs.items()}


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_nor_on_any_part_and_any_dilation(
    data: st.DataObject, dilated: dict[float, tuple[GridJob, np.ndarray]]
) -> None:
    job, whole = dilated[data.draw(st.sampled_from(sorted(dilated)))]
    sides = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in job.grid.shape
    ]
    block = Block(*(slice(*side) for side in sides))
    np.testing.assert_array_equal(observe_part(job, job.grid.part(block)).clear, whole[:, block.y, block.x])


def test_what_is_kept_in_memory_keeps_the_verdicts(query: se.Query) -> None:
    job = job_of(query, Restless(), mask_dilation=20.0)
    everything = Block(*(slice(0, side) for side in job.grid.shape))
    part = Block(slice(11, 50), slice(30, 31))
    expected = read_part(job, job.grid.part(part))
    for source in (CachedPixels(job, everything), MemoryPixels(read_part(job, job.grid.geobox), everything)):
        found = source.pixels(range(len(job.scenes)), part)
        np.testing.assert_array_equal(found.verdicts, expected.verdicts)
        np.testing.assert_array_equal(found.labels, expected.labels)
    assert expected.verdicts[0].shape == (39 + 4, 1 + 4)
    assert not read_part(replace(job, settings=se.Settings()), job.grid.part(part)).verdicts


@pytest.mark.parametrize("use", ["and", "or", "instead"])
def test_clear_is_what_the_labels_and_the_model_say_of_it(query: se.Query, use: str) -> None:
    """The model reads a band that is not published, and no pixel that it takes for cloud is used."""
    job = job_of(query, Dark("B03", 0.12), mask_model_use=use)
    assert job.bands == ("B04", "B11")
    assert model_bands(job) == ("B03",)
    dark = (reflectance_around(job, ("B03",), 0)[:, 0] < 0.12) & (reflectance_around(job, ("B03",), 0)[:, 0] > 0)
    labelled = observe_part(replace(job, settings=se.Settings()), job.grid.geobox).clear
    seen = observe_part(job, job.grid.geobox)
    data = (reflectance_around(job, job.bands, 0) > 0).all(axis=1)
    expected = {"and": labelled & dark, "or": labelled | dark, "instead": dark}[use] & data
    assert len(job.scenes) == len(job.acquisitions)
    np.testing.assert_array_equal(seen.clear, expected)
    assert (labelled != expected).any()
    assert (seen.values[:, ~expected] == 0).all()


def test_clouds_of_the_model_are_dilated_as_those_of_the_mask(query: se.Query) -> None:
    plain, wide = (job_of(query, Dark("B03", 0.12), mask_model_use="instead", mask_dilation=m) for m in (0.0, 30.0))
    around = np.stack(verdicts_of(plain, plain.scenes, plain.grid.geobox.pad(3), plain.grid.geobox.pad(3)).images)
    y, x = np.mgrid[-3:4, -3:4]
    disc = np.argwhere(y**2 + x**2 <= 9)
    height, width = plain.grid.shape
    near = np.stack([around[:, dy : dy + height, dx : dx + width] == CLOUD for dy, dx in disc]).any(axis=0)
    before, after = (observe_part(job, job.grid.geobox).clear for job in (plain, wide))
    np.testing.assert_array_equal(after, before & ~near)
    assert after.sum() < before.sum()


def test_a_survey_asks_at_a_resolution_that_the_model_knows(query: se.Query) -> None:
    asked: list[float] = []

    def model(bands: Any, metres: float) -> Any:
        asked.append(metres)
        return bands[0] < 0.12

    model.bands, model.halo = ("B03",), 0  # type: ignore[attr-defined]
    job = job_of(query, model, mask_model_use="instead")
    fine, coarse = all_of(job), job.grid.geobox.zoom_out(4)
    asked.clear()
    total = day_totals(job)
    assert set(asked) == {10.0}
    rows, columns = (4 * np.arange(n) + 2 for n in coarse.shape)
    padded = np.pad(fine, ((0, 0), (0, 3), (0, 3)))
    inside = np.ix_(np.arange(len(fine)), rows[rows < job.grid.shape[0]], columns[columns < job.grid.shape[1]])
    said = np.stack(verdicts_of(job, job.scenes, coarse, coarse).images)
    np.testing.assert_array_equal(said[:, : inside[1].shape[1], : inside[2].shape[2]], padded[inside])
    assert (total.clear <= (said == CLEAR).sum(axis=(1, 2))).all()
    assert total.clear.sum() > 0
    for coarsest, metres in ((20.0, 20.0), (35.0, 30.0), (1000.0, 40.0)):
        model.coarsest = coarsest  # type: ignore[attr-defined]
        asked.clear()
        day_totals(job)
        assert set(asked) == {metres}
        asked.clear()
        all_of(job)
        assert set(asked) == {10.0}


def test_a_small_region_is_one_square_with_what_is_around_it(query: se.Query) -> None:
    shapes: list[tuple[int, ...]] = []

    def model(bands: Any, _metres: float) -> Any:
        shapes.append(bands.shape)
        return bands[0] > 0

    job = job_of(query, model)
    all_of(job)
    height, width = job.grid.shape
    assert set(shapes) == {(2, height + 128, width + 128)}
    assert len(shapes) == len(job.scenes)


def test_what_it_costs_is_counted(query: se.Query) -> None:
    job, none = job_of(query, Net()), job_of(query, None)
    assert asking_bytes(none) == asked_share(none, surveyed=True) == 0
    assert model_bands(none) == ()
    assert asking_bytes(job) > 2 * 72**2 * (4 + 2)
    assert asked_share(job, surveyed=False) == pytest.approx((72 / 64) ** 2)
    assert asked_share(job, surveyed=True) == pytest.approx(2 * (72 / 64) ** 2)


def test_a_scene_that_ends_inside_of_a_square(simulated_query: se.Query) -> None:
    """Beyond its raster a model has no data, and says nothing."""
    job = job_of(replace(simulated_query, datetime="2023-04-01"), Restless())
    geobox = job.grid.geobox
    far = GeoBox(geobox.shape, geobox.transform * geobox.transform.translation(60, 50), geobox.crs)
    said = np.stack(verdicts_of(job, job.scenes, far, far).images)
    dn = load(
        [scene.with_bands(Restless.bands) for scene in job.scenes],
        far,
        resampling=dict.fromkeys(Restless.bands, "nearest"),
        sign=signed,
    ).values
    np.testing.assert_array_equal(said == UNKNOWN, (dn == 0).any(axis=1))
    assert {UNKNOWN, CLEAR, CLOUD} == set(np.unique(said))
