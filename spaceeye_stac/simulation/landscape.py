"""A simulated Sentinel-2 catalog of any size with known truth, for tests and benchmarks.

Fields of two crops, forest, water and a village change over the season; clouds with shadows drift over them, every
scene has its own haze, and the scene classification makes some errors, as the real one does. The landscape is a
function of map coordinates, so that neighbouring simulations continue each other; with `world_epsg` it is one of the
coordinates of that CRS, so that simulations in any zone show the same ground and sky.
"""

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from spaceeye_stac.simulation.catalog import COARSE, COARSE_BANDS, SimulatedTile, doubled, halved
from spaceeye_stac.simulation.spectra import SPECTRA

WATER, FOREST, VILLAGE, EARLY_CROP, LATE_CROP = range(5)
PARCEL_METRES = 320.0
WAVES = 24
SHADOW_PIXELS = (12, -9)


@dataclass(frozen=True)
class Simulation(SimulatedTile):
    """A landscape, its days and the satellite's visits; everything follows from `seed`.

    Where `world_epsg` is given, ground, clouds, shadows and haze follow from the place in that CRS, the day and `seed`
    alone, whatever the tile and its zone; left out, fine texture and cloudiness are the tile's own.
    """

    revisit: int = 4
    cloudiness: float = 0.5
    haze: float = 0.03
    label_errors: float = 0.02
    world_epsg: int | None = None

    @property
    def visits(self) -> list[int]:
        """Days, counted from `start`, on which a scene is taken; half a season of context on both sides included."""
        return list(range(-(self.days // 2 // self.revisit) * self.revisit, self.days + self.days // 2, self.revisit))

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
            out[i] = doubled(halved(image)) if band in COARSE_BANDS else image
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

    def cloud_cover(self, day: int) -> float:
        """Percent of the tile that any cloud covers on a day."""
        return 100 * float((self.cloud(day)[0] > 0).mean())

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
        seen = [halved(opacity) > 0.6, halved(opacity) > 0.02 + late, halved(shadow) > 0.02 + 2 * late, bright]  # noqa: PLR2004
        return np.select(seen, [9, 8, 3, 8], ground).astype(np.uint8)


def _level(cover: float) -> float:
    """Return what a field of mean 0 and deviation 1 exceeds on a share of the ground."""
    return NormalDist().inv_cdf(min(max(1 - cover, 1e-9), 1 - 1e-9))


def _opacity(field: NDArray[np.float64], edge: float, cover: float) -> NDArray[np.float64]:
    return np.clip((field - edge) / 0.25, 0, 1) if cover > 0.02 else np.zeros(field.shape)  # noqa: PLR2004
