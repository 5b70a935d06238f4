"""Ratios in one run: bare solve, surface and reference, and a copy of the daily output in memory."""

import time
from collections.abc import Callable

import pytest
import torch

from spaceeye_stac.methods.base import CellLooks
from spaceeye_stac.methods.reference import iterate
from spaceeye_stac.methods.solver import solve
from spaceeye_stac.methods.surface import SURFACE
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.settings import Settings

NAMES = DEFAULT_BANDS
BANDS, DAYS, SIDE = len(NAMES), 48, 448
ACQUISITIONS = tuple(range(1, 48, 5))


def best(task: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.benchmark
def test_methods() -> None:
    rng = torch.Generator().manual_seed(0)
    base = torch.rand(BANDS, 1, SIDE, SIDE, generator=rng) * 0.4 + 0.05
    values = base * (0.8 + 0.4 * torch.rand(1, len(ACQUISITIONS), 1, 1, generator=rng))
    clear = torch.rand(len(ACQUISITIONS), SIDE, SIDE, generator=rng) < 0.6
    source, target = (torch.rand(BANDS, DAYS, SIDE, SIDE) for _ in range(2))
    copy = best(lambda: target.copy_(source), 5)
    bare = best(lambda: solve(values, clear, ACQUISITIONS), 10)
    looks = CellLooks(values * clear, clear, ACQUISITIONS, range(DAYS), bands=NAMES)
    surface = best(lambda: SURFACE.solve(looks, Settings()), 3)
    reference = best(lambda: iterate(values, clear, ACQUISITIONS, DAYS), 1)
    print(f"\n{BANDS} bands x {DAYS} days x {SIDE} x {SIDE}, {len(ACQUISITIONS)} acquisitions")
    for name, took in (("copy of the days", copy), ("solve", bare), ("surface", surface), ("reference", reference)):
        print(f"{name:18} {took:8.3f} s   {took / bare:7.1f} x solve   {took / copy:7.1f} x copy")
    assert reference >= 40 * bare
    assert surface <= 60 * bare
    assert bare <= 6 * copy
