"""The task of stactask, run by stactask's own command line: scenes' items in, days' items out."""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pystac
import pytest

import spaceeye_stac as se
from tests.e2e.platform_environment import on_platform
from tests.support.damped import DAMPED
from tests.support.small_catalog import DAYS, small_items, small_query, written

BEFORE_ANY_PIXEL = [
    ({"bbox": [10, 10, 10.01, 10.01]}, "No scene found: "),
    ({"days": "virtual"}, "days 'virtual' cannot be uploaded file by file; leave it out."),
]


class Payload:
    """A payload in a folder, and the folder of the task that works on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.items = folder, small_items(folder / "source")
        self.query = small_query(written(self.items, folder / "source"))

    def run(self, name: str, *options: str, **asked: Any) -> "CompletedProcess[str]":
        usual = {"bbox": list(self.query.bbox or ()), "datetime": DAYS, "bands": ["B02", "B04"], "method": "damped"}
        wanted = {**usual, "allow_hrefs": [str(self.folder / "source")], **asked}
        payload = {
            "type": "FeatureCollection",
            "features": self.items,
            "process": [{"workflow_options": {"of": "others"}, "tasks": {"spaceeye": wanted}}],
        }
        (self.folder / "payload.json").write_text(json.dumps(payload))
        line = ["-W", "ignore", "-m", "spaceeye_stac.platforms.stac_task", "run", self.folder / "payload.json"]
        places = ["--output", self.out(name), "--workdir", self.folder / name, "--save-workdir"]
        return on_platform("python", *line, *places, *options)

    def out(self, name: str) -> Path:
        return self.folder / f"{name}.json"


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Payload:
    return Payload(tmp_path_factory.mktemp("task"))


def test_scenes_go_in_and_days_come_out(payload: Payload) -> None:
    done = payload.run("good", "--no-upload")
    assert done.returncode == 0, done.stderr
    found = json.loads(payload.out("good").read_text())
    days = [pystac.Item.from_dict(feature) for feature in found["features"]]
    assert [day.id for day in days] == [f"spaceeye_2023-04-{day:02}" for day in range(1, 11)]
    for day in days:
        assert Path(day.assets["B04"].href) == payload.folder / "good" / "days" / day.id / "B04.tif"
        assert {link.rel for link in day.links} == {"derived_from"}
    se.run(payload.query, DAMPED, out=payload.folder / "plain")
    for day in days:
        for key in ("B02", "B04", "flags", "uncertainty"):
            plain = payload.folder / "plain" / day.id / f"{key}.tif"
            assert Path(day.assets[key].href).read_bytes() == plain.read_bytes()


@pytest.mark.parametrize(("asked", "sentence"), BEFORE_ANY_PIXEL, ids=lambda value: str(value)[:20])
def test_a_bad_payload_is_a_sentence_and_no_output(payload: Payload, asked: dict[str, Any], sentence: str) -> None:
    done = payload.run("bad", "--no-upload", **asked)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert not payload.out("bad").exists()
    assert not list(payload.folder.glob("bad/days*"))


def test_a_place_to_upload_to_is_wanted_before_anything_is_computed(payload: Payload) -> None:
    done = payload.run("bad")
    assert "no upload_options with a path_template for spaceeye; give one, or --no-upload." in done.stderr
    assert not list(payload.folder.glob("bad/days*"))


def test_a_run_that_fails_half_way_gives_nothing(payload: Payload) -> None:
    scene = Path(payload.items[-1]["assets"]["B04"]["href"])
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) // 2])
    try:
        done = payload.run("bad", "--no-upload")
    finally:
        scene.write_bytes(content)
    assert "cannot be read" in done.stderr
    assert not payload.out("bad").exists()
    assert not (payload.folder / "bad" / "days").exists()
