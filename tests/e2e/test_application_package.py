"""The OGC EO Application Package with the real tools, eoap-validator and cwltool, and a stage-out of its days."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac
import pytest

import spaceeye_stac as se
from tests.e2e.platform_environment import on_platform
from tests.support.command import command
from tests.support.items import Json
from tests.support.same_files import assert_same_files
from tests.support.small_catalog import DAYS, SMALL, small_query

NOWHERE = [10.0, 10.0, 10.01, 10.01]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "app.cwl"
    path.write_text(command("package", "cwl").stdout)
    return path


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a staged catalog, with room for the folders of jobs beside it."""
    return SMALL.write(tmp_path_factory.mktemp("platform") / "scenes").parent


@dataclass(frozen=True)
class Execution:
    """What cwltool did: its log, which has what the command printed, and what it gave."""

    code: int
    log: str
    outputs: Any
    days: Path


def executed(package: Path, staged: Path, change: Json) -> Execution:
    """Run the package as a platform does, with the small catalog as its staged scenes where nothing else is said."""
    place = staged.parent
    job = {"scenes": {"class": "Directory", "path": str(staged)}, **asked(staged), **change}
    (place / "job.json").write_text(json.dumps(job))
    out = place / "staged-out"
    shutil.rmtree(out, ignore_errors=True)
    (place / "jobs").mkdir(exist_ok=True)
    options = ["--no-container", "--preserve-entire-environment", "--tmp-outdir-prefix", f"{place / 'jobs'}/"]
    done = on_platform("cwltool", *options, "--outdir", out, f"{package}#spaceeye", place / "job.json")
    return Execution(done.returncode, done.stderr, json.loads(done.stdout), out / "days")


def asked(staged: Path) -> Json:
    bbox = list(small_query(staged).bbox or ())
    return {"bbox": bbox, "datetime": DAYS, "bands": ["B02", "B04"], "method": "damped", "duration": 12, "clip": True}


def test_the_validator_finds_no_failure(package: Path, say: Callable[[str], None]) -> None:
    report = package.parent / "report.json"
    done = on_platform("eoap-validator", f"{package}#spaceeye", "--output", report)
    assert done.returncode == 0, done.stdout
    findings = json.loads(report.read_text())["findings"]
    found = [finding["rule_id"] for finding in findings if finding["status"] != "passed"]
    assert found == ["EOAP.CONTAINER.HINT"]  # a hint lets it run where the command is installed, too
    assert len(findings) > 200
    say(f"eoap-validator: {len(findings)} checks, 0 failures")


def test_it_gives_what_a_run_gives(package: Path, staged: Path) -> None:
    found = executed(package, staged, {})
    assert found.code == 0, found.log
    assert found.outputs["days"]["class"] == "Directory"
    alone = staged.parent / "jobs" / "alone" / "days"  # as deep as the job's, for links to the scenes
    settings = se.Settings(method="damped", duration=12, clip=True)
    se.run(small_query(staged), settings, out=alone)
    assert_same_files(alone, found.days)
    records = [json.loads((folder / "run.json").read_text()) for folder in (alone, found.days)]
    assert records[0].keys() == records[1].keys()
    assert {name for name in records[0] if records[0][name] != records[1][name]} <= {"created"}
    staged_out(found.days, staged.parent / "bucket")


def staged_out(days: Path, target: Path) -> None:
    """Bring what catalog.json leads to elsewhere, as the stage-out of a platform does, and read it there."""
    catalog = pystac.Catalog.from_file(str(days / "catalog.json"))
    items = list(catalog.get_items(recursive=True))
    assert len(items) == 10
    for item in items:
        folder = target / item.id
        folder.mkdir(parents=True)
        for asset in item.assets.values():
            shutil.copy(str(asset.get_absolute_href()), folder)
            asset.href = str(folder / Path(asset.href).name)
    catalog.normalize_and_save(str(target / "stac"), pystac.CatalogType.ABSOLUTE_PUBLISHED)
    again = pystac.Catalog.from_file(str(target / "stac" / "catalog.json"))
    assert [item.id for item in again.get_items(recursive=True)] == [item.id for item in items]
    assert all(Path(asset.href).is_file() for item in again.get_items(recursive=True) for asset in item.assets.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scenes": None, "catalog": "nowhere"}, "Error: Catalog 'nowhere' is"),
        ({"bbox": NOWHERE}, "Error: No scene found"),
    ],
)
def test_what_a_user_can_mend_is_said_in_one_sentence(change: Json, said: str, package: Path, staged: Path) -> None:
    assert_failed(executed(package, staged, change), said, 2)


def test_a_run_that_fails_half_way_leaves_nothing(package: Path, staged: Path) -> None:
    torn = staged.parent / "torn"
    shutil.copytree(staged, torn)
    band = sorted(torn.rglob("B04.tif"))[-3]
    band.write_bytes(band.read_bytes()[:-200])
    found = executed(package, staged, {"scenes": {"class": "Directory", "path": str(torn)}})
    assert_failed(found, band.parent.name, 1)


def assert_failed(found: Execution, said: str, code: int) -> None:
    assert found.code == 1, "cwltool's own code for any failure"
    assert said in found.log
    assert f"exited with status: {code}" in found.log
    assert found.outputs == {"days": None}
    assert not found.days.exists()
