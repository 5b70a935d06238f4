"""Errors of every day of simulated farmland, by method: seasons 11 to 13, and 21 to 23 under another atmosphere."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import spaceeye_stac as se
from spaceeye_stac.settings import METHOD_DURATION
from spaceeye_stac.simulation import Atmosphere, ErrorSummary, Farmland, TruthErrors, truth_errors
from tests.support.films import line_film, product_film

SHOWN = ("all", "between", "seen_clean", "seen_undetected", "hidden", "beside_undetected", "after_event")
# `reference` is the same minimum, iterated
METHODS = [
    (name, appearance)
    for name in METHOD_DURATION
    if name != "reference"
    for appearance in (("as_seen",) if name == "damped" else ("as_seen", "smooth"))
]


def show(name: str, errors: Sequence[TruthErrors], seconds: float) -> dict[str, ErrorSummary]:
    summary = TruthErrors.pooled(errors).summary()
    figures = " | ".join(f"{summary[group].median:.3f}/{summary[group].p90:.3f}" for group in SHOWN)
    events = " ".join(f"{kind} {summary[kind].median:.3f}/{summary[kind].p90:.3f}" for kind in list(summary)[7:11])
    print(f"| {name:15} | {figures} | {summary['blue'].median:.4f} | {events} | {seconds:.0f} s")
    return summary


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "seasons",
    [
        pytest.param([Farmland(seed=seed) for seed in (11, 12, 13)], id="usual"),
        pytest.param([Farmland(seed=seed, atmosphere=Atmosphere.drawn(5)) for seed in (21, 22, 23)], id="drawn"),
    ],
)
def test_every_day_against_the_known_surface(seasons: list[Farmland], tmp_path: Path) -> None:
    print(
        f"\n|NDVI error|, median/90th percentile: {', '.join(SHOWN)}, B02 on undetected cloud; by kind of event; time"
    )
    known = [farmland.stack() for farmland in seasons]
    catalogs = [farmland.write(tmp_path / str(farmland.seed)) for farmland in seasons]
    start = time.perf_counter()
    lines = [truth_errors(one, line_film(one)) for one in known]
    line = show("linear", lines, time.perf_counter() - start)
    for name, appearance in METHODS:
        start = time.perf_counter()
        settings = se.Settings(method=name, appearance=appearance)
        errors = [
            truth_errors(one, product_film(farmland, catalog, settings, one.days))
            for one, farmland, catalog in zip(known, seasons, catalogs, strict=True)
        ]
        summary = show(f"{name} {appearance}", errors, time.perf_counter() - start)
        assert summary["all"].p90 < 1.5 * line["all"].p90
        if appearance == "smooth":
            assert summary["seen_undetected"].p90 < 0.5 * line["seen_undetected"].p90
