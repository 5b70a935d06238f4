"""Files explain themselves to whoever opens them: rasterio and GDAL, TIFF readers, rio-tiler, rioxarray, and a VRT."""

import ast
import re
import shutil
import subprocess
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

import spaceeye_stac as se
from spaceeye_stac.collection import Flag
from spaceeye_stac.collection.flags import qgis_style
from spaceeye_stac.days.cog import Encoding, Raster
from spaceeye_stac.days.descriptions import Description, description_of, description_of_picture

DAY = date(2018, 6, 10)
BIT8 = {"clear_distance": 255, "flags": 0}
ADDED_BYTES = 1000
PALETTE_BYTES = 256 * 3 * 2
DESCRIBED = {
    "B04": "B04 red, 665 nm, surface reflectance",
    "B8A": "B8A near infrared, narrow, 865 nm, surface reflectance",
    "uncertainty": "half width of the 68 % interval of surface reflectance, the largest over bands",
    "uncertainty_B04": "half width of the 68 % interval of surface reflectance, B04 red, 665 nm",
    "clear_distance": "days to the nearest clear look that was used, 255 = none",
    "flags": "how each pixel was made, 0 = no data",
}
TAGS = {
    "TIFFTAG_DATETIME": "2018:06:10 00:00:00",
    "TIFFTAG_SOFTWARE": "spaceeye-stac",
    "TIFFTAG_COPYRIGHT": "Contains modified Copernicus Sentinel data 2018",
    "datetime": "2018-06-10T00:00:00Z",
}
# numbers of TIFF 6.0, and GDAL's own
DESCRIPTION, SOFTWARE, DATETIME, COLOURS, COPYRIGHT, GDAL_METADATA = 270, 305, 306, 320, 33432, 42112


def grid(side: int) -> GeoBox:
    box = (500000, 5600000 - 10 * side, 500000 + 10 * side, 5600000)
    return GeoBox.from_bbox(box, "EPSG:32631", resolution=10, tight=True)


def written(path: Path, said: Description | None, side: int = 700) -> Path:
    """A raster as the days have it, of what its name says."""
    key, count = path.stem, 3 if path.stem == "visual" else 1
    dtype = "uint8" if key in {*BIT8, "visual"} else "uint16"
    values = np.random.default_rng(0).integers(0, 200, (count, side, side)).astype(dtype)
    raster = Raster(path, grid(side), dtype, count=count, nodata=BIT8.get(key, 0), encoding=Encoding(), said=said)
    raster.write(values, 0)
    return raster.close().file.path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("said")
    found = {key: written(folder / f"{key}.tif", description_of(key, DAY)) for key in DESCRIBED}
    rgb = description_of_picture(("B04", "B03", "B02"), DAY)
    return {**found, "visual": written(folder / "visual.tif", rgb)}


@pytest.fixture(scope="module")
def bare(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same pixels without a word."""
    folder = tmp_path_factory.mktemp("bare")
    return {key: written(folder / f"{key}.tif", None) for key in files}


def test_they_stay_cogs_of_the_same_pixels_and_little_more(files: dict[str, Path], bare: dict[str, Path]) -> None:
    for key, path in files.items():
        assert cog_validate(path, strict=True) == (True, [], []), key
        with rasterio.open(path) as one, rasterio.open(bare[key]) as other:
            np.testing.assert_array_equal(one.read(), other.read())
            levels = len(one.overviews(1))
            assert one.overviews(1) == other.overviews(1) != []
        tables = (1 + levels) * PALETTE_BYTES if key == "flags" else 0
        grown = path.stat().st_size - bare[key].stat().st_size
        assert 0 < grown < ADDED_BYTES + tables, key
    assert {path.name for path in files["flags"].parent.iterdir()} == {f"{key}.tif" for key in files}, "nothing beside"


def test_gdal_reads_scale_unit_text_and_date(files: dict[str, Path]) -> None:
    for key, text in DESCRIBED.items():
        with rasterio.open(files[key]) as file:
            is_scaled = key not in BIT8
            assert (file.scales, file.offsets) == ((0.0001 if is_scaled else 1,), (0,))
            assert file.units == ({"clear_distance": "d", "flags": None}.get(key, "1"),)
            assert file.descriptions == (text,)
            expected = {**TAGS, "AREA_OR_POINT": "Area", "TIFFTAG_IMAGEDESCRIPTION": f"Daily Sentinel-2, {DAY}: {text}"}
            assert file.tags() == expected
            assert file.tags(ns="IMAGERY") == {"ACQUISITIONDATETIME": "2018-06-10 00:00:00"}


def test_the_picture_says_which_band_is_which_colour(files: dict[str, Path]) -> None:
    with rasterio.open(files["visual"]) as file:
        assert file.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert file.descriptions[0] == "B04 red, 665 nm, for display"
        assert (file.scales, file.units) == ((1,) * 3, (None,) * 3)
        assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"] == "Daily Sentinel-2, 2018-06-10: True colour (B04, B03, B02)"


def test_flags_are_shown_in_the_colours_of_their_style(files: dict[str, Path]) -> None:
    entries = ET.fromstring(qgis_style().split(b"\n", 1)[1]).iter("paletteEntry")  # noqa: S314 - our own
    style = {int(entry.attrib["value"]): entry.attrib["color"] for entry in entries}
    with rasterio.open(files["flags"]) as file:
        table = file.colormap(1)
        assert file.colorinterp == (ColorInterp.palette,)
        told = file.tags(1)
    assert {value: "#{:02x}{:02x}{:02x}".format(*table[value]) for value in style} == style
    assert table[0] == (0, 0, 0, 0)
    masks = list(ast.literal_eval(told["flag_masks"].replace("{", "[").replace("}", "]")))
    named = zip(told["flag_meanings"].split(), masks, strict=True)
    assert dict(named) == {flag.name.lower(): flag.value for flag in Flag}  # type: ignore[union-attr]


def test_a_reader_of_plain_tiff_finds_it_too(files: dict[str, Path]) -> None:
    for key, path in files.items():
        with Image.open(path) as file:
            tags = file.tag_v2  # type: ignore[attr-defined]
            assert tags[DATETIME] == TAGS["TIFFTAG_DATETIME"]
            assert tags[SOFTWARE] == TAGS["TIFFTAG_SOFTWARE"]
            assert tags[COPYRIGHT] == TAGS["TIFFTAG_COPYRIGHT"]
            assert tags[DESCRIPTION].startswith("Daily Sentinel-2, 2018-06-10: ")
            metadata = ET.fromstring(tags[GDAL_METADATA].rstrip("\0"))  # noqa: S314 - our own
            assert (COLOURS in tags) == (key == "flags")
            if key == "flags":
                colours = np.array(tags[COLOURS]).reshape(3, 256)[:, int(Flag.SEEN)] // 257
                assert colours.tolist() == [0x1A, 0x98, 0x50]
        items = {item.attrib.get("role"): item.text for item in metadata if item.attrib.get("sample", "0") == "0"}
        assert items["description"]
        if key == "B04":
            assert (float(str(items["scale"])), float(str(items["offset"])), items["unittype"]) == (0.0001, 0, "1")


def test_rio_tiler_and_rioxarray_give_reflectance(files: dict[str, Path]) -> None:
    rio_tiler = pytest.importorskip("rio_tiler.io")
    rioxarray = pytest.importorskip("rioxarray")
    for key in ("B04", "uncertainty", "clear_distance"):
        with rasterio.open(files[key]) as file:
            expected = np.ma.masked_equal(file.read(1), BIT8.get(key, 0)) * file.scales[0]
        with rio_tiler.Reader(str(files[key])) as reader:
            found = reader.read(unscale=True).array
        np.testing.assert_allclose(found[0].filled(-1), expected.filled(-1), rtol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine, in rioxarray
            arrays = [
                rioxarray.open_rasterio(files[key], mask_and_scale=True)[0],
                xr.open_dataset(files[key], engine="rasterio", mask_and_scale=True)["band_data"][0],
            ]
            for array in arrays:
                np.testing.assert_allclose(array.fillna(-1), expected.filled(-1), rtol=1e-6)
                assert array.dtype.kind == "f", "and no time"
                assert array.attrs["units"] == ("d" if key == "clear_distance" else "1")
                assert array.attrs["long_name"] == DESCRIBED[key]


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="no GDAL of the system")
def test_gdalinfo_of_another_gdal_says_it(files: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copy(files["B04"], tmp_path / "B04.tif")
    said = subprocess.run(["gdalinfo", copy], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Description = B04 red, 665 nm, surface reflectance\n", said)
    assert re.search(r"Unit Type: 1\n\s*Offset: 0, +Scale:0.0001", said)
    assert "TIFFTAG_DATETIME=2018:06:10 00:00:00" in said


@pytest.mark.parametrize("key", ["flags", "B04", "visual"])
def test_the_bytes_are_the_same_by_a_file_in_between_and_by_several_threads(
    key: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = description_of_picture(("B04", "B03", "B02"), DAY) if key == "visual" else description_of(key, DAY)
    with ThreadPoolExecutor(4) as pool:
        folders = [tmp_path / f"{n}" for n in range(6)]
        for folder in folders:
            folder.mkdir()
        several = list(pool.map(lambda folder: written(folder / f"{key}.tif", said), folders))
    assert {path.read_bytes() for path in several} == {files[key].read_bytes()}
    monkeypatch.setattr("spaceeye_stac.days.cog.LARGE_BYTES", 1)
    assert written(tmp_path / f"{key}.tif", said).read_bytes() == files[key].read_bytes()
    assert set(tmp_path.iterdir()) == {tmp_path / f"{key}.tif", *folders}, "no rough raster is left"


def test_every_file_of_a_run_says_its_day(simulated_run: Path) -> None:
    for path in _rasters(simulated_run):
        day = path.parent.name.removeprefix("spaceeye_")
        with rasterio.open(path) as file:
            assert file.tags()["datetime"] == f"{day}T00:00:00Z"
            assert all(file.descriptions)
            if path.stem.startswith(("B", "uncertainty")):
                assert (file.scales, file.offsets, file.units) == ((0.0001,), (0,), ("1",))


def test_a_published_day_is_read_as_before_and_not_scaled_twice(simulated_run: Path) -> None:
    """By `open`, which gives DN with their scale to xarray."""
    cube = se.open(simulated_run)
    for path in _rasters(simulated_run):
        if path.stem.startswith("B"):
            day = path.parent.name.removeprefix("spaceeye_")
            with rasterio.open(path) as file:
                dn = file.read(1).astype(float)
            found = cube["reflectance"].sel(time=day, band=path.stem).to_numpy()
            np.testing.assert_allclose(found, np.where(dn, dn * 0.0001, np.nan), rtol=1e-6)


def _rasters(folder: Path) -> Iterator[Path]:
    found = sorted(folder.glob("*_2023-04-0[1-4]/*.tif"))
    assert found
    yield from found
