"""Small rasters as files really are, and items that say something of them, right or wrong."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping

from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.loader import Stacked, load
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources.scenes import scenes_from_items
from tests.support.items import Json

SIDE = 64
CHIP = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)


@dataclass(frozen=True)
class Raster:
    """A file as it is written: its pixels, and what its header says."""

    pixels: NDArray[Any]
    geobox: GeoBox = CHIP
    options: Json = field(default_factory=dict)
    alpha: NDArray[Any] | None = None

    def write(self, path: Path) -> Path:
        """Write it, as JPEG 2000 where it is called so."""
        height, width = self.pixels.shape
        place = {"crs": str(self.geobox.crs), "transform": self.geobox.transform}
        shape = {"height": height, "width": width, "count": 1 if self.alpha is None else 2}
        driver = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": True} if path.suffix == ".jp2" else {}
        known = {"driver": "GTiff", "dtype": self.pixels.dtype, **driver, **place, **shape, **self.options}
        with rasterio.open(path, "w", **known) as target:
            if self.alpha is not None:
                target.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
                target.write(self.alpha, 2)
            target.write(self.pixels, 1)
        return path


def noise(seed: int = 0, shape: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.uint16]:
    """Pixels of which each is known from the others."""
    return np.random.default_rng(seed).integers(500, 9000, shape).astype(np.uint16)


def asset(path: Path, geobox: GeoBox = CHIP, **fields: Any) -> Json:
    """What an item says of a file on that grid; fields that are None are left out."""
    place = {"proj:transform": list(geobox.transform)[:6], "proj:shape": list(geobox.shape)}
    known = {"href": str(path), "type": "image/tiff", **place, **fields}
    return {name: value for name, value in known.items() if value is not None}


def item(assets: Json, geobox: GeoBox = CHIP, **properties: Any) -> Json:
    """An item of Planetary Computer's naming whose footprint is that of the grid."""
    outline = geobox.extent.to_crs("EPSG:4326").geom
    facts = {"datetime": "2023-04-01T10:50:31Z", "proj:code": f"EPSG:{geobox.crs.epsg if geobox.crs else 0}"}
    known = {**facts, "s2:processing_baseline": "03.01", **properties}
    said = {name: value for name, value in known.items() if value is not None}
    box, geometry = list(outline.bounds), mapping(outline)
    return {"id": "S2A_X", "geometry": geometry, "bbox": box, "properties": said, "assets": assets, "links": []}


def scene_of(document: Json) -> Scene:
    """The scene of an item."""
    (found,) = scenes_from_items([document], "planetary-computer")
    return found


def scene(folder: Path, raster: Raster, said: Json | None = None, name: str = "B04.tif", **properties: Any) -> Scene:
    """A scene of one band in a file, with a mask that is clear everywhere; `said`: what the item says of the band."""
    folder.mkdir(parents=True, exist_ok=True)
    band = raster.write(folder / name)
    mask = Raster(np.full(raster.pixels.shape, 4, np.uint8), raster.geobox).write(folder / "SCL.tif")
    assets = {"B04": asset(band, raster.geobox, **(said or {})), "SCL": asset(mask, raster.geobox)}
    return scene_of(item(assets, raster.geobox, **properties))


def read(one: Scene, geobox: GeoBox = CHIP, method: str = "nearest") -> Stacked:
    """Bands and labels of a scene on a grid."""
    return load([one], geobox, resampling=dict.fromkeys(one.bands, method), sign=signed)


def band(one: Scene, geobox: GeoBox = CHIP, method: str = "nearest") -> NDArray[np.uint16]:
    """The first band of a scene on a grid."""
    return np.asarray(read(one, geobox, method).values[0, 0])


def with_tile(one: Scene, tile: str) -> Scene:
    """The scene as one of a tile."""
    return replace(one, tile=tile)
