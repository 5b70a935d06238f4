"""A store that cuts answers and is busy: a read ends with the right bytes, or blames the connection."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import Scene
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.simulation.landscape import Simulation
from spaceeye_stac.sources.selection import search
from tests.support.image_store import CUT, Store
from tests.support.loopback import serving
from tests.support.stored_scenes import moved, read

CUTS, BUSY = 0.03, 0.03
RUNS = 10


@pytest.fixture(params=["auto", "stackstac"])
def store(simulated: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Store]:
    monkeypatch.setattr("spaceeye_stac.pixels.network._use", [NetworkUse(loader=request.param)])
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    with serving(Store(simulated.parent)) as store:
        yield store


@pytest.fixture
def scenes(simulated_query: se.Query) -> list[Scene]:
    return list(search(simulated_query))[:3]


def there(scene: Scene, store: Store, run: int = 0) -> Scene:
    """The scene with its assets in the store, under addresses that were never asked for."""
    return moved(scene, lambda href: f"{store.url}/{Path(href).relative_to(store.root)}?run={run}")


def faults(seed: int, counts: dict[int, int]) -> Iterator[int]:
    """Faults of a store of which so many answers are cut and so many refused, for now."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    while True:
        drawn = rng.random()
        fault = CUT if drawn < CUTS else 503 if drawn < CUTS + BUSY else 0
        counts[fault] = counts.get(fault, 0) + 1
        yield fault


def test_every_run_through_a_faulty_store_ends_with_the_right_bytes(
    store: Store, scenes: list[Scene], simulation: Simulation
) -> None:
    expected, counts = read(scenes, simulation), dict[int, int]()
    for run in range(RUNS):
        store.faults = faults(run, counts)
        found = read([there(scene, store, run) for scene in scenes], simulation)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.labels, expected.labels)
    assert counts[CUT] >= 3
    assert counts[503] >= 3


@pytest.mark.parametrize("fault", [CUT, 503])
def test_a_fault_that_does_not_pass_blames_the_connection(
    store: Store, scenes: list[Scene], simulation: Simulation, fault: int
) -> None:
    store.faults = iter(lambda: fault, 0)
    with pytest.raises(ReadError) as caught:
        read([there(scenes[0], store)], simulation)
    assert f"Scene {scenes[0].id}: asset {store.url}/" in str(caught.value)
    assert "run=" not in str(caught.value)
    assert "tried 5 times" in str(caught.value)
    time.sleep(0.5)  # the store notes what was on its way
    asked = len(store.requests)
    time.sleep(1)
    assert len(store.requests) == asked, "nothing goes on reading"


@pytest.mark.parametrize("store", ["stackstac"], indirect=True)  # auto tries what is busy before it blames what is not
def test_after_an_error_nothing_goes_on_reading(
    store: Store, scenes: list[Scene], simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is missing while the others are cut: the error does not wait for them, and leaves no thread behind."""
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.5)
    missing = Path(scenes[0].bands["B04"].href)
    store.answers = {str(missing.relative_to(store.root)): 404}
    store.faults = iter(lambda: CUT, 0)
    before, began = set(threading.enumerate()), time.monotonic()
    with pytest.raises(ReadError, match=r"B04.tif"):
        read([there(scene, store) for scene in scenes], simulation)
    assert time.monotonic() - began < 4, "the waits of one file are 7.5 seconds and more"
    assert not [one.name for one in set(threading.enumerate()) - before if one.name.startswith("read")]
    asked = len(store.requests)
    time.sleep(1)
    assert len(store.requests) == asked
