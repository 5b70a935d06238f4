"""Hidden pixels and their scores, against answers known beforehand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.errors import InvalidInputError, NoClearLookError
from spaceeye_stac.evaluation.baselines import Bool, Estimate, Float, Reconstructor, linear, nearest
from spaceeye_stac.evaluation.hidden import KINDS, hidden_pixels, targets
from spaceeye_stac.evaluation.holdout import score
from spaceeye_stac.pixels.first_pass import observe_part
from tests.support.material import BE_BBOX
from tests.support.still_landscape import BANDS, DAYS, SIZE, landscape, oracle, scored


def test_a_perfect_method_has_no_error_and_no_number_that_json_lacks() -> None:
    found = scored({"perfect": oracle(), "other": oracle(0.01)}).as_json()
    json.dumps(found, allow_nan=False)
    perfect = found["cloud"]["perfect"]
    assert (perfect["rmse"], perfect["mae"], perfect["bias"], perfect["psnr"]) == (0, 0, 0, None)
    assert perfect["bands"]["B11"] == {"psnr": None, "rmse": 0, "mae": 0, "bias": 0}
    assert perfect["paired"]["other"] == {"psnr_difference": None, "standard_error": None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_error_is_its_bias_and_gives_its_psnr(kind: str) -> None:
    found = scored({"low": oracle(-0.1), "near": oracle(0.01)}).as_json()[kind]
    low = found["low"]
    assert low["bias"] == pytest.approx(-0.1, rel=1e-5)
    assert low["mae"] == pytest.approx(0.1, rel=1e-5)
    assert low["rmse"] == pytest.approx(0.1, rel=1e-5)
    assert low["psnr"] == pytest.approx(20, abs=1e-4)
    assert low["psnr_se"] == pytest.approx(0, abs=1e-4)
    assert low["bands"]["B04"]["rmse"] == pytest.approx(0.1, rel=1e-5)
    assert found["near"]["paired"]["low"]["psnr_difference"] == pytest.approx(20, abs=1e-3)
    assert low["paired"]["near"]["psnr_difference"] == pytest.approx(-20, abs=1e-3)
    assert sum(one["n"] for one in low["bins"]) == low["n_pixels"]


def test_standard_errors_are_those_of_the_mean_over_dates() -> None:
    values, clear = landscape()

    def off_by_day(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
        return Estimate(linear(values, clear, days, target).values + np.float32(days[target] + 1) / 100)

    found = score(values, clear, DAYS, {"m": off_by_day}, bands=BANDS, duration=48).as_json()["date"]["m"]
    errors = np.array([(DAYS[t] + 1) / 100 for t in targets(clear, "date")])
    assert found["n_dates"] == len(errors) == 6
    assert found["rmse"] == pytest.approx(errors.mean(), rel=1e-4)
    assert found["rmse_se"] == pytest.approx(errors.std(ddof=1) / np.sqrt(6), rel=1e-4)
    assert found["psnr"] == pytest.approx((-20 * np.log10(errors)).mean(), rel=1e-4)


def test_coverage_of_the_true_noise_is_nominal() -> None:
    methods = {"right": oracle(0, 0.02), "narrow": oracle(0, 0.01), "silent": oracle()}
    found = scored(methods, noise=0.02).as_json()["coverage"]
    assert set(found) == {"right", "narrow"}
    for kind in KINDS:
        assert found["right"][kind]["68"] == pytest.approx(0.68, abs=0.04)
        assert found["right"][kind]["90"] == pytest.approx(0.90, abs=0.03)
    assert found["narrow"]["date"]["68"] == pytest.approx(0.381, abs=0.03)


def test_hidden_pixels_are_kept_from_the_method() -> None:
    values, clear = landscape(0.02)
    kept = values.copy(), clear.copy()
    asked = []

    def spy(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
        assert (values[:, ~clear] == 0).all()
        asked.append((days[target], clear[target].copy()))
        found = nearest(values, clear, days, target)
        values[:], clear[:] = 9, False
        return found

    found = score(values, clear, DAYS, {"one": spy, "two": spy}, bands=BANDS, duration=48, seed=4).as_json()
    cases = [(kind, t) for kind in KINDS for t in targets(clear, kind)]
    assert len(asked) == 2 * len(cases)
    for (kind, t), one, two in zip(cases, asked[::2], asked[1::2], strict=True):
        hidden = hidden_pixels(clear, int(t), kind, 4)
        assert hidden.any()
        assert clear[t][hidden].all()
        for day, seen in (one, two):
            assert day == DAYS[t]
            np.testing.assert_array_equal(seen, clear[t] & ~hidden)
    np.testing.assert_array_equal(values, kept[0])
    np.testing.assert_array_equal(clear, kept[1])
    assert found["date"]["one"]["psnr"] == found["date"]["two"]["psnr"]


def test_an_edge_hole_touches_cloud_and_leaves_clear_pixels() -> None:
    _, clear = landscape()
    for t in targets(clear, "edge"):
        hidden = hidden_pixels(clear, int(t), "edge", 0)
        assert hidden.sum() == clear[t].sum() // 3
        assert (hidden & ndimage.binary_dilation(~clear[t])).any()


def test_a_cloud_shape_is_that_of_another_partly_cloudy_date() -> None:
    _, clear = landscape()
    shapes = {clear[n].tobytes() for n in range(len(DAYS)) if 0.2 <= clear[n].mean() <= 0.9}
    for t in (0, 5, 10):
        assert (~hidden_pixels(clear, t, "cloud", 0)).tobytes() in shapes


def test_same_seed_same_scores_and_another_seed_others() -> None:
    methods = {"nearest": nearest, "linear": linear}
    one, two, other = (scored(methods, 0.02, seed=seed).as_json() for seed in (0, 0, 1))
    assert one == two
    assert one["date"] == other["date"]
    assert one["cloud"] != other["cloud"]
    alone = scored({"linear": linear}, 0.02, seed=0).as_json()
    assert alone["cloud"]["linear"]["psnr"] == one["cloud"]["linear"]["psnr"]


def test_a_limit_spreads_over_the_dates() -> None:
    reports: list[tuple[str, int, int]] = []
    found = scored({"linear": linear}, 0.02, limit=2, progress=lambda *report: reports.append(report))
    dates = targets(landscape()[1], "date")
    assert [case.target for case in found.cases if case.kind == "date"] == [dates[0], dates[-1]]
    assert reports == [("evaluating", n, 6) for n in range(7)]


def test_pixels_are_scored_where_every_method_has_a_value() -> None:
    def half(values: Float, clear: Bool, days: Sequence[int], target: int) -> Estimate:
        found = linear(values, clear, days, target).values
        found[0, : SIZE // 2] = np.nan
        return Estimate(found)

    def never(values: Float, _clear: Bool, _days: Sequence[int], _target: int) -> Estimate:
        return Estimate(np.full_like(values[:, 0], np.nan))

    alone = scored({"linear": linear}, 0.02).as_json()["date"]
    found = scored({"linear": linear, "half": half, "never": never}, 0.02).as_json()["date"]
    assert found["half"] == {**found["linear"], "paired": found["half"]["paired"]}
    assert found["linear"]["n_pixels"] == alone["linear"]["n_pixels"] // 2
    assert found["never"]["n_dates"] == found["never"]["n_pixels"] == 0
    assert found["never"]["psnr"] is None
    assert found["linear"]["paired"]["never"] == {"psnr_difference": None, "standard_error": None}


def test_small_cases_are_skipped_and_counted() -> None:
    values, clear = landscape()
    clear[1:, :] = False
    clear[1:, :5, :5] = True
    clear[3:5] = False
    clear[3:5, 6:18, :12] = True
    found = score(np.where(clear, values, 0), clear, DAYS, {"m": linear}, bands=BANDS, duration=48)
    assert found.skipped == {"cloud": 0, "date": 0, "edge": 0}
    assert {case.kind for case in found.cases} == {"cloud", "date", "edge"}
    clear[1:] = False
    clear[1, 0, :19] = True
    with pytest.raises(NoClearLookError, match="widen datetime"):
        score(np.where(clear, values, 0), clear, DAYS, {"m": linear}, bands=BANDS, duration=48)
    clear[1, 0, :20] = True
    found = score(np.where(clear, values, 0), clear, DAYS, {"m": linear}, bands=BANDS, duration=48)
    assert found.skipped == {"cloud": 1, "date": 0, "edge": 0}
    assert found.as_json()["date"]["m"]["n_pixels"] == 20


def test_bins_count_the_days_to_the_nearest_other_look() -> None:
    values = np.full((1, 3, 8, 8), 0.2, np.float32)
    values[:, 1] += np.float32(0.1)
    clear = np.ones((3, 8, 8), bool)
    clear[0, :, :2] = False
    found = score(values, clear, (0, 10, 21), {"m": linear}, bands=("B04",), duration=48).as_json()
    middle = score(values, clear, (0, 10, 21), {"m": linear}, bands=("B04",), duration=20)
    assert [case.target for case in middle.cases if case.kind == "date"] == [1]
    bins = middle.as_json()["date"]["m"]["bins"]
    assert [one["days"] for one in bins] == [[1, 5], [6, 10], [11, 20], [21, None]]
    assert [one["n"] for one in bins] == [0, 48, 0, 0]
    assert bins[0]["rmse"] is None
    assert bins[1]["rmse"] == pytest.approx(0.1, rel=1e-5)
    assert [one["n"] for one in found["date"]["m"]["bins"]] == [0, 96, 80, 0]


def test_nearest_and_linear_by_hand() -> None:
    looks: NDArray[np.float32] = np.array([[0.1, 0.4, 0.9, 0.2]], np.float32)
    values = looks[:, :, None, None].repeat(5, axis=3)
    clear = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]], bool)[:, None]
    days = (0, 4, 8, 20)
    np.testing.assert_allclose(nearest(values, clear, days, 1).values[0, 0], [0.1, 0.1, 0.9, np.nan, 0.1])
    np.testing.assert_allclose(linear(values, clear, days, 1).values[0, 0], [0.5, 0.12, 0.9, np.nan, 0.1], rtol=1e-5)
    clear[1] = True
    np.testing.assert_array_equal(linear(values, clear, days, 1).values, values[:, 1])
    np.testing.assert_array_equal(nearest(values, clear, days, 1).values, values[:, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": (0, 1)}, "must be"),
        ({"days": DAYS[::-1]}, "increasing"),
        ({"bands": ("B04",)}, "1 bands"),
        ({"reconstructors": {}}, "at least one"),
        ({"duration": 0}, "duration 0"),
        ({"seed": -1}, "seed -1"),
        ({"limit": 0}, "limit 0"),
    ],
)
def test_input_that_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    values, clear = landscape()
    usual: dict[str, Any] = {"days": DAYS, "reconstructors": {"m": linear}, "bands": BANDS, "duration": 48}
    with pytest.raises(InvalidInputError, match=message):
        score(values, clear, **{**usual, **change})


def test_the_example_is_under_a_cloud_shape() -> None:
    found = scored({"linear": linear, "nearest": nearest}, 0.02)
    example = found.example
    assert example.kind == "cloud"
    assert example.truth.shape == (len(BANDS), SIZE, SIZE)
    assert 0.2 <= example.hidden.mean() <= 0.8
    assert np.isfinite(example.truth[:, example.hidden]).all()
    assert set(example.estimates) == {"linear", "nearest"}


@pytest.mark.parametrize(
    ("site", "bbox", "datetime", "expected"),
    [
        ("belgium", BE_BBOX, "2017-08-04/2018-11-27", (27.6, 27.9)),
        ("tanzania", (36.8475, -3.66, 36.853, -3.6545), "2019-09-26/2021-09-15", (28.2, 27.9)),
    ],
)
def test_linear_interpolation_of_real_stacks(
    site: str,
    bbox: tuple[float, float, float, float],
    datetime: str,
    expected: tuple[float, float],
    request: pytest.FixtureRequest,
) -> None:
    catalog: Path = request.getfixturevalue(site)
    query = se.Query(catalog=catalog, bbox=bbox, datetime=datetime)
    job = grid_job(se.search(query), query, se.Settings())
    seen = observe_part(job, job.grid.geobox)
    methods: dict[str, Reconstructor] = {"nearest": nearest, "linear": linear}
    found = score(seen.values, seen.clear, job.acquisition_days, methods, bands=job.bands, duration=48).as_json()
    assert found["cloud"]["linear"]["psnr"] == pytest.approx(expected[0], abs=1)
    assert found["date"]["linear"]["psnr"] == pytest.approx(expected[1], abs=1)
    assert found["date"]["linear"]["n_dates"] > 50
    for kind in KINDS:
        gain = found[kind]["linear"]["paired"]["nearest"]
        assert gain["psnr_difference"] > 0
