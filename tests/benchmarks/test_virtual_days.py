"""What virtual days cost against files, in one sitting: the processor's seconds from keyframes to days, and bytes."""

from collections import Counter
from pathlib import Path

import pytest

from tests.benchmarks.catalogs import catalog
from tests.benchmarks.measured import measured
from tests.benchmarks.test_run_speed import PROGRAMS, as_json

SIDE = 1024


@pytest.mark.benchmark
def test_virtual_days_take_half_the_time_and_a_quarter_of_the_room(tmp_path: Path) -> None:
    query = as_json(catalog((SIDE, SIDE), tmp_path / "catalog"))
    seconds, room = {}, {}
    print(f"\n{SIDE} x {SIDE}, 10 bands, 48 days, 12 scenes")
    for days in ("files", "virtual"):
        out = tmp_path / days
        seconds[days] = measured(PROGRAMS, program="writing", query=query, days=days, out=out).seconds
        room[days] = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        kinds = Counter[str]()
        for path in out.rglob("*.*"):
            kinds[path.name if path.parent.name.startswith("spaceeye") and "B" not in path.name else path.suffix] += (
                path.stat().st_size
            )
        largest = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in kinds.most_common(6))
        print(f"{days:8} {seconds[days]:6.1f} s of the processor, {room[days] / 1e6:6.1f} MB ({largest})")
    print(f"files over virtual: {seconds['files'] / seconds['virtual']:.2f} x, {room['files'] / room['virtual']:.2f} x")
    assert seconds["files"] >= 2 * seconds["virtual"]
    assert room["files"] >= 4 * room["virtual"]
