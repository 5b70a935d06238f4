"""Which tiles of a file hold a region, whatever an item says of where the file lies."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import Affine

from spaceeye_stac.pixels.tile_parts import TileLevel, TilePart

FULL = TileLevel((48, 64), (16, 16), np.zeros((3, 4), np.int64), np.zeros((3, 4), np.int64))
BOUNDS = (500640.0, 5629520.0, 500790.0, 5629750.0)
NUMBERS = st.sampled_from([0.0, 1e-320, 20.0, -20.0, 1e308, -1e308, 5e5, math.nan, math.inf]) | st.floats()


@given(*[NUMBERS] * 6)
def test_no_transform_is_too_odd(a: float, b: float, c: float, d: float, e: float, f: float) -> None:
    found = TilePart.inside(Affine(a, b, c, d, e, f), BOUNDS, FULL, FULL)
    assert found is None or isinstance(found, TilePart)


def test_a_plain_one_holds_the_tiles_of_its_pixels() -> None:
    assert TilePart.inside(Affine(10, 0, 500_480, 0, -10, 5_629_840), BOUNDS, FULL, FULL) is not None
    assert TilePart.inside(Affine(10, 0, 600_480, 0, -10, 5_629_840), BOUNDS, FULL, FULL) is None
