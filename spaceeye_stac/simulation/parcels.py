"""Parcels of farmland through a season, with what is done to them and befalls them; pure.

A parcel is bare ground with green on it. Its curves over the days give the surface of any day; it changes at once on
the days of its `events`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.simulation.spectra import SPECTRA

Float = NDArray[np.float32]
Curve = NDArray[np.float64]
KINDS = {"crop": 0.3, "late": 0.2, "grass": 0.25, "forest": 0.13, "water": 0.05, "roofs": 0.07}
FIELDS = ("crop", "late", "grass")
PIXELS_PER_PARCEL = 102.4
FLOOD_DAYS = 14
SEASON_DAYS = 240


@dataclass(frozen=True)
class Parcel:
    """One parcel over the days.

    Attributes
    ----------
    kind
        One of `KINDS`.
    green
        `(day,)` share of the ground that is green; a little below 0 where a forest is darker than usual.
    bare
        `(band, day)` reflectance of the ground, in all bands.
    cover
        `(band,)` reflectance of what lies over both after a burn or in a flood, and `covered` `(day,)` its share.
    events
        Kind and first day of each; the day may be beyond the season.

    """

    kind: str
    green: Curve
    bare: Curve
    cover: Curve
    covered: Curve
    events: tuple[tuple[str, int], ...] = ()


def grown(kinds: Sequence[str], days: int, rng: np.random.Generator) -> list[Parcel]:
    """Draw the season of each parcel; in forty parcels, one field is burnt and another one flooded."""
    found = [_MAKERS[kind](kind, np.arange(float(days)), rng) for kind in kinds]
    fields = rng.permutation([n for n, kind in enumerate(kinds) if kind in FIELDS])
    each = max(1, round(len(kinds) / 40))
    for n in fields[:each]:
        found[n] = _burnt(found[n], rng)
    for n in fields[each : 2 * each]:
        found[n] = _flooded(found[n], rng)
    return found


def _spectrum(name: str) -> Curve:
    return np.array([SPECTRA[name][band] for band in DEFAULT_BANDS])


def _rise(days: Curve, middle: float, width: float) -> Curve:
    return np.asarray(1 / (1 + np.exp(-(days - middle) / width)))


def _constant(kind: str, green: Curve, ground: str) -> Parcel:
    bare = np.repeat(_spectrum(ground)[:, None], len(green), axis=1)
    return Parcel(kind, green, bare, _spectrum("water"), np.zeros(len(green)))


def _crop(kind: str, days: Curve, rng: np.random.Generator) -> Parcel:
    """A crop that grows and ripens on its stubble, and some days later the harvest."""
    sown, ripe = (
        (rng.normal(30, 8), rng.normal(120, 10)) if kind == "crop" else (rng.normal(90, 10), rng.normal(200, 12))
    )
    green = 0.95 * (_rise(days, sown, 8) - _rise(days, ripe, rng.uniform(4, 9)))
    harvest = int(ripe + rng.uniform(12, 20))
    soil, stubble = _spectrum("soil")[:, None], _spectrum("stubble")[:, None]
    dry = _rise(days, harvest - 25, 5)
    bare = np.where(days < harvest, soil * (1 - dry) + stubble * dry, (soil + stubble) / 2)
    return replace(_constant(kind, green, "soil"), bare=bare, events=(("harvest", harvest),))


def _grass(kind: str, days: Curve, rng: np.random.Generator) -> Parcel:
    """A meadow that is mown three times and grows again."""
    green = 0.75 + 0.15 * np.sin(2 * np.pi * (days + 20) / SEASON_DAYS)
    cuts = [int(cut) for cut in rng.uniform(0, 35) + np.arange(3) * rng.uniform(45, 70)]
    for cut in cuts:
        since = np.maximum(days - cut, 0)
        green = green * (1 - 0.65 * np.where(days >= cut, np.exp(-since / rng.uniform(9, 16)), 0))
    return replace(_constant(kind, green, "soil"), events=tuple(("mow", cut) for cut in cuts))


def _forest(kind: str, days: Curve, _rng: np.random.Generator) -> Parcel:
    return _constant(kind, 0.12 * np.sin(2 * np.pi * (days - 60) / (2 * SEASON_DAYS)), "forest")


def _water(kind: str, days: Curve, _rng: np.random.Generator) -> Parcel:
    return _constant(kind, np.zeros(len(days)), "water")


def _roofs(kind: str, days: Curve, _rng: np.random.Generator) -> Parcel:
    return _constant(kind, np.full(len(days), 0.12), "roofs")


_MAKERS = {"crop": _crop, "late": _crop, "grass": _grass, "forest": _forest, "water": _water, "roofs": _roofs}


def _start(parcel: Parcel, rng: np.random.Generator) -> tuple[int, Curve]:
    """A day in the middle half of the season, and the days since it."""
    length = len(parcel.green)
    start = int(rng.uniform(0.25 * length, 0.75 * length))
    return start, np.arange(float(length)) - start


def _burnt(parcel: Parcel, rng: np.random.Generator) -> Parcel:
    start, since = _start(parcel, rng)
    covered = np.where(since >= 0, 0.85 * np.exp(-np.maximum(since, 0) / 60), 0)
    return replace(parcel, cover=_spectrum("char"), covered=covered, events=(*parcel.events, ("burn", start)))


def _flooded(parcel: Parcel, rng: np.random.Generator) -> Parcel:
    start, since = _start(parcel, rng)
    covered = np.where((since >= 0) & (since < FLOOD_DAYS), 0.85, 0)
    return replace(parcel, cover=_spectrum("water"), covered=covered, events=(*parcel.events, ("flood", start)))
