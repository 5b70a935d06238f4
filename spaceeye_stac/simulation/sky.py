"""What lies between the ground and the satellite on one day: light, haze, clouds and their shadows; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.simulation.smooth_fields import smooth_field
from spaceeye_stac.simulation.spectra import VIEW, Atmosphere, of_bands

Float = NDArray[np.float32]
SHADOW_PIXELS = (9, -7)
VIEW_EFFECT = 0.035
SHADOW_SEEN = 0.15


@dataclass(frozen=True)
class Weather:
    """How often and how clouds come.

    `cloudiness`: share of the scenes with cloud that the labels find. `undetected`: share of the scenes with thin cloud
    that they do not find.
    """

    cloudiness: float = 0.65
    undetected: float = 0.3


USUAL_WEATHER = Weather()


@dataclass(frozen=True)
class Sky:
    """The sky of one scene.

    Attributes
    ----------
    gain, haze
        `(band, y, x)`: brightness of the date, of the view and of the light, around 1; what haze adds, in reflectance.
    colour, through
        `(band, 1, 1)`: reflectance of cloud; share of the light in a shadow that the sky sends into it.
    opacity, shadow
        `(y, x)` of all clouds, and how much darker their shadows are, 0 to 1.
    found
        `(y, x)` opacity of the clouds that labels can find, and `found_from` what they find of it.

    """

    gain: Float
    haze: Float
    colour: Float
    through: Float
    opacity: Float
    shadow: Float
    found: Float
    found_from: float

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        shape: tuple[int, int],
        bands: Sequence[str],
        air: Atmosphere,
        weather: Weather,
        view: float,
    ) -> "Sky":
        """Draw the sky of a scene; `view` is from -1, of the orbit that looks into the sun, to 1."""
        spectrum, effect = of_bands(air.haze, bands), of_bands(VIEW, bands)
        light = (1 + 0.015 * rng.normal()) * (1 + 0.01 * smooth_field(rng, shape, 20))
        amount = min(max(0.009 * rng.normal(), -0.012), 0.03) * (1 + 0.2 * smooth_field(rng, shape, 15))
        found, found_from = _found_cloud(rng, shape, weather)
        opacity = np.maximum(found, _thin_cloud(rng, shape, weather))
        shadow = _moved(opacity) * (opacity < 0.01) * rng.uniform(0.3, 0.6)  # noqa: PLR2004 - not under a cloud
        colour = of_bands(air.cloud, bands) * (1 - 0.3 * rng.random() * (1 - spectrum))
        gain = (1 + VIEW_EFFECT * view * effect) * light
        return cls(gain, spectrum * amount, colour, 0.25 * spectrum, opacity, shadow, found, found_from)

    def over(self, surface: Float) -> Float:
        """Reflectance `(band, y, x)` of a surface as it is seen through this sky, without noise."""
        lit = (surface * self.gain + self.haze) * (1 - self.shadow * (1 - self.through))
        return np.asarray(lit * (1 - self.opacity) + self.colour * self.opacity)

    @property
    def disturbs(self) -> NDArray[np.bool_]:
        """Where cloud or shadow changes what is seen `(y, x)`."""
        return np.asarray((self.opacity > 0.02) | (self.shadow > 0.05))  # noqa: PLR2004 - 2 % of cloud, 5 % of light


def _found_cloud(rng: np.random.Generator, shape: tuple[int, int], weather: Weather) -> tuple[Float, float]:
    """Cloud that is labelled but for its edges, and the opacity from which it is."""
    there, found_from, cover = rng.random() < weather.cloudiness, rng.uniform(0.06, 0.3), rng.beta(0.6, 0.5)
    field = smooth_field(rng, shape, 7)
    opacity = np.clip((field - np.quantile(field, 1 - cover)) / 0.35, 0, 1) * there
    return np.asarray(opacity, np.float32), float(found_from)


def _thin_cloud(rng: np.random.Generator, shape: tuple[int, int], weather: Weather) -> Float:
    """Thin cloud that no label finds."""
    there, most, edge = rng.random() < weather.undetected, rng.uniform(0.04, 0.3), rng.uniform(0.1, 0.85)
    field = smooth_field(rng, shape, float(rng.choice([5, 9, 16])))
    return np.asarray(np.clip((field - np.quantile(field, edge)) / 1.2, 0, 1) * most * there, np.float32)


def _moved(image: Float) -> Float:
    """An image `(y, x)` as far away as shadows fall; 0 where they come from outside."""
    down, right = SHADOW_PIXELS
    height, width = image.shape
    padded = np.pad(image, ((abs(down),) * 2, (abs(right),) * 2))
    top, left = abs(down) - down, abs(right) - right
    return padded[top : top + height, left : left + width]
