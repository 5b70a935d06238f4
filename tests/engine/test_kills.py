"""Runs and updates that are killed, wherever that is: the same command ends them as if nothing had been."""

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.forked_runs import Starter, starting
from tests.support.items import edit, items_of
from tests.support.same_files import assert_same_files

SMALL = Simulation(shape=(64, 64), days=8, revisit=2, seed=5, bands=("B04", "B11"))
KILLED = [-signal.SIGKILL]
EVERY = pytest.mark.slow
SHORT, LONG = "2023-04-01/2023-04-04", "2023-04-01/2023-04-06"
FIRST_PLACES, LAST_PLACES = 3, 9


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    """Of a catalog whose first and fourth item place their masks elsewhere, so that a run has something to warn of."""
    catalog = SMALL.write(tmp_path_factory.mktemp("doubtful"))
    for item in list(items_of(catalog).values())[:4:3]:
        edit(item, lambda found: found["assets"]["SCL"].update({"proj:transform": [20, 0, 700000, 0, -20, 5630000]}))
    box = SMALL.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    return se.Query(catalog=catalog, bbox=box.bbox, datetime=LONG, bands=["B04"], profile="planetary-computer")


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with starting() as running:
        yield running


def told(starter: Starter, query: se.Query, out: Path, **options: Any) -> list[list[Any]]:
    """What a run tells up to its end; the last line is the end."""
    starter.start(query, out, **options)
    return list(starter.told())


def warnings_of(out: Path) -> list[str]:
    return list(json.loads((out / "collection.json").read_text())["spaceeye:warnings"])


def touches_of(lines: list[list[Any]]) -> int:
    return int(max(line[1] for line in lines if line[0] == "touches"))


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=EVERY)])
@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("first", {}),
        ("update", {}),
        pytest.param("first", {"days": "virtual"}, marks=EVERY),
        pytest.param("update", {"days": "virtual"}, marks=EVERY),
        pytest.param("update", {"keep_keyframes": True}, marks=EVERY),
    ],
    ids=["first", "update", "first-virtual", "update-virtual", "update-kept"],
)
def test_killed_at_any_file_it_touches_a_run_ends_well_when_it_is_called_again(
    kind: str,
    output: dict[str, Any],
    every: bool,  # noqa: FBT001
    starter: Starter,
    query: se.Query,
    temporary: Path,
    tmp_path: Path,
) -> None:
    """The last files, with which a run takes its place, each by itself; of those before, some, or with `every` all."""
    before = replace(query, datetime=SHORT)
    wanted = before if kind == "first" else query
    earlier, reference, home = tmp_path / "earlier", tmp_path / "reference", tmp_path / "home"
    out, update = home / "out", kind == "update"

    def prepare() -> None:
        shutil.rmtree(home, ignore_errors=True)
        if update:
            shutil.copytree(earlier, home)
        else:
            home.mkdir()

    for asked, folder in ((before, earlier), (wanted, reference)):
        assert told(starter, asked, folder / "out", output=output)[-1][1:] == [0]
    assert warnings_of(reference / "out")
    prepare()
    touches = touches_of(told(starter, wanted, out, update=update, output=output, kill_at=0))
    assert_same_files(out, reference / "out")
    first = range(1, touches) if every else range(1, touches, touches // FIRST_PLACES)
    places, killed = sorted({*first, *range(touches - LAST_PLACES, touches + 1)}), 0
    for place in places:
        prepare()
        end = told(starter, wanted, out, update=update, output=output, kill_at=place)[-1][1:]
        assert end in ([0], KILLED)
        killed += end == KILLED
        if out.exists():  # the old one or the new one, whole
            is_new = len(list(out.glob("spaceeye_*"))) == len(wanted.days)
            assert_same_files(out, (reference if is_new else earlier) / "out")
        assert told(starter, wanted, out, update=out.exists(), output=output)[-1][1:] == [0], place
        assert_same_files(out, reference / "out")
        assert [path.name for path in home.iterdir()] == ["out"], place
        assert not list(temporary.iterdir()), place
    assert killed >= len(places) - 1, "at times a run touches one less"
    print(f"{kind} {output}: {killed} kills at {len(places)} of {touches} files touched")  # noqa: T201 - a figure to keep


@pytest.mark.parametrize("kills", [12, pytest.param(100, marks=EVERY)])
@pytest.mark.parametrize(
    "how",
    [
        {},
        pytest.param({"scheduler": "processes", "workers": 2}, marks=EVERY),
    ],
    ids=["threads", "processes"],
)
def test_killed_at_any_moment_a_run_goes_on_to_the_same_bytes(
    how: dict[str, Any], kills: int, starter: Starter, query: se.Query, temporary: Path, tmp_path: Path
) -> None:
    """Every other moment is drawn over the time of a run, the rest over the files it touches, however fast it is."""
    rng = random.Random(5)  # noqa: S311 - moments, not secrets
    home = tmp_path / "home"
    reference, out, work = tmp_path / "reference" / "out", home / "out", home / ".out.partial"
    killed, whole, finds = 0, 0, set[int]()
    start = time.monotonic()
    touches = touches_of(told(starter, query, reference, kill_at=0, **how))
    seconds = time.monotonic() - start
    assert warnings_of(reference)
    for number in range(10 * kills):
        by_time = {"kill_after": rng.uniform(0, seconds)}
        starter.start(query, out, **how, **({"kill_at": rng.randint(1, touches)} if number % 2 else by_time))
        killed += starter.end() == KILLED
        finds.add(len(list(work.glob("spaceeye_*"))))
        if out.exists():  # whole, or not there
            assert_same_files(out, reference)
            shutil.rmtree(out)
            whole += 1
        if killed == kills:
            break
    assert killed == kills
    assert {0} < finds, "some were killed before a day was finished, and some after"
    assert told(starter, query, out, **how)[-1][1:] == [0]
    assert_same_files(out, reference)
    assert [path.name for path in home.iterdir()] == ["out"]
    assert not list(temporary.iterdir())
    print(f"{how or 'threads'}: {killed} kills, {whole + 1} whole runs between them, each the same bytes")  # noqa: T201
