"""What is said of the pixels of virtual days without looking at them: by numpy alone, and by GDAL that reads them."""

import shutil
import subprocess
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.days.cog import quantise, write_cog
from spaceeye_stac.days.descriptions import SCALE, description_of, description_of_picture
from spaceeye_stac.days.pictures import shades_of, visual
from spaceeye_stac.days.virtual import UNIT_DN
from spaceeye_stac.days.virtual_pixels import _least, interpolated
from spaceeye_stac.days.vrt import KnotCog, Recipe, picture_vrt_of, vrt_of
from spaceeye_stac.model import Grid

HIGHEST, DAY = 65535, date(2023, 5, 7)
SIDE = 48


def recipe(units: tuple[float, float], illuminance: float, place: tuple[int, int], folder: Path = Path()) -> Recipe:
    """A day between two keyframes `gap` days apart."""
    gap, day = place
    cogs = [KnotCog("images", n, unit, folder / f"knots/{n}.tif") for n, unit in enumerate(units)]
    return Recipe(tuple((cog, illuminance * cog.unit / SCALE) for cog in cogs), (100, gap, 100 + day))


def by_hand(left: NDArray[np.float64], right: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """DN of a file, of two keyframes in DN under the day's illuminance."""
    return np.clip(np.rint((1 - share) * left + share * right), 1, HIGHEST)


@given(
    seed=st.integers(0, 2**32),
    darker=st.floats(0.02, 1),
    other=st.floats(0.5, 1),
    gap=st.integers(2, 40),
    bright=st.sampled_from([5.0, 100.0, 3000.0, 60000.0]),
    data=st.data(),
)
@example(seed=1, darker=1.0, other=1.0, gap=2, bright=5.0, data=None)
def test_pixels_that_are_not_doubted_are_those_of_a_file(
    seed: int, darker: float, other: float, gap: int, bright: float, data: st.DataObject | None
) -> None:
    """Units as coarse as they get, days as dark as can be; half of the values lie half-way between two units."""
    strongest = 1.3
    day = 1 if data is None else data.draw(st.integers(1, gap - 1))
    units = (UNIT_DN * SCALE / strongest, other * UNIT_DN * SCALE / strongest)
    made = recipe(units, darker * strongest, (gap, day))
    rng = np.random.default_rng(seed)
    exact = [rng.gamma(1, bright, 4000) * SCALE / strongest for _ in units]
    images = [
        np.where(rng.random(4000) < 0.5, (np.floor(x / u) + 0.5) * u, x) for x, u in zip(exact, units, strict=True)
    ]
    values = [quantise(x.astype(np.float32), u) for x, u in zip(images, units, strict=True)]
    found = interpolated(values, made).astype(np.int64)
    certain = np.logical_and.reduce([(v >= _least(made)) & (v < HIGHEST) for v in values])
    left, right = (x.astype(np.float32).astype(np.float64) * (darker * strongest / SCALE) for x in images)
    file = by_hand(left, right, day / gap)
    assert np.abs(found - file)[certain].max(initial=0) <= 1
    assert found[certain].all()
    if bright == 3000 and darker > 0.5:
        assert certain.mean() > 0.9, "nearly all"


def test_coarser_units_are_doubted_everywhere() -> None:
    for dn in (0.0, 1.95, 2.0, 9.0):
        assert _least(recipe((dn * SCALE, dn * SCALE), 1.0, (4, 1))) == HIGHEST + 1
    assert _least(recipe((1.8 * SCALE, 1.8 * SCALE), 1.0, (4, 1))) == 2
    assert _least(recipe((0.1 * SCALE, 0.1 * SCALE), 1.0, (4, 1))) == 6


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint16]]:
    """Three bands of a day as VRTs of keyframes of all values, some missing, and their picture; what is expected."""
    folder = tmp_path_factory.mktemp("vrt")
    (folder / "knots").mkdir()
    (folder / "day").mkdir()
    grid = Grid("grid", GeoBox((SIDE, SIDE), rasterio.Affine(10, 0, 500_000, 0, -10, 5_600_000), "EPSG:32631"))
    rng = np.random.default_rng(3)
    values = [rng.integers(1, HIGHEST + 1, (SIDE, SIDE)).astype(np.uint16) for _ in range(2)]
    for n, one in enumerate(values):
        one[:24] //= 20  # as reflectance is
        one[:, 7] = 0
        write_cog(folder / f"knots/{n}.tif", one, grid.geobox, nodata=0)
    expected = []
    for n, name in enumerate(("B04", "B03", "B02")):
        made = recipe((1.41 * SCALE, 0.7 * SCALE), 0.9 - 0.1 * n, (7, 2 + n), folder)
        text = vrt_of(made, grid, folder / "day", description_of(name, DAY))
        (folder / f"day/{name}.vrt").write_text(text)
        expected.append(interpolated(values, made))
    bands = ("B04", "B03", "B02")
    text = picture_vrt_of(
        [f"{b}.vrt" for b in bands], shades_of(bands, "natural"), grid, description_of_picture(bands, DAY)
    )
    (folder / "day/visual.vrt").write_text(text)
    return folder / "day", np.stack(expected)


def test_gdal_reads_what_is_made_here(virtual: tuple[Path, NDArray[np.uint16]]) -> None:
    folder, expected = virtual
    for name, values in zip(("B04", "B03", "B02"), expected, strict=True):
        with rasterio.open(folder / f"{name}.vrt") as source:
            np.testing.assert_array_equal(source.read(1), values)
    with rasterio.open(folder / "visual.vrt") as source:
        np.testing.assert_array_equal(source.read(), visual(list(expected), ("B04", "B03", "B02")))
    assert (expected[:, :, 7] == 0).all()
    assert (expected == HIGHEST).any(), "some are too bright"


def test_a_gdal_of_some_years_ago_reads_the_same(virtual: tuple[Path, NDArray[np.uint16]], tmp_path: Path) -> None:
    if shutil.which("gdal_translate") is None:
        pytest.skip("gdal_translate is not installed: .ci/e2e installs it")
    folder, expected = virtual
    shown = visual(list(expected), ("B04", "B03", "B02"))
    for name, values in (("B04", expected[:1]), ("visual", shown)):
        subprocess.run(["gdal_translate", "-q", str(folder / f"{name}.vrt"), str(tmp_path / "x.tif")], check=True)
        with rasterio.open(tmp_path / "x.tif") as source:
            found = source.read()
        np.testing.assert_array_equal(found == 0, values == 0)
        assert np.abs(found.astype(int) - values).max() <= 1
