"""What every simulation has: a tile of the ground, days, scenes, and a catalog of them on disk."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import Geometry

from spaceeye_stac.days import write_cog
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines import bbox, split, unwrapped
from spaceeye_stac.query import DEFAULT_BANDS, Json

COARSE_BANDS = ("B05", "B06", "B07", "B8A", "B11", "B12")
COARSE = 2
AnyPixel = TypeVar("AnyPixel", bound=np.generic)


@dataclass(frozen=True)
class SimulatedTile(ABC):
    """A tile of 10 m pixels under a satellite, whose cloud-free image of any day is known; all follows from `seed`.

    `shape` is rows and columns. Days are counted from
    `start`; `origin` is the upper left corner in the CRS `epsg`; `noise` is that of a look, in reflectance. Raises
    InvalidInputError for an empty shape.
    """

    shape: tuple[int, int] = (192, 192)
    start: date = date(2023, 4, 1)
    days: int = 60
    bands: Sequence[str] = DEFAULT_BANDS
    seed: int = 7
    epsg: int = 32631
    origin: tuple[float, float] = (500_000.0, 5_630_000.0)
    tile: str = "31UDS"
    noise: float = 0.002

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise InvalidInputError(f"shape {self.shape} is not allowed; give two numbers of pixels from 1.")

    @property
    @abstractmethod
    def visits(self) -> list[int]:
        """Days, counted from `start`, on which a scene is taken."""

    @abstractmethod
    def truth(self, day: int) -> NDArray[np.float32]:
        """Reflectance `(band, y, x)` float32 of a perfect cloud-free image; bands of 20 m are constant over 2 x 2."""

    @abstractmethod
    def scene(self, day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """DN `(band, y, x)` at 10 m and labels (SCL) at 20 m, as the satellite would deliver them."""

    @abstractmethod
    def cloud_cover(self, day: int) -> float:
        """Percent of the tile that any cloud covers on a day."""

    def relative_orbit(self, _day: int) -> int:
        """Return the orbit from which the scene of a day is taken."""
        return 51

    @property
    def geobox(self) -> GeoBox:
        """The 10 m grid."""
        left, top = self.origin
        height, width = self.shape
        return GeoBox.from_bbox(
            (left, top - 10 * height, left + 10 * width, top), f"EPSG:{self.epsg}", resolution=10, tight=True
        )

    @property
    def outline(self) -> Geometry:
        """The four corners in degrees, in one piece."""
        return unwrapped(self.geobox.extent.to_crs("EPSG:4326", resolution=1e9).geom)

    def scene_id(self, day: int) -> str:
        """Return the id of the scene of a day."""
        when = self.start + timedelta(days=day)
        return f"S2A_MSIL2A_{when:%Y%m%d}T105031_R{self.relative_orbit(day):03d}_T{self.tile}"

    def write(self, folder: Path) -> Path:
        """Write the catalog in the naming of Planetary Computer; returns the path of its catalog.json.

        InvalidInputError for an odd shape: some bands and the labels have pixels of 20 m.
        """
        return write_catalog([self], folder)

    def write_scene(self, place: Path, day: int) -> str:
        """Write rasters and item of a day into a folder of `place`, under the id that is returned."""
        name = self.scene_id(day)
        folder = place / name
        folder.mkdir(parents=True, exist_ok=True)
        values, labels = self.scene(day)
        coarse = self.geobox.zoom_out(COARSE)
        for band, image in zip(self.bands, values, strict=True):
            small = band in COARSE_BANDS
            layer = image[::COARSE, ::COARSE] if small else image
            write_cog(folder / f"{band}.tif", layer, coarse if small else self.geobox, nodata=0)
        write_cog(folder / "SCL.tif", labels, coarse, nodata=0)
        _write_json(folder / f"{name}.json", self._item(day))
        return name

    def _item(self, day: int) -> Json:
        when = datetime.combine(self.start + timedelta(days=day), time(10, 50, 31), UTC)
        footprint = split(self.outline)
        return {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
                "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            ],
            "id": self.scene_id(day),
            "collection": "sentinel-2-l2a",
            "geometry": footprint,
            "bbox": list(bbox([footprint])),
            "properties": {
                "datetime": when.isoformat().replace("+00:00", "Z"),
                "platform": "Sentinel-2A",
                "eo:cloud_cover": round(self.cloud_cover(day), 4),
                "proj:code": f"EPSG:{self.epsg}",
                "s2:mgrs_tile": self.tile,
                "s2:processing_baseline": "03.01",
            },
            "assets": {key: self._asset(key) for key in (*self.bands, "SCL")},
            "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        }

    def _asset(self, key: str) -> Json:
        geobox = self.geobox.zoom_out(COARSE) if key in (*COARSE_BANDS, "SCL") else self.geobox
        return {
            "href": f"./{key}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": abs(geobox.resolution.x),
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.transform)[:6],
        }


def halved(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mean of each 2 x 2 pixels of an image `(y, x)`."""
    height, width = image.shape
    blocks = image.reshape(height // COARSE, COARSE, width // COARSE, COARSE)
    return np.asarray(blocks.mean(axis=(1, 3)))


def doubled(image: NDArray[AnyPixel]) -> NDArray[AnyPixel]:
    """Each pixel of an image `(y, x)` as 2 x 2."""
    return image.repeat(COARSE, axis=0).repeat(COARSE, axis=1)


def write_catalog(simulations: Sequence[SimulatedTile], folder: Path) -> Path:
    """Write the scenes of simulations of several tiles as one catalog; returns the path of its catalog.json."""
    for one in simulations:
        if any(side % COARSE for side in one.shape):
            raise InvalidInputError(f"shape {one.shape} cannot be written; give two even numbers of pixels.")
    place = folder / "sentinel-2-l2a"
    ids = [one.write_scene(place, day) for one in simulations for day in one.visits]
    links = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in ids]
    _write_json(place / "collection.json", _collection(simulations, links))
    child = {"rel": "child", "href": "./sentinel-2-l2a/collection.json"}
    root = {"type": "Catalog", "id": "simulated", "description": "Simulated Sentinel-2 scenes with known truth."}
    _write_json(folder / "catalog.json", {**root, "stac_version": "1.1.0", "links": [child]})
    return folder / "catalog.json"


def _collection(simulations: Sequence[SimulatedTile], links: list[dict[str, str]]) -> Json:
    days = [one.start + timedelta(days=visit) for one in simulations for visit in one.visits]
    first, last = min(days), max(days)
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "sentinel-2-l2a",
        "description": "Simulated Sentinel-2 scenes.",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [list(bbox([one.outline for one in simulations]))]},
            "temporal": {"interval": [[f"{first}T00:00:00Z", f"{last}T23:59:59Z"]]},
        },
        "links": [{"rel": "parent", "href": "../catalog.json"}, *links],
    }


def _write_json(path: Path, document: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
