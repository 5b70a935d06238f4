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


def test_blocks_tile_the_grid(query: se.Query, scenes: list[Scene]) -> None:
    grid = output_grid(query, scenes, se.Settings())
    covered: set[tuple[int, int]] = set()
    for block in grid.blocks(24):
        cells = {(y, x) for y in range(block.y.start, block.y.stop) for x in range(block.x.start, block.x.stop)}
        assert not cells & covered
        assert grid.part(block).shape == block.shape
        covered |= cells
    assert len(covered) == grid.shape[0] * grid.shape[1]
