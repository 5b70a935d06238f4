"""What a run asks a store for when it is brought up to date: nothing of what it knows, counted by the store."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.image_store import Store
from tests.support.items import Json, absolute_items
from tests.support.loopback import serving
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells

LAND = Simulation(shape=(64, 64), days=24, revisit=3, seed=3)
DAYS = "2023-04-01/2023-04-24"
LATE = date(2023, 4, 13)
UNLIT = se.Settings(method="damped", duration=8, normalize_illuminance=False)
CASES = {
    "surface": replace(UNLIT, method="surface"),
    "damped": UNLIT,
    "damped over the illuminance": replace(UNLIT, normalize_illuminance=True),
}


@dataclass(frozen=True)
class Source:
    """A store of rasters, and items that lie beside them."""

    store: Store
    items: list[Json]
    folder: Path

    def query(self, items: list[Json], **options: object) -> se.Query:
        """A query of some of the items."""
        catalog = self.folder / "items.json"
        catalog.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
        box = LAND.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
        usual = {"catalog": catalog, "bbox": box.bbox, "datetime": DAYS, "bands": ["B04", "B11"]}
        return se.Query(**{**usual, "allow_hrefs": [f"{self.store.url}/"], **options})  # type: ignore[arg-type]

    def without(self, day: date) -> list[Json]:
        """The items but that of a day."""
        return [item for item in self.items if not item["properties"]["datetime"].startswith(day.isoformat())]

    def read(self) -> set[str]:
        """Names of the files that were asked for since this was last called, by whatever request."""
        found = {urlsplit(target).path for _, target, _ in self.store.requests}
        self.store.requests.clear()
        return found


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse()])
    monkeypatch.setenv("CPL_VSIL_CURL_NON_CACHED", "/vsicurl/http")  # GDAL, too, asks for what it needs
    folder = tmp_path / "catalog"
    items = absolute_items(LAND.write(folder))
    with serving(Store(folder)) as store:
        for item in items:
            for asset in item["assets"].values():
                asset["href"] = f"{store.url}/{Path(asset['href']).relative_to(folder)}"
        yield Source(store, items, tmp_path)


def cut(cells: str, settings: se.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    if cells == "several cells":
        solve_in_cells(monkeypatch, settings, cell=32, halo=8, margin=4)


def files_of(query: se.Query, settings: se.Settings, day: date) -> set[str]:
    """Paths of the files of all scenes in the windows that read a day."""
    job = grid_job(se.search(query, settings), query, settings)
    days = {n for w in job.windows if job.days.index(day) in w.read for n in w.read}
    scenes = [s for s in job.scenes if job.days.index(s.day) in days]
    return {urlsplit(a.href).path for s in scenes for a in (*s.bands.values(), s.labels) if a is not None}


@pytest.mark.parametrize(
    ("case", "cells"),
    [
        ("surface", "one cell"),
        pytest.param("surface", "several cells", marks=pytest.mark.slow),
        ("damped", "one cell"),
        ("damped", "several cells"),
        pytest.param("damped over the illuminance", "one cell", marks=pytest.mark.slow),
        ("damped over the illuminance", "several cells"),
    ],
)
def test_only_what_is_new_and_its_windows_are_read(
    case: str, cells: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = CASES[case], tmp_path / "out"
    cut(cells, settings, monkeypatch)
    few, every = source.without(LATE), source.items
    se.run(source.query(few), settings, out=out)
    assert source.read()

    plans: list[se.Plan] = []
    se.run(source.query(few), settings, out=out, update=True, announce=plans.append)
    assert len(plans) == 1
    assert source.read() == set(), "nothing is new"
    query = source.query(every)
    assert se.run(query, settings, out=out).new_scenes == tuple(
        scene.id for scene in se.search(query, settings) if scene.day == LATE
    )
    assert source.read() == set(), "new, and only told of"

    se.run(query, settings, out=out, update=True)
    read, expected = source.read(), files_of(query, settings, LATE)
    se.run(query, settings, out=tmp_path / "fresh")
    whole = source.read()
    assert expected < whole
    assert {path for path in whole if f"{LATE:%Y%m%d}" in path} <= read
    if case == "surface":
        assert read == expected
    elif case == "damped":  # and of days that are not clear enough, only the new one
        assert read <= expected
    else:  # the light of a day shines on others, which are in other windows
        assert read <= whole
    assert_same_files(out, tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["torn", "rotten", "of another form", "gone"])
def test_totals_that_are_not_whole_are_made_anew(
    damage: str, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = CASES["damped"], tmp_path / "out"
    solve_in_cells(monkeypatch, settings, cell=32, halo=8, margin=4)
    query = source.query(source.items)
    se.run(query, settings, out=out)
    whole = source.read()
    (kept,) = (out / "day-totals").iterdir()
    before = kept.read_text()
    sums = json.loads(before)["days"]
    assert len(sums) == len(grid_job(se.search(query), query, settings).acquisitions)
    first = str(next(iter(sums.values()))["sums"][0])
    broken = {"torn": before[:-40], "rotten": before.replace(first, f"{first[:-2]}99", 1), "of another form": "[]"}
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_text(broken[damage])
        assert kept.read_text() != before
    again = se.run(query, settings, out=out, update=True)
    assert source.read() == whole, "every scene is surveyed"
    assert len(again.kept) == len(again.days)
    assert kept.read_text() == before


def test_days_that_hold_nothing_are_not_tried_again(source: Source, tmp_path: Path) -> None:
    """The first scenes are all cloud: their days are skipped, and what was read of them is not read for nothing."""
    settings, out = replace(CASES["surface"], duration=4), tmp_path / "out"
    for path in (tmp_path / "catalog").rglob("*SCL*"):
        if any(day in str(path) for day in ("20230401", "20230404", "20230407")):
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as labels:
                labels.write(np.full(labels.shape, 9, "uint8"), 1)
    query = source.query(source.items)
    first = se.run(query, settings, out=out)
    assert first.skipped
    source.read()
    again = se.run(query, settings, out=out, update=True)
    assert source.read() == set()
    assert (again.days, again.skipped) == (first.days, first.skipped)
    assert again.kept == first.days


def test_versions_of_a_scene_that_was_read_are_not_opened_again(source: Source, tmp_path: Path) -> None:
    """Of two processings the newer is opened before it is taken, as the older may have to stand in; but once."""
    settings, out = CASES["surface"], tmp_path / "out"
    older = copy.deepcopy(source.items[3])
    older["id"] = f"{older['id']}_OLDER"
    older["properties"] |= {"s2:processing_baseline": "02.00", "s2:generation_time": "2020-01-01T00:00:00Z"}
    query = source.query([*source.items, older])
    assert se.search(query, settings).contested
    se.run(query, settings, out=out)
    assert source.read()
    se.run(query, settings, out=out, update=True)
    assert source.read() == set()
    dropping = replace(query, unreadable="drop")
    se.run(dropping, settings, out=tmp_path / "dropping")
    source.read()
    se.run(dropping, settings, out=tmp_path / "dropping", update=True)
    assert source.read(), "what cannot be opened any more is to be left out, and only a try tells"
