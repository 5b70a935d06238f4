"""Where a file lies and what it holds: its header decides, its item is a hint, the item's footprint the arbiter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform
from rasterio.warp import transform_bounds as carried
from shapely import Geometry
from shapely.geometry import Polygon, box

from spaceeye_stac.model import BandAsset, Mask, Scene
from spaceeye_stac.outlines import TURN, footprint

SAME_PIXELS = 0.01
SAME_CORNER_PIXELS = 0.5
SAME_OUTLINE = 0.999
BETTER = 1.1  # a header fits the footprint better than the item's claim, not just by the footprint's roundness
AS_GOOD = 0.99
EDGE_POINTS = 9
DEGREES = "EPSG:4326"
UTM_NORTH, UTM_SOUTH = 32600, 32700
BAND_TYPES = ("uint16", "int16")
LABEL_TYPES = ("uint8", "int8", "uint16", "int16")
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Where the pixels of a raster lie; `crs` None where it does not say it."""

    crs: CRS | None
    transform: tuple[float, ...]
    shape: tuple[int, int]

    @classmethod
    def claimed(cls, asset: BandAsset, scene: Scene, shape: tuple[int, int]) -> "Place | None":
        """What an item says of an asset, of that shape where it gives none; None where it does not say where."""
        epsg = said_epsg(asset, scene)
        if asset.transform is None or epsg is None:
            return None
        return cls(CRS.from_epsg(epsg), asset.transform, asset.shape or shape)

    def outline(self, near: float) -> Geometry | None:
        """The raster's outline in degrees on the turn of the globe of a longitude; None where it is nowhere."""
        if self.crs is None:
            return None
        (rows, columns), steps = self.shape, np.linspace(0, 1, EDGE_POINTS)
        down = np.concatenate([0 * steps, steps, 0 * steps + 1, steps[::-1]]) * rows
        right = np.concatenate([steps, 0 * steps + 1, steps[::-1], 0 * steps]) * columns
        x, y = Affine(*self.transform) * (right, down)
        try:
            at = np.array(transform(self.crs, DEGREES, x, y))
        except RasterioError:
            return None
        if not np.isfinite(at).all():
            return None
        lon = near + (at[0] - near + TURN / 2) % TURN - TURN / 2
        return Polygon(np.column_stack([lon, at[1]])).buffer(0)


@dataclass(frozen=True)
class Finding:
    """What a look at a header gave: the CRS in which the file is read, sentences of doubt, or why it is not read."""

    crs: CRS | None
    doubts: tuple[str, ...] = ()
    refusal: str | None = None


def said_epsg(asset: BandAsset, scene: Scene) -> int | None:
    """The CRS that the item says of a raster; None of a mask that is an item of its own and says none."""
    apart = isinstance(asset, Mask) and asset.source is not None
    return asset.epsg or (None if apart else scene.epsg)


def is_said_away(asset: BandAsset, scene: Scene, epsg: int, bounds: Bounds) -> bool:
    """Whether the item says that a raster lies wholly outside of the bounds; False where it says nothing of it."""
    own = said_epsg(asset, scene)
    if asset.transform is None or asset.shape is None or own is None:
        return False
    here = _bounds(asset.transform, asset.shape)
    if own != epsg:
        try:
            here = carried(own, epsg, *here, densify_pts=21)
        except RasterioError:
            return False
    left, bottom, right, top = here
    if not all(map(math.isfinite, here)):
        return False
    return left > bounds[2] or right < bounds[0] or bottom > bounds[3] or top < bounds[1]


def footprint_meets(scene: Scene, epsg: int, bounds: Bounds) -> bool:
    """Whether a scene's footprint reaches into bounds; True where it has none, or they cannot be compared."""
    try:
        west, south, east, north = carried(epsg, DEGREES, *bounds, densify_pts=21)
    except RasterioError:
        return True
    if not np.isfinite((west, south, east, north)).all():
        return True
    east += TURN if east < west else 0
    place = footprint(scene.item, near=(west + east) / 2)
    return place is None or bool(place.intersects(box(west, south, east, north)))


def judged(header: DatasetReader, asset: BandAsset, scene: Scene, *, away: bool) -> Finding:
    """Compare a header with all that the item says of its place and type.

    `away`: the item says that the raster is outside of what is read. Where the two name different CRSs, or the header
    would have it here, the header is believed if the item's own footprint speaks for it, and the contradiction is a
    doubt. A raster that both have here, but a bit apart, is refused: the footprint cannot tell which of the two errs.
    """
    own = said_epsg(asset, scene) or (header.crs and header.crs.to_epsg()) or scene.epsg
    if header.transform == Affine.identity():
        return Finding(None, refusal="has no geotransform, so that nobody knows where it lies")
    crs, doubts = header.crs or CRS.from_epsg(own), list[str]()
    here = Place(crs, tuple(header.transform)[:6], header.shape)
    if header.crs is None:
        doubts.append(f"has no CRS, so that its item's EPSG:{own} is taken")
    elif not _is_epsg(header.crs, own):
        if _is_same_plane(here, own):
            doubts.append(f"is in {_name(header.crs)}, which is the same place as EPSG:{own} of its item")
            crs = CRS.from_epsg(own)
        else:
            return _settled(here, asset, scene, away=away, why=f"is in {_name(crs)}, its item says EPSG:{own}")
    why = _place_misfit(here, asset)
    if why is None:
        return Finding(crs, tuple(doubts))
    if away or _is_turned(here, Place.claimed(asset, scene, here.shape)):
        return _settled(replace(here, crs=crs), asset, scene, away=away, why=why)
    return Finding(None, refusal=why)


def type_doubt(header: DatasetReader, asset: BandAsset) -> str | None:
    """How the type of a file's pixels differs from what its item says; the file's own counts."""
    kind = header.dtypes[0]
    same = asset.dtype is None or kind == asset.dtype
    return None if same else f"holds {kind}, its item says {asset.dtype}; the file is believed"


def has_alpha(header: DatasetReader) -> bool:
    """Whether a file has a second band that says where the first has data."""
    return bool(header.count == 2 and header.colorinterp[1] == ColorInterp.alpha)  # noqa: PLR2004


def _settled(here: Place, asset: BandAsset, scene: Scene, *, away: bool, why: str) -> Finding:
    """Decide between a header and an item that contradict each other, by the item's footprint."""
    zone = _zone_against(here, scene, asset)
    if zone is not None:
        return Finding(None, refusal=f"{why}, and its tile {scene.tile} is in EPSG:{zone}")
    claim = Place.claimed(asset, scene, here.shape)
    if _is_turned(here, claim):
        return Finding(here.crs, (f"{why}; its rows run the other way, and the file is believed",))
    place = footprint(scene.item)
    if place is None:
        return Finding(here.crs, (_believed(why),)) if away else Finding(None, refusal=why)
    own, said = (_fit(one, place) for one in (here, claim))
    enough = own > 0 and own >= said * (AS_GOOD if away else BETTER)
    return Finding(here.crs, (_believed(why),)) if enough else Finding(None, refusal=why)


def _believed(why: str) -> str:
    return f"{why}; the file is believed"


def _fit(one: Place | None, place: Geometry) -> float:
    """How well a raster's outline and a footprint agree: what they share of what they cover together."""
    found = None if one is None else one.outline((place.bounds[0] + place.bounds[2]) / 2)
    together = 0.0 if found is None else found.union(place).area
    return found.intersection(place).area / together if found is not None and together else 0.0


def _is_turned(here: Place, claim: Place | None) -> bool:
    """Whether both cover the same ground, but from the other end."""
    if claim is None or here.crs != claim.crs or here.shape != claim.shape:
        return False
    first, second = (box(*_bounds(one.transform, one.shape)) for one in (here, claim))
    together = first.union(second).area
    return here.transform[4] * claim.transform[4] < 0 and first.intersection(second).area > SAME_OUTLINE * together


def _zone_against(here: Place, scene: Scene, asset: BandAsset) -> int | None:
    """The UTM zone of the scene's tile, where the item says another, and the file is not in that one either."""
    said = scene.epsg
    utm = said // 100 * 100 in {UTM_NORTH, UTM_SOUTH}
    if scene.tile is None or not utm or asset.epsg not in {None, said} or _is_epsg(here.crs, said):
        return None
    zone = (UTM_NORTH if scene.tile[2] >= "N" else UTM_SOUTH) + int(scene.tile[:2])
    return None if said % 100 == zone % 100 else zone


def _place_misfit(here: Place, asset: BandAsset) -> str | None:
    """How the shape or one of the six numbers of the transform differs from the item's."""
    if asset.shape is not None and here.shape != asset.shape:
        return f"has {_by(here.shape)} pixels, its item says {_by(asset.shape)}"
    said = asset.transform
    if said is None:
        return None
    size = abs(said[0])
    off = max(abs(a - b) for a, b in zip(here.transform, said, strict=True)) / size
    rows, columns = here.shape
    ends = zip(*(Affine(*numbers) * (columns, rows) for numbers in (here.transform, said)), strict=True)
    far = max(abs(one - other) for one, other in ends) / size
    if off <= SAME_PIXELS and far <= SAME_CORNER_PIXELS:
        return None
    return f"has {_lies(here.transform)}, its item says {_lies(said)}"


def _is_epsg(crs: CRS | None, code: int) -> bool:
    return crs is not None and code_of(crs) == code


def code_of(crs: CRS) -> int | None:
    """EPSG code of a CRS; None where it has none."""
    return _code_of(crs.wkt)


@lru_cache(maxsize=64)
def _code_of(wkt: str) -> int | None:
    found = CRS.from_wkt(wkt).to_epsg()
    return None if found is None else int(found)


def _is_same_plane(here: Place, code: int) -> bool:
    """Whether the corners of a raster are at the same coordinates in a CRS, as with ETRS89 and WGS 84, or heights."""
    left, bottom, right, top = _bounds(here.transform, here.shape)
    x, y = np.array([left, right, right, left]), np.array([top, top, bottom, bottom])
    try:
        there = transform(here.crs, CRS.from_epsg(code), x, y)
    except RasterioError:
        return False
    off = np.abs(np.array(there[:2]) - (x, y)).max()
    return bool(off <= SAME_PIXELS * abs(here.transform[0]))


def _name(crs: CRS) -> str:
    code = code_of(crs)
    return f"EPSG:{code}" if code else "a CRS without an EPSG code"


def _bounds(numbers: Sequence[float], shape: tuple[int, int]) -> Bounds:
    """Left, bottom, right, top of a raster, turned or not."""
    rows, columns = shape
    corners = [Affine(*numbers) * (column, row) for column in (0, columns) for row in (0, rows)]
    (left, right), (bottom, top) = ((min(along), max(along)) for along in zip(*corners, strict=True))
    return left, bottom, right, top


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _lies(numbers: tuple[float, ...]) -> str:
    width, turned, left, skewed, height, top = numbers
    tall = "" if height == -width else f" x {-height:g}"
    rotated = f", turned by ({turned:g}, {skewed:g})," if turned or skewed else ""
    unit = " m" if abs(width) >= 1 else ""
    return f"pixels of {width:g}{tall}{unit}{rotated} from ({left:.10g}, {top:.10g})"
