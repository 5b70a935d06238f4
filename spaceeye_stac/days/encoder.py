"""Pixels to COGs in processes of their own: rasterio holds the lock of Python, so threads would wait in line.

A process is a plain `python -m spaceeye_stac.days.encoder` whose input is a socket: it reads one JSON line a raster,
with it the memory its pixels are in, and answers with one line; it ends when the socket does, and so with the program
that started it.
"""

import json
import mmap
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from spaceeye_stac.errors import OutputError, WorkerError

CACHE_MB = 64
COARSE = 4  # times as large are the pixels of an overview
KEPT_BYTES = 2**28
SETTINGS = {
    "GDAL_CACHEMAX": str(CACHE_MB),
    # one raster is as the next: glibc is to keep their memory, as new pages cost a tenth of all
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
}
MESSAGE_BYTES = 2**16
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
IMAGERY = "IMAGERY"  # GDAL's domain for what sensors say
RasterProfile = Mapping[str, Any]
"""What a raster is, as rasterio takes it but in plain JSON: `count`, `height`, `width`, `dtype`, `crs` in WKT, the six
numbers of its `transform`, `nodata`; and `said`, what it says of itself as a `Description` has it, or None."""


class SharedPixels:
    """The pixels `(band, y, x)` of a raster on its way, all 0, where an encoder can see them if there is one."""

    def __init__(self, shape: tuple[int, int, int], dtype: str) -> None:
        self.values: NDArray[np.unsignedinteger]
        self.memory: int | None = None
        if _Pool.free is None:
            self.values = np.zeros(shape, dtype)
            return
        # of no name, so that it goes with the programs that have it, and not of the little that containers share
        self.memory = os.memfd_create("pixels")
        weakref.finalize(self, os.close, self.memory)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        os.ftruncate(self.memory, size)
        self.values = np.frombuffer(mmap.mmap(self.memory, size), dtype).reshape(shape)


class Encoder:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket
        self._answers: IO[bytes]

    def encode(
        self, source: "SharedPixels | Path", path: Path, profile: RasterProfile, options: Mapping[str, object]
    ) -> None:
        """Make the COG `path` of pixels or of a raster file; OutputError where that fails, WorkerError if it died."""
        self._start()
        rough, memory = (str(source), None) if isinstance(source, Path) else (None, source.memory)
        line = json.dumps([rough, str(path), dict(profile), dict(options)]).encode() + b"\n"
        try:
            socket.send_fds(self._socket, [line], [] if memory is None else [memory])
            answer = self._answers.readline()
        except OSError:
            answer = b""
        if not answer:
            self.close()
            raise WorkerError(f"The process that writes {path} died; run the same command again, with less memory.")
        why = json.loads(answer)
        if why is not None:
            path.unlink(missing_ok=True)
            raise OutputError(f"{path} cannot be written: {why.rstrip('.')}; see that there is room, and run again.")

    def _start(self) -> None:
        """Start the process, unless it runs."""
        if self._process is None:
            self._socket, theirs = socket.socketpair()
            with theirs:
                line = [sys.executable, "-m", "spaceeye_stac.days.encoder"]
                self._process = subprocess.Popen(line, stdin=theirs.fileno(), env={**os.environ, **SETTINGS})  # noqa: S603
            self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            self._answers.close()
            self._socket.close()
            process.wait()


class _Pool:
    """The encoders that are free, while some are there at all."""

    free: "SimpleQueue[Encoder] | None" = None


@contextmanager
def encoders(count: int) -> Iterator[None]:
    """Let `encode` use so many processes inside the block, where the system can share memory with them."""
    if not hasattr(os, "memfd_create"):
        yield
        return
    made = [Encoder() for _ in range(count)]
    _Pool.free = SimpleQueue()
    for encoder in made:
        _Pool.free.put(encoder)
    try:
        yield
    finally:
        _Pool.free = None
        for encoder in made:
            encoder.close()


def encode(source: SharedPixels | Path, path: Path, profile: RasterProfile, options: Mapping[str, object]) -> None:
    """Make the COG `path` of pixels or of a raster file in a free process, or here where there are none.

    `options` are those of GDAL's COG driver.
    """
    free = _Pool.free
    if free is None:
        _encode(source if isinstance(source, Path) else source.values, path, profile, options)
        return
    encoder = free.get()
    try:
        encoder.encode(source, path, profile, options)
    finally:
        free.put(encoder)


def _encode(
    source: NDArray[np.unsignedinteger] | Path, path: Path, profile: RasterProfile, options: Mapping[str, object]
) -> None:
    """Encode here: a file piece by piece, what is in memory there and at once, as not every failed write is told."""
    if isinstance(source, Path):
        with rasterio.open(source, "r+") as raster:
            _add_overviews(raster, options)
        copy(str(source), str(path), driver="COG", **options)
        return
    with rasterio.open("", "w", driver="MEM", **_given(profile)) as raster, MemoryFile(ext=".tif") as memory:
        describe(raster, profile)
        raster.write(source)
        _add_overviews(raster, options)
        copy(raster, memory.name, driver="COG", **options)
        path.write_bytes(memory.getbuffer())


def create_raster(path: Path, profile: RasterProfile, **options: object) -> Any:  # noqa: ANN401 - rasterio has no types
    """Open a raster of this profile for writing."""
    raster = rasterio.open(path, "w", **options, **_given(profile))
    describe(raster, profile)
    return raster


def _given(profile: RasterProfile) -> dict[str, Any]:
    """The profile as rasterio opens it."""
    return {**{k: v for k, v in profile.items() if k != "said"}, "transform": Affine(*profile["transform"])}


def describe(raster: Any, profile: RasterProfile) -> None:  # noqa: ANN401 - rasterio has no types
    """Give a raster that is written what it is not opened with."""
    said, count = profile["said"], profile["count"]
    if said is not None:
        if said["scale"] is not None:
            raster.scales, raster.offsets = (said["scale"],) * count, (0.0,) * count
        raster.units, raster.descriptions = (said["unit"],) * count, said["bands"]
        raster.update_tags(**said["tags"])
        raster.update_tags(ns=IMAGERY, **said["imagery"])
        raster.update_tags(1, **said["band_tags"])
        if said["colours"]:
            raster.write_colormap(1, dict(enumerate(map(tuple, said["colours"]))))
    if count == len(COLOURS):
        raster.colorinterp = COLOURS


def _add_overviews(raster: Any, options: Mapping[str, object]) -> None:  # noqa: ANN401 - rasterio has no types
    """Give a raster the overviews of its COG: the driver's own go through a compressed file, a third of its time."""
    levels = _factors(max(raster.shape), int(str(options["blocksize"])))
    if options["overviews"] == "FORCE_USE_EXISTING":
        levels = levels[1:] or [COARSE]
    if options["overviews"] != "NONE" and levels:
        raster.build_overviews(levels, Resampling[str(options["overview_resampling"])])


def _factors(longest: int, block: int) -> list[int]:
    """Powers of two, up to that which makes one block of the raster."""
    levels = (2**n for n in range(1, longest.bit_length()))
    return [level for level in levels if longest // (level // 2) > block]


def _asked(there: socket.socket) -> Iterator[tuple[Any, int | None]]:
    """Each line of the socket, and the memory that comes with it."""
    while True:
        data, memory, _, _ = socket.recv_fds(there, MESSAGE_BYTES, 1)
        if not data:
            return
        while not data.endswith(b"\n"):
            data += there.recv(MESSAGE_BYTES)
        yield json.loads(data), memory[0] if memory else None


def _answer(asked: tuple[str | None, str, RasterProfile, Mapping[str, object]], memory: int | None) -> None:
    """Make one COG of a file or of another process's memory."""
    rough, path, profile, options = asked
    if memory is None:
        _encode(Path(str(rough)), Path(path), profile, options)
        return
    try:
        pixels = np.frombuffer(mmap.mmap(memory, 0, prot=mmap.PROT_READ), profile["dtype"])
        _encode(pixels.reshape([profile[side] for side in ("count", "height", "width")]), Path(path), profile, options)
    finally:
        os.close(memory)


def main() -> None:
    """Answer each line of the input: null when its COG is there, else what went wrong."""
    with socket.socket(fileno=sys.stdin.fileno()) as there:
        for asked, memory in _asked(there):
            try:
                _answer(asked, memory)
                why = None
            except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; all are told
                why = f"{type(error).__name__} {error}"
            there.sendall(json.dumps(why).encode() + b"\n")


if __name__ == "__main__":
    main()
