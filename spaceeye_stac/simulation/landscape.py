"""A simulated Sentinel-2 catalog of any size with known truth, for the demo, tests and benchmarks.

Fields of two crops, forest, water and a village change over the season; clouds with shadows drift over them, every
scene has its own haze, and the scene classification makes some errors, as the real one does. The landscape is a
function of map coordinates, so that neighbouring simulations continue each other; with `world_epsg` it is one of the
coordinates of that CRS, so that simulations in any zone show the same ground and sky.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import Geometry

from spaceeye_stac.days import write_cog
from spaceeye_stac.outlines import bbox, split, unwrapped
from spaceeye_stac.query import DEFAULT_BANDS, Json

WATER, FOREST, VILLAGE, EARLY_CROP, LATE_CROP = range(5)
COARSE_BANDS = ("B05", "B06", "B07", "B8A", "B11", "B12")
COARSE = 2
PARCEL_METRES = 320.0
WAVES = 24
SHADOW_PIXELS = (12, -9)
# surface reflectance per band: what covers the ground fully
SPECTRA: Mapping[str, Mapping[str, float]] = {
    "soil": dict(zip(DEFAULT_BANDS, (0.08, 0.11, 0.15, 0.18, 0.20, 0.22, 0.24, 0.26, 0.34, 0.29), strict=True)),
    "crop": dict(zip(DEFAULT_BANDS, (0.03, 0.06, 0.03, 0.09, 0.32, 0.42, 0.45, 0.47, 0.20, 0.10), strict=True)),
    "forest": dict(zip(DEFAULT_BANDS, (0.02, 0.04, 0.02, 0.06, 0.20, 0.26, 0.28, 0.30, 0.12, 0.05), strict=True)),
    "water": dict(zip(DEFAULT_BANDS, (0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01), strict=True)),
    "roofs": dict(zip(DEFAULT_BANDS, (0.12, 0.14, 0.17, 0.19, 0.21, 0.22, 0.24, 0.24, 0.28, 0.25), strict=True)),
}


@dataclass(frozen=True)
class Simulation:
    """A landscape, its days and the satellite's visits; everything follows from `seed`.

    `truth(day)` is the reflectance `(band, y, x)` that a perfect cloud-free image of that day would have. Where
    `world_epsg` is given, ground, clouds, shadows and haze follow from the place in that CRS, the day and `seed` alone,
    whatever the tile and its zone; left out, fine texture and cloudiness are the tile's own. `noise` is that of a look,
    in reflectance.
    """

    shape: tuple[int, int] = (192, 192)
    start: date = date(2023, 4, 1)
    days: int = 60
    revisit: int = 4
    cloudiness: float = 0.5
    haze: float = 0.03
    label_errors: float = 0.02
    bands: Sequence[str] = DEFAULT_BANDS
    seed: int = 7
    epsg: int = 32631
    origin: tuple[float, float] = (500_000.0, 5_630_000.0)
    tile: str = "31UDS"
    noise: float = 0.002
    world_epsg: int | None = None

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

    @property
    def visits(self) -> list[int]:
        """Days, counted from `start`, on which a scene is taken; half a season of context on both sides included."""
        return list(range(-(self.days // 2 // self.revisit) * self.revisit, self.days + self.days // 2, self.revisit))

    def scene_id(self, day: int) -> str:
        """Return the id of the scene of a day."""
        when = self.start + timedelta(days=day)
        return f"S2A_MSIL2A_{when:%Y%m%d}T105031_R051_T{self.tile}"

    @cached_property
    def _cover(self) -> NDArray[np.int8]:
        """Land cover class `(y, x)`: parcels with winding borders, a lake, a village."""
        x, y = self._coordinates
        x = x + 60 * np.sin(y / 210)
        y = y + 60 * np.sin(x / 170)
        column, row = np.floor(x / PARCEL_METRES).astype(int), np.floor(y / PARCEL_METRES).astype(int)
        dice = (column * 7919 + row * 104_729 + column * row * 31 + self.seed * 613) % 10
        classes = np.array([WATER, FOREST, FOREST, VILLAGE, *3 * [EARLY_CROP], *3 * [LATE_CROP]], np.int8)
        return np.asarray(classes[dice])

    @cached_property
    def _coordinates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Metres east and south of a fixed point of the world's CRS, at pixel centres `(y, x)`."""
        height, width = self.shape
        x = self.origin[0] - 400_000 + 10 * (np.arange(width) + 0.5)
        y = 6_000_000 - self.origin[1] + 10 * (np.arange(height) + 0.5)
        east, south = np.broadcast_to(x, self.shape), np.broadcast_to(y[:, None], self.shape)
        if self.world_epsg in {None, self.epsg}:
            return east, south
        there = Transformer.from_crs(self.epsg, self.world_epsg, always_xy=True)
        east, north = there.transform(east + 400_000, 6_000_000 - south)
        return east - 400_000, 6_000_000 - north

    @cached_property
    def _texture(self) -> NDArray[np.float32]:
        """Brightness within a parcel, around 1 `(y, x)`."""
        if self.world_epsg is not None:
            return (1 + 0.04 * (self._waves(self.seed, 40, 400) + self._waves(self.seed + 1, 40, 90))).astype(
                np.float32
            )
        fine = np.random.default_rng(self.seed).normal(0, 0.04, self.shape)
        return (1 + 0.04 * self._waves(self.seed, 40, 400) + fine).astype(np.float32)

    def _waves(
        self, seed: int, shortest: float, longest: float, moved: tuple[float, float] = (0, 0)
    ) -> NDArray[np.float64]:
        """A smooth random field `(y, x)` of mean 0 and deviation 1, with wavelengths in metres.

        With `world_epsg` it is the value `moved` metres east and south of each pixel.
        """
        rng = np.random.default_rng(seed)
        number = 2 * np.pi / np.exp(rng.uniform(np.log(shortest), np.log(longest), WAVES))
        angle, phase = rng.uniform(0, 2 * np.pi, (2, WAVES))
        weight = 1 / number / np.sqrt((1 / number**2).sum() / 2)
        x, y = self._coordinates
        if self.world_epsg is not None:  # x and y are of no grid: every pixel for itself
            east, south = x + moved[0], y + moved[1]
            out = np.zeros(self.shape)
            for k, turn, start, share in zip(number, angle, phase, weight, strict=True):
                out += share * np.cos(k * (np.cos(turn) * east + np.sin(turn) * south) + start)
            return out
        ax = np.multiply.outer(x[0], number * np.cos(angle)) + phase
        ay = np.multiply.outer(y[:, 0], number * np.sin(angle))
        return np.asarray((np.cos(ay) * weight) @ np.cos(ax).T - (np.sin(ay) * weight) @ np.sin(ax).T)

    def _green(self, day: int) -> NDArray[np.float32]:
        """Share of the ground that is green, by class `(class,)`."""

        def season(rise: float, fall: float) -> float:
            return float(1 / (1 + np.exp(-(day - rise) / 6)) - 1 / (1 + np.exp(-(day - fall) / 5)))

        return np.array([0, 0, 0.15, season(-10, 45), season(25, 110)], np.float32)

    def truth(self, day: int) -> NDArray[np.float32]:
        """Reflectance `(band, y, x)` float32 of a cloud-free image of a day; 20 m bands are constant over 2 x 2."""
        green = self._green(day)[self._cover]
        base = np.array(["water", "forest", "roofs", "soil", "soil"])[self._cover]
        out = np.empty((len(self.bands), *self.shape), np.float32)
        for i, band in enumerate(self.bands):
            ground = np.select([base == name for name in SPECTRA], [SPECTRA[name][band] for name in SPECTRA])
            image = ((1 - green) * ground + green * SPECTRA["crop"][band]) * self._texture
            out[i] = _doubled(_halved(image)) if band in COARSE_BANDS else image
        return out

    def cloud(self, day: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Opacity of cloud and of its shadow `(y, x)`, 0 to 1, on a day."""
        rng = np.random.default_rng([self.seed, day + 10_000])
        cover = rng.beta(0.6, 0.6 * (1 - self.cloudiness) / max(self.cloudiness, 1e-6))
        seed = int(rng.integers(1 << 30))
        field = self._waves(seed, 300, 6000)
        edge = float(np.quantile(field, 1 - cover)) if self.world_epsg is None else _level(cover)
        opacity = _opacity(field, edge, cover)
        if self.world_epsg is None:
            cast = np.roll(opacity, SHADOW_PIXELS, axis=(0, 1))
        else:
            moved = -10.0 * SHADOW_PIXELS[1], -10.0 * SHADOW_PIXELS[0]
            cast = _opacity(self._waves(seed, 300, 6000, moved), edge, cover)
        return opacity.astype(np.float32), (cast * (opacity == 0)).astype(np.float32)

    def scene(self, day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """DN `(band, y, x)` at 10 m and labels (SCL) at 20 m, as the satellite would deliver them."""
        rng = np.random.default_rng([self.seed, day + 20_000])
        opacity, shadow = self.cloud(day)
        brightness = rng.uniform(0.55, 0.8)
        haze = 1 + self.haze * rng.normal()
        seen = self.truth(day) * haze * (1 - 0.55 * shadow)
        seen = seen * (1 - opacity) + brightness * opacity + rng.normal(0, self.noise, seen.shape)
        values = np.clip(np.rint(seen / 1e-4), 1, 65535).astype(np.uint16)
        if self.world_epsg is not None:  # what came before took as many numbers as the tile has pixels
            rng = np.random.default_rng([self.seed, day + 30_000])
        return values, self._labels(opacity, shadow, rng)

    def _labels(
        self, opacity: NDArray[np.float32], shadow: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        ground = np.array([6, 4, 5, 4, 5])[self._cover[::COARSE, ::COARSE]]
        # thin edges are seen late, here more than there; bright ground is taken for cloud now and then
        late = self.label_errors * (1 + np.clip(self._waves(int(rng.integers(1 << 30)), 200, 900), -1, 4))[::2, ::2]
        bright = (ground == 5) & (rng.random(ground.shape) < self.label_errors)  # noqa: PLR2004 - bare soil, roofs
        seen = [_halved(opacity) > 0.6, _halved(opacity) > 0.02 + late, _halved(shadow) > 0.02 + 2 * late, bright]  # noqa: PLR2004
        return np.select(seen, [9, 8, 3, 8], ground).astype(np.uint8)

    def write(self, folder: Path) -> Path:
        """Write the catalog in the naming of Planetary Computer; returns the path of its catalog.json."""
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
        opacity, _ = self.cloud(day)
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
                "eo:cloud_cover": round(100 * float((opacity > 0).mean()), 4),
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


def _halved(image: NDArray[np.floating]) -> NDArray[np.floating]:
    height, width = image.shape
    blocks = image.reshape(height // COARSE, COARSE, width // COARSE, COARSE)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _doubled(image: NDArray[np.floating]) -> NDArray[np.floating]:
    return image.repeat(COARSE, axis=0).repeat(COARSE, axis=1)


def _level(cover: float) -> float:
    """Return what a field of mean 0 and deviation 1 exceeds on a share of the ground."""
    return NormalDist().inv_cdf(min(max(1 - cover, 1e-9), 1 - 1e-9))


def _opacity(field: NDArray[np.float64], edge: float, cover: float) -> NDArray[np.float64]:
    return np.clip((field - edge) / 0.25, 0, 1) if cover > 0.02 else np.zeros(field.shape)  # noqa: PLR2004


def write_catalog(simulations: Sequence[Simulation], folder: Path) -> Path:
    """Write the scenes of simulations of several tiles as one catalog; returns the path of its catalog.json."""
    place = folder / "sentinel-2-l2a"
    ids = [one.write_scene(place, day) for one in simulations for day in one.visits]
    links = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in ids]
    _write_json(place / "collection.json", _collection(simulations, links))
    child = {"rel": "child", "href": "./sentinel-2-l2a/collection.json"}
    root = {"type": "Catalog", "id": "simulated", "description": "Simulated Sentinel-2 scenes with known truth."}
    _write_json(folder / "catalog.json", {**root, "stac_version": "1.1.0", "links": [child]})
    return folder / "catalog.json"


def _collection(simulations: Sequence[Simulation], links: list[dict[str, str]]) -> Json:
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
