"""Loads the pixels of the cloud-store bench into memory, as its peers do; prints a checksum and seconds.

In: folder of the bench's data, style of the store, region, number of bands, connections and loader, as JSON; where it
is read coarser, metres of a pixel, and whether of `overviews` or as an `average` of full pixels.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import spaceeye_stac as se
from spaceeye_stac.pixels.loader import load, resampling_of
from spaceeye_stac.pixels.network import NetworkUse, use_network
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.sources import search
from tests.benchmarks.coarse_grid import bands_of, grid_of


def main(given: dict[str, str]) -> None:
    folder = Path(given["folder"])
    query = se.Query(
        catalog=folder / f"{given['style']}.json",
        bbox=json.loads((folder / "rois.json").read_text())[given["region"]],
        datetime="2023-04-26/2023-06-12",
        bands=bands_of(given),
        allow_hrefs=["http://127.0.0.1"],
    )
    scenes, geobox = list(search(query)), grid_of(given)
    use_network(NetworkUse(int(given["connections"]), given["loader"]))
    how = resampling_of(scenes, geobox, "nearest", coarser=given.get("coarser", "average"))
    start = time.monotonic()
    found = load(scenes, geobox, resampling=how, sign=signed)
    took = time.monotonic() - start
    print("checksum", int(found.values.sum(dtype=np.int64)) + int(found.labels.sum(dtype=np.int64)), "LOAD", took)


main(json.loads(sys.argv[1]))
