"""The house: which room may import which, what stays inside a room, and one door for each heavy library."""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "spaceeye_stac"
LONGEST_FILE = 350
MOST_ENTRIES = 25
COMMON = {"errors", "display", "query", "settings", "resources", "model", "outlines"}
# a room, and what it may import beside itself; what is common has an order of its own
ALLOWED = {
    "errors": set[str](),
    "outlines": {"errors"},  # before the query, which reads its region by it
    "display": {"errors", "outlines"},
    "query": {"errors", "outlines", "display"},
    "settings": {"errors", "query", "display"},
    "resources": {"errors"},
    "model": {"errors", "query", "settings"},
    "sources": COMMON,
    "methods": COMMON,
    "collection": COMMON,
    "keyframes": COMMON | {"collection"},
    "pixels": COMMON | {"sources", "methods"},
    "days": COMMON | {"methods", "collection", "keyframes", "pixels"},
    "publishing": COMMON | {"collection"},
    "engine": COMMON | {"sources", "methods", "collection", "keyframes", "pixels", "days", "publishing"},
    "viewing": COMMON | {"sources", "collection", "keyframes", "pixels", "days", "publishing"},
    "pipeline": COMMON | {"sources", "collection", "engine", "viewing"},
    "evaluation": COMMON | {"methods", "keyframes", "pixels", "days", "engine"},
    "simulation": COMMON | {"days", "pipeline"},
    "platforms": COMMON | {"sources", "collection", "keyframes", "pixels", "days", "publishing", "engine", "pipeline"},
    "cli": COMMON
    | {"sources", "collection", "publishing", "engine", "viewing", "pipeline", "evaluation", "simulation", "platforms"},
}
ROOMS = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
FILES = sorted(PACKAGE.rglob("*.py"))
DOORS = {
    "stackstac": {"pixels/loader", "pixels/reader"},
    "pystac_client": {"sources/apis", "sources/folders", "sources/pages", "sources/saved", "sources/transport"},
    "planetary_computer": {"pixels/signing"},
    "zarr": {"keyframes/store"},
    "distributed": {"engine/cluster", "engine/stored_files"},
    "scipy": {"pixels/masks", "evaluation/likeness"},
    "typer": {"cli/commands", "cli/afterwards", "cli/options"},
    "rich": {"cli/printing"},
    "matplotlib": {"evaluation/plots", "simulation/picture", "viewing/series_plot", "viewing/pictures"},
    "exactextract": {"viewing/zones"},
    "spyndex": {"viewing/indices"},
    "av": {"viewing/film_files"},
    "obstore": {"publishing/store", "pixels/network"},  # what goes out, and what comes in
    "async_tiff": {"pixels/tiles", "pixels/tiff_header", "pixels/tile_sizes"},
    "rustac": {"collection/geoparquet", "sources/saved"},  # what goes out is written, what comes in is read
    "pygeoapi": {"platforms/pygeoapi"},
    "rio_tiler": {"viewing/page_pictures"},
    "stactask": {"platforms/stac_task"},
    "openeo_pg_parser_networkx": {"platforms/openeo"},
    "requests": {"sources/transport", "publishing/http_client", "publishing/credentials"},
}
TORCH_ROOMS = {"methods", "engine", "evaluation"}


def place(path: Path) -> str:
    """A file by its place in the package, as "pixels/grid"."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room_of(path: Path) -> str:
    """The room a file is in; a file beside the rooms is one of its own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Modules of this package, without its name, and top-level names of other packages, that a file imports."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            top, _, rest = (node.module or "").partition(".")
            if top != "spaceeye_stac":
                others.add(top)
            else:
                own |= {rest} if rest else {alias.name for alias in node.names} - {"__version__"}
    return own, others


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_run_one_way_and_rooms_do_not_reach_into_each_other(path: Path) -> None:
    own, others = imports(path)
    room = room_of(path)
    if room == "__init__":
        assert not own
        return
    for module in own:
        there, _, inside = module.partition(".")
        assert there == room or there in ALLOWED[room], f"{place(path)} imports {there}"
        assert there == room or not inside, f"{place(path)} reaches into {module}"
    for library, doors in DOORS.items():
        assert library not in others or place(path) in doors, f"{place(path)} imports {library}; only {doors} may"
    assert "torch" not in others or room in TORCH_ROOMS, f"{place(path)} imports torch"


def test_every_room_is_listed_and_the_order_has_no_circle() -> None:
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert ALLOWED.keys() == ROOMS | beside
    order = list(ALLOWED)
    for room, allowed in ALLOWED.items():
        assert all(order.index(other) < order.index(room) for other in allowed), room


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_the_files_of_a_room_import_each_other_without_a_circle(room: str) -> None:
    files = {place(path).replace("/", "."): imports(path)[0] for path in FILES if room_of(path) == room}
    left = {name: {other for other in own if other in files} for name, own in files.items()}
    while left:
        free = {name for name, own in left.items() if not own & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {name: own for name, own in left.items() if name not in free}


def test_rooms_export_names_that_exist_and_hide_none_behind_a_file() -> None:
    lines = []
    for room in ROOMS:
        stub = ast.parse((PACKAGE / room / "__init__.pyi").read_text())
        names = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not {name for name in names if name.startswith("_")}
        assert not names & {path.stem for path in (PACKAGE / room).glob("*.py")}, f"a file of {room} hides an export"
        lines.append(f"from spaceeye_stac.{room} import {', '.join(sorted(names))}")
    subprocess.run([sys.executable, "-W", "ignore", "-c", "\n".join(lines)], check=True)


def test_no_two_classes_have_one_name() -> None:
    found = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(place(path))
    assert not {name: places for name, places in found.items() if len(places) > 1}


def test_no_file_is_too_long_and_the_package_is_a_short_list() -> None:
    long = {place(path): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_FILE}
    assert len([entry for entry in PACKAGE.iterdir() if entry.name not in {"catalogs", "__pycache__"}]) <= MOST_ENTRIES


def test_importing_the_package_is_quick_and_light() -> None:
    code = "import sys, spaceeye_stac; print([m for m in ('torch', 'rasterio', 'xarray', 'zarr') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processes_that_write_days_do_not_load_torch() -> None:
    code = "import sys, spaceeye_stac.engine.writing; print('torch' in sys.modules)"
    line = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_no_room_hides_a_public_name() -> None:
    import spaceeye_stac as se  # noqa: PLC0415

    assert not (ROOMS | {path.stem for path in PACKAGE.glob("*.py")}) & set(dir(se))
    assert all(getattr(se, name) is not None for name in dir(se))


def test_the_version_is_said_once() -> None:
    import spaceeye_stac as se  # noqa: PLC0415

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "spaceeye_stac/__init__.py"
    assert se.__version__.count(".") == 2


def test_the_core_never_prints() -> None:
    for path in FILES:
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {f.id for f in calls if isinstance(f, ast.Name)}
        assert room_of(path) == "cli" or "print" not in names, path


@pytest.mark.slow  # mypy with nothing cached
def test_the_types_of_the_public_names_are_known_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import spaceeye_stac as se\n\nreveal_type(se.search)\nreveal_type(se.run)\n")
    line = [sys.executable, "-m", "mypy", "--strict", "mine.py"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "SceneList" in done.stdout
    assert "Result" in done.stdout
