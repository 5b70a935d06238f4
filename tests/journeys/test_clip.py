"""Runs cut to a polygon, against the same runs over its envelope."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import Polygon, mapping, shape

import spaceeye_stac as se
from spaceeye_stac.simulation import Simulation, write_catalog
from tests.support.border_tiles import DATE_LINE, PERFECT, ZONE_BORDER, tile_at
from tests.support.command import command
from tests.support.stac_validation import validate

FIELD = Polygon([(3.003, 50.8145), (3.009, 50.8135), (3.0115, 50.817), (3.007, 50.8195), (3.0055, 50.8165)])
DAYS = "2023-04-01/2023-04-06"
NODATA = {"clear_distance": 255}


def layers(folder: Path) -> dict[str, NDArray[Any]]:
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as source:
            found[path.stem] = source.read()
    return found


def within(outline: Polygon, path: Path) -> NDArray[np.bool_]:
    """Whether each pixel's centre lies in the polygon, point by point in the polygon's own degrees."""
    with rasterio.open(path) as source:
        rows, columns = np.mgrid[: source.height, : source.width]
        x, y = source.transform @ (columns + 0.5, rows + 0.5)
        lon, lat = Transformer.from_crs(source.crs, 4326, always_xy=True).transform(x, y)
    return np.asarray(shapely.contains_xy(outline, lon, lat))


@pytest.fixture(scope="module")
def runs(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The field clipped, from the command line, and its envelope."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "field.geojson").write_text(shapely.to_geojson(FIELD))
    for name, options in (("whole", []), ("cut", ["--clip"])):
        line = ["--catalog", simulated, "--intersects", folder / "field.geojson", "--datetime", DAYS]
        done = command("run", *line, "--bands", "B04,B11", "--out", folder / name, *options)
        assert done.returncode == 0, done.stderr
    return folder / "cut", folder / "whole"


def test_outside_is_nodata_in_every_raster_and_inside_is_untouched(runs: tuple[Path, Path]) -> None:
    cut, whole = runs
    for day in sorted(path.name for path in cut.glob("spaceeye_*")):
        inner = within(FIELD, cut / day / "B04.tif")
        assert 0.2 < inner.mean() < 0.8
        clipped, full = layers(cut / day), layers(whole / day)
        assert clipped.keys() == full.keys() >= {"B04", "B11", "visual", "clear_distance", "uncertainty"}
        for name, image in clipped.items():
            nodata = NODATA.get(name, 0)
            assert (image[:, ~inner] == nodata).all(), name
            np.testing.assert_array_equal(image[:, inner], full[name][:, inner])
            assert (full[name][:, ~inner] != nodata).mean() > 0.5


def test_item_and_statistics_are_those_of_the_field(runs: tuple[Path, Path]) -> None:
    cut, _ = runs
    collection = pystac.Collection.from_file(str(cut / "collection.json"))
    validate(collection)
    assert tuple(collection.extent.spatial.bboxes[0]) == pytest.approx(FIELD.bounds, abs=1e-7)
    for item in collection.get_items():
        validate(item)
        assert item.geometry is not None
        assert shape(item.geometry).hausdorff_distance(FIELD) < 1e-6
        assert item.bbox == pytest.approx(FIELD.bounds, abs=1e-7)
        inner = within(FIELD, cut / item.id / "B04.tif")
        found = layers(cut / item.id)
        for name in ("B04", "B11"):
            valid = found[name][0][inner & (found[name][0] > 0)]
            stated = item.assets[name].extra_fields["bands"][0]["statistics"]
            assert stated["mean"] == pytest.approx(valid.mean(), abs=1e-3)
            assert (stated["minimum"], stated["maximum"]) == (valid.min(), valid.max())
        distance = found["clear_distance"][0][inner]
        assert item.properties["spaceeye:observed_share"] == pytest.approx((distance == 0).mean(), abs=1e-4)
        assert item.properties["spaceeye:median_clear_distance"] == np.median(distance[distance < 255])


def test_days_with_nothing_inside_are_not_published(tmp_path: Path) -> None:
    """Without a clear look in the field itself a day is left out, however clear it is around it."""
    simulation = Simulation(shape=(96, 128), days=6, revisit=3, cloudiness=0.01, seed=3, bands=("B04",))
    catalog = simulation.write(tmp_path / "c")
    for path in tmp_path.glob("c/*/*_202304*/SCL.tif"):
        inner = within(FIELD.buffer(0.0005), path)
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as labels:
            labels.write(np.where(inner, 9, 5).astype(np.uint8)[None])
    query = se.Query(catalog=catalog, intersects=mapping(FIELD), datetime="2023-04-01")
    settings = se.Settings(duration=2, time_overlap=0)
    assert se.run(query, settings, out=tmp_path / "whole").days == ("2023-04-01",)
    with pytest.raises(se.SpaceEyeError, match="No requested day has a clear look"):
        se.run(query, replace(settings, clip=True), out=tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_the_lazy_cube_is_clipped_as_the_days_are(simulated: Path, runs: tuple[Path, Path]) -> None:
    query = se.Query(catalog=simulated, intersects=mapping(FIELD), datetime=DAYS, bands=["B04", "B11"])
    cube = se.interpolate(se.search(query), query, se.Settings(clip=True))
    assert cube.reflectance.chunks is not None
    loaded = cube.isel(time=3).compute()
    found = layers(runs[0] / "spaceeye_2023-04-04")
    np.testing.assert_array_equal(loaded.clear_distance.values, found["clear_distance"][0])
    assert loaded.clear_distance.dtype == np.uint8
    dn = np.nan_to_num(np.rint(loaded.reflectance.values.astype(float) * 1e4))
    np.testing.assert_array_equal(dn, np.concatenate([found["B04"], found["B11"]]))


def test_a_box_is_clipped_to_its_own_outline(tmp_path: Path) -> None:
    """Away from its meridian a zone's grid is turned against the box: its corners are outside."""
    catalog = tile_at(32631, "31UGS", ZONE_BORDER, (40, 40), 30, PERFECT).write(tmp_path / "c")
    bounds = (5.997, 50.809, 6.003, 50.811)
    query = se.Query(catalog=catalog, bbox=bounds, datetime="2023-04-01", bands=["B04"])
    result = se.run(query, se.Settings(clip=True), out=tmp_path / "out")
    (item,) = result.collection.get_items()
    assert item.bbox == list(bounds)
    inner = within(shapely.geometry.box(*bounds), tmp_path / "out" / item.id / "B04.tif")
    found = layers(tmp_path / "out" / item.id)["B04"][0]
    assert 0.7 < inner.mean() < 0.95
    assert (found[~inner] == 0).all()
    assert (found[inner] > 0).all()


@pytest.mark.parametrize("tiling", [None, "mgrs"])
def test_clipping_holds_over_the_antimeridian_and_in_tiles(tiling: Any, tmp_path: Path) -> None:
    sky = {"world_epsg": 32760, "bands": ("B04",)}
    like = Simulation(**{**PERFECT.__dict__, **sky})
    tiles = [
        tile_at(32760, "60KZF", DATE_LINE, (40, 12), 30, like),
        tile_at(32701, "01KAB", DATE_LINE, (12, 40), 30, like),
    ]
    catalog = write_catalog(tiles, tmp_path / "c")
    middle = Polygon([(179.998, -17.001), (180.001, -17.0012), (180.0005, -16.999)])
    sides = [
        middle.intersection(shapely.geometry.box(0, -90, 180, 0)),
        middle.intersection(shapely.geometry.box(180, -90, 360, 0)),
    ]
    cut = shapely.geometry.MultiPolygon([sides[0], shapely.affinity.translate(sides[1], -360)])
    query = se.Query(catalog=catalog, intersects=mapping(cut), datetime="2023-04-02")
    result = se.run(query, se.Settings(tiling=tiling, clip=True), out=tmp_path / "out")
    for item in result.collection.get_items():
        validate(item)
        assert item.geometry is not None
        geometry = shape(item.geometry)
        assert geometry.difference(cut.buffer(1e-5)).area < 1e-12
        assert geometry.geom_type == "MultiPolygon"
        path = tmp_path / "out" / item.id / "B04.tif"
        found = layers(path.parent)["B04"][0] > 0
        with rasterio.open(path) as source:
            rows, columns = np.mgrid[: source.height, : source.width]
            lon, lat = Transformer.from_crs(source.crs, 4326, always_xy=True).transform(
                *(source.transform @ (columns + 0.5, rows + 0.5))
            )
        inner = shapely.contains_xy(cut, lon, lat)
        assert found.sum() > 50
        assert (found[~inner] == 0).all()
        if tiling is None:
            np.testing.assert_array_equal(found, inner)
