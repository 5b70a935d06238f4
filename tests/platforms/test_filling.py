"""Cubes in memory, filled: against the same scenes read from their files, whatever form the cube has."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.xr import xr_coords
from rasterio.windows import from_bounds

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, NoClearLookError, NoScenesError
from spaceeye_stac.platforms import Units, fill_clouds, openeo_process, packaged, run_openeo_process
from spaceeye_stac.platforms.openeo import OF_SETTINGS, UNITS
from tests.support.damped import DAMPED
from tests.support.small_catalog import small_items, small_query, written

CLEAR = [4, 5, 6, 7]


@dataclass(frozen=True)
class Season:
    """Scenes as they are in files, and as a cube of DN with their classes."""

    query: se.Query
    scenes: se.SceneList
    cube: xr.DataArray

    def filled(self, settings: se.Settings) -> Any:
        """Reflectance as `interpolate` makes it of the files."""
        return se.interpolate(self.scenes, self.query, settings).reflectance.to_numpy()


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Season:
    folder = tmp_path_factory.mktemp("season")
    items = small_items(folder)
    query = small_query(written(items, folder))
    scenes = se.search(query)
    box = se.interpolate(scenes, query).odc.geobox
    names = ["B02", "B04", "SCL"]
    images = np.empty((len(scenes), len(names), *box.shape), np.uint16)
    for n, item in enumerate(items):
        for band, name in enumerate(names):
            with rasterio.open(item["assets"][name]["href"]) as file:
                window = from_bounds(*box.boundingbox.bbox, file.transform)
                images[n, band] = file.read(1, window=window, out_shape=tuple(box.shape))
    times = [np.datetime64(scene.datetime.replace(tzinfo=None), "ns") for scene in scenes]
    coords = {"time": times, "bands": names, **xr_coords(box)}
    offset = round(scenes[0].bands["B02"].offset / 1e-4)
    images[:, :2] = np.where(images[:, :2] == 0, 0, np.maximum(images[:, :2].astype(int) + offset, 1))
    return Season(query, scenes, xr.DataArray(images, coords, ("time", "bands", "y", "x")))


def reflectance_of(cube: xr.DataArray) -> xr.DataArray:
    bands = cube.sel(bands=["B02", "B04"]).astype(np.float64)
    return bands.where(bands != 0) * 1e-4


@pytest.mark.parametrize("settings", [DAMPED, se.Settings()], ids=["damped", "surface"])
def test_a_cube_is_filled_as_the_same_scenes_are(season: Season, settings: se.Settings) -> None:
    found = fill_clouds(season.cube, scl="SCL", settings=settings)
    assert found.dims == ("time", "bands", "y", "x")
    assert found.bands.to_numpy().tolist() == ["B02", "B04"]
    assert found.odc.geobox == season.cube.odc.geobox
    assert found.time.dt.strftime("%m-%d").to_numpy().tolist() == [f"04-{day:02}" for day in range(1, 11)]
    assert found.chunks is not None
    # DN are the quotient of float32 by 0.0001: two roundings
    np.testing.assert_allclose(found * np.float32(1e-4), season.filled(settings), rtol=2**-22)


def test_reflectance_in_any_order_is_filled_bit_for_bit(season: Season) -> None:
    whole = xr.concat([reflectance_of(season.cube), season.cube.sel(bands=["SCL"])], "bands")
    turned = whole.rename(time="t").transpose("x", "bands", "y", "t").isel(t=[2, 0, 3, 1]).chunk(t=1, x=13)
    found = fill_clouds(turned, scl="SCL", units=Units(scale=1), settings=DAMPED)
    assert found.dims == ("x", "bands", "y", "t")
    np.testing.assert_array_equal(found.transpose("t", "bands", "y", "x"), season.filled(DAMPED), strict=True)


@pytest.mark.parametrize("kind", ["mask", "masked before", "offset"])
def test_what_is_clear_may_be_said_in_other_ways(season: Season, kind: str) -> None:
    cloudy = ~season.cube.sel(bands="SCL", drop=True).isin(CLEAR)
    bands = season.cube.sel(bands=["B02", "B04"])
    if kind == "mask":
        found = fill_clouds(bands, mask=cloudy * 7, settings=DAMPED)
    elif kind == "masked before":
        found = fill_clouds(bands.where(~cloudy), settings=DAMPED)
    else:
        shifted = (bands.astype(np.int32) + 1000).where(bands != 0, 0)
        found = fill_clouds(shifted, mask=cloudy, units=Units(offset=-0.1), settings=DAMPED)
        found = found - 1000
    expected = fill_clouds(season.cube, scl="SCL", settings=DAMPED)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if kind == "offset" else 0)


def test_dates_of_one_day_are_merged_and_few_days_are_given(season: Season) -> None:
    later = season.cube.isel(time=[0]).assign_coords(time=season.cube.time[:1] + np.timedelta64(1, "h"))
    later.loc[{"bands": "SCL"}] = 9
    both = xr.concat([later, season.cube], "time")
    found = fill_clouds(both, scl="SCL", datetime="2023-04-02/2023-04-05", settings=DAMPED)
    expected = fill_clouds(season.cube, scl="SCL", settings=DAMPED).isel(time=slice(1, 5))
    assert found.time.equals(expected.time)
    # a first day between two dates is a knot of its own, from which float32 goes on
    np.testing.assert_allclose(found, expected, rtol=2**-20)


def test_bands_and_places_may_be_unknown(season: Season) -> None:
    plain = season.cube.drop_vars(["x", "y", "spatial_ref"]).assign_coords(bands=["one", "two", "classes"])
    found = fill_clouds(plain, scl="classes", settings=DAMPED)
    np.testing.assert_array_equal(found, fill_clouds(season.cube, scl="SCL", settings=DAMPED))


def test_what_makes_no_sense_is_refused_in_a_sentence(season: Season) -> None:
    cube, bands = season.cube, season.cube.sel(bands=["B02"])
    refused: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (cube, {"scl": "SCF"}, InvalidInputError, "scl 'SCF' is no band of the cube; it has B02, B04, SCL"),
        (cube, {"scl": "SCL", "mask": bands}, InvalidInputError, "scl and mask exclude each other"),
        (cube.sel(bands=["SCL"]), {"scl": "SCL"}, InvalidInputError, "has no band to fill"),
        (cube.isel(time=0), {}, InvalidInputError, "has dimensions bands, y, x; give one with time, bands, y, x"),
        (cube.to_dataset("bands"), {}, InvalidInputError, "A Dataset is no cube"),
        (cube, {"mask": bands.isel(bands=0, x=slice(3))}, InvalidInputError, "mask has shape"),
        (cube.isel(time=slice(0)), {}, NoScenesError, "The cube has no date"),
        (cube, {"datetime": "2031-01-01"}, NoScenesError, "are not near the days that are asked for"),
    ]
    for data, options, error, sentence in refused:
        with pytest.raises(error, match=sentence):
            fill_clouds(data, **options)
    clouded = cube.where(cube.bands != "SCL", 9)
    with pytest.raises(NoClearLookError, match="None of 4 days has a clear share"):
        fill_clouds(clouded, scl="SCL", settings=DAMPED).compute()


def test_the_specification_is_that_of_the_description() -> None:
    found = packaged("openeo")
    assert found == openeo_process()
    parameters = {one["name"]: one for one in found["parameters"]}
    assert list(parameters)[:4] == ["data", "mask", "scl", "temporal_extent"]
    described = packaged("process")["inputs"]["properties"]
    for name in OF_SETTINGS:
        assert parameters[name]["description"] == described[name]["description"]
        assert parameters[name]["default"] == described[name].get("default")
    assert Units(**{name: parameters[name]["default"] for name, *_ in UNITS}) == Units()
    assert all("optional" in one for name, one in parameters.items() if name != "data")


def test_the_process_takes_its_own_names_alone(season: Season) -> None:
    extent = ["2023-04-02T00:00:00Z", "2023-04-04"]
    found = run_openeo_process(season.cube, scl="SCL", temporal_extent=extent, method="damped", duration=None)
    assert found.time.dt.day.to_numpy().tolist() == [2, 3]
    with pytest.raises(InvalidInputError, match=r"speed is no parameter of fill_clouds; it has data, mask"):
        run_openeo_process(season.cube, speed=3)
    with pytest.raises(InvalidInputError, match=r"temporal_extent .* give both ends"):
        run_openeo_process(season.cube, temporal_extent=["2023-04-02", None])
