"""The same command gives the same answer, and what a run returns leads to what is there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pystac
import pytest
from pystac_client import Client

import spaceeye_stac as se
from spaceeye_stac.errors import NoScenesError, OutputError
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import command, command_line, options_of
from tests.support.failing_api import FlakyApi
from tests.support.loopback import serving
from tests.support.same_files import assert_same_files


def test_a_finished_run_that_is_asked_for_again_stays_as_it_is(simulated_query: se.Query, tmp_path: Path) -> None:
    query, out = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-03"), tmp_path / "out"
    first = se.run(query, out=out)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")}
    again = se.run(query, out=out)
    assert again == replace(first, kept=first.days)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")} == before
    done = command("run", *options_of(query), "--out", out)
    assert done.returncode == 0, done.stderr
    assert "Nothing to do: the run there is what was asked for." in done.stdout
    with pytest.raises(OutputError, match="already holds a run"):
        se.run(query, se.Settings(method="damped", damping_factor=0.5), out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_scenes_that_are_new_since_are_named_and_used_by_an_update(simulation: Simulation, tmp_path: Path) -> None:
    catalog = simulation.write(tmp_path / "catalog")
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    query = se.Query(catalog=catalog, bbox=box.bbox, datetime="2023-04-01/2023-04-06", bands=["B04"])
    collection = catalog.parent / "sentinel-2-l2a" / "collection.json"
    whole = json.loads(collection.read_text())
    links = [link for link in whole["links"] if "20230404" not in link["href"]]
    assert len(links) == len(whole["links"]) - 1
    collection.write_text(json.dumps({**whole, "links": links}))
    se.run(query, out=tmp_path / "out")
    collection.write_text(json.dumps(whole))
    again = se.run(query, out=tmp_path / "out")
    assert [name.split("_")[2][:8] for name in again.new_scenes] == ["20230404"]
    assert again.kept == again.days
    updated = se.run(query, out=tmp_path / "out", update=True)
    assert len(updated.kept) < len(updated.days)
    assert se.run(query, out=tmp_path / "out").new_scenes == ()


def test_what_a_run_returns_leads_to_files(simulated_query: se.Query, tmp_path: Path) -> None:
    stac = pytest.importorskip("odc.stac")
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-03")
    result = se.run(query, out=tmp_path / "out")
    items = list(result.collection.get_items())
    assert len(items) == 3
    hrefs = [asset.get_absolute_href() for item in items for asset in item.assets.values()]
    assert all(Path(str(href)).is_file() for href in hrefs)
    loaded = stac.load(items, bands=["B04"]).compute()
    assert loaded.sizes["time"] == 3
    assert int(loaded.B04.max()) > 0
    assert isinstance(result.collection, pystac.Collection)


@pytest.mark.parametrize("out", ["https://host.example/days", "http://host.example/days"])
def test_an_address_is_no_folder(out: str, simulated_query: se.Query) -> None:
    done = command("run", *options_of(simulated_query), "--out", out)
    assert done.returncode == 2
    assert f"Output {out} is an address; run into a folder, and publish it there with to." in done.stderr


def test_refusals_do_not_wait_for_torch(simulated_query: se.Query, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    code = (
        "import sys, spaceeye_stac as se\n"
        f"query = se.Query(catalog={str(simulated_query.catalog)!r}, bbox={simulated_query.bbox}, datetime='2023-04')\n"
        f"for options in ({{'out': 'https://host.example/days'}}, {{'out': {str(tmp_path / 'file')!r}}},"
        f" {{'out': {str(tmp_path / 'mine')!r}}}, {{'out': 'x', 'overwrite': True, 'update': True}}):\n"
        "    try:\n        se.run(query, **options)\n"
        "    except se.SpaceEyeError as error:\n        print(error.exit_code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["2 False"] * 4


def test_no_kill_leaves_a_task_in_the_temporary_folder(simulated_query: se.Query, tmp_path: Path) -> None:
    """A task holds the hrefs of scenes, which may be signed; a socket has no place where a path is so long."""
    temporary, out = tmp_path / ("temporary" * 12), tmp_path / "out"
    temporary.mkdir()
    line = command_line("run", *options_of(simulated_query), "--out", out, "--scheduler", "processes")
    with subprocess.Popen(line, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(temporary)}) as process:
        while not list(tmp_path.glob(".out.partial/spaceeye_*")):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    named = [path for path in temporary.rglob("*") if path.is_file() and b"Scene" in path.read_bytes()]
    assert not named
    shutil.rmtree(tmp_path / ".out.partial", ignore_errors=True)  # where its workers may still be at work


def test_a_run_takes_the_scenes_that_a_platform_has(simulated_query: se.Query, tmp_path: Path) -> None:
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-03")
    nowhere = replace(query, catalog=tmp_path / "no-catalog.json", allow_hrefs=[str(Path(str(query.catalog)).parent)])
    se.run(query, out=tmp_path / "searched")
    found = se.search(query)
    items = pystac.ItemCollection([scene.item for scene in found])
    for name, scenes in {"scenes": found, "items": items, "list": list(items)}.items():
        se.run(nowhere, scenes=scenes, out=tmp_path / name)
        assert_same_files(tmp_path / name, tmp_path / "searched")
    with serving(FlakyApi([scene.item for scene in found], page_size=2)) as api:
        search = Client.open(api.url).search(collections=["sentinel-2-l2a"])
        se.run(nowhere, scenes=search.item_collection(), out=tmp_path / "client")
    assert_same_files(tmp_path / "client", tmp_path / "searched")
    with pytest.raises(NoScenesError, match="0 of them from"):
        se.run(replace(nowhere, datetime="2031-01"), scenes=found, out=tmp_path / "late")


def test_true_is_a_bar_a_stage(simulated_query: se.Query, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = replace(simulated_query, bands=["B04"], datetime="2023-04-01/2023-04-03")
    se.run(query, out=tmp_path / "silent", progress=False)
    assert capsys.readouterr().err == ""
    se.run(query, out=tmp_path / "bars", progress=True)
    said = capsys.readouterr().err
    assert "solving: 100%" in said
    assert "writing days: 100%" in said
