"""Loads the pixels of the cloud-store bench into memory, as its peers do; prints a checksum and seconds.

In: folder of the bench's data, style of the store, region, number of bands, connections and loader, as JSON.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.network import NetworkUse, use_network
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources import search

FOUR = ["B02", "B03", "B04", "B08"]
TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def main(given: dict[str, str]) -> None:
    folder, bands = Path(given["folder"]), FOUR if given["bands"] == "4" else TEN
    grid, boxes = (json.loads((folder / f"{name}.json").read_text()) for name in ("grids", "rois"))
    place = grid[given["region"]]
    query = se.Query(
        catalog=folder / f"{given['style']}.json",
        bbox=boxes[given["region"]],
        datetime="2023-04-26/2023-06-12",
        bands=bands,
        allow_hrefs=["http://127.0.0.1"],
    )
    scenes = list(search(query))
    geobox = GeoBox(tuple(place["shape"]), Affine(*place["t"]), "EPSG:32631")
    use_network(NetworkUse(int(given["connections"]), given["loader"]))
    start = time.monotonic()
    found = load(scenes, geobox, resampling=dict.fromkeys(bands, "nearest"), sign=signed)
    took = time.monotonic() - start
    print("checksum", int(found.values.sum(dtype=np.int64)) + int(found.labels.sum(dtype=np.int64)), "LOAD", took)


main(json.loads(sys.argv[1]))
