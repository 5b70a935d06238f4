"""Scenes and a geobox to DN and labels on one grid; the only module that imports stackstac."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec
from stackstac.rio_reader import AutoParallelRioReader

from spaceeye_stac.errors import ReadError, keep_secrets_from
from spaceeye_stac.model import NO_LABEL
from spaceeye_stac.pixels.assets import SAME_PIXELS, AssetToRead

DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")
EXACT_PIXELS = 1e-9  # 0 is none at all for GDAL
REFUSED = re.compile(
    r"HTTP response code: 40[13]\b|AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch"
)
CUT_OFF = re.compile(r"Read failed")  # in the middle of a file GDAL does not tell a refusal from a damage
GONE = re.compile(r"No such file|HTTP response code: 404\b|does not exist|NoSuchKey|NoSuchBucket")
KEYLESS = re.compile(r"configuration options? not defined|InvalidCredentials|credentials not filled")
STRANGE = re.compile(r"not recognized as being in a supported file format")


keep_secrets_from(f"rasterio.{name}" for name in ("_base", "_env", "_err", "_io", "_path", "_warp", "vrt", "env"))


Found = TypeVar("Found")
Sources = Mapping[str, AssetToRead]
"""Assets to read, by what stackstac takes for their URL: never an address."""


class Opaque:
    """No dataclass, and alike to itself alone: dask would hash all that one holds, which takes longer than to read."""

    def __dask_tokenize__(self) -> int:
        return id(self)


class Readers(Opaque):
    """Makes stackstac's readers."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def __call__(self, *, url: str, **options: Any) -> "_StrictReader":  # noqa: ANN401 - as stackstac hands them
        """Return the reader of the source that is called so."""
        return _StrictReader(self.sources[url], url=url, **options)


class _StrictReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, for which any failure names the asset and none becomes nodata.

    The href is signed when the file is opened; where the store refuses the token, once more with a fresh one. Bands
    give 0 where there is no data; labels stand as they are whatever nodata the file declares, NO_LABEL outside it:
    masks of cloud probability often declare 0, which is a sure clear look.
    """

    def __init__(self, source: AssetToRead, **options: Any) -> None:  # noqa: ANN401 - as stackstac hands them
        super().__init__(**options | {"fill_value": NO_LABEL if source.is_label else 0})
        self.source, self.resampling = source, source.resampling
        self.raw = source.is_label

    def read(self, window: Window, **_options: object) -> NDArray[np.uint16]:
        """Read a window; ReadError where that fails, without a cause, as the cause may tell the signed address."""
        if self.source.is_away_from(self.spec.epsg, self.spec.bounds):
            return np.full((window.height, window.width), self.fill_value, np.uint16)
        return self._taken(lambda dataset: self._pixels(dataset, window))

    def check_opens(self) -> None:
        """Open the file and look at its header alone; ReadError where that fails."""
        self._taken(lambda dataset: dataset.shape)

    def _taken(self, take: Callable[[DatasetReader], Found]) -> Found:
        """What is taken of the file, where need be with a fresh token; ReadError where that fails."""
        href, signing = self.source.asset.href, self.source.signing
        place = signing(href)
        why, found = self._tried(place, take)
        again = signing.renewed(href, place) if REFUSED.search(why) or CUT_OFF.search(why) else None
        if again is not None:
            why, found = self._tried(again, take)
        if found is None:
            raise self.source.error(_in_words(why))
        return found

    def _tried(self, place: str, take: Callable[[DatasetReader], Found]) -> tuple[str, Found | None]:
        """What is taken of the file, or what GDAL said; nothing stays open."""
        try:
            # one environment for all: each new one searches the disk for GDAL's data
            with self.gdal_env.open, self._opened(place) as dataset:
                return "", take(dataset)
        except ReadError:
            raise
        except Exception as error:  # noqa: BLE001 - GDAL and rasterio raise many kinds; none may pass
            said, cause = [repr(error)], error.__cause__
            while cause is not None:
                said.append(repr(cause))
                cause = cause.__cause__
        return "; ".join(said), None

    def _opened(self, place: str) -> DatasetReader:
        """Open the file, nothing but GeoTIFF or JPEG 2000, and look at its header once."""
        dataset = DatasetReader(_gdal_name(place), driver=list(DRIVERS), sharing=False)
        try:
            self.source.check(dataset)
        except ReadError:
            dataset.close()
            raise
        return dataset

    def _pixels(self, dataset: DatasetReader, window: Window) -> NDArray[np.uint16]:
        lattice = _lattice(dataset, self.spec)
        if lattice is not None and (lattice.factor == 1 or self.resampling == Resampling.nearest):
            return self._copied(dataset, window, lattice)
        with WarpedVRT(dataset, sharing=False, **self._warp(dataset), **self.spec.vrt_params) as vrt:
            found = vrt.read(window=window, out_dtype=np.uint16, masked=not self.raw)
        # a second band is the alpha of a warped raster
        inside = found[1] != 0 if len(found) > 1 else ~np.ma.getmaskarray(found[0])
        return np.where(inside, np.ma.getdata(found[0]), np.uint16(self.fill_value))

    def _warp(self, dataset: DatasetReader) -> dict[str, Any]:
        """Exact for every pixel, so that the result does not depend on how the grid is cut."""
        options: dict[str, Any] = {"resampling": self.resampling, "tolerance": EXACT_PIXELS}
        if self.resampling in {Resampling.bilinear, Resampling.cubic}:
            scale = dataset.transform.a / self.spec.transform.a
            options |= {"XSCALE": scale, "YSCALE": scale}
        nodata = {"src_nodata": None, "add_alpha": True} if self.raw else {"add_alpha": dataset.nodata is None}
        return options | nodata

    def _copied(self, dataset: DatasetReader, window: Window, lattice: "_Lattice") -> NDArray[np.uint16]:
        """The file's pixels as they are, each so many times, the fill value outside."""
        rows = _Span.of(lattice.top + window.row_off, window.height, lattice.factor, dataset.height)
        columns = _Span.of(lattice.left + window.col_off, window.width, lattice.factor, dataset.width)
        if rows.count <= 0 or columns.count <= 0:
            return np.full((window.height, window.width), self.fill_value, np.uint16)
        source = Window(columns.start, rows.start, columns.count, rows.count)
        found = dataset.read(1, window=source, out_dtype=np.uint16, masked=not self.raw and _is_masked(dataset))
        values: NDArray[np.uint16] = np.ma.filled(found, self.fill_value)
        if values.shape == (window.height, window.width) and lattice.factor == 1:
            return values
        if lattice.factor > 1:
            values = values.repeat(lattice.factor, axis=0).repeat(lattice.factor, axis=1)
        out = np.full((window.height, window.width), self.fill_value, np.uint16)
        out[rows.target, columns.target] = values[rows.part, columns.part]
        return out


def _is_masked(dataset: DatasetReader) -> bool:
    """Whether the file has nodata other than 0, or a mask."""
    flags = dataset.mask_flag_enums[0]
    return MaskFlags.all_valid not in flags and not (MaskFlags.nodata in flags and dataset.nodata == 0)


@dataclass(frozen=True)
class _Lattice:
    """A file whose pixels are `factor` of the grid's wide and fall on its lines.

    `left`, `top`: where the grid's corner lies in the file, in the grid's pixels.
    """

    factor: int
    left: int
    top: int


def _lattice(dataset: DatasetReader, spec: RasterSpec) -> _Lattice | None:
    """How a file fits the grid; None where it has to be warped."""
    here, there = dataset.transform, spec.transform
    if dataset.crs is None or dataset.crs.to_epsg() != spec.epsg or here.b or here.d or here.e != -here.a:
        return None
    exact = here.a / there.a, (there.c - here.c) / there.a, (there.f - here.f) / there.e
    factor, left, top = (round(value) for value in exact)
    off = max(abs(a - b) for a, b in zip(exact, (factor, left, top), strict=True))
    return _Lattice(factor, left, top) if factor >= 1 and off < SAME_PIXELS else None


@dataclass(frozen=True)
class _Span:
    """Along one axis: `count` file pixels from `start`; the `part` of them, repeated, that goes to the `target`."""

    start: int
    count: int
    part: slice
    target: slice

    @classmethod
    def of(cls, first: int, length: int, factor: int, size: int) -> "_Span":
        """Cover `length` grid pixels from `first`, which counts from the file's edge, by a file of `size` pixels."""
        start, stop = max(first, 0), min(first + length, size * factor)
        low, high = start // factor, -(-stop // factor)
        part = slice(start - low * factor, stop - low * factor)
        return cls(low, high - low, part, slice(start - first, stop - first))


def _in_words(said: str) -> str:
    """What GDAL said, without an address."""
    if REFUSED.search(said):
        return "is refused by its store"
    if KEYLESS.search(said):
        return "needs keys that the environment does not give (see Access and trust in the README)"
    if GONE.search(said):
        return "does not exist"
    return "is no GeoTIFF or JPEG 2000, and only these are read" if STRANGE.search(said) else "cannot be read"


def _gdal_name(href: str) -> str:
    """What GDAL calls an href; rasterio knows all kinds but abfs, as container@account/path or container/path."""
    if not href.startswith(("abfs://", "abfss://")):
        return href
    parts = urlsplit(href)
    return f"/vsiaz/{parts.netloc.partition('@')[0]}{parts.path}"
