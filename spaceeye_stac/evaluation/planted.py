"""What is planted into looks: thin cloud with its shadow, and events on the ground; pure.

A cloud's spectrum and its shadow's are drawn at random, band by band, so that no method is measured with the very
spectra that it looks for. Source: `daily_other_spectra.py` and `daily_other_events.py` of the surface method's
specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.evaluation.baselines import Bool, Float
from spaceeye_stac.evaluation.looks import LookStack
from spaceeye_stac.query import BANDS

SMOOTH_PIXELS = (3, 5, 9)
OPACITY = (0.05, 0.3)
SHADOW = (0.15, 0.5)
SHADOW_BELOW = 0.01  # opacity
LEAST_REFLECTANCE = 1e-4
EVENT_SHARE = 0.7
EVENT_DAYS = 40
EVENT_PIXELS = 9
BARE_SHARE = 0.05
BLOCK_CLEAR = 0.7
BEFORE_DAYS = 12
SPECTRA = {
    "dark soil": dict(
        zip(BANDS, (0.03, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.10, 0.10, 0.11, 0.09), strict=True)
    ),
    "green": dict(zip(BANDS, (0.02, 0.025, 0.06, 0.03, 0.09, 0.33, 0.44, 0.47, 0.49, 0.49, 0.20, 0.10), strict=True)),
    "bright sheet": dict(
        zip(BANDS, (0.3, 0.30, 0.31, 0.32, 0.33, 0.34, 0.35, 0.35, 0.35, 0.35, 0.30, 0.25), strict=True)
    ),
}
EVENTS = ("mowing", *SPECTRA)


def plant_cloud(looks: LookStack, target: int, rng: np.random.Generator) -> tuple[LookStack, Float]:
    """Put a thin cloud and its shadow over the clear looks of one date, which stay labelled clear.

    Returns a copy, and the effect `(y, x)` float32: opacity of the cloud, less the strength of the shadow; 0 where not
    clear.
    """
    clear, seen = looks.clear[target], looks.values[:, target]
    opacity, shadow = _shapes(clear.shape, rng)
    bands = (len(seen), 1, 1)
    cloud = (rng.uniform(0.4, 0.9) * np.exp(rng.normal(0, 0.3, bands))).astype(np.float32)
    dark = np.clip(1 + rng.normal(0, 0.25, bands), 0.3, 1.5).astype(np.float32)
    below = np.maximum(seen * (1 - shadow * dark), np.float32(LEAST_REFLECTANCE))
    values = looks.values.copy()
    values[:, target] = np.where(clear, below * (1 - opacity) + cloud * opacity, seen)
    return replace(looks, values=values), np.where(clear, opacity - shadow, np.float32(0))


def _shapes(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Float, Float]:
    """Opacity of a cloud and strength of its shadow `(y, x)`: smooth noise above a quantile, and the same moved."""
    noise = smoothed(rng.normal(size=shape), float(rng.choice(SMOOTH_PIXELS)))
    top = rng.uniform(*OPACITY)
    opacity = np.clip((noise - np.quantile(noise, rng.uniform(0.3, 0.9))) / 1.2, 0, 1) * top
    moved = np.roll(opacity, (shape[0] // 6, -shape[1] // 8), (0, 1))
    shadow = moved * (opacity < SHADOW_BELOW) / top * rng.uniform(*SHADOW)
    return opacity.astype(np.float32), shadow.astype(np.float32)


def smoothed(noise: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Noise `(y, x)` smoothed by a Gaussian of that many pixels, which goes on round the edges; mean 0, deviation 1."""
    along = [np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(side)) ** 2) for side in noise.shape]
    smooth = np.fft.ifft2(np.fft.fft2(noise) * np.outer(*along)).real
    return np.asarray((smooth - smooth.mean()) / max(smooth.std(), 1e-12))


@dataclass(frozen=True)
class Event:
    """A block of ground that changes between the dates `before` and `first`, by index, and is seen on dates `seen`."""

    kind: str
    where: Bool
    before: int
    first: int
    seen: tuple[int, ...]


def find_event(looks: LookStack, kind: str, where: Bool, target: int, count: int | None) -> Event | None:
    """Return the event that begins before a date and is seen in so many looks of its block (None: in all that follow).

    None where the block is not at least 70 % clear on that date and on one at most 12 days before.
    """
    seen = np.flatnonzero(looks.clear[:, where].mean(axis=1) > BLOCK_CLEAR)
    after, earlier = seen[seen >= target], seen[seen < target]
    if not len(after) or after[0] != target or not len(earlier):
        return None
    if looks.days[target] - looks.days[earlier[-1]] > BEFORE_DAYS:
        return None
    return Event(kind, where, int(earlier[-1]), target, tuple(int(t) for t in after[:count]))


def plant_events(looks: LookStack, events: Sequence[Event], spectra: dict[str, Float]) -> LookStack:
    """Move each event's block towards its spectrum `(band,)` by 0.7 exp(-age / 40 days), in a copy."""
    values = looks.values.copy()
    for event in events:
        for t in range(event.first, event.seen[-1] + 1):
            share = np.float32(EVENT_SHARE * np.exp(-(looks.days[t] - looks.days[event.first]) / EVENT_DAYS))
            changed = event.where & looks.clear[t]
            values[:, t, changed] = (1 - share) * values[:, t, changed] + share * spectra[event.kind][:, None]
    return replace(looks, values=values)


def event_spectra(looks: LookStack, bands: Sequence[str]) -> dict[str, Float]:
    """Spectrum `(band,)` that each kind of event leads to; mowing leads to the barest ground of the region.

    That is the mean over time of the 5 % of its pixels that are brightest in the short-wave infrared, else in red.
    """
    count = np.maximum(looks.clear.sum(axis=0), 1)
    mean = looks.values.sum(axis=1) / count
    by = next((name for name in ("B11", "B12", "B04") if name in bands), bands[-1])
    brightness = mean[list(bands).index(by)]
    bare = mean[:, brightness >= np.quantile(brightness, 1 - BARE_SHARE)].mean(axis=1).astype(np.float32)
    known = {kind: np.array([spectrum[name] for name in bands], np.float32) for kind, spectrum in SPECTRA.items()}
    return {"mowing": bare, **known}


def event_blocks(shape: tuple[int, int], rng: np.random.Generator) -> dict[str, Bool]:
    """A block `(y, x)` for each kind of event: one in each quarter of the image, in a random place and order."""
    side = max(1, min(EVENT_PIXELS, min(shape) // 7))
    blocks = {}
    for kind, quarter in zip(EVENTS, rng.permutation(len(EVENTS)), strict=True):
        corner = [half * (length // 2) for half, length in zip(divmod(int(quarter), 2), shape, strict=True)]
        top, left = (
            start + int(rng.integers(0, max(1, length // 2 - side + 1)))
            for start, length in zip(corner, shape, strict=True)
        )
        where = np.zeros(shape, bool)
        where[top : top + side, left : left + side] = True
        blocks[kind] = where
    return blocks
