"""Causal methods in an evaluation: what comes after a day has no part in what is scored of it."""

import numpy as np
import pytest

import spaceeye_stac as se
from spaceeye_stac.evaluation.candidates import Candidate, candidates
from spaceeye_stac.evaluation.film import film_of
from spaceeye_stac.evaluation.holdout import score
from spaceeye_stac.evaluation.looks import LookStack, vegetation_index
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.keyframes import laid_windows
from spaceeye_stac.query import parse_datetime
from tests.support.still_landscape import BANDS, DAYS, landscape

ASKED = parse_datetime("2020-01-01/2020-06-01")
SETTINGS = se.Settings(duration=20, causal=True)
NAMES = ["nearest", "linear", "damped", "surface"]
CAUSAL = ["nearest, causal", "damped, causal", "surface, causal"]


def looks_of(noise: float = 0.02) -> LookStack:
    values, clear = landscape(noise)
    return LookStack(values, clear, tuple(DAYS), np.full(len(DAYS), clear[0].size))


@pytest.fixture(scope="module")
def tried() -> dict[str, Candidate]:
    return candidates([*NAMES, "reference"], SETTINGS, BANDS)


def test_each_method_that_can_be_is_scored_as_both(tried: dict[str, Candidate]) -> None:
    assert list(tried) == [*NAMES, "reference", *CAUSAL]
    assert [name for name, one in tried.items() if one.settings.causal] == CAUSAL
    assert list(candidates(NAMES, se.Settings(), BANDS)) == NAMES


@pytest.mark.parametrize("name", CAUSAL)
def test_later_looks_change_nothing(name: str, tried: dict[str, Candidate]) -> None:
    looks, n = looks_of(), len(DAYS) // 2
    day = DAYS[n]
    other = LookStack(looks.values.copy(), looks.clear, looks.days, looks.observed)
    other.values[:, n + 1 :] = np.where(looks.clear[n + 1 :], 0.9, 0).astype(np.float32)
    read = range(min(DAYS), max(DAYS) + 1)
    one, changed = (tried[name].window(found, read) for found in (looks, other))
    for asked in (DAYS[n - 1], day, day + 1):
        if asked < DAYS[n + 1]:
            np.testing.assert_array_equal(one(asked).values, changed(asked).values)
    assert not np.array_equal(one(DAYS[n + 2]).values, changed(DAYS[n + 2]).values)
    usual = tried[name.removesuffix(", causal")]
    one, changed = (usual.window(found, read) for found in (looks, other))
    assert not np.array_equal(one(day - 1).values, changed(day - 1).values) or "nearest" in name


def test_a_hidden_date_is_given_no_look_after_it(tried: dict[str, Candidate]) -> None:
    looks = looks_of()
    asked = []

    def spy(values, clear, days, target):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        asked.append((days[-1], days[target], days[target] - days[0]))
        return tried["nearest"].reconstructor()(values, clear, days, target)

    usual = tried["nearest"].reconstructor()
    found = score(
        looks.values, looks.clear, looks.days, {"usual": usual, "ends": spy}, bands=BANDS, duration=20, causal={"ends"}
    )
    assert asked
    assert all(last == target and before < 20 for last, target, before in asked)
    assert {case.kind for case in found.cases} == {"cloud", "date", "edge"}


def test_the_film_of_a_causal_method_is_that_of_each_days_own_window(tried: dict[str, Candidate]) -> None:
    looks, one, index = looks_of(), tried["damped, causal"], vegetation_index(BANDS)
    windows = laid_windows(ASKED, looks.days, one.settings)
    film = film_of(one, looks, windows, index)
    trial = Trial(looks, tuple(BANDS), ASKED, tried)
    for n in (3, len(DAYS) // 2):
        day = DAYS[n]
        alone = one.window(looks, trial.reads(one.name, day))(day).values
        np.testing.assert_array_equal(film.acquired[:, n], alone)
