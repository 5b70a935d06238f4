"""What a run makes of masks of every kind, and of scenes without one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.errors import ItemError, ReadError
from spaceeye_stac.pixels.first_pass import observe_part
from spaceeye_stac.sources.selection import search
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.items import items_of
from tests.support.mask_catalogs import boolean, probability, with_asset, without_mask
from tests.support.same_files import assert_same_but_for_classes
from tests.support.small_cells import solve_in_cells


@pytest.mark.parametrize("nodata", [None, 255, 0])
def test_probability_beside_scl_gives_the_same_days(
    simulated: Path, simulated_query: se.Query, simulated_run: Path, tmp_path: Path, nodata: int | None
) -> None:
    """Whatever nodata the raster declares: Earth Search's says 0, which is the surest clear look."""
    catalog = with_asset(simulated, tmp_path / "catalog", "probs", probability, nodata)
    se.run(
        replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs"), DAMPED, out=tmp_path / "out"
    )
    assert_same_but_for_classes(simulated_run, tmp_path / "out")


def test_a_boolean_mask_by_the_command_line_gives_the_same_days(
    simulated: Path, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    catalog = with_asset(simulated, tmp_path / "catalog", "cloudy", boolean)
    given = ("run", *options_of(replace(simulated_query, catalog=catalog)), *BY_DAMPED)
    mask = ("--mask", "boolean", "--mask-asset", "cloudy")
    out = ("--out", tmp_path / "out")
    done = command(*given, *mask, *out)
    assert done.returncode == 2
    assert "nothing says which of its values are clear; give mask_clear_values" in done.stderr
    done = command(*given, *mask, "--mask-clear-values", "0", *out)
    assert done.returncode == 0, done.stderr
    assert_same_but_for_classes(simulated_run, tmp_path / "out")


def test_a_mask_of_fractions_is_refused_as_whole_numbers_would_make_it_clear(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog = with_asset(
        simulated, tmp_path / "catalog", "probs", lambda labels: (probability(labels) / 100).astype(np.float32)
    )
    query = replace(simulated_query, catalog=catalog, mask="probability", mask_asset="probs")
    with pytest.raises(ReadError, match=r"probs\.tif holds float32, and uint8, int8, uint16 or int16 is read"):
        se.run(query, DAMPED, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_days_do_not_depend_on_the_cells_when_masks_are_dilated(
    simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = se.Settings(method="damped", mask_dilation=40, normalize_illuminance=False, min_clear_ratio=0)
    se.run(simulated_query, settings, out=tmp_path / "one")
    solve_in_cells(monkeypatch, settings, cell=32)
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


def test_a_scene_without_its_mask_is_refused_cleared_or_dropped(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog, (name,) = without_mask(simulated, tmp_path / "catalog", [8])
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
    job = grid_job(scenes, cleared, se.Settings(method="damped", mask_dilation=100))
    clear = observe_part(job, job.grid.geobox).clear[[scene.id for scene in job.scenes].index(name)]
    assert clear.all()


def test_a_run_of_scenes_all_taken_as_clear_publishes_them_as_they_are(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    catalog, _ = without_mask(simulated, tmp_path / "catalog", list(range(len(items_of(simulated)))))
    query = replace(simulated_query, catalog=catalog, unmasked="clear")
    se.run(query, se.Settings(method="damped", damping_factor=1e-6, normalize_illuminance=False), out=tmp_path / "out")
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    item = next(collection.get_items())
    with rasterio.open(tmp_path / "out" / item.id / "B04.tif") as day:
        mine, bounds = day.read(1).astype(int), day.bounds
    scene = next(s for s in search(query) if item.datetime is not None and s.day == item.datetime.date())
    with rasterio.open(scene.bands["B04"].href) as source:
        window = source.window(*bounds).round_lengths().round_offsets()
        assert np.abs(mine - source.read(1, window=window)).max() <= 1
