"""Acquisition days as they were seen: against the specification, and what must hold whatever the data."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.engine.cell import _origin
from spaceeye_stac.engine.jobs import grid_job
from spaceeye_stac.methods.as_seen import AsSeenRun
from spaceeye_stac.methods.as_seen_fill import box_sums
from spaceeye_stac.methods.as_seen_process import NOISE, conditioned, drawn
from spaceeye_stac.methods.as_seen_rows import TILE, tiles_of
from spaceeye_stac.methods.base import CellLooks, Method, Places, State
from spaceeye_stac.model import Block, Cell
from spaceeye_stac.pixels.first_pass import observe_part
from tests.support.material import BE_BBOX, material
from tests.support.prototypes import prototype

DAYS = (0, 4, 5, 9, 30, 33)


# by itself, with every clear look used; the surface method takes some out first
AS_SEEN = Method("as_seen", AsSeenRun, cell=384, halo=64, margin=32, strips=True, learns=True, shows=True)


def simulated(seed: int = 0, shape: tuple[int, int] = (70, 70), bands: int = 3, dates: int = 6) -> CellLooks:
    """Fields of one spectrum each, dates of their own brightness, clouds of some size."""
    rng = np.random.default_rng(seed)
    fields = rng.uniform(0.05, 0.4, (bands, 1, shape[0] // 10 + 1, shape[1] // 10 + 1))
    base = fields.repeat(10, 2).repeat(10, 3)[..., : shape[0], : shape[1]]
    values = base * rng.uniform(0.8, 1.2, (1, dates, 1, 1)) + rng.normal(0, 0.003, (bands, dates, *shape))
    blobs = rng.random((dates, shape[0] // 16 + 1, shape[1] // 16 + 1)) < 0.6
    clear = blobs.repeat(16, 1).repeat(16, 2)[:, : shape[0], : shape[1]]
    seen = torch.from_numpy(np.ascontiguousarray(clear))
    cube = torch.where(seen, torch.from_numpy(values.astype(np.float32)), 0.0)
    return CellLooks(cube, seen, DAYS[:dates], range(34))


def solved(looks: CellLooks) -> State:
    return AS_SEEN.solve(looks, se.Settings())


def in_strips(looks: CellLooks, heights: list[int]) -> State:
    """Make a cell from strips of these heights."""
    shape = int(looks.clear.shape[1]), int(looks.clear.shape[2])
    run = AS_SEEN.start(se.Settings(), shape)
    run.learn(looks.at(Places.of(shape)))

    def strips() -> Iterator[CellLooks]:
        top = 0
        for height in heights:
            rows = slice(top, top + height)
            yield replace(looks, values=looks.values[:, :, rows].clone(), clear=looks.clear[:, rows].clone())
            top += height

    def kept(state: State) -> State:
        assert state.as_seen is not None
        return replace(state, as_seen=state.as_seen.clone(), smooth=state.smooth.clone(), clear=state.clear.clone())

    return State.joined([kept(state) for state in run.rows(strips())])


@pytest.fixture(scope="module")
def specification() -> ModuleType:
    return prototype("as_seen")


def real(catalog: Path, bbox: Any, days: str) -> CellLooks:
    query = se.Query(catalog=catalog, bbox=bbox, datetime=days)
    options = se.Settings(duration="all")
    job = grid_job(se.search(query, options), query, options)
    seen = observe_part(job, job.grid.geobox)
    clear = torch.from_numpy(seen.clear)
    values = torch.where(clear, torch.from_numpy(seen.values), 0.0)
    when = job.acquisition_days
    return CellLooks(values, clear, when, range(when[0], when[-1] + 1))


def test_is_close_to_the_specification_on_a_real_block(specification: ModuleType) -> None:
    """They differ in what is cheaper here: no alignment before the solve, fewer dampings, other points of the process.

    What both leave of a look of a hidden corner is far more than what they differ by.
    """
    looks = real(material("data/be-31uds/catalog.json"), BE_BBOX, "2018-04-20/2018-06-10")
    share = looks.clear.float().mean((1, 2))
    date = int(torch.where(share > 0.9)[0][3])
    truth, hole = looks.values[:, date].clone(), torch.zeros_like(looks.clear[date])
    hole[20:45, 15:50] = looks.clear[date, 20:45, 15:50]
    clear = looks.clear.clone()
    clear[date] &= ~hole
    hidden = replace(looks, clear=clear, values=torch.where(clear, looks.values, 0.0))
    x, shape = hidden.values.numpy(), tuple(hole.shape)
    flat, options = (x.reshape(*x.shape[:2], -1), clear.numpy().reshape(len(clear), -1)), specification.Options()
    expected, _, _ = specification.predict(*flat, np.array(looks.days), shape, date, replace(options, intervals=False))
    state = solved(hidden)
    assert state.as_seen is not None
    mine, theirs = state.as_seen[:, date][:, hole], torch.from_numpy(expected.reshape(-1, *shape))[:, hole]

    def rms(difference: torch.Tensor) -> float:
        return float(difference.square().mean().sqrt())

    error, own, apart = rms(theirs - truth[:, hole]), rms(mine - truth[:, hole]), rms(mine - theirs)
    assert own < 1.05 * error
    assert apart < 0.5 * error
    assert apart < 0.006


def test_a_look_is_shown_as_it_is_and_a_pixel_never_seen_is_nothing() -> None:
    looks = simulated()
    looks.clear[:, 3:9, 5] = False
    state = solved(looks)
    assert state.as_seen is not None
    assert torch.equal(state.as_seen[:, looks.clear], looks.values[:, looks.clear])
    never = ~looks.clear.any(0)
    assert never.any()
    assert (state.as_seen.isnan() == never).all()
    assert (state.smooth.isnan() == never).all()


def test_what_stands_under_clouds_has_no_effect() -> None:
    looks = simulated()
    dirty = replace(looks, values=torch.where(looks.clear, looks.values, torch.nan))
    one, other = solved(looks).as_seen, solved(dirty).as_seen
    assert one is not None
    assert other is not None
    assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))


def test_a_brightness_that_only_one_date_has_is_found_from_its_clear_pixels() -> None:
    values = torch.rand(3, 1, 70, 70, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.05
    values = values.repeat(1, 6, 1, 1)
    values[:, 3] *= 1.3
    truth, clear = values[:, 3].clone(), torch.ones(6, 70, 70, dtype=torch.bool)
    clear[3, 20:40, 20:40] = False
    hidden = CellLooks(torch.where(clear, values, 0.0), clear, DAYS, range(34))
    state = solved(hidden)
    assert state.as_seen is not None
    hole = (slice(None), slice(20, 40), slice(20, 40))
    error = (state.as_seen[:, 3] - truth)[hole].abs().mean()
    assert error < 0.1 * (state.smooth[:, 3] - truth)[hole].abs().mean()


def darker_than_its_neighbours(day: int) -> float:
    """How much darker than the smooth state a date is filled that is not seen, where every fifth day is dark."""
    rng = torch.Generator().manual_seed(0)
    days = (*range(0, 20, 2), day, *range(22, 40, 2))
    base = torch.rand(3, 1, 30, 30, generator=rng) * 0.3 + 0.1
    dark = torch.tensor([0.94 if one % 5 == 0 else 1.0 for one in days]) + 0.02 * torch.randn(len(days), generator=rng)
    clear = torch.ones(len(days), 30, 30, dtype=torch.bool)
    clear[10] = False
    state = solved(CellLooks(torch.where(clear, base * dark[None, :, None, None], 0.0), clear, days, range(40)))
    assert state.as_seen is not None
    return float((1 - state.as_seen[:, 10] / state.smooth[:, 10]).mean())


def test_dates_of_the_same_orbit_say_what_to_expect_of_one_of_which_nothing_is_seen() -> None:
    """The twentieth day is darker, as those five days apart from it are; the day after has no other of its orbit."""
    assert darker_than_its_neighbours(20) > max(darker_than_its_neighbours(21), 0) + 0.004


def test_few_clear_pixels_do_not_run_away_on_pixels_that_are_unlike_them() -> None:
    """Fifty dark pixels are brighter on one date: bright ones are not moved by more than dates deviate in general."""
    rng = torch.Generator().manual_seed(0)
    base = torch.full((3, 1, 128, 128), 0.05)
    base[..., 64:] = 0.5
    values = base * (1 + 0.05 * torch.randn(1, 6, 1, 1, generator=rng)) + 0.002 * torch.randn(
        3, 6, 128, 128, generator=rng
    )
    clear = torch.ones(6, 128, 128, dtype=torch.bool)
    clear[3] = False
    clear[3, 60:65, 50:60] = True
    values[:, 3] += 0.03 + 0.5 * torch.randn(128, 128, generator=rng) * 0.02
    state = solved(CellLooks(torch.where(clear, values, 0.0), clear, DAYS, range(34)))
    assert state.as_seen is not None
    moved = (state.as_seen[:, 3] - state.smooth[:, 3])[..., 64:].abs()
    assert moved.max() < 0.15


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("dates", [1, 2, 6])
def test_extreme_masks_give_finite_numbers(share: float, dates: int) -> None:
    looks = simulated(dates=dates)
    clear = torch.rand(looks.clear.shape, generator=torch.Generator().manual_seed(0)) < share
    state = solved(replace(looks, clear=clear, values=torch.where(clear, looks.values + 0.1, 0.0)))
    assert state.as_seen is not None
    assert state.widths is not None
    ever = clear.any(0)
    assert state.as_seen[..., ever].isfinite().all()
    assert state.smooth[..., ever].isfinite().all()
    assert all(getattr(state.widths, name).isfinite().all() for name in ("inner", "outer", "inner_unseen"))


@settings(max_examples=4, deadline=None)
@given(
    height=st.integers(1, 200),
    top=st.integers(-70, 70),
    cut=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
)
def test_strips_of_any_height_change_no_bit(height: int, top: int, cut: list[int], seed: int) -> None:
    looks = replace(simulated(seed, (height, 40), bands=2, dates=4), origin=(top, 3))
    heights: list[int] = []
    while sum(heights) < height:
        heights.append(min(cut[len(heights) % len(cut)], height - sum(heights)))
    whole, parts = in_strips(looks, [height]), in_strips(looks, heights)
    for name in ("clear", "smooth", "as_seen", "information", "weights"):
        one, other = getattr(whole, name), getattr(parts, name)
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), name


def test_tiles_lie_alike_however_a_cell_is_cut_by_the_edge_of_the_grid() -> None:
    assert tiles_of(200, 0) == [slice(0, 64), slice(64, 128), slice(128, 192), slice(192, 200)]
    assert tiles_of(100, -20) == [slice(0, 20), slice(20, 84), slice(84, 100)]
    size, halo, height, anchor = 384, 64, 1000, 300
    for row in range(4):
        start, stop = row * size - anchor, (row + 1) * size - anchor
        views = [slice(max(a, 0), min(b, height)) for a, b in ((start, stop), (start - halo, stop + halo))]
        cell = Cell((row, 0), Block(views[0], slice(0, 84)), Block(*views), Block(views[1], slice(0, 148)))
        if stop <= height:
            assert (_origin(cell)[0] - (views[1].start + anchor)) % TILE == 0
            assert (_origin(cell)[1] + 84) % TILE == 0


def test_the_process_is_the_exact_posterior_mean() -> None:
    rng = torch.Generator().manual_seed(0)
    points, values = torch.randn(60, 6, generator=rng), torch.randn(60, 2, generator=rng)
    trust = torch.rand(60, generator=rng) + 0.1
    other = torch.randn(700, 6, generator=rng)
    gram = torch.exp(-torch.cdist(points.double(), points.double())) + torch.diag(NOISE / trust.double())
    weights = torch.linalg.solve(gram, values.double())
    expected = torch.exp(-torch.cdist(other.double(), points.double())) @ weights
    found = conditioned(points, values, trust).at(other)
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)


def test_points_are_spread_and_none_is_drawn_twice() -> None:
    """Nine in ten lie together: of the others most are drawn."""
    rng = torch.Generator().manual_seed(0)
    crowd, spread = torch.randn(900, 6, generator=rng) * 0.1, torch.randn(100, 6, generator=rng) * 4
    points = torch.cat([crowd, spread])
    at = drawn(points, 150)
    assert len(set(at.tolist())) == 150
    assert int((at >= 900).sum()) > 90
    assert drawn(points[:40], 150).tolist() == list(range(40))


@pytest.mark.parametrize("size", [3, 7, 9, 17, 65])
def test_box_sums_are_those_of_a_plain_filter(size: int) -> None:
    image = torch.rand(50, 70, 2, generator=torch.Generator().manual_seed(0))
    plain = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1), size, 1, size // 2, count_include_pad=True)
    torch.testing.assert_close(box_sums(image, size), plain.permute(1, 2, 0) * size**2, rtol=1e-4, atol=1e-4)
