"""The line of cron of `examples/`, morning after morning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pystac

from tests.support.command import as_bbox
from tests.support.material import ROOT
from tests.support.small_catalog import small_items, small_query, written


def morning(folder: Path, catalog: Path, today: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "CATALOG": str(catalog),
        "BBOX": as_bbox(small_query(catalog).bbox or ()),
        "FIRST": "2023-04-01",
        "TODAY": today,
        "BANDS": "B02,B04",
        "METHOD": "damped",
        "OUT": str(folder / "out"),
        "TO": str(folder / "published"),
    }
    line = ["bash", str(ROOT / "examples" / "every_morning.sh")]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=600)


def published(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_morning_brings_what_is_new_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    items = small_items(tmp_path / "source")
    catalog = written(items[:2], tmp_path / "source")
    done = morning(tmp_path, catalog, "2023-04-05")
    assert done.returncode == 0, done.stderr
    first = published(tmp_path / "published")
    written(items, tmp_path / "source")
    done = morning(tmp_path, catalog, "2023-04-10")
    assert done.returncode == 0, done.stderr
    collection = pystac.Collection.from_file(str(tmp_path / "published" / "collection.json"))
    found = sorted(item.id for item in collection.get_items())
    assert found == [f"spaceeye_2023-04-{day:02}" for day in range(1, 11)]
    second = published(tmp_path / "published")
    for name, content in second.items():
        if name.endswith(".tif"):
            assert content == (tmp_path / "out" / name).read_bytes()
    assert len(json.loads((tmp_path / "out.scenes.json").read_text())) == len(items)
    assert "spaceeye_2023-04-05/B02.tif" in first

    catalog.unlink()
    done = morning(tmp_path, catalog, "2023-04-11")
    assert done.returncode == 2
    assert "is no profile" in done.stderr
    assert published(tmp_path / "published") == second
    assert len(json.loads((tmp_path / "out.scenes.json").read_text())) == len(items)
