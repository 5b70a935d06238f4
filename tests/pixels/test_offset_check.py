import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.keyframes.store import KeyframeStore
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.pixels.first_pass import sample_part
from spaceeye_stac.pixels.offset_check import SAMPLE_PIXELS, Sample, Sampling, offset_warnings
from spaceeye_stac.sources.selection import search
from tests.support.command import as_bbox, command
from tests.support.damped import DAMPED
from tests.support.items import NOON, edit, items_of, scene
from tests.support.material import BE_BBOX
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells

RNG = np.random.default_rng(9)


def sample_of(*images: np.ndarray) -> list[Sample]:
    """Samples of scenes `(band, n)`."""
    places = np.arange(images[0].shape[1])
    return [Sample(np.stack(images).astype(np.float32), places, places)]


def dates(*gaps: int, tile: str = "31UDS") -> list[Scene]:
    return [scene(f"s{gap}", NOON.replace(day=1 + gap), tile) for gap in gaps]


def ground(bands: int = 4, pixels: int = 2000) -> np.ndarray:
    """Dark to bright ground that differs from band to band."""
    return np.outer(np.linspace(1, 2, bands), RNG.uniform(0.02, 0.3, pixels)) + RNG.normal(0, 0.005, (bands, pixels))


def noisy(image: np.ndarray) -> np.ndarray:
    return np.asarray(image + RNG.normal(0, 0.01, image.shape))


@pytest.mark.parametrize("shift", [-0.1, 0.1])
def test_a_constant_shift_of_1000_dn_in_every_band_is_named_with_both_scenes(shift: float) -> None:
    one = ground()
    ((warning, scenes),) = offset_warnings(dates(0, 8), sample_of(one, noisy(one + shift))).items()
    assert scenes == ("s0", "s8")
    assert warning.startswith(
        "Scenes s0 (baseline unknown, offset 0) and s8 (baseline unknown, offset 0) of tile 31UDS"
    )
    assert f"8 days apart, differ by {'+' if shift > 0 else '-'}" in warning
    assert "offset rule of the profile" in warning


@pytest.mark.parametrize(
    "other",
    [
        lambda one: one,
        lambda one: one + 0.05,
        lambda one: one + 0.2,
        lambda one: one * 1.5,  # a brighter day
        lambda one: one + np.array([[0.12], [0.09], [0.04], [0.02]]),  # haze fades with the wavelength
        lambda one: one + np.array([[0.1], [0.1], [-0.1], [-0.1]]),  # flood
        lambda one: 0.8 * one + 0.2 * RNG.uniform(0, 1, one.shape[1]),  # cloud that was not found
        lambda one: np.where(RNG.random(one.shape[1]) < 0.4, one + 0.1, one),  # a part of the pixels alone
    ],
)
def test_what_the_ground_and_the_air_do_gives_no_alarm(other: object) -> None:
    one = ground()
    assert callable(other)
    assert offset_warnings(dates(0, 5), sample_of(one, noisy(other(one)))) == {}


def test_one_band_few_pixels_another_tile_and_eleven_days_tell_nothing() -> None:
    one = ground()
    shifted = noisy(one + 0.1)
    assert offset_warnings(dates(0, 10), sample_of(one, shifted))
    assert offset_warnings(dates(0, 11), sample_of(one, shifted)) == {}
    assert offset_warnings(dates(0, 5), sample_of(one[:1], shifted[:1])) == {}
    assert offset_warnings(dates(0, 5), sample_of(one[:, :99], shifted[:, :99])) == {}
    assert offset_warnings([*dates(0), *dates(5, tile="31UES")], sample_of(one, shifted)) == {}
    hidden = np.where(np.arange(2000) < 1950, np.nan, shifted)
    assert offset_warnings(dates(0, 5), sample_of(one, hidden)) == {}


def test_reflectance_below_zero_counts_as_it_is() -> None:
    """An offset subtracted twice takes dark ground below 0; published values stop at 0.0001, the check does not."""
    dark = ground() / 10
    assert (dark - 0.1 < 0).mean() > 0.9
    assert len(offset_warnings(dates(0, 5), sample_of(dark, noisy(dark - 0.1)))) == 1


def test_of_many_scenes_with_one_wrong_every_pair_with_it_is_named_and_no_other() -> None:
    one = ground()
    images = [noisy(one + (0.1 if n == 2 else 0)) for n in range(5)]
    found = offset_warnings(dates(0, 3, 6, 9, 12), sample_of(*images))
    assert len(found) == 4
    assert all("s6 (" in text for text in found)


def test_the_facts_of_each_scene_stand_in_the_warning() -> None:
    one = ground()
    new = BandAsset("x.tif", 1e-4, -0.1, 0, 10.0)
    first, second = dates(0, 5)
    second = replace(second, baseline="04.00", bands={"B02": new}, profile="planetary-computer")
    (warning,) = offset_warnings([first, second], sample_of(one, noisy(one - 0.1)))
    assert "s5 (baseline 04.00, offset -0.1)" in warning
    assert "the offset rule of the profile planetary-computer" in warning


# real and simulated catalogs


def sampled(catalog: Path, query: se.Query) -> dict[str, tuple[str, str]]:
    """The warnings of a whole catalog as a run makes them."""
    scenes = search(query, se.Settings(duration="all"))
    job = grid_job(scenes, query, se.Settings(duration="all"))
    found = sample_part(job, job.grid.geobox)
    assert np.isfinite(found.values).any(axis=(1, 2)).sum() > 60, catalog
    return offset_warnings(job.scenes, [found])


@pytest.mark.parametrize("site", ["belgium", "tanzania"])
def test_no_alarm_on_years_of_real_scenes(site: str, request: pytest.FixtureRequest) -> None:
    catalog: Path = request.getfixturevalue(site)
    items = [json.loads(path.read_text()) for path in items_of(catalog).values()]
    days = sorted(item["properties"]["datetime"][:10] for item in items)
    query = se.Query(catalog=catalog, bbox=items[0]["bbox"], datetime=f"{days[0]}/{days[-1]}")
    assert sampled(catalog, query) == {}


def falsified(catalog: Path, folder: Path, name: str) -> Path:
    """A copy in which one item claims a baseline whose offset its pixels do not have."""
    shutil.copytree(catalog.parent, folder)
    copy = folder / catalog.name
    edit(items_of(copy)[name], lambda item: item["properties"].update({"s2:processing_baseline": "04.00"}))
    return copy


@pytest.mark.slow
def test_a_falsified_baseline_in_real_data_is_told_by_a_run(belgium: Path, tmp_path: Path) -> None:
    wrong = "S2_MSIL2A_20180705T105427_T31UDS"
    catalog = falsified(belgium, tmp_path / "catalog", wrong)
    bbox, out = as_bbox(BE_BBOX), tmp_path / "out"
    line = ("run", "--bbox", bbox, "--datetime", "2018-07-01/2018-07-12", "--duration", "20", "--out", out)
    done = command(*line, "--catalog", catalog)
    assert done.returncode == 0, done.stderr
    told = [text for text in done.stderr.splitlines() if text.startswith("Warning: ")]
    assert told
    assert all(f"{wrong} (baseline 04.00, offset -0.1)" in text for text in told)
    others = {name for name in items_of(catalog) for text in told if name in text} - {wrong}
    assert "S2_MSIL2A_20180708T110215_T31UDS" in others
    collection = pystac.Collection.from_file(str(out / "collection.json"))
    assert [f"Warning: {text}" for text in collection.extra_fields["spaceeye:warnings"]] == told
    done = command(*line, "--overwrite", "--catalog", belgium)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "spaceeye:warnings" not in json.loads((out / "collection.json").read_text())


@pytest.fixture
def shifted(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> tuple[se.Query, str]:
    """A query of a catalog in which all pixels of one scene are 1000 DN too high, and that scene's id."""
    shutil.copytree(simulated.parent, tmp_path / "catalog")
    catalog = tmp_path / "catalog" / simulated.name
    wrong = next(s.id for s in search(simulated_query) if s.day.day == 10 and s.day.month == 4)
    for band in ("B02", "B04", "B11"):
        with rasterio.open(items_of(catalog)[wrong].with_name(f"{band}.tif"), "r+", IGNORE_COG_LAYOUT_BREAK="YES") as f:
            image = f.read()
            f.write(np.where(image == 0, 0, np.minimum(image.astype(int) + 1000, 65535)).astype(np.uint16))
    return replace(simulated_query, catalog=catalog), wrong


def test_pixels_with_1000_dn_that_no_field_tells_of_are_named_however_the_grid_is_cut(
    shifted: tuple[se.Query, str], simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert se.run(simulated_query, DAMPED, out=tmp_path / "right").warnings == ()
    query, wrong = shifted
    found = se.run(query, DAMPED, out=tmp_path / "one").warnings
    assert len(found) >= 2
    assert all(wrong in text for text in found)
    solve_in_cells(monkeypatch, DAMPED, cell=32, halo=8)
    again = se.run(query, DAMPED, out=tmp_path / "many").warnings
    assert again == found


@pytest.mark.parametrize("marks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_warnings_outlive_a_run_that_dies_when_windows_are_marked(
    marks: int, shifted: tuple[se.Query, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, settings = shifted[0], se.Settings(duration=24)
    whole = se.run(query, settings, out=tmp_path / "whole").warnings
    assert whole
    mark, left = KeyframeStore.mark, [marks]

    def dying(store: KeyframeStore, *facts: Any) -> None:
        mark(store, *facts)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(KeyframeStore, "mark", dying)
        with pytest.raises(KeyboardInterrupt):
            se.run(query, settings, out=tmp_path / "out")
    assert se.run(query, settings, out=tmp_path / "out").warnings == whole


def test_a_longer_range_says_of_all_scenes_what_a_run_that_reads_all_says(
    shifted: tuple[se.Query, str], tmp_path: Path
) -> None:
    query, settings = shifted[0], se.Settings(method="damped", duration=8, normalize_illuminance=False)
    for days, name in (("01/2023-04-14", "out"), ("01/2023-04-24", "out"), ("01/2023-04-24", "fresh")):
        asked = replace(query, datetime=f"2023-04-{days}")
        last = se.run(asked, settings, out=tmp_path / name, update=name == "out")
        assert bool(last.kept) == (days != "01/2023-04-14" and name == "out")
    assert last.warnings
    assert_same_files(tmp_path / "out", tmp_path / "fresh")


def test_cells_sample_the_same_pixels_as_the_whole_and_each_once(simulated_query: se.Query) -> None:
    job = grid_job(search(simulated_query), simulated_query, se.Settings())
    whole = sample_part(job, job.grid.geobox)
    parts = [sample_part(job, job.grid.part(c.view)).inside(c.core) for c in job.grid.cells(37, halo=9)]
    rows, columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "columns"))
    order, expected = np.lexsort((columns, rows)), np.lexsort((whole.columns, whole.rows))
    np.testing.assert_array_equal(rows[order], whole.rows[expected])
    np.testing.assert_array_equal(columns[order], whole.columns[expected])
    values = np.concatenate([part.values for part in parts], axis=-1)
    np.testing.assert_array_equal(values[..., order], whole.values[..., expected])
    assert len(whole.rows) <= SAMPLE_PIXELS


def test_four_bands_are_enough(belgium: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime="2018-05-06")
    job = grid_job(search(query), query, se.Settings())
    assert [job.bands[n] for n in Sampling.of(job, job.grid.geobox).bands] == ["B02", "B05", "B08", "B12"]
