"""Full disks, failing sources, dying workers, Ctrl-C: a clear end, nothing wrong published, and it goes on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.days.cog import write_cog
from spaceeye_stac.errors import OutputError, ReadError
from spaceeye_stac.keyframes.cells import CellLayout
from spaceeye_stac.resources import Resources
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import command_line, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.forked_runs import Starter, starting
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    with starting() as running:
        yield running


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of that size; skips where this user may not mount one."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_sentence_and_with_more_room_the_run_goes_on(
    starter: Starter, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    disk = tmp_path.with_name(f"{tmp_path.name}_disk")  # as deep as the other run: links to scenes are relative
    with small_disk(disk, "600k"):
        out, ends, size = disk / "out", 0, 600
        starter.start(simulated_query, out)
        while (end := starter.end())[0] != 0:
            code, name, exit_code, said = end
            assert (code, name, exit_code) == (2, "OutputError", 2)
            assert str(disk) in said
            assert "make room there and run the same command again." in said
            assert "\n" not in said
            assert not out.exists()
            ends, size = ends + 1, size + 700
            assert ends < 12
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)
            starter.start(simulated_query, out)
        assert ends >= 3
        assert_same_files(out, simulated_run)


def test_files_that_cannot_grow_end_a_run_alike(
    starter: Starter, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    largest = max(path.stat().st_size for path in simulated_run.rglob("*.tif"))
    out = tmp_path / "out"
    for limit in (1000, largest - 1):
        starter.start(simulated_query, out, file_bytes=limit)
        code, name, _, said = starter.end()
        assert (code, name) == (2, "OutputError")
        assert "File too large" in said
        assert not out.exists()
    starter.start(simulated_query, out)
    assert starter.end() == [0]
    assert_same_files(out, simulated_run)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_short_raster_is_never_taken_for_whole(
    large: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the size of the disk, a raster is whole or an error; large ones go through a file beside them."""
    geobox = GeoBox.from_bbox((0, 0, 3000, 3000), "EPSG:32631", resolution=10)
    values = np.random.default_rng(1).integers(1, 60000, geobox.shape, np.uint16)
    if large:
        monkeypatch.setattr("spaceeye_stac.days.cog.LARGE_BYTES", 1000)
    tried: set[bool] = set()
    with small_disk(tmp_path / "disk", "4k"):
        for kilobytes in [8, 64, 150, *range(160, 260, 8), *range(660, 780, 8), 2000]:
            place = tmp_path / "disk"
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(place)], check=True)
            try:
                write_cog(place / "a.tif", values, geobox, nodata=0)
                fits = True
            except OutputError as error:
                assert str(place) in str(error)  # noqa: PT017 - it may also be whole
                fits = False
            if fits:
                with rasterio.open(place / "a.tif") as source:
                    np.testing.assert_array_equal(source.read(1), values)
            tried.add(fits)
            for path in place.iterdir():
                path.unlink()
    assert tried == {True, False}


def shorten(path: Path) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


def test_a_source_that_breaks_in_the_middle_is_named_and_the_run_goes_on(
    simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cells read one after the other, an asset is cut short after the first group."""
    solve_in_cells(monkeypatch, DAMPED, cell=40)
    monkeypatch.setattr(CellLayout, "groups", lambda self, _: [(cell,) for cell in self.cells])
    catalog = simulation.write(tmp_path / "catalog")
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    query = se.Query(catalog=catalog, bbox=box.bbox, datetime="2023-04-01/2023-04-24", bands=["B02", "B04"])
    se.run(query, DAMPED, out=tmp_path / "whole", resources=Resources(workers=1))
    (scene,) = [scene for scene in se.search(query) if scene.day.isoformat() == "2023-04-10"]
    asset = Path(scene.bands["B04"].href)
    taken: list[tuple[bytes, int]] = []

    def breaks(stage: str, done: int, _total: int) -> None:
        if stage == "solving" and done == 2:
            time_of_change = asset.stat().st_mtime_ns
            taken.append((shorten(asset), time_of_change))

    with pytest.raises(ReadError, match=f"{scene.id}.*{asset.name}") as caught:
        se.run(query, DAMPED, out=tmp_path / "out", resources=Resources(workers=1), progress=breaks)
    assert any("What is finished is kept" in note for note in caught.value.__notes__)
    assert not (tmp_path / "out").exists()
    done = len(list((tmp_path / ".out.partial").glob(".keyframes/*/done/*")))
    assert done >= 2
    (content, time_of_change) = taken[0]
    asset.write_bytes(content)
    os.utime(asset, ns=(time_of_change, time_of_change))
    se.run(query, DAMPED, out=tmp_path / "out", resources=Resources(workers=1))
    assert_same_files(tmp_path / "out", tmp_path / "whole")


def workers_of(pid: int) -> list[psutil.Process]:
    """The worker processes that a run has, whether still there or not: forked from a child of its own."""
    return [one for one in psutil.Process(pid).children(recursive=True) if one.ppid() != pid]


def test_worker_processes_that_are_killed_are_replaced_and_the_run_goes_on(
    starter: Starter, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pid = starter.start(simulated_query, out, scheduler="processes", workers=2)
    assert any(line[0] == "writing days" and line[1] > 0 for line in starter.told())
    crew = workers_of(pid)
    for one in [*crew, crew[0].parent()]:  # what they are forked from, too
        assert one is not None
        one.kill()
    assert starter.end() == [0]
    assert len(crew) == 2
    assert_same_files(out, simulated_run)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_worker_outlives_the_run(
    starter: Starter, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    pid = starter.start(simulated_query, tmp_path / "out", scheduler="processes", workers=2)
    assert any(line[0] == "writing days" and line[1] > 0 for line in starter.told())
    crew = workers_of(pid)
    os.kill(pid, signal.SIGKILL)
    assert starter.end() == [-signal.SIGKILL]
    assert crew
    psutil.wait_procs(crew, timeout=5)
    assert not [one for one in crew if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert list(tmp_path.glob(".out.partial/.workers/*"))
    starter.start(simulated_query, tmp_path / "out")  # on threads
    assert starter.end() == [0]
    assert_same_files(tmp_path / "out", simulated_run)


@pytest.mark.parametrize(
    ("scheduler", "number"),
    [
        ("threads", signal.SIGINT),
        pytest.param("processes", signal.SIGINT, marks=pytest.mark.slow),
        ("processes", signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_run_that_says_what_is_kept(
    scheduler: str, number: int, simulated_query: se.Query, simulated_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = command_line("run", *options_of(simulated_query), *BY_DAMPED, "--out", out, "--scheduler", scheduler)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob(".out.partial/spaceeye_*")):
            assert process.poll() is None
            time.sleep(0.005)
        crew = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"Interrupted: what is finished is kept beside {out}; the same command again goes on from" in said
    assert bool(crew) == (scheduler == "processes")
    psutil.wait_procs(crew, timeout=5)
    assert not out.exists()
    result = se.run(simulated_query, DAMPED, out=out)
    assert result.kept
    assert_same_files(out, simulated_run)
