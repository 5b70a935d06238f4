"""A backend of openEO as small as can be, run by the platforms' interpreter: real processes, graphs from JSON lines.

For each process graph on the standard input there is a line of JSON on the output: {} or {"error": sentence}.
"""

import inspect
import json
import logging
import sys
import urllib.request
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
logging.disable()

from openeo_pg_parser_networkx import OpenEOProcessGraph, ProcessRegistry  # noqa: E402
from openeo_pg_parser_networkx.process_registry import Process  # noqa: E402
from openeo_processes_dask import process_implementations, specs  # noqa: E402
from openeo_processes_dask.process_implementations.core import process  # noqa: E402
from openeo_processes_dask.process_implementations.cubes import load  # noqa: E402

from spaceeye_stac.errors import SpaceEyeError  # noqa: E402
from spaceeye_stac.platforms import register_openeo  # noqa: E402


def stac_type(url: str) -> str:
    """In place of the validator of `load_stac`, which gets its schemas from the internet."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - loopback
        return str(json.load(answer)["type"]).upper()


def save_result(data: Any, format: str, options: Any = None) -> str:  # noqa: A002 - as openEO calls it
    """What each backend writes itself: here a file of NetCDF or Zarr, by its path; put in place when it is whole."""
    path = Path(options["path"])
    draft = path.with_name(f".{path.name}")
    found = data.rename("days").drop_attrs()
    found.load().to_dataset().to_zarr(draft, zarr_format=2) if format == "Zarr" else found.to_netcdf(draft)
    draft.rename(path)
    return str(path)


def registry() -> ProcessRegistry:
    """All processes of openeo-processes-dask, `save_result`, and `fill_clouds`."""
    found = ProcessRegistry(wrap_funcs=[process])
    for name, function in inspect.getmembers(process_implementations, inspect.isfunction):
        if hasattr(specs, name):
            found[name] = Process(spec=getattr(specs, name), implementation=function)
    found["save_result"] = Process(spec=specs.save_result, implementation=save_result)
    register_openeo(found)
    return found


def answers() -> None:
    load._validate_stac = stac_type  # noqa: SLF001
    known = registry()
    for line in sys.stdin:
        try:
            OpenEOProcessGraph(json.loads(line)).to_callable(known)()
            print(json.dumps({}), flush=True)  # noqa: T201
        except SpaceEyeError as error:
            print(json.dumps({"error": str(error)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    answers()
