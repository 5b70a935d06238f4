"""What a plan says is asked of the files, against what rasterio says of them and what a store is asked."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job, layout_of
from spaceeye_stac.engine.plans import MOST_LISTED
from spaceeye_stac.engine.reads import NO_TABLES, FileRead, known_tables, reads_of
from spaceeye_stac.model import BandAsset, GridJob, Scene
from spaceeye_stac.pixels.network import NetworkUse
from tests.support.command import command
from tests.support.image_store import SECRET, Store
from tests.support.items import labels_of
from tests.support.loopback import serving
from tests.support.small_cells import solve_in_cells
from tests.support.stored_scenes import moved

HEADER = 2**14
SIDE, TILE, RES = 1200, 256, 10.0
LEFT, TOP = 498_000.0, 5_640_000.0
BANDS = ["B02", "B04"]
Raster = TypeVar("Raster", bound=BandAsset)


def written(path: Path, dtype: str, seed: int) -> None:
    """A COG of random pixels, some of its tiles all nodata, with overviews."""
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 250, (SIDE, SIDE)).astype(dtype)
    image[:TILE, :TILE] = 0
    options: dict[str, Any] = {"BLOCKSIZE": TILE, "COMPRESS": "DEFLATE", "SPARSE_OK": "TRUE", "RESAMPLING": "AVERAGE"}
    place = {"crs": 32631, "transform": Affine(RES, 0, LEFT, 0, -RES, TOP), "nodata": 0}
    shape = {"height": SIDE, "width": SIDE, "count": 1, "dtype": dtype}
    with rasterio.open(path, "w", driver="COG", **shape, **place, **options) as file:
        file.write(image, 1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse()])
    with serving(Store(tmp_path)) as store:
        yield store


def placed(asset: Raster, href: str) -> Raster:
    return replace(asset, href=href, resolution=RES, origin=(LEFT, TOP), shape=(SIDE, SIDE))


@pytest.fixture
def scenes(simulated_query: se.Query, store: Store) -> list[Scene]:
    """Five scenes of large files in a store."""
    found = []
    for n, scene in enumerate(list(se.search(simulated_query))[:5]):
        for name in (*BANDS, "SCL"):
            written(store.root / f"{n}-{name}.tif", "uint8" if name == "SCL" else "uint16", n)
        bands = {name: placed(scene.bands["B02"], f"{store.url}/{n}-{name}.tif") for name in BANDS}
        labels = placed(labels_of(scene), f"{store.url}/{n}-SCL.tif")
        found.append(replace(scene, bands=bands, labels=labels, spare={}, item={**scene.item, "assets": {}}))
    return found


def job_of(scenes: list[Scene], query: se.Query, settings: se.Settings) -> GridJob:
    return grid_job(scenes, replace(query, bands=BANDS), settings)


def tiles_there(path: Path, grid: Any, level: int = 0) -> dict[tuple[int, int], int]:
    """First byte and number of bytes of each tile of a file that meets a grid, as rasterio has it."""
    found = {}
    options = {"OVERVIEW_LEVEL": level - 1} if level else {}
    with rasterio.open(path, **options) as file:
        for (row, column), window in file.block_windows(1):
            west, south, east, north = file.window_bounds(window)
            box = grid.boundingbox
            if west < box.right and east > box.left and south < box.top and north > box.bottom:
                names = f"BLOCK_OFFSET_{column}_{row}", f"BLOCK_SIZE_{column}_{row}"
                start, size = (file.get_tag_item(name, "TIFF", bidx=1) for name in names)
                if start is not None:
                    found[int(start), int(start) + int(size)] = int(size)
    return found


def bytes_there(path: Path, grid: Any, level: int = 0) -> int:
    """Bytes of a file's header and of the tiles that do not come with it."""
    return HEADER + sum(n for (_, stop), n in tiles_there(path, grid, level).items() if stop > HEADER)


def path_of(read: FileRead, store: Store) -> Path:
    return store.root / read.href.rpartition("/")[2]


def test_tiles_are_those_that_meet_the_grid(
    scenes: list[Scene], store: Store, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = se.Settings(mask_dilation=300.0)
    job = job_of(scenes, simulated_query, settings)
    tables = known_tables(job)
    assert len(tables.own) == 9, "three scenes of five"
    assert {Path(target).name for _, target, _ in store.requests} == {href.rpartition("/")[2] for href in tables.own}
    found = reads_of(job, layout_of(job), tables)
    assert [(read.scene, read.asset) for read in found] == [
        (scene.id, name) for scene in job.scenes for name in (*BANDS, "labels")
    ]
    for read in found:
        box = job.grid.geobox.pad(30) if read.asset == "labels" else job.grid.geobox
        expected = bytes_there(path_of(read, store), box)
        if read.known == "header":
            assert read.bytes == expected
            inside = tiles_there(path_of(read, store), box)
            assert set(read.ranges) == {(0, HEADER), *(r for r in inside if r[1] > HEADER)}
        else:
            assert read.known == "carried"
            assert not read.ranges
            assert read.bytes == pytest.approx(expected, rel=0.02)
    solve_in_cells(monkeypatch, settings, cell=32, halo=16, margin=4)
    assert len(layout_of(job).cells) > 4
    assert reads_of(job, layout_of(job), tables) == found, "each tile once, whichever cells want it"


@pytest.mark.parametrize("place", ["in a store", "on this machine"])
def test_a_survey_of_several_cells_reads_what_is_not_kept(
    place: str, scenes: list[Scene], store: Store, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = se.Settings(method="damped")
    here = [moved(scene, lambda href: href.replace(store.url, str(store.root))) for scene in scenes]
    job = job_of(scenes if place == "in a store" else here, simulated_query, settings)
    tables = known_tables(job)
    whole = reads_of(job, layout_of(job), tables)
    assert len(whole) == 15
    solve_in_cells(monkeypatch, settings, cell=32, halo=16, margin=4)
    found = reads_of(job, layout_of(job), tables)
    assert [read for read in found if read.purpose == "pixels"] == whole
    again = [replace(read, purpose="pixels") for read in found if read.purpose == "survey"]
    assert again == ([] if place == "in a store" else whole)


def test_a_coarse_grid_is_averaged_from_an_overview(
    scenes: list[Scene], store: Store, simulated_query: se.Query
) -> None:
    job = job_of(scenes, simulated_query, se.Settings(resolution=60.0))
    found = reads_of(job, layout_of(job), known_tables(job))
    for read in found:
        assert read.level == (0 if read.asset == "labels" else 2), "4 x 10 m, and 8 x is coarser than 60 m"
        if read.known == "header":
            assert read.bytes == bytes_there(path_of(read, store), job.grid.geobox, read.level)


def test_a_place_in_another_crs_is_found(scenes: list[Scene], store: Store, simulated_query: se.Query) -> None:
    job = job_of(scenes, simulated_query, se.Settings(crs=32632, resolution=10.0))
    for read in reads_of(job, layout_of(job), known_tables(job)):
        if read.known == "header":
            own = job.grid.geobox.extent.to_crs("EPSG:32631")
            assert read.bytes == bytes_there(path_of(read, store), own)


def test_sizes_that_items_say_scale_what_is_carried_over(scenes: list[Scene], simulated_query: se.Query) -> None:
    other = scenes[1]
    sizes = {name: {"href": a.href, "file:size": 3_000_000} for name, a in other.bands.items()}
    scenes[1] = replace(other, item={**other.item, "assets": sizes})
    job = job_of(scenes, simulated_query, se.Settings())
    tables = known_tables(job)
    reads = {(r.scene, r.asset): r for r in reads_of(job, layout_of(job), tables)}
    plain = {(r.scene, r.asset): r for r in reads_of(job_of([*scenes[:1], other, *scenes[2:]], simulated_query, se.Settings()), layout_of(job), tables)}  # fmt: skip  # noqa: E501
    one, whole = reads[other.id, "B02"], tables.own[scenes[0].bands["B02"].href].size
    assert one.known == "carried"
    assert one.bytes - HEADER == pytest.approx((plain[other.id, "B02"].bytes - HEADER) * 3_000_000 / whole, rel=0.01)


def test_what_is_refused_is_estimated(scenes: list[Scene], store: Store, simulated_query: se.Query) -> None:
    job = job_of(scenes, simulated_query, se.Settings())
    known = sum(read.bytes for read in reads_of(job, layout_of(job), known_tables(job)))
    store.answers = {path.name: 403 for path in store.root.iterdir()}
    refused = known_tables(job)
    assert refused.own == {}
    found = reads_of(job, layout_of(job), refused)
    assert found == reads_of(job, layout_of(job), NO_TABLES)
    assert all(read.known == "assumed" and not read.ranges for read in found)
    assert known / 10 < sum(read.bytes for read in found) < 10 * known
    elsewhere = [replace(s, bands={n: _nowhere(a) for n, a in s.bands.items()}) for s in scenes]
    unplaced = reads_of(job_of(elsewhere, simulated_query, se.Settings()), layout_of(job), NO_TABLES)
    assert sum(read.bytes for read in unplaced) > HEADER * len(unplaced)


def _nowhere(asset: BandAsset) -> BandAsset:
    return replace(asset, origin=None, shape=None)


def test_the_plan_lists_its_requests(
    scenes: list[Scene], store: Store, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = [
        replace(s, bands={n: replace(a, href=f"{a.href}?sig={SECRET}") for n, a in s.bands.items()}) for s in scenes
    ]
    monkeypatch.setattr("spaceeye_stac.engine.plans.search", lambda *_: se.SceneList(signed))
    monkeypatch.setattr("spaceeye_stac.engine.plans.MOST_LISTED", 7)
    found = se.plan(replace(simulated_query, bands=BANDS))
    (grid,) = json.loads(json.dumps(found.as_json()))["grids"]
    assert "reads" not in grid
    assert len(grid["requests"]) == 7 < MOST_LISTED
    assert grid["requests_left_out"] == 15 - 7
    assert SECRET not in json.dumps(found.as_json())
    first = grid["requests"][0]
    assert first["href"].startswith(f"{store.url}/0-B02.tif")
    assert first["bytes"] == sum(stop - start for start, stop in first["ranges"])
    assert found.cost.read == sum(read.bytes for read in found.grids[0].reads)
    assert "what is read: by the headers of 9 of 15 files" in str(found)


def test_small_local_files_come_with_their_header(simulated_query: se.Query, simulated: Path) -> None:
    scenes = se.search(simulated_query)
    (grid,) = se.plan(simulated_query).grids
    files = [Path(asset.href) for scene in scenes for asset in (*scene.bands.values(), scene.labels) if asset]
    assert grid.cost.read == pytest.approx(sum(path.stat().st_size for path in files), rel=0.2)
    done = command("plan", "--catalog", simulated, "--bbox", ",".join(map(str, simulated_query.bbox or ())), "--datetime", "2023-04-01/2023-04-24", "--json")  # fmt: skip  # noqa: E501
    assert json.loads(done.stdout)["grids"][0]["requests"]
