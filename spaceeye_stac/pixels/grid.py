"""The output grids of a query: one over the region, or one per MGRS tile, snapped to the pixels of the scenes."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo import xy_
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox
from odc.geo.geom import Geometry as Placed
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import geometry_mask
from rasterio.transform import Affine, array_bounds
from shapely import Geometry
from shapely.geometry import box

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import BandAsset, Block, Grid, Scene, pixel_metres, unit_metres
from spaceeye_stac.outlines import footprint, joined, polygons, split, unwrapped
from spaceeye_stac.query import Query
from spaceeye_stac.settings import Settings

# Of the raster that rasterio draws on. For good: catch_warnings changes the whole process, and blocks are drawn in
# several threads at once, so that one thread's end of it would let the warning of another through.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.features")

MAX_SIDE_PIXELS = 200_000
SNAP_TOLERANCE_PIXELS = 0.01
SHARE_DIGITS = 6
DEGREES = "EPSG:4326"
OUTLINE_TOLERANCE = 1e-6
FEW_PIXELS = 1_000_000
ANCHOR_DIGITS = 6
COARSEST_METRES = 1000.0


def output_grid(query: Query, scenes: Sequence[Scene], settings: Settings) -> Grid:
    """Lay one grid over the region's envelope.

    CRS: the one asked for, else that whose scenes cover most of the region's area. Resolution: the one asked for, else
    the finest of the bands. Pixel edges fall on those of the source where the CRS is the same, so that its pixels are
    copied, not resampled. Raises InvalidInputError for a grid of an absurd size.
    """
    region = joined(query.geometry)
    crs = CRS(settings.crs) if settings.crs is not None else CRS(_main_epsg(region, scenes))
    geobox = _snapped(_placed(region, crs).boundingbox, scenes, settings)
    grid = Grid(f"EPSG{crs.epsg}", geobox, outline=query.geometry if settings.clip else None)
    _check_not_empty(grid)
    return grid


def tile_grid(query: Query, scenes: Sequence[Scene], settings: Settings) -> Grid | None:
    """Lay a grid, in the CRS of most of its scenes, over the part of the region that those of one MGRS tile cover.

    None where they cover nothing of it. Raises InvalidInputError for a grid of an absurd size.
    """
    tile, crs = scenes[0].tile, CRS(Counter(scene.epsg for scene in scenes).most_common(1)[0][0])
    region = joined(query.geometry)
    covered = shapely.union_all([_covered(scene, region, crs) for scene in scenes])
    parts = polygons(_placed(region, crs).geom.intersection(covered))
    if not parts:
        return None
    area = Placed(shapely.union_all(parts), crs)
    geobox = _snapped(area.boundingbox, scenes, settings)
    outline = split(unwrapped(area.to_crs(DEGREES).geom).simplify(OUTLINE_TOLERANCE)) if settings.clip else None
    return Grid(f"{tile}", geobox, tile=tile, outline=outline)


def inside(grid: Grid, block: Block) -> NDArray[np.bool_]:
    """Which pixels of a block `(y, x)` have their centre inside the grid's outline; all where there is none."""
    if grid.outline is None or grid.geobox.crs is None:
        return np.ones(block.shape, bool)
    outline = _placed(joined(grid.outline), grid.geobox.crs)
    found = geometry_mask([outline.json], block.shape, grid.part(block).transform, invert=True)
    return np.asarray(found, bool)


def _check_not_empty(grid: Grid) -> None:
    """Raise InvalidInputError where a small grid has no pixel inside its outline, so that all of it would be nodata."""
    rows, columns = grid.shape
    if rows * columns <= FEW_PIXELS and not inside(grid, Block(slice(0, rows), slice(0, columns))).any():
        raise InvalidInputError(
            f"The region holds the centre of no pixel of {abs(float(grid.geobox.resolution.x)):g} in {grid.name}, and "
            "clip leaves nothing else; give a larger region, as with buffer, or leave out clip."
        )


class Clip:
    """What of a grid lies outside its outline: drawn once for each block, and kept as where it begins and ends."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._drawn: dict[tuple[int, int], tuple[bool, NDArray[np.int64]]] = {}

    def outside(self, block: Block) -> NDArray[np.bool_] | None:
        """Which pixels of a block `(y, x)` have their centre outside; None where none has."""
        if self._grid.outline is None:
            return None
        corner = block.y.start, block.x.start
        if corner not in self._drawn:
            flat = ~inside(self._grid, block).ravel()
            changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
            self._drawn[corner] = bool(flat[0]), np.diff(np.array([0, *changes, flat.size]))
        first, lengths = self._drawn[corner]
        if len(lengths) == 1 and not first:
            return None
        return np.repeat(np.arange(len(lengths)) % 2 == int(not first), lengths).reshape(block.shape)


def _placed(outline: Geometry, crs: CRS) -> Placed:
    """Carry an outline in degrees over to a CRS, with points on its sides where they bend."""
    return Placed(outline, crs=DEGREES).to_crs(crs, resolution="auto")


def _snapped(area: BoundingBox, scenes: Sequence[Scene], settings: Settings) -> GeoBox:
    own = [asset for scene in scenes for asset in scene.bands.values() if area.crs == CRS(asset.epsg or scene.epsg)]
    resolution = settings.resolution or _finest(own) or _finest_metres(scenes) / unit_metres(str(area.crs))
    _check_unit(resolution, area)
    if max(area.span_x, area.span_y) / resolution > MAX_SIDE_PIXELS:
        raise InvalidInputError(
            f"resolution {resolution:g} makes {area.span_x / resolution:.0f} x {area.span_y / resolution:.0f} "
            f"pixels; at most {MAX_SIDE_PIXELS} a side are allowed, so give a coarser resolution or a smaller region."
        )
    anchor = xy_(*_anchor(own, resolution))
    return GeoBox.from_bbox(area, area.crs, resolution=resolution, anchor=anchor, tol=SNAP_TOLERANCE_PIXELS)


def _main_epsg(region: Geometry, scenes: Sequence[Scene]) -> int:
    """EPSG code whose scenes cover most of the region's area; the smaller one where two cover as much."""
    flat = _equal_area(region)
    places: dict[int, list[Geometry]] = defaultdict(list)
    for scene in scenes:
        places[scene.epsg].append(_equal_area(_place(scene, region)))
    share = {
        code: round(shapely.union_all(found).intersection(flat).area / flat.area, SHARE_DIGITS)
        for code, found in places.items()
    }
    return min(share, key=lambda code: (-share[code], code))


def _equal_area(outline: Geometry) -> Geometry:
    """Carry degrees over to a plane in which areas are true to one another: Lambert's cylinder."""
    return shapely.transform(outline, lambda at: np.column_stack([at[:, 0], np.degrees(np.sin(np.radians(at[:, 1])))]))


def _place(scene: Scene, region: Geometry) -> Geometry:
    """The scene's footprint on the region's turn of the globe; the whole region where the item does not say."""
    return footprint(scene.item, near=region.centroid.x) or region


def _covered(scene: Scene, region: Geometry, crs: CRS) -> Geometry:
    """What a scene covers in a CRS: its footprint, no farther than its raster, where the item has that in there."""
    found = _placed(_place(scene, region), crs).geom
    own = (asset for asset in scene.bands.values() if CRS(asset.epsg or scene.epsg) == crs)
    raster = next((asset for asset in own if asset.transform and asset.shape), None)
    if raster is None or raster.transform is None or raster.shape is None:
        return found
    shared = found.intersection(box(*array_bounds(*raster.shape, Affine(*raster.transform))))
    return found if shared.is_empty else shared


def _finest(assets: Sequence[BandAsset]) -> float | None:
    return min((asset.resolution for asset in assets if asset.resolution), default=None)


def _finest_metres(scenes: Sequence[Scene]) -> float:
    """Width of the finest pixels in metres, whatever CRSs they are in."""
    found = [pixel_metres(asset, scene) for scene in scenes for asset in scene.bands.values()]
    known = [metres for metres in found if metres]
    if not known:
        raise InvalidInputError("The scenes do not say their resolution; give one with resolution.")
    return min(known)


def _check_unit(resolution: float, area: BoundingBox) -> None:
    """Refuse metres where the CRS is in degrees."""
    unit = unit_metres(str(area.crs))
    if unit > COARSEST_METRES and resolution * unit > COARSEST_METRES:
        raise InvalidInputError(
            f"resolution {resolution:g} is in degrees, as the scenes are in {area.crs}; give {resolution / unit:.3g} "
            f"for {resolution:g} m, or name a crs in metres."
        )


def _anchor(assets: Sequence[BandAsset], resolution: float) -> tuple[float, float]:
    """Where pixel edges fall, as a share of a pixel from 0: as in most source rasters, the first of them where equal.

    A single item that is wrong about its origin does not move all others off their pixels.
    """
    exact = [(a.origin[0] / resolution % 1, a.origin[1] / resolution % 1) for a in assets if a.origin]
    if not exact:
        return 0.0, 0.0
    rounded = [tuple(round(share, ANCHOR_DIGITS) % 1 for share in shares) for shares in exact]
    return exact[rounded.index(Counter(rounded).most_common(1)[0][0])]
