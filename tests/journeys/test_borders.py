"""Regions over tile borders, zone borders and the antimeridian, against one tile of the same ground and the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.simulation import Simulation, write_catalog
from tests.support.border_tiles import DATE_LINE, PERFECT, ZONE_BORDER, published, tile_at
from tests.support.command import as_bbox, command
from tests.support.damped import DAMPED
from tests.support.items import absolute_items
from tests.support.servers import rustac_api
from tests.support.stac_validation import validate

BOX = (5.9865, 50.803, 6.0135, 50.817)
SHOWN = ("B02", "B03", "B04", "B11")
SEASON = replace(PERFECT, days=24, bands=SHOWN)


@dataclass(frozen=True)
class Seam:
    """A region solved from two tiles in the zone of one of them (`home`), and from one tile of that zone."""

    home: Simulation
    other: Simulation
    one: Simulation
    edge: int  # first column, of the grid, that `home` does not reach from its side
    two_days: NDArray[np.int64]
    one_days: NDArray[np.int64]
    corner: tuple[float, float]

    @property
    def truth(self) -> NDArray[np.float64]:
        """`(day, band, y, x)` in DN on the grid."""
        height, width = self.two_days.shape[2:]
        column = round((self.corner[0] - self.one.origin[0]) / 10)
        row = round((self.one.origin[1] - self.corner[1]) / 10)
        days = range(len(self.two_days))
        cut = np.s_[:, row : row + height, column : column + width]
        return np.stack([self.one.truth(day)[cut] for day in days]).astype(float) * 1e4

    @property
    def sides(self) -> tuple[slice, slice]:
        """Columns that come from `home`, which are copied, and those that are resampled."""
        left, right = slice(None, self.edge), slice(self.edge, None)
        return (left, right) if self.home.epsg == 32631 else (right, left)

    def resampled_truth(self, day: int) -> NDArray[np.float64]:
        """The truth of the other zone's tile, warped onto the grid by rasterio alone."""
        out = np.zeros(self.two_days.shape[1:], np.float32)
        to = rasterio.Affine(10, 0, self.corner[0], 0, -10, self.corner[1])
        zones = {"src_crs": self.other.epsg, "dst_crs": self.home.epsg, "resampling": Resampling.nearest}
        source = self.other.truth(day) * 1e4
        reproject(source, out, src_transform=self.other.geobox.transform, dst_transform=to, **zones)
        return out.astype(float)


def solved(catalog: Path, out: Path) -> tuple[NDArray[np.int64], tuple[float, float]]:
    query = se.Query(catalog=catalog, bbox=BOX, datetime="2023-04-01/2023-04-24")
    days = se.run(query, DAMPED, out=out).days
    found = [published(out, f"spaceeye_{day}", SHOWN) for day in days]
    return np.stack([image for image, _ in found]), found[0][1]


@pytest.fixture(scope="module", params=[32631, pytest.param(32632, marks=pytest.mark.slow)])
def seam(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seam:
    """The zone of the tile that covers more of the region is the grid's: once the left one, once the right one."""
    folder, west = tmp_path_factory.mktemp("seam"), request.param == 32631
    left = tile_at(32631, "31UGS", ZONE_BORDER, (140, 40 if west else 24), 120, SEASON)
    right = tile_at(32632, "32ULB", ZONE_BORDER, (24 if west else 40, 140), 120, SEASON)
    home, other = (left, right) if west else (right, left)
    one = tile_at(home.epsg, home.tile, ZONE_BORDER, (160, 160), 130, SEASON)
    two_days, corner = solved(write_catalog([left, right], folder / "two"), folder / "out")
    one_days, one_corner = solved(one.write(folder / "one"), folder / "out_one")
    assert corner == one_corner
    border = home.origin[0] + (10 * home.shape[1] if west else 0)
    return Seam(home, other, one, round((border - corner[0]) / 10), two_days, one_days, corner)


def rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt((values**2).mean()))


def test_the_difference_from_one_tile_is_resampling_error(seam: Seam) -> None:
    assert (seam.two_days > 0).all()
    assert len(seam.two_days) == 24
    copied, resampled = seam.sides
    difference = (seam.two_days - seam.one_days).astype(float)
    warped = np.stack([seam.resampled_truth(day) for day in range(0, 24, 4)])
    for band in range(len(SHOWN)):
        error = (warped - seam.truth[::4])[:, band, :, resampled]
        assert rms(error) > 25, "resampling does cost something here"
        assert rms(difference[:, band, :, resampled]) < 1.1 * rms(error)
        assert rms(difference[:, band, :, copied]) < 20, "illuminance alone"
        assert np.abs(difference[:, band].mean(axis=(0, 1))).max() < 400
        for side in seam.sides:
            assert abs(difference[:, band, :, side].mean()) < 5


def test_the_truth_is_as_near_as_resampling_allows(seam: Seam) -> None:
    copied, resampled = seam.sides
    truth = seam.truth
    warped = np.stack([seam.resampled_truth(day) for day in range(0, 24, 4)])
    for band in range(len(SHOWN)):
        two, one = ((days - truth)[:, band] for days in (seam.two_days, seam.one_days))
        extra = rms((warped - truth[::4])[:, band, :, resampled])
        assert rms(two[..., copied]) < 1.1 * rms(one[..., copied])
        assert rms(two[..., resampled]) < 1.1 * np.hypot(rms(one[..., resampled]), extra)


def test_there_is_no_step_at_the_border(seam: Seam) -> None:
    """Column means of the difference from one tile: at the border they jump no more than between other columns."""
    difference = (seam.two_days - seam.one_days).astype(float).mean(axis=2)
    steps = np.abs(np.diff(difference, axis=2)).mean(axis=0)
    _, resampled = seam.sides
    for band in range(len(SHOWN)):
        elsewhere = steps[band][resampled][2:-2]
        assert steps[band, seam.edge - 1] <= np.quantile(elsewhere, 0.95)
    stepped = (seam.two_days - seam.one_days).astype(float)
    stepped[..., resampled] += 150  # a step of 0.015 in reflectance would be noticed
    found = np.abs(np.diff(stepped.mean(axis=2), axis=2)).mean(axis=0)
    assert (found[:3, seam.edge - 1] > np.quantile(steps[:3][:, resampled], 0.95, axis=1)).all()


@pytest.fixture(scope="module")
def neighbours() -> tuple[Simulation, Simulation, Simulation]:
    """Two tiles of one zone that overlap by 12 columns, and one over both."""
    left = tile_at(32631, "31UES", (3.5, 50.81), (40, 6), 30, PERFECT)
    right = tile_at(32631, "31UFS", (3.5, 50.81), (6, 40), 30, PERFECT)
    return left, right, tile_at(32631, "31UES", (3.5, 50.81), (40, 40), 30, PERFECT)


def test_neighbours_of_one_zone_show_the_same_bits(neighbours: Sequence[Simulation]) -> None:
    left, right, _ = neighbours
    for day in left.visits:
        (values, labels), (others, other_labels) = left.scene(day), right.scene(day)
        for one, other in ((values[0], others[0]), (values[1], others[1]), (labels, other_labels)):
            overlap = 12 * one.shape[-1] // 46
            np.testing.assert_array_equal(one[..., -overlap:], other[..., :overlap])


def test_two_tiles_of_one_zone_give_the_bytes_of_one(neighbours: Sequence[Simulation], tmp_path: Path) -> None:
    left, right, one = neighbours
    box = (3.496, 50.8085, 3.504, 50.8115)
    for name, tiles in (("two", [left, right]), ("one", [one])):
        catalog = write_catalog(tiles, tmp_path / name)
        se.run(se.Query(catalog=catalog, bbox=box, datetime="2023-04-01/2023-04-09"), out=tmp_path / f"out_{name}")
    files = sorted((tmp_path / "out_two").glob("*/*.tif"))
    assert len(files) == 9 * 6
    for path in files:
        twin = tmp_path / "out_one" / path.relative_to(tmp_path / "out_two")
        assert path.read_bytes() == twin.read_bytes(), path


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    left = tile_at(32631, "31UGS", ZONE_BORDER, (40, 8), 30, PERFECT)
    right = tile_at(32632, "32ULB", ZONE_BORDER, (8, 40), 30, PERFECT)
    return write_catalog([left, right], tmp_path_factory.mktemp("zones"))


SMALL = (5.996, 50.809, 6.004, 50.811)
DAYS = "2023-04-01/2023-04-09"


def test_tiling_gives_each_tile_its_own_grid_and_items(two_zones: Path, tmp_path: Path) -> None:
    done = command(
        "run", "--catalog", two_zones, "--bbox", as_bbox(SMALL), "--datetime", DAYS, "--tiling", "mgrs",
        "--out", tmp_path / "out", "--duration", "24",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    validate(collection)
    items = list(collection.get_items())
    days = [f"2023-04-0{i}" for i in range(1, 10)]
    assert [item.id for item in items] == [f"spaceeye_{tile}_{day}" for tile in ("31UGS", "32ULB") for day in days]
    for item, epsg in zip(items, [32631] * 9 + [32632] * 9, strict=True):
        tile = item.id.split("_")[1]
        validate(item)
        assert item.properties["grid:code"] == f"MGRS-{tile}"
        assert item.properties["proj:code"] == f"EPSG:{epsg}"
        titles = {link.title for link in item.links if link.rel == "derived_from"}
        assert titles
        assert all(title and title.endswith(f"T{tile}") for title in titles)
        ends = [link.href for link in item.links if link.rel in {"prev", "next"}]
        assert len(ends) == 2 - item.id.endswith(("01", "09"))
        assert all(f"_{tile}_" in href for href in ends)
    assert collection.summaries.lists["proj:code"] == ["EPSG:32631", "EPSG:32632"]
    whole, *each = collection.extent.spatial.bboxes
    assert len(each) == 2
    assert whole[0] == min(box[0] for box in each)
    assert whole[2] == max(box[2] for box in each)


def test_a_tiles_pixels_are_its_scenes_own(two_zones: Path, tmp_path: Path) -> None:
    """On a wholly clear day a tile shows its scene, pixel for pixel, where the region and the tile overlap."""
    query = se.Query(catalog=two_zones, bbox=SMALL, datetime=DAYS)
    se.run(query, se.Settings(method="damped", tiling="mgrs", damping_factor=1e-7), out=tmp_path / "out")
    tiles = {
        "31UGS": tile_at(32631, "31UGS", ZONE_BORDER, (40, 8), 30, PERFECT),
        "32ULB": tile_at(32632, "32ULB", ZONE_BORDER, (8, 40), 30, PERFECT),
    }
    for name, tile in tiles.items():
        seen = 0
        for day in (0, 3, 6):
            item = f"spaceeye_{name}_{PERFECT.start + timedelta(days=day)}"
            found, (left, top) = published(tmp_path / "out", item, ["B04", "B11"])
            distance, _ = published(tmp_path / "out", item, ["clear_distance"])
            column, row = round((left - tile.origin[0]) / 10), round((tile.origin[1] - top) / 10)
            assert min(column, row) >= 0, "no farther than the tile"
            assert column + found.shape[2] <= tile.shape[1]
            own = tile.scene(day)[0].astype(int)
            own[1] = own[1, ::2, ::2].repeat(2, axis=0).repeat(2, axis=1)  # as a 20 m raster
            own = own[:, row : row + found.shape[1], column : column + found.shape[2]]
            clear = distance[0] == 0
            assert np.abs(found - own)[:, clear].max(initial=0) <= 1
            seen += int(clear.sum())
        assert seen > 500


def test_one_dataset_is_one_grid(two_zones: Path) -> None:
    query, settings = se.Query(catalog=two_zones, bbox=SMALL, datetime=DAYS), se.Settings(tiling="mgrs")
    with pytest.raises(InvalidInputError, match=r"gives grids 31UGS, 32ULB.*name one of them with tiles"):
        se.interpolate(se.search(query), query, settings)
    one = replace(query, tiles="32ULB")
    assert se.interpolate(se.search(one), one, settings).odc.crs.epsg == 32632


def test_a_tile_that_is_never_clear_is_left_out_and_said(tmp_path: Path) -> None:
    left = tile_at(32631, "31UGS", ZONE_BORDER, (40, 8), 30, PERFECT)
    right = tile_at(32632, "32ULB", ZONE_BORDER, (8, 40), 30, PERFECT)
    catalog = write_catalog([left, right], tmp_path / "c")
    for path in tmp_path.glob("c/*/*T32ULB/SCL.tif"):
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as labels:
            labels.write(np.full((1, 30, 24), 9, np.uint8))
    query = se.Query(catalog=catalog, bbox=SMALL, datetime="2023-04-01/2023-04-03")
    result = se.run(query, se.Settings(tiling="mgrs"), out=tmp_path / "out")
    assert result.days == ("2023-04-01", "2023-04-02", "2023-04-03")
    assert result.skipped == tuple(f"32ULB {day}" for day in result.days)
    assert {item.properties["grid:code"] for item in result.collection.get_items()} == {"MGRS-31UGS"}


@pytest.fixture(scope="module")
def date_line() -> tuple[Simulation, Simulation]:
    like = replace(PERFECT, world_epsg=32760)
    return (
        tile_at(32760, "60KZF", DATE_LINE, (40, 12), 30, like),
        tile_at(32701, "01KAB", DATE_LINE, (12, 40), 30, like),
    )


@pytest.fixture(scope="module")
def pacific(date_line: Sequence[Simulation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(date_line, tmp_path_factory.mktemp("pacific"))


@pytest.mark.parametrize(
    ("west", "east", "epsg", "first"),
    [(179.997, -179.9985, 32760, date(2023, 4, 1)), (179.9985, -179.997, 32701, date(2023, 3, 31))],
)
def test_over_the_antimeridian_there_is_one_day_and_no_hole(
    pacific: Path, date_line: Sequence[Simulation], tmp_path: Path, west: float, east: float, epsg: int, first: date
) -> None:
    """10:50 UTC is the evening of that day to the west and of the day before to the east; one of them holds for all."""
    query = se.Query(catalog=pacific, bbox=(west, -17.001, east, -16.999), datetime=f"{first}/{first + timedelta(8)}")
    scenes = se.search(query)
    per_day = {day: {s.epsg for s in scenes if s.day == day} for day in {s.day for s in scenes}}
    assert first in per_day
    assert all(zones == {32760, 32701} for zones in per_day.values())
    result = se.run(query, DAMPED, out=tmp_path / "out")
    validate(result.collection)
    assert len(result.days) == 9
    home = next(tile for tile in date_line if tile.epsg == epsg)
    errors = []
    for day, item in enumerate(result.collection.get_items()):
        validate(item)
        assert item.properties["proj:code"] == f"EPSG:{epsg}"
        geometry, bbox = item.geometry, item.bbox
        assert geometry is not None
        assert bbox is not None
        assert geometry["type"] == "MultiPolygon"
        sides = [np.array(part[0])[:, 0] for part in geometry["coordinates"]]
        assert sorted((side.min() > 0, side.max() > 0) for side in sides) == [(False, False), (True, True)]
        assert 0 <= west - bbox[0] < 2e-4
        assert 0 <= bbox[2] - east < 2e-4
        found, (left, top) = published(tmp_path / "out", item.id, ["B04"])
        assert (found > 0).all()
        wide = replace(home, shape=found.shape[1:], origin=(left, top), bands=("B04",))
        errors.append(found - np.rint(wide.truth(day)[0] * 1e4))
    assert rms(np.stack(errors)) < 250
    assert collection_box(result.collection) == pytest.approx((west, -17.001, east, -16.999), abs=3e-4)


def collection_box(collection: pystac.Collection) -> tuple[float, ...]:
    return tuple(collection.extent.spatial.bboxes[0])


def test_a_multipolygon_over_the_antimeridian_is_one_region(pacific: Path) -> None:
    box = se.Query(catalog=pacific, bbox=(179.997, -17.001, -179.9985, -16.999), datetime=DAYS)
    region = se.Query(catalog=pacific, intersects=box.geometry, datetime=DAYS)
    assert region.geometry["type"] == "MultiPolygon"
    grids = [se.interpolate(se.search(query), query).odc.geobox for query in (box, region)]
    assert grids[0] == grids[1]
    assert max(grids[0].shape) < 60


def test_a_real_api_finds_both_sides_of_the_antimeridian(pacific: Path, tmp_path: Path) -> None:
    collection, box = pacific.parent / "sentinel-2-l2a" / "collection.json", (179.9985, -17.001, -179.9985, -16.999)
    with rustac_api(tmp_path, [collection], absolute_items(pacific)) as url:
        found = [
            se.search(se.Query(catalog=place, bbox=box, datetime=DAYS, allow_hrefs=[str(pacific.parent)]))
            for place in (url, pacific)
        ]
    assert [scene.id for scene in found[0]] == [scene.id for scene in found[1]]
    assert {scene.tile for scene in found[0]} == {"60KZF", "01KAB"}
