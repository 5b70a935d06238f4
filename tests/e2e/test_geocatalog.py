"""A GeoCatalog of Planetary Computer Pro, with Microsoft's own client: it reads from the small one what we publish."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.credentials import TOKEN
from tests.e2e.platform_environment import platform_python
from tests.support.command import command
from tests.support.geocatalog import GeoCatalog
from tests.support.loopback import serving
from tests.support.servers import running, serve_command

CLIENT = Path(__file__).with_name("geocatalog_sdk.py")
SECRET = "hunter22-token"  # noqa: S105 - of the small one


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeoCatalog]:
    monkeypatch.setenv(TOKEN, SECRET)
    with serving(GeoCatalog(token=SECRET)) as small:
        yield small


@pytest.fixture(scope="module")
def days(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    query = replace(simulated_query, datetime="2023-04-01/2023-04-04", bands=["B03", "B04", "B08"])
    return se.run(query, se.Settings(duration=8), out=tmp_path_factory.mktemp("geocatalog") / "days").path


def sdk(what: str, catalog: GeoCatalog, collection: str, *more: str) -> dict[str, Any]:
    """What Microsoft's client says of it."""
    python = platform_python()
    line = [str(python), str(CLIENT), what, catalog.url, SECRET, collection, *more]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_client_reads_what_is_published(catalog: GeoCatalog, days: Path, say: Callable[[str], None]) -> None:
    done = command("publish", days, "--to", f"geocatalog+{catalog.url}", "--wait", "20")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{catalog.url}: 4 sent" in done.stdout
    say(f"4 days published to a GeoCatalog with {catalog.asked} requests")
    found, local = sdk("read", catalog, "spaceeye"), json.loads((days / "collection.json").read_text())
    paths = sorted(days.glob("*/spaceeye_*.json"))
    assert [item["id"] for item in sorted(found["items"], key=lambda item: str(item["id"]))] == [p.stem for p in paths]
    assert found["collection"]["item_assets"].keys() == local["item_assets"].keys()
    assert {"title", "description", "license", "extent"} <= found["collection"].keys()
    first = json.loads((days / found["first"]["id"] / f"{found['first']['id']}.json").read_text())
    assert found["first"]["geometry"]["coordinates"] == first["geometry"]["coordinates"]
    assert found["first"]["properties"]["spaceeye:fingerprint"] == first["properties"]["spaceeye:fingerprint"]
    assert found["first"]["assets"].keys() == first["assets"].keys()
    assert found["renders"].keys() == local["renders"].keys()
    assert found["renders"]["infrared"] == [
        "raster-tile",
        "assets=B08&assets=B04&assets=B03&rescale=1,6000&rescale=1,3558&rescale=1,3558",
    ]
    assert found["mosaics"] == {"latest": []}
    assert sorted(map(tuple, found["operations"])) == [
        ("CreateCollection", "Succeeded"),
        *[("CreateItem", "Succeeded")] * 4,
    ]


def test_the_client_takes_the_small_one_for_a_geocatalog(
    catalog: GeoCatalog, days: Path, logs: Path, tmp_path: Path
) -> None:
    se.publish(days, tmp_path / "files", asset_base_url="https://days.example/a")
    with running(serve_command(tmp_path / "files", logs / "geocatalog-source.log", "collection.json")) as source:
        said = sdk("write", catalog, "theirs", f"{source.address}/collection.json")
    assert (said["collection"], said["run"]) == ("Succeeded", ["Succeeded", 4, 0])
    assert "ItemAlreadyExistsInCollection" in said["twice"]
    found = sdk("read", catalog, "theirs")
    ids = [item["id"] for item in found["items"]]
    assert (ids[:2], len(ids)) == (["item-0", "item-1"], 6)
    assert found["items"][1]["properties"]["title"] == "new"
    assert (found["renders"], found["mosaics"]) == ({"one": ["raster-tile", "assets=a"]}, {"all": []})
    with pytest.raises(TargetError, match="was not made by this package; it stays"):
        se.unpublish("theirs", f"geocatalog+{catalog.url}")
