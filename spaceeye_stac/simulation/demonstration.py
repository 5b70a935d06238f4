"""The whole line on a simulated catalog, compared with the truth of every day that the simulation knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from spaceeye_stac.errors import OutputError
from spaceeye_stac.model import Progress
from spaceeye_stac.pipeline import run
from spaceeye_stac.query import Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.simulation.farmland import Farmland
from spaceeye_stac.simulation.picture import Comparison, draw
from spaceeye_stac.simulation.truth_scores import ErrorSummary, truth_errors

PICTURE = "before_after.png"
# fields that are mown, harvested, burnt and flooded on the days that are published
SHOWN = Farmland(shape=(128, 128), days=180)
SHOWN_DAYS = range(90, 150)


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and how far the published days are from the truth.

    `errors` sums up the errors of NDVI over every day, by group, and under `"blue"` those of B02: see `truth_errors`.
    `error` is the mean absolute difference in reflectance at pixels that cloud or shadow covered in a scene, and
    `scene_error` that of the scenes themselves; `pixels` is how many values were compared for these.
    """

    catalog: Path
    days: Path
    picture: Path
    count: int
    errors: Mapping[str, ErrorSummary]
    error: float
    scene_error: float
    pixels: int


def demo(
    folder: Path, settings: Settings, progress: Progress, farmland: Farmland = SHOWN, days: range = SHOWN_DAYS
) -> DemoReport:
    """Simulate a catalog in `folder`, publish some of its days beside it and compare them with the truth.

    Raises OutputError when `folder` holds anything.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"Demo folder {folder} is not empty; choose another with --out.")
    progress("simulating", 0, 1)
    catalog = farmland.write(folder / "catalog")
    progress("simulating", 1, 1)
    first, last = (farmland.start + timedelta(days=day) for day in (days[0], days[-1]))
    box = farmland.geobox.extent.to_crs("EPSG:4326", resolution=100).boundingbox
    query = Query(catalog=catalog, bbox=box.bbox, datetime=f"{first}/{last}", bands=farmland.bands)
    result = run(query, settings, out=folder / "days", progress=progress)
    film = _published(farmland, folder / "days", [farmland.start + timedelta(days=d) for d in days], settings)
    found = Comparison(farmland, farmland.stack(days), film)
    draw(found, folder / PICTURE)
    summary = truth_errors(found.known, film).summary()
    place = folder / "days" / "collection.json"
    return DemoReport(catalog, place, folder / PICTURE, len(result.days), summary, *_under_cloud(found))


def _published(farmland: Farmland, folder: Path, days: list[date], settings: Settings) -> NDArray[np.float32]:
    """Reflectance `(band, day, y, x)` of the published days on the simulation's grid; NaN where there is none."""
    film = np.full((len(farmland.bands), len(days), *farmland.shape), np.nan, np.float32)
    for n, day in enumerate(days):
        for i, band in enumerate(farmland.bands):
            with rasterio.open(folder / f"{settings.collection_id}_{day}" / f"{band}.tif") as source:
                window = source.window(*farmland.geobox.boundingbox.bbox)
                numbers = source.read(1, window=window, boundless=True, out_shape=farmland.shape)
            film[i, n] = np.where(numbers > 0, numbers * np.float32(1e-4), np.float32(np.nan))
    return film


def _under_cloud(found: Comparison) -> tuple[float, float, int]:
    """Mean absolute error of the published days and of the scenes, where these are cloudy, and the number of values."""
    errors, scene_errors = [], []
    for day in found.known.acquisition_days:
        at = found.known.days.index(day)
        truth, published = found.known.truth[:, at], found.film[:, at]
        valid = found.farmland.sky(day).disturbs & np.isfinite(published[0])
        errors.append(np.abs(published - truth)[:, valid].ravel())
        scene_errors.append(np.abs(found.farmland.scene(day)[0] * np.float32(1e-4) - truth)[:, valid].ravel())
    flat, cloudy = np.concatenate(errors), np.concatenate(scene_errors)
    return float(flat.mean()), float(cloudy.mean()), flat.size
