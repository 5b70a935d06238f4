# /// script
# dependencies = ["spaceeye-stac"]
# ///
"""A user-defined function of openEO that fills clouds: dates in, every day out.

In the context stand the parameters of the process `fill_clouds`, as {"scl": "SCL"}. Use it on chunks with all dates:

    udf = openeo.UDF.from_file("openeo_udf.py", context={"scl": "SCL"})
    days = cube.apply_neighborhood(udf, size=[{"dimension": "x", "value": 256, "unit": "px"},
                                              {"dimension": "y", "value": 256, "unit": "px"}])
"""

from typing import Any

import xarray

from spaceeye_stac.platforms import run_openeo_process


def apply_metadata(metadata: Any, context: dict[str, Any]) -> Any:  # noqa: ANN401 - openeo's, which need not be here
    """Say that the band of classes is gone."""
    scl = (context or {}).get("scl")
    return metadata.filter_bands([name for name in metadata.band_names if name != scl]) if scl else metadata


def apply_datacube(cube: xarray.DataArray, context: dict[str, Any]) -> xarray.DataArray:
    """Fill a cube with the dimensions t, bands, y and x."""
    return run_openeo_process(cube, **(context or {})).compute()
