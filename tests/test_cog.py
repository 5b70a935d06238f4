from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image
from rio_cogeo.cogeo import cog_validate

from spaceeye_stac.cog import display_bands, quantise, statistics, visual, write_cog, write_thumbnail


def grid(height: int, width: int) -> GeoBox:
    box = (500000, 5600000 - 10 * height, 500000 + 10 * width, 5600000)
    return GeoBox.from_bbox(box, "EPSG:32631", resolution=10, tight=True)


def test_quantising_rounds_and_keeps_nodata_apart() -> None:
    given = np.array([0.12344, 0.12346, -0.2, 0.0, 0.00004, 7.0, np.nan], np.float32)
    assert quantise(given).tolist() == [1234, 1235, 1, 1, 1, 65535, 0]


@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (512, 512), (700, 300)])
def test_files_are_valid_cogs_that_give_back_what_went_in(shape: tuple[int, int], tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    done = write_cog(tmp_path / "a.tif", values, grid(*shape), nodata=0)
    valid, errors, warnings = cog_validate(done.path)
    assert valid, errors
    assert not errors
    assert not warnings
    with rasterio.open(done.path) as source:
        np.testing.assert_array_equal(source.read(1), values)
        assert source.crs.to_epsg() == 32631
        assert source.transform == grid(*shape).transform
        assert source.nodata == 0
        assert bool(source.overviews(1)) == (max(shape) > 512)
    assert done.size == done.path.stat().st_size
    assert len(done.checksum) == 4 + 64


def test_the_same_pixels_are_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(1, 9000, (600, 520), dtype=np.uint16)
    files = [write_cog(tmp_path / name, values, grid(600, 520), nodata=0) for name in ("a.tif", "b.tif")]
    assert files[0].checksum == files[1].checksum


def test_statistics_leave_nodata_out() -> None:
    found = statistics(np.array([[0, 10], [20, 30]], np.uint16), 0)
    assert (found.minimum, found.maximum, found.mean, found.valid_percent) == (10, 30, 20, 75)
    assert found.stddev == pytest.approx(np.std([10, 20, 30]), abs=1e-4)


def test_bands_shown() -> None:
    assert display_bands(["B02", "B03", "B04", "B08"]) == ("B04", "B03", "B02")
    assert display_bands(["B05", "B8A", "B11", "B12"]) == ("B11", "B8A", "B05")
    assert display_bands(["B08"]) == ("B08", "B08", "B08")


def test_visual_and_thumbnail_keep_nodata_transparent(tmp_path: Path) -> None:
    image = np.array([[0, 1], [3558, 65535]], np.uint16)
    rgb = visual({"B02": image, "B03": image, "B04": image}, ("B04", "B03", "B02"))
    assert rgb[0].tolist() == [[0, 1], [255, 255]]
    write_thumbnail(tmp_path / "t.png", rgb)
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (256, 256)
        assert picture.getpixel((0, 0))[3] == 0  # type: ignore[index]
        assert picture.getpixel((255, 255)) == (255, 255, 255, 255)
