"""`fill_clouds` in openEO: process graphs on openeo-processes-dask's own processes, and a user-defined function."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import xarray as xr

import spaceeye_stac as se
from tests.e2e.platform_environment import on_platform
from tests.support.damped import DAMPED
from tests.support.servers import rustac_api
from tests.support.small_catalog import small_items, small_query, written

BANDS = ["B02", "B04"]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RUN_UDF = """
import json, sys
import xarray, openeo
from openeo.metadata import Band, BandDimension, CubeMetadata
from openeo.udf import execute_local_udf
code, cube, out, context = sys.argv[1:]
udf = openeo.UDF.from_file(code, context=json.loads(context))
found = execute_local_udf(udf, xarray.open_dataarray(cube)).get_datacube_list()[0].get_array()
found.to_netcdf(out)
names = ["B02", "B04", "SCL"]
module = {}
exec(udf.code, module)
known = CubeMetadata(dimensions=[BandDimension("bands", [Band(name) for name in names])])
print(json.dumps(module["apply_metadata"](known, udf.context).band_names))
"""


@dataclass(frozen=True)
class Asked:
    """The address of a STAC API's collection, its items, and the days that the solver makes of its scenes."""

    collection: str
    items: Sequence[pystac.Item]
    days: xr.Dataset


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("openeo")
    items = small_items(folder / "source")
    query = small_query(written(items, folder / "source"))
    days = se.interpolate(se.search(query), query, DAMPED)
    for item in items:
        item["collection"] = "sentinel-2-l2a"
        for asset in item["assets"].values():  # as a path from the root of the server it would not be this machine's
            asset["href"] = Path(asset["href"]).as_uri()
    with rustac_api(folder, list((folder / "source").glob("*/collection.json")), items) as api:
        yield Asked(f"{api}/collections/sentinel-2-l2a", [pystac.Item.from_dict(item) for item in items], days)


def graph_of(asked: Asked, out: Path, **arguments: Any) -> dict[str, Any]:
    """load_stac -> fill_clouds -> save_result."""
    box = asked.days.odc.geobox.extent.to_crs("EPSG:4326").boundingbox
    extent = {"west": box.left, "south": box.bottom, "east": box.right, "north": box.top}
    load = {
        "url": asked.collection,
        "spatial_extent": extent,
        "temporal_extent": ["2023-04-01", "2023-04-11"],
        "bands": [*BANDS, "SCL"],
    }
    fill = {"data": {"from_node": "load"}, "scl": "SCL", "method": "damped", **arguments}
    save = {"data": {"from_node": "fill"}, "format": "Zarr", "options": {"path": str(out)}}
    return {
        "load": {"process_id": "load_stac", "arguments": load},
        "fill": {"process_id": "fill_clouds", "arguments": fill},
        "save": {"process_id": "save_result", "arguments": save, "result": True},
    }


def answered(graphs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    done = on_platform("python", "-m", "tests.e2e.openeo_backend", input="\n".join(map(json.dumps, graphs)))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_process_graph_gives_what_the_solver_gives_and_faults_are_sentences(asked: Asked, tmp_path: Path) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"scl": "SCF"}, "scl 'SCF' is no band of the cube; it has B02, B04, SCL."),
        ({"method": "guess"}, "method 'guess' is not allowed; choose from"),
        ({"speed": 3}, "speed is no parameter of fill_clouds; it has data, mask, scl,"),
        ({"temporal_extent": ["2031-04-01", "2031-04-03"]}, "are not near the days that are asked for."),
        ({"clear_classes": [11]}, "None of 4 days has a clear share above min_clear_ratio"),  # when half is done
    ]
    good = tmp_path / "days.zarr"
    part = {"temporal_extent": ["2023-04-03", "2023-04-06"]}
    graphs = [graph_of(asked, good), graph_of(asked, tmp_path / "part.zarr", **part)]
    graphs += [graph_of(asked, tmp_path / "bad.zarr", **arguments) for arguments, _ in bad]
    first, second, *others = answered(graphs)
    assert (first, second) == ({}, {})
    found = xr.open_zarr(good, consolidated=False).days
    assert set(found.dims) == {"time", "bands", "y", "x"}
    assert found.bands.values.tolist() == BANDS
    same = found.transpose("time", "bands", "y", "x").reindex(y=asked.days.y, x=asked.days.x)
    assert same.time.equals(asked.days.time.drop_attrs())
    assert np.isfinite(same).any()
    # the units of the cube are DN: 2 units in the last place of float32 on the way there
    np.testing.assert_allclose(same * np.float32(1e-4), asked.days.reflectance, rtol=2**-22)
    days = xr.open_zarr(tmp_path / "part.zarr", consolidated=False).days.time
    assert days.dt.strftime("%m-%d").values.tolist() == ["04-03", "04-04", "04-05"]
    for answer, (_, sentence) in zip(others, bad, strict=True):
        assert sentence in answer["error"]
    assert sorted(path.name for path in tmp_path.glob("*.zarr")) == ["days.zarr", "part.zarr"]


def test_a_user_defined_function_gives_what_the_solver_gives(asked: Asked, tmp_path: Path) -> None:
    import odc.stac  # noqa: PLC0415 - of the end-to-end tests alone

    cube = odc.stac.load(asked.items, bands=[*BANDS, "SCL"], geobox=asked.days.odc.geobox).to_dataarray("bands")
    cube.rename(time="t").drop_vars("spatial_ref").drop_attrs().to_netcdf(tmp_path / "cube.nc")
    context = json.dumps({"scl": "SCL", "method": "damped", "temporal_extent": ["2023-04-01", "2023-04-11"]})
    line = ["-W", "ignore", "-c", RUN_UDF, EXAMPLES / "openeo_udf.py", tmp_path / "cube.nc", tmp_path / "days.nc"]
    done = on_platform("python", *line, context)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == BANDS
    found = xr.open_dataarray(tmp_path / "days.nc")
    assert found.dims == ("t", "bands", "y", "x")
    np.testing.assert_allclose(found * np.float32(1e-4), asked.days.reflectance, rtol=2**-22)
