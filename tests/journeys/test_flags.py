"""What the flags of published days say, where one scene has a cloud that its mask misses, and another has snow."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import spaceeye_stac as se
from spaceeye_stac.collection import Flag
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.items import items_of
from tests.support.stac_validation import validate

BANDS = ("B02", "B03", "B04", "B08", "B11")
GROUND = Simulation(
    shape=(96, 96), days=60, revisit=5, cloudiness=0.1, seed=4, bands=BANDS, label_errors=0, noise=0.003, haze=0
)
DAYS = "2023-04-21/2023-05-10"
CLOUD = slice(20, 44), slice(20, 44)  # in pixels of 10 m
SNOW = slice(60, 80), slice(60, 80)
CLOUDY, SNOWY = "2023-05-01", "2023-05-06"
OPACITY = 0.35
Layer = NDArray[Any]


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    catalog = GROUND.write(tmp_path_factory.mktemp("ground"))
    for path in items_of(catalog).values():
        day = json.loads(path.read_text())["properties"]["datetime"][:10]
        if day == CLOUDY:
            for band in BANDS:
                change(path.parent / f"{band}.tif", CLOUD, lambda dn: dn + OPACITY * (7000 - dn))
            change(path.parent / "SCL.tif", CLOUD, lambda labels: np.full_like(labels, 4))
        if day == SNOWY:
            change(path.parent / "SCL.tif", SNOW, lambda labels: np.full_like(labels, 11))
    box = GROUND.geobox.extent.to_crs("EPSG:4326").buffer(-0.0002).boundingbox
    return se.Query(catalog=catalog, bbox=box.bbox, datetime=DAYS, bands=list(BANDS), profile="planetary-computer")


def change(path: Path, where: tuple[slice, slice], how: Any) -> None:
    """Change a part, given in pixels of 10 m, of a raster."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        step = round(file.res[0] / 10)
        part = tuple(slice(along.start // step, along.stop // step) for along in where)
        values = file.read(1)
        values[part] = how(values[part])
        file.write(values, 1)


def run(query: se.Query, out: Path, method: str) -> se.Result:
    return se.run(query, out=out, settings=se.Settings(method=method), output=se.Output(keep_keyframes=True))


@pytest.fixture(scope="module")
def surface(query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> se.Result:
    return run(query, tmp_path_factory.mktemp("flags") / "surface", "surface")


@pytest.fixture(scope="module")
def damped(query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> se.Result:
    return run(query, tmp_path_factory.mktemp("flags") / "damped", "damped")


def day_of(result: se.Result, day: str) -> tuple[dict[str, Any], dict[str, Layer]]:
    """Properties of a day's item, and its rasters by key."""
    folder = result.path / f"spaceeye_{day}"
    item = json.loads((folder / f"{folder.name}.json").read_text())
    layers = {}
    for key, asset in item["assets"].items():
        if key in {"flags", "clear_distance", *BANDS}:
            with rasterio.open(folder / asset["href"]) as file:
                layers[key] = file.read(1)
    return item["properties"], layers


def inner(part: tuple[slice, slice]) -> tuple[slice, slice]:
    """A part in pixels of the published grid, without its rim: the grid begins a few pixels inside the scenes."""
    down, right = (slice(along.start + 2, along.stop - 6) for along in part)
    return down, right


def has(flags: Layer, flag: Flag) -> NDArray[np.bool_]:
    return np.asarray((flags & np.uint8(flag)) != 0)


def test_a_cloud_that_the_mask_misses_is_flagged_and_is_no_look(surface: se.Result, damped: se.Result) -> None:
    properties, layers = day_of(surface, CLOUDY)
    under = has(layers["flags"], Flag.SUSPECT)
    assert under[inner(CLOUD)].mean() > 0.95
    assert under.sum() <= (24 + 14) ** 2  # boxes of 15 pixels reach seven beyond a cloud
    assert not has(layers["flags"], Flag.SEEN)[under].any()
    assert (layers["clear_distance"][under] == 5).mean() > 0.8
    assert properties["spaceeye:suspect_share"] == pytest.approx(under.mean(), abs=1e-4)
    assert properties["eo:cloud_cover"] < 3
    plain_properties, plain = day_of(damped, CLOUDY)
    assert "eo:cloud_cover" not in plain_properties
    assert plain_properties["spaceeye:suspect_share"] == 0
    brighter = plain["B04"].astype(float) - layers["B04"]
    assert brighter[inner(CLOUD)].mean() > 0.8 * OPACITY * 5000


def test_snow_in_a_mask_is_flagged_until_a_nearer_look_shows_the_ground(damped: se.Result) -> None:
    for day, gap, snowy in (
        (SNOWY, 0, True),
        ("2023-05-08", 2, True),
        ("2023-05-09", 3, False),
        ("2023-05-03", 3, False),
    ):
        _, layers = day_of(damped, day)
        distance, snow = (image[inner(SNOW)] for image in (layers["clear_distance"], has(layers["flags"], Flag.SNOW)))
        # used looks lie five days before and after the snow, where no cloud hid them
        near = distance <= 5 - gap if not snowy else distance >= gap
        assert near.mean() > 0.5
        assert (snow[near] == snowy).all(), day


@pytest.mark.parametrize("method", ["surface", "damped"])
def test_flags_shares_titles_and_the_cube_agree(method: str, request: pytest.FixtureRequest) -> None:
    result: se.Result = request.getfixturevalue(method)
    cube = se.open_keyframes(result.path / "keyframes")
    meanings = dict(
        zip(cube.flags.attrs["flag_meanings"].split(), cube.flags.attrs["flag_masks"].tolist(), strict=True)
    )
    assert meanings["suspect"] == Flag.SUSPECT
    for n, day in enumerate(cube.time.values.astype("datetime64[D]").astype(str)):
        properties, layers = day_of(result, day)
        flags = layers["flags"]
        assert np.array_equal(cube.flags[n], flags)
        assert np.array_equal(cube.clear_distance[n], layers["clear_distance"])
        assert np.array_equal(flags == 0, layers["B04"] == 0)
        assert np.array_equal(has(flags, Flag.SEEN), layers["clear_distance"] == 0)
        assert not (has(flags, Flag.SEEN) & has(flags, Flag.RECONSTRUCTED)).any()
        for flag, name in (
            (Flag.SEEN, "observed"),
            (Flag.RECONSTRUCTED, "reconstructed"),
            (Flag.EXTRAPOLATED, "extrapolated"),
        ):
            assert properties[f"spaceeye:{name}_share"] == pytest.approx(has(flags, flag).mean(), abs=1e-4)
        assert properties["spaceeye:nodata_share"] == pytest.approx((flags == 0).mean(), abs=1e-4)
        seen = properties["spaceeye:observed_share"]
        assert ("reconstructed, nearest look" in properties["title"]) == (seen == 0)


def test_the_style_names_every_value_of_the_flags_and_the_item_is_valid(surface: se.Result) -> None:
    for item in surface.collection.get_items():
        assert validate(item) > 0
        style = ET.parse(Path(str(item.assets["flags_style"].get_absolute_href())))  # noqa: S314 - our own
        named = {int(entry.attrib["value"]) for entry in style.iter("paletteEntry")}
        with rasterio.open(str(item.assets["flags"].get_absolute_href())) as file:
            assert set(np.unique(file.read(1)).tolist()) - {0} <= named
        offsets = [field["offset"] for field in item.assets["flags"].extra_fields["classification:bitfields"]]
        assert [1 << offset for offset in offsets] == [int(flag) for flag in Flag]
