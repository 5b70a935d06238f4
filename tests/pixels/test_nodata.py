"""Nodata as files and items have it: it never mixes into what is read, and 0 alone stands for it afterwards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.errors import ReadError
from tests.support.items import Json
from tests.support.rasters import CHIP, SIDE, Raster, asset, band, item, noise, read, scene, scene_of

COARSE = CHIP.zoom_out(4)
SHIFTED = GeoBox.from_bbox((501363, 5629043, 501963, 5629643), "EPSG:32631", resolution=10, tight=True)
OTHER = CHIP.to_crs("EPSG:32632")
LEVEL = 2000
HALF = slice(0, 31)  # an odd edge, which falls into the pixels of a coarser grid

# what the header declares, what the item says, and what stands for nodata in the pixels
SAID: dict[str, tuple[Any, Any, Any, int]] = {
    "header 0": (np.uint16, 0, None, 0),
    "header silent, profile 0": (np.uint16, None, None, 0),
    "header silent, item 0": (np.uint16, None, 0, 0),
    "header silent, item 65535": (np.uint16, None, 65535, 65535),
    "header 65535, item 0": (np.uint16, 65535, 0, 65535),
    "header 65535, item 65535": (np.uint16, 65535, 65535, 65535),
    "header 1, item 1": (np.uint16, 1, 1, 1),
    "item -9999, which no uint16 can have": (np.uint16, None, -9999, 0),
    "int16 header -999": (np.int16, -999, None, -999),
    "int16 header -9999": (np.int16, -9999, 0, -9999),
    "int16 item -9999": (np.int16, None, -9999, -9999),
    "int16 header -32768": (np.int16, -32768, "nan", -32768),
    "int16 profile 0": (np.int16, None, None, 0),
}


def half_empty(kind: Any, nodata: int) -> NDArray[Any]:
    pixels = np.full((SIDE, SIDE), LEVEL, kind)
    pixels[:, HALF] = nodata
    return pixels


@pytest.mark.parametrize("method", ["nearest", "cubic", "average"])
@pytest.mark.parametrize("said", SAID)
def test_nodata_never_mixes_into_what_is_read(said: str, method: str, tmp_path: Path) -> None:
    """Of a flat field of 2000 no other value can come, on any grid: neither 500 nor 1."""
    kind, header, own, nodata = SAID[said]
    raster = Raster(half_empty(kind, nodata), options={"nodata": header})
    one = scene(tmp_path, raster, {"nodata": own})
    for grid in (CHIP, COARSE, SHIFTED, OTHER):
        found = band(one, grid, method)
        assert set(np.unique(found)) == {0, LEVEL}, grid
        share = (found == 0).mean()
        assert 0.3 < share < 0.62
    np.testing.assert_array_equal(band(one), half_empty(np.uint16, 0))


@pytest.mark.parametrize("method", ["average", "bilinear", "cubic"])
def test_nodata_of_jpeg_2000_which_declares_none(method: str, tmp_path: Path) -> None:
    one = scene(tmp_path, Raster(half_empty(np.uint16, 0)), name="B04.jp2")
    for grid in (COARSE, SHIFTED, OTHER):
        assert set(np.unique(band(one, grid, method))) == {0, LEVEL}


@pytest.mark.parametrize("offset", [0.0, -0.1])
@pytest.mark.parametrize("nodata", [-999, -9999])
def test_negative_reflectance_is_valid(nodata: int, offset: float, tmp_path: Path) -> None:
    """It becomes the least DN there is, which is the floor of what is published."""
    pixels = noise().astype(np.int16)
    pixels[0, :4] = -1, -500, 0, nodata
    one = scene(tmp_path, Raster(pixels, options={"nodata": nodata}), {"raster:offset": offset, "raster:scale": 1e-4})
    found = band(one)
    assert found[0, :4].tolist() == [1, 1, 1, 0]
    np.testing.assert_array_equal(found[1:], pixels[1:])


def test_negative_dn_that_an_offset_would_raise_are_refused(tmp_path: Path) -> None:
    pixels = np.full((SIDE, SIDE), -200, np.int16)
    one = scene(tmp_path, Raster(pixels, options={"nodata": -999}))
    raised = replace(one, bands={"B04": replace(one.bands["B04"], offset=0.1)})
    with pytest.raises(ReadError, match=r"holds DN below 0 for an offset of 0\.1"):
        band(raised)


def test_a_valid_dn_of_0_is_dark_where_the_header_names_another_nodata(tmp_path: Path) -> None:
    pixels = noise()
    pixels[0, :3] = 0, 65535, 1
    one = scene(tmp_path, Raster(pixels, options={"nodata": 65535}))
    assert band(one)[0, :3].tolist() == [1, 0, 1]


def test_each_band_has_its_own_nodata(tmp_path: Path) -> None:
    """The header of one, the item of another, the profile of the third."""
    first, second, third = (noise(n) for n in range(3))
    first[0, 0], second[0, 1], third[0, 2] = 65535, 7, 0
    files: dict[str, tuple[Raster, Json]] = {
        "B02": (Raster(first, options={"nodata": 65535}), {"nodata": 0}),
        "B03": (Raster(second), {"nodata": 7}),
        "B04": (Raster(third), {}),
    }
    assets = {name: asset(one.write(tmp_path / f"{name}.tif"), **said) for name, (one, said) in files.items()}
    mask = Raster(np.full((SIDE, SIDE), 4, np.uint8)).write(tmp_path / "SCL.tif")
    found = read(scene_of(item({**assets, "SCL": asset(mask)}))).values[0]
    for n, pixels in enumerate((first, second, third)):
        assert found[n, 0, n] == 0
        rest = np.ones((SIDE, SIDE), bool)
        rest[0, n] = False
        np.testing.assert_array_equal(found[n][rest], pixels[rest])


@pytest.mark.parametrize("method", ["nearest", "average", "bilinear"])
def test_an_alpha_band_says_where_there_is_data(method: str, tmp_path: Path) -> None:
    alpha = np.full((SIDE, SIDE), 65535, np.uint16)
    alpha[:, HALF] = 0
    pixels = np.full((SIDE, SIDE), LEVEL, np.uint16)
    pixels[:, HALF] = 9
    one = scene(tmp_path, Raster(pixels, alpha=alpha))
    for grid in (CHIP, COARSE, SHIFTED, OTHER):
        assert set(np.unique(band(one, grid, method))) == {0, LEVEL}
    (doubt,) = read(one).doubts[0]
    assert doubt == "Scene S2A_X: the file of B04 has a second band that says where the first holds data."


def test_a_mask_within_the_file_says_where_there_is_data(tmp_path: Path) -> None:
    pixels = np.full((SIDE, SIDE), LEVEL, np.uint16)
    pixels[:, HALF] = 9
    one = scene(tmp_path, Raster(pixels))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "B04.tif", "r+") as image:
        image.write_mask(pixels != 9)
    for grid in (CHIP, COARSE, SHIFTED, OTHER):
        for method in ("nearest", "average", "cubic"):
            assert set(np.unique(band(one, grid, method))) == {0, LEVEL}


def test_good_files_are_copied_bit_for_bit(tmp_path: Path) -> None:
    pixels = noise()
    pixels[:2, :2] = [[0, 1], [65535, 10000]]
    for nodata in (0, None):
        one = scene(tmp_path / str(nodata), Raster(pixels, options={"nodata": nodata}))
        found = read(one)
        np.testing.assert_array_equal(found.values[0, 0], pixels)
        assert found.doubts == [()]
