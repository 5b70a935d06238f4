"""Rough rasters to COGs in processes of their own: rasterio holds the lock of Python, so threads would wait in line.

A process is a plain `python -m spaceeye_stac.encoder` that reads one JSON line a file from its input and answers with
one; it ends when its input does, and so with the program that started it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from spaceeye_stac.errors import OutputError, WorkerError

CACHE_MB = 64
LARGE_BYTES = 96 * 2**20


class Encoder:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def copy(self, rough: Path, path: Path, options: Mapping[str, object]) -> None:
        """Make the COG `path` of the raster `rough`; OutputError where that fails, WorkerError if it died."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - opened as pipes
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(json.dumps([str(rough), str(path), dict(options)]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            self.close()
            raise WorkerError(f"The process that writes {path} died; run the same command again, with less memory.")
        why = json.loads(answer)
        if why is not None:
            path.unlink(missing_ok=True)
            raise OutputError(f"{path} cannot be written: {why.rstrip('.')}; see that there is room, and run again.")

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            line = [sys.executable, "-m", "spaceeye_stac.encoder"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            environment = {**os.environ, "GDAL_CACHEMAX": str(CACHE_MB)}
            self._process = subprocess.Popen(line, text=True, env=environment, **pipes)  # type: ignore[call-overload] # noqa: S603
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()


class _Pool:
    """The encoders that are free, while some are there at all."""

    free: "SimpleQueue[Encoder] | None" = None


@contextmanager
def encoders(count: int) -> Iterator[None]:
    """Let `encode` use so many processes inside the block."""
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


def are_there() -> bool:
    """Whether `encode` has processes to use."""
    return _Pool.free is not None


def encode(rough: Path, path: Path, options: Mapping[str, object]) -> None:
    """Make the COG `path` of the raster `rough` in a free process, or here where there are none."""
    free = _Pool.free
    if free is None:
        _copy(str(rough), str(path), options)
        return
    encoder = free.get()
    try:
        encoder.copy(rough, path, options)
    finally:
        free.put(encoder)


def _copy(rough: str, path: str, options: Mapping[str, object]) -> None:
    """Encode in memory and write at once, where that is not too much: not every failed write of GDAL's own is told."""
    from rasterio.io import MemoryFile  # noqa: PLC0415 - the process that only asks does not need it
    from rasterio.shutil import copy  # noqa: PLC0415

    if Path(rough).stat().st_size > LARGE_BYTES:
        copy(rough, path, driver="COG", **options)
        return
    with MemoryFile(ext=".tif") as memory:
        copy(rough, memory.name, driver="COG", **options)
        Path(path).write_bytes(memory.getbuffer())


def main() -> None:
    """Answer each line of the input: null when its COG is there, else what went wrong."""
    for line in sys.stdin:
        rough, path, options = json.loads(line)
        try:
            _copy(rough, path, options)
            why = None
        except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; all are told
            why = f"{type(error).__name__} {error}"
        sys.stdout.write(json.dumps(why) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
