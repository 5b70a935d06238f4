"""Every figure of the film, computed a second time by its specification on the same looks and reconstructions."""

from typing import Any

import numpy as np
import pytest

from spaceeye_stac.evaluation.baselines import Estimate
from spaceeye_stac.evaluation.clouds import planted_cloud, score_clouds
from spaceeye_stac.evaluation.comparison import scored
from spaceeye_stac.evaluation.consistency import consistency, fidelity
from spaceeye_stac.evaluation.events import DRAW, score_events
from spaceeye_stac.evaluation.film import film_of
from spaceeye_stac.evaluation.planted import event_blocks, event_spectra, plant_cloud
from spaceeye_stac.evaluation.runs import score_runs
from spaceeye_stac.evaluation.scores import Scores
from spaceeye_stac.evaluation.trial import Trial
from spaceeye_stac.model import Window
from tests.support.daily_prototype import daily_prototype
from tests.support.seasonal_looks import BANDS, doubting, seasonal, trial_of

LOOKS = seasonal()
STACK = LOOKS.values, LOOKS.clear, np.array(LOOKS.days)


@pytest.fixture(scope="module")
def trial() -> Trial:
    return trial_of(LOOKS, "linear", doubting())


@pytest.fixture(scope="module")
def specified() -> dict[str, Any]:
    return daily_prototype()


@pytest.fixture(scope="module")
def good(specified: dict[str, Any]) -> list[int]:
    return list(specified["good_dates"](*STACK, list(BANDS)))


def method(specified: dict[str, Any]) -> tuple[int, Any]:
    """What `doubting` gives, from the specification's own linear interpolation."""

    def fill(values: Any, clear: Any, days: Any, out: Any, **_: Any) -> dict[str, Any]:
        found = specified["linear"](values, clear, days, out)["val"]
        half = np.full(found[:, 0].shape, 0.01)
        score = {day: values[0, n] * 60 for n, day in enumerate(days)}
        return {"val": found, "widths": [(half, 2 * half)] * len(out), "score": score}

    return 48, fill


def close(mine: Any, theirs: Any) -> None:
    assert mine["median"] == pytest.approx(theirs["median"], abs=1e-6)
    assert mine["p90"] == pytest.approx(theirs["p90"], abs=1e-6)
    assert mine["n"] == theirs["n"]


def test_good_dates_are_those_of_the_specification(trial: Trial, good: list[int]) -> None:
    assert trial.good == good
    assert 10 <= len(good) < int((LOOKS.clear.mean((1, 2)) >= 0.6).sum())
    assert 10 not in good


def test_hidden_runs(trial: Trial, specified: dict[str, Any], good: list[int]) -> None:
    found = score_runs(trial)
    expected = specified["hidden_runs"](method(specified), *STACK, list(BANDS), good, n=16, lens=(2, 3, 4))
    for length in (2, 3, 4):
        for which in ("all", "good"):
            mine, theirs = found[str(length)][which]["linear"], expected[length][which]
            assert mine["n_dates"] == theirs["dates"] > 3
            assert mine["psnr"] == pytest.approx(theirs["psnr"], abs=1e-4)
            close(mine["index"], theirs["ndvi"])
            close(mine["bands"], theirs["bands"])


@pytest.fixture(scope="module")
def scores(trial: Trial) -> Scores:
    return scored(trial)


def test_single_dates_and_their_intervals(scores: Scores, specified: dict[str, Any], good: list[int]) -> None:
    assert scores.film is not None
    expected = specified["coverage"](method(specified), *STACK, list(BANDS), good, n=99)
    for which in ("all", "good"):
        mine = scores.film.hidden["1"][which]["doubting"]["coverage"]
        assert mine["68"] == pytest.approx(expected[which]["c68"], abs=1e-6)
        assert mine["90"] == pytest.approx(expected[which]["c90"], abs=1e-6)
        assert 0.3 < mine["68"] < mine["90"] < 1


def test_cloud_shapes(scores: Scores, specified: dict[str, Any], good: list[int]) -> None:
    assert scores.film is not None
    expected = specified["cloud_shapes"](method(specified), *STACK, list(BANDS), good, n=99)
    for which in ("all", "good"):
        mine, theirs = scores.film.hidden["cloud"][which]["linear"], expected[which]
        assert mine["psnr"] == pytest.approx(theirs["psnr"], abs=1e-4)
        assert mine["n_dates"] == theirs["dates"]
        close(mine["index"], theirs["ndvi"])
    assert scores.as_json()["cloud"]["linear"]["psnr"] == pytest.approx(expected["all"]["psnr"], abs=1e-4)


def noisy(day: int) -> Estimate:
    """Images that follow nothing, and jump."""
    rng = np.random.default_rng(day)
    base = np.array([0.06, 0.07, 0.25, 0.2])[:, None, None]
    return Estimate((base * (1 + 0.05 * rng.normal(size=(4, *LOOKS.clear.shape[1:])))).astype(np.float32))


def test_consistency_and_fidelity(trial: Trial, specified: dict[str, Any], good: list[int]) -> None:
    one = doubting()
    windows = [Window(range(300), range(300))]
    for prepare in (one.prepare, lambda _looks, _span: lambda _read: noisy):
        film = film_of(type(one)(one.name, one.settings, prepare), LOOKS, windows, trial.index)
        days = range(LOOKS.days[0], LOOKS.days[-1] + 1)
        shown = np.stack([prepare(LOOKS, days)(range(300))(day).values for day in days], axis=1)
        theirs = specified["consistency"](shown, *STACK, list(BANDS), good)
        mine, near = consistency(film, LOOKS, trial.index), fidelity(film, LOOKS, trial.good, trial.index)
        assert mine is not None
        assert mine["jump"]["median"] == pytest.approx(theirs["jump_mean"]["median"], abs=1e-6)
        assert mine["jump"]["max"] == pytest.approx(theirs["jump_mean"]["max"], abs=1e-6)
        close(mine["jump_pixel"], theirs["jump_pixel"])
        assert mine["roughness"] == pytest.approx(theirs["roughness_per_year"], rel=1e-4)
        assert mine["outside_005"] == pytest.approx(theirs["outside_005"], abs=1e-5)
        assert mine["outside_010"] == pytest.approx(theirs["outside_010"], abs=1e-5)
        assert mine["n_between"] == theirs["between_n"] > 10_000
        close(near["index"], theirs["fidelity_ndvi"])
        close(near["bands"], theirs["fidelity_bands"])
        close(near["mean"], theirs["fidelity_mean"])
    assert theirs["outside_005"] > 0.05


@pytest.mark.parametrize("target", [4, 12, 20])
def test_a_cloud_is_planted_as_specified(target: int, specified: dict[str, Any]) -> None:
    planted, effect = plant_cloud(LOOKS, target, np.random.default_rng([7, target, 9]))
    expected, theirs = specified["plant_alt"](*STACK, target, list(BANDS), 7)
    assert np.abs(theirs).max() > 0.04
    np.testing.assert_allclose(effect, theirs, atol=1e-5)
    np.testing.assert_allclose(planted.values, expected, atol=1e-5)


def test_planted_clouds(trial: Trial, specified: dict[str, Any], good: list[int]) -> None:
    def plant(values: Any, _clear: Any, _days: Any, target: int, _bands: Any, _seed: int) -> tuple[Any, Any]:
        cloud, changed = planted_cloud(trial, target), values.copy()
        changed[:, target] = cloud.cloudy.values[:, cloud.target]
        return changed, cloud.effect

    specified = daily_prototype({"plant_cloud(v, c, d, t, bands, 1)": "PLANT(v, c, d, t, bands, 1)"}, PLANT=plant)
    theirs = specified["clouds"](method(specified), *STACK, list(BANDS), good, n=14)
    mine = score_clouds(trial)["doubting"]
    close(mine["planted"]["index"], theirs["planted"])
    close(mine["day"]["index"], theirs["left_day"])
    close(mine["near"]["index"], theirs["left_near"])
    close(mine["against_clean"]["index"], theirs["day_against_clean_look"])
    assert mine["suspect"]["auc"] == pytest.approx(theirs["auc"], abs=1e-6)
    assert 0.5 < mine["suspect"]["auc"] < 1
    assert score_clouds(trial)["linear"]["suspect"] is None


@pytest.mark.parametrize("kind", ["mowing", "dark soil", "green", "bright sheet"])
def test_planted_events(kind: str, trial: Trial, good: list[int]) -> None:
    placed = (
        "y0, x0 = rng.integers(2, H - 12), rng.integers(2, W - 12); "
        "blk = np.zeros((H, W), bool); blk[y0:y0 + 9, x0:x0 + 9] = True"
    )
    specified = daily_prototype(
        {
            placed: "blk = BLOCK(t)",
            ".mean(1)\n    for looks in": ".mean(1); soil = SPEC\n    for looks in",
            "r >= .5": "r.round(4) >= .5",
        },
        BLOCK=lambda t: event_blocks(LOOKS.clear.shape[1:], np.random.default_rng([0, DRAW, t]))[kind],
        SPEC=event_spectra(LOOKS, BANDS)[kind],
    )
    expected = specified["events"](method(specified), *STACK, list(BANDS), good, n=8)
    mine = score_events(trial)[kind]
    for seen, looks in (("1", 1), ("2", 2), ("3", 3), ("all", 99)):
        one, theirs = mine[seen]["doubting"], expected[looks]
        assert one["n"] == theirs["n"] > 2
        for name, other in (("kept", "kept"), ("kept_p10", "kept_p10"), ("leak", "leak_before"), ("never", "never")):
            assert one[name] == pytest.approx(theirs[other], abs=1e-5)
        assert one["delay"] == pytest.approx(theirs["delay"], abs=1e-6)
        assert one["flagged"] == pytest.approx(theirs["flagged"], abs=1e-6)


def test_mowing_leads_to_the_barest_ground() -> None:
    shortwave = LOOKS.values[3].sum(axis=0) / LOOKS.clear.sum(axis=0)
    brightest = np.argsort(shortwave.ravel())[-5:]
    mean = LOOKS.values.sum(axis=1) / LOOKS.clear.sum(axis=0)
    bare = event_spectra(LOOKS, BANDS)["mowing"]
    assert bare[3] <= mean[3].ravel()[brightest].max()
    assert bare[3] >= np.quantile(shortwave, 0.95)
