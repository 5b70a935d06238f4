"""Farmland under a satellite, with the surface of every day and what was planted where, to score daily images on.

Parcels grow, are mown, harvested, burnt and flooded. Each scene has the haze, the brightness and the view of its date;
labels miss the edges of clouds, thin clouds and their shadows, and take some bare ground for cloud.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.simulation.catalog import COARSE, COARSE_BANDS, SimulatedTile, doubled, halved
from spaceeye_stac.simulation.ground import BARE, Ground
from spaceeye_stac.simulation.known import KnownStack, PlantedEvent
from spaceeye_stac.simulation.sky import SHADOW_SEEN, USUAL_WEATHER, Sky, Weather
from spaceeye_stac.simulation.spectra import USUAL_ATMOSPHERE, Atmosphere

REPEAT_DAYS = 5
ORBITS = (51, 94, 137, 8, 22)
CLEAR_CLASSES = (4, 5, 6, 7)
SHADOW_CLASS, CLOUD_CLASS, THICK_CLASS = 3, 8, 9


@dataclass(frozen=True)
class Farmland(SimulatedTile):
    """A season of farmland, 100 pixels a parcel; its days run from 0 to `days` - 1, and so do its scenes.

    Parameters
    ----------
    passes
        Days of each five on which a scene is taken, each from an orbit of its own.
    weather, atmosphere
        How often clouds come, and the spectra of haze and cloud.
    label_errors
        Share of the bare pixels of 20 m that are called cloud.

    Raises InvalidInputError for a shape that is odd, passes that are not days of five, or a season without a day.

    """

    shape: tuple[int, int] = (64, 64)
    start: date = date(2023, 3, 1)
    days: int = 240
    noise: float = 0.0025
    passes: Sequence[int] = (0, 2)
    weather: Weather = USUAL_WEATHER
    atmosphere: Atmosphere = USUAL_ATMOSPHERE
    label_errors: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(side % COARSE for side in self.shape):
            raise InvalidInputError(f"shape {self.shape} is not allowed; give two even numbers of pixels.")
        if self.days < 1:
            raise InvalidInputError(f"days {self.days} is not allowed; give a number of days from 1.")
        known = set(range(REPEAT_DAYS))
        if not self.passes or len(set(self.passes)) < len(self.passes) or not set(self.passes) <= known:
            raise InvalidInputError(f"passes {tuple(self.passes)} is not allowed; give different days from 0 to 4.")

    @property
    def visits(self) -> list[int]:
        """Days, counted from `start`, on which a scene is taken."""
        return [day for day in range(self.days) if day % REPEAT_DAYS in self.passes]

    def relative_orbit(self, day: int) -> int:
        """Return the orbit from which the scene of a day is taken."""
        return ORBITS[day % REPEAT_DAYS]

    @cached_property
    def ground(self) -> Ground:
        """The parcels and their surface."""
        return Ground(self.shape, self.days, self.seed)

    @property
    def events(self) -> tuple[PlantedEvent, ...]:
        """What happens on the ground on the days of the season."""
        return self.ground.events

    def truth(self, day: int) -> NDArray[np.float32]:
        """Reflectance `(band, y, x)` float32 of the surface; bands of 20 m are constant over 2 x 2 pixels."""
        if day not in range(self.days):
            raise InvalidInputError(f"day {day} is not of the season; give one from 0 to {self.days - 1}.")
        return self.ground.surface(day, self.bands)

    def sky(self, day: int) -> Sky:
        """What is between the ground and the satellite in the scene of a day."""
        views = np.linspace(1, -1, len(self.passes)) if len(self.passes) > 1 else np.zeros(1)
        view = float(views[sorted(self.passes).index(day % REPEAT_DAYS)])
        rng = np.random.default_rng([self.seed, 6, day])
        return Sky.drawn(rng, self.shape, self.bands, self.atmosphere, self.weather, view)

    def cloud_cover(self, day: int) -> float:
        """Percent of the tile that any cloud covers in the scene of a day."""
        return 100 * float((self.sky(day).opacity > 0).mean())

    def scene(self, day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """DN `(band, y, x)` at 10 m and labels (SCL) at 20 m, as the satellite would deliver them."""
        rng = np.random.default_rng([self.seed, 7, day])
        sky = self.sky(day)
        labels = self._labels(day, sky, rng)
        seen = sky.over(self.truth(day))
        noise = rng.normal(0, self.noise, seen.shape).astype(np.float32)
        for i, band in enumerate(self.bands):
            # a pixel of 20 m has a noise of its own
            coarse = band in COARSE_BANDS
            seen[i] = doubled(halved(seen[i]) + noise[i, ::2, ::2]) if coarse else seen[i] + noise[i]
        return np.clip(np.rint(seen / 1e-4), 1, 65535).astype(np.uint16), labels

    def _labels(self, day: int, sky: Sky, rng: np.random.Generator) -> NDArray[np.uint8]:
        ground = self.ground.labels(day)
        cloud, shadow = halved(sky.found), halved(sky.shadow)
        wrong = (ground == BARE) & (rng.random(ground.shape) < self.label_errors)
        found = [cloud > 0.6, cloud > sky.found_from, shadow > SHADOW_SEEN, wrong]  # noqa: PLR2004 - thick enough
        return np.select(found, [THICK_CLASS, CLOUD_CLASS, SHADOW_CLASS, CLOUD_CLASS], ground).astype(np.uint8)

    def stack(self, days: range | None = None) -> KnownStack:
        """Return looks, and the truth of every day, of the season or of some of its days, as arrays."""
        asked = range(self.days) if days is None else days
        visits = tuple(day for day in self.visits if day in asked)
        values = np.zeros((len(self.bands), len(visits), *self.shape), np.float32)
        clear, undetected = np.zeros((2, len(visits), *self.shape), bool)
        for n, day in enumerate(visits):
            numbers, labels = self.scene(day)
            clear[n] = doubled(np.isin(labels, CLEAR_CLASSES))
            values[:, n] = np.where(clear[n], numbers * np.float32(1e-4), np.float32(0))
            undetected[n] = clear[n] & self.sky(day).disturbs
        truth = np.stack([self.truth(day) for day in asked], axis=1)
        return KnownStack(tuple(self.bands), values, clear, visits, truth, asked, undetected, self.events)
