"""The grid of a region of the cloud-store bench, as it is or coarser. Peers use it too: it imports nothing of ours."""

import json
from pathlib import Path

from affine import Affine
from odc.geo.geobox import GeoBox

FOUR = ["B02", "B03", "B04", "B08"]
TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def bands_of(given: dict[str, str]) -> list[str]:
    """The bands that are asked for."""
    return FOUR if given["bands"] == "4" else TEN


def grid_of(given: dict[str, str]) -> GeoBox:
    """The region's grid of 10 m, or from its corner of so many metres as `resolution` says."""
    place = json.loads((Path(given["folder"]) / "grids.json").read_text())[given["region"]]
    a, b, c, d, e, f = place["t"]
    times = float(given.get("resolution", a)) / a
    height, width = (int(side / times) for side in place["shape"])
    return GeoBox((height, width), Affine(a * times, b, c, d, e * times, f), "EPSG:32631")
