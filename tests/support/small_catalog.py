"""Four scenes of 64 x 64 pixels as items with absolute hrefs, to be changed and written as one ItemCollection."""

import json
from collections.abc import Sequence
from pathlib import Path

import spaceeye_stac as se
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.items import Json, absolute_items

SMALL = Simulation(shape=(64, 64), days=12, revisit=3, seed=3)
DAYS = "2023-04-01/2023-04-10"


def small_items(folder: Path) -> list[Json]:
    """The items of the days asked for, in the order of time."""
    items = sorted(absolute_items(SMALL.write(folder)), key=lambda item: str(item["properties"]["datetime"]))
    return [item for item in items if "2023-04-01" <= item["properties"]["datetime"][:10] <= "2023-04-10"]


def written(items: Sequence[Json], folder: Path) -> Path:
    """An ItemCollection in the folder that the files lie below."""
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path


def small_query(catalog: Path, **options: object) -> se.Query:
    box = SMALL.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    usual = {"catalog": catalog, "bbox": box.bbox, "datetime": DAYS, "bands": ["B02", "B04"]}
    return se.Query(**{**usual, **options})  # type: ignore[arg-type]
