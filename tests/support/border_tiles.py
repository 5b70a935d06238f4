"""Simulated tiles on both sides of a border, and the catalogs they make: one ground and sky under all of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

from spaceeye_stac.simulation.landscape import Simulation

ZONE_BORDER = (6.0, 50.81)
DATE_LINE = (180.0, -17.0)
PERFECT = Simulation(
    days=9, revisit=3, cloudiness=0.4, seed=11, world_epsg=32631, bands=("B04", "B11"), noise=0, label_errors=0
)


def tile_at(
    epsg: int, tile: str, place: tuple[float, float], columns: tuple[int, int], half: int, like: Simulation = PERFECT
) -> Simulation:
    """A tile that reaches `columns` to the west and east, and `half` to the north and south, of a place in degrees."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*place)
    left, top = 20 * round(x / 20) - 10 * columns[0], 20 * round(y / 20) + 10 * half
    return replace(like, epsg=epsg, tile=tile, shape=(2 * half, sum(columns)), origin=(left, top))


def published(out: Path, name: str, bands: Sequence[str]) -> tuple[NDArray[np.int64], tuple[float, float]]:
    """Pixels `(band, y, x)` of a published item, and the upper left corner of its grid."""
    layers = []
    for band in bands:
        with rasterio.open(out / name / f"{band}.tif") as source:
            layers.append(source.read(1))
            corner = source.transform.c, source.transform.f
    return np.stack(layers).astype(np.int64), corner
