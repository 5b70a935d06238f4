"""The whole line on a simulated catalog, compared with the truth that the simulation knows."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from spaceeye_stac.days import TRUE_COLOUR, quantise, visual
from spaceeye_stac.errors import OutputError
from spaceeye_stac.model import Progress
from spaceeye_stac.pipeline import run
from spaceeye_stac.query import Query
from spaceeye_stac.settings import Settings
from spaceeye_stac.simulation.landscape import Simulation

PICTURE = "before_after.png"
SHOWN_SCENES = 4
PIXEL_ZOOM = 2


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and the errors, in reflectance, at pixels that were under cloud on the day of a scene.

    `error` is the mean absolute difference of the published days from the truth, `scene_error` that of the cloudy
    scenes themselves; `pixels` is how many values were compared.
    """

    catalog: Path
    days: Path
    picture: Path
    count: int
    error: float
    scene_error: float
    pixels: int


def demo(folder: Path, settings: Settings, progress: Progress, simulation: Simulation | None = None) -> DemoReport:
    """Simulate a catalog in `folder`, publish its days beside it and compare them with the truth.

    Raises OutputError when `folder` holds anything.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"Demo folder {folder} is not empty; choose another with --out.")
    simulation = simulation or Simulation()
    progress("simulating", 0, 1)
    catalog = simulation.write(folder / "catalog")
    progress("simulating", 1, 1)
    last = simulation.start + timedelta(days=simulation.days - 1)
    box = simulation.geobox.extent.to_crs("EPSG:4326", resolution=100).boundingbox
    query = Query(catalog=catalog, bbox=box.bbox, datetime=f"{simulation.start}/{last}")
    result = run(query, settings, out=folder / "days", progress=progress)
    return _compare(simulation, folder, len(result.days), settings)


def _compare(simulation: Simulation, folder: Path, count: int, settings: Settings) -> DemoReport:
    errors, scene_errors, columns = [], [], []
    for day in (d for d in simulation.visits if 0 <= d < simulation.days):
        hidden = np.add(*simulation.cloud(day)) > 0.1  # noqa: PLR2004 - visibly cloud or shadow
        truth, (scene, _) = simulation.truth(day), simulation.scene(day)
        published = _published(simulation, folder, day, settings)
        valid = hidden & (published[0] > 0)
        errors.append(np.abs(published * 1e-4 - truth)[:, valid])
        scene_errors.append(np.abs(scene * 1e-4 - truth)[:, valid])
        if 0.2 < hidden.mean() < 0.9:  # noqa: PLR2004 - partly cloudy days show best
            columns.append((hidden.mean(), _column(simulation, (scene, published, quantise(truth)))))
    picture = folder / PICTURE
    _save([image for _, image in sorted(columns, key=lambda c: -c[0])[:SHOWN_SCENES]], picture)
    flat, cloudy = np.concatenate([e.ravel() for e in errors]), np.concatenate([e.ravel() for e in scene_errors])
    days = folder / "days" / "collection.json"
    return DemoReport(
        folder / "catalog" / "catalog.json", days, picture, count, float(flat.mean()), float(cloudy.mean()), flat.size
    )


def _published(simulation: Simulation, folder: Path, day: int, settings: Settings) -> NDArray[np.uint16]:
    """DN `(band, y, x)` of a published day on the simulation's grid."""
    name = f"{settings.collection_id}_{simulation.start + timedelta(days=day)}"
    height, width = simulation.shape
    layers = []
    for band in simulation.bands:
        with rasterio.open(folder / "days" / name / f"{band}.tif") as source:
            window = source.window(*simulation.geobox.boundingbox.bbox)
            layers.append(source.read(1, window=window, boundless=True, out_shape=(height, width)))
    return np.stack(layers)


def _column(simulation: Simulation, images: tuple[NDArray[np.uint16], ...]) -> NDArray[np.uint8]:
    """Scene, published day and truth below each other, in true colour."""
    index = {name: simulation.bands.index(name) for name in TRUE_COLOUR}
    rgb = [visual([image[index[name]] for name in TRUE_COLOUR], TRUE_COLOUR) for image in images]
    gap = np.full((3, 4, simulation.shape[1]), 255, np.uint8)
    return np.concatenate([rgb[0], gap, rgb[1], gap, rgb[2]], axis=1)


def _save(columns: list[NDArray[np.uint8]], path: Path) -> None:
    gap = np.full((3, columns[0].shape[1], 4), 255, np.uint8)
    joined = np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=2)
    image = Image.fromarray(joined.transpose(1, 2, 0))
    image.resize((image.width * PIXEL_ZOOM, image.height * PIXEL_ZOOM), Image.Resampling.NEAREST).save(
        path, optimize=True
    )
