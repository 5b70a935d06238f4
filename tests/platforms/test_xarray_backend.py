"""A run as xarray opens it: the same values as its files hold, placed, described and written as others expect it."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, InvalidInputError, OutputError, ReadError
from tests.support.damped import DAMPED
from tests.support.servers import rustac_api
from tests.support.small_catalog import small_items, small_query, written

DAYS = [f"2023-04-{day:02}" for day in range(1, 11)]
BANDS = ["B02", "B04"]


@dataclass(frozen=True)
class Runs:
    """The same days as files, with keyframes kept, and virtual."""

    files: Path
    virtual: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    query = small_query(written(small_items(folder / "source"), folder / "source"))
    output = se.Output(keep_keyframes=True, uncertainty="bands")
    se.run(query, DAMPED, out=folder / "files", output=output)
    se.run(query, DAMPED, out=folder / "virtual", output=se.Output(days="virtual"))
    return Runs(folder / "files", folder / "virtual")


@pytest.fixture(scope="module")
def served(runs: Runs) -> Iterator[str]:
    """Address of the folder that both runs lie in."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(runs.files.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def copied(runs: Runs, tmp_path: Path) -> Path:
    """A copy of the run that may be changed."""
    return Path(shutil.copytree(runs.files, tmp_path / "out"))


def dn_of(folder: Path, day: str, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    (path,) = (folder / f"spaceeye_{day}").glob(f"{name}.[tv]*")
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def assert_same_as_files(cube: xr.Dataset, folder: Path, days: list[str]) -> None:
    """Each array of a cube of DN against rasterio's reading of each file."""
    for day in days:
        now = cube.sel(time=day)
        for name in ("uncertainty", "clear_distance", "flags"):
            np.testing.assert_array_equal(now[name], dn_of(folder, day, name), strict=True)
        for band in BANDS:
            np.testing.assert_array_equal(now.reflectance.sel(band=band), dn_of(folder, day, band), strict=True)
            if "band_uncertainty" in cube:
                expected = dn_of(folder, day, f"uncertainty_{band}")
                np.testing.assert_array_equal(now.band_uncertainty.sel(band=band), expected, strict=True)


def change_items(out: Path, change: Any) -> None:
    for path in sorted(out.glob("spaceeye_*/*.json")):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))


@pytest.mark.parametrize("kind", ["files", "virtual"])
def test_the_values_are_those_of_the_files(runs: Runs, kind: str) -> None:
    folder = getattr(runs, kind)
    raw = xr.open_dataset(folder, engine="spaceeye", mask_and_scale=False)
    assert list(raw.time.dt.strftime("%Y-%m-%d")) == DAYS
    assert ("band_uncertainty" in raw) == (kind == "files")
    assert_same_as_files(raw, folder, DAYS)
    cube = xr.open_dataset(folder, engine="spaceeye")
    for band in BANDS:
        dn = dn_of(folder, DAYS[3], band)
        expected = np.where(dn == 0, np.float32(np.nan), dn.astype(np.float32) * np.float32(0.0001))
        np.testing.assert_array_equal(cube.reflectance.sel(time=DAYS[3], band=band), expected, strict=True)
    assert (dn_of(folder, DAYS[3], "B02") == 0).any()


def test_nothing_is_read_before_it_is_asked_for_and_then_that_part_alone(copied: Path) -> None:
    whole = se.open(copied)
    want = whole.reflectance.sel(time=DAYS[2], band="B04").load()
    for path in copied.glob("spaceeye_*/*.tif"):
        if path.parent.name[-10:] != DAYS[2] or path.name != "B04.tif":
            path.unlink()
    for cube in (se.open(copied), xr.open_dataset(copied, engine="spaceeye", chunks=None)):
        xr.testing.assert_identical(cube.reflectance.sel(time=DAYS[2], band="B04").load(), want)
        with pytest.raises(ReadError, match=r"spaceeye_2023-04-01/B0.\.tif of a day does not exist; run or publish"):
            cube.reflectance.isel(time=0).load()


@pytest.mark.parametrize("what", ["files", "files/keyframes"])
def test_parts_of_any_form_are_those_of_the_whole(runs: Runs, what: str) -> None:
    lazy = xr.open_dataset(runs.files.parent / what, engine="spaceeye", cache=False)
    whole = lazy.load()
    lazy = xr.open_dataset(runs.files.parent / what, engine="spaceeye", cache=False)
    parts: list[dict[str, Any]] = [
        {"time": [7, 2, 2], "band": [1, 0], "y": slice(3, 40, 7), "x": [5, 1, 50]},
        {"time": slice(None, None, -3), "y": 11, "x": slice(-4, None)},
        {"time": 4, "band": -1, "y": slice(0, 0)},
        {"time": xr.DataArray([0, 9], dims="point"), "y": xr.DataArray([3, 4], dims="point"), "x": 8},
    ]
    for part in parts:
        xr.testing.assert_identical(lazy.isel(part).load(), whole.isel(part))


def test_kept_keyframes_round_to_the_files(runs: Runs) -> None:
    stored, files = se.open(runs.files / "keyframes"), se.open(runs.files, mask_and_scale=False)
    assert set(stored.data_vars) == set(files.data_vars)
    for name in ("reflectance", "uncertainty", "band_uncertainty"):
        dn = np.nan_to_num(np.clip(np.rint(stored[name].to_numpy().astype(np.float64) / 1e-4), 1, 65535), nan=0)
        np.testing.assert_array_equal(dn, files[name])
    for name in ("clear_distance", "flags"):
        np.testing.assert_array_equal(stored[name], files[name], strict=True)
    by_groups = se.open_keyframes(runs.files / "keyframes")
    for key in by_groups.data_vars:
        np.testing.assert_array_equal(by_groups[key], stored[key], strict=True)


def test_it_is_described_by_the_cf_conventions(runs: Runs) -> None:
    for place in (runs.files, runs.virtual, runs.files / "keyframes"):
        cube = se.open(place)
        assert cube.attrs["Conventions"] == "CF-1.11"
        names = {name: cube[name].attrs.get("standard_name") for name in cube.variables}
        assert names["reflectance"] == "surface_bidirectional_reflectance"
        assert names["uncertainty"] == "surface_bidirectional_reflectance standard_error"
        assert names["flags"] == "surface_bidirectional_reflectance status_flag"
        assert (names["time"], names["y"], names["x"]) == ("time", "projection_y_coordinate", "projection_x_coordinate")
        assert cube.wavelength.load().to_dict()["data"] == [0.49, 0.665]
        assert cube.reflectance.attrs["units"] == cube.uncertainty.attrs["units"] == "1"
        assert [cube[axis].attrs["axis"] for axis in ("time", "y", "x")] == ["T", "Y", "X"]
        others = cube.reflectance.attrs["ancillary_variables"].split()
        assert set(others) <= set(cube.data_vars)
        assert cube.flags.attrs["flag_masks"].dtype == cube.flags.dtype
        assert len(cube.flags.attrs["flag_meanings"].split()) == len(cube.flags.attrs["flag_masks"])
        seen = dict(zip(cube.flags.attrs["flag_meanings"].split(), cube.flags.attrs["flag_masks"], strict=True))["seen"]
        day = cube.sel(time=DAYS[0])
        np.testing.assert_array_equal((day.flags & seen) != 0, day.clear_distance == 0)


@pytest.mark.parametrize("what", ["files", "virtual", "files/keyframes"])
def test_its_place_is_that_of_the_run_for_every_reader(runs: Runs, what: str) -> None:
    item = pystac.Item.from_file(str(runs.files / f"spaceeye_{DAYS[0]}" / f"spaceeye_{DAYS[0]}.json"))
    placed = item.assets["B02"].extra_fields
    box = GeoBox(tuple(placed["proj:shape"]), rasterio.Affine(*placed["proj:transform"]), placed["proj:code"])
    cube = se.open(runs.files.parent / what)
    for name, variable in cube.data_vars.items():
        assert variable.attrs["grid_mapping"] == "spatial_ref"
        assert cube[name].odc.geobox == box
    mapping = cube.spatial_ref.attrs
    assert [float(number) for number in mapping["GeoTransform"].split()] == list(box.transform.to_gdal())
    assert mapping["grid_mapping_name"] == "transverse_mercator"


@pytest.mark.parametrize("what", ["files", "virtual", "files/keyframes"])
def test_it_goes_to_zarr_and_comes_back(runs: Runs, tmp_path: Path, what: str) -> None:
    place = runs.files.parent / what
    cube = xr.open_dataset(place, engine="spaceeye").chunk({"time": 3, "y": 20, "x": 32})
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    for raw in (False, True):
        back = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, mask_and_scale=not raw)
        here = se.open(place, mask_and_scale=not raw)
        assert back.odc.geobox == here.odc.geobox
        assert list(back.band.values) == BANDS
        for name, variable in here.variables.items():
            if raw or variable.dtype != np.float32:
                np.testing.assert_array_equal(back[name], variable, strict=name != "band")
            else:  # xarray multiplies DN by 0.0001 in float64, as zarr knows no other number
                np.testing.assert_allclose(back[name], variable, rtol=2**-23)
            assert back[name].attrs.keys() >= variable.attrs.keys() - {"_FillValue"}


def test_chunks_are_alike_and_no_dask_without_them(runs: Runs) -> None:
    for place in (runs.files, runs.files / "keyframes"):
        cube = se.open(place)
        assert cube.reflectance.chunks == ((1,) * 10, (1, 1), (54,), (58,))
        assert xr.open_dataset(place, engine="spaceeye").reflectance.chunks is None
    assert xr.open_dataset(runs.files).sizes == se.open(runs.files).sizes  # xarray guesses the engine


def test_the_backend_is_light_as_xarray_loads_it_for_every_file() -> None:
    code = (
        "import sys, xarray; from spaceeye_stac.platforms import SpaceEyeBackend as B\n"
        "assert not B().guess_can_open('x')\n"
        "print([m for m in ('torch', 'rasterio', 'pystac', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_day_that_was_not_published_is_nodata(copied: Path) -> None:
    document = json.loads((copied / "collection.json").read_text())
    document["links"] = [link for link in document["links"] if DAYS[4] not in link["href"]]
    (copied / "collection.json").write_text(json.dumps(document))
    shutil.rmtree(copied / f"spaceeye_{DAYS[4]}")
    cube = se.open(copied)
    gap = cube.sel(time=DAYS[4]).load()
    assert np.isnan(gap.reflectance).all()
    assert np.isnan(gap.uncertainty).all()
    assert (gap.clear_distance == 255).all()
    assert (gap.flags == 0).all()
    assert_same_as_files(se.open(copied, mask_and_scale=False), copied, [day for day in DAYS if day != DAYS[4]])


def test_a_published_collection_is_opened_by_its_address(runs: Runs, served: str, tmp_path: Path) -> None:
    static = se.open(f"{served}/files/collection.json", mask_and_scale=False)
    assert_same_as_files(static, runs.files, DAYS)
    items = [json.loads(path.read_text()) for path in sorted(runs.files.glob("spaceeye_*/*.json"))]
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{served}/files/{item['id']}/{asset['href']}"
        item["links"] = []
    with rustac_api(tmp_path, [runs.files / "collection.json"], items) as api:
        found = se.open(f"{api}/collections/spaceeye", mask_and_scale=False)
    assert_same_as_files(found, runs.files, DAYS)


def test_virtual_days_at_an_address_are_refused(served: str) -> None:
    with pytest.raises(CatalogError, match=r"2023-04-01 is a virtual day at an address.* open the run's folder"):
        se.open(f"{served}/virtual/collection.json")


def test_days_on_several_grids_want_a_tile(copied: Path) -> None:
    def onto_tiles(item: dict[str, Any]) -> None:
        odd = int(item["id"][-2:]) % 2
        item["properties"]["grid:code"] = f"MGRS-{'31UES' if odd else '32ULB'}"
        for asset in item["assets"].values():
            asset.update({"proj:code": "EPSG:32631" if odd else "EPSG:32632"} if "proj:code" in asset else {})

    change_items(copied, onto_tiles)
    with pytest.raises(InvalidInputError, match=r"several grids, 31UES, 32ULB; name one of them with tile\."):
        se.open(copied)
    with pytest.raises(InvalidInputError, match=r"no day of tile '31UDS'; the tiles there are 31UES, 32ULB\."):
        se.open(copied, tile="31UDS")
    assert xr.open_dataset(copied, engine="spaceeye", tile="32ULB").odc.crs.epsg == 32632


def test_an_unfinished_run_is_refused(copied: Path) -> None:
    work = copied.rename(copied.with_name(".out.partial"))
    for place in (copied, work, work / "keyframes"):
        with pytest.raises(OutputError, match=r"is not finished; run the same command again, which goes on there\."):
            se.open(place)


def test_what_is_no_run_is_refused_in_a_sentence(runs: Runs, served: str, copied: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"There is no .*nowhere; name a run's folder"):
        se.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no keyframes"):
        se.open(tmp_path / "empty")
    with pytest.raises(CatalogError, match="No item there is a day of this package"):
        se.open(runs.files.parent / "source")
    with pytest.raises(CatalogError, match="cannot be reached"):
        se.open(f"{served}/nowhere/collection.json")
    with pytest.raises(InvalidInputError, match=r"s3://days/run is not read by HTTP; give the public address"):
        se.open("s3://days/run")
    with pytest.raises(InvalidInputError, match="A dict cannot be opened"):
        xr.open_dataset({}, engine="spaceeye")  # type: ignore[arg-type]
    change_items(copied, lambda item: item["assets"]["B02"].pop("proj:transform"))
    with pytest.raises(CatalogError, match=r"does not say where its files lie .*publish it again"):
        se.open(copied)


def test_hrefs_that_a_collection_may_not_name_are_refused(copied: Path) -> None:
    change_items(copied, lambda item: item["assets"]["B02"].update(href="/etc/hostname"))
    with pytest.raises(CatalogError, match=r"links to /etc/hostname, which is outside the catalog's folder"):
        se.open(copied)
