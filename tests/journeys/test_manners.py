"""How objects show themselves in a notebook and a terminal: short lines, HTML without what others wrote as markup."""

import pickle
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
import xarray as xr

import spaceeye_stac as se
from spaceeye_stac.display import card, element, map_of, vertices
from spaceeye_stac.sources import Unreadable
from tests.support.damped import DAMPED

EVIL = '<script>alert("x")</script>'
VOID = {"img"}


class Markup(HTMLParser):
    """Tags with their attributes, and whether every one is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def html(shown: Any) -> str:
    text = shown._repr_html_()
    assert isinstance(text, str)
    names = {name for name, _ in Markup(text).tags}
    assert "script" not in names
    assert not re.search(r"background(-color)?:\s*(?!none)", text), "a background of its own is wrong in the dark"
    return text


@pytest.fixture(scope="module")
def scenes(simulated_query: se.Query) -> se.SceneList:
    return se.search(simulated_query)


@pytest.fixture(scope="module")
def result(simulated_query: se.Query, simulated_run: Path) -> se.Result:
    return se.run(simulated_query, DAMPED, out=simulated_run)


def test_a_query_of_many_vertices_is_a_line() -> None:
    many = shapely.Point(3, 50).buffer(0.1, quad_segs=2500)
    query = se.Query(catalog="https://me:secret@example.org/stac?token=secret", intersects=many, datetime="2023-04")
    assert 50 < len(repr(query)) < 200
    assert "10001 vertices" in repr(query)
    assert "secret" not in repr(query) + html(query)
    assert len(html(query)) < 20_000
    exclude = [f"scene-{n}" for n in range(1000)]
    assert len(repr(se.Query(catalog="c", bbox=(3, 50, 4, 51), datetime="2023", exclude=exclude))) < 200


def test_settings_show_what_is_not_usual() -> None:
    def mine(values: Any, _clear: Any, _days: Any) -> Any:
        return values

    assert repr(se.Settings()) == "Settings()"
    assert repr(se.Settings(duration=24, crs="EPSG:32631")) == "Settings(duration=24, crs='EPSG:32631')"
    assert repr(se.Settings(method=mine)) == "Settings(method=<mine>)"
    assert "min_clear_ratio" in html(se.Settings(duration=24)).split("the rest, as usual")[1]


def test_points_are_counted_in_every_geometry() -> None:
    shapes = [shapely.box(0, 0, 1, 1), shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])]
    whole = shapely.GeometryCollection([*shapes, shapely.Point(1, 1)])
    for one in (*shapes, whole):
        assert vertices(shapely.geometry.mapping(one)) == shapely.count_coordinates(one)


def test_scenes_are_a_line_a_table_and_a_page(scenes: se.SceneList) -> None:
    assert re.fullmatch(rf"SceneList\({len(scenes)} scenes, \d{{4}}-\S+ to \S+\)", repr(scenes)), repr(scenes)
    text = html(scenes)
    assert len(Markup(text).of("tr")) == len(scenes) + 1
    assert len(Markup(text).of("svg")) == 1
    assert not Markup(text).of("img"), "its thumbnails are files"
    assert text.count(">context<") == len(scenes[lambda scene: scenes.use_of(scene) == "context"]) > 0
    for scene in scenes:
        assert scene.id in text


def test_the_map_is_well_formed_and_has_the_region_within_its_frame(scenes: se.SceneList) -> None:
    assert scenes.query is not None
    root = ET.fromstring(map_of(scenes.query.geometry, [scene.item for scene in scenes]))  # noqa: S314 - own
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    paths = root.findall("path")
    assert len(paths) == 2, "all scenes lie on one tile"
    for path in paths:
        points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path.attrib["d"]), float)
        assert len(points) >= 4
        assert (points >= 0).all()
        assert (points <= (width, height)).all()
    title = paths[0].find("title")
    assert title is not None
    assert title.text == f"{len(scenes)} scenes"


def test_a_region_over_the_antimeridian_is_one_small_map() -> None:
    query = se.Query(catalog="c", bbox=(179, -17, -179, -16), datetime="2023")
    root = ET.fromstring(map_of(query.geometry))  # noqa: S314 - own
    (path,) = root.findall("path")
    longitudes = np.array(re.findall(r"([\d.]+) [\d.]+", path.attrib["d"]), float)
    assert longitudes.max() - longitudes.min() > 0.9 * (float(root.attrib["width"]) - 16)
    assert map_of(None) == ""


def test_nothing_is_shown_of_no_scene() -> None:
    assert repr(se.SceneList()) == "SceneList(0 scenes)"
    assert not Markup(html(se.SceneList())).of("td")


def test_a_field_in_a_tile_gets_a_ring() -> None:
    tile = {"geometry": shapely.geometry.mapping(shapely.box(3, 50, 4.5, 51)), "bbox": [3, 50, 4.5, 51]}
    field = se.Query(catalog="c", bbox=(3.5, 50.5, 3.501, 50.501), datetime="2023")
    assert "<circle" in map_of(field.geometry, [tile])
    assert "<circle" not in map_of(field.geometry)


def test_slices_and_choices_stay_lists_of_scenes(scenes: se.SceneList) -> None:
    half = scenes[: len(scenes) // 2]
    assert isinstance(half, se.SceneList)
    assert list(half) == list(scenes)[: len(scenes) // 2]
    assert half.query == scenes.query
    assert isinstance(scenes[0], se.Scene)
    assert scenes[-1] is list(scenes)[-1]
    assert scenes[np.int64(1)] is list(scenes)[1]
    mask = [n % 2 == 0 for n in range(len(scenes))]
    for chosen in (scenes[mask], scenes[np.array(mask)], scenes[lambda scene: scene in list(scenes)[::2]]):
        assert isinstance(chosen, se.SceneList)
        assert list(chosen) == list(scenes)[::2]
    with pytest.raises(ValueError, match="shorter"):
        scenes[mask[:-1]]
    assert list(pickle.loads(pickle.dumps(half))) == list(half)  # noqa: S301 - own


def test_a_slice_does_not_choose_again(scenes: se.SceneList) -> None:
    """Where a scene of it cannot be read, the others of it are left, not all that the search had found."""
    some = scenes[:3]
    left = some.without([Unreadable(some[0], "it cannot be read.")])
    assert list(left) == list(scenes)[1:3]


def test_part_of_what_was_found_can_be_interpolated(simulated_query: se.Query, scenes: se.SceneList) -> None:
    assert se.interpolate(scenes[:4], simulated_query, DAMPED).sizes["time"] == 24


def with_item(scene: se.Scene, **fields: Any) -> se.Scene:
    thumbnail = {"assets": {**scene.item["assets"], "thumbnail": {"href": fields.pop("href"), "roles": ["thumbnail"]}}}
    return se.Scene(**{**scene.__dict__, "item": {**scene.item, **thumbnail}, **fields})


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://images.example.org/a/preview.jpg", True),
        ("http://images.example.org/a/preview.jpg", True),
        ("https://images.example.org/preview.jpg?sig=abc", False),
        ("https://me:pw@images.example.org/preview.jpg", False),
        ("https://127.0.0.1/preview.jpg", False),
        ("http://169.254.169.254/latest", False),
        ("http://localhost/preview.jpg", False),
        ("http://nas.local/preview.jpg", False),
        ("https://[::1]/preview.jpg", False),
        ("https://[broken", False),
        ("javascript:alert(1)", False),
        ("s3://bucket/preview.jpg", False),
        ("./preview.jpg", False),
    ],
)
def test_only_public_thumbnails_are_fetched(href: str, shown: bool, scenes: se.SceneList) -> None:  # noqa: FBT001
    images = Markup(html(se.SceneList([with_item(scenes[0], href=href)]))).of("img")
    assert [image["src"] for image in images] == ([href] if shown else [])
    assert all(image["loading"] == "lazy" and image["referrerpolicy"] == "no-referrer" for image in images)


def test_what_items_say_is_no_markup(scenes: se.SceneList) -> None:
    href = f'https://example.org/"onerror="alert(1)" {EVIL}.jpg'
    bad = with_item(scenes[0], href=href, id=EVIL, tile='"><b>')
    text = html(se.SceneList([bad], [f"Scene {EVIL} left out"], query=scenes.query))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 3, "id, note and address"
    assert "<b>" not in text
    assert all(set(image) <= {"src", "loading", "referrerpolicy", "alt", "style"} for image in Markup(text).of("img"))
    assert "\\u202e" in str(element("p", "\u202e")), "marks of direction are written out"
    assert card(EVIL).count("<script") == 0


def test_shares_of_clear_pixels_are_those_of_the_classes(scenes: se.SceneList) -> None:
    shares = {"vegetation": 40, "not_vegetated": "20.5", "water": 1, "unclassified": 0.5}
    properties = {**scenes[0].item["properties"], **{f"s2:{name}_percentage": v for name, v in shares.items()}}
    one = se.Scene(**{**scenes[0].__dict__, "item": {**scenes[0].item, "properties": properties}})
    assert one.clear_share == 62
    assert "62%" in str(se.SceneList([one]))
    properties["s2:water_percentage"] = "much"
    assert one.clear_share is None


def test_a_plan_is_a_line_a_table_and_a_page(simulated_query: se.Query) -> None:
    plan = se.plan(simulated_query, DAMPED)
    assert re.fullmatch(r"Plan\(2023-04-01 to 2023-04-24, \d+ scenes, .* on disk, about .*\)", repr(plan)), repr(plan)
    text = html(plan)
    assert "EPSG:32631" in text
    assert len(Markup(text).of("details")) == len(plan.grids)


def test_a_result_is_a_line_and_a_page_of_pictures(result: se.Result) -> None:
    assert repr(result) == f"Result(24 days, 2023-04-01 to 2023-04-24, in {str(result.path)!r})"
    markup = Markup(html(result))
    sources = [str(image["src"]) for image in markup.of("img")]
    assert 2 <= len(sources) <= 6
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    (link,) = markup.of("a")
    assert str(link["href"]).startswith("file:///")


def test_a_result_is_the_cube_that_open_gives(result: se.Result) -> None:
    cube, opened = result.cube(), se.open(result.path)
    xr.testing.assert_identical(cube, opened)
    assert cube.chunks == opened.chunks
    assert cube.reflectance.sizes == {"time": 24, "band": 3, "y": cube.sizes["y"], "x": cube.sizes["x"]}


def test_a_result_says_which_scenes_it_used(result: se.Result, simulated_query: se.Query) -> None:
    found = result.as_json()
    used = [scene.id for scene in se.search(simulated_query, DAMPED)]
    assert found["scenes"] == {"used": used, "left_out": [], "new": []}
    assert (found["collection"], found["days"], found["empty"]) == ("spaceeye", list(result.days), [])


def test_scores_are_a_line_and_a_page(simulated_query: se.Query, scenes: se.SceneList) -> None:
    scores = se.evaluate(scenes, simulated_query, methods=["linear"], limit=1)
    assert repr(scores).startswith("Scores(linear; ")
    assert len(repr(scores)) < 100
    assert len(Markup(html(scores)).of("tr")) == 4
