"""Causal days: none is made from what comes after it, which is shown by what comes after it being otherwise."""

import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.collection import Flag
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.items import Json, absolute_items
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells

LAND = Simulation(shape=(40, 40), days=60, revisit=4, seed=3)
DAYS = "2023-04-01/2023-05-30"
LAST = date(2023, 4, 20)  # forty days before the end
SURFACE = se.Settings(duration=24, causal=True)
CASES = {
    "surface": SURFACE,
    "damped": replace(SURFACE, method="damped"),
    "surface, as seen": replace(SURFACE, appearance="as_seen"),
}


@dataclass(frozen=True)
class Source:
    """Items and the folder that their files lie below."""

    items: Sequence[Json]
    folder: Path

    def query(self, items: Sequence[Json], days: str = DAYS) -> se.Query:
        catalog = self.folder / "items.json"
        catalog.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
        box = LAND.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
        return se.Query(catalog=catalog, bbox=box.bbox, datetime=days, bands=["B04", "B08"])

    def until(self, day: date) -> list[Json]:
        """The items up to a day."""
        return [item for item in self.items if day_of(item) <= day]


def day_of(item: Json) -> date:
    return date.fromisoformat(item["properties"]["datetime"][:10])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("causal")
    items = sorted(absolute_items(LAND.write(folder / "catalog")), key=day_of)
    # days before the first look are among those that are asked for
    return Source([item for item in items if day_of(item) > date(2023, 4, 2)], folder)


def rasters(run: Path, last: date) -> dict[str, bytes]:
    """Every raster of the days up to `last`, by the names of day and file."""
    found = [path for path in run.glob("spaceeye_*/*.tif") if path.parent.name[-10:] <= last.isoformat()]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


@dataclass(frozen=True)
class Runs:
    """What these settings make of all scenes in `whole`, and in `ended` of those up to LAST."""

    settings: se.Settings
    whole: Path
    ended: se.Result


@pytest.fixture(scope="module", params=["surface", "damped", pytest.param("surface, as seen", marks=pytest.mark.slow)])
def runs(request: pytest.FixtureRequest, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, settings = tmp_path_factory.mktemp("runs"), CASES[request.param]
    se.run(source.query(source.items), settings, out=folder / "whole")
    ended = se.run(source.query(source.until(LAST)), settings, out=folder / "ended")
    return Runs(settings, folder / "whole", ended)


def test_a_catalog_that_ends_with_a_day_gives_the_same_days_up_to_it(runs: Runs, source: Source) -> None:
    own, its = rasters(runs.whole, LAST), rasters(runs.ended.path, LAST)
    assert own.keys() == its.keys()
    assert len(own) > 15 * 5
    assert [name for name, found in own.items() if found != its[name]] == []
    first = day_of(source.items[0])
    assert runs.ended.days[0] >= first.isoformat()
    assert {str(first - timedelta(days=1))} <= set(runs.ended.skipped)
    after = rasters(runs.whole, date(2023, 5, 30)).items() - rasters(runs.ended.path, date(2023, 5, 30)).items()
    assert len(after) > 100, "later days do see later looks"


def test_a_later_scene_that_changes_changes_no_earlier_day(runs: Runs, source: Source, tmp_path: Path) -> None:
    later = Simulation(shape=(40, 40), days=60, revisit=4, seed=11, cloudiness=0.1)
    others = [item for item in absolute_items(later.write(tmp_path / "other")) if day_of(item) > LAST]
    query = source.query([*source.until(LAST), *others])
    se.run(query, runs.settings, out=tmp_path / "changed")
    changed = rasters(tmp_path / "changed", LAST)
    assert changed == rasters(runs.whole, LAST)
    assert rasters(tmp_path / "changed", date(2023, 5, 30)) != rasters(runs.whole, date(2023, 5, 30))


def test_an_update_leaves_the_days_before_the_new_scene_as_they_are(runs: Runs, source: Source, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(runs.ended.path, out)
    new = min(day_of(item) for item in source.items if day_of(item) > LAST)
    before = {path: path.stat().st_ino for path in out.glob("spaceeye_*/*.tif")}
    found = se.run(source.query(source.items), runs.settings, out=out, update=True)
    assert found.kept == tuple(day for day in found.days if day < new.isoformat())
    kept = {path: path.stat().st_ino for path in before if path.parent.name[-10:] < new.isoformat()}
    assert kept.items() <= before.items()
    assert_same_files(out, runs.whole)


def test_causal_days_say_so_and_are_extrapolated_where_they_are_not_seen(runs: Runs) -> None:
    items = [json.loads(path.read_text()) for path in sorted(runs.whole.glob("spaceeye_*/spaceeye_*.json"))]
    assert len(items) > 40
    for item in items:
        properties, day = item["properties"], item["properties"]["datetime"][:10]
        assert properties["spaceeye:causal"] is True
        assert properties["spaceeye:provisional"] is False
        assert "from looks up to each day alone" in properties["processing:lineage"]
        assert properties["spaceeye:window"][1] <= day
        taken = [re.search(r"_(\d{8})T", name) for name in properties["spaceeye:scenes"]]
        assert all(found and found[1] <= day.replace("-", "") for found in taken)
        with rasterio.open(runs.whole / item["id"] / "flags.tif") as raster:
            flags = raster.read(1)
        assert ((flags & Flag.EXTRAPOLATED != 0) == (flags & Flag.RECONSTRUCTED != 0)).all(), day
    collection = json.loads((runs.whole / "collection.json").read_text())
    assert collection["summaries"]["spaceeye:causal"] == [True]


def test_uncertainty_grows_with_the_days_since_the_last_acquisition(runs: Runs, source: Source) -> None:
    grown = []
    acquired = [day_of(item) for item in source.items]
    for start, stop in itertools.pairwise(acquired):
        days = [start + timedelta(days=n) for n in range(1, (stop - start).days)]
        files = [runs.whole / f"spaceeye_{day}" / "uncertainty.tif" for day in days]
        if all(path.exists() for path in files):
            values = [rasterio.open(path).read(1).astype(float) for path in files]
            grown += [(later >= earlier).all() for earlier, later in itertools.pairwise(values)]
    assert len(grown) > 10
    assert all(grown)


def test_cells_and_virtual_days_and_the_lazy_cube_are_causal_too(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CASES["damped"]
    solve_in_cells(monkeypatch, settings, cell=16, halo=8, margin=4)
    short = "2023-04-10/2023-04-22"
    every, few = source.items, source.until(LAST)
    cubes = []
    for items in (every, few):
        query = source.query(items, short)
        cubes.append(
            se.interpolate(se.search(query, settings), query, settings).sel(time=slice(None, str(LAST))).load()
        )
    for name in ("reflectance", "clear_distance", "flags"):
        np.testing.assert_array_equal(cubes[0][name], cubes[1][name])
    query = source.query(every, short)
    se.run(query, settings, out=tmp_path / "files")
    se.run(query, settings, out=tmp_path / "virtual", output=se.Output(days="virtual"))
    vrts = sorted((tmp_path / "virtual").glob("spaceeye_*/B04.vrt"))
    assert len(vrts) == 13
    for vrt in vrts:
        with rasterio.open(vrt) as mine, rasterio.open(tmp_path / "files" / vrt.parent.name / "B04.tif") as its:
            difference = np.abs(mine.read(1).astype(int) - its.read(1))
        assert difference.max() <= 1


def test_reference_is_refused() -> None:
    with pytest.raises(se.errors.InvalidInputError, match="method reference solves all days of a window at once"):
        se.Settings(method="reference", causal=True)
