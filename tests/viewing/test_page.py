"""What the page of the server asks for, by real HTTP: pixels as the files hold them, and requests that mean harm."""

import csv
import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import xy

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.viewing.indices import catalogue_for, index_of
from tests.support.servers import Process, free_port, running, serve_command

ITEM = "spaceeye_2023-04-10"


@dataclass(frozen=True)
class Served:
    """A server over a run's folder."""

    address: str
    folder: Path

    def get(self, path: str, **query: object) -> tuple[int, dict[str, str], bytes]:
        text = f"?{urlencode(query)}" if query else ""
        try:
            with urllib.request.urlopen(f"{self.address}{path}{text}", timeout=60) as answer:  # noqa: S310 - loopback
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def json(self, path: str, **query: object) -> Any:
        status, _, content = self.get(path, **query)
        assert status == 200, content
        return json.loads(content)

    def picture(self, item: str = ITEM, **query: object) -> np.ndarray:
        status, headers, content = self.get(f"/api/preview/{item}.png", **query)
        assert status == 200, content
        assert headers["content-type"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))

    def dn(self, key: str, item: str = ITEM) -> np.ndarray:
        with rasterio.open(self.folder / item / f"{key}.tif") as file:
            return np.asarray(file.read())


@pytest.fixture(scope="module")
def served(simulated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("page") / "log"
    with running(serve_command(simulated_run, log, "collection.json")) as server:
        yield Served(server.address, simulated_run)


def test_the_page_is_of_this_server_alone(served: Served) -> None:
    status, headers, page = served.get("/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert b"http://" not in page
    assert b"https://" not in page
    for name in ("page.css", "page.js", "chart.js", "pictures.js", "stage.js", "strip.js", "icon.svg"):
        status, headers, _ = served.get(f"/page/{name}")
        assert status == 200
        assert headers["content-type"].split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
    for name in ("index.html", "none.js", "..%2fserving.py", "%2e%2e/serving.py", "__init__.py"):
        assert served.get(f"/page/{name}")[0] == 404, name


def test_the_days_say_how_much_was_seen(served: Served) -> None:
    run = served.json("/api/days")
    assert [one["day"] for one in run["days"]] == [f"2023-04-{n:02}" for n in range(1, 25)]
    for day in run["days"]:
        item = json.loads((served.folder / day["href"]).read_text())
        assert day["shares"]["observed"] == item["properties"]["spaceeye:observed_share"]
        assert day["title"] == item["properties"]["title"]
        assert set(day["files"]) == set(item["assets"])
    assert run["bands"] == ["B02", "B04", "B11"]
    groups = {view["group"] for view in run["views"]}
    assert groups >= {"Picture", "Quality", "Band", "More indices"}
    assert str(served.folder) not in json.dumps(run)


def test_the_true_colours_are_those_of_the_file(served: Served) -> None:
    found, visual = served.picture(layer="visual"), served.dn("visual")
    assert found.shape == (*visual.shape[1:], 4)
    held = visual.max(axis=0) > 0
    assert (found[..., :3][held] == np.moveaxis(visual, 0, -1)[held]).all()
    assert max(served.picture(layer="visual", width=32).shape[:2]) == 32


def test_an_index_is_coloured_by_its_value(served: Served) -> None:
    from rio_tiler.colormap import cmap  # noqa: PLC0415 - the same colours, of another reading

    text = "(B11-B04)/(B11+B04)"
    found = served.picture(index=text)
    red, swir = (served.dn(key)[0].astype(float) for key in ("B04", "B11"))
    held = (red > 0) & (swir > 0)
    assert (found[..., 3] > 0).tolist() == held.tolist()
    values = (swir[held] - red[held]) / (swir[held] + red[held])
    table, shown = np.array([cmap.get("rdylgn")[n][:3] for n in range(256)]), found[..., :3][held]
    exact = np.clip((values + 1) / 2 * 255, 0, 255)
    # a value on the border of two colours may be of either
    near = [np.clip(np.floor(exact + step), 0, 255).astype(int) for step in (-1e-4, 1e-4)]
    assert np.logical_or(*((shown == table[one]).all(axis=1) for one in near)).all()


def test_flags_have_the_colours_of_their_legend(served: Served) -> None:
    found, flags = served.picture(layer="flags"), served.dn("flags")[0]
    legend = {one["label"]: one["colour"] for one in served.json("/api/legend", layer="flags")["classes"]}
    seen = np.array([int(legend["seen that day and used"][n : n + 2], 16) for n in (1, 3, 5)])
    assert (found[..., :3][flags == 1] == seen).all()
    assert (found[..., 3] == 0).tolist() == (flags == 0).tolist()
    assert served.json("/api/legend", layer="clear_distance")["high"] == 30
    assert served.json("/api/legend") is None


def test_a_picture_is_sent_once(served: Served) -> None:
    _, headers, _ = served.get(f"/api/preview/{ITEM}.png", layer="flags")
    url = f"{served.address}/api/preview/{ITEM}.png?layer=flags"
    again = urllib.request.Request(url, headers={"If-None-Match": headers["etag"]})  # noqa: S310 - loopback
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(again)  # noqa: S310
    assert caught.value.code == 304
    caught.value.close()
    assert served.get(f"/api/preview/{ITEM}.png", layer="clear_distance")[1]["etag"] != headers["etag"]


def test_a_map_tile_shows_the_day(served: Served) -> None:
    west, south, east, north = json.loads((served.folder / ITEM / f"{ITEM}.json").read_text())["bbox"]
    import morecantile  # noqa: PLC0415 - comes with rio-tiler

    tile = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 14)
    status, headers, content = served.get(f"/api/tiles/{ITEM}/14/{tile.x}/{tile.y}.png", layer="visual")
    assert status == 200, content
    assert headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    assert picture.shape == (256, 256, 4)
    assert 0.02 < (picture[..., 3] > 0).mean() < 1
    assert served.get(f"/api/tiles/{ITEM}/14/0/0.png", layer="visual")[0] == 400


def test_a_point_has_the_values_of_the_files(served: Served) -> None:
    with rasterio.open(served.folder / ITEM / "B04.tif") as file:
        x, y = xy(file.transform, 40, 70)
    found = served.json("/api/point", x=x, y=y, bands="B04,B11")
    assert (found["row"], found["column"]) == (40, 70)
    assert len(found["days"]) == 24
    for n, day in enumerate(found["days"]):
        item = f"spaceeye_{day}"
        distance = int(served.dn("clear_distance", item)[0, 40, 70])
        assert found["distance"][n] == (None if distance == 255 else distance)
        for series in found["series"]:
            dn = int(served.dn(series["name"], item)[0, 40, 70])
            assert series["values"][n] == (None if dn == 0 else round(dn * 1e-4, 5))
    index = served.json("/api/point", x=x, y=y, index="(B11-B04)/(B11+B04)")["series"][0]
    red, swir = (np.array(one["values"], float) for one in found["series"])
    assert np.allclose(index["values"], (swir - red) / (swir + red), atol=2e-5)
    widths = [one["spread"] for one in found["series"]]
    if None not in widths[0]:
        r, s = (np.array(one, float) for one in widths)
        expected = 2 * np.sqrt((swir * r) ** 2 + (red * s) ** 2) / (swir + red) ** 2
        assert np.allclose(index["spread"], expected, atol=5e-5)


def test_a_point_as_a_table(served: Served) -> None:
    with rasterio.open(served.folder / ITEM / "B04.tif") as file:
        x, y = xy(file.transform, 40, 70)
    _, headers, content = served.get("/api/point.csv", x=x, y=y, index="B04")
    assert headers["content-disposition"].startswith('attachment; filename="point_')
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert list(rows[0]) == ["day", "clear_distance", "seen", "B04", "B04_uncertainty"]
    found = served.json("/api/point", x=x, y=y, index="B04")["series"][0]["values"]
    assert [float(row["B04"]) for row in rows] == found
    assert {row["seen"] for row in rows} == {"0", "1"}


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("/api/preview/none.png", {}, 404, "no such day"),
        ("/api/preview/..%2f..%2fsecret.png", {}, 404, ""),
        (f"/api/preview/%2e%2e%2f{ITEM}.png", {}, 404, ""),
        ("/api/preview/http%3A%2F%2Fhost.example%2Fx.png", {}, 404, ""),
        (f"/api/preview/{ITEM}.png", {"width": "999999"}, 400, "1 to 2048"),
        (f"/api/preview/{ITEM}.png", {"width": "9" * 5000}, 400, "1 to 2048"),
        (f"/api/preview/{ITEM}.png", {"width": "-1"}, 400, "1 to 2048"),
        (f"/api/preview/{ITEM}.png", {"width": "nan"}, 400, "1 to 2048"),
        (f"/api/preview/{ITEM}.png", {"index": "__import__('os').system('id')"}, 400, "cannot be read"),
        (f"/api/preview/{ITEM}.png", {"index": "B04.__class__"}, 400, "cannot be read"),
        (f"/api/preview/{ITEM}.png", {"index": "B04**B04**9**9**9**9**9**9"}, 200, ""),
        (f"/api/preview/{ITEM}.png", {"index": "NDVI"}, 400, "needs B08"),
        (f"/api/preview/{ITEM}.png", {"index": "nothing"}, 400, "no index"),
        (f"/api/preview/{ITEM}.png", {"index": "B04+B05"}, 400, "needs B05"),
        (f"/api/preview/{ITEM}.png", {"index": "(" * 300 + "B04" + ")" * 300}, 400, "cannot be read"),
        (f"/api/preview/{ITEM}.png", {"index": "-" * 250 + "B04"}, 400, "cannot be read"),
        (f"/api/preview/{ITEM}.png", {"bands": "B04,../../x"}, 400, "no band"),
        (f"/api/preview/{ITEM}.png", {"bands": "B04,B02"}, 400, "one band or three"),
        (f"/api/preview/{ITEM}.png", {"layer": "../collection"}, 400, "no layer"),
        (f"/api/preview/{ITEM}.png", {"layer": "thumbnail"}, 400, "no layer"),
        (f"/api/preview/{ITEM}.png", {"layer": "flags", "index": "B04"}, 400, "not index and layer"),
        (f"/api/tiles/{ITEM}/99/0/0.png", {}, 400, "0 to 24"),
        (f"/api/tiles/{ITEM}/1/2/0.png", {}, 400, "0 to 1"),
        ("/api/point", {"x": "nan", "y": "1"}, 400, "give a number"),
        ("/api/point", {"x": "inf", "y": "1"}, 400, "give a number"),
        ("/api/point", {"y": "1"}, 400, "give a number"),
        ("/api/point", {"x": "0", "y": "0"}, 400, "outside of the days"),
        ("/api/point", {"x": "0", "y": "0", "tile": "31UDS"}, 404, "no days of that tile"),
        ("/api/point", {"x": "0", "y": "0", "index": "B04", "bands": "B04"}, 400, "not both"),
    ],
)
def test_what_makes_no_sense_is_refused(
    served: Served, path: str, query: dict[str, str], status: int, says: str
) -> None:
    found, _, content = served.get(path, **query)
    assert found == status, content
    if status != 200:
        assert says in content.decode(errors="replace")
        assert str(served.folder).encode() not in content
        assert b"Traceback" not in content


def test_only_reading(served: Served) -> None:
    for path in ("/", "/api/days", f"/api/preview/{ITEM}.png"):
        request = urllib.request.Request(served.address + path, method="POST")  # noqa: S310 - loopback
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)  # noqa: S310
        assert caught.value.code == 405
        caught.value.close()


def copied(run: Path, place: Path, days: int) -> Path:
    """The first days of a run, to be changed."""
    place.mkdir()
    collection = json.loads((run / "collection.json").read_text())
    items = [link for link in collection["links"] if link["rel"] == "item"][:days]
    for link in items:
        source = run / link["href"].split("/")[1]
        target = place / source.name
        target.mkdir()
        for file in source.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    (place / "collection.json").write_text(json.dumps({**collection, "links": items}))
    return place


def test_only_the_files_of_the_run_are_read(simulated_run: Path, tmp_path: Path) -> None:
    run = copied(simulated_run, tmp_path / "run", 4)
    days = sorted(path for path in run.iterdir() if path.is_dir())
    (tmp_path / "outside.tif").write_bytes((days[0] / "B04.tif").read_bytes())
    for day, href in zip(days, ("../../outside.tif", f"file://{tmp_path}/outside.tif", "", ""), strict=True):
        document = json.loads((day / f"{day.name}.json").read_text())
        document["assets"]["B04"]["href"] = href or "./B04.tif"
        (day / f"{day.name}.json").write_text(json.dumps(document))
    (days[2] / "B04.tif").unlink()
    (days[2] / "B04.tif").symlink_to(tmp_path / "outside.tif")
    (days[3] / "B04.tif").write_bytes(b"torn")
    with running(serve_command(run, tmp_path / "log", "collection.json")) as server:
        served = Served(server.address, run)
        for day in days[:3]:
            status, _, content = served.get(f"/api/preview/{day.name}.png", index="B04")
            assert (status, b"needs B04" in content) == (400, True)
        status, _, content = served.get(f"/api/preview/{days[3].name}.png", index="B04")
        assert status == 500
        assert str(tmp_path).encode() not in content


WITHOUT = """
import sys
from importlib import machinery, util
from pathlib import Path
class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "rio_tiler":
            raise ModuleNotFoundError(name)
known = util.find_spec
util.find_spec = lambda name, package=None: None if name == "rio_tiler" else known(name, package)
sys.meta_path.insert(0, Missing)
from spaceeye_stac.viewing import serve
serve(Path(sys.argv[1]), int(sys.argv[2]))
"""


def without_rio_tiler(run: Path, log: Path) -> Process:
    """A server in a process in which rio-tiler cannot be imported."""
    port = free_port()
    line = [sys.executable, "-c", WITHOUT, str(run), str(port)]
    return Process(line, f"http://127.0.0.1:{port}", "/collection.json", log)


def test_without_rio_tiler_there_are_thumbnails_and_a_sentence(simulated_run: Path, tmp_path: Path) -> None:
    with running(without_rio_tiler(simulated_run, tmp_path / "log")) as server:
        served = Served(server.address, simulated_run)
        run = served.json("/api/days")
        assert run["views"] == []
        assert 'pip install "spaceeye-stac[serve]"' in run["sentence"]
        assert served.get(f"/{run['days'][0]['files']['thumbnail']}")[0] == 200
        status, _, content = served.get(f"/api/preview/{ITEM}.png")
        assert (status, b"spaceeye-stac[serve]" in content) == (501, True)


def test_indices_follow_from_the_bands() -> None:
    names = dict(catalogue_for(("B03", "B04", "B08")))
    assert {"NDVI", "NDWI"} <= names.keys()
    assert not {"NDMI", "NBR"} & names.keys()
    values = {"B04": np.array([0.1, 0.0]), "B08": np.array([0.3, 0.0])}
    assert np.allclose(index_of("NDVI").values(values), [0.5, np.nan], equal_nan=True)
    assert np.allclose(index_of("2*B08-B04**2").values(values), [0.59, 0])


@pytest.mark.parametrize("text", ["", "1", "B04;B08", "B04 if B08 else 1", "[B04]", "B04@B08", "B04 or 1", "lambda:1"])
def test_expressions_are_arithmetic_of_bands_alone(text: str) -> None:
    with pytest.raises(InvalidInputError):
        index_of(text)


def test_a_quoted_item_is_a_name_alone(served: Served) -> None:
    assert served.get(f"/api/preview/{quote(ITEM)}.png")[0] == 200
    assert served.get(f"/api/preview/{quote(str(served.folder / ITEM), safe='')}.png")[0] == 404
