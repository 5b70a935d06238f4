"""The region of a query, in whatever way it is written: GeoJSON, WKT, a file of a GIS, a table with a CRS."""

import json
import re
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely import Geometry
from shapely.geometry import shape

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines.crossings import is_tangled
from spaceeye_stac.outlines.globe import joined, split, unwrapped

DEGREES = CRS(4326)
PARTS_OF_A_SIDE = 100
TOLERANCE_DEGREES = 1e-6
NO_AREA = "intersects has an empty or invalid area; give a polygon that does not cross itself."
SHAPES = r"((?:MULTI)?(?:POINT|LINESTRING|POLYGON)|GEOMETRYCOLLECTION)"
WKT = re.compile(rf"\s*(?:SRID=(\d+);)?\s*{SHAPES}\b.*\(", re.IGNORECASE | re.DOTALL)
GIS_FILES = frozenset({".gpkg", ".shp", ".kml", ".fgb", ".gml", ".tab", ".zip"})


def region_of(source: object, buffer: float | None = None) -> Geometry:
    """The area that a region's source describes, in degrees, without heights, `buffer` metres wider on all sides.

    `source` is GeoJSON (a dict, a text, a file), WKT, a file of a GIS, or anything with `__geo_interface__`, whose
    `crs` counts. Raises InvalidInputError for what is no area.
    """
    found, crs = _parts(source)
    if any(is_tangled(part) for part in found):
        raise InvalidInputError(NO_AREA)
    try:
        area = shapely.union_all([shapely.force_2d(part) if part.has_z else part for part in found])
    except Exception as error:
        raise InvalidInputError(NO_AREA) from error
    if crs is not None and crs != DEGREES:
        area = _in_degrees(area, crs)
    if buffer is not None:
        area = _widened(area, buffer)
    if not area.is_empty and area.is_valid and area.area == 0:
        raise InvalidInputError(
            f"intersects is a {area.geom_type}, which has no area; give buffer, in metres, or a polygon."
        )
    if area.is_empty or not area.is_valid or area.area == 0:
        raise InvalidInputError(NO_AREA)
    return area


def _parts(source: object) -> tuple[list[Geometry], CRS | None]:
    """The geometries of a source and their CRS; None where they are in degrees."""
    if isinstance(source, str | Path):
        text = str(source)
        if text.lstrip().startswith("{"):
            return _parts(_json(text, "intersects"))
        return _of_wkt(text) if WKT.match(text) else _of_file(Path(source))
    crs = _crs(getattr(source, "crs", None))
    found: Any = getattr(source, "__geo_interface__", source)
    try:
        crs = crs or _named_crs(found.get("crs"))
        parts = found["features"] if found["type"] == "FeatureCollection" else [found]
        return [shape(part.get("geometry", part)) for part in parts], crs
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError("intersects is no GeoJSON geometry, feature or feature collection.") from error


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name} is no JSON: {error}.") from error


def _of_wkt(text: str) -> tuple[list[Geometry], CRS | None]:
    found = WKT.match(text)
    code = found[1] if found else None
    try:
        return [shapely.from_wkt(text.strip().partition(";")[2] if code else text)], _crs(code and int(code))
    except shapely.errors.ShapelyError as error:
        raise InvalidInputError(f"intersects is no WKT: {str(error).splitlines()[0]}.") from error


def _of_file(path: Path) -> tuple[list[Geometry], CRS | None]:
    """The geometries of a file: GeoJSON or WKT in it, or a format of a GIS where a library for those is installed."""
    if path.suffix.lower() in GIS_FILES:
        return _of_gis_file(path)
    try:
        if path.exists() and not path.is_file():
            raise InvalidInputError(f"intersects file {path} is no regular file.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"intersects file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInputError(f"intersects file {path} is no JSON: {error}.") from error
    return _of_wkt(text) if WKT.match(text) else _parts(_json(text, f"intersects file {path}"))


def _of_gis_file(path: Path) -> tuple[list[Geometry], CRS | None]:
    if not path.is_file():
        raise InvalidInputError(f"intersects file {path} cannot be read: it is no file.")
    try:
        import pyogrio  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - not needed for GeoJSON
    except ImportError:
        return _by_fiona(path)
    try:
        _one_layer(path, [str(name) for name, _ in pyogrio.list_layers(path)])
        meta, _, wkb, _ = pyogrio.raw.read(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InvalidInputError(f"intersects file {path} cannot be read: {error}.") from error
    return [shapely.from_wkb(part) for part in wkb if part is not None], _crs(meta["crs"])


def _by_fiona(path: Path) -> tuple[list[Geometry], CRS | None]:
    try:
        import fiona  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - not needed for GeoJSON
    except ImportError:
        raise InvalidInputError(
            f"intersects file {path} needs pyogrio or fiona, and neither is installed; install one, or convert it: "
            f"ogr2ogr -t_srs EPSG:4326 {path.stem}.geojson {path.name}."
        ) from None
    try:
        _one_layer(path, fiona.listlayers(path))
        with fiona.open(path) as table:
            found = [shape(row["geometry"]) for row in table if row["geometry"] is not None]
            return found, _crs(table.crs_wkt or None)
    except fiona.errors.FionaError as error:
        raise InvalidInputError(f"intersects file {path} cannot be read: {error}.") from error


def _one_layer(path: Path, names: list[str]) -> None:
    if len(names) > 1:
        raise InvalidInputError(f"intersects file {path} has layers {', '.join(names)}; save one of them alone.")


def _named_crs(member: Any) -> CRS | None:  # noqa: ANN401 - JSON of any type
    """The CRS that GeoJSON of before RFC 7946 names in its `crs` member."""
    if member is None:
        return None
    try:
        return _crs(member["properties"]["name"])
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            "intersects has a crs member that names no CRS; write it in degrees, without one."
        ) from error


def _crs(named: object) -> CRS | None:
    """A CRS; None where there is none, or where it is that of longitude and latitude in whatever order."""
    if named is None:
        return None
    try:
        found = CRS.from_user_input(named)
    except CRSError as error:
        raise InvalidInputError(f"intersects has the CRS {str(named)[:80]!r}, which is not known.") from error
    plain = found.is_geographic and found.equals(DEGREES, ignore_axis_order=True)
    return None if plain or found.name.startswith("WGS 84 (CRS84)") else found


def _in_degrees(area: Geometry, crs: CRS) -> Geometry:
    """Carry an area over to degrees, with points on its sides where they bend."""
    west, south, east, north = area.bounds
    longest = max(east - west, north - south) / PARTS_OF_A_SIDE
    dense = shapely.segmentize(area, longest) if longest > 0 else area
    there = Transformer.from_crs(crs, DEGREES, always_xy=True)
    carried = shapely.transform(dense, there.transform, interleaved=False)
    return shapely.from_geojson(json.dumps(split(unwrapped(carried.simplify(TOLERANCE_DEGREES)))))


def _widened(area: Geometry, metres: float) -> Geometry:
    """An area with `metres` more on all sides, by distances that are true around its middle."""
    whole = joined(area)
    middle = whole.centroid
    if not (abs(middle.x) <= 2 * 180 and abs(middle.y) <= 90):  # noqa: PLR2004 - degrees
        return area  # what is outside the world is refused with its coordinates
    local = CRS(f"+proj=aeqd +lat_0={middle.y} +lon_0={middle.x} +datum=WGS84 +units=m")
    there = Transformer.from_crs(DEGREES, local, always_xy=True)
    back = Transformer.from_crs(local, DEGREES, always_xy=True)
    wide = shapely.transform(whole, there.transform, interleaved=False).buffer(metres)
    around = unwrapped(shapely.transform(wide, back.transform, interleaved=False))
    return shapely.from_geojson(json.dumps(split(around)))
