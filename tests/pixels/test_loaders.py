"""What async-tiff reads from a store is bit for bit what GDAL reads there, and GDAL reads what it leaves."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.transform import Affine

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import BandAsset, Mask, Scene
from spaceeye_stac.pixels.assets import AssetToRead
from spaceeye_stac.pixels.loader import Stacked, load
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.pixels.signing import PlainHrefs, signed
from spaceeye_stac.pixels.tiles import read_tiles
from spaceeye_stac.sources.selection import search
from tests.support.image_store import Store
from tests.support.loopback import serving

SIDE, LEFT, TOP, EPSG = 600, 500_000.0, 5_630_000.0, 32631
TILED: dict[str, Any] = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
# each case: how a file is written, whether async-tiff reads it, and what its pixels may be
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "deflate": (TILED, True),
    "deflate, differences": (TILED | {"predictor": 2}, True),
    "lzw": (TILED | {"compress": "lzw", "predictor": 2}, True),
    "zstd": (TILED | {"compress": "zstd"}, False),
    "of int16 with a nodata of its own": (TILED | {"dtype": "int16", "nodata": -9999}, True),
    "without a nodata": (TILED | {"nodata": None}, True),
    "coarser, on the lines": (TILED | {"res": 20.0}, True),
    "of tiles of 16": (TILED | {"blockxsize": 16, "blockysize": 16}, True),
    "in other byte order": (TILED | {"ENDIANNESS": "BIG"}, False),
    "in strips": ({"compress": "deflate"}, False),
    "plain": (TILED | {"compress": "none"}, False),
    "off the lines": (TILED | {"left": LEFT + 3}, False),
    "twice as fine": (TILED | {"res": 5.0}, True),
    "four times as fine": (TILED | {"res": 2.5}, True),
    "five times as fine": (TILED | {"res": 2.0}, True),
    "finer, around the corner": (TILED | {"res": 2.5, "left": LEFT - 147.5}, True),
    "finer, beside the grid": (TILED | {"res": 5.0, "left": LEFT + 4000}, True),
    "finer, off the lines": (TILED | {"res": 5.0, "left": LEFT + 3}, False),
    "finer by a broken number": (TILED | {"res": 4.0}, False),
    "with a scale of its own, as published days have": (TILED | {"scale": 1e-4}, True),
    "with a mask": (TILED | {"masked": True}, False),
}
PART = GeoBox.from_bbox((LEFT - 150, TOP - 3330, LEFT + 2870, TOP + 120), f"EPSG:{EPSG}", resolution=10, tight=True)


def written(path: Path, options: dict[str, Any], seed: int = 7) -> Any:
    """A file of random pixels, a tenth of them 0."""
    given: dict[str, Any] = {
        "dtype": "uint16",
        "nodata": 0,
        "res": 10.0,
        "left": LEFT,
        "masked": False,
        "scale": 1.0,
    } | options
    res, left, masked, scale = (given.pop(name) for name in ("res", "left", "masked", "scale"))
    rng = np.random.default_rng(seed)
    high = 12 if given["dtype"] == "uint8" else 20_000
    image = rng.integers(-50 if given["dtype"] == "int16" else 0, high, (SIDE, SIDE)).astype(given["dtype"])
    image[rng.random(image.shape) < 0.1] = given["nodata"] if given["nodata"] in (0, -9999) else 0
    place = {"crs": EPSG, "transform": Affine(res, 0, left, 0, -res, TOP)}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", height=SIDE, width=SIDE, count=1, **place, **given) as file,
    ):
        file.scales = (scale,)
        file.write(image, 1)
        if masked:
            file.write_mask(rng.random(image.shape) < 0.8)
    return image


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse()])
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)
    with serving(Store(tmp_path)) as store:
        yield store


@pytest.fixture
def scene(simulated_query: se.Query) -> Scene:
    return next(iter(search(simulated_query)))


def of_files(scene: Scene, base: str | Path) -> Scene:
    """The scene with a.tif for a band and b.tif for its labels, somewhere."""
    band = BandAsset(f"{base}/a.tif", 1e-4, 0.0, 0, 10.0)
    return replace(scene, bands={"B04": band}, labels=Mask(f"{base}/b.tif", 1.0, 0.0, 0, 10.0))


def read(scene: Scene, monkeypatch: pytest.MonkeyPatch, loader: str = "auto", how: str = "nearest") -> Stacked:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse(loader=loader)])
    return load([scene], PART, resampling={"B04": how}, sign=signed)


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_gdal(
    case: str, store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, by_tiles = CASES[case]
    image = written(tmp_path / "a.tif", options)
    written(tmp_path / "b.tif", TILED | {"dtype": "uint8"})
    there = of_files(scene, store.url)
    asset = AssetToRead(there, "B04", there.bands["B04"], PlainHrefs(), Resampling.nearest)
    assert (read_tiles({"0-0": asset}, PART) != {}) == by_tiles
    if "masked" in options:  # GDAL waits for masks with Python's lock in its hand, and this very process serves them
        return
    found, gdals = read(there, monkeypatch), read(there, monkeypatch, "stackstac")
    local = read(of_files(scene, tmp_path), monkeypatch)
    for other in (gdals, local):
        np.testing.assert_array_equal(found.values, other.values)
        np.testing.assert_array_equal(found.labels, other.labels)
        assert found.doubts == other.doubts
    if options in (TILED, TILED | {"scale": 1e-4}):  # an independent second way
        np.testing.assert_array_equal(found.values[0, 0, 12:, 15:], image[:333, :287])
        assert not found.values[0, 0, :12].any()


def test_labels_that_are_left_to_gdal_stand_beside_bands_that_are_not(
    store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "a.tif", TILED)
    written(tmp_path / "b.tif", TILED | {"dtype": "uint8", "left": LEFT + 3})
    found = read(of_files(scene, store.url), monkeypatch)
    local = read(of_files(scene, tmp_path), monkeypatch)
    np.testing.assert_array_equal(found.values, local.values)
    np.testing.assert_array_equal(found.labels, local.labels)


def test_two_requests_bring_a_file(store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("a", "uint16"), ("b", "uint8")):
        written(tmp_path / f"{name}.tif", TILED | {"dtype": kind, "blockxsize": 512, "blockysize": 512})
    read(of_files(scene, store.url), monkeypatch)
    assert [method for method, _, _ in store.requests] == ["GET"] * 4


@pytest.mark.parametrize("how", ["bilinear", "cubic", "average"])
def test_what_is_not_copied_is_left_to_gdal(
    how: str, store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "a.tif", TILED | {"res": 20.0})
    written(tmp_path / "b.tif", TILED | {"dtype": "uint8"})
    there = of_files(scene, store.url)
    found, gdals = read(there, monkeypatch, how=how), read(there, monkeypatch, "stackstac", how=how)
    np.testing.assert_array_equal(found.values, gdals.values)
    np.testing.assert_array_equal(found.labels, gdals.labels)


@pytest.mark.parametrize("damage", ["404", "403", "garbage"])
def test_what_is_wrong_is_said_as_gdal_says_it(
    damage: str, store: Store, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("a", "uint16"), ("b", "uint8")):
        written(tmp_path / f"{name}.tif", TILED | {"dtype": kind})
    if damage in {"404", "403"}:
        store.answers = {"a.tif": int(damage)}
    else:
        (tmp_path / "a.tif").write_bytes(b"no image at all" * 99)
    said = []
    for loader in ("auto", "stackstac"):
        with pytest.raises(ReadError) as caught:
            read(of_files(scene, store.url), monkeypatch, loader)
        said.append(str(caught.value))
        assert caught.value.__context__ is None
    assert said[0] == said[1]
    assert f"asset {store.url}/a.tif" in said[0]
