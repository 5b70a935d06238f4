"""Errors of a film against the known surface: by plain loops, by the table of the reference material, of methods."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.simulation import GROUPS, Farmland, KnownStack, PlantedEvent, TruthErrors, Weather, truth_errors
from tests.support.films import line_film, product_film
from tests.support.prototypes import prototype

SMALL = Farmland(shape=(12, 16), days=40, seed=2, weather=Weather(0.5, 0.8))
SEEDS = (11, 12, 13)


def looped(known: KnownStack, film: np.ndarray) -> dict[str, list[float]]:
    """Each group of errors, a pixel and day at a time."""
    found: dict[str, list[float]] = {group: [] for group in (*GROUPS, "blue")}
    red, infrared = known.bands.index("B04"), known.bands.index("B08")
    for n, y, x in np.ndindex(known.truth.shape[1:]):
        day = known.days[n]
        image, truth = film[:, n, y, x].astype(float), known.truth[:, n, y, x].astype(float)
        if np.isnan(image[red]):
            continue
        error = (image[infrared] - image[red]) / (image[infrared] + image[red])
        error -= (truth[infrared] - truth[red]) / (truth[infrared] + truth[red])
        for event in known.events:
            if 0 <= day - event.day < 10 and event.pixels[y, x]:
                found[event.kind].append(error)
        if any(0 <= day - event.day < 10 and event.pixels[y, x] for event in known.events):
            found["after_event"].append(error)
        if truth[infrared] <= 0.08:
            continue
        bad = {d for k, d in enumerate(known.acquisition_days) if known.undetected[k, y, x]}
        seen = {d for k, d in enumerate(known.acquisition_days) if known.clear[k, y, x]}
        groups = {
            "all": True,
            "between": day not in known.acquisition_days,
            "seen_clean": day in seen - bad,
            "seen_undetected": day in bad,
            "hidden": day in known.acquisition_days and day not in seen,
            "beside_undetected": day not in bad and bool({day - 2, day - 1, day + 1, day + 2} & bad),
        }
        for group in (group for group, holds in groups.items() if holds):
            found[group].append(error)
        if day in bad:
            found["blue"].append(image[0] - truth[0])
    return found


@pytest.mark.parametrize("days", [range(40), range(9, 31)])
def test_the_groups_are_those_of_a_plain_loop(days: range) -> None:
    known = SMALL.stack(days)
    flooded = np.zeros(SMALL.shape, bool)
    flooded[:5, :4] = True
    water = known.truth.copy()
    water[:, 12:20, :5, :4] = 0.02
    shifts = {"flood": 12, "burn": -4, "mow": 14, "harvest": len(days) - 3}
    events = tuple(PlantedEvent(kind, days[0] + shift, flooded) for kind, shift in shifts.items())
    known = replace(known, events=(*known.events, *events), truth=water)
    film = known.truth + np.random.default_rng(1).normal(0, 0.004, known.truth.shape).astype(np.float32)
    film[:, 3, 2:6] = np.nan
    found, expected = truth_errors(known, film), looped(known, film)
    assert set(found.ndvi) == set(GROUPS)
    for group in GROUPS:
        assert expected[group], f"no pixel of {group}: nothing is tested"
        np.testing.assert_allclose(np.sort(found.ndvi[group]), np.sort(expected[group]), atol=2e-6, err_msg=group)
    np.testing.assert_allclose(np.sort(found.blue), np.sort(expected["blue"]), atol=1e-6)
    summary = found.summary()
    assert summary["all"].median == pytest.approx(np.median(np.abs(expected["all"])), abs=1e-5)
    assert summary["all"].p90 == pytest.approx(np.quantile(np.abs(expected["all"]), 0.9), abs=1e-5)
    assert summary["blue"].count == len(expected["blue"])


def test_the_truth_itself_has_no_error() -> None:
    known = SMALL.stack()
    assert all(s.median == s.p90 == 0 for s in truth_errors(known, known.truth).summary().values() if s.count)


def test_a_film_must_fit_its_truth() -> None:
    known = SMALL.stack(range(10))
    with pytest.raises(InvalidInputError, match=r"The film is \(10, 9, 12, 16\), and the truth \(10, 10, 12, 16\)"):
        truth_errors(known, known.truth[:, 1:])
    blind = replace(SMALL, bands=("B02", "B11")).stack(range(10))
    with pytest.raises(InvalidInputError, match="bands B02,B11 give no NDVI; add B04 and B08, or B05 and B8A"):
        truth_errors(blind, blind.truth)


def test_the_red_edge_stands_in_and_what_is_not_there_counts_nowhere() -> None:
    known = replace(SMALL, bands=("B05", "B8A")).stack(range(10))
    found = truth_errors(known, known.truth * np.array([1.1, 1], np.float32)[:, None, None, None])
    assert found.summary()["all"].median > 0.01
    assert found.summary()["blue"].count == 0
    assert np.isnan(found.summary()["blue"].median)
    nothing = truth_errors(known, np.full_like(known.truth, np.nan))
    assert all(group.count == 0 for group in nothing.summary().values())


def test_several_films_are_pooled() -> None:
    known = SMALL.stack()
    one, other = (truth_errors(known, known.truth * np.float32(by)) for by in (1, 0.5))
    both = TruthErrors.pooled([one, other])
    assert both.summary()["all"].count == 2 * one.summary()["all"].count
    np.testing.assert_array_equal(both.blue, np.concatenate([one.blue, other.blue]))


# median and 90th percentile of |NDVI error|, from the table "simulator (seeds 11-13)" of the reference material
LINEAR = {
    "all": (0.015, 0.082),
    "between": (0.015, 0.084),
    "seen_clean": (0.014, 0.035),
    "seen_undetected": (0.096, 0.295),
    "hidden": (0.015, 0.079),
    "beside_undetected": (0.053, 0.197),
    "after_event": (0.024, 0.131),
    "mow": (0.033, 0.187),
    "harvest": (0.018, 0.069),
    "burn": (0.042, 0.216),
    "flood": (0.100, 0.398),
}
DAMPED = {
    "all": (0.022, 0.100),
    "between": (0.022, 0.093),
    "seen_clean": (0.014, 0.035),
    "seen_undetected": (0.093, 0.283),
    "hidden": (0.033, 0.128),
    "beside_undetected": (0.049, 0.173),
}


def known_prototype(seed: int) -> KnownStack:
    found = prototype("daily_sim").simulate(seed)
    days = tuple(int(day) for day in found["days"])
    every = range(days[0], days[-1] + 1)
    events = tuple(PlantedEvent(kind, day, found["parcel"] == parcel) for kind, parcel, day in found["events"])
    truth = found["truth"][:, every.start : every.stop]
    return KnownStack(tuple(found["bands"]), found["looks"], found["clear"], days, truth, every, found["bad"], events)


def test_the_table_of_the_reference_material_comes_out_of_its_own_simulator() -> None:
    """Lines in time over the whole range; there over windows of 48 days, from every eleventh value, events apart."""
    films = []
    for seed in SEEDS:
        known = known_prototype(seed)
        films.append(truth_errors(known, line_film(known)))
    summary = TruthErrors.pooled(films).summary()
    for group, (median, p90) in LINEAR.items():
        assert summary[group].median == pytest.approx(median, rel=0.06, abs=0.0006), group
        assert summary[group].p90 == pytest.approx(p90, rel=0.05, abs=0.0006), group
    assert summary["blue"].median == pytest.approx(0.0498, abs=0.0006)


@pytest.mark.slow
def test_methods_err_on_the_farmland_as_on_the_prototype(tmp_path: Path) -> None:
    """Linear and damped on every day of other seasons than those of the table: as near to it as seasons are alike."""
    lines, damped = [], []
    for seed in SEEDS:
        farmland = Farmland(seed=seed, bands=("B02", "B04", "B08"))
        known, catalog = farmland.stack(), farmland.write(tmp_path / str(seed))
        lines.append(truth_errors(known, line_film(known)))
        film = product_film(farmland, catalog, se.Settings(method="damped"), known.days)
        damped.append(truth_errors(known, film))
    for errors, table in ((lines, LINEAR), (damped, DAMPED)):
        summary = TruthErrors.pooled(errors).summary()
        for group in DAMPED:
            median, p90 = table[group]
            assert summary[group].median == pytest.approx(median, rel=0.2), group
            assert summary[group].p90 == pytest.approx(p90, rel=0.2), group
        assert summary["blue"].median == pytest.approx(0.0490, rel=0.15)
        assert summary["flood"].median > 2 * summary["all"].median
