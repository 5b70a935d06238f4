"""A query and settings in a file: what was asked for comes back the same, and no secret is in it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, OutputError
from spaceeye_stac.platforms import read_query_file, write_query_file
from spaceeye_stac.query import BANDS
from tests.support.command import as_bbox, command
from tests.support.small_catalog import small_items, written

LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(LETTERS, min_size=1, max_size=20)
NAMES = st.text(LETTERS.filter(lambda letter: letter != ","), min_size=1).map(str.strip).filter(bool)
BOXES = st.tuples(st.floats(-179, 170), st.floats(-79, 70), st.floats(1e-5, 8), st.floats(1e-5, 8)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@st.composite
def queries(draw: st.DrawFn) -> se.Query:
    box = draw(BOXES)
    region: dict[str, Any] = {"bbox": box} if draw(st.booleans()) else {"intersects": shapely.box(*box)}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "bands": st.lists(st.sampled_from(BANDS), min_size=1, unique=True),
        "max_cloud_cover": st.floats(0, 100),
        "tiles": st.just(["31UDS", "1CCV"]),
        "orbits": st.lists(st.integers(1, 143), min_size=1),
        "exclude": st.lists(NAMES, min_size=1),
        "unmasked": st.sampled_from(["refuse", "clear", "drop"]),
        "mask_collection": TEXT,
        "collection": TEXT,
    }
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=optional))
    return se.Query(
        catalog=draw(TEXT), datetime=draw(st.sampled_from(["2023", "2023-04-01/2023-05-01"])), **region, **chosen
    )


SETTING_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(["surface", "damped", "reference"]),
    "duration": st.one_of(st.just("all"), st.integers(1, 3660)),
    "time_overlap": st.floats(0, 1, exclude_max=True),
    "damping_factor": st.floats(1e-9, 1e9),
    "normalize_illuminance": st.booleans(),
    "clear_classes": st.lists(st.integers(0, 11), min_size=1),
    "resolution": st.floats(0.001, 1e4),
    "crs": st.sampled_from(["EPSG:32631", 32631]),
    "clip": st.booleans(),
}


@st.composite
def all_settings(draw: st.DrawFn) -> se.Settings:
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=SETTING_VALUES))
    return se.Settings(**chosen)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries(), chosen=all_settings())
def test_what_is_written_is_read(query: se.Query, chosen: se.Settings, tmp_path: Path) -> None:
    path = tmp_path / "query.toml"
    write_query_file(path, query, chosen)
    found = read_query_file(path)
    names = set(se.Query.__dataclass_fields__)
    again = se.Query(**{"catalog": query.catalog, **{name: value for name, value in found.items() if name in names}})
    assert se.Settings(**{name: value for name, value in found.items() if name not in names}) == chosen
    assert shapely.equals(shapely.geometry.shape(again.geometry), shapely.geometry.shape(query.geometry))
    for name in names - {"intersects", "exclude"}:
        assert getattr(again, name) == getattr(query, name), name
    assert again.exclude == query.exclude


def query_of(**options: Any) -> se.Query:
    return se.Query(**{"catalog": "planetary-computer", "bbox": (3, 50, 4, 51), "datetime": "2023", **options})


def test_a_file_is_what_python_takes(tmp_path: Path) -> None:
    write_query_file(tmp_path / "q.toml", query_of(bands=["red"]), se.Settings(duration=48))
    found = tomllib.loads((tmp_path / "q.toml").read_text())
    assert (se.Query(**found["query"]), se.Settings(**found["settings"])) == (
        query_of(bands=["B04"]),
        se.Settings(duration=48),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"catalog": "https://me:hunter2@example.org/stac"},
        {"catalog": "https://example.org/search?token=hunter2"},
        {"mask_collection": "m", "mask_catalog": "https://example.org/stac?key=hunter2"},
        {"allow_hrefs": ["/data", "https://example.org/a?sig=hunter2"]},
    ],
)
def test_no_secret_is_written(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "q.toml"
    write_query_file(path, query_of(**options), se.Settings())
    text = path.read_text()
    assert "hunter2" not in text
    (name,) = [name for name, value in options.items() if "hunter2" in str(value)]
    assert f"# {name} is left out" in text
    assert name not in read_query_file(path)


def test_what_is_no_text_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"method .* cannot be saved"):
        write_query_file(tmp_path / "q.toml", query_of(), se.Settings(method=lambda values, _clear, _days: values))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[query]\nbandz = ['B04']\n", "has 'bandz' in \\[query\\]; bands is meant"),
        ("[query]\nduration = 3\n", "has 'duration' in \\[query\\]; choose from catalog, "),
        ("[colours]\nred = 1\n", "has 'colours'; its tables are"),
        ("datetime = '2023'\n", "has 'datetime'; its tables are"),
        ("[query]\nbands = 4\n", "bands 4 is not allowed; give array of string"),
        ("[query\n", "cannot be read: "),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        read_query_file(tmp_path / "q.toml")
    done = command(
        "search", "--query", tmp_path / "q.toml", "--catalog", "x", "--datetime", "2023", "--bbox", "1,1,2,2"
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return written(small_items(folder), folder)


BOX = (3.002, 50.817, 3.006, 50.82)
ALL = ("--bbox", as_bbox(BOX), "--datetime", "2023-04-01/2023-04-03", "--bands", "red")


def test_what_was_asked_for_is_asked_for_again_and_options_win(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.toml"
    first = command("search", "--catalog", catalog, *ALL, "--duration", "24", "--save-query", path, "--json")
    assert first.returncode == 0, first.stderr
    again = command("search", "--query", path, "--json")
    assert again.stdout == first.stdout
    assert {tuple(record["bands"]) for record in json.loads(again.stdout)} == {("B04",)}
    other = json.loads(command("search", "--query", path, "--bands", "B02", "--duration", "1", "--json").stdout)
    assert {tuple(record["bands"]) for record in other} == {("B02",)}
    assert len(other) < len(json.loads(first.stdout))


def test_a_region_goes_for_the_other_kind_of_region(catalog: Path, tmp_path: Path) -> None:
    path, outline = tmp_path / "q.toml", tmp_path / "field.geojson"
    outline.write_text(json.dumps(shapely.geometry.mapping(shapely.box(*BOX))))
    line = ("--catalog", catalog, "--datetime", "2023-04-01/2023-04-03")
    done = command("search", *line, "--intersects", outline, "--save-query", path)
    assert done.returncode == 0, done.stderr
    assert "coordinates" in path.read_text()
    assert command("search", "--query", path).stdout == done.stdout
    assert command("search", "--query", path, "--bbox", as_bbox(BOX)).returncode == 0


def test_a_run_by_a_file_prints_what_it_made_as_json_alone(catalog: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "q.toml", tmp_path / "out"
    query = se.Query(catalog=catalog, bbox=BOX, datetime="2023-04-01/2023-04-03", bands=["B04"])
    write_query_file(path, query, se.Settings(method="damped", clip=True, normalize_illuminance=False))
    done = command("run", "--query", path, "--out", out, "--quiet", "--json", "--to", tmp_path / "www")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert (found["folder"], found["collection"], found["empty"]) == (str(out), "spaceeye", [])
    assert found["days"] == ["2023-04-01", "2023-04-02", "2023-04-03"]
    assert len(found["scenes"]["used"]) == 4
    assert found["seconds"] > 0
    assert len(found["published"]["sent"]) == 3
    item = json.loads((out / "spaceeye_2023-04-01" / "spaceeye_2023-04-01.json").read_text())
    assert item["properties"]["spaceeye:method"] == "damped"
    asked = json.loads((out / "run.json").read_text())["asked"]
    assert (asked["clip"], asked["normalize_illuminance"]) == (True, False), "what only Python has counts, too"
