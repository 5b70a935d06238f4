"""Loads a region of the cloud-store bench by odc-stac, whose own Python may run this; prints a checksum and seconds.

In: as `cloud_load`, in the style of Planetary Computer.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import odc.stac
import pystac

from tests.benchmarks.coarse_grid import bands_of, grid_of


def main(given: dict[str, str]) -> None:
    names = [*bands_of(given), "SCL"]
    document = json.loads((Path(given["folder"]) / "pc.json").read_text())
    items = [pystac.Item.from_dict(item) for item in document["features"]]
    how = {"*": "average", "SCL": "nearest"}
    odc.stac.configure_rio(cloud_defaults=True)
    start = time.monotonic()
    found = odc.stac.load(
        items,
        bands=names,
        geobox=grid_of(given),
        pool=int(given["connections"]),
        groupby="id",
        resampling=how,
        fail_on_error=True,
    )
    took = time.monotonic() - start
    print("checksum", sum(int(found[name].values.sum(dtype=np.int64)) for name in names), "LOAD", took)


main(json.loads(sys.argv[1]))
