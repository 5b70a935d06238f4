"""Items that are wrong about where a file lies or what it holds: the header decides, and the doubt is named."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from odc.geo.geobox import GeoBox

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import NO_LABEL
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.signing import signed
from tests.support.items import Json, labels_of
from tests.support.material import ROOT
from tests.support.rasters import CHIP, SIDE, Raster, asset, band, item, noise, read, scene, scene_of, with_tile

X, Y = 501360.0, 5629680.0
AWAY: dict[str, tuple[Json, Json]] = {  # what the item says of the band, and of itself
    "100 km east": ({"proj:transform": [10, 0, X + 1e5, 0, -10, Y]}, {}),
    "a tile south": ({"proj:transform": [10, 0, X, 0, -10, Y - 109_800]}, {}),
    "0, 0": ({"proj:transform": [10, 0, 0, 0, -10, 0]}, {}),
    "north and east swapped": ({"proj:transform": [10, 0, Y, 0, -10, X]}, {}),
    "just beside": ({"proj:transform": [10, 0, X + 10 * SIDE + 10, 0, -10, Y]}, {}),
    "another zone": ({}, {"proj:code": "EPSG:32632"}),
    "another zone, and no transform": ({"proj:transform": None}, {"proj:code": "EPSG:32632"}),
    "the south": ({}, {"proj:code": "EPSG:32731"}),
    "Lambert": ({"proj:transform": [10, 0, 3.9e6, 0, -10, 3.1e6]}, {"proj:code": "EPSG:3035"}),
}


@pytest.mark.parametrize("why", AWAY)
def test_a_raster_that_its_item_places_elsewhere_is_read_where_it_is(why: str, tmp_path: Path) -> None:
    said, own = AWAY[why]
    pixels = noise()
    found = read(scene(tmp_path, Raster(pixels, options={"nodata": 0}), said, **own))
    assert_array_equal(found.values[0, 0], pixels)
    doubt = found.doubts[0][0]
    assert doubt.startswith("Scene S2A_X: the file of B04")
    assert "its item says" in doubt
    assert doubt.endswith("the file is believed.")


def test_a_mask_alone_that_its_item_places_elsewhere_is_seen(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 12, (SIDE, SIDE)).astype(np.uint8)
    mask = Raster(labels, options={"nodata": 0}).write(tmp_path / "SCL.tif")
    bands = Raster(noise()).write(tmp_path / "B04.tif")
    for wrong in ({"proj:transform": [10, 0, X, 0, -10, Y + 2e5]}, {"proj:code": "EPSG:32633"}):
        one = scene_of(item({"B04": asset(bands), "SCL": asset(mask, **wrong)}))
        found = read(one)
        assert_array_equal(found.labels[0], labels)
        assert [doubt[:30] for doubt in found.doubts[0]] == ["Scene S2A_X: the file of mask "]
        halo = load([one], CHIP, resampling={"B04": "nearest"}, sign=signed, label_halo=2)
        assert_array_equal(halo.labels[0][2:-2, 2:-2], labels)


def test_a_scene_that_is_elsewhere_by_its_footprint_too_is_not_opened(tmp_path: Path) -> None:
    one = scene(tmp_path, Raster(noise()))
    (tmp_path / "B04.tif").unlink()
    (tmp_path / "SCL.tif").unlink()
    far = GeoBox.from_bbox((601360, 5629040, 602000, 5629680), "EPSG:32631", resolution=10, tight=True)
    found = read(one, far)
    assert not found.values.any()
    assert (found.labels == NO_LABEL).all()
    assert found.doubts == [()]


def test_a_file_that_is_elsewhere_itself_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    """The item agrees with its footprint: what the header says cannot be right."""
    there = GeoBox.from_bbox((701360, 5629040, 702000, 5629680), "EPSG:32631", resolution=10, tight=True)
    raster = Raster(noise(), there).write(tmp_path / "B04.tif")
    mask = Raster(np.full((SIDE, SIDE), 4, np.uint8)).write(tmp_path / "SCL.tif")
    with pytest.raises(ReadError, match=r"B04\.tif has pixels of 10 m from \(701360, .* its item says"):
        read(scene_of(item({"B04": asset(raster), "SCL": asset(mask)})))


WRONG = {
    "pixel height": [10, 0, X, 0, -20, Y],
    "rotation": [10, 1, X, 0, -10, Y],
    "skew": [10, 0, X, 2, -10, Y],
    "half a pixel": [10, 0, X + 5, 0, -10, Y],
    "a pixel": [10, 0, X, 0, -10, Y - 10],
    "pixel width, which shows at the other end": [10.09, 0, X, 0, -10, Y],
    "all": [12, 0.1, X + 3, 0.2, -12, Y + 3],
}


@pytest.mark.parametrize("what", WRONG)
def test_each_number_of_a_transform_is_compared(what: str, tmp_path: Path) -> None:
    one = scene(tmp_path, Raster(noise()), {"proj:transform": WRONG[what]})
    with pytest.raises(ReadError, match=r"^Scene S2A_X: asset .*B04\.tif has pixels of .*its item says pixels of"):
        read(one)


@pytest.mark.parametrize("said", [{"proj:transform": None}, {"proj:transform": None, "proj:shape": None}])
def test_where_the_item_says_nothing_the_header_decides(said: Json, tmp_path: Path) -> None:
    pixels, grid = noise(), CHIP.translate_pix(0.3, -0.4)
    for n, geobox in enumerate((CHIP, grid)):
        one = scene(tmp_path / str(n), Raster(pixels, geobox), {**said, "gsd": 10})
        assert_array_equal(band(one, geobox), pixels)
        assert read(one, geobox).doubts == [()]


def test_a_transform_in_gdals_order_is_understood(tmp_path: Path) -> None:
    pixels = noise()
    one = scene(tmp_path, Raster(pixels), {"proj:transform": [X, 10, 0, Y, 0, -10]})
    assert one.bands["B04"].transform == (10, 0, X, 0, -10, Y)
    assert_array_equal(band(one), pixels)
    nine = scene(tmp_path / "nine", Raster(pixels), {"proj:transform": [10, 0, X, 0, -10, Y, 0, 0, 1]})
    assert_array_equal(band(nine), pixels)


# CRSs of analysis-ready data, and where a file of 64 x 64 pixels lies in them
GRIDS: dict[str, tuple[float, float, float]] = {
    "EPSG:3035": (3_900_000, 3_100_000, 10),
    "EPSG:27700": (500_000, 200_000, 10),
    "EPSG:25832": (350_000, 5_629_680, 10),
    "EPSG:3577": (1_500_000, -3_900_000, 10),
    "EPSG:6933": (300_000, 6_000_000, 10),
    "EPSG:3857": (330_000, 6_600_000, 10),
    "EPSG:32632": (150_000, 5_629_680, 10),
    "EPSG:32633": (501_360, -2_000_000, 10),  # the south in the northern zone, as HLS has it
    "EPSG:4326": (3.02, 50.82, 1e-4),
    "EPSG:4258": (3.02, 50.82, 0.00009),
    "EPSG:5070": (1_500_000, 2_000_000, 30),
    "EPSG:2193": (1_600_000, 5_400_000, 10),
}


@pytest.mark.parametrize("crs", GRIDS)
def test_any_crs_is_read_where_item_and_file_agree(crs: str, tmp_path: Path) -> None:
    left, top, size = GRIDS[crs]
    box = left, top - SIDE * size, left + SIDE * size, top
    grid = GeoBox.from_bbox(box, crs, resolution=size, tight=True)
    pixels = noise()
    one = with_tile(scene(tmp_path, Raster(pixels, grid)), "31UDS")
    found = read(one, grid)
    assert_array_equal(found.values[0, 0], pixels)
    assert found.doubts == [()]
    assert (found.labels == 4).all()


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_degrees_and_stretched_metres_are_warped_as_wide_as_they_are(crs: str, method: str, tmp_path: Path) -> None:
    """A field that rises evenly is the same on another grid, whatever units its own has."""
    left, top, size = GRIDS[crs]
    grid = GeoBox.from_bbox((left, top - SIDE * size, left + SIDE * size, top), crs, resolution=size, tight=True)
    rising = np.broadcast_to(1000 + 100 * np.arange(SIDE), (SIDE, SIDE)).astype(np.uint16)
    one = scene(tmp_path, Raster(rising, grid, {"nodata": 0}))
    utm = GeoBox.from_bbox(grid.extent.to_crs("EPSG:32631").boundingbox, resolution=10)
    found = band(one, utm, method)
    rows, columns = (np.array(side) for side in np.nonzero(found))
    x = utm.transform.c + 10 * (columns + 0.5)
    y = utm.transform.f - 10 * (rows + 0.5)
    from pyproj import Transformer  # noqa: PLC0415

    there = Transformer.from_crs("EPSG:32631", crs, always_xy=True).transform(x, y)[0]
    inner = (there > left + 3 * size) & (there < left + (SIDE - 3) * size)
    expected = 1000 + 100 * ((there - left) / size - 0.5)
    assert inner.sum() > 500
    assert np.abs(found[rows, columns] - expected)[inner].max() < 10, "a pixel is 100 more than the one before"


def test_a_zone_that_contradicts_tile_and_file_is_an_error(tmp_path: Path) -> None:
    wrong = scene(tmp_path, Raster(noise()), None, "B04.tif", **{"proj:code": "EPSG:32632"})
    said = "is in EPSG:32631, its item says EPSG:32632, and its tile 31UDS is in EPSG:32631; mend"
    with pytest.raises(ReadError, match=said):
        read(with_tile(wrong, "31UDS"))
    assert read(with_tile(wrong, "32UDS")).doubts[0], "the tile agrees with the item, and the footprint with the file"


OTHER_HEADERS: dict[str, tuple[Json, str]] = {
    "no CRS": ({"crs": None}, "has no CRS, so that its item's EPSG:32631 is taken"),
    "ETRS89": ({"crs": "EPSG:25831"}, "is in EPSG:25831, which is the same place as EPSG:32631 of its item"),
    "with heights": ({"crs": "EPSG:32631+5773"}, "which is the same place as EPSG:32631 of its item"),
    "no code": (
        {"crs": "+proj=utm +zone=31 +ellps=WGS84 +units=m +no_defs"},
        "is in a CRS without an EPSG code, which is the same place as EPSG:32631 of its item",
    ),
    "spelled out": (
        {"crs": "+proj=tmerc +lat_0=0 +lon_0=3 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m"},
        "the same place as EPSG:32631",
    ),
}


@pytest.mark.parametrize("header", OTHER_HEADERS)
@pytest.mark.parametrize("method", ["nearest", "cubic"])
def test_files_whose_crs_is_written_otherwise_are_read(header: str, method: str, tmp_path: Path) -> None:
    options, said = OTHER_HEADERS[header]
    pixels = noise()
    one = scene(tmp_path, Raster(pixels, options={"nodata": 0, **options}))
    found = read(one, method=method)
    assert_array_equal(found.values[0, 0], pixels)
    if found.doubts[0] or "proj" not in str(options):  # GDAL finds the code of some
        (doubt,) = found.doubts[0]
        assert said in doubt
    away = band(one, CHIP.to_crs("EPSG:3035"), method)
    plain = band(scene(tmp_path / "plain", Raster(pixels, options={"nodata": 0})), CHIP.to_crs("EPSG:3035"), method)
    assert_array_equal(away, plain)


@pytest.mark.parametrize(("kind", "said"), [("uint16", "float32"), ("int16", "uint16"), ("uint16", "uint8")])
def test_another_type_than_the_item_says_is_read_and_named(kind: str, said: str, tmp_path: Path) -> None:
    pixels = noise().astype(kind)
    found = read(scene(tmp_path, Raster(pixels, options={"nodata": 0}), {"data_type": said}))
    assert_array_equal(found.values[0, 0], pixels)
    assert found.doubts[0] == (
        f"Scene S2A_X: the file of B04 holds {kind}, its item says {said}; the file is believed.",
    )


@pytest.mark.parametrize("kind", ["int8", "int16", "uint16"])
def test_classes_of_any_small_type_are_read(kind: str, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 12, (SIDE, SIDE)).astype(kind)
    labels[0, 0] = -1 if kind != "uint16" else 255
    mask = Raster(labels, options={"nodata": int(labels[0, 0])}).write(tmp_path / "SCL.tif")
    band_file = Raster(noise()).write(tmp_path / "B04.tif")
    one = scene_of(item({"B04": asset(band_file), "SCL": asset(mask)}))
    for grid in (CHIP, CHIP.zoom_out(2), CHIP.translate_pix(0.4, 0.4)):
        found = read(one, grid).labels[0]
        assert set(np.unique(found)) <= {*range(12), NO_LABEL, 255}
    expected = np.where(labels < 0, NO_LABEL, labels.astype(int))
    assert_array_equal(read(one).labels[0], expected)


@pytest.mark.parametrize("said", ["north up", "south up", "nothing"])
def test_rows_from_south_to_north_are_read(said: str, tmp_path: Path) -> None:
    pixels = noise()
    turned = [10, 0, X, 0, 10, Y - 10 * SIDE]
    fields: dict[str, Any] = {"north up": [10, 0, X, 0, -10, Y], "south up": turned, "nothing": None}
    options = {"transform": CHIP.transform @ CHIP.transform.translation(0, SIDE) @ CHIP.transform.scale(1, -1)}
    one = scene(tmp_path, Raster(pixels[::-1], options={"nodata": 0, **options}), {"proj:transform": fields[said]})
    for method in ("nearest", "cubic"):
        assert_array_equal(band(one, method=method), pixels)
    assert len(read(one).doubts[0]) == (said == "north up")


def test_gdals_own_reason_is_kept(tmp_path: Path) -> None:
    one = scene(tmp_path, Raster(noise(), options={"compress": "deflate"}))
    path = tmp_path / "B04.tif"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ReadError, match=rf"asset {path} cannot be read; mend .*\(GDAL: .*(failed|error)") as caught:
        read(one)
    assert str(caught.value).count("B04.tif") == 1


def test_the_bound_of_blocks_names_itself_and_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scene(tmp_path, Raster(noise()))
    monkeypatch.setenv("SPACEEYE_MAX_BLOCK_PIXELS", "100")
    bound = r"too much to read at once; .*SPACEEYE_MAX_BLOCK_PIXELS in the environment, now 100, is the bound\.$"
    with pytest.raises(ReadError, match=bound):
        read(one)
    monkeypatch.setenv("SPACEEYE_MAX_BLOCK_PIXELS", "1000000")
    assert read(one).values.any()


def test_what_is_said_of_many_files_is_said_once(tmp_path: Path) -> None:
    names = ("B02", "B03", "B04")
    files = {name: Raster(noise(), options={"crs": None}).write(tmp_path / f"{name}.tif") for name in names}
    mask = Raster(np.full((SIDE, SIDE), 4, np.uint8), options={"crs": None}).write(tmp_path / "SCL.tif")
    one = scene_of(item({**{name: asset(path) for name, path in files.items()}, "SCL": asset(mask)}))
    good = replace(scene(tmp_path / "good", Raster(noise())), id="S2A_GOOD")
    good = replace(good, bands=dict.fromkeys(names, good.bands["B04"]))
    found = load([good, one], CHIP, resampling=dict.fromkeys(names, "nearest"), sign=signed)
    assert found.doubts[0] == ()
    (doubt,) = found.doubts[1]
    assert doubt.startswith("Scene S2A_X: the file of B02, B03, B04, mask has no CRS")
    assert labels_of(one).epsg == 32631


PROGRAM = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from odc.geo.geobox import GeoBox
from tests.support.rasters import CHIP, asset, item, load, scene_of, signed
tile = asset(Path(sys.argv[1]) / "t.tif", GeoBox((4096, 4096), CHIP.transform, CHIP.crs))
one = replace(scene_of(item({"B04": tile, "SCL": tile})), labels=None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = load([one] * 8, CHIP, resampling={"B04": "nearest"}, sign=signed)
assert (found.values == 7).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_large_blocks_are_decoded_one_after_the_other(tmp_path: Path) -> None:
    """A tile of 32 MB in each of eight scenes, on as many threads."""
    grid = GeoBox((4096, 4096), CHIP.transform, CHIP.crs)
    tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "compress": "deflate", "nodata": 0}
    Raster(np.full((4096, 4096), 7, np.uint16), grid, tiles).write(tmp_path / "t.tif")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150, "megabytes; all at once take more than 256"
