from dataclasses import replace
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.catalog import search
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.grid import output_grid
from spaceeye_stac.model import Scene
from tests.conftest import BE_BBOX, BE_DAYS


@pytest.fixture(scope="module")
def query(belgium: Path) -> se.Query:
    return se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS)


@pytest.fixture(scope="module")
def scenes(query: se.Query) -> list[Scene]:
    return list(search(query))


def test_grid_is_the_sources_own_and_covers_the_region(query: se.Query, scenes: list[Scene]) -> None:
    grid = output_grid(query, scenes, se.Settings())
    assert grid.epsg == 32631
    transform = grid.geobox.transform
    assert (transform.a, transform.e) == (10, -10)
    assert (transform.c - 501360) % 10 == 0
    assert (transform.f - 5629680) % 10 == 0
    west, south, east, north = grid.geobox.geographic_extent.boundingbox.bbox
    assert west <= BE_BBOX[0] < BE_BBOX[2] <= east
    assert south <= BE_BBOX[1] < BE_BBOX[3] <= north
    assert max(grid.shape) <= 65


def test_grid_follows_a_source_that_is_off_the_round_numbers(query: se.Query, scenes: list[Scene]) -> None:
    bands = {name: replace(asset, origin=(501363.0, 5629684.0)) for name, asset in scenes[0].bands.items()}
    transform = output_grid(query, [replace(scenes[0], bands=bands)], se.Settings()).geobox.transform
    assert (transform.c % 10, transform.f % 10) == (3, 4)


def test_resolution_and_crs_can_be_chosen(query: se.Query, scenes: list[Scene]) -> None:
    coarse = output_grid(query, scenes, se.Settings(resolution=20))
    assert abs(coarse.geobox.resolution.x) == 20
    other = output_grid(query, scenes, se.Settings(crs="EPSG:3035"))
    assert other.epsg == 3035


def test_absurd_sizes_are_refused(query: se.Query, scenes: list[Scene]) -> None:
    with pytest.raises(InvalidInputError, match="coarser resolution"):
        output_grid(query, scenes, se.Settings(resolution=0.001))


def test_cores_tile_the_grid_and_reach_over_their_borders(query: se.Query, scenes: list[Scene]) -> None:
    grid = output_grid(query, scenes, se.Settings())
    covered: set[tuple[int, int]] = set()
    for cell in grid.cells(24, halo=10, margin=4):
        core = cell.core
        cells = {(y, x) for y in range(core.y.start, core.y.stop) for x in range(core.x.start, core.x.stop)}
        assert not cells & covered
        assert grid.part(core).shape == core.shape
        covered |= cells
        for block, reach in ((cell.reach, 4), (cell.view, 10)):
            assert block.y.start == max(core.y.start - reach, 0)
            assert block.x.stop == min(cell.index[1] * 24 + 24 + reach, grid.shape[1])
    assert len(covered) == grid.shape[0] * grid.shape[1]
