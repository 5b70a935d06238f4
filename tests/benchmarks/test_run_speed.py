"""Whole runs against what the disk and the encoder allow, and against what one would write instead."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import spaceeye_stac as se
from tests.benchmarks.catalogs import catalog
from tests.benchmarks.measured import Measured, measured

PROGRAMS = "tests.benchmarks.programs"
THREADS = 2
DAMPED = {"method": "damped"}


def as_json(query: se.Query) -> dict[str, Any]:
    return {
        "catalog": str(query.catalog),
        "intersects": query.intersects,
        "datetime": query.datetime,
        "bands": list(query.bands or ()),
    }


def ours(query: se.Query, out: Path, settings: Mapping[str, str] = DAMPED, **resources: object) -> Measured:
    given = {"workers": THREADS, **resources}
    return measured(
        PROGRAMS, program="ours", query=as_json(query), settings=dict(settings), resources=given, out=str(out)
    )


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("settings", "limit"), [(DAMPED, 1.5), ({"method": "surface"}, 1.4), ({"appearance": "as_seen"}, 2.2)], ids=str
)
def test_whole_run_against_the_floor(settings: Mapping[str, str], limit: float, tmp_path: Path) -> None:
    query, days = catalog((2048, 2048), tmp_path / "catalog"), tmp_path / "days"
    (tmp_path / "floor").mkdir()
    own = ours(query, days, settings, memory="4GB")
    given = {"query": as_json(query), "days": days, "out": tmp_path / "floor", "threads": THREADS}
    floor = measured(PROGRAMS, program="floor", **given)
    print(f"\n2048 x 2048, 10 bands, 48 days, 12 scenes, {THREADS} threads, memory 4GB")
    for name, one in (("I/O floor", floor), (" ".join(settings.values()), own)):
        ratio = one.seconds / floor.seconds
        print(f"{name:12} {one.seconds:7.1f} s  {ratio:5.2f} x floor  {one.memory / 1e9:5.2f} GB")
    assert own.memory <= 4e9
    assert own.seconds <= limit * floor.seconds


@pytest.mark.benchmark
@pytest.mark.parametrize(("side", "memory"), [(1024, "730MB"), (1536, "1500MB")])
def test_against_what_one_would_write_instead(side: int, memory: str, tmp_path: Path) -> None:
    """The same files of every day, but thumbnails, items, checksums and uncertainty, which only this package writes."""
    query = catalog((side, side), tmp_path / "catalog", ("B02", "B03", "B04", "B08"))
    found = {"this package": ours(query, tmp_path / "out", memory=memory)}
    for name, program in (("the bands alone", "naive"), ("the same files", "naive_files")):
        place = tmp_path / program
        place.mkdir()
        found[f"stackstac and xarray, {name}"] = measured(PROGRAMS, program=program, query=as_json(query), out=place)
    own, _, same = found.values()
    print(f"\n{side} x {side}, 4 bands, 48 days, 12 scenes, memory {memory}")
    for name, one in found.items():
        print(
            f"{name:38} {one.seconds:7.1f} s  {one.seconds / own.seconds:5.2f} x  {one.memory / 1e9:5.2f} GB  "
            f"{one.memory / own.memory:5.2f} x"
        )
    assert same.seconds >= 6 * own.seconds
    assert same.memory >= 5 * own.memory


@pytest.mark.benchmark
def test_memory_stays_under_the_budget_and_time_grows_with_the_pixels(tmp_path: Path) -> None:
    rates = {}
    print("\n3 bands, 48 days, 12 scenes, memory 2GB")
    for shape in ((1024, 1024), (4096, 4096), (10980, 2048)):
        place = tmp_path / f"{shape[0]}"
        query = catalog(shape, place / "catalog", ("B02", "B03", "B04"))
        one = ours(query, place / "out", memory="2GB")
        rates[shape] = one.seconds / (shape[0] * shape[1]) * 1e6
        print(
            f"{shape[0]:6} x {shape[1]:5} {one.seconds:7.1f} s  {rates[shape]:5.2f} s/Mpx  {one.memory / 1e9:5.2f} GB"
        )
        assert one.memory <= 2e9
    assert rates[10980, 2048] <= 1.15 * rates[1024, 1024]


@pytest.mark.benchmark
def test_two_worker_processes_against_one(tmp_path: Path) -> None:
    query = catalog((2048, 2048), tmp_path / "catalog", ("B02", "B03", "B04", "B08"))
    one, two = (ours(query, tmp_path / str(n), memory="4GB", scheduler="processes", workers=n) for n in (1, 2))
    print(f"\none process {one.seconds:.1f} s, two {two.seconds:.1f} s: {one.seconds / two.seconds:.2f} times as fast")
    assert two.seconds * 1.7 <= one.seconds
