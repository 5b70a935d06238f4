import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from odc.geo.geobox import GeoBox

from spaceeye_stac.days.cog import Encoding, Raster
from spaceeye_stac.days.encoder import encode, encoders
from spaceeye_stac.errors import OutputError, WorkerError

GRID = GeoBox.from_bbox((500_000, 5_590_000, 509_000, 5_600_000), "EPSG:32631", resolution=10, tight=True)
VALUES = np.random.default_rng(0).integers(0, 9000, GRID.shape, dtype=np.uint16)


def write(path: Path) -> str:
    raster = Raster(path, GRID, "uint16", encoding=Encoding())
    raster.write(VALUES, 0)
    return raster.close().file.checksum


def test_processes_write_the_same_bytes_and_end(tmp_path: Path) -> None:
    here = write(tmp_path / "here.tif")
    with encoders(2), ThreadPoolExecutor(4) as pool:
        checksums = list(pool.map(write, [tmp_path / f"{n}.tif" for n in range(6)]))
        started = children()
    assert set(checksums) == {here}
    assert 1 <= len(started) <= 2
    assert not set(started) & set(children())
    assert len(list(tmp_path.iterdir())) == 7, "no rough raster is left"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    rough = tmp_path / "rough.tif"
    rough.write_bytes(b"no raster")
    said = r"a\.tif cannot be written: TypeError .*rough\.tif' not recognized as being in a supported file format; see"
    with encoders(1), pytest.raises(OutputError, match=said):
        encode(rough, tmp_path / "a.tif", {}, {})
    assert not (tmp_path / "a.tif").exists()


def test_a_process_that_dies_is_an_error_and_the_next_one_is_new(tmp_path: Path) -> None:
    with encoders(1):
        before = write(tmp_path / "a.tif")
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"The process that writes .*b\.tif died"):
            write(tmp_path / "b.tif")
        assert write(tmp_path / "b.tif") == before
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_the_memory_of_a_raster_is_given_back(tmp_path: Path) -> None:
    def held() -> int:
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum("memfd:pixels" in str(path.readlink()) for path in links)

    with encoders(1):
        write(tmp_path / "a.tif")
        abandoned = Raster(tmp_path / "b.tif", GRID, "uint16", encoding=Encoding())
        abandoned.write(VALUES, 0)
        assert held()
        del abandoned
        assert not held()
        (pid,) = children()
        assert not any("memfd" in entry.path for entry in psutil.Process(pid).memory_maps())


def test_a_process_ends_with_the_program_that_started_it() -> None:
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen([sys.executable, "-m", "spaceeye_stac.days.encoder"], stdin=there.fileno())
    here.close()
    assert process.wait(60) == 0


def children() -> list[int]:
    """Encoders that this program has running."""
    return [p.pid for p in psutil.Process().children() if "spaceeye_stac.days.encoder" in p.cmdline()]
