import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import BandAsset, Block, Grid, Mask, Scene
from spaceeye_stac.pixels.grid import Clip, inside, output_grid, tile_grid
from spaceeye_stac.sources.selection import search
from tests.support.material import BE_BBOX, BE_DAYS

IN_THREADS = """
import sys, threading, time, warnings
from odc.geo.geobox import GeoBox
from spaceeye_stac.model import Block, Grid
from spaceeye_stac.pixels.grid import inside

geobox = GeoBox.from_bbox((5e5, 5e6, 5.001e5, 5.0001e6), "EPSG:32631", resolution=10)
grid = Grid("g", geobox, outline=geobox.buffered(-30).geographic_extent.json)
until = time.monotonic() + 2

def draw():
    while time.monotonic() < until:
        assert inside(grid, Block(slice(0, 10), slice(0, 10))).any()

def others():
    while time.monotonic() < until:
        with warnings.catch_warnings():
            time.sleep(1e-5)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=each) for each in (draw, draw, others, others, others)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


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


def test_one_item_that_is_wrong_about_its_origin_moves_no_other(query: se.Query, scenes: list[Scene]) -> None:
    usual = output_grid(query, scenes, se.Settings()).geobox
    bands = {name: replace(asset, origin=(701363.0, 5629684.0)) for name, asset in scenes[0].bands.items()}
    assert output_grid(query, [replace(scenes[0], bands=bands), *scenes[1:]], se.Settings()).geobox == usual


def test_sizes_in_degrees_and_metres_are_told_apart(query: se.Query, scenes: list[Scene]) -> None:
    """A grid in metres over scenes in degrees has pixels of as many metres, and the other way round is refused."""
    size = 1e-4
    bands = {name: replace(a, resolution=size, origin=(3.0, 51.0)) for name, a in scenes[0].bands.items()}
    bands = {name: replace(asset, epsg=None) for name, asset in bands.items()}
    degrees = [replace(scenes[0], epsg=4326, bands=bands)]
    own = output_grid(query, degrees, se.Settings()).geobox
    assert abs(own.resolution.x) == size
    assert (own.transform.c - 3) / size == pytest.approx(round((own.transform.c - 3) / size), abs=1e-6)
    metres = output_grid(query, degrees, se.Settings(crs="EPSG:32631")).geobox
    assert abs(metres.resolution.x) == pytest.approx(11.13, abs=0.01)
    with pytest.raises(
        InvalidInputError, match=r"resolution 20 is in degrees, as the scenes are in EPSG:4326; give 0\.00018"
    ):
        output_grid(query, degrees, se.Settings(resolution=20))


def test_resolution_and_crs_can_be_chosen(query: se.Query, scenes: list[Scene]) -> None:
    coarse = output_grid(query, scenes, se.Settings(resolution=20))
    assert abs(coarse.geobox.resolution.x) == 20
    other = output_grid(query, scenes, se.Settings(crs="EPSG:3035"))
    assert other.epsg == 3035


def test_absurd_sizes_are_refused(query: se.Query, scenes: list[Scene]) -> None:
    with pytest.raises(InvalidInputError, match="coarser resolution"):
        output_grid(query, scenes, se.Settings(resolution=0.001))


def tiles_at_a_border(west: float, east: float, many: int) -> list[Scene]:
    """Scenes of zones 31 and 32 that meet at 6 degrees east and cover from `west` to `east`, `many` of the first."""

    def scene(epsg: int, box: tuple[float, float, float, float]) -> Scene:
        place = mapping(shapely.box(*box))
        when = datetime(2023, 4, 1, 10, 50, tzinfo=UTC)
        band = BandAsset("x.tif", 1e-4, 0, 0, 10.0, (500_000.0, 5_630_000.0))
        mask = Mask("m.tif", 1.0, 0, 0, 20.0)
        bands, item = {"B04": band}, {"geometry": place, "assets": {}, "properties": {}}
        return Scene(f"{epsg}", f"{epsg % 100}UGS", when.date(), when, epsg, None, None, None, bands, mask, item)

    return [*many * [scene(32631, (west, 50, 6, 51))], scene(32632, (6, 50, east, 51))]


def over_border(west: float, east: float) -> se.Query:
    return se.Query(catalog="none", bbox=(west, 50.5, east, 50.51), datetime="2023-04-01")


def test_the_crs_is_that_of_most_of_the_area_not_of_most_scenes() -> None:
    scenes = tiles_at_a_border(5, 7, many=5)
    for query, epsg in ((over_border(5.99, 6.02), 32632), (over_border(5.98, 6.01), 32631)):
        for order in (scenes, scenes[::-1]):
            assert output_grid(query, order, se.Settings()).epsg == epsg
    assert output_grid(over_border(5.9, 6.1), scenes, se.Settings()).epsg == 32631, "a tie goes to the smaller code"
    half_empty = tiles_at_a_border(5.995, 7, many=1)
    assert output_grid(over_border(5.98, 6.01), half_empty, se.Settings()).epsg == 32632, "by what is covered"


def test_a_tiles_grid_is_the_part_it_covers() -> None:
    left, right = tiles_at_a_border(5, 7, many=1)
    query = over_border(5.98, 6.01)
    grids = [tile_grid(query, [scene], se.Settings()) for scene in (left, right)]
    assert [grid.epsg for grid in grids if grid] == [32631, 32632]
    assert [grid.tile for grid in grids if grid] == ["31UGS", "32UGS"]
    for grid, (west, east) in zip(grids, ((5.98, 6), (6, 6.01)), strict=True):
        assert grid is not None
        found = grid.geobox.geographic_extent.boundingbox
        assert (found.left, found.right) == pytest.approx((west, east), abs=0.002)
    assert tile_grid(over_border(6.001, 6.01), [left], se.Settings()) is None
    assert tile_grid(over_border(6, 6.01), [left], se.Settings()) is None, "to touch is not to cover"


def test_a_tile_whose_items_place_its_rasters_elsewhere_keeps_its_grid(query: se.Query, scenes: list[Scene]) -> None:
    usual = tile_grid(query, scenes, se.Settings())
    bands = {name: replace(asset, origin=(701360.0, 5629680.0)) for name, asset in scenes[0].bands.items()}
    wrong = tile_grid(query, [replace(scenes[0], bands=bands)], se.Settings())
    other_zone = tile_grid(query, [replace(scenes[0], epsg=32632), *scenes[1:]], se.Settings())
    assert usual is not None
    assert wrong is not None
    assert wrong.geobox == usual.geobox
    assert other_zone is not None
    assert other_zone.epsg == 32631


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


def test_an_outline_is_drawn_once_and_the_same_at_every_asking(
    query: se.Query, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = {"type": "Polygon", "coordinates": [[[3.02, 50.814], [3.026, 50.8145], [3.024, 50.818], [3.02, 50.814]]]}
    cut = replace(output_grid(query, scenes, se.Settings()), outline=field)
    blocks = [Block(slice(top, top + 20), slice(0, cut.shape[1])) for top in range(0, 60, 20)]
    expected = [~inside(cut, block) for block in blocks]
    clip, drawn = Clip(cut), list[Block]()

    def drawing(grid: Grid, block: Block) -> np.ndarray:
        drawn.append(block)
        return inside(grid, block)

    monkeypatch.setattr("spaceeye_stac.pixels.grid.inside", drawing)
    for _ in range(2):
        for block, outside in zip(blocks, expected, strict=True):
            np.testing.assert_array_equal(clip.outside(block), outside)
    assert drawn == blocks
    assert Clip(replace(cut, outline=None)).outside(blocks[0]) is None
    within = Block(slice(30, 32), slice(30, 32))
    assert inside(cut, within).all()
    assert clip.outside(within) is None


@pytest.mark.parametrize("width", [0.5, 3.0])
def test_a_region_that_holds_no_pixel_centre_is_refused_where_it_is_clipped(
    width: float, query: se.Query, scenes: list[Scene]
) -> None:
    """Between two columns of centres, however long it is; unclipped, the pixels it touches are made."""
    bounds = output_grid(query, scenes, se.Settings()).geobox.boundingbox
    strip = shapely.box(bounds.left + 101, bounds.bottom + 50, bounds.left + 101 + width, bounds.bottom + 120)
    narrow = replace(query, bbox=None, intersects=f"SRID=32631;{strip.wkt}")
    assert output_grid(narrow, scenes, se.Settings()).shape[1] <= 2
    with pytest.raises(InvalidInputError, match=r"holds the centre of no pixel of 10 .* leave out clip"):
        output_grid(narrow, scenes, se.Settings(clip=True))


def test_no_warning_of_what_rasterio_draws_on_reaches_a_user_from_any_thread() -> None:
    done = subprocess.run([sys.executable, "-c", IN_THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
