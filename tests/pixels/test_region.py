from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box, shape

from spaceeye_stac.outlines import bbox, footprint, joined, middle, split, unwrapped

OVER = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[179.5, -17], [180, -17], [180, -16], [179.5, -16], [179.5, -17]]],
        [[[-180, -17], [-179, -17], [-179, -16], [-180, -16], [-180, -17]]],
    ],
}


def test_parts_on_both_sides_become_one_piece_and_are_cut_again() -> None:
    one = joined(OVER)
    assert one.geom_type == "Polygon"
    assert one.bounds == (179.5, -17, 181, -16)
    again = shape(split(one))
    assert again.equals(shape(OVER))
    assert bbox([OVER]) == (179.5, -17, -179, -16)
    assert middle(OVER) == -179.75


def test_what_is_wide_on_purpose_stays_as_it_is() -> None:
    for outline in (
        box(-100, 0, 120, 10),
        MultiPolygon([box(-60, 0, -50, 1), box(30, 0, 40, 1)]),
        box(-180, 0, 180, 1),
    ):
        assert joined(outline).equals(outline)
        assert bbox([outline]) == outline.bounds


def test_islands_on_both_sides_lie_together() -> None:
    assert bbox([box(178, 0, 179, 1), box(-179, 0, -178, 1)]) == (178, 0, -178, 1)
    assert bbox([box(3, 50, 4, 51), box(4, 51, 5, 52)]) == (3, 50, 5, 52)


def test_a_ring_that_jumps_is_joined() -> None:
    jumping = Polygon([(179.9, 10), (-179.8, 10), (-179.8, 11), (179.9, 11)])
    assert unwrapped(jumping).equals(box(179.9, 10, 180.2, 11))
    hole = [(-179.9, 10.2), (-179.9, 10.8), (179.95, 10.8), (179.95, 10.2)]
    with_hole = Polygon(jumping.exterior, [hole])
    assert unwrapped(with_hole).equals(box(179.9, 10, 180.2, 11).difference(box(179.95, 10.2, 180.1, 10.8)))
    assert shape(split(unwrapped(with_hole))).area == pytest.approx(0.3 - 0.15 * 0.6)


@pytest.mark.parametrize(
    ("item", "bounds"),
    [
        ({"geometry": OVER}, (179.5, -17, 181, -16)),
        ({"geometry": None, "bbox": [179.5, -17, -179, -16]}, (179.5, -17, 181, -16)),
        ({"geometry": None, "bbox": [12.8, 41.4, 11.4, 42.4]}, (11.4, 41.4, 12.8, 42.4)),  # swapped, as some are
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}, "bbox": [3, 50, 4, 51]}, (3, 50, 4, 51)),
        ({"geometry": 5, "bbox": [3, 50, 10, 4, 51, 90]}, (3, 50, 4, 51)),
    ],
)
def test_footprints_of_items_as_they_come(item: Any, bounds: tuple[float, ...]) -> None:
    found = footprint(item)
    assert found is not None
    assert found.bounds == pytest.approx(bounds)
    turned = footprint(item, near=-180)
    assert turned is not None
    assert abs((turned.bounds[0] + turned.bounds[2]) / 2 + 180) <= 180.0001 + 180 * (bounds[0] < 100)


def test_an_item_that_says_nothing_has_no_footprint() -> None:
    assert footprint({}) is None
    assert footprint({"geometry": "x", "bbox": ["a", 1, 2, 3]}) is None


@given(st.floats(-179.99, 179.99), st.floats(-80, 80), st.floats(0.01, 100), st.floats(0.01, 9))
def test_any_box_is_cut_and_joined_without_loss(west: float, south: float, width: float, height: float) -> None:
    one = box(west, south, west + width, south + height)
    cut = shape(split(one))
    assert cut.area == pytest.approx(one.area)
    assert -180 <= cut.bounds[0] <= cut.bounds[2] <= 180
    assert joined(cut).bounds == pytest.approx(one.bounds, abs=1e-6)
