"""What is stacked equals plain rasterio windows, pixel for pixel, on every kind of grid that needs no resampling."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

import spaceeye_stac as se
from spaceeye_stac.model import NO_LABEL, BandAsset, Scene
from spaceeye_stac.outlines import bbox, split, unwrapped
from spaceeye_stac.pixels.grid import output_grid, tile_grid
from spaceeye_stac.pixels.loader import load, resampling_of
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.settings import RESAMPLING
from tests.support.items import labels_of

TEN, TWENTY, SIXTY = {"B04": 10, "B08": 10, "B11": 20}, {"B8A": 20, "B11": 20}, {"B01": 60, "B09": 60}
PIXELS = 72  # at 10 m; whole pixels at 20 and 60 m too


@dataclass(frozen=True)
class Tile:
    """A square tile of random pixels."""

    name: str
    epsg: int
    left: float
    top: float
    bands: dict[str, int]

    def geobox(self, resolution: int) -> GeoBox:
        box = self.left, self.top - 10 * PIXELS, self.left + 10 * PIXELS, self.top
        return GeoBox.from_bbox(box, f"EPSG:{self.epsg}", resolution=resolution, tight=True)

    def scene(self, folder: Path) -> Scene:
        rng = np.random.default_rng(sum(map(ord, self.name)))
        assets: dict[str, Any] = {}
        for key, resolution in {**self.bands, "SCL": 20}.items():
            geobox, path = self.geobox(resolution), folder / f"{self.name}_{key}.tif"
            kind = np.uint8 if key == "SCL" else np.uint16
            shape: dict[str, Any] = {"height": geobox.shape[0], "width": geobox.shape[1], "count": 1, "dtype": kind}
            with rasterio.open(path, "w", crs=self.epsg, transform=geobox.transform, nodata=0, **shape) as target:
                target.write(rng.integers(0, 12 if key == "SCL" else 10_000, geobox.shape).astype(kind), 1)
            grid = {"proj:transform": list(geobox.transform)[:6], "proj:shape": list(geobox.shape)}
            assets[key] = {"href": str(path), "type": "image/tiff", **grid}
        outline = split(unwrapped(self.geobox(10).extent.to_crs("EPSG:4326").geom))
        facts = {"datetime": "2023-04-01T10:50:31Z", "proj:code": f"EPSG:{self.epsg}", "s2:mgrs_tile": self.name}
        item = {"id": f"S2A_T{self.name}", "geometry": outline, "bbox": list(bbox([outline])), "assets": assets}
        properties = {**facts, "s2:processing_baseline": "03.01"}
        (found,) = se.scenes_from_items([{**item, "properties": properties}], "planetary-computer")
        return found


def plain(asset: BandAsset, geobox: GeoBox) -> NDArray[np.uint16]:
    """The source pixel under the centre of each pixel of the grid, from one rasterio window; 0 beyond the data."""
    height, width = geobox.shape
    to = geobox.transform
    x, y = to.c + to.a * (np.arange(width) + 0.5), to.f + to.e * (np.arange(height) + 0.5)
    with rasterio.open(asset.href) as source:
        from_left = np.floor((x - source.transform.c) / source.transform.a).astype(int)
        from_top = np.floor((y - source.transform.f) / source.transform.e).astype(int)
        first, top = int(from_left[0]), int(from_top[0])
        window = Window(first, top, int(from_left[-1]) - first + 1, int(from_top[-1]) - top + 1)
        image = source.read(1, window=window, boundless=True, fill_value=0)
    return np.asarray(image[np.ix_(from_top - top, from_left - first)], np.uint16)


A = Tile("31UDS", 32631, 500_000, 5_630_000, TEN)
B = Tile("31UES", 32631, 500_600, 5_630_000, TEN)
# each case: tiles, region as columns and rows of 10 m from the first tile's corner, and whether it is tiled
CASES: dict[str, tuple[list[Tile], tuple[int, int, int, int], bool]] = {
    "one tile": ([A], (10, 14, 50, 61), False),
    "odd pixels of 10 m under 20 m bands": ([A], (11, 15, 50, 61), False),
    "two tiles of a zone": ([A, B], (40, 10, 90, 50), False),
    "beyond the data": ([A], (-20, -15, 30, 30), False),
    "offset origin": ([Tile("31UDS", 32631, 500_003, 5_630_007, TEN)], (10, 14, 50, 61), False),
    "20 m alone": ([Tile("31UDS", 32631, 500_000, 5_630_000, TWENTY)], (10, 14, 50, 60), False),
    "60 m alone": ([Tile("31UDS", 32631, 500_000, 5_630_000, SIXTY)], (6, 12, 60, 66), False),
    "a grid per tile": ([A, B], (40, 10, 90, 50), True),
    "a grid per tile of two zones": (
        [Tile("31UGS", 32631, 711_000, 5_633_000, TEN), Tile("32ULB", 32632, 288_400, 5_633_000, TEN)],
        (10, 10, 60, 60),
        True,
    ),
    "antimeridian": (
        [Tile("60KZF", 32760, 819_000, 8_118_000, TEN), Tile("01KAB", 32701, 180_200, 8_118_000, TEN)],
        (10, 10, 60, 60),
        False,
    ),
    "antimeridian, a grid per tile": (
        [Tile("60KZF", 32760, 819_000, 8_118_000, TEN), Tile("01KAB", 32701, 180_200, 8_118_000, TEN)],
        (10, 10, 60, 60),
        True,
    ),
}


def query_of(tile: Tile, part: tuple[int, int, int, int]) -> se.Query:
    """The region of columns and rows, a little smaller than its pixels."""
    west, north, east, south = part
    left, right = tile.left + 10 * west + 3, tile.left + 10 * east - 3
    bottom, top = tile.top - 10 * south + 3, tile.top - 10 * north - 3
    box = GeoBox.from_bbox((left, bottom, right, top), f"EPSG:{tile.epsg}", resolution=1, tight=True)
    outline = split(unwrapped(box.extent.to_crs("EPSG:4326").geom))
    return se.Query(catalog="none", bbox=bbox([outline]), datetime="2023-04-01")


@pytest.mark.parametrize("case", CASES)
def test_stacked_pixels_equal_plain_windows(case: str, tmp_path: Path) -> None:
    tiles, part, tiled = CASES[case]
    query = query_of(tiles[0], part)
    scenes = [tile.scene(tmp_path) for tile in tiles]
    found = (
        [tile_grid(query, [s], se.Settings()) for s in scenes] if tiled else [output_grid(query, scenes, se.Settings())]
    )
    sets = [[scene] for scene in scenes] if tiled else [scenes] * len(found)
    compared = pixels = 0
    for grid, near in zip(found, sets, strict=True):
        assert grid is not None
        own = [scene for scene in near if scene.epsg == grid.epsg]
        how = resampling_of(near, grid.geobox, "nearest")
        stacked = load(near, grid.geobox, resampling=how, sign=signed)
        for scene in own:
            i = near.index(scene)
            for b, asset in enumerate(scene.bands.values()):
                expected = plain(asset, grid.geobox)
                np.testing.assert_array_equal(stacked.values[i, b], expected)
                pixels += int((expected > 0).sum())
            labels = stacked.labels[i]
            np.testing.assert_array_equal(np.where(labels == NO_LABEL, 0, labels), plain(labels_of(scene), grid.geobox))
            compared += 1
    assert compared == (len(tiles) if tiled or len({t.epsg for t in tiles}) == 1 else 1)
    assert pixels > 100
    if case == "beyond the data":
        assert grid is not None
        assert pixels < 0.6 * 3 * grid.shape[0] * grid.shape[1]


def warped(asset: BandAsset, geobox: GeoBox, how: str) -> NDArray[np.int64]:
    """What rasterio's own warp makes of a raster on a grid."""
    out = np.zeros(geobox.shape, np.uint16)
    assert geobox.crs is not None
    with rasterio.open(asset.href) as source:
        options = {"dst_transform": geobox.transform, "dst_crs": geobox.crs.epsg, "resampling": Resampling[how]}
        scale = source.res[0] / geobox.resolution.x
        exact = {} if how == "nearest" else {"XSCALE": scale, "YSCALE": scale, "tolerance": 1e-9}
        reproject(rasterio.band(source, 1), out, src_nodata=0, dst_nodata=0, **exact, **options)
    return out.astype(np.int64)


def virtual(asset: BandAsset, geobox: GeoBox, how: str) -> NDArray[np.int64]:
    """The same through rasterio's warped view, exact for every pixel however the grid is cut."""
    height, width = geobox.shape
    options = {"transform": geobox.transform, "height": height, "width": width, "resampling": Resampling[how]}
    with rasterio.open(asset.href) as source:
        scale = source.res[0] / geobox.resolution.x
        exact = {} if how == "nearest" else {"XSCALE": scale, "YSCALE": scale}
        with WarpedVRT(source, crs=str(geobox.crs), tolerance=1e-9, **exact, **options) as view:
            return np.asarray(view.read(1), np.int64)


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene whose bands are smooth, as images are, on the scale of a few pixels."""
    scene = A.scene(tmp_path_factory.mktemp("rolling"))
    for asset in scene.bands.values():
        with rasterio.open(asset.href, "r+") as target:
            y, x = np.mgrid[: target.height, : target.width] * target.res[0]
            target.write(np.rint(4000 + 1500 * np.sin(x / 14 + y / 33) + 1500 * np.cos(y / 12)).astype(np.uint16), 1)
    return scene


INNER = GeoBox.from_bbox((500_105, 5_629_405, 500_605, 5_629_905), "EPSG:32631", resolution=10, tight=True)
OTHER = GeoBox.from_bbox(INNER.extent.to_crs("EPSG:32632").buffer(-100).boundingbox, "EPSG:32632", resolution=10)


@pytest.mark.parametrize("geobox", [INNER, OTHER], ids=["half a pixel off", "another zone"])
@pytest.mark.parametrize("choice", RESAMPLING)
def test_each_resampling_does_what_rasterio_does(choice: str, geobox: GeoBox, rolling: Scene) -> None:
    """Bands by the choice, labels by nearest: each is as rasterio warps it, and not as by another choice."""
    found = load([rolling], geobox, resampling=resampling_of([rolling], geobox, choice), sign=signed)
    labels = warped(labels_of(rolling), geobox, "nearest")
    assert (found.labels[0] != labels).mean() < 0.01
    for i, asset in enumerate(rolling.bands.values()):
        np.testing.assert_array_equal(found.values[0, i], virtual(asset, geobox, choice))
        off = {how: np.abs(found.values[0, i] - warped(asset, geobox, how)).mean() for how in RESAMPLING}
        assert off.pop(choice) < 0.5 * min(off.values()), (asset.href, off)


@pytest.mark.parametrize("choice", RESAMPLING)
def test_on_a_coarser_grid_finer_bands_are_averaged_whatever_the_choice(choice: str, rolling: Scene) -> None:
    coarse = A.geobox(20)
    found = load([rolling], coarse, resampling=resampling_of([rolling], coarse, choice), sign=signed)
    with rasterio.open(rolling.bands["B04"].href) as source:
        mean = source.read(1).reshape(PIXELS // 2, 2, PIXELS // 2, 2).mean(axis=(1, 3))
    assert np.abs(found.values[0, 0] - mean).max() <= 0.5
    np.testing.assert_array_equal(found.values[0, 2], plain(rolling.bands["B11"], coarse))


@pytest.mark.parametrize("kind", ["swapped corners", "round the globe", "none"])
def test_a_bbox_that_says_nothing_loses_no_pixel(kind: str, tmp_path: Path) -> None:
    """stackstac leaves out what an item's bbox does not touch; some real items have such a box."""
    tile = CASES["antimeridian"][0][0] if kind == "round the globe" else A
    scene = tile.scene(tmp_path)
    west, south, east, north = scene.item["bbox"]
    boxes = {"swapped corners": [east, south, west, north], "round the globe": [-180, south, 180, north], "none": None}
    item = {**scene.item, "bbox": boxes[kind]}
    (again,) = se.scenes_from_items([item], "planetary-computer")
    assert again.day == scene.day
    geobox = tile.geobox(10)
    stacked = load([again], geobox, resampling=dict.fromkeys(again.bands, "nearest"), sign=signed)
    for b, asset in enumerate(again.bands.values()):
        np.testing.assert_array_equal(stacked.values[0, b], plain(asset, geobox))
