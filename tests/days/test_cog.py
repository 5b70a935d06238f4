from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from spaceeye_stac.days.cog import (
    Encoding,
    Raster,
    quantise,
    statistics,
    write_cog,
)


def grid(height: int, width: int) -> GeoBox:
    box = (500000, 5600000 - 10 * height, 500000 + 10 * width, 5600000)
    return GeoBox.from_bbox(box, "EPSG:32631", resolution=10, tight=True)


def test_quantising_rounds_and_keeps_nodata_apart() -> None:
    given = np.array([0.12344, 0.12346, -0.2, 0.0, 0.00004, 7.0, np.nan], np.float32)
    assert quantise(given).tolist() == [1234, 1235, 1, 1, 1, 65535, 0]


def test_quantising_rounds_as_the_quotient_does_at_ties_and_everywhere() -> None:
    ties = np.arange(1, 225, 2, dtype=np.float32) / 32  # of which a ten-thousandth is n + 0.5
    near = [np.nextafter(ties, np.float32(side)) for side in (0, 9)]
    drawn = np.random.default_rng(0).uniform(0, 7, 1_000_000).astype(np.float32)
    given = np.concatenate([ties, *near, drawn])
    np.testing.assert_array_equal(quantise(given), np.clip(np.rint(given.astype(np.float64) / 0.0001), 1, 65535))


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


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("uint8", 0), ("uint8", 255)])
@pytest.mark.parametrize("missing", [0.0, 0.5, 1.0])
def test_statistics_are_those_of_the_valid_pixels(dtype: str, nodata: int, missing: float) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(1, np.iinfo(dtype).max, (300, 400)).astype(dtype)
    values[rng.random(values.shape) < missing] = nodata
    found, valid = statistics(values, nodata), values[values != nodata].astype(float)
    if not valid.size:
        assert found is None
        return
    assert found is not None
    assert (found.minimum, found.maximum) == (valid.min(), valid.max())
    assert found.mean == pytest.approx(valid.mean(), abs=1e-4)
    assert found.stddev == pytest.approx(valid.std(), abs=1e-4)
    assert found.valid_percent == pytest.approx(100 * valid.size / values.size, abs=1e-4)


@pytest.mark.parametrize("limit", [1, 10**9])
def test_a_raster_written_in_strips_is_the_same_file(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(3).integers(0, 9000, (700, 530), dtype=np.uint16)
    whole = write_cog(tmp_path / "whole.tif", values, grid(700, 530), nodata=0)
    monkeypatch.setattr("spaceeye_stac.days.cog.LARGE_BYTES", limit)  # with and without a file in between
    raster = Raster(tmp_path / "strips.tif", grid(700, 530), "uint16", encoding=Encoding())
    for top in (0, 300, 512):
        raster.write(values[top : {0: 300, 300: 512, 512: 700}[top]], top)
    done = raster.close()
    assert done.statistics == (statistics(values, 0),)
    assert done.file.checksum == whole.checksum
    assert sorted(path.name for path in tmp_path.iterdir()) == ["strips.tif", "whole.tif"]
