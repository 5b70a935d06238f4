"""What fits into memory, and that what does not fit is made in parts with the same result."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.engine.budget import PROGRAM_BYTES, SPARE, Batching, Budget, network_bytes, solving_bytes
from spaceeye_stac.engine.jobs import grid_job, layout_of
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.keyframes.cells import CellLayout
from spaceeye_stac.methods.base import PER_PIXEL, CellLooks, Places, State
from spaceeye_stac.methods.registry import method_of
from spaceeye_stac.methods.solver import cached_rows
from spaceeye_stac.model import GridJob, Scene
from spaceeye_stac.pixels.network import NetworkUse
from spaceeye_stac.pixels.remote_file import LARGEST_REQUEST
from spaceeye_stac.resources import Resources
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.damped import DAMPED
from tests.support.same_files import assert_same_files


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    """A region of four damped cells, and of six of the surface."""
    simulation = Simulation(shape=(600, 700), days=12, revisit=3, bands=("B04", "B08"), cloudiness=0.5, seed=3)
    catalog = simulation.write(tmp_path_factory.mktemp("wide"))
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.001).boundingbox.bbox
    return se.Query(catalog=catalog, bbox=box, datetime="2023-04-03/2023-04-10")


def planned(query: se.Query, options: se.Settings) -> tuple[GridJob, CellLayout]:
    job = grid_job(se.search(query, options), query, options)
    return job, layout_of(job)


def least(query: se.Query, options: se.Settings, how: Batching) -> int:
    """Memory with which one cell just fits."""
    job, layout = planned(query, options)
    return math.ceil(PROGRAM_BYTES + SPARE * solving_bytes(job, layout, layout.groups(1)[0], how)) + 1


@pytest.mark.parametrize("method", ["damped", pytest.param("surface", marks=pytest.mark.slow)])
def test_a_cell_that_does_not_fit_is_made_strip_by_strip_with_the_same_result(
    wide: se.Query, method: str, tmp_path: Path
) -> None:
    options = se.Settings(method=method, duration=8, mask_dilation=30)
    memory = least(wide, options, Batching(rows=32, cached=False))
    how = Budget(memory, 2).solving(*planned(wide, options))
    assert how == Batching(1, 1, 32, cached=False)
    se.run(wide, options, out=tmp_path / "held")
    se.run(wide, options, out=tmp_path / "strips", resources=Resources(memory=memory))
    assert_same_files(tmp_path / "held", tmp_path / "strips")


def test_with_less_memory_strips_are_lower_before_workers_are_fewer_before_pixels_are_read_again(
    wide: se.Query,
) -> None:
    job, layout = planned(wide, DAMPED)
    lowest = least(wide, DAMPED, Batching(rows=32, cached=False))
    found = [Budget(memory, 2).solving(job, layout) for memory in range(lowest, 2 * lowest, 1_000_000)]
    assert found == sorted(found, key=lambda how: (how.cached, how.at_work, how.rows))
    assert {(how.cached, how.at_work) for how in found} == {(False, 1), (True, 1), (True, 2)}
    assert {how.rows for how in found} == {32, 64, 128}


def in_a_store(job: GridJob) -> GridJob:
    """The same, as if its bands were behind an address."""

    def moved(scene: Scene) -> Scene:
        bands = {
            name: replace(one, href="https://store.example/" + Path(one.href).name) for name, one in scene.bands.items()
        }
        return replace(scene, bands=bands)

    days = [replace(one, scenes=tuple(map(moved, one.scenes))) for one in job.acquisitions]
    return replace(job, acquisitions=tuple(days))


def test_answers_on_their_way_are_in_the_budget(wide: se.Query, monkeypatch: pytest.MonkeyPatch) -> None:
    job, layout = planned(wide, DAMPED)
    far = in_a_store(job)

    def needed(connections: int) -> int:
        monkeypatch.setattr("spaceeye_stac.engine.budget.network_use", lambda: NetworkUse(connections))
        return network_bytes(far)

    files = len(job.scenes) * 3
    assert network_bytes(job) == 0
    assert needed(4) - needed(3) == LARGEST_REQUEST
    assert needed(files) == needed(10 * files)
    how = Batching(rows=32, cached=False)
    alone = solving_bytes(far, layout, layout.groups(1)[0], how)
    enough = math.ceil(PROGRAM_BYTES + SPARE * (alone + needed(files))) + 1
    assert Budget(enough, 1).solving(far, layout) == how
    with pytest.raises(InvalidInputError, match="too little"):
        Budget(enough - 10, 1).solving(far, layout)


@pytest.mark.parametrize("method", ["damped", "surface"])
def test_a_single_cell_that_does_not_fit_has_the_same_result_too(
    simulated_query: se.Query, method: str, tmp_path: Path
) -> None:
    options = se.Settings(method=method, duration=12)
    memory = least(simulated_query, options, Batching(rows=32, cached=False))
    se.run(simulated_query, options, out=tmp_path / "held")
    se.run(simulated_query, options, out=tmp_path / "strips", resources=Resources(memory=memory))
    assert_same_files(tmp_path / "held", tmp_path / "strips")


def test_too_little_for_the_smallest_part_is_one_sentence(wide: se.Query, tmp_path: Path) -> None:
    memory = least(wide, DAMPED, Batching(rows=32, cached=False)) - 3
    said = r"memory 0\.\d+ GB is too little: 32 rows of one cell of 512 pixels with \d scenes and 2 bands takes"
    with pytest.raises(InvalidInputError, match=said):
        se.run(wide, DAMPED, out=tmp_path / "out", resources=Resources(memory=memory))
    assert not (tmp_path / "out").exists()
    own = se.Settings(method=lambda values, _clear, _days: values)
    with pytest.raises(InvalidInputError, match=r"too little: one cell of 512 pixels"):
        se.run(wide, own, out=tmp_path / "out", resources=Resources(memory=memory))


@pytest.mark.parametrize("method", ["damped", "surface"])
def test_memory_does_not_grow_with_the_time_range(method: str, tmp_path: Path) -> None:
    simulation = Simulation(shape=(64, 64), days=80, revisit=2, bands=("B04",))
    catalog = simulation.write(tmp_path)
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.001).boundingbox.bbox
    options, taken = se.Settings(method=method, duration=16), []
    for days in ("2023-04-01/2023-05-10", "2023-04-01/2023-06-19"):
        job, layout = planned(se.Query(catalog=catalog, bbox=box, datetime=days), options)
        taken.append((len(job.scenes), solving_bytes(job, layout, layout.groups(1)[0], Batching())))
    assert taken[1][0] > 1.5 * taken[0][0]
    assert taken[1][1] == taken[0][1]


WAYS = [se.Settings(method=name) for name in ("damped", "surface")]
WAYS += [se.Settings(method="surface", appearance="as_seen")]


@settings(max_examples=25, deadline=None)
@given(
    options=st.sampled_from(WAYS),
    height=st.integers(1, 150),
    width=st.integers(300, 330),
    seed=st.integers(0, 2**31),
    strips=st.integers(1, 3),
    dates=st.integers(1, 5),
)
@pytest.mark.slow
def test_strips_change_no_bit(
    options: se.Settings, height: int, width: int, seed: int, strips: int, dates: int
) -> None:
    looks = made_up(np.random.default_rng(seed), (dates, height, width))
    whole = method_of(options).solve(looks, options)
    cut = solved_in_strips(looks, options, strips * cached_rows(width))
    for name in PER_PIXEL:
        one, other = getattr(whole, name), getattr(cut, name)
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), name
    assert whole.widths is not None
    assert cut.widths is not None
    assert torch.equal(whole.widths.inner, cut.widths.inner)


def made_up(rng: np.random.Generator, shape: tuple[int, int, int]) -> CellLooks:
    values = rng.uniform(0.05, 0.5, (3, *shape)).astype(np.float32)
    clear = rng.random(shape) < rng.random((shape[0], 1, 1))
    days = tuple(int(day) for day in np.cumsum(rng.integers(1, 20, shape[0])))
    bands = ("B02", "B04", "B08")
    return CellLooks(torch.from_numpy(values * clear), torch.from_numpy(clear), days, range(days[-1] + 1), bands=bands)


def solved_in_strips(looks: CellLooks, options: se.Settings, rows: int) -> State:
    method = method_of(options)
    height, width = looks.clear.shape[1:]
    solver = method.start(options, (height, width))
    if method.learns:
        solver.learn(looks.at(Places.of((height, width))))
    parts = [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
    found = solver.rows(replace(looks, values=looks.values[:, :, part], clear=looks.clear[:, part]) for part in parts)
    return replace(State.joined([copied(state) for state in found]), widths=solver.widths())


def copied(state: State) -> State:
    """A strip is good until the next is asked for."""
    given = {name: getattr(state, name) for name in PER_PIXEL}
    return replace(state, **{name: image.clone() for name, image in given.items() if image is not None})
