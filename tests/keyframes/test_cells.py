"""Cells, their halo and their blending: no seam, and the same bits however the work is cut or ordered."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.keyframes.cells import CellLayout, cores_of
from spaceeye_stac.methods.registry import method_of
from spaceeye_stac.model import Cell, Grid
from spaceeye_stac.resources import Output, Resources
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulation]:
    """A region of 1024 x 1024 pixels: three cells of the surface a side."""
    simulation = Simulation(shape=(1024, 1024), days=8, revisit=4, bands=("B04", "B08"), cloudiness=0.4, seed=11)
    return simulation.write(tmp_path_factory.mktemp("wide")), simulation


def days_of(catalog: Path, simulation: Simulation, out: Path, settings: se.Settings) -> tuple[np.ndarray, np.ndarray]:
    """Published days and the truth on the same pixels, `(image, y, x)` in DN."""
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.001).boundingbox
    query = se.Query(catalog=catalog, bbox=box.bbox, datetime="2023-04-01/2023-04-08")
    result = se.run(query, settings, out=out)
    images, truths = [], []
    for day, item in enumerate(result.collection.get_items()):
        truth = simulation.truth(day) * 1e4
        for band, name in enumerate(("B04", "B08")):
            with rasterio.open(out / item.id / f"{name}.tif") as source:
                images.append(source.read(1))
                left, top = source.transform.c - simulation.origin[0], simulation.origin[1] - source.transform.f
                rows = slice(round(top / 10), round(top / 10) + source.height)
                columns = slice(round(left / 10), round(left / 10) + source.width)
            truths.append(truth[band, rows, columns])
    return np.stack(images).astype(float), np.stack(truths)


def test_no_seam_shows_at_the_borders_of_cells(wide: tuple[Path, Simulation], tmp_path: Path) -> None:
    catalog, simulation = wide
    images, truths = days_of(catalog, simulation, tmp_path / "out", se.Settings(appearance="as_seen", duration=16))
    cell = method_of(se.Settings()).cell
    for axis in (1, 2):
        # the landscape has lines of its own: a step counts in units of the truth's step at the same place
        steps = [np.abs(np.diff(cube, axis=axis)).mean(axis=(0, 3 - axis)) for cube in (images, truths)]
        relative = steps[0] / steps[1]
        borders = np.arange(cell, images.shape[axis], cell) - 1
        assert len(borders) == 2
        assert abs(relative[borders].mean() / np.delete(relative, borders).mean() - 1) < 0.05


@pytest.fixture(scope="module")
def small() -> Iterator[se.Settings]:
    """The surface as seen, with cells so small that a simulated region holds several."""
    settings = se.Settings(appearance="as_seen")
    with pytest.MonkeyPatch.context() as patch:
        solve_in_cells(patch, settings, cell=40, halo=16, margin=8)
        yield settings


@pytest.fixture(scope="module")
def kept(simulated_query: se.Query, small: se.Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of such cells, with its keyframes; not to be changed."""
    out = tmp_path_factory.mktemp("kept") / "out"
    se.run(simulated_query, small, out=out, output=Output(keep_keyframes=True))
    return out


def test_order_threads_and_memory_change_nothing(
    kept: Path, simulated_query: se.Query, small: se.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CellLayout, "groups", lambda self, _: [(cell,) for cell in reversed(self.cells)])
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 2)
    used, output = Resources(workers=1), Output(keep_keyframes=True)
    se.run(simulated_query, small, out=tmp_path / "other", resources=used, output=output)
    assert torch.get_num_threads() == threads + 2, "the user's setting is left as it was"
    torch.set_num_threads(threads)
    assert_same_files(kept, tmp_path / "other")


def test_the_lazy_cubes_are_blended_alike(kept: Path, simulated_query: se.Query, small: se.Settings) -> None:
    solved = se.interpolate(se.search(simulated_query, small), simulated_query, small).compute()
    stored = se.open_keyframes(kept / "keyframes")
    assert set(stored) - set(solved) == {"uncertainty", "band_uncertainty"}
    xr.testing.assert_equal(stored[list(solved)].compute(), solved)
    cube = solved.reflectance
    for day in (0, 11, 23):
        with rasterio.open(kept / f"spaceeye_2023-04-{day + 1:02}" / "B04.tif") as source:
            image = source.read(1)
        lazy = np.clip(np.rint(cube.sel(band="B04").values[day].astype(float) * 1e4), 1, 65535)
        np.testing.assert_array_equal(np.nan_to_num(lazy).astype(int), image)


def weights(layout: CellLayout, cell: Cell, axis: int) -> np.ndarray:
    """Of a cell over the whole grid along one axis, by the definition."""
    core, margin = (cell.core.y, cell.core.x)[axis], layout.margin
    at = np.arange(layout.grid.shape[axis]) + 0.5
    rising, falling = (at - core.start + margin) / (2 * margin), (core.stop + margin - at) / (2 * margin)
    first, last = cell.index[axis] == 0, cell.index[axis] == layout.counts[axis] - 1
    risen, fallen = np.ones_like(at) if first else rising, np.ones_like(at) if last else falling
    return np.asarray(np.clip(risen, 0, 1) * np.clip(fallen, 0, 1))


@given(st.data())
def test_blending_is_the_weighted_sum_whatever_run_is_asked_for(data: st.DataObject) -> None:
    shape, anchor = data.draw(st.tuples(*2 * [st.integers(1, 50)])), data.draw(st.tuples(*2 * [st.integers(0, 15)]))
    geobox = GeoBox(shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32631")
    layout = CellLayout(Grid("EPSG32631", geobox), 16, 4, 4, anchor)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tiles = {cell.index: rng.normal(size=cell.reach.shape).astype(np.float32) for cell in layout.cells}
    whole, expected = np.empty(shape, np.float32), np.zeros(shape)
    for cell in layout.cells:
        whole[cell.core.y, cell.core.x] = layout.blend([cell], lambda cell: tiles[cell.index])
        y, x = weights(layout, cell, 0)[cell.reach.y], weights(layout, cell, 1)[cell.reach.x]
        expected[cell.reach.y, cell.reach.x] += tiles[cell.index] * y[:, None] * x
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    asked: list[tuple[int, int]] = []

    def tile(cell: Cell) -> np.ndarray:
        asked.append(cell.index)
        return tiles[cell.index]

    for row in range(layout.counts[0]):
        asked.clear()
        run = layout.row(row)[data.draw(st.integers(0, layout.counts[1] - 1)) :]
        np.testing.assert_array_equal(layout.blend(run, tile), whole[cores_of(run).y, cores_of(run).x])
        own = [index for index in asked if index[0] == row]
        assert len(own) == len(set(own)), "each tile once"


def test_every_damaged_cell_is_solved_again(
    kept: Path, simulated_query: se.Query, small: se.Settings, tmp_path: Path
) -> None:
    """Those at the grid's ends fill only a part of their chunks."""
    work = tmp_path / ".new.partial"
    shutil.copytree(kept, work)
    (work / "keyframes").rename(work / ".keyframes")
    (store,) = (work / ".keyframes").iterdir()
    for place in work.glob("spaceeye_*"):
        shutil.rmtree(place)
    chunks = [path for path in sorted((store / "images" / "c" / "0" / "1").rglob("*")) if path.is_file()]
    assert len(chunks) > 4
    for path in chunks[::2]:
        path.write_bytes(path.read_bytes()[:100])
    se.run(simulated_query, small, out=tmp_path / "new", output=Output(keep_keyframes=True))
    assert_same_files(tmp_path / "new", kept)
