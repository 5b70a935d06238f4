"""The film as a run makes it, and what its figures must be whatever the looks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.evaluation import candidates as candidates_file
from spaceeye_stac.evaluation.baselines import Estimate, linear_on, nearest_on
from spaceeye_stac.evaluation.candidates import candidates, default_methods
from spaceeye_stac.evaluation.clouds import PlantedCloud, planted_cloud, roc, score_clouds
from spaceeye_stac.evaluation.comparison import scored
from spaceeye_stac.evaluation.consistency import consistency, fidelity
from spaceeye_stac.evaluation.events import score_events
from spaceeye_stac.evaluation.film import Film, film_of, film_step
from spaceeye_stac.evaluation.looks import LookStack, good_dates, line_between, spread_evenly, vegetation_index
from spaceeye_stac.evaluation.runs import hidden_runs, score_runs
from spaceeye_stac.evaluation.threads import side_by_side
from spaceeye_stac.evaluation.trial import Trial, centred
from spaceeye_stac.keyframes.windows import windows_of
from spaceeye_stac.methods.base import Method, State, WholeCellRun
from spaceeye_stac.model import Window
from spaceeye_stac.pixels.first_pass import observe_part
from spaceeye_stac.query import parse_datetime
from tests.support.material import BE_BBOX
from tests.support.seasonal_looks import ASKED, BANDS, doubting, of_rule, seasonal, trial_of

BE_ALL = "2017-08-04/2018-11-27"


def read(catalog: Path, datetime: str, bands: list[str] | None = None) -> tuple[Any, se.Query, LookStack, list[str]]:
    query = se.Query(catalog=catalog, bbox=BE_BBOX, datetime=datetime, bands=bands)
    whole = se.Settings(duration="all")
    scenes = se.search(query, whole)
    job = grid_job(scenes, query, whole)
    seen = observe_part(job, job.grid.geobox)
    return scenes, query, LookStack(seen.values, seen.clear, job.acquisition_days, seen.observed), list(job.bands)


def brighter(values: Any, clear: Any, _days: Any) -> Any:
    return torch.where(clear, values, 0.3)


@pytest.mark.parametrize("method", ["damped", "surface", brighter, "reference"])
def test_a_film_shows_what_a_run_publishes(method: Any, belgium: Path) -> None:
    scenes, query, looks, bands = read(belgium, "2018-04-11/2018-06-20", ["B04", "B08"])
    settings = se.Settings(method=method, duration=32)
    published = se.interpolate(scenes, query, settings)["reflectance"].to_numpy()
    (one,) = candidates([method], se.Settings(duration=32), tuple(bands)).values()
    index = vegetation_index(bands)
    assert index is not None
    windows = windows_of(query.days, one.settings)
    assert len(windows) > 3
    film = film_of(one, looks, windows, index, workers=2)
    assert film.index is not None
    published = published[film.days.start : film.days.stop].swapaxes(0, 1)
    # reference is truncated to whole DN when it is published
    tolerance = 1.1e-4 if method == "reference" else 2e-6
    for n, day in enumerate(looks.days):
        np.testing.assert_allclose(film.acquired[:, n], published[:, day - film.days.start], atol=tolerance)
    np.testing.assert_allclose(film.index, index.of(published), atol=tolerance * 20)
    assert np.isfinite(film.index).mean() > 0.99


# jump, roughness, outside, fidelity of the specification's tables for this stack, with its own first window
SPECIFIED = {"damped": (0, 0.0089, 2.98, 0.008, 0.0007, 0.0003)}


@pytest.mark.parametrize("method", SPECIFIED)
def test_figures_of_the_specification_on_a_real_stack(method: str, belgium: Path) -> None:
    first, jump, rough, outside, near, near_bands = SPECIFIED[method]
    _, query, looks, bands = read(belgium, BE_ALL)
    index = vegetation_index(bands)
    one = candidates([method], se.Settings(), ())[method]
    days = one.settings.window_days(query.days)
    starts = range(first - days // 2, len(query.days), days // 2)
    windows = [Window(range(s, s + days), range(s + days // 4, s + 3 * days // 4)) for s in starts]
    film = film_of(one, looks, windows, index, workers=2)
    found, close = consistency(film, looks, index), fidelity(film, looks, [], index)
    assert found is not None
    assert found["jump"]["median"] == pytest.approx(jump, abs=1e-4)
    assert found["roughness"] == pytest.approx(rough, abs=0.02)
    assert found["outside_005"] == pytest.approx(outside, abs=1e-3)
    assert close["index"]["median"] == pytest.approx(near, abs=1e-4)
    assert close["bands"]["median"] == pytest.approx(near_bands, abs=1e-4)


def truth_of(looks: LookStack) -> Any:
    """The images of looks without noise, linear between dates: what these looks are of."""
    return of_rule("perfect", lambda _part, day: linear_on(looks.values, looks.clear, looks.days, day).values)


def still() -> LookStack:
    """A landscape that does not change, under clouds."""
    looks = seasonal()
    ground = np.random.default_rng(1).uniform(0.05, 0.4, (4, 1, 40, 36)).astype(np.float32)
    return LookStack(np.where(looks.clear, ground, np.float32(0)), looks.clear, looks.days, looks.observed)


def test_a_perfect_film_has_no_error_and_no_number_that_json_lacks() -> None:
    looks = still()
    found = scored(trial_of(looks, truth_of(looks), workers=2)).as_json()
    json.dumps(found, allow_nan=False)
    film = found["film"]
    for kind in ("cloud", "1", "2", "3", "4"):
        row = film["hidden"][kind]["all"]["perfect"]
        assert row["index"]["p90"] == row["bands"]["p90"] == 0
        assert row["psnr"] is row["coverage"] is None
    flat = film["consistency"]["perfect"]
    assert flat["jump"]["max"] == pytest.approx(0, abs=1e-7)
    assert flat["roughness"] == pytest.approx(0, abs=1e-5)
    assert flat["outside_005"] == flat["outside_010"] == 0
    assert film["fidelity"]["perfect"]["index"]["p90"] == film["fidelity"]["perfect"]["mean"]["p90"] == 0
    clouds = film["clouds"]["perfect"]
    assert clouds["planted"]["index"]["median"] > 0.02
    assert (
        clouds["day"]["bands"]["p90"] == clouds["near"]["bands"]["p90"] == clouds["against_clean"]["bands"]["p90"] == 0
    )
    for seen in film["events"].values():
        for row in seen.values():
            assert row["perfect"]["kept"] == row["perfect"]["leak"] == 0
            assert row["perfect"]["never"] == 1
            assert row["perfect"]["delay"] is None


def test_a_film_of_the_looks_has_fidelity_0_and_jumps_where_they_do() -> None:
    looks = seasonal()
    trial = trial_of(looks, "nearest", "linear")
    for name in ("nearest", "linear"):
        film = film_of(trial.candidates[name], looks, windows_of(ASKED, se.Settings(duration=48)), trial.index)
        found = fidelity(film, looks, trial.good, trial.index)
        assert found["index"]["p90"] == found["bands"]["p90"] == found["mean"]["p90"] == 0
        assert found["index"]["n"] > 5000
    shown = consistency(film, looks, trial.index)
    assert shown is not None
    assert shown["outside_005"] == 0
    assert shown["jump"]["max"] > max(0.01, 3 * shown["jump"]["median"])  # the date with haze


def test_consistency_by_hand() -> None:
    """One row of 25 equal pixels, looks on days 0, 4 and 8, a film with one jump."""
    means = np.array([0.5, 0.5, 0.62, 0.5, 0.7, 0.5, 0.44, 0.5, 0.5], np.float32)
    red = np.full((1, 3, 1, 25), 0.1, np.float32)
    nir = np.full((1, 3, 1, 25), 0.3, np.float32)
    looks = LookStack(np.concatenate([red, nir]), np.ones((3, 1, 25), bool), (0, 4, 8), np.full(3, 25))
    index = vegetation_index(["B04", "B08"])
    film = Film(range(9), 1, means[:, None, None].repeat(25, axis=2), looks.values.copy())
    found = consistency(film, looks, index)
    assert found is not None
    assert found["jump"] == {"median": pytest.approx(0.2), "max": pytest.approx(0.2), "n": 1}
    assert found["roughness"] == pytest.approx(365 / 7 * np.abs(np.diff(means, 2)).sum(), rel=1e-5)
    # six unseen days between looks of 0.5: one off by 0.12, one by 0.06
    assert found["n_between"] == 6 * 25
    assert found["outside_005"] == pytest.approx(2 / 6)
    assert found["outside_010"] == pytest.approx(1 / 6)
    film.acquired[1, 1] += 0.1
    near = fidelity(film, looks, [1], index)
    assert near["index"] == {"median": pytest.approx(0.1), "p90": pytest.approx(0.1), "n": 25}
    assert near["mean"]["median"] == pytest.approx(0.1)
    assert near["bands"] == {"median": pytest.approx(0.05), "p90": pytest.approx(0.1), "n": 50}


def test_nothing_planted_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = seasonal()

    def nothing(trial: Trial, target: int) -> PlantedCloud:
        cloud = planted_cloud(trial, target)
        return PlantedCloud(cloud.target, cloud.clean, cloud.clean, cloud.effect)

    monkeypatch.setattr("spaceeye_stac.evaluation.clouds.planted_cloud", nothing)
    found = score_clouds(trial_of(looks, "linear", "damped", "surface", limit=3))
    for row in found.values():
        assert row["n_dates"] == 3
        assert row["planted"]["bands"]["p90"] == row["day"]["bands"]["p90"] == row["near"]["bands"]["p90"] == 0


def test_an_event_that_is_kept_in_part() -> None:
    """A film that takes 0.4 or 0.8 of the nearest look keeps so much of any event, from the middle of the gap on."""
    looks = still()
    looks = LookStack(
        looks.values[:, :1].repeat(len(looks.days), axis=1), looks.clear | True, looks.days, looks.observed
    )

    def part(share: float) -> Any:
        return of_rule(
            f"{share:g}", lambda part, day: share * nearest_on(part.values, part.clear, part.days, day).values
        )

    found = score_events(trial_of(looks, part(0.4), part(0.8)))
    for seen in found.values():
        for rows in seen.values():
            assert rows["0.4"]["kept"] == pytest.approx(0.4, abs=1e-5)
            assert rows["0.8"]["kept_p10"] == pytest.approx(0.8, abs=1e-5)
            assert rows["0.4"]["leak"] == rows["0.8"]["leak"] == 0
            assert (rows["0.4"]["never"], rows["0.8"]["never"]) == (1, 0)
            assert 0.5 <= rows["0.8"]["delay"] <= 1


def test_what_is_drawn_follows_from_the_seed_alone() -> None:
    looks, other = seasonal(), doubting()
    one, same = (scored(trial_of(looks, *tried, limit=3)).film for tried in (["linear"], ["linear", other]))
    another = scored(trial_of(looks, "linear", limit=3, seed=1)).film
    parallel = scored(trial_of(looks, "linear", limit=3, workers=3)).film
    assert one is not None
    assert same is not None
    assert another is not None
    assert one == parallel
    for part in ("clouds", "consistency", "fidelity"):
        assert getattr(one, part)["linear"] == getattr(same, part)["linear"]
    for kind in one.hidden:
        assert one.hidden[kind]["all"]["linear"] == same.hidden[kind]["all"]["linear"]
    assert one.clouds["linear"] != another.clouds["linear"]
    assert one.consistency == another.consistency


def test_bands_alone_are_scored_without_an_index() -> None:
    looks = seasonal()
    part = LookStack(looks.values[[0, 3]], looks.clear, looks.days, looks.observed)
    found = scored(trial_of(part, "linear", bands=("B02", "B11"), limit=4)).as_json()["film"]
    json.dumps(found, allow_nan=False)
    assert found["index"] is None
    assert found["consistency"] == {"linear": None}
    assert found["fidelity"]["linear"]["index"] is None
    assert found["fidelity"]["linear"]["bands"]["n"] > 1000
    row = found["hidden"]["2"]["all"]["linear"]
    assert row["index"] is None
    assert 0.001 < row["bands"]["median"] < 0.1
    assert found["clouds"]["linear"]["day"]["bands"]["median"] > 0.005
    assert found["events"]["green"]["all"]["linear"]["kept"] == pytest.approx(1, abs=0.01)


def test_each_method_has_its_own_window_and_a_given_one_wins() -> None:
    looks = seasonal()
    named = ["linear", "damped", "surface"]

    def windows(duration: Any) -> dict[str, int]:
        return Trial(looks, BANDS, ASKED, candidates(named, se.Settings(duration=duration), ())).windows

    assert windows(None) == {"linear": 48, "damped": 48, "surface": 96}
    assert windows(30) == dict.fromkeys(named, 30)
    assert windows("all") == dict.fromkeys(named, len(ASKED))
    assert "reference" not in default_methods()
    assert default_methods()[:2] == ["nearest", "linear"]
    assert {"damped", "surface"} < set(default_methods())


def test_a_hidden_run_is_kept_from_the_methods() -> None:
    looks = seasonal()
    asked: list[tuple[LookStack, int]] = []

    def spying(part: LookStack, day: int) -> Any:
        asked.append((part, day))
        return part.values[:, 0]

    trial = trial_of(looks, of_rule("spy", spying), limit=1)
    runs = [run for length in (2, 3, 4) for run in hidden_runs(trial, length)]
    score_runs(trial)
    assert [day for _, day in asked] == [looks.days[t] for run in runs for t in run.targets]
    of_asked = [run for run in runs for _ in run.targets]
    for (part, day), run in zip(asked, of_asked, strict=True):
        hidden = run.days(looks)
        assert day in hidden
        assert set(part.days) <= set(centred(run.middle(looks), 48))
        for n, other in enumerate(part.days):
            assert part.clear[n].any() == (other not in hidden and looks.clear[looks.days.index(other)].any())
            assert not part.values[:, n, ~part.clear[n]].any()


def test_the_suspicion_of_a_method_comes_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = seasonal()

    class Doubter(WholeCellRun):
        def rows(self, strips: Any) -> Any:
            (few,) = strips
            yield State(few.days, few.clear, few.values, suspect=few.values[0] * 100)

    method = Method("doubter", lambda _settings, _shape: Doubter(lambda few: (few.days, few.values)))
    monkeypatch.setattr(candidates_file, "method_of", lambda _settings: method)
    one = candidates(["damped"], se.Settings(), ())["damped"]
    on = one.window(looks, range(200))
    np.testing.assert_array_equal(on(looks.days[5]).suspect, looks.values[0, 5] * 100)
    assert on(looks.days[5] + 1).suspect is None
    found = score_clouds(trial_of(looks, one))["damped"]["suspect"]
    assert found["auc"] > 0.5
    assert 0 <= found["hits"]["0.01"] <= found["hits"]["0.05"] <= found["hits"]["0.1"] <= 1


def test_area_under_the_curve_by_hand() -> None:
    found = roc(np.array([3.0, 1, 0], np.float32), np.array([0.0, 0, 2, 0], np.float32))
    # 3 beats all four; 1 three of four; 0 ties with three and loses to one
    assert found is not None
    assert found["auc"] == pytest.approx((4 + 3 + 1.5) / 12)
    sure = roc(np.full(5, 9.0, np.float32), np.linspace(0, 1, 100, dtype=np.float32))
    assert sure == {"auc": 1.0, "hits": {"0.01": 1.0, "0.05": 1.0, "0.1": 1.0}}
    assert roc(np.zeros(0, np.float32), np.ones(3, np.float32)) is None


def test_where_it_was_seen_the_interval_is_that_of_one_look(belgium: Path) -> None:
    _, _, looks, _ = read(belgium, "2018-05-01/2018-06-30", ["B04", "B08"])
    on = candidates(["damped"], se.Settings(), ())["damped"].window(looks, range(60))
    target = next(t for t in range(4, len(looks.days)) if 0.2 < looks.clear[t].mean() < 0.8)
    halves = on(looks.days[target]).half_widths()
    assert halves is not None
    clear = looks.clear[target]
    assert np.ptp(halves[0][0][clear]) < 1e-6
    assert (halves[0][0][~clear] > halves[0][0][clear].max()).all()
    assert (halves[1] > halves[0]).all()


def test_a_window_without_a_look_is_nothing() -> None:
    looks = seasonal()
    for name, one in candidates(["nearest", "linear", "damped", "surface"], se.Settings(), ()).items():
        image = one.window(looks, range(400, 448))(420).values
        assert image.shape == (4, 40, 36), name
        assert np.isnan(image).all()


def test_few_dates_give_figures_that_are_none() -> None:
    looks = seasonal().inside(range(14))
    found = scored(trial_of(looks, "linear", "damped")).as_json()["film"]
    json.dumps(found, allow_nan=False)
    assert found["hidden"]["4"]["all"]["linear"] is None
    assert found["events"]["mowing"]["all"]["damped"] is None


def test_a_line_needs_near_looks_on_both_sides() -> None:
    looks = seasonal()
    for target in (5, 12):
        day = looks.days[target]
        line = line_between(looks, target, 9)
        for y, x in ((0, 0), (20, 30), (39, 5)):
            seen = [(looks.days[n], looks.values[:, n, y, x]) for n in range(len(looks.days)) if looks.clear[n, y, x]]
            before = [one for one in seen if day - 9 <= one[0] < day]
            after = [one for one in seen if day < one[0] <= day + 9]
            assert line.valid[y, x] == bool(before and after)
            if before and after:
                (a, low), (b, high) = before[-1], after[0]
                np.testing.assert_allclose(line.values[:, y, x], low + (high - low) * (day - a) / (b - a), atol=1e-6)


def test_a_hazy_date_is_not_good() -> None:
    looks = seasonal()
    good = good_dates(looks, vegetation_index(BANDS))
    assert 10 not in good
    assert 10 not in good_dates(looks, None)
    assert set(good) <= set(good_dates(looks, None))


def test_no_figure_depends_on_the_order_of_the_bands() -> None:
    looks = seasonal()
    order = [2, 3, 0, 1]
    turned = LookStack(looks.values[order], looks.clear, looks.days, looks.observed)
    one, other = trial_of(looks, "linear"), trial_of(turned, "linear", bands=tuple(BANDS[n] for n in order))
    assert one.good == other.good
    rows = []
    for trial in (one, other):
        film = film_of(
            trial.candidates["linear"], trial.looks, windows_of(ASKED, se.Settings(duration=48)), trial.index
        )
        rows.append(fidelity(film, trial.looks, trial.good, trial.index, trial.bluest))
    assert rows[0]["index"] == rows[1]["index"]


def test_small_things() -> None:
    assert spread_evenly(range(10), 3) == [0, 4, 9]
    assert spread_evenly(range(2), 5) == [0, 1]
    assert centred(10, 4) == range(8, 12)
    assert (film_step((64, 64)), film_step((128, 128)), film_step((1024, 1024))) == (1, 1, 8)
    assert list(side_by_side(lambda n: n * n, range(20), 3)) == [n * n for n in range(20)]
    assert vegetation_index(["B05", "B8A", "B04"]) is not None
    assert vegetation_index(["B04", "B8A"]) is None
    assert parse_datetime("2023-03-01/2023-08-31") == ASKED
    assert Estimate(np.zeros((1, 1, 1), np.float32)).half_widths() is None
