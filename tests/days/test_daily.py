import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spaceeye_stac.collection import Flag
from spaceeye_stac.days.quality import NearLooks, Quality
from spaceeye_stac.model import LookFlag

SHAPE = (3, 2)


def pixel_by_hand(looks: list[tuple[int, LookFlag]], day: int) -> tuple[int, Flag, bool]:
    """Distance, flags and doubt of one pixel of one day, from all its looks, written as a person would."""
    used = [(abs(d - day), d > day, flags) for d, flags in looks if LookFlag.USED in flags]
    if not used:
        return 255, Flag(0), False
    gap, _, nearest = min(used, key=lambda one: one[:2])
    found = Flag.SEEN if gap == 0 else Flag.RECONSTRUCTED
    if gap > 0 and (all(d > day for d, f in looks if LookFlag.USED in f) or all(not after for _, after, _ in used)):
        found |= Flag.EXTRAPOLATED
    if gap > 15:
        found |= Flag.DISTANT
    if LookFlag.FEW in nearest:
        found |= Flag.FEW_LOOKS
    if any(d == day and LookFlag.SUSPECT in f for d, f in looks):
        found |= Flag.SUSPECT
    snow = min((abs(d - day) for d, f in looks if LookFlag.SNOW in f), default=9999)
    if snow < gap or LookFlag.SNOW in nearest:
        found |= Flag.SNOW
    elif LookFlag.WATER in nearest:
        found |= Flag.WATER
    return min(gap, 254), found, LookFlag.DOUBTED in nearest


def random_looks(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Flags of looks as methods leave them: a look is used, or suspect, or neither; snow and water exclude another."""
    kind = rng.choice(np.array([0, 1, 5, LookFlag.SUSPECT], np.uint8), (count, *SHAPE))
    ground = rng.choice(np.array([0, 0, LookFlag.SNOW, LookFlag.WATER], np.uint8), (count, *SHAPE))
    few = np.where(rng.random(SHAPE) < 0.3, np.uint8(LookFlag.FEW), np.uint8(0))
    found: NDArray[np.uint8] = kind | ground | few
    return found


def quality_of(flags: NDArray[np.uint8], looked: list[int], days: range, day: int) -> Quality:
    return NearLooks.of(lambda n: flags[n], looked, days, SHAPE).on(day)


@given(
    st.sets(st.integers(-300, 4000), max_size=8),
    st.integers(0, 3660),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_a_day_is_flagged_by_the_looks_around_it(looked: set[int], first: int, length: int, seed: int) -> None:
    group = range(first, first + length)
    days = sorted(day for day in looked if day == first or day not in group)
    flags = random_looks(np.random.default_rng(seed), len(days))
    for day in group:
        found = quality_of(flags, days, group, day)
        for y, x in np.ndindex(SHAPE):
            looks = [(d, LookFlag(int(f))) for d, f in zip(days, flags[:, y, x], strict=True)]
            distance, expected, doubted = pixel_by_hand(looks, day)
            assert found.distance[y, x] == distance
            assert Flag(int(found.flags[y, x])) == expected
            assert found.doubted[y, x] == doubted


def test_looks_behind_those_that_show_every_pixel_are_not_read() -> None:
    flags = np.full((9, *SHAPE), LookFlag.USED, np.uint8)
    asked = []

    def look(n: int) -> NDArray[np.uint8]:
        asked.append(n)
        return np.array(flags[n], np.uint8)

    NearLooks.of(look, [*range(0, 90, 10)], range(40, 50), SHAPE)
    assert sorted(set(asked)) == [4, 5]


@pytest.mark.parametrize("outside", [np.zeros(SHAPE, bool), np.eye(*SHAPE, dtype=bool)])
def test_nothing_is_said_of_pixels_outside_the_region(outside: NDArray[np.bool_]) -> None:
    found = quality_of(np.full((1, *SHAPE), LookFlag.USED | LookFlag.DOUBTED, np.uint8), [0], range(3), 1)
    found.forget(outside)
    assert np.array_equal(found.distance == 255, outside)
    assert np.array_equal(found.flags == 0, outside)
    assert np.array_equal(found.doubted, ~outside)
