import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy as shutil_copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import from_bounds

import spaceeye_stac as se
from spaceeye_stac.catalog import search, signed
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import NO_LABEL, BandAsset, Mask, Scene
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.stack import _environment, load, resampling_of
from tests.conftest import BE_BBOX, BE_DAYS, labels_of

EVERY_NEAREST = dict.fromkeys(DEFAULT_BANDS, "nearest")


def plain(asset: BandAsset, geobox: GeoBox) -> np.ndarray:
    """The pixels of a geobox by a rasterio window, repeated where the source is coarser."""
    with rasterio.open(asset.href) as source:
        window = from_bounds(*geobox.boundingbox.bbox, source.transform)
        image = source.read(1, window=window.round_lengths().round_offsets(), boundless=True)
        factor = round(source.res[0] / abs(geobox.resolution.x))
    return np.asarray(image.repeat(factor, axis=0).repeat(factor, axis=1))


@pytest.fixture(scope="module")
def scenes(belgium: Path) -> list[Scene]:
    return list(search(se.Query(catalog=belgium, bbox=BE_BBOX, datetime=BE_DAYS)))[:4]


@pytest.mark.parametrize(("rows", "columns"), [((0, 64), (0, 64)), ((6, 40), (2, 60)), ((-4, 10), (50, 70))])
def test_pixels_equal_plain_rasterio_windows(
    scenes: list[Scene], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    left, top = 501360 + 10 * columns[0], 5629680 - 10 * rows[0]
    box = (left, top - 10 * (rows[1] - rows[0]), left + 10 * (columns[1] - columns[0]), top)
    geobox = GeoBox.from_bbox(box, "EPSG:32631", resolution=10, tight=True)
    found = load(scenes, geobox, resampling=EVERY_NEAREST, sign=signed)
    for i, scene in enumerate(scenes):
        for b, asset in enumerate(scene.bands.values()):
            np.testing.assert_array_equal(found.values[i, b], plain(asset, geobox))
        labels = found.labels[i]
        np.testing.assert_array_equal(np.where(labels == NO_LABEL, 0, labels), plain(labels_of(scene), geobox))


def test_odd_offset_splits_coarse_pixels_where_they_lie(scenes: list[Scene]) -> None:
    geobox = GeoBox.from_bbox((501370, 5629600, 501450, 5629670), "EPSG:32631", resolution=10, tight=True)
    found = load(scenes[:1], geobox, resampling=EVERY_NEAREST, sign=signed)
    whole = GeoBox.from_bbox((501360, 5629600, 501460, 5629680), "EPSG:32631", resolution=10, tight=True)
    expected = plain(scenes[0].bands["B11"], whole)[1:8, 1:9]
    np.testing.assert_array_equal(found.values[0, list(scenes[0].bands).index("B11")], expected)


def test_labels_are_never_blended(scenes: list[Scene]) -> None:
    geobox = GeoBox.from_bbox((501365, 5629105, 501915, 5629655), "EPSG:32631", resolution=10, tight=True)
    found = load(scenes, geobox, resampling=dict.fromkeys(DEFAULT_BANDS, "bilinear"), sign=signed)
    for i, scene in enumerate(scenes):
        with rasterio.open(labels_of(scene).href) as source:
            assert set(np.unique(found.labels[i])) <= set(np.unique(source.read(1)))


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
@pytest.mark.parametrize("which", ["B04", "SCL"])
def test_bad_assets_stop_the_read_and_are_named(scenes: list[Scene], damage: str, which: str, tmp_path: Path) -> None:
    scene = scenes[1]
    asset = labels_of(scene) if which == "SCL" else scene.bands[which]
    copy = tmp_path / "copy.tif"
    shutil.copyfile(asset.href, copy)
    ruin: dict[str, Callable[[], object]] = {
        "missing": copy.unlink,
        "truncated": lambda: copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2]),
        "garbage": lambda: copy.write_bytes(b"no image at all"),
    }
    ruin[damage]()
    bad = replace(asset, href=str(copy))
    bands = scene.bands if which == "SCL" else {**scene.bands, which: bad}
    broken = replace(scene, labels=bad if isinstance(bad, Mask) else scene.labels, bands=bands)
    geobox = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)
    with pytest.raises(ReadError) as caught:
        load([scenes[0], broken], geobox, resampling=EVERY_NEAREST, sign=signed)
    assert scene.id in str(caught.value)
    assert str(copy) in str(caught.value)


def test_signed_hrefs_do_not_reach_the_error(scenes: list[Scene]) -> None:
    def sign(_: Scene) -> Callable[[str], str]:
        return lambda href: f"{href}?sig=secret"

    geobox = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)
    with pytest.raises(ReadError) as caught:
        load(scenes[:1], geobox, resampling=EVERY_NEAREST, sign=sign)
    assert scenes[0].id in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_coarser_grid_averages_the_finer_bands(scenes: list[Scene]) -> None:
    coarse = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=20, tight=True)
    fine = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)
    how = resampling_of(scenes, coarse, "nearest")
    assert how["B04"] == "average"
    assert how["B11"] == "nearest"
    found = load(scenes, coarse, resampling=how, sign=signed)
    for i, scene in enumerate(scenes):
        mean = plain(scene.bands["B04"], fine).astype(float).reshape(32, 2, 32, 2).mean(axis=(1, 3))
        assert np.abs(found.values[i, list(scene.bands).index("B04")] - mean).max() <= 0.5
        np.testing.assert_array_equal(
            found.values[i, list(scene.bands).index("B11")], plain(scene.bands["B11"], coarse)
        )
        np.testing.assert_array_equal(found.labels[i], plain(labels_of(scene), coarse))


def test_no_other_gdal_driver_is_read(scenes: list[Scene], tmp_path: Path) -> None:
    """A VRT could name any file or address."""
    trick = tmp_path / "B04.vrt"
    with rasterio.open(scenes[0].bands["B04"].href) as source, WarpedVRT(source) as warped:
        shutil_copy(warped, trick, driver="VRT")
    bands = {**scenes[0].bands, "B04": replace(scenes[0].bands["B04"], href=str(trick))}
    geobox = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)
    with pytest.raises(ReadError, match="is of the kind VRT, and only GeoTIFF and JPEG 2000 are read"):
        load([replace(scenes[0], bands=bands)], geobox, resampling=EVERY_NEAREST, sign=signed)


def test_the_profiles_gdal_settings_hold_while_reading(scenes: list[Scene], tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "catalogs" / "planetary-computer.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace("[gdal]", '[gdal]\nCPL_TMPDIR = "x"'))
    env = _environment([replace(scenes[0], profile=str(own))])
    with env.open:
        assert rasterio.env.getenv()["CPL_TMPDIR"] == "x"
