"""One day's images to Cloud Optimized GeoTIFFs; the only module that writes rasters."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

from spaceeye_stac.collection import Statistics, WrittenFile
from spaceeye_stac.days.descriptions import SCALE, Description
from spaceeye_stac.days.encoder import RasterForm, encode
from spaceeye_stac.errors import OutputError
from spaceeye_stac.resources import Output

SHA256 = "1220"  # begins a multihash
NODATA = 0
HIGHEST_DN = 65535
DN_PER_REFLECTANCE = 10_000
OVERVIEWS_ABOVE_PIXELS = 512
TILE_MULTIPLE = 16
SMALLEST_TILE = 128
BLOCK = 512
ROUGH = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "interleave": "band",
    "bigtiff": "if_safer",
}
LARGE_BYTES = 96 * 2**20
CACHED_VALUES = 1 << 16


@dataclass(frozen=True)
class Encoding:
    """How rasters are compressed: "DEFLATE" or "ZSTD", and the level; `overviews`: which, where a raster is large.

    "AUTO": each half as large as the one before. "FORCE_USE_EXISTING": those of a quarter of the size and less alone,
    which are a quarter of the bytes of all.
    """

    compress: str = "DEFLATE"
    level: int = 1
    overviews: str = field(default="AUTO", repr=False)

    @classmethod
    def of(cls, output: Output) -> "Encoding":
        """As a run's output wants it."""
        return cls(output.compress.upper(), output.compression_level)

    @property
    def of_pictures(self) -> "Encoding":
        """That of `visual`: always DEFLATE, as viewers in browsers, which draw it, may lack ZSTD."""
        return self if self.compress == Encoding.compress else Encoding()


def quantise(reflectance: NDArray[np.float32], unit: float = SCALE) -> NDArray[np.uint16]:
    """Round reflectance to DN of 0.0001 (or another unit), from 1 to 65535; NaN becomes 0, which is nodata."""
    flat = np.ascontiguousarray(reflectance).reshape(-1)
    out, room = np.empty(flat.shape, np.uint16), np.empty(min(flat.size, CACHED_VALUES))
    for start in range(0, flat.size, CACHED_VALUES):
        part = slice(start, start + CACHED_VALUES)
        scaled = room[: flat[part].size]
        # takes half the time of a division, and rounds any float32 to the same
        np.rint(np.multiply(flat[part], 1 / unit, out=scaled, dtype=np.float64), out=scaled)
        np.clip(scaled, 1, HIGHEST_DN, out=scaled)
        if np.isnan(flat[part].min()):
            scaled[np.isnan(scaled)] = NODATA
        np.copyto(out[part], scaled, casting="unsafe")
    return out.reshape(reflectance.shape)


def truncate(reflectance: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Cut reflectance, any shape, to DN of 0.0001 as FarmVibes.AI does: floor(10000 r), the product in float32.

    NaN becomes 0, which is nodata. Outside 1 to 65535, where the source gives nodata or wraps around, the nearer end.
    """
    scaled = np.asarray(reflectance, dtype=np.float32) * np.float32(DN_PER_REFLECTANCE)
    missing = np.isnan(scaled)
    return np.where(missing, 0, np.clip(np.where(missing, 1, scaled), 1, HIGHEST_DN)).astype(np.uint16)


def histogram(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many of the `(y, x)` are 0, 1 ... 255."""
    return np.array(Image.fromarray(values).histogram(), np.int64)


class Moments:
    """Sums over the valid pixels of one layer of uint8, or of uint16 with nodata 0; exact in any order."""

    def __init__(self, nodata: int) -> None:
        self.nodata = nodata
        self.pixels = self.valid = 0
        self.total = self.squares = 0
        self.least, self.most = HIGHEST_DN, 0

    def add(self, values: NDArray[np.unsignedinteger]) -> None:
        """Count one part."""
        flat = values.reshape(-1)
        self.pixels += flat.size
        if flat.dtype == np.uint8:
            self._add_counts(histogram(values))
            return
        for start in range(0, flat.size, CACHED_VALUES):
            self._add_part(flat[start : start + CACHED_VALUES])

    def _add_counts(self, counts: NDArray[np.int64]) -> None:
        counts[self.nodata] = 0
        found = np.flatnonzero(counts)
        if found.size:
            self.valid += int(counts.sum())
            self.total += int(counts @ np.arange(counts.size))
            self.squares += int(counts @ np.arange(counts.size) ** 2)
            self.least, self.most = min(self.least, int(found[0])), max(self.most, int(found[-1]))

    def _add_part(self, part: NDArray[np.unsignedinteger]) -> None:
        """Zeros, which are nodata, add nothing to a sum; less one they wrap around to the highest."""
        exact = part.astype(np.float64)
        self.valid += int(np.count_nonzero(part))
        self.total += int(exact.sum())
        np.multiply(exact, exact, out=exact)  # no BLAS: its threads would fight those of the run
        self.squares += int(exact.sum())
        self.least = min(self.least, int((part - np.uint16(1)).min()) + 1)
        self.most = max(self.most, int(part.max()))

    def statistics(self) -> Statistics | None:
        """Statistics of all parts; None where no pixel is valid."""
        if not self.valid:
            return None
        mean = self.total / self.valid
        variance = max(0, self.squares * self.valid - self.total**2) / self.valid**2
        share = round(100 * self.valid / self.pixels, 4)
        return Statistics(float(self.least), float(self.most), round(mean, 4), round(variance**0.5, 4), share)


def statistics(values: NDArray[np.unsignedinteger], nodata: int) -> Statistics | None:
    """Statistics of the pixels that are not nodata; None where there is none."""
    moments = Moments(nodata)
    moments.add(values)
    return moments.statistics()


@dataclass(frozen=True)
class WrittenRaster:
    """A finished raster and the statistics of its layers; None where a layer holds nothing."""

    file: WrittenFile
    statistics: tuple[Statistics | None, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is valid."""
        return all(found is None for found in self.statistics)


class Raster:
    """A COG that is written from top to bottom: tiled, overviews above 512 pixels, the same bytes every time.

    It is gathered in memory; a large one in an uncompressed file beside it, so that it never stands in memory as a
    whole. Raises OutputError where it cannot be written.
    """

    holds = True

    def __init__(
        self,
        path: Path,
        geobox: GeoBox,
        dtype: str,
        *,
        count: int = 1,
        nodata: int = NODATA,
        encoding: Encoding,
        said: Description | None = None,
    ) -> None:
        self._path, self._options = path, _options(geobox, encoding, averaged=count > 1 or dtype == "uint16")
        self._moments = [Moments(nodata) for _ in range(count)]
        height, width = (int(n) for n in geobox.shape)
        profile = {
            "count": count,
            "height": height,
            "width": width,
            "dtype": dtype,
            "crs": _wkt(geobox),
            "transform": geobox.transform,
            "nodata": nodata,
        }
        self._form = RasterForm(profile, said)
        size = height * width * count * np.dtype(dtype).itemsize
        self._gathered: _Memory | _File
        if size > LARGE_BYTES:
            self._gathered = _File(path.with_suffix(".rough.tif"), size, self._form)
        else:
            self._gathered = _Memory(np.zeros((count, height, width), dtype))

    def write(self, values: NDArray[np.unsignedinteger], top: int) -> None:
        """Put `(y, x)` or `(layer, y, x)` over the whole width, from row `top` on."""
        layers = values if values.ndim == 3 else values[None]  # noqa: PLR2004
        for moments, layer in zip(self._moments, layers, strict=True):
            moments.add(layer)
        with _named_errors(self._path):
            self._gathered.write(layers, top)

    def close(self) -> WrittenRaster:
        """Finish the file."""
        with _named_errors(self._path):
            encode(self._gathered.finished(), self._path, self._form, self._options)
            if isinstance(self._gathered, _File):
                self._gathered.path.unlink()
                self._read_back()
        del self._gathered
        return WrittenRaster(written_file(self._path), tuple(moments.statistics() for moments in self._moments))

    def _read_back(self) -> None:
        """Raise OSError unless the file holds what was written: GDAL may say nothing of a disk that is full."""
        found = [Moments(moments.nodata) for moments in self._moments]
        with rasterio.open(self._path) as source:
            levels = range(len(source.overviews(1)))
            for _, window in source.block_windows(1):
                for moments, layer in zip(found, source.read(window=window), strict=True):
                    moments.add(layer)
        if [m.statistics() for m in found] != [m.statistics() for m in self._moments]:
            raise OSError(errno.ENOSPC, "what was written cannot be read back; the disk may be full")
        for level in levels:
            with rasterio.open(self._path, overview_level=level) as source:
                for _, window in source.block_windows(1):
                    source.read(window=window)


@dataclass(frozen=True)
class _Memory:
    """Pixels that are gathered in memory."""

    pixels: NDArray[np.unsignedinteger]

    def write(self, layers: NDArray[np.unsignedinteger], top: int) -> None:
        self.pixels[:, top : top + layers.shape[1]] = layers

    def finished(self) -> NDArray[np.unsignedinteger]:
        return self.pixels


class _File:
    """Pixels that are gathered in an uncompressed file of so many bytes at least."""

    def __init__(self, path: Path, size: int, form: RasterForm) -> None:
        self.path, self._size = path, size
        self._raster = form.create(path, **ROUGH)

    def write(self, layers: NDArray[np.unsignedinteger], top: int) -> None:
        self._raster.write(layers, window=Window(0, top, layers.shape[2], layers.shape[1]))

    def finished(self) -> Path:
        """Return the file, which must be whole: what is missing in it would be read as nodata."""
        self._raster.close()
        if self.path.stat().st_size < self._size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.path


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turn what GDAL or the system says of a file that cannot be written into OutputError."""
    try:
        yield
    except (OSError, CPLE_BaseError) as error:
        said = (isinstance(error, OSError) and error.strerror) or str(error).strip().splitlines()[0].rstrip(".")
        raise OutputError(
            f"{path} cannot be written ({said}); make room there and run the same command again."
        ) from None


@cache
def _wkt(geobox: GeoBox) -> str | None:
    return geobox.crs.to_wkt() if geobox.crs else None


def _options(geobox: GeoBox, encoding: Encoding, *, averaged: bool) -> dict[str, object]:
    """How GDAL is to write: reflectance and pictures are averaged in overviews, classes are not."""
    largest = max(geobox.shape)
    return {
        "compress": encoding.compress,
        "level": encoding.level,
        "predictor": "STANDARD",
        "blocksize": min(BLOCK, max(SMALLEST_TILE, -(-largest // TILE_MULTIPLE) * TILE_MULTIPLE)),
        "overviews": encoding.overviews if largest > OVERVIEWS_ABOVE_PIXELS else "NONE",
        "overview_resampling": "average" if averaged else "nearest",
        "bigtiff": "IF_SAFER",
        "copy_src_mdd": "YES",  # GDAL's domain IMAGERY, too
    }


def write_cog(path: Path, values: NDArray[np.unsignedinteger], geobox: GeoBox, *, nodata: int) -> WrittenFile:
    """Write `(band, y, x)` or `(y, x)` as a COG at once."""
    count = 1 if values.ndim == 2 else len(values)  # noqa: PLR2004
    raster = Raster(path, geobox, str(values.dtype), count=count, nodata=nodata, encoding=Encoding())
    raster.write(values, 0)
    return raster.close().file


def written_file(path: Path) -> WrittenFile:
    """Size and checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(path, path.stat().st_size, f"{SHA256}{digest}")
