"""Tiles and statistics of published days through titiler, and values through rio-tiler; all equal to the files."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import requests
from PIL import Image
from rasterio.warp import transform

import spaceeye_stac as se
from tests.e2e import services
from tests.support.servers import Process, running, serve_command

DAY = "field_2018-05-08"


@pytest.fixture(scope="module")
def tiles(logs: Path) -> Iterator[str]:
    with running(services.titiler(logs / "titiler.log")) as process:
        yield process.address


@pytest.fixture(scope="module")
def files(finished: Path, logs: Path) -> Iterator[Process]:
    """The run's folder over HTTP."""
    with running(serve_command(finished, logs / "files.log", "collection.json")) as process:
        yield process


@pytest.fixture(scope="module", params=["static", "api"])
def item_url(request: pytest.FixtureRequest, files: Process, finished: Path, api: str) -> str:
    """Address of a published day, in a static folder and in an API."""
    if request.param == "static":
        return f"{files.address}/{DAY}/{DAY}.json"
    se.publish(finished, api, asset_base_url=files.address)
    return f"{api}/collections/field/items/{DAY}"


def band(folder: Path, name: str) -> np.ndarray[Any, Any]:
    with rasterio.open(folder / DAY / f"{name}.tif") as file:
        return np.asarray(file.read(1, masked=True))


def get(address: str, **params: object) -> requests.Response:
    answer = requests.get(address, params=params, timeout=60)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text[:500]
    return answer


def test_statistics_are_those_of_the_item(tiles: str, item_url: str, finished: Path) -> None:
    found = get(f"{tiles}/stac/statistics", url=item_url, assets="B08").json()
    stats = next(iter(found.values()))
    stats = stats if "mean" in stats else next(iter(stats.values()))
    document = json.loads((finished / DAY / f"{DAY}.json").read_text())
    said = document["assets"]["B08"]["bands"][0]["statistics"]
    assert (stats["min"], stats["max"]) == (said["minimum"], said["maximum"])
    assert stats["mean"] == pytest.approx(said["mean"], abs=1e-3)
    assert stats["mean"] == pytest.approx(band(finished, "B08").mean())


def tile_of(tilejson: dict[str, Any], zoom: int) -> str:
    west, south, east, north = tilejson["bounds"]
    lon, lat = (west + east) / 2, math.radians((south + north) / 2)
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - math.asinh(math.tan(lat)) / math.pi) / 2 * 2**zoom)
    return str(tilejson["tiles"][0]).format(z=zoom, x=x, y=y)


def test_visual_as_tiles(tiles: str, item_url: str, finished: Path) -> None:
    found = get(f"{tiles}/stac/WebMercatorQuad/tilejson.json", url=item_url, assets="visual", tile_format="png").json()
    picture = np.asarray(Image.open(io.BytesIO(get(tile_of(found, 14)).content)).convert("RGBA"))
    assert picture.shape[2] == 4
    inside = picture[picture[..., 3] == 255][:, :3]
    assert len(inside) > 500
    with rasterio.open(finished / DAY / "visual.tif") as file:
        colours = {tuple(pixel) for pixel in np.moveaxis(file.read(), 0, -1).reshape(-1, 3).tolist()}
    assert {tuple(pixel) for pixel in inside.tolist()} <= colours, "every pixel is one of the file's"


def test_an_expression_of_two_bands(tiles: str, item_url: str, finished: Path) -> None:
    with rasterio.open(finished / DAY / "B04.tif") as file:
        x, y = file.xy(31, 32)
        lon, lat = transform(file.crs, "EPSG:4326", [x], [y])
    both = [("assets", "B08"), ("assets", "B04"), ("url", item_url), ("expression", "b1/b2")]
    answer = requests.get(f"{tiles}/stac/point/{lon[0]},{lat[0]}", params=both, timeout=60)
    assert answer.status_code == 200, answer.text
    expected = float(band(finished, "B08")[31, 32]) / float(band(finished, "B04")[31, 32])
    assert expected != 1
    assert answer.json()["values"][0] == pytest.approx(expected, rel=1e-6)


def test_the_renders_that_items_offer(tiles: str, item_url: str) -> None:
    offered = get(f"{tiles}/stac/renders", url=item_url).json()
    assert {"visual", "ndvi", "infrared", "clear_distance"} <= set(offered["renders"])
    links = get(f"{tiles}/stac/renders/ndvi", url=item_url).json()["links"]
    (tilejson,) = [link["href"] for link in links if "tilejson" in link["href"]]
    address = tilejson.replace("%7BtileMatrixSetId%7D", "WebMercatorQuad")
    picture = Image.open(io.BytesIO(get(tile_of(get(address).json(), 14)).content))
    assert np.asarray(picture.convert("RGB")).std() > 5


def test_the_link_to_tiles_that_publish_writes(tiles: str, files: Process, finished: Path, tmp_path: Path) -> None:
    se.publish(finished, tmp_path / "out", asset_base_url=files.address, tiles_url=tiles)
    item = json.loads((tmp_path / "out" / DAY / f"{DAY}.json").read_text())
    (link,) = [link for link in item["links"] if link["rel"] == "tilejson"]
    found = get(link["href"]).json()
    assert found["bounds"] == pytest.approx(item["bbox"], abs=1e-3)
    picture = Image.open(io.BytesIO(get(tile_of(found, 14)).content))
    assert np.asarray(picture.convert("RGB")).std() > 5
