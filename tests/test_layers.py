"""The layout: imports run one way, and each heavy library has one door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "spaceeye_stac"
BASE = {"errors", "query", "model", "profiles", "resources", "output", "layout", "region", "documents", "progress"}
ABOVE = {
    "pipeline",
    "jobs",
    "planner",
    "estimates",
    "calibration",
    "reading",
    "solving",
    "writing",
    "publishing",
    "evaluation",
    "demo",
    "serve",
    "cli",
    "__init__",
}
ALLOWED = {
    "errors": set[str](),
    "query": {"errors"},
    "model": {"errors", "query"},
    "fill": BASE | {"masks", "illumination", "methods", "offset_check", "solver", "uncertainty"},
    "guided": {"solver"},
    "profiles": {"errors", "query", "model", "region"},
    "region": {"query"},
    "methods": BASE | {"solver", "guided", "reference", "uncertainty"},
    "plots": BASE | {"holdout"},
    "resources": {"errors"},
    "output": {"errors"},
    "documents": {"query"},
    "progress": set[str](),
    "layout": {"model"},
    "budget": BASE | {"methods", "solver"},
    "record": BASE | {"fingerprint"},
    "chunks": set(),
    "keyframes": BASE | {"chunks"},
    "daily": BASE | {"keyframes"},
    "inheritance": BASE | {"keyframes"},
    "cube": BASE | {"keyframes", "daily", "grid"},
    "catalog": BASE | {"duplicates", "pairing", "transport", "trust"},
    "signing": BASE | {"transport"},
    "encoder": {"errors"},
    "cog": BASE | {"encoder"},
    "simulate": BASE | {"cog"},
    "virtual": BASE | {"cog", "daily", "keyframes", "grid", "fingerprint"},
    "static": BASE | {"geoparquet"},
    "publication": BASE | {"targets"},
    "object_store": BASE | {"targets"},
    "stac_api": BASE | {"targets"},
    "store_publishing": BASE | {"targets", "publication", "object_store", "geoparquet"},
    "api_publishing": BASE | {"targets", "publication", "stac_api", "store_publishing"},
}
DOORS = {
    "stackstac": {"stack"},
    "pystac_client": {"catalog", "transport"},
    "planetary_computer": {"signing"},
    "zarr": {"keyframes"},
    "distributed": {"schedule"},
    "scipy": {"masks"},
    "typer": {"cli", "options"},
    "rich": {"cli"},
    "matplotlib": {"plots"},
    "obstore": {"object_store"},
    "rustac": {"geoparquet"},
    "requests": {"transport", "stac_api"},
    "torch": {"solver", "guided", "reference", "uncertainty", "methods", "fill", "evaluation"},
}


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Modules of this package, and top-level names of other packages, that a file imports."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            top, _, rest = node.module.partition(".")
            if top != "spaceeye_stac":
                others.add(top)
            else:
                own |= {rest} if rest else {alias.name for alias in node.names}
    return own, others


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    own, others = imports(PACKAGE / f"{name}.py")
    if name not in ABOVE:
        assert own <= ALLOWED.get(name, BASE), f"{name} is a stage and imports {own - BASE}"
    assert "cli" not in own
    if name != "cli":
        assert name == "demo" or "demo" not in own
    for library, doors in DOORS.items():
        assert library not in others or name in doors, f"{name} imports {library}; only {doors} may"


def test_importing_the_package_is_quick_and_light() -> None:
    code = "import sys, spaceeye_stac; print([m for m in ('torch', 'rasterio', 'xarray', 'zarr') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_submodule_hides_a_public_function() -> None:
    import spaceeye_stac as se  # noqa: PLC0415

    assert not set(MODULES) & set(se.__all__)


def test_the_core_never_prints() -> None:
    for path in PACKAGE.glob("*.py"):
        calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {f.id for f in calls if isinstance(f, ast.Name)}
        assert path.stem == "cli" or "print" not in names, path
