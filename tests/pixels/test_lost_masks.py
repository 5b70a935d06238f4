"""A file whose mask cannot be fetched is never read as if it had none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import BandAsset, Mask, Scene
from spaceeye_stac.sources.selection import search
from tests.pixels.test_loaders import TILED, of_files, read, written
from tests.support.image_store import CUT
from tests.support.store_apart import StoreApart, store_apart

MASKED = TILED | {"masked": True, "nodata": None}
PLACES = range(12)  # of GETs: a read makes 11


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    written(tmp_path / "a.tif", MASKED)
    written(tmp_path / "b.tif", TILED | {"dtype": "uint8"})
    return tmp_path


@pytest.fixture
def scene(simulated_query: se.Query) -> Scene:
    return next(iter(search(simulated_query)))


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreApart]:
    root = tmp_path_factory.mktemp("store")
    with store_apart(root) as store:
        written(root / "a.tif", MASKED)
        written(root / "b.tif", TILED | {"dtype": "uint8"})
        yield store


def in_store(scene: Scene, store: StoreApart, fresh: str) -> Scene:
    """The scene there, under addresses that were never asked for."""
    there = of_files(scene, store.url)
    band, labels = there.bands["B04"], there.labels
    assert isinstance(band, BandAsset)
    assert isinstance(labels, Mask)
    bands = {"B04": replace(band, href=f"{band.href}?fresh={fresh}")}
    return replace(there, bands=bands, labels=replace(labels, href=f"{labels.href}?fresh={fresh}"))


@pytest.mark.parametrize("fault", [404, 503, CUT])
def test_no_fault_at_any_place_loses_a_mask(
    away: StoreApart, folder: Path, scene: Scene, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(of_files(scene, folder), monkeypatch)
    assert not expected.values.all()
    read_well = 0
    for count in (1, 3, 9999):
        for first in PLACES:
            away.fail(fault, first, count)
            try:
                found = read(in_store(scene, away, f"{fault}-{count}-{first}"), monkeypatch)
            except ReadError:
                continue
            read_well += 1
            np.testing.assert_array_equal(found.values, expected.values, err_msg=f"{count} faults from {first}")
            np.testing.assert_array_equal(found.labels, expected.labels)
    away.fail(0, 0, 0)
    assert read_well >= len(PLACES)


def test_a_file_that_was_cut_off_keeps_its_mask_or_is_an_error(
    folder: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, data = read(of_files(scene, folder), monkeypatch), (folder / "a.tif").read_bytes()
    refused = 0
    for kept in np.linspace(0.5, 1, 40) * len(data):
        (folder / "a.tif").write_bytes(data[: int(kept)])
        try:
            found = read(of_files(scene, folder), monkeypatch)
        except ReadError:
            refused += 1
            continue
        np.testing.assert_array_equal(found.values, expected.values, err_msg=f"{kept} of {len(data)} bytes")
    assert refused
