import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spaceeye_stac.keyframes import blend, clear_distance, share_between


@given(st.sets(st.integers(-5, 60), min_size=1, max_size=12), st.data())
def test_a_day_lies_between_its_two_knots(days: set[int], data: st.DataObject) -> None:
    knots = sorted(days)
    day = data.draw(st.integers(knots[0], knots[-1]))
    before, share = share_between(knots, day)
    after = min(before + 1, len(knots) - 1)
    assert knots[before] <= day <= knots[after]
    assert knots[before] + share * (knots[after] - knots[before]) == day or abs(share) < 1


def test_blend_is_exact_at_both_ends() -> None:
    left, right = np.array([0.1, np.nan, 0.3], np.float32), np.array([0.7, np.nan, 0.1], np.float32)
    np.testing.assert_array_equal(blend(left, right, 0.0), left)
    np.testing.assert_allclose(blend(left, right, 1.0), right, atol=1e-7)
    np.testing.assert_allclose(blend(left, right, 0.25), [0.25, np.nan, 0.25], atol=1e-7)


@given(st.lists(st.integers(-300, 300), max_size=8, unique=True), st.integers(-10, 10), st.integers(0, 2**31))
def test_clear_distance_is_that_of_the_nearest_look(days: list[int], day: int, seed: int) -> None:
    days = sorted(days)
    clear = np.random.default_rng(seed).random((len(days), 3, 2)) < 0.4
    found = clear_distance(clear, days, day)
    for y, x in np.ndindex(3, 2):
        gaps = [abs(d - day) for d, seen in zip(days, clear[:, y, x], strict=True) if seen]
        assert found[y, x] == (min(*gaps, 254) if gaps else 255)
