"""What people look at: every stretch is the same everywhere, and thumbnails are large enough and not blurred."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image

import spaceeye_stac as se
from spaceeye_stac.collection.assets import picture_title
from spaceeye_stac.days.cog import write_cog
from spaceeye_stac.days.pictures import SHADES, display_bands, visual, write_thumbnail
from spaceeye_stac.errors import InvalidInputError
from tests.support.damped import DAMPED
from tests.support.small_catalog import small_items, small_query, written

RGB = ("B04", "B03", "B02")
ALL_DN = np.arange(65536, dtype=np.uint16)[None]


def grid(height: int, width: int) -> GeoBox:
    box = (500000, 5600000 - 10 * height, 500000 + 10 * width, 5600000)
    return GeoBox.from_bbox(box, "EPSG:32631", resolution=10, tight=True)


def test_bands_shown_and_what_the_picture_is_called() -> None:
    shown = {
        ("B02", "B03", "B04", "B08"): "True colour (B04, B03, B02)",
        ("B05", "B8A", "B11", "B12"): "False colour (B11, B8A, B05)",
        ("B03", "B04", "B08"): "False colour (B08, B04, B03)",
        ("B08",): "Grey (B08)",
    }
    assert {bands: picture_title(display_bands(bands)) for bands in shown} == shown


def test_land_is_neither_black_nor_blown_and_brighter_with_more_reflectance() -> None:
    shades = visual([ALL_DN] * 3, RGB)[0, 0].astype(int)
    assert shades[0] == 0
    assert (np.diff(shades[1:]) >= 0).all()
    assert shades[1] >= 1
    # dark forest, soil and bright sand of the visible bands; black to half the eye below about 30
    assert 40 < shades[200] < 60
    assert 130 < shades[1200] < 160
    assert 220 < shades[3000] < 250
    assert shades[3400] == shades[65535] == 255
    straight = visual([ALL_DN] * 3, RGB, "tci")[0, 0].astype(int)
    assert (shades[1:3000] >= straight[1:3000]).all()


def test_the_straight_stretch_is_that_of_the_true_colour_image_of_l2a() -> None:
    """The product's TCI shows reflectance 0.3558 as 255, in proportion below."""
    found = visual([ALL_DN] * 3, ("B8A", "B04", "B02"), "tci")[:, 0].astype(int)
    assert found[1][[0, 1, 1779, 3557, 3558]].tolist() == [0, 1, 128, 254, 255]
    assert found[0][[3000, 6000]].tolist() == [128, 255]


@pytest.mark.parametrize("name", sorted(SHADES))
def test_no_shade_hangs_on_the_last_digits_of_a_power(name: str) -> None:
    shades = SHADES[name]
    for white in (shades.white, shades.white_infrared):
        exact = 1 + 254 * (np.arange(1, white, dtype=np.longdouble) / white) ** (1 / np.longdouble(shades.gamma))
        near = np.abs(exact - np.rint(exact))
        assert shades.gamma == 1 or near.min() > 1e-5


def test_nodata_is_transparent(tmp_path: Path) -> None:
    image = np.array([[0, 1], [3400, 65535]], np.uint16)
    rgb = visual([image, image, image], RGB)
    assert rgb[0].tolist() == [[0, 2], [255, 255]]
    write_cog(tmp_path / "visual.tif", rgb, grid(2, 2), nodata=0)
    write_thumbnail(tmp_path / "t.png", tmp_path / "visual.tif")
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (256, 256)
        assert picture.getpixel((0, 0))[3] == 0  # type: ignore[index]
        assert picture.getpixel((255, 255)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((32, 32), (256, 256)),
        ((100, 30), (300, 90)),
        ((96, 130), (260, 192)),
        ((255, 4), (510, 8)),
        ((256, 9), (256, 9)),
    ],
)
def test_small_regions_are_enlarged_by_whole_factors(
    shape: tuple[int, int], size: tuple[int, int], tmp_path: Path
) -> None:
    rgb = np.random.default_rng(0).integers(1, 256, (3, *shape), dtype=np.uint8)
    write_cog(tmp_path / "visual.tif", rgb, grid(*shape), nodata=0)
    write_thumbnail(tmp_path / "t.png", tmp_path / "visual.tif")
    with Image.open(tmp_path / "t.png") as picture:
        found = np.asarray(picture)
    assert sorted(found.shape[:2]) == sorted(size)
    times = found.shape[0] // shape[0]
    np.testing.assert_array_equal(found[..., :3], np.moveaxis(rgb, 0, -1).repeat(times, 0).repeat(times, 1))


def test_large_regions_are_averaged_down(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(1, 256, (3, 1024, 512), dtype=np.uint8)
    write_cog(tmp_path / "visual.tif", rgb, grid(1024, 512), nodata=0)
    write_thumbnail(tmp_path / "t.png", tmp_path / "visual.tif")
    with Image.open(tmp_path / "t.png") as picture:
        found = np.asarray(picture)[..., :3].astype(float)
    boxes = rgb.reshape(3, 256, 4, 128, 4).mean((2, 4))
    assert found.shape == (256, 128, 3)
    assert np.abs(found - np.moveaxis(boxes, 0, -1)).max() < 2, "through an overview and rounded twice"


def test_another_stretch_makes_the_pictures_anew_and_nothing_else(
    simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tci = se.Output(stretch="tci")
    se.run(simulated_query, DAMPED, out=out, output=tci)
    assert se.run(simulated_query, DAMPED, out=out, output=tci).kept
    for path in sorted(simulated_run.glob("*_*/*.*")):
        same = path.read_bytes() == (out / path.relative_to(simulated_run)).read_bytes()
        assert same == (path.name not in {"visual.tif", "thumbnail.png"}) or path.suffix == ".json", path.name
    with rasterio.open(out / "spaceeye_2023-04-05" / "visual.tif") as file:
        shown = file.read()
    with rasterio.open(out / "spaceeye_2023-04-05" / "B02.tif") as file:
        image = file.read(1)
    bands = display_bands(simulated_query.bands or ())
    np.testing.assert_array_equal(shown[bands.index("B02")], visual([image], ["B02"], "tci")[0])


def test_what_is_no_stretch_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"stretch 'gamma' is not allowed; choose from natural, tci\."):
        se.Output(stretch="gamma")


def test_pictures_stay_deflate_where_the_rest_is_zstd(tmp_path: Path) -> None:
    """stac-browser draws `visual` with a geotiff.js that lacks ZSTD."""
    query = small_query(written(small_items(tmp_path), tmp_path), datetime="2023-04-04")
    out = tmp_path / "out"
    se.run(query, DAMPED, out=out, output=se.Output(compress="zstd", level=3))
    found = {}
    for path in out.glob("*/*.tif"):
        with rasterio.open(path) as file:
            found[path.stem] = file.compression.value
    assert found.pop("visual") == "DEFLATE"
    assert set(found.values()) == {"ZSTD"}
    assert {"B02", "B04", "flags", "clear_distance", "uncertainty"} <= set(found)
