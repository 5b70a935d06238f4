"""The simulated farmland: alone, on disk, and against the simulator of the reference material, which is another one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.simulation import Atmosphere, Farmland, KnownStack, PlantedEvent, Weather
from spaceeye_stac.simulation.smooth_fields import smooth_field
from spaceeye_stac.simulation.spectra import SPECTRA, USUAL_ATMOSPHERE
from tests.support.films import query_of
from tests.support.prototypes import prototype

SMALL = Farmland(shape=(32, 48), days=40, seed=3)
FOUR = ("B02", "B04", "B08", "B11")
EVEN = st.integers(1, 45).map(lambda half: 2 * half)


def of_prototype(found: dict[str, Any]) -> KnownStack:
    """What the simulator of the reference material gives, in the form of this package's, in some bands."""
    days = tuple(int(day) for day in found["days"])
    events = tuple(PlantedEvent(kind, day, found["parcel"] == parcel) for kind, parcel, day in found["events"])
    every = range(found["truth"].shape[1])
    looks, truth = (found[name][[found["bands"].index(band) for band in FOUR]] for name in ("looks", "truth"))
    return KnownStack(FOUR, looks, found["clear"], days, truth, every, found["bad"], events)


def test_everything_follows_from_the_seed_and_not_from_the_order() -> None:
    again = replace(SMALL)
    later = again.scene(35)
    for day in (0, 35):
        one, other = SMALL.scene(day), later if day == 35 else again.scene(day)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(SMALL.truth(17), again.truth(17))
    other_seed = replace(SMALL, seed=4)
    assert (SMALL.truth(17) != other_seed.truth(17)).any()
    assert (SMALL.scene(35)[0] != other_seed.scene(35)[0]).any()


def test_ground_and_sky_do_not_depend_on_each_other() -> None:
    """Other weather over the same ground, and other bands of the same image."""
    clear = replace(SMALL, weather=Weather(cloudiness=0, undetected=0))
    np.testing.assert_array_equal(clear.truth(12), SMALL.truth(12))
    assert not clear.stack().undetected.any()
    assert clear.cloud_cover(12) == 0
    few = replace(SMALL, bands=("B08", "B02"))
    np.testing.assert_array_equal(few.truth(12), SMALL.truth(12)[[DEFAULT_BANDS.index(b) for b in few.bands]])
    np.testing.assert_array_equal(few.sky(12).opacity, SMALL.sky(12).opacity)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    shape=st.tuples(EVEN, EVEN),
    days=st.integers(1, 30),
    bands=st.lists(st.sampled_from(DEFAULT_BANDS), min_size=1, unique=True),
    passes=st.lists(st.integers(0, 4), min_size=1, unique=True),
    seed=st.integers(0, 2**32),
)
def test_any_shape_season_and_bands_hold_what_is_promised(
    shape: tuple[int, int], days: int, bands: list[str], passes: list[int], seed: int
) -> None:
    farmland = Farmland(shape=shape, days=days, bands=tuple(bands), passes=tuple(passes), seed=seed)
    found = farmland.stack()
    looks = len(farmland.visits)
    assert looks == sum(day % 5 in passes for day in range(days))
    assert found.values.shape == (len(bands), looks, *shape)
    assert found.truth.shape == (len(bands), days, *shape)
    assert found.clear.shape == found.undetected.shape == (looks, *shape)
    assert found.values.dtype == found.truth.dtype == np.float32
    assert ((found.truth > 0) & (found.truth < 1)).all()
    assert ((found.values > 0) == found.clear).all()
    assert not (found.undetected & ~found.clear).any()
    for band, image in zip(bands, found.truth, strict=True):
        if band in {"B05", "B06", "B07", "B8A", "B11", "B12"}:
            assert (image[:, ::2, ::2] == image[:, 1::2, 1::2]).all()
    for event in found.events:
        assert 0 <= event.day < days
        assert event.pixels.shape == shape
        assert event.pixels.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (33, 32)}, r"shape \(33, 32\) is not allowed; give two even numbers"),
        ({"shape": (0, 32)}, r"shape \(0, 32\)"),
        ({"days": 0}, "days 0 is not allowed"),
        ({"passes": (0, 5)}, r"passes \(0, 5\) is not allowed"),
        ({"passes": (1, 1)}, r"passes \(1, 1\)"),
        ({"passes": ()}, r"passes \(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        replace(SMALL, **change)


@pytest.mark.parametrize("day", [-1, 40])
def test_days_outside_the_season_have_no_truth(day: int) -> None:
    with pytest.raises(InvalidInputError, match=f"day {day} is not of the season; give one from 0 to 39"):
        SMALL.truth(day)


def test_the_files_hold_what_the_arrays_hold(tmp_path: Path) -> None:
    farmland = replace(SMALL, days=8)
    catalog = farmland.write(tmp_path)
    scenes = se.search(query_of(farmland, catalog, range(8)))
    known = farmland.stack()
    assert [scene.day.isoformat()[-2:] for scene in scenes] == [f"{1 + day:02}" for day in known.acquisition_days]
    assert [scene.id.split("_")[3] for scene in scenes] == ["R051", "R137", "R051", "R137"]
    for n, scene in enumerate(scenes):
        with rasterio.open(scene.labels.href) as source:  # type: ignore[union-attr]
            assert source.res == (20, 20)
            clear = np.isin(source.read(1), (4, 5, 6, 7)).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(clear, known.clear[n])
        for i, band in enumerate(known.bands):
            with rasterio.open(scene.bands[band].href) as source:
                side = 32 // source.height
                image = source.read(1).repeat(side, axis=0).repeat(side, axis=1) * np.float32(1e-4)
            np.testing.assert_allclose(np.where(clear, image, 0), known.values[i, n], rtol=1e-6)
    one_orbit = replace(query_of(farmland, catalog, range(8)), orbits=(137,))
    assert len(se.search(one_orbit)) == 2


def test_part_of_a_season_is_that_part() -> None:
    whole, part = SMALL.stack(), SMALL.stack(range(11, 24))
    assert part.acquisition_days == (12, 15, 17, 20, 22)
    np.testing.assert_array_equal(part.truth, whole.truth[:, 11:24])
    first = whole.acquisition_days.index(12)
    np.testing.assert_array_equal(part.values, whole.values[:, first : first + 5])
    empty = SMALL.stack(range(3, 5))
    assert empty.values.shape == (10, 0, 32, 48)


def test_the_two_orbits_see_a_brightness_of_their_own() -> None:
    farmland = Farmland()
    gains = np.array([farmland.sky(day).gain.mean(axis=(1, 2)) for day in farmland.visits])
    first, second = gains[::2].mean(axis=0), gains[1::2].mean(axis=0)
    blue, infrared = DEFAULT_BANDS.index("B02"), DEFAULT_BANDS.index("B08")
    assert first[blue] - second[blue] == pytest.approx(0.07, abs=0.012)
    assert first[infrared] - second[infrared] == pytest.approx(0.035, abs=0.012)


def test_rain_makes_bare_ground_darker_and_no_water() -> None:
    farmland = Farmland(bands=("B04",))
    ground = farmland.ground
    red = farmland.stack().truth[0]
    for kind, darkest in (("roofs", 0.85), ("water", 1.0)):
        pixels = np.isin(ground.parcel, [n for n, parcel in enumerate(ground.parcels) if parcel.kind == kind])
        assert pixels.any()
        series = red[:, pixels].mean(axis=1)
        assert series.min() / series.max() == pytest.approx(darkest, abs=0.03), kind


def test_other_spectra_are_drawn_and_show_where_cloud_is_not_detected() -> None:
    drawn = Atmosphere.drawn(5)
    assert drawn == Atmosphere.drawn(5)
    assert drawn != Atmosphere.drawn(6)
    for spectrum, usual in ((drawn.haze, USUAL_ATMOSPHERE.haze), (drawn.cloud, USUAL_ATMOSPHERE.cloud)):
        assert min(spectrum.values()) > 0
        off = np.log([spectrum[band] / usual[band] for band in DEFAULT_BANDS])
        assert 0.1 < np.std(off) < 1
    usual_stack, other = (replace(SMALL, atmosphere=air).stack() for air in (USUAL_ATMOSPHERE, drawn))
    np.testing.assert_array_equal(usual_stack.undetected, other.undetected)
    np.testing.assert_array_equal(usual_stack.truth, other.truth)
    far = np.abs(usual_stack.values - other.values).mean(axis=0)
    assert far[usual_stack.undetected].mean() > 3 * far[usual_stack.clear & ~usual_stack.undetected].mean()


def test_bare_ground_is_taken_for_cloud_now_and_then() -> None:
    clear_sky = Weather(cloudiness=0, undetected=0)
    farmland = Farmland(weather=clear_sky, label_errors=0.1)
    called, bare = 0, 0
    for day in farmland.visits[::8]:
        ground, labels = farmland.ground.labels(day), farmland.scene(day)[1]
        assert (labels[ground != 5] == ground[ground != 5]).all()
        called, bare = called + int((labels[ground == 5] == 8).sum()), bare + int((ground == 5).sum())
    assert called / bare == pytest.approx(0.1, abs=0.02)
    assert replace(farmland, label_errors=0).stack().clear.all()


def test_smooth_fields_are_those_of_the_prototype() -> None:
    """By the Fourier transform here, by scipy's filter there, which cuts the Gaussian off at four deviations."""
    other = prototype("daily_sim").smooth
    for sigma in (1, 3, 7, 16, 20):
        here, there = (make(np.random.default_rng(8), (64, 80), sigma) for make in (smooth_field, other))
        np.testing.assert_allclose(here, there, atol=0.02)


def test_spectra_are_those_of_the_prototype() -> None:
    other = prototype("daily_sim")
    assert list(DEFAULT_BANDS) == other.BANDS
    for name, values in other.S.items():
        np.testing.assert_allclose(list(SPECTRA[name].values()), values, rtol=1e-6)
    np.testing.assert_allclose(list(USUAL_ATMOSPHERE.haze.values()), other.HAZE, rtol=1e-6)
    np.testing.assert_allclose(list(USUAL_ATMOSPHERE.cloud.values()), other.CLOUD, rtol=1e-6)


def ndvi(images: NDArray[np.floating]) -> NDArray[np.floating]:
    _blue, red, infrared, _short = images
    return np.asarray((infrared - red) / np.maximum(infrared + red, 1e-3))


def statistics(known: KnownStack) -> dict[str, float]:
    """What a season looks like, in numbers that any simulator of it must have alike."""
    truth, seen = known.truth, known.truth[:, list(known.acquisition_days)]
    clean = known.clear & ~known.undetected
    off, green = known.values - seen, ndvi(truth)
    found = {
        "clear": known.clear.mean(),
        "undetected": known.undetected.sum() / known.clear.sum(),
        "almost clear scenes": (known.clear.mean(axis=(1, 2)) > 0.9).mean(),
        "almost hidden scenes": (known.clear.mean(axis=(1, 2)) < 0.1).mean(),
        "ndvi": green.mean(),
        "ndvi deviation": green.std(),
        "ndvi a day": np.abs(np.diff(green, axis=0)).mean(),
        "texture": np.abs(np.diff(truth[2], axis=-1)).mean(),
        "ndvi error, clean": np.median(np.abs(ndvi(known.values) - ndvi(seen))[clean]),
        "ndvi error, undetected": np.median(np.abs(ndvi(known.values) - ndvi(seen))[known.undetected]),
    }
    for i, band in enumerate(known.bands):
        found[f"{band} mean"] = truth[i].mean()
        found[f"{band} off, clean"] = np.median(np.abs(off[i][clean]))
        found[f"{band} off, undetected"] = np.quantile(np.abs(off[i][known.undetected]), 0.9)
    for kind in ("mow", "harvest"):
        events = [event for event in known.events if event.kind == kind and 0 < event.day < len(green)]
        steps = [(green[e.day] - green[e.day - 1])[e.pixels].mean() for e in events if e.pixels.any()]
        found[f"{kind} step"] = float(np.mean(steps))
    for day in (10, 60, 110, 160, 210):
        found[f"ndvi of day {day}"] = green[day].mean()
    return {name: float(value) for name, value in found.items()}


def welch(ones: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Difference of two means in its standard errors."""
    error = np.sqrt(ones.var(ddof=1) / len(ones) + others.var(ddof=1) / len(others))
    return float((ones.mean() - others.mean()) / error)


def tabled(make: Callable[[int], KnownStack], count: int) -> dict[str, NDArray[np.float64]]:
    rows = [statistics(make(seed)) for seed in range(100, 100 + count)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.slow
def test_seasons_are_distributed_as_those_of_the_prototype() -> None:
    """Ten of each: no statistic differs by more than its standard error allows; under another sky, many do."""
    other, like = prototype("daily_sim"), Farmland(bands=FOUR, label_errors=0)
    there = tabled(lambda seed: of_prototype(other.simulate(seed)), 10)
    here = tabled(lambda seed: replace(like, seed=seed).stack(), 10)
    differences = {name: welch(here[name], there[name]) for name in there}
    assert {name: off for name, off in differences.items() if abs(off) > 3.5} == {}
    cloudier = replace(like, noise=0.006, weather=Weather(cloudiness=0.9, undetected=0.6))
    wrong = tabled(lambda seed: replace(cloudier, seed=seed).stack(), 4)
    assert sum(abs(welch(wrong[name], there[name])) > 3.5 for name in there) >= 5
