"""Grids of twice the pixel and more are averaged from overviews, where these are what they should be, and stay put."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.transform import Affine

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.loader import load, resampling_of
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.pixels.overviews import OVERVIEWS
from spaceeye_stac.pixels.scene_pixels import read_part
from spaceeye_stac.pixels.signing import signed
from tests.support.image_store import Store
from tests.support.items import Json
from tests.support.loopback import serving
from tests.support.rasters import asset, band, item, scene_of

LEFT, TOP, SIDE = 500_000.0, 5_630_000.0, 1098  # of 4 and 8 pixels no whole number fits
PLACE = Affine(10, 0, LEFT, 0, -10, TOP)
WHOLE = GeoBox((SIDE, SIDE), PLACE, "EPSG:32631")
LEVEL, STALE = 2000, 1000
Image = NDArray[Any]


SLOW = pytest.mark.slow
RESAMPLINGS = ["average", "cubic", *(pytest.param(one, marks=SLOW) for one in ("bilinear", "lanczos"))]


def grid(metres: float, left: float = 1200, top: float = 2400, side: float = 6000, crs: int = 32631) -> GeoBox:
    """A grid within the image, so many metres from its corner."""
    box = LEFT + left, TOP - top - side, LEFT + left + side, TOP - top
    inside = GeoBox.from_bbox(box, "EPSG:32631", resolution=metres, tight=True)
    if crs == 32631:
        return inside
    return GeoBox.from_bbox(inside.extent.to_crs(f"EPSG:{crs}").boundingbox, f"EPSG:{crs}", resolution=metres)


@dataclass(frozen=True)
class Pyramid:
    """An image with overviews, as gdaladdo makes them, in a file that says how."""

    image: Image
    nodata: float | None = 0
    factors: Sequence[int] = (2, 4, 8)
    how: Resampling = Resampling.average
    tags: Json = field(default_factory=lambda: {"OVR_RESAMPLING_ALG": "AVERAGE"})
    mask: Image | None = None

    def write(self, path: Path) -> Path:
        """Write it."""
        height, width = self.image.shape
        place: dict[str, Any] = {"height": height, "width": width, "crs": 32631, "transform": PLACE}
        tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
        kind = {"driver": "GTiff", "count": 1, "dtype": self.image.dtype, "nodata": self.nodata}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(path, "w", **place, **kind, **tiles) as target:
                target.write(self.image, 1)
                if self.mask is not None:
                    target.write_mask(self.mask)
            with rasterio.open(path, "r+") as target:
                target.build_overviews(list(self.factors), self.how)
                target.update_tags(**self.tags)
        return path

    def stale(self, path: Path) -> Path:
        """Write it, and then less into its full pixels alone: what is read from an overview still shows more."""
        self.write(path)
        with rasterio.open(path, "r+") as target:
            target.write(self.image - STALE, 1)
        return path


def scene_at(path: Path, **said: Any) -> Scene:
    """The scene of a file in the image's place."""
    mask = path.with_name("SCL.tif")
    if not mask.exists():
        Pyramid(np.full((SIDE, SIDE), 4, np.uint8), factors=(), tags={}).write(mask)
    return scene_of(item({"B04": asset(path, WHOLE, **said), "SCL": asset(mask, WHOLE)}, WHOLE))


def flat() -> Image:
    return np.full((SIDE, SIDE), LEVEL, np.uint16)


def noise() -> Image:
    return np.random.default_rng(5).integers(1, 9000, (SIDE, SIDE)).astype(np.uint16)


def ramp(along: int) -> Image:
    """Rising by 10 a pixel along one axis."""
    return np.asarray(np.indices((SIDE, SIDE))[along].astype(np.uint16) * 10 + 1000)


def shares(edges: Image, wanted: Image) -> Image:
    """What part of each wanted pixel each pixel has along one axis, from the places of their edges."""
    low, high = np.maximum.outer(wanted[:-1], edges[:-1]), np.minimum.outer(wanted[1:], edges[1:])
    found = np.clip(high - low, 0, None)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def mean_of(path: Path, level: int, box: GeoBox) -> Image:
    """Means by area of an overview as GDAL has it: the second way."""
    with rasterio.open(path, OVERVIEW_LEVEL=level) as overview:
        image, place = overview.read(1).astype(float), overview.transform
    sides = []
    for there, here, n, m in (
        ((place.f, place.e), (box.affine.f, box.affine.e), image.shape[0], box.shape[0]),
        ((place.c, place.a), (box.affine.c, box.affine.a), image.shape[1], box.shape[1]),
    ):
        direction = np.sign(there[1])
        edges, wanted = there[0] + there[1] * np.arange(n + 1), here[0] + here[1] * np.arange(m + 1)
        sides.append(shares(direction * edges, direction * wanted))
    return np.asarray(sides[0] @ image @ sides[1].T)


def is_from_overview(path: Path, box: GeoBox, **said: Any) -> bool:
    """Of a stale pyramid of 2000, which of both is read."""
    (found,) = set(np.unique(band(scene_at(path, **said), box, OVERVIEWS)))
    assert found in {LEVEL, LEVEL - STALE}
    return bool(found == LEVEL)


@pytest.mark.parametrize(
    ("metres", "level"), [(20, 0), (30, 0), (40, 1), (60, 1), (79, 1), (80, 2), (100, 2), (300, 2)]
)
def test_the_coarsest_overview_that_is_not_coarser_is_averaged_by_area(
    metres: float, level: int, tmp_path: Path
) -> None:
    path = Pyramid(noise()).write(tmp_path / "B04.tif")
    box = grid(metres)
    found = band(scene_at(path), box, OVERVIEWS)
    assert np.abs(found - mean_of(path, level, box)).max() <= 0.51
    other = mean_of(path, 1 - level if level < 2 else 1, box)
    assert np.abs(found - other).max() > 20


@pytest.mark.parametrize("metres", [11, 15, 19.9])
def test_grids_finer_than_twice_the_pixel_are_as_they_were(metres: float, tmp_path: Path) -> None:
    path = Pyramid(flat()).stale(tmp_path / "B04.tif")
    box = grid(metres)
    assert not is_from_overview(path, box)
    np.testing.assert_array_equal(band(scene_at(path), box, OVERVIEWS), band(scene_at(path), box, "average"))
    assert is_from_overview(path, grid(20))


@pytest.mark.parametrize(
    "how", ["average", *(pytest.param(one, marks=SLOW) for one in ("cubic", "bilinear", "lanczos"))]
)
@pytest.mark.parametrize("metres", [20, 60, 170, *(pytest.param(one, marks=SLOW) for one in (40, 100))])
@pytest.mark.parametrize("along", [0, 1])
def test_no_pixel_moves(along: int, metres: float, how: str, tmp_path: Path) -> None:
    """On a slope that rises by 1 a metre what is read tells where it lies, which full pixels tell exactly."""
    path = Pyramid(ramp(along), factors=(2, 4, 8, 16), how=Resampling[how]).write(tmp_path / "B04.tif")
    one, box = scene_at(path), grid(metres)
    full = band(one, box, "average").astype(float)
    moved = band(one, box, OVERVIEWS) - full
    assert np.abs(moved).max() <= 0.11 * metres
    assert np.abs(moved.mean()) <= 0.02 * metres
    centres = {0: np.abs(box.affine.f - TOP), 1: box.affine.c - LEFT}[along] + metres * (
        np.arange(box.shape[along]) + 0.5
    )
    expected = np.expand_dims(centres - 5 + 1000, 1 - along)
    assert np.abs(full - expected).max() <= 0.51


@pytest.mark.parametrize("crs", [32631, 32632])
def test_what_is_read_does_not_depend_on_how_a_grid_is_cut(crs: int, tmp_path: Path) -> None:
    path = Pyramid(noise()).write(tmp_path / "B04.tif")
    one = scene_at(path)
    for metres in (60, 100):
        box = grid(metres, left=-713, top=-517, crs=crs)
        whole = band(one, box, OVERVIEWS)
        assert (whole == 0).any()
        assert (whole > 0).any()
        for rows, columns in ((slice(0, 17), slice(11, 40)), (slice(20, 50), slice(3, 9)), (slice(7, 8), slice(7, 8))):
            np.testing.assert_array_equal(band(one, box[rows, columns], OVERVIEWS), whole[rows, columns])


def test_a_grid_in_another_zone_is_near_the_mean_of_full_pixels(tmp_path: Path) -> None:
    for along in (0, 1):
        path = Pyramid(ramp(along)).write(tmp_path / f"{along}.tif")
        box = grid(60, crs=32632)
        full, found = (band(scene_at(path), box, how).astype(int) for how in ("average", OVERVIEWS))
        both = (full > 0) & (found > 0)
        assert both.sum() > 8000
        assert np.abs(found - full)[both].max() <= 0.11 * 60 + 1


HALF = slice(0, 543)  # an edge that falls into the pixels of each overview
# the type of the pixels, and what stands for nodata in the header, in the item and in the pixels
NODATA: dict[str, tuple[Any, Any, Any, int]] = {
    "header 0": (np.uint16, 0, None, 0),
    "header 65535, item 0": (np.uint16, 65535, 0, 65535),
    "int16 header -9999": (np.int16, -9999, None, -9999),
    "header silent, profile 0": (np.uint16, None, None, 0),
    "header silent, item 65535": (np.uint16, None, 65535, 65535),
    "header 9, item 0": (np.uint16, 9, 0, 9),
}


@pytest.mark.parametrize(
    "how", ["average", *(pytest.param(one, marks=SLOW) for one in ("cubic", "bilinear", "lanczos"))]
)
@pytest.mark.parametrize("said", NODATA)
def test_nodata_never_mixes_in(said: str, how: str, tmp_path: Path) -> None:
    """Of a flat field of 2000 comes no other value; overviews of files that do not declare their nodata hold others."""
    kind, header, own, nodata = NODATA[said]
    image = flat().astype(kind)
    image[:, HALF] = nodata
    path = Pyramid(image, nodata=header, how=Resampling[how]).write(tmp_path / "B04.tif")
    for level in range(3):
        with rasterio.open(path, OVERVIEW_LEVEL=level) as overview:
            assert (set(np.unique(overview.read(1))) == {nodata, LEVEL}) == (header is not None)
    one = scene_at(path, nodata=own)
    for box in (grid(20), grid(60), grid(100), grid(60, crs=32632), grid(60, left=1213, top=2417)):
        found, full = band(one, box, OVERVIEWS), band(one, box, "average")
        assert set(np.unique(found)) == {0, LEVEL}
        assert ((found > 0) != (full > 0)).mean() <= 1.01 / min(box.shape), "an edge moves by a pixel at most"


def test_a_mask_beside_the_pixels_is_not_in_the_overviews(tmp_path: Path) -> None:
    image = flat()
    image[:, HALF] = 9
    path = Pyramid(image, nodata=None, mask=np.where(image == 9, 0, 255).astype(np.uint8)).write(tmp_path / "B04.tif")
    for metres in (20, 60, 100):
        assert set(np.unique(band(scene_at(path), grid(metres), OVERVIEWS))) == {0, LEVEL}


@pytest.mark.parametrize(
    ("changes", "used"),
    [
        ({}, "used"),
        ({"tags": {"OVR_RESAMPLING_ALG": "CUBIC"}}, "used"),
        ({"tags": {"OVR_RESAMPLING_ALG": "NEAREST"}}, "not used"),
        ({"tags": {"OVR_RESAMPLING_ALG": "mode"}}, "not used"),
        ({"tags": {"OVR_RESAMPLING_ALG": "GAUSS"}}, "not used"),
        ({"tags": {}}, "not used"),
        ({"factors": (3, 7)}, "used"),
        ({"factors": (8, 4, 2)}, "used"),
        ({"factors": (8, 16)}, "not used"),
        ({"factors": ()}, "not used"),
    ],
)
def test_overviews_are_read_where_they_are_said_to_be_means(changes: Json, used: str, tmp_path: Path) -> None:
    path = replace(Pyramid(flat()), **changes).stale(tmp_path / "B04.tif")
    assert is_from_overview(path, grid(60)) == (used == "used")


def test_an_overview_file_beside_the_image_is_not_read(tmp_path: Path) -> None:
    path = Pyramid(flat(), factors=()).write(tmp_path / "B04.tif")
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.average)
        target.update_tags(OVR_RESAMPLING_ALG="AVERAGE")
        target.write(flat() - STALE, 1)
    assert path.with_suffix(".tif.ovr").is_file()
    assert not is_from_overview(path, grid(60))


@pytest.mark.parametrize("tag", [256, 257], ids=["width", "height"])
def test_an_overview_of_another_size_is_not_read(tag: int, tmp_path: Path) -> None:
    """One that has lost a part is stretched over the whole image by GDAL."""
    path = Pyramid(flat(), factors=(4,)).stale(tmp_path / "B04.tif")
    assert is_from_overview(path, grid(60))
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, second)
    places = [second + 2 + 12 * n for n in range(count)]
    (place,) = [at for at in places if struct.unpack_from("<H", data, at)[0] == tag]
    assert struct.unpack_from("<H", data, place + 8)[0] == 275
    struct.pack_into("<H", data, place + 8, 270)
    path.write_bytes(data)
    with rasterio.open(path) as lie:
        assert lie.overviews(1) == [4]
    assert not is_from_overview(path, grid(60))


def test_jpeg_2000_is_averaged_from_full_pixels(tmp_path: Path) -> None:
    source = Pyramid(ramp(1), factors=()).write(tmp_path / "B04.tif")
    path = tmp_path / "B04.jp2"
    copy(source, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    with rasterio.open(path) as image:
        assert image.overviews(1)
    for metres in (40, 60):
        expected = band(scene_at(source), grid(metres), "average")
        np.testing.assert_array_equal(band(scene_at(path), grid(metres), OVERVIEWS), expected)


def test_the_header_of_the_full_image_is_what_an_item_is_held_against(tmp_path: Path) -> None:
    path = Pyramid(flat()).write(tmp_path / "B04.tif")
    one = scene_at(path)
    wrong = replace(one, bands={"B04": replace(one.bands["B04"], shape=(549, 549))})
    with pytest.raises(ReadError, match="has 1098 x 1098 pixels, its item says 549 x 549"):
        band(wrong, grid(60), OVERVIEWS)


def cog(folder: Path, name: str, image: Image, **options: Any) -> Path:
    """A file of GDAL's COG driver."""
    plain = Pyramid(image, factors=(), tags={}).write(folder / "plain.tif")
    copy(plain, folder / name, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=128, **options)
    plain.unlink()
    return folder / name


def test_an_overview_a_little_coarser_than_the_grid_is_passed_over(tmp_path: Path) -> None:
    """The COG driver leaves out the last pixels that are no whole number, so that the others are larger."""
    path, box = cog(tmp_path, "B04.tif", noise(), OVERVIEW_COUNT=3), grid(80)
    with rasterio.open(path, OVERVIEW_LEVEL=2) as overview:
        assert 80.1 < overview.res[0] < 80.2
    assert np.abs(band(scene_at(path), box, OVERVIEWS) - mean_of(path, 1, box)).max() <= 0.51
    wider = grid(81)
    assert np.abs(band(scene_at(path), wider, OVERVIEWS) - mean_of(path, 2, wider)).max() <= 0.51


@pytest.mark.parametrize("loader", ["auto", "stackstac"])
def test_a_store_is_asked_for_the_overview_alone(loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header once, then the tiles of the overview; labels are full pixels, of which overviews would invent some."""
    path = cog(tmp_path, "B04.tif", noise())
    labels = np.random.default_rng(3).choice(np.array([4, 8], np.uint8), (SIDE, SIDE))
    mask = cog(tmp_path, "SCL.tif", labels, OVERVIEW_RESAMPLING="NEAREST")
    local = scene_of(item({"B04": asset(path, WHOLE), "SCL": asset(mask, WHOLE)}, WHOLE))
    box = GeoBox.from_bbox((LEFT, TOP - 10_980, LEFT + 10_980, TOP), "EPSG:32631", resolution=60, tight=True)
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse(loader=loader)])
    sent, found = {}, {}
    for how in (OVERVIEWS, "average"):
        with serving(Store(tmp_path)) as store:
            band_there = replace(local.bands["B04"], href=f"{store.url}/B04.tif")
            there = replace(local, bands={"B04": band_there}, labels=None)
            found[how] = load([there], box, resampling={"B04": how}, sign=signed)
            sent[how] = sum(stop - start for _, start, stop in store.sent)
            if how == OVERVIEWS:
                names = [(method, name) for method, name, _ in store.requests]
                assert set(names) == {("HEAD", "/B04.tif"), ("GET", "/B04.tif")}
                assert names.count(("HEAD", "/B04.tif")) == 1
                assert len(names) <= 4
    with rasterio.open(path) as image:
        _, second = (np.prod(shape) for shape in (image.shape, (275, 275)))
    assert sent[OVERVIEWS] <= 2 * second * 1.1 + 2 * 32_768
    assert sent["average"] > 10 * sent[OVERVIEWS]
    here = load([local], box, resampling={"B04": OVERVIEWS}, sign=signed)
    np.testing.assert_array_equal(found[OVERVIEWS].values, here.values)
    np.testing.assert_array_equal(here.labels[0], labels[3::6, 3::6])


class Seen:
    """A mask model that remembers what it was shown."""

    bands = ("B04",)

    def __init__(self) -> None:
        self.shown: list[float] = []

    def __call__(self, bands: Any, _metres: float) -> Any:
        self.shown += list(np.unique(bands[bands > 0]))
        return np.ones(bands.shape[1:], bool)


def test_runs_read_overviews_and_mask_models_do_not(tmp_path: Path) -> None:
    path = Pyramid(flat()).stale(tmp_path / "B04.tif")
    model = Seen()
    query = se.Query(
        catalog="none",
        bbox=list(grid(60).extent.to_crs("EPSG:4326").boundingbox.bbox),
        datetime="2023-04-01",
        bands=["B04"],
        allow_hrefs=[str(tmp_path)],
    )
    settings = se.Settings(resolution=60, mask_model=model, duration=1)
    job = grid_job([scene_at(path)], query, settings)
    read = read_part(job, job.grid.geobox)
    assert set(np.unique(read.values)) <= {0, LEVEL}
    assert np.equal(read.values, LEVEL).any()
    assert {round(one / 1e-4) for one in model.shown} == {LEVEL - STALE}


def test_how_bands_get_onto_a_grid(tmp_path: Path) -> None:
    one = scene_at(Pyramid(flat()).write(tmp_path / "B04.tif"))
    assert resampling_of([one], grid(60), "cubic", coarser=OVERVIEWS) == {"B04": OVERVIEWS}
    assert resampling_of([one], grid(60), "cubic") == {"B04": "average"}
    assert resampling_of([one], grid(10), "cubic", coarser=OVERVIEWS) == {"B04": "cubic"}
