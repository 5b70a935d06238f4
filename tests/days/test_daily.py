import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.days.blending import clear_distance, nearest_looks


@given(
    st.sets(st.integers(-300, 4000), max_size=8),
    st.integers(-10, 3660),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_clear_distance_is_that_of_the_nearest_look(looked: set[int], first: int, length: int, seed: int) -> None:
    group = range(first, first + length)
    days = sorted(day for day in looked if day == first or day not in group)
    clear = np.random.default_rng(seed).random((len(days), 3, 2)) < 0.4
    before, after = nearest_looks(clear, days, group, (3, 2))
    for day in group:
        found = clear_distance(before, after, day)
        for y, x in np.ndindex(3, 2):
            gaps = [abs(d - day) for d, seen in zip(days, clear[:, y, x], strict=True) if seen]
            assert found[y, x] == (min(*gaps, 254) if gaps else 255)
