import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy as shutil_copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import from_bounds

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import NO_LABEL, BandAsset, Mask, Scene
from spaceeye_stac.pixels.gdal_words import gdal_name as _gdal_name
from spaceeye_stac.pixels.loader import _environment, load, resampling_of
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.sources.selection import search
from tests.support.image_store import Store
from tests.support.items import labels_of
from tests.support.loopback import serving
from tests.support.material import BE_BBOX, BE_DAYS, ROOT

EVERY_NEAREST = dict.fromkeys(DEFAULT_BANDS, "nearest")
CHIP = GeoBox.from_bbox((501360, 5629040, 502000, 5629680), "EPSG:32631", resolution=10, tight=True)


def with_band(scene: Scene, **changes: Any) -> Scene:
    """The scene with another B04."""
    return replace(scene, bands={**scene.bands, "B04": replace(scene.bands["B04"], **changes)})


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
    with pytest.raises(ReadError, match=r"B04\.vrt is no GeoTIFF or JPEG 2000, and only these are read"):
        load([replace(scenes[0], bands=bands)], geobox, resampling=EVERY_NEAREST, sign=signed)


@pytest.mark.parametrize("name", ["B04.vrt", "B04.tif"])
def test_a_vrt_from_a_server_is_not_read_whatever_its_name(scenes: list[Scene], name: str, tmp_path: Path) -> None:
    target = scenes[0].bands["B04"].href
    text = f"""<VRTDataset rasterXSize="64" rasterYSize="64">
        <GeoTransform>501360, 10, 0, 5629680, 0, -10</GeoTransform>
        <VRTRasterBand dataType="UInt16" band="1">
        <SimpleSource><SourceFilename>{target}</SourceFilename></SimpleSource>
        </VRTRasterBand></VRTDataset>"""
    with rasterio.open(text) as trick:  # which GDAL would read, and with it any file that it names
        assert trick.driver == "VRT"
    with serving(Store(tmp_path, pages={name: text.encode()})) as store:
        broken = with_band(scenes[0], href=f"{store.url}/{name}")
        with pytest.raises(ReadError, match=rf"{name} is no GeoTIFF or JPEG 2000, and only these are read"):
            load([broken], CHIP, resampling=EVERY_NEAREST, sign=signed)
    (tmp_path / "x.tif").write_text(text)
    with pytest.raises(ReadError, match=r"x\.tif is no GeoTIFF or JPEG 2000, and only these are read"):
        load([with_band(scenes[0], href=str(tmp_path / "x.tif"))], CHIP, resampling=EVERY_NEAREST, sign=signed)


@pytest.mark.parametrize("kind", ["VRT", "MEM", "netCDF", "GTIFF_DIR"])
def test_names_that_gdal_understands_are_no_files(scenes: list[Scene], kind: str) -> None:
    target = scenes[0].bands["B04"].href
    names = {
        "VRT": f"vrt://{target}",
        "MEM": "MEM:::DATAPOINTER=1,PIXELS=64,LINES=64",
        "netCDF": f"NETCDF:{target}:x",
        "GTIFF_DIR": "GTIFF_DIR:9:/etc/passwd",
    }
    with pytest.raises(ReadError):
        load([with_band(scenes[0], href=names[kind])], CHIP, resampling=EVERY_NEAREST, sign=signed)


def test_headers_of_real_files_agree_with_their_items(scenes: list[Scene]) -> None:
    """The check is not idle: these items say all that it compares."""
    for asset in (*scenes[0].bands.values(), labels_of(scenes[0])):
        assert asset.origin is not None
        assert asset.shape is not None
    assert load(scenes, CHIP, resampling=EVERY_NEAREST, sign=signed).values.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (64, 65)}, "has 64 x 64 pixels, its item says 64 x 65"),
        (
            {"origin": (501360.0, 5629690.0)},
            r"has pixels of 10 m from \(501360, 5629680\), its item says pixels of 10 m from \(501360, 5629690\)",
        ),
        ({"resolution": 20.0}, r"has pixels of 10 m from .* its item says pixels of 20 m from .*"),
    ],
)
def test_an_item_that_disagrees_with_its_file_is_named(scenes: list[Scene], change: dict[str, Any], said: str) -> None:
    wrong = with_band(scenes[1], **change)
    with pytest.raises(ReadError, match=f"^Scene {scenes[1].id}: asset {wrong.bands['B04'].href} {said}; mend"):
        load([scenes[0], wrong], CHIP, resampling=EVERY_NEAREST, sign=signed)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"crs": "EPSG:32632"}, "is in EPSG:32632, its item says EPSG:32631"),
        ({"crs": None, "transform": None}, "has no geotransform, so that nobody knows where it lies"),
        ({"dtype": "float32"}, "holds float32, and uint16 or int16 is read"),
        ({"dtype": "uint8"}, "holds uint8, and uint16 or int16 is read"),
        ({"count": 3, "dtype": "uint8"}, "has 3 bands, and a band's file has one"),
        ({"width": 200_000, "height": 200_000}, "claims 200000 x 200000 pixels, and at most 110000 a side are read"),
        ({"width": 100_000, "height": 16}, "has 16 x 100000 pixels, its item says 64 x 64"),
        (
            {"width": 100_000, "height": 100_000, "blockxsize": 65_536, "blockysize": 65_536},
            "is in blocks of 65536 x 65536 pixels, which is too much to read at once",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_before_it_is_read(
    scenes: list[Scene], made: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Sparse files: some claim gigabytes and have some hundred bytes."""
    options = {"width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": "EPSG:32631", "transform": CHIP.affine}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
    path = tmp_path / "B04.tif"
    with rasterio.open(path, "w", driver="GTiff", **{**options, **tiles, **made}):
        pass
    wrong = with_band(scenes[1], href=str(path))
    with pytest.raises(ReadError, match=f"^Scene {scenes[1].id}: asset {path} {said}; mend the source"):
        load([scenes[0], wrong], CHIP, resampling=EVERY_NEAREST, sign=signed)


def test_jpeg_2000_is_read(scenes: list[Scene], tmp_path: Path) -> None:
    path = tmp_path / "B04.jp2"
    with rasterio.open(scenes[0].bands["B04"].href) as source:
        shutil_copy(source, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    found = load([with_band(scenes[0], href=str(path))], CHIP, resampling=EVERY_NEAREST, sign=signed)
    np.testing.assert_array_equal(found.values[0, DEFAULT_BANDS.index("B04")], plain(scenes[0].bands["B04"], CHIP))


def test_each_header_is_read_once(scenes: list[Scene]) -> None:
    """One GET for a small file: the check costs no request."""
    folder = Path(scenes[0].bands["B04"].href).parent
    with serving(Store(folder)) as store:
        bands = {name: replace(a, href=f"{store.url}/{name}.tif") for name, a in scenes[0].bands.items()}
        remote = replace(scenes[0], bands=bands, labels=replace(labels_of(scenes[0]), href=f"{store.url}/SCL.tif"))
        found = load([remote], CHIP, resampling=EVERY_NEAREST, sign=signed)
        assert sorted(path for method, path, _ in store.requests if method == "GET") == sorted(
            f"/{name}.tif" for name in (*bands, "SCL")
        )
    np.testing.assert_array_equal(found.values, load(scenes[:1], CHIP, resampling=EVERY_NEAREST, sign=signed).values)


def test_a_scene_that_lies_elsewhere_keeps_its_place(scenes: list[Scene]) -> None:
    """stackstac drops items outside the grid, which would give each scene behind it another's pixels."""
    nowhere = {"geometry": None, "bbox": [9, 9, 9.1, 9.1]}
    far = replace(scenes[1], bands={n: replace(a, origin=(9e5, 9e5)) for n, a in scenes[1].bands.items()})
    far = replace(far, labels=replace(labels_of(far), origin=(9e5, 9e5)), item={**far.item, **nowhere})
    found = load([scenes[0], far, scenes[2]], CHIP, resampling=EVERY_NEAREST, sign=signed)
    alone = load([scenes[0], scenes[2]], CHIP, resampling=EVERY_NEAREST, sign=signed)
    np.testing.assert_array_equal(found.values[[0, 2]], alone.values)
    assert not found.values[1].any()
    assert (found.labels[1] == NO_LABEL).all()


KEYS = ("AKIAEXAMPLE", "made/up+secret")
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST", "AWS_REQUEST_PAYER")


@pytest.fixture
def s3(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Store, Scene]]:
    """A bucket on loopback that checks signatures, and a scene in it of a fresh name."""
    bucket = f"bucket{tmp_path.name[-3:]}{len(str(tmp_path))}".replace("_", "")
    (tmp_path / bucket).symlink_to(Path(scenes[0].bands["B04"].href).parent)
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    with serving(Store(tmp_path, keys=KEYS)) as store:
        monkeypatch.setenv("AWS_S3_ENDPOINT", store.url.removeprefix("http://"))
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        bands = {name: replace(a, href=f"s3://{bucket}/{name}.tif") for name, a in scenes[0].bands.items()}
        labels = replace(labels_of(scenes[0]), href=f"s3://{bucket}/SCL.tif")
        yield store, replace(scenes[0], bands=bands, labels=labels, profile="cdse")


def read_s3(scene: Scene, scenes: list[Scene]) -> None:
    found = load([scene], CHIP, resampling=EVERY_NEAREST, sign=signed)
    np.testing.assert_array_equal(found.values, load(scenes[:1], CHIP, resampling=EVERY_NEAREST, sign=signed).values)


def test_s3_keys_of_the_environment_are_used(
    s3: tuple[Store, Scene], scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the profile for CDSE, whose endpoint the environment replaces, after a read with another profile."""
    with monkeypatch.context() as nothing:
        nothing.delenv("AWS_S3_ENDPOINT")
        east = GeoBox.from_bbox((501370, 5629040, 502000, 5629680), "EPSG:32631", resolution=20, tight=True)
        other = replace(scenes[0], profile="digital-earth-africa")
        load([other] * 4, east, resampling=EVERY_NEAREST, sign=signed)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    read_s3(s3[1], scenes)
    assert {status for _, _, status in s3[0].requests} == {200}


def test_wrong_s3_keys_are_an_error_that_does_not_tell_them(
    s3: tuple[Store, Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ReadError, match=r"asset s3://.*\.tif is refused by its store") as caught:
        load([s3[1]], CHIP, resampling=EVERY_NEAREST, sign=signed)
    assert "wrong" not in str(caught.value)


def test_missing_s3_keys_are_named(s3: tuple[Store, Scene]) -> None:
    with pytest.raises(ReadError, match=r"asset s3://.*\.tif needs keys that the environment does not give"):
        load([s3[1]], CHIP, resampling=EVERY_NEAREST, sign=signed)


def test_a_public_bucket_is_read_without_keys(
    s3: tuple[Store, Scene], scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3[0].keys = None
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    read_s3(s3[1], scenes)
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    assert "AWS_NO_SIGN_REQUEST" not in str(_environment([s3[1]]))
    assert "AWS_NO_SIGN_REQUEST': 'YES'" in str(_environment([replace(s3[1], profile="digital-earth-africa")]))


@pytest.mark.parametrize("pays", [True, False])
def test_who_asks_pays_where_the_environment_says_so(
    s3: tuple[Store, Scene],
    scenes: list[Scene],
    monkeypatch: pytest.MonkeyPatch,
    pays: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    s3[0].payer = True
    if pays:
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        read_s3(s3[1], scenes)
    else:
        with pytest.raises(ReadError, match="is refused by its store"):
            read_s3(s3[1], scenes)


def test_azure_and_google_addresses_are_gdals(scenes: list[Scene]) -> None:
    assert _gdal_name("abfs://container@made.dfs.core.windows.net/a/b.tif") == "/vsiaz/container/a/b.tif"
    assert _gdal_name("abfss://container/a/b.tif") == "/vsiaz/container/a/b.tif"
    for href in ("az://container/a.tif", "gs://bucket/a.tif", "s3://bucket/a.tif", labels_of(scenes[0]).href):
        assert _gdal_name(href) == href


def test_the_profiles_gdal_settings_hold_while_reading(scenes: list[Scene], tmp_path: Path) -> None:
    text = (ROOT / "catalogs" / "planetary-computer.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(text.replace("[gdal]", '[gdal]\nCPL_TMPDIR = "x"'))
    env = _environment([replace(scenes[0], profile=str(own))])
    with env.open:
        assert rasterio.env.getenv()["CPL_TMPDIR"] == "x"
