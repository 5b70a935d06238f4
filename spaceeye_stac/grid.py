"""The output grid of a query: CRS and resolution of the scenes, snapped to their pixels."""

from collections import Counter
from collections.abc import Sequence

from odc.geo import xy_
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import BandAsset, Grid, Scene
from spaceeye_stac.query import Query, Settings

MAX_SIDE_PIXELS = 200_000
SNAP_TOLERANCE_PIXELS = 0.01


def output_grid(query: Query, scenes: Sequence[Scene], settings: Settings) -> Grid:
    """Lay the grid over the region's envelope.

    CRS: the one asked for, else that of most scenes. Resolution: the one asked for, else the finest of the bands.
    Pixel edges fall on those of the source where the CRS is the same, so that its pixels are copied, not resampled.
    Raises InvalidInputError for a grid of an absurd size.
    """
    crs = CRS(settings.crs) if settings.crs is not None else CRS(_common_epsg(scenes))
    own = [asset for scene in scenes if scene.epsg == crs.epsg for asset in scene.bands.values()]
    resolution = settings.resolution or _finest(own or [a for scene in scenes for a in scene.bands.values()])
    area = Geometry(query.geometry, crs="EPSG:4326").to_crs(crs, resolution="auto").boundingbox
    if max(area.span_x, area.span_y) / resolution > MAX_SIDE_PIXELS:
        raise InvalidInputError(
            f"resolution {resolution:g} makes {area.span_x / resolution:.0f} x {area.span_y / resolution:.0f} "
            f"pixels; at most {MAX_SIDE_PIXELS} a side are allowed, so give a coarser resolution or a smaller region."
        )
    anchor = _anchor(own, resolution)
    geobox = GeoBox.from_bbox(area, crs, resolution=resolution, anchor=xy_(*anchor), tol=SNAP_TOLERANCE_PIXELS)
    return Grid(name=f"EPSG{crs.epsg}", geobox=geobox)


def _common_epsg(scenes: Sequence[Scene]) -> int:
    """Most frequent EPSG code; the smaller one where two are as frequent."""
    counts = Counter(scene.epsg for scene in scenes)
    return max(sorted(counts), key=lambda code: counts[code])


def _finest(assets: Sequence[BandAsset]) -> float:
    known = [asset.resolution for asset in assets if asset.resolution]
    if not known:
        raise InvalidInputError("The scenes do not say their resolution; give one with resolution.")
    return min(known)


def _anchor(assets: Sequence[BandAsset], resolution: float) -> tuple[float, float]:
    """Where pixel edges fall, as a share of a pixel from 0: that of the first source raster that says its origin."""
    origin = next((asset.origin for asset in assets if asset.origin), (0.0, 0.0))
    return origin[0] / resolution % 1, origin[1] / resolution % 1
