"""How far a day can be trusted, pixel by pixel: the days to the nearest look that was used, and flags."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import Flag
from spaceeye_stac.model import NO_LOOK, LookFlag

FARTHEST = 254
NEVER = 30_000
DISTANT_DAYS = 15


def _by_distance() -> NDArray[np.uint8]:
    """Flags that follow from the distance to the nearest used look."""
    table = np.full(NO_LOOK + 1, Flag.RECONSTRUCTED, np.uint8)
    table[DISTANT_DAYS + 1 :] = Flag.RECONSTRUCTED | Flag.DISTANT
    table[0], table[NO_LOOK] = Flag.SEEN, 0
    return table


def _by_look() -> NDArray[np.uint8]:
    """Flags that follow from those of the nearest used look."""
    known = {LookFlag.FEW: Flag.FEW_LOOKS, LookFlag.SNOW: Flag.SNOW, LookFlag.WATER: Flag.WATER}
    looks = np.arange(NO_LOOK + 1)
    table = np.zeros(len(looks), np.uint8)
    for look, flag in known.items():
        table |= np.where(looks & look, np.uint8(flag), np.uint8(0))
    return table


Days = NDArray[np.int16] | np.int16


def has(flags: NDArray[np.uint8], flag: LookFlag) -> NDArray[np.bool_]:
    """Where a flag is set; a flag as it is would make eight bytes of each."""
    return np.asarray((flags & np.uint8(flag)) != 0)


BY_DISTANCE, BY_LOOK = _by_distance(), _by_look()


@dataclass(frozen=True)
class Quality:
    """Of one day `(y, x)`: `distance` in days to the nearest used look, 254 = that or more, 255 = none; `flags`.

    `doubted`: the nearest used look was not used with its full weight, as it may show cloud, haze or shadow.
    """

    distance: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    doubted: NDArray[np.bool_]

    def forget(self, outside: NDArray[np.bool_]) -> None:
        """Leave no data where it is `outside` the region."""
        self.distance[outside], self.flags[outside], self.doubted[outside] = NO_LOOK, 0, False


@dataclass(frozen=True)
class Nearest:
    """The nearest looks on one side `(y, x)`: the `day` of that which was used, by index, and its `flags`.

    `snow`: day of the nearest that is labelled snow; None where no look is. +-NEVER where there is none.
    """

    day: NDArray[np.int16]
    flags: NDArray[np.uint8]
    snow: NDArray[np.int16] | None

    @classmethod
    def among(cls, looks: Iterable[tuple[int, NDArray[np.uint8]]], never: int, shape: tuple[int, ...]) -> "Nearest":
        """Of looks by day, the nearest first; those behind a used look of every pixel are not asked for."""
        days, found, snow = np.full(shape, never, np.int16), np.zeros(shape, np.uint8), None
        waiting = np.ones(shape, bool)
        for day, flags in looks:
            snowy = has(flags, LookFlag.SNOW)
            if snowy.any():
                snow = np.full(shape, never, np.int16) if snow is None else snow
                np.copyto(snow, np.int16(day), where=snowy & (snow == never))
            new = has(flags, LookFlag.USED) & waiting
            np.copyto(days, np.int16(day), where=new)
            np.copyto(found, flags, where=new)
            waiting &= ~new
            if not waiting.any():
                break
        return cls(days, found, snow)


@dataclass(frozen=True)
class NearLooks:
    """The nearest looks `before` (or on) and `after` the days between two knots.

    `suspect` `(y, x)`: flag of the looks on the knot, the first of the days, that were left out; None without a look.
    """

    days: range
    before: Nearest
    after: Nearest
    suspect: NDArray[np.uint8] | None

    @classmethod
    def of(
        cls, look: Callable[[int], NDArray[np.uint8]], looked: Sequence[int], days: range, shape: tuple[int, ...]
    ) -> "NearLooks":
        """Of the days `looked`, increasing; `look` gives the flags of each by its index.

        None of them is after the first of `days` and not after the last.
        """
        later = int(np.searchsorted(looked, days[0], side="right"))
        on_knot = look(later - 1) if later and looked[later - 1] == days[0] else None
        earlier = ((looked[n], look(n)) for n in reversed(range(later - (on_knot is not None))))
        before = Nearest.among(earlier if on_knot is None else chain([(days[0], on_knot)], earlier), -NEVER, shape)
        after = Nearest.among(((looked[n], look(n)) for n in range(later, len(looked))), NEVER, shape)
        suspect = None
        if on_knot is not None:
            suspect = np.where(has(on_knot, LookFlag.SUSPECT), np.uint8(Flag.SUSPECT), np.uint8(0))
        return cls(days, before, after, suspect)

    def on(self, day: int) -> Quality:
        """What is known of one of the days."""
        gap, later_gap = _gaps(self.before.day, self.after.day, day)
        nearest = np.where(gap <= later_gap, self.before.flags, self.after.flags)
        np.minimum(gap, later_gap, out=gap)
        missing = self._missing
        distance = np.minimum(gap, FARTHEST).astype(np.uint8)
        distance[missing] = NO_LOOK
        flags = BY_DISTANCE[distance]
        flags |= BY_LOOK[nearest]
        flags |= self._one_sided * (distance != 0)
        if self.suspect is not None and day == self.days[0]:
            flags |= self.suspect
        snowy = self._nearer_snow(gap, day)
        if snowy is not None:
            flags[snowy] = (flags[snowy] & ~np.uint8(Flag.WATER)) | np.uint8(Flag.SNOW)
        flags[missing] = 0
        return Quality(distance, flags, has(nearest, LookFlag.DOUBTED))

    @cached_property
    def _missing(self) -> NDArray[np.bool_]:
        """Where no look was used."""
        return np.asarray((self.before.day == -NEVER) & (self.after.day == NEVER))

    @cached_property
    def _one_sided(self) -> NDArray[np.uint8]:
        """Flag of pixels without a used look on one side."""
        one_sided = (self.before.day == -NEVER) | (self.after.day == NEVER)
        return np.where(one_sided, np.uint8(Flag.EXTRAPOLATED), np.uint8(0))

    def _nearer_snow(self, gap: NDArray[np.int16], day: int) -> NDArray[np.bool_] | None:
        """Where a look that is labelled snow is nearer than every one that was used; None where no look is."""
        if self.before.snow is None and self.after.snow is None:
            return None
        before = np.int16(-NEVER) if self.before.snow is None else self.before.snow
        after = np.int16(NEVER) if self.after.snow is None else self.after.snow
        return np.minimum(*_gaps(before, after, day)) < gap


def _gaps(before: Days, after: Days, day: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Days from the look before to a day, and from it to the look after; what is missing is far away."""
    return np.subtract(np.int16(day), np.maximum(before, np.int16(day - NEVER))), np.subtract(after, np.int16(day))
