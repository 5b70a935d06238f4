"""What a run makes of a mask model: in Python and on the command line, on any workers and in any memory."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.engine import budget
from spaceeye_stac.engine.jobs import grid_job, layout_of
from spaceeye_stac.errors import InvalidInputError, ItemError, NoClearLookError, OutputError
from spaceeye_stac.resources import Resources
from spaceeye_stac.sources.selection import search
from tests.support.command import command, options_of
from tests.support.damped import DAMPED
from tests.support.items import items_of
from tests.support.mask_catalogs import without_mask, write_like
from tests.support.mask_models import Dark, Net, Restless, install
from tests.support.same_files import assert_same_but_for_classes, assert_same_files, assert_same_rasters
from tests.support.small_catalog import small_items, small_query, written
from tests.support.small_cells import solve_in_cells

# a pixel's own looks alone make it
EACH: dict[str, Any] = {"method": "damped", "normalize_illuminance": False, "min_clear_ratio": 0.0}


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    """Four scenes of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp("small")
    return small_query(written(small_items(folder), folder))


def anything(bands: Any, _metres: float) -> Any:
    return bands[0] >= 0


def nothing(bands: Any, _metres: float) -> Any:
    return np.ones(bands.shape[1:])


def bands_of(folder: Path) -> dict[str, np.ndarray]:
    """Every published band and the clear distance, by day and name."""
    found = {}
    for path in sorted(folder.rglob("*.tif")):
        if path.stem in {"B02", "B04", "clear_distance"}:
            with rasterio.open(path) as image:
                found[f"{path.parent.name[-10:]} {path.stem}"] = image.read(1)
    return found


def assert_same_bands(one: Path, other: Path) -> None:
    first, second = bands_of(one), bands_of(other)
    assert first.keys() == second.keys()
    assert len(first) >= 3 * 10
    for key, image in first.items():
        np.testing.assert_array_equal(image, second[key], key)


def test_pixels_that_a_model_calls_cloud_are_not_used(query: se.Query, tmp_path: Path) -> None:
    def left_half(bands: Any, _metres: float) -> Any:
        clear = bands[0] >= 0
        clear[:, : clear.shape[1] // 2] = False
        return clear

    left_half.halo = 0  # type: ignore[attr-defined]
    se.run(query, se.Settings(**EACH), out=tmp_path / "plain")
    se.run(query, se.Settings(mask_model=left_half, **EACH), out=tmp_path / "half")
    plain, half = bands_of(tmp_path / "plain"), bands_of(tmp_path / "half")
    assert plain.keys() == half.keys()
    for key, image in half.items():
        middle = image.shape[1] // 2
        assert (image[:, :middle] == (255 if "clear" in key else 0)).all()
        np.testing.assert_array_equal(image[:, middle:], plain[key][:, middle:])
        assert (plain[key][:, :middle] != image[:, :middle]).any()
    (item,) = list(pystac.Collection.from_file(str(tmp_path / "half" / "collection.json")).get_items())[:1]
    assert item.properties["processing:lineage"].endswith(
        "scenes, clear pixels by the mask model left_half and their masks."
    )


def test_a_model_in_the_place_of_masks_needs_none(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    """All clear instead of the mask is what scenes without one are."""
    short = replace(simulated_query, datetime="2023-04-01/2023-04-12")
    bare, _ = without_mask(simulated, tmp_path / "catalog", list(range(len(items_of(simulated)))))
    settings = se.Settings(mask_model=anything, mask_model_use="instead")
    se.run(short, settings, out=tmp_path / "instead")
    se.run(replace(short, catalog=bare, unmasked="clear"), out=tmp_path / "bare")
    assert_same_but_for_classes(tmp_path / "bare", tmp_path / "instead")


def test_a_model_that_says_nothing_new_changes_nothing(
    simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    se.run(simulated_query, replace(DAMPED, mask_model=anything), out=tmp_path / "and")
    assert_same_rasters(simulated_run, tmp_path / "and")


def least(query: se.Query, settings: se.Settings, how: budget.Batching) -> int:
    """Memory with which one cell just fits."""
    job = grid_job(search(query, settings), query, settings)
    taken = budget.solving_bytes(job, layout_of(job), layout_of(job).groups(1)[0], how)
    return int(budget.PROGRAM_BYTES + budget.SPARE * taken) + 2


@pytest.mark.parametrize("method", ["damped", "surface"])
def test_days_do_not_depend_on_memory(query: se.Query, method: str, tmp_path: Path) -> None:
    settings = se.Settings(mask_model=Restless(), mask_model_use="instead", method=method, mask_dilation=20)
    memory = least(query, settings, budget.Batching(rows=32, cached=False))
    job = grid_job(search(query, settings), query, settings)
    assert not budget.Budget(memory, 2).solving(job, layout_of(job)).cached
    se.run(query, settings, out=tmp_path / "held")
    se.run(query, settings, out=tmp_path / "strips", resources=Resources(memory=memory))
    assert_same_files(tmp_path / "held", tmp_path / "strips")


@pytest.mark.parametrize("model", [Restless(), Net()], ids=["restless", "net"])
def test_days_do_not_depend_on_the_cells(
    query: se.Query, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = se.Settings(mask_model=model, mask_model_use="instead", mask_dilation=20, **EACH)
    se.run(query, settings, out=tmp_path / "one")
    solve_in_cells(monkeypatch, settings, cell=24)
    se.run(query, settings, out=tmp_path / "many", resources=Resources(workers=3))
    assert_same_bands(tmp_path / "one", tmp_path / "many")


def test_a_module_goes_to_processes(query: se.Query, tmp_path: Path) -> None:
    settings = se.Settings(mask_model=Net(), mask_model_use="or")
    se.run(query, settings, out=tmp_path / "threads")
    se.run(query, settings, out=tmp_path / "processes", resources=Resources(scheduler="processes", workers=2))
    assert_same_files(tmp_path / "threads", tmp_path / "processes")


def test_the_command_and_its_processes_take_installed_models(query: se.Query, tmp_path: Path) -> None:
    path = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(install(tmp_path / "packages")), os.environ.get("PYTHONPATH")])
        ),
    }
    line = ("run", *options_of(query), "--out", tmp_path / "out", "--mask-model")
    done = command(*line, "dark", "--mask-model-use", "instead", "--scheduler", "processes", "--workers", "1", env=path)
    assert done.returncode == 0, done.stderr
    se.run(query, se.Settings(mask_model=Dark("B03", 0.2), mask_model_use="instead"), out=tmp_path / "python")
    assert_same_bands(tmp_path / "out", tmp_path / "python")
    again = command(*line, "dark", env=path)
    assert again.returncode == 2
    assert "already holds a run" in again.stderr
    done = command(*line, "bright", env=path)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "Error: mask_model 'bright' is not allowed; choose from dark, gone, lost, number, or bring a callable."
    )


def test_a_cube_and_scores_are_made_of_what_the_model_calls_clear(query: se.Query) -> None:
    scenes = se.search(query)
    assert "B03" not in scenes[0].bands
    settings = se.Settings(mask_model=Dark("B03", 0.2), mask_model_use="instead", **EACH)
    cube = se.interpolate(scenes, query, settings)
    plain = se.interpolate(scenes, query, se.Settings(**EACH))
    days = [np.datetime64(scene.day) for scene in scenes]
    seen, before = ((one.clear_distance.sel(time=days) == 0).to_numpy() for one in (cube, plain))
    job = grid_job(scenes, query, settings)
    expected = np.stack([_dark(scene, job.grid.geobox) for scene in scenes])
    np.testing.assert_array_equal(seen, expected)
    assert (seen != before).any()
    with pytest.raises(NoClearLookError):
        se.evaluate(scenes, query, se.Settings(mask_model=nothing), methods=["linear"], limit=1)
    same = [
        se.evaluate(scenes, query, se.Settings(mask_model=model), methods=["linear"]).as_json()
        for model in (None, anything)
    ]
    assert same[0] == same[1]


def _dark(scene: se.Scene, geobox: Any) -> np.ndarray:
    """Where B03 of a scene is below 0.2, by rasterio alone."""
    asset, whole = scene.spare["B03"], geobox.boundingbox
    with rasterio.open(asset.href) as source:
        dn = source.read(1, window=source.window(*whole.bbox).round_lengths().round_offsets())
    return np.asarray((dn > 0) & (dn * np.float32(1e-4) + np.float32(asset.offset) < 0.2))


def test_a_plan_counts_what_a_model_reads(query: se.Query) -> None:
    def read(**options: Any) -> int:
        return se.plan(query, se.Settings(**options)).cost.read

    class Wide(Dark):
        side, halo = 64, 32

    assert read(mask_model=Dark()) == pytest.approx(1.5 * read(), rel=0.4)
    assert read(mask_model=Wide()) - read() == pytest.approx(4 * (read(mask_model=Dark()) - read()), rel=0.01)


def test_a_scene_without_a_band_that_the_model_wants_is_named(tmp_path: Path) -> None:
    items = small_items(tmp_path)
    for key in [key for key, asset in items[1]["assets"].items() if "B03" in asset["href"]]:
        del items[1]["assets"][key]
    query = small_query(written(items, tmp_path))
    settings = se.Settings(mask_model=Dark("B03"))
    said = f"^Scene {items[1]['id']} lacks B03, which mask_model Dark wants; leave the scene out with exclude, or"
    for use in (lambda: se.plan(query, settings), lambda: se.interpolate(se.search(query), query, settings)):
        with pytest.raises(ItemError, match=said):
            use()
    assert se.plan(replace(query, exclude=[items[1]["id"]]), settings).cost.read > 0
    assert se.plan(query, se.Settings(mask_model=Dark("B02"))).cost.read > 0


def test_a_spare_band_that_cannot_be_opened_drops_its_scene(tmp_path: Path) -> None:
    items = small_items(tmp_path)
    (href,) = [asset["href"] for asset in items[1]["assets"].values() if "B03" in asset["href"]]
    Path(href).unlink()
    query = small_query(written(items, tmp_path), unreadable="drop")
    settings = se.Settings(mask_model=Dark("B03"))
    assert not se.run(query, out=tmp_path / "plain").warnings
    (warning,) = se.run(query, settings, out=tmp_path / "model").warnings
    assert warning.startswith(f"Scene {items[1]['id']} left out: asset {href}")
    with pytest.raises(se.SpaceEyeError, match=f"Scene {items[1]['id']}: asset {href} "):
        se.run(replace(query, unreadable="refuse"), settings, out=tmp_path / "refused")


def test_pixels_that_are_too_large_for_a_model_are_refused(query: se.Query) -> None:
    model = Dark()
    model.coarsest = 50  # type: ignore[attr-defined]
    with pytest.raises(
        InvalidInputError, match=r"^mask_model Dark knows pixels of up to 50 m, and the output has 60 m; "
    ):
        se.plan(query, se.Settings(mask_model=model, resolution=60))


def test_what_a_model_returns_wrong_ends_a_run_with_its_sentence(query: se.Query, tmp_path: Path) -> None:
    def flat(bands: Any, _metres: float) -> Any:
        return bands.ravel()

    for scheduler in ("threads", "processes"):
        settings = se.Settings(mask_model=partial(_flat, 1) if scheduler == "processes" else flat)
        with pytest.raises(
            InvalidInputError, match=r"^mask_model (flat|partial) returned shape \(\d+,\); it must return"
        ):
            se.run(query, settings, out=tmp_path / "out", resources=Resources(scheduler=scheduler, workers=1))
    assert not (tmp_path / "out").exists()


def _flat(_one: int, bands: Any, _metres: float) -> Any:
    return bands.ravel()


def test_a_run_by_another_model_is_another_run(query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = se.run(query, se.Settings(mask_model=Dark("B03", 0.2)), out=out)
    same = se.run(query, se.Settings(mask_model=Dark("B03", 0.2)), out=out)
    assert same == replace(first, kept=first.days)
    for options in ({"mask_model": Dark("B03", 0.1)}, {"mask_model": Dark("B03", 0.2), "mask_model_use": "or"}):
        with pytest.raises(OutputError, match="already holds a run"):
            se.run(query, se.Settings(**options), out=out)
        with pytest.raises(OutputError, match=f"was asked for another {[*options][-1]}; overwrite it"):
            se.run(query, se.Settings(**options), out=out, update=True)


def test_a_band_that_the_model_alone_reads_is_read_again_when_it_changes(tmp_path: Path) -> None:
    items = small_items(tmp_path)
    query, out = small_query(written(items, tmp_path)), tmp_path / "out"
    settings = se.Settings(mask_model=Dark("B03", 0.2), mask_model_use="instead")
    se.run(query, settings, out=out)
    assert len(se.run(query, settings, out=out, update=True).kept) == 10
    (href,) = [asset["href"] for asset in items[1]["assets"].values() if "B03" in asset["href"]]
    write_like(Path(href), Path(href), lambda dn: np.full(dn.shape, 9000, np.uint16), 0)
    updated = se.run(query, settings, out=out, update=True)
    assert not updated.kept
    se.run(query, settings, out=tmp_path / "fresh")
    assert_same_bands(out, tmp_path / "fresh")
