"""The notebooks, run from top to bottom on simulated scenes, without a network."""

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.loopback import serving
from tests.support.material import ROOT
from tests.support.transactions_api import SmallApi

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a kernel that keeps its files in a folder of its own and knows this package."""
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "MPLCONFIGDIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class ReadableApi(SmallApi):
    """One whose collections lead to their items, as those of real servers do."""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = {"collections": [*self.collections], **body} if path == "/search" else body
        status, found = super().answer(method, path, asked)
        if method != "GET" or found.get("type") != "Collection":
            return status, found
        places = {"items": f"{self.url}{path}/items", "root": self.url}
        links = [*found["links"], *({"rel": rel, "href": href} for rel, href in places.items())]
        return status, {**found, "links": links}


def notebook_of(name: str) -> Any:
    return nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]


def run(name: str, environment: dict[str, str]) -> list[Any]:
    """The outputs of each code cell."""
    notebook = notebook_of(name)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}})
    client.execute(env=environment)
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def shown(outputs: list[Any], kind: str) -> list[str]:
    """What cells show of a media type; none may warn."""
    streams = [out.text for cell in outputs for out in cell if out.output_type == "stream" and out.name == "stderr"]
    assert not streams
    return [out.data[kind] for cell in outputs for out in cell if kind in out.get("data", {})]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs_and_says_something_before_each_cell(name: str) -> None:
    notebook = notebook_of(name)
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert all(before == "markdown" for before, kind in pairwise(kinds) if kind == "code")
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_a_field(kernel: dict[str, str]) -> None:
    outputs = run("field.ipynb", kernel)
    pages = shown(outputs, "text/html")
    for title in ("Query", "Scenes", "Plan, 2023-04-01 to 2023-05-15", "45 days, 2023-04-01 to 2023-05-15"):
        assert sum(f">{title}<" in page for page in pages) >= 1, title
    assert len(shown(outputs, "image/png")) == 2


@pytest.mark.slow
def test_a_region_to_an_api(kernel: dict[str, str]) -> None:
    with serving(ReadableApi()) as api:
        outputs = run("region_to_api.ipynb", {**kernel, "STAC_API": api.url})
        assert not api.items
        assert not api.collections
    texts = shown(outputs, "text/plain")
    assert any("my-region_2023-04-10" in text and "sent=(" in text for text in texts)
    assert "()" in texts, "a second time, nothing is sent"
    assert len(shown(outputs, "image/png")) == 1
