"""How fast bands of real scenes are encoded and decoded, and what they then weigh, by compression, in one run."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.days.cog import Encoding, Raster
from tests.support.material import BE_BBOX, BE_DAYS, material

BANDS = ("B02", "B04", "B08", "B11")
CHIP, ROW = 56, 10
DAYS, TIMES = ROW * ROW, 4  # repeated after 560 pixels, which is more than a tile has: no tile repeats itself
SIDE = CHIP * ROW * TIMES
COMPRESSIONS = (Encoding(), Encoding("DEFLATE", 6), Encoding("ZSTD"), Encoding("ZSTD", 9))
GRID = GeoBox.from_bbox((5e5, 5.5e6, 5e5 + 10 * SIDE, 5.5e6 + 10 * SIDE), "EPSG:32631", resolution=10, tight=True)


@pytest.fixture
def images(tmp_path: Path) -> list[np.ndarray]:
    """An image of each band in which a hundred cloud-free days of a real field lie beside each other."""
    query = se.Query(catalog=material("data/be-31uds"), bbox=BE_BBOX, datetime=BE_DAYS, bands=BANDS)
    out = se.run(query, out=tmp_path / "days").path
    order = np.random.default_rng(0).permutation(DAYS)  # no day beside a day that is nearly the same
    found = []
    for band in BANDS:
        paths = sorted(out.glob(f"*/{band}.tif"))
        parts = [_read(paths[i])[:CHIP, :CHIP] for i in order]
        days = np.block([parts[i : i + ROW] for i in range(0, DAYS, ROW)])
        found.append(np.tile(days, (TIMES, TIMES)))
    return found


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return np.asarray(source.read(1))


def cpu_seconds(task: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of this process, whatever else the machine does: the better of 2, and what the task gave."""
    times = []
    for _ in range(2):
        start = time.process_time()
        found = task()
        times.append(time.process_time() - start)
    return min(times), found


def encoded(images: list[np.ndarray], paths: list[Path], encoding: Encoding) -> list[Path]:
    """The files of the images as a day has them, overviews included, made in this process."""
    for image, path in zip(images, paths, strict=True):
        raster = Raster(path, GRID, str(image.dtype), encoding=encoding)
        raster.write(image, 0)
        raster.close()
    return paths


def decoded(paths: list[Path]) -> list[np.ndarray]:
    return [_read(path) for path in paths]


@pytest.mark.benchmark
def test_zstd_against_deflate(images: list[np.ndarray], tmp_path: Path) -> None:
    plain = SIDE * SIDE * 2 * len(BANDS)
    found = {}
    print(f"\n{len(BANDS)} bands of a real field on {DAYS} days, {SIDE} x {SIDE}, CPU seconds")
    for encoding in COMPRESSIONS:
        places = [tmp_path / f"{band}.tif" for band in BANDS]
        write, files = cpu_seconds(partial(encoded, images, places, encoding))
        read, back = cpu_seconds(partial(decoded, files))
        assert all(np.array_equal(a, b) for a, b in zip(back, images, strict=True))
        size = sum(path.stat().st_size for path in files)
        found[encoding] = write, size
        print(
            f"{encoding.compress:8} {encoding.level}  {plain / write / 1e6:5.0f} MB/s written  "
            f"{plain / read / 1e6:5.0f} MB/s read  {2 * size / plain:5.2f} bytes a pixel"
        )
    usual, fast = found[Encoding()], found[Encoding("ZSTD")]
    print(f"ZSTD 1 against DEFLATE 1: {usual[0] / fast[0]:.2f} times as fast, {fast[1] / usual[1]:.3f} of the bytes")
    assert fast[0] <= usual[0] / 2
    assert fast[1] <= 1.05 * usual[1]
