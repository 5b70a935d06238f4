"""Films, an image for every day, of simulated farmland: by a plain line in time, and by whole runs of the product."""

from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import spaceeye_stac as se
from spaceeye_stac.simulation import Farmland, KnownStack


def line_film(known: KnownStack) -> NDArray[np.float32]:
    """A straight line through each pixel's clear looks `(band, day, y, x)`, constant outside; NaN where never clear."""
    film = np.full(known.truth.shape, np.nan, np.float32)
    when, asked = np.array(known.acquisition_days), np.array(known.days)
    for y, x in np.ndindex(film.shape[2:]):
        seen = known.clear[:, y, x]
        if seen.any():
            for band, values in enumerate(known.values[:, seen, y, x]):
                film[band, :, y, x] = np.interp(asked, when[seen], values)
    return film


def query_of(farmland: Farmland, catalog: Path, days: range) -> se.Query:
    """Ask for some days of all of the farmland, and a little around it."""
    box = farmland.geobox.extent.to_crs("EPSG:4326", resolution=100).boundingbox
    first, last = (farmland.start + timedelta(days=day) for day in (days[0], days[-1]))
    return se.Query(catalog=catalog, bbox=box.bbox, datetime=f"{first}/{last}", bands=farmland.bands)


def product_film(farmland: Farmland, catalog: Path, settings: se.Settings, days: range) -> NDArray[np.float32]:
    """The days `(band, day, y, x)` that the product makes of the farmland's catalog, on the farmland's grid."""
    query = query_of(farmland, catalog, days)
    cube = se.interpolate(se.search(query, settings), query, settings)["reflectance"]
    on_grid = cube.sel({axis: farmland.geobox.coordinates[axis].values for axis in ("y", "x")}, method="nearest")
    return np.asarray(on_grid.transpose("band", "time", "y", "x").compute(scheduler="synchronous").values)
