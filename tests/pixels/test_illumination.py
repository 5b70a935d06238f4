from pathlib import Path

import numpy as np
import rasterio

from spaceeye_stac.pixels.illumination import DayTotals, daily_illuminance, totals, uniform_illuminance


def test_agrees_with_the_reference_on_a_real_chip(golden: Path, belgium: Path) -> None:
    case = np.load(golden / "damped_interpolation_be31uds.npz")
    folders = sorted((belgium.parent / "sentinel-2-l2a").glob("S2_*"))
    days = {
        int((np.datetime64(_day(f.name)) - np.datetime64("2018-04-11")) / np.timedelta64(1, "D")): f for f in folders
    }
    days = {day: f for day, f in days.items() if 0 <= day < 48}
    clear = np.stack([np.isin(_pixels(f / "SCL.tif"), [4, 5, 6, 7]) for f in days.values()])
    bands = [np.stack([_pixels(f / f"{band}.tif") for f in days.values()]) for band in case["bands"]]
    values = np.stack(bands).astype(np.float32) * np.float32(1e-4) * clear
    found = daily_illuminance(totals(values, clear, np.full(len(days), 64 * 64)), list(days), range(48), 0.1)
    assert [d for d, used in zip(days, found.used, strict=True) if used] == list(case["observed_days"])
    np.testing.assert_allclose(found.values, case["illuminance"], rtol=1e-5)


def _day(name: str) -> str:
    stamp = name.split("_")[2]
    return f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"


def _pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        image = source.read(1)
    factor = 64 // image.shape[0]
    return np.asarray(image.repeat(factor, axis=0).repeat(factor, axis=1))


def _some() -> DayTotals:
    clear = np.array([80, 5, 90])
    return DayTotals(np.array([100, 100, 100]), clear, np.array([[8.0, 4.0, 18.0]]))


def test_days_with_few_clear_pixels_take_no_part() -> None:
    found = daily_illuminance(_some(), [0, 300, 900], range(901), 0.05)
    assert found.used.tolist() == [True, False, True]
    np.testing.assert_allclose(found.at(0), [0.1])
    np.testing.assert_allclose(found.at(900), [0.2])


def test_long_gaps_do_not_underflow_but_take_the_nearest() -> None:
    found = daily_illuminance(_some(), [0, 300, 900], range(-400, 2000), 0.05)
    assert np.isfinite(found.values).all()
    np.testing.assert_allclose(found.at(-400), [0.1])
    np.testing.assert_allclose(found.at(449), [0.1], rtol=0.3)
    np.testing.assert_allclose(found.at(450), [0.15])
    np.testing.assert_allclose(found.at(1999), [0.2])


def test_shares_are_of_the_pixels_that_hold_data() -> None:
    half_swath = DayTotals(np.array([50]), np.array([40]), np.array([[4.0]]))
    assert daily_illuminance(half_swath, [0], range(3), 0.5).used.all()


def test_no_usable_day_is_nan_and_unused() -> None:
    found = daily_illuminance(_some(), [0, 1, 2], range(3), 0.95)
    assert not found.used.any()
    assert np.isnan(found.values).all()


def test_uniform_is_one_and_uses_the_same_days() -> None:
    found = uniform_illuminance(_some(), [0, 1, 2], range(3), 0.05)
    assert (found.values == 1).all()
    assert found.used.tolist() == [True, False, True]


def test_totals_of_days_one_after_the_other_are_those_of_all() -> None:
    rng = np.random.default_rng(2)
    clear = rng.random((3, 10, 8)) < 0.5
    values = (rng.random((2, 3, 10, 8)) * clear).astype(np.float32)
    seen = np.array([80, 70, 60])
    whole = totals(values, clear, seen)
    parts = [totals(values[:, days], clear[days], seen[days]) for days in (slice(0, 1), slice(1, 3))]
    joined = DayTotals.following(parts)
    np.testing.assert_array_equal(joined.observed, seen)
    np.testing.assert_array_equal(joined.clear, clear.sum((1, 2)))
    np.testing.assert_array_equal(joined.sums, whole.sums)
