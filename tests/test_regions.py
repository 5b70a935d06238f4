"""The region of a query in every way in which it is written."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import shapely
from pyproj import CRS, Geod
from shapely import box
from shapely.geometry import mapping, shape

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines import footprint
from spaceeye_stac.query import Query
from tests.support.command import command

SQUARE = box(3, 50, 3.1, 50.1)
RINGS = [[[3, 50], [3.1, 50], [3.1, 50.1], [3, 50.1], [3, 50]]]
IN_METRES = "POLYGON ((500000 5538630, 507167 5538630, 507167 5549750, 500000 5549750, 500000 5538630))"
UTM = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}


class Table:
    """A table of geometries with a CRS, as geopandas has it."""

    def __init__(self, geometry: shapely.Geometry, crs: object) -> None:
        self.crs = crs
        feature = {"type": "Feature", "properties": {}, "geometry": mapping(geometry)}
        self.__geo_interface__ = {"type": "FeatureCollection", "features": [feature]}


def region(source: object, **changes: Any) -> shapely.Geometry:
    return shape(Query(catalog="x", datetime="2020", intersects=source, **changes).geometry)


def same(one: shapely.Geometry, other: shapely.Geometry, share: float = 1e-4) -> bool:
    return bool(one.symmetric_difference(other).area < share * other.area) and not one.has_z


@pytest.mark.parametrize(
    "source",
    [
        {"type": "Polygon", "coordinates": [[[3, 50, 7], [3.1, 50, 7], [3.1, 50.1, 7], [3, 50.1, 7], [3, 50, 7]]]},
        json.dumps({"type": "Polygon", "coordinates": RINGS}),
        f'  {{"type": "Feature", "geometry": {json.dumps({"type": "Polygon", "coordinates": RINGS})}}}',
        SQUARE.wkt,
        f"SRID=4326;{SQUARE.wkt}".lower().replace("srid", "SRID"),
        "POLYGON Z ((3 50 1, 3.1 50 1, 3.1 50.1 1, 3 50.1 1, 3 50 1))",
        SQUARE,
        Table(SQUARE, None),
        Table(SQUARE, "EPSG:4326"),
        Table(SQUARE, CRS("OGC:CRS84")),
        {"type": "Polygon", "coordinates": RINGS, "crs": {"type": "name", "properties": {"name": "EPSG:4326"}}},
        {
            "type": "Polygon",
            "coordinates": RINGS,
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
        },
    ],
)
def test_a_region_in_degrees_in_every_spelling(source: object) -> None:
    assert region(source).equals(SQUARE)
    assert not region(source).has_z


@pytest.mark.parametrize(
    "source",
    [
        Table(shapely.from_wkt(IN_METRES), "EPSG:32631"),
        Table(shapely.from_wkt(IN_METRES), CRS(32631)),
        f"SRID=32631;{IN_METRES}",
        {**mapping(shapely.from_wkt(IN_METRES)), "crs": UTM},
        {
            "type": "FeatureCollection",
            "crs": UTM,
            "features": [{"type": "Feature", "geometry": mapping(shapely.from_wkt(IN_METRES))}],
        },
    ],
)
def test_a_region_with_a_crs_is_carried_over(source: object) -> None:
    assert same(region(source), box(3, 50, 3.1, 50.1), 2e-3)


def test_a_crs_of_a_library_and_one_over_180_degrees() -> None:
    from odc.geo.geom import box as placed_box  # noqa: PLC0415

    assert same(region(placed_box(500000, 5538630, 507167, 5549750, "EPSG:32631")), SQUARE, 2e-3)
    over = region(Table(shapely.box(800000, 8200000, 900000, 8300000), "EPSG:32760"))
    assert over.geom_type == "MultiPolygon"
    assert over.bounds[0] == -180
    assert over.area < 2


@pytest.mark.parametrize("name", ["field.geojson", "field.wkt", "field.json"])
def test_a_file_holds_any_of_them(name: str, tmp_path: Path) -> None:
    text = f"{SQUARE.wkt}\n" if name.endswith("wkt") else "\ufeff" + json.dumps(mapping(SQUARE))
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert region(tmp_path / name).equals(SQUARE)
    assert region(str(tmp_path / name)).equals(SQUARE)


@pytest.mark.parametrize("kind", ["gpkg", "shp", "kml", "fgb"])
def test_a_file_of_a_gis_is_read_or_the_remedy_said(kind: str, tmp_path: Path) -> None:
    place = tmp_path / f"field.{kind}"
    place.write_bytes(b"no such file of a GIS")
    with pytest.raises(
        InvalidInputError, match=f"intersects file .*field.{kind} (cannot be read|needs pyogrio or fiona)"
    ):
        region(place)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        region(tmp_path / f"none.{kind}")
    pyogrio = pytest.importorskip("pyogrio")
    wkb = [shapely.to_wkb(shapely.from_wkt(IN_METRES))]
    crs = "EPSG:4326" if kind == "kml" else "EPSG:32631"
    wkb = [shapely.to_wkb(SQUARE)] if kind == "kml" else wkb
    driver = "KML" if kind == "kml" else None
    pyogrio.raw.write(place, wkb, field_data=[], fields=[], geometry_type="Polygon", crs=crs, driver=driver)
    assert same(region(place), SQUARE, 2e-3)


@pytest.mark.parametrize(
    ("source", "length"),
    [("POINT (3 50)", 0.0), ({"type": "LineString", "coordinates": [[3, 50], [3.5, 50]]}, 35_800.0), (SQUARE, None)],
)
def test_a_buffer_is_in_metres(source: object, length: float | None) -> None:
    found = region(source, buffer=1000)
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(found)
    inner = 0.0 if length is not None else abs(Geod(ellps="WGS84").geometry_area_perimeter(SQUARE)[0])
    edge = 2 * length if length is not None else Geod(ellps="WGS84").geometry_area_perimeter(SQUARE)[1]
    assert abs(area) == pytest.approx(inner + 1000 * edge + math.pi * 1e6, rel=0.01)


def test_a_buffer_over_180_degrees_and_in_a_copy() -> None:
    from dataclasses import replace  # noqa: PLC0415

    found = region("POINT (180 -17)", buffer=5000)
    assert found.bounds[0] == -180
    assert found.bounds[2] == 180
    assert found.area < 0.02
    query = Query(catalog="x", datetime="2020", intersects="POINT (3 50)", buffer="1000")  # type: ignore[arg-type]
    assert replace(query, datetime="2021").geometry == query.geometry


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"intersects": "POINT (3 50)"}, "is a Point, which has no area; give buffer, in metres"),
        ({"intersects": "LINESTRING (3 50, 4 50)"}, "is a LineString, which has no area; give buffer"),
        ({"intersects": "POINT (3 50)", "buffer": -5}, "buffer -5 is not allowed"),
        ({"intersects": "POINT (3 50)", "buffer": "wide"}, "buffer 'wide' is not allowed"),
        ({"bbox": (3, 50, 4, 51), "buffer": 5}, "buffer 5 is around intersects"),
        ({"intersects": "POLYGON ((3 50, 4 50"}, "is no WKT"),
        ({"intersects": '{"type": "Polygon"'}, "intersects is no JSON"),
        ({"intersects": "SRID=999999;POINT (1 2)"}, "CRS '999999', which is not known"),
        ({"intersects": {"type": "Polygon", "coordinates": RINGS, "crs": {"type": "link"}}}, "names no CRS"),
        ({"intersects": IN_METRES}, "these look like metres, so give degrees or the CRS too"),
        (
            {"intersects": "POLYGON ((50 100, 51 100, 51 101, 50 101, 50 100))"},
            "look swapped, so write longitude first",
        ),
        ({"bbox": (50, 120, 51, 121)}, "look swapped"),
    ],
)
def test_what_is_no_region_says_what_to_do(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Query(catalog="x", datetime="2020", **changes)


def star(count: int, step: int) -> shapely.Polygon:
    turns = [2 * math.pi * step * k / count for k in range(count)]
    return shapely.Polygon([(3 + 0.1 * math.cos(t), 50 + 0.1 * math.sin(t)) for t in turns])


@pytest.mark.parametrize("step", [2, 7, 15])
def test_outlines_that_cross_themselves_are_made_valid_as_before(step: int) -> None:
    outline = star(31, step)
    hole = shapely.Polygon(outline.exterior, [list(star(5, 2).exterior.coords)])
    for crossing in (outline, hole, shapely.Polygon([(3, 50), (3.1, 50.1), (3.1, 50), (3, 50.1)])):
        found = footprint({"geometry": mapping(crossing)})
        assert found is not None
        assert found.is_valid
        assert found.symmetric_difference(shapely.make_valid(crossing)).area < 1e-12


@pytest.mark.parametrize("count", [200, 2001])
def test_outlines_that_cross_themselves_often_end(count: int) -> None:
    """Before, 200 points took minutes of this process; the bound is far above what it takes, for slow machines."""
    start = time.process_time()
    crossing = star(count, count // 2 - 1)
    found = footprint({"geometry": mapping(crossing)})
    assert found is not None
    assert found.is_valid
    with pytest.raises(InvalidInputError, match="give a polygon that does not cross itself"):
        region(mapping(crossing))
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "options",
    [
        ["--intersects", "POINT (3.009 50.8175)", "--buffer", "50"],
        pytest.param(["--intersects", json.dumps(mapping(box(3.008, 50.817, 3.01, 50.818)))], marks=pytest.mark.slow),
        pytest.param(["--bbox", "3.008,50.817,3.01,50.818", "--collection", "sentinel-2-l2a"], marks=pytest.mark.slow),
    ],
)
def test_the_command_takes_a_region_as_text_and_a_collection(options: list[str], simulated: Path) -> None:
    done = command("search", "--catalog", str(simulated), "--datetime", "2023-04", *options)
    assert done.returncode == 0, done.stderr
    assert " scenes" in done.stdout
