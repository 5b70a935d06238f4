"""Runs that are gone on with and brought up to date: never a wrong pixel, nothing done twice; kills are beside."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.collection.staging import staged_folder
from spaceeye_stac.errors import OutputError
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import command, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.same_files import assert_same_files


@pytest.fixture(scope="module")
def line(simulated_query: se.Query) -> list[str]:
    return ["run", *options_of(replace(simulated_query, bands=["B02", "B04"])), *BY_DAMPED, "--quiet"]


@pytest.fixture(scope="module")
def whole(simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    se.run(replace(simulated_query, bands=["B02", "B04"]), DAMPED, out=out)
    return out


def test_what_is_finished_is_not_done_again(simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = se.run(simulated_query, DAMPED, out=out)
    before = {path: path.stat().st_ino for path in out.rglob("*.tif")}
    again = se.run(simulated_query, DAMPED, out=out, update=True)
    assert again.kept == again.days == first.days
    assert {path: path.stat().st_ino for path in out.rglob("*.tif")} == before, "the very same files"


def test_a_longer_range_redoes_only_the_windows_it_touches(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    def query(days: str) -> se.Query:
        return se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime=days, bands=["B04"])

    settings = se.Settings(method="damped", duration=8, normalize_illuminance=False)
    se.run(query("2023-04-01/2023-04-20"), settings, out=tmp_path / "out")
    longer = query("2023-04-01/2023-04-24")
    result = se.run(longer, settings, out=tmp_path / "out", update=True)
    made = [day for day in result.days if day not in result.kept]
    assert result.days[-1] == "2023-04-24"
    assert set(made) >= {"2023-04-21", "2023-04-24"}
    assert len(result.kept) >= 10
    se.run(longer, settings, out=tmp_path / "fresh")
    assert_same_files(tmp_path / "out", tmp_path / "fresh")


def test_a_reprocessed_scene_redoes_the_days_it_touches(simulation: Simulation, tmp_path: Path) -> None:
    catalog = simulation.write(tmp_path / "catalog")
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    query = se.Query(catalog=catalog, bbox=box.bbox, datetime="2023-04-01/2023-04-24", bands=["B04"])
    settings = se.Settings(method="damped", duration=8, normalize_illuminance=False)
    se.run(query, settings, out=tmp_path / "out")
    item = next((tmp_path / "catalog").rglob("*20230410*.json"))
    document = json.loads(item.read_text())
    document["properties"]["updated"] = "2026-01-01T00:00:00Z"
    item.write_text(json.dumps(document))
    result = se.run(query, settings, out=tmp_path / "out", update=True)
    made = [day for day in result.days if day not in result.kept]
    assert "2023-04-10" in made
    assert {"2023-04-01", "2023-04-24"} <= set(result.kept)
    assert all("2023-04-03" <= day <= "2023-04-17" for day in made), made


def test_other_settings_are_refused_until_overwritten(simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.run(simulated_query, DAMPED, out=out)
    other = se.Settings(method="damped", damping_factor=0.5)
    with pytest.raises(OutputError, match="was asked for another damping_factor; overwrite it"):
        se.run(simulated_query, other, out=out, update=True)
    shutil.copytree(out, tmp_path / ".new.partial")
    with pytest.raises(OutputError, match=r"unfinished run .* was asked for another damping_factor"):
        se.run(simulated_query, other, out=tmp_path / "new")
    result = se.run(simulated_query, other, out=tmp_path / "new", overwrite=True)
    assert not result.kept


def test_a_run_of_a_version_that_knew_fewer_options_is_gone_on_with(simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.run(simulated_query, DAMPED, out=out)
    record = json.loads((out / "run.json").read_text())
    del record["asked"]["causal"], record["asked"]["stretch"]
    (out / "run.json").write_text(json.dumps(record))
    assert se.run(simulated_query, DAMPED, out=out, update=True).kept
    with pytest.raises(OutputError, match="was asked for another causal; overwrite it"):
        se.run(simulated_query, replace(DAMPED, causal=True), out=out, update=True)


def test_what_the_method_made_that_was_replaced_is_no_run_to_go_on_with(
    simulated_query: se.Query, whole: Path, tmp_path: Path
) -> None:
    query, out = replace(simulated_query, bands=["B02", "B04"]), tmp_path / "out"
    shutil.copytree(whole, out)
    record = json.loads((out / "run.json").read_text())
    record["asked"]["method"] = "guided"
    (out / "run.json").write_text(json.dumps(record))
    shutil.copytree(out, tmp_path / ".new.partial")
    with pytest.raises(OutputError, match=r"was asked for another method .guided.; overwrite it"):
        se.run(query, DAMPED, out=out, update=True)
    with pytest.raises(OutputError, match=r"unfinished run .* was asked for another method .guided.; ask for the same"):
        se.run(query, DAMPED, out=tmp_path / "new")


def test_two_runs_never_work_on_one_folder(line: list[str], tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out", overwrite=False):
        done = command(*line, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "Another run is at work on" in done.stderr


def test_damaged_files_of_an_interrupted_run_are_made_again(
    simulated_query: se.Query, whole: Path, tmp_path: Path
) -> None:
    query = replace(simulated_query, bands=["B02", "B04"])
    out = tmp_path / "out"
    shutil.copytree(whole, tmp_path / ".out.partial")
    days = sorted((tmp_path / ".out.partial").glob("spaceeye_*"))
    (days[0] / "B04.tif").write_bytes(b"short")
    (days[1] / "B02.tif").unlink()
    (days[2] / f"{days[2].name}.json").write_text("{")
    result = se.run(query, DAMPED, out=out)
    assert len(result.kept) == len(days) - 3
    assert_same_files(out, whole)
