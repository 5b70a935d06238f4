"""The guided method against its executable specification, and what must hold whatever the data."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import spaceeye_stac as se
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.methods.base import SAMPLE_SIDE, learning_steps
from spaceeye_stac.methods.guided_strips import reconstruct
from spaceeye_stac.pixels.first_pass import observe_part
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.material import BE_BBOX, material
from tests.support.prototypes import prototype


@pytest.fixture(scope="module")
def specification() -> ModuleType:
    return prototype("guided")


def looks(catalog: Path, bbox: Any, days: str) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    query = se.Query(catalog=catalog, bbox=bbox, datetime=days)
    settings = se.Settings(duration="all")
    job = grid_job(se.search(query, settings), query, settings)
    seen = observe_part(job, job.grid.geobox)
    return seen.values, seen.clear, job.acquisition_days


CASES = {
    "be": ("data/be-31uds/catalog.json", BE_BBOX, "2018-04-11/2018-07-15"),
    "tz": ("data/tz-37mbs/catalog.json", (36.8475, -3.66, 36.853, -3.6545), "2020-01-01/2020-04-05"),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_specification_on_real_blocks(case: str, specification: ModuleType) -> None:
    name, bbox, when = CASES[case]
    values, clear, days = looks(material(name), bbox, when)
    shape = values.shape
    expected = specification.reconstruct(
        values.reshape(*shape[:2], -1), clear.reshape(shape[1], -1), np.array(days), shape[2:]
    )
    found = reconstruct(torch.from_numpy(values), torch.from_numpy(clear), days, support=False)
    for key in ("smooth", "loo", "date_term", "transfer", "information", "weights"):
        mine = getattr(found, key).numpy()
        assert np.abs(expected[key].reshape(mine.shape) - mine).max() < 1e-4, key


def simulated(seed: int = 0, size: int = 70) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.05, 0.4, (3, 1, size, size))
    values = base * rng.uniform(0.8, 1.2, (1, 6, 1, 1)) + rng.normal(0, 0.005, (3, 6, size, size))
    return (
        torch.from_numpy(values.astype(np.float32)),
        torch.from_numpy(rng.random((6, size, size)) < 0.6),
        [0, 4, 5, 9, 30, 33],
    )


def test_support_fades_the_date_term_where_that_date_is_far() -> None:
    values, clear, days = simulated(size=150)
    clear[2] = False
    clear[2, :20, :20] = True
    plain = reconstruct(values, clear, days, support=False)
    faded = reconstruct(values, clear, days)
    near = torch.nn.functional.avg_pool2d(clear[2].float()[None], 65, 1, 32, count_include_pad=True)[0] * 65**2
    expected = plain.date_term[:, 2] * near / (near + 20)
    torch.testing.assert_close(faded.date_term[:, 2], expected, rtol=1e-3, atol=1e-5)
    assert (faded.date_term[:, 2, 100:, 100:].abs() < 1e-5).all()


def test_what_stands_under_clouds_has_no_effect() -> None:
    values, clear, days = simulated()
    dirty = torch.where(clear, values, torch.nan)
    one, other = reconstruct(values, clear, days), reconstruct(dirty, clear, days)
    for key in ("smooth", "loo", "date_term"):
        assert torch.equal(getattr(one, key), getattr(other, key)), key


def test_a_date_without_anything_clear_has_no_date_term() -> None:
    values, clear, days = simulated()
    clear[3] = False
    found = reconstruct(values, clear, days)
    assert (found.date_term[:, 3] == 0).all()
    torch.testing.assert_close(found.loo[:, 3], found.smooth[:, 3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("dates", [1, 2, 6])
def test_extreme_masks_give_finite_numbers(share: float, dates: int) -> None:
    values, clear, days = simulated()
    clear = torch.rand(clear.shape, generator=torch.Generator().manual_seed(0)) < share
    found = reconstruct(values[:, :dates], clear[:dates], days[:dates])
    for key in ("smooth", "loo", "date_term", "information", "weights"):
        assert getattr(found, key).isfinite().all(), key


def test_the_date_of_a_hidden_look_is_recovered() -> None:
    """A brightness that only that date has is found from its clear pixels: far better than the smooth state."""
    values, clear, days = simulated()
    clear[:] = True
    values[:, 3] *= 1.3
    truth = values[:, 3].clone()
    clear[3, 20:40, 20:40] = False
    found = reconstruct(values, clear, days)
    hole = (slice(None), slice(20, 40), slice(20, 40))
    filled = (found.loo + found.date_term)[:, 3]
    error = (filled - truth)[hole].abs().mean()
    assert error < 0.25 * (found.smooth[:, 3] - truth)[hole].abs().mean()


def test_learning_from_some_pixels_of_a_large_cell_is_as_good_as_from_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 128 pixels a side; dates of which little is seen among them."""
    side, days = 400, (0, 3, 8, 12, 16, 21)
    simulation = Simulation(shape=(side, side), days=22, revisit=1, bands=("B02", "B04", "B08"), cloudiness=0.5, seed=1)
    seen = [simulation.scene(day) for day in days]
    values = torch.from_numpy(np.stack([dn for dn, _ in seen], axis=1).astype(np.float32) * 1e-4)
    clear = torch.from_numpy(np.isin(np.stack([scl for _, scl in seen]), (4, 5, 6, 7)))
    clear = clear.repeat_interleave(2, 1).repeat_interleave(2, 2)
    truth = torch.from_numpy(np.stack([simulation.truth(day) for day in days], axis=1).astype(np.float32))
    values -= (values - truth)[:, clear].median()
    errors = []
    for least in (SAMPLE_SIDE, side):
        monkeypatch.setattr("spaceeye_stac.methods.base.SAMPLE_SIDE", least)
        found = reconstruct(values, clear, days)
        errors.append(float((found.loo + found.date_term - truth)[:, ~clear].square().mean().sqrt()))
    assert learning_steps((side, side)) == (1, 1)
    assert errors[0] != errors[1]
    assert errors[0] < 1.01 * errors[1]
