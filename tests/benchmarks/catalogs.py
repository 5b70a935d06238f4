"""Simulated catalogs of any size for the benchmarks: 12 scenes in 48 days, the landscape repeated every 1024 pixels."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import spaceeye_stac as se
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.simulation.landscape import Simulation

START = date(2023, 5, 1)
DAYS = 48
UNIT = 1024


@dataclass(frozen=True)
class Repeated(Simulation):
    """A simulation whose scenes are those of its upper left part, side by side: large ones cost little to make."""

    @property
    def visits(self) -> list[int]:
        """Only days of the request."""
        return list(range(0, self.days, self.revisit))

    def scene(self, day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """See `Simulation`."""
        values, labels = unit(self, day)
        height, width = self.shape
        return _tiled(values, (height, width)), _tiled(labels, (height // 2, width // 2))

    def cloud(self, day: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of one part, for the share alone."""
        return replace(Simulation(), shape=(UNIT, UNIT)).cloud(day)


def unit(simulation: Simulation, day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """The upper left part of a scene, which the others repeat, and its labels."""
    return _unit(simulation.days, simulation.revisit, tuple(simulation.bands), day)


@cache
def _unit(days: int, revisit: int, bands: tuple[str, ...], day: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    return Simulation(shape=(UNIT, UNIT), days=days, revisit=revisit, bands=bands).scene(day)


def _tiled(image: NDArray, shape: tuple[int, int]) -> NDArray:  # type: ignore[type-arg]
    rows, columns = (-(-n // size) for n, size in zip(shape, image.shape[-2:], strict=True))
    whole = np.tile(image, (*(1 for _ in image.shape[:-2]), rows, columns))
    return whole[..., : shape[0], : shape[1]]


def catalog(shape: tuple[int, int], folder: Path, bands: tuple[str, ...] = DEFAULT_BANDS) -> se.Query:
    """Write a catalog and give the query that asks for all of it."""
    simulation = Repeated(shape=shape, start=START, days=DAYS, revisit=4, bands=bands)
    written = simulation.write(folder)
    # inside by half a pixel, and an outline, not its box in degrees, so that the grid is that of the scenes
    region = simulation.geobox.extent.buffer(-5).to_crs("EPSG:4326").json
    days = f"{START}/{START + timedelta(days=DAYS - 1)}"
    return se.Query(catalog=written, intersects=region, datetime=days, bands=bands)
