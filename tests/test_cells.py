"""Cells, their halo and their blending: no seam, and the same bits however the work is cut or ordered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr

import spaceeye_stac as se
from spaceeye_stac.layout import Layout
from spaceeye_stac.methods import method_of
from spaceeye_stac.output import Output
from spaceeye_stac.resources import Resources
from spaceeye_stac.simulate import Simulation
from tests.same import assert_same_files


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulation]:
    """A region of 1024 x 1024 pixels: three guided cells a side."""
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
    images, truths = days_of(catalog, simulation, tmp_path / "out", se.Settings(method="guided", duration=16))
    cell = method_of(se.Settings(method="guided")).cell
    for axis in (1, 2):
        # the landscape has lines of its own: a step counts in units of the truth's step at the same place
        steps = [np.abs(np.diff(cube, axis=axis)).mean(axis=(0, 3 - axis)) for cube in (images, truths)]
        relative = steps[0] / steps[1]
        borders = np.arange(cell, images.shape[axis], cell) - 1
        assert len(borders) == 2
        assert abs(relative[borders].mean() / np.delete(relative, borders).mean() - 1) < 0.05


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> se.Settings:
    """Guided with cells so small that a simulated region holds several."""
    settings = se.Settings(method="guided")
    cells = replace(method_of(settings), cell=40, halo=16, margin=8)
    monkeypatch.setattr("spaceeye_stac.jobs.method_of", lambda _: cells)
    return settings


def test_order_threads_and_memory_change_nothing(
    simulated_query: se.Query, small: se.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    se.run(simulated_query, small, out=tmp_path / "one")
    monkeypatch.setattr(Layout, "groups", lambda self, _: [(cell,) for cell in reversed(self.cells)])
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 2)
    se.run(simulated_query, small, out=tmp_path / "other", resources=Resources(workers=1))
    assert torch.get_num_threads() == threads + 2, "the user's setting is left as it was"
    torch.set_num_threads(threads)
    assert_same_files(tmp_path / "one", tmp_path / "other")


def test_the_lazy_cubes_are_blended_alike(simulated_query: se.Query, small: se.Settings, tmp_path: Path) -> None:
    result = se.run(simulated_query, small, out=tmp_path / "out", output=Output(keep_keyframes=True))
    solved = se.interpolate(se.search(simulated_query, small), simulated_query, small).compute()
    stored = se.open_keyframes(tmp_path / "out" / "keyframes")
    xr.testing.assert_identical(stored.compute(), solved)
    cube = solved.reflectance
    for day in (0, 11, 23):
        with rasterio.open(tmp_path / "out" / f"spaceeye_{result.days[day]}" / "B04.tif") as source:
            image = source.read(1)
        lazy = np.clip(np.rint(cube.sel(band="B04").values[day].astype(float) * 1e4), 1, 65535)
        np.testing.assert_array_equal(np.nan_to_num(lazy).astype(int), image)
