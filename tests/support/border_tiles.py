"""Simulated tiles on both sides of a border, and the catalogs they make: one ground and sky under all of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from pyproj import Transformer

from spaceeye_stac.days.cog import TRUE_COLOUR, visual
from spaceeye_stac.simulation.landscape import Simulation

ZONE_BORDER = (6.0, 50.81)
DATE_LINE = (180.0, -17.0)
PERFECT = Simulation(
    days=9, revisit=3, cloudiness=0.4, seed=11, world_epsg=32631, bands=("B04", "B11"), noise=0, label_errors=0
)
PICTURE_ZOOM = 2


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


def picture(images: Sequence[NDArray[np.integer]], column: int, path: Path) -> None:
    """Days `(band, y, x)` of B02, B03, B04 beside each other in true colour, with a tick where the border runs."""
    panels = []
    for image in images:
        shown = visual([image[i].astype(np.uint16) for i in (2, 1, 0)], TRUE_COLOUR)
        ticks = np.full((3, 6, shown.shape[2]), 255, np.uint8)
        ticks[:, :, column - 1 : column + 1] = np.array([220, 0, 0], np.uint8)[:, None, None]
        panels.append(np.concatenate([ticks, shown, ticks], axis=1))
    gap = np.full((3, panels[0].shape[1], 6), 255, np.uint8)
    joined = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=2).transpose(1, 2, 0)
    whole = Image.fromarray(joined).quantize(128)
    whole.resize((whole.width * PICTURE_ZOOM, whole.height * PICTURE_ZOOM), Image.Resampling.NEAREST).save(
        path, optimize=True
    )
