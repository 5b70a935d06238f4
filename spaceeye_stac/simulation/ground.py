"""The surface of farmland on any day of a season; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.simulation.catalog import COARSE_BANDS, doubled, halved
from spaceeye_stac.simulation.known import PlantedEvent
from spaceeye_stac.simulation.parcels import FIELDS, KINDS, PIXELS_PER_PARCEL, Parcel, grown
from spaceeye_stac.simulation.smooth_fields import smooth_field
from spaceeye_stac.simulation.spectra import SPECTRA

Float = NDArray[np.float32]
DAYS_PER_RAIN = 20
DRIES_DAYS = 3.0
VEGETATION, BARE, WATER = 4, 5, 6
GREEN = np.array([SPECTRA["crop"][band] for band in DEFAULT_BANDS], np.float32)


@dataclass(frozen=True)
class Ground:
    """Parcels of a tile, their texture, and rain that makes bare ground darker for days; follows from `seed`."""

    shape: tuple[int, int]
    days: int
    seed: int

    @cached_property
    def parcel(self) -> NDArray[np.int32]:
        """Number of the parcel of each pixel `(y, x)`: the nearest of some points, with winding borders."""
        rng = np.random.default_rng([self.seed, 1])
        height, width = self.shape
        rows, columns = rng.uniform(0, height, self._count), rng.uniform(0, width, self._count)
        y, x = np.mgrid[:height, :width] + 2 * np.stack([smooth_field(rng, self.shape, 6) for _ in range(2)])
        nearest, least = np.zeros(self.shape, np.int32), np.full(self.shape, np.inf)
        for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
            far = (y - row) ** 2 + (x - column) ** 2
            nearest[far < least] = number
            least = np.minimum(far, least)
        return nearest

    @cached_property
    def parcels(self) -> list[Parcel]:
        """The parcels by their numbers; one that has no pixel is among them."""
        rng = np.random.default_rng([self.seed, 2])
        kinds = [str(kind) for kind in rng.choice(list(KINDS), self._count, p=list(KINDS.values()))]
        return grown(kinds, self.days, rng)

    @property
    def events(self) -> tuple[PlantedEvent, ...]:
        """What happens to parcels that have pixels, on the days of the season."""
        found = [(event, number) for number, parcel in enumerate(self.parcels) for event in parcel.events]
        planted = [PlantedEvent(kind, day, self.parcel == number) for (kind, day), number in found if day < self.days]
        return tuple(event for event in planted if event.pixels.any())

    @property
    def _count(self) -> int:
        return max(1, round(self.shape[0] * self.shape[1] / PIXELS_PER_PARCEL))

    @cached_property
    def _texture(self) -> Float:
        """Brightness around 1 `(y, x)`."""
        rng = np.random.default_rng([self.seed, 3])
        return np.asarray(1 + 0.03 * smooth_field(rng, self.shape, 1) + 0.04 * smooth_field(rng, self.shape, 6))

    @cached_property
    def _vigour(self) -> Float:
        """How much more or less green than its parcel a pixel is `(y, x)`: around 1 on fields, 1 elsewhere."""
        rng = np.random.default_rng([self.seed, 4])
        fields = np.array([parcel.kind in FIELDS for parcel in self.parcels])[self.parcel]
        return np.where(fields, 1 + np.float32(0.08) * smooth_field(rng, self.shape, 3), np.float32(1))

    @cached_property
    def _wetness(self) -> NDArray[np.float64]:
        """Of the ground `(day,)`: 1 on a day of rain, less on those after it."""
        rng = np.random.default_rng([self.seed, 5])
        rains = rng.choice(self.days, min(self.days, max(1, round(self.days / DAYS_PER_RAIN))), replace=True)
        since = np.arange(self.days)[:, None] - rains
        return np.asarray(np.where(since >= 0, np.exp(-np.maximum(since, 0) / DRIES_DAYS), 0).max(axis=1))

    def surface(self, day: int, bands: Sequence[str]) -> Float:
        """Reflectance `(band, y, x)` float32 on a day; bands of 20 m are constant over 2 x 2 pixels."""
        red, *dry = self._dry(day, ("B04", *bands))
        darker = 1 - np.float32(0.15 * self._wetness[day]) * np.clip((red - 0.04) / 0.1, 0, 1)
        pairs = zip(bands, (image * darker for image in dry), strict=True)
        return np.stack([doubled(halved(image)) if band in COARSE_BANDS else image for band, image in pairs])

    def _dry(self, day: int, bands: Sequence[str]) -> Float:
        """Reflectance `(band, y, x)` at 10 m without rain."""
        of = [DEFAULT_BANDS.index(band) for band in bands]
        bare = np.array([parcel.bare[of, day] for parcel in self.parcels], np.float32).T[:, self.parcel]
        cover = np.array([parcel.cover[of] for parcel in self.parcels], np.float32).T[:, self.parcel]
        green = np.array([parcel.green[day] for parcel in self.parcels], np.float32)[self.parcel]
        covered = np.array([parcel.covered[day] for parcel in self.parcels], np.float32)[self.parcel]
        overgrown = bare + (GREEN[of, None, None] - bare) * np.clip(green * self._vigour, -0.2, 1)
        return np.asarray((overgrown + (cover - overgrown) * covered) * self._texture)

    def labels(self, day: int) -> NDArray[np.int64]:
        """Class of the ground (SCL) `(y, x)` at 20 m, as one would have it without cloud."""
        one = np.array([self._label(parcel, day) for parcel in self.parcels])
        return np.asarray(one[self.parcel[::2, ::2]])

    def _label(self, parcel: Parcel, day: int) -> int:
        if parcel.kind == "water":
            return WATER
        return VEGETATION if parcel.kind == "forest" or parcel.green[day] > 0.4 else BARE  # noqa: PLR2004
