"""Scenes and a geobox to DN and labels on one grid; with `loader`, the only module that imports stackstac."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from threading import Event, Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import AutoParallelRioReader

from spaceeye_stac.errors import ReadError, exhausted, keep_secrets_from
from spaceeye_stac.model import NO_LABEL
from spaceeye_stac.pixels.assets import LARGE_BLOCK_PIXELS, AssetToRead
from spaceeye_stac.pixels.gdal_signals import lost_directories
from spaceeye_stac.pixels.gdal_words import (
    CUT_OFF,
    LOST,
    REFUSED,
    UNREADABLE,
    gdal_name,
    gdals_reason,
    in_words,
    may_pass,
)
from spaceeye_stac.pixels.headers import has_alpha
from spaceeye_stac.pixels.lattice import Lattice, lattice_of
from spaceeye_stac.pixels.overviews import GridWindow, coarsest
from spaceeye_stac.pixels.patience import UNCACHED, waits
from spaceeye_stac.pixels.raw_values import BandValues, Labels, pixel_scales

DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JPEG2000")
EXACT_PIXELS = 1e-9  # 0 is none at all for GDAL
_large_blocks = Lock()  # files in blocks of many megabytes are decoded one after the other


keep_secrets_from(f"rasterio.{name}" for name in ("_base", "_env", "_err", "_io", "_path", "_warp", "vrt", "env"))


Found = TypeVar("Found")
Sources = Mapping[str, AssetToRead]
"""Assets to read, by what stackstac takes for their URL: never an address."""


class Opaque:
    """No dataclass, and alike to itself alone: dask would hash all that one holds, which takes longer than to read."""

    def __dask_tokenize__(self) -> int:
        return id(self)


class Readers(Opaque):
    """Makes stackstac's readers; once `ended` is set, none of them tries anything again."""

    def __init__(self, sources: Sources) -> None:
        self.sources, self.ended = sources, Event()

    def __call__(self, *, url: str, **options: Any) -> "_StrictReader":  # noqa: ANN401 - as stackstac hands them
        """Return the reader of the source that is called so."""
        return _StrictReader(self.sources[url], self.ended, url=url, **options)


class _StrictReader(AutoParallelRioReader):  # type: ignore[misc]
    """stackstac's reader, for which any failure names the asset and none becomes nodata.

    The href is signed when the file is opened; where the store refuses the token, once more with a fresh one. Bands
    give 0 where there is no data; labels stand as they are whatever nodata the file declares, NO_LABEL outside it:
    masks of cloud probability often declare 0, which is a sure clear look.
    """

    def __init__(self, source: AssetToRead, ended: Event, **options: Any) -> None:  # noqa: ANN401 - stackstac's
        super().__init__(**options | {"fill_value": NO_LABEL if source.is_label else 0})
        self.source, self.resampling, self.ended = source, source.resampling, ended

    def read(self, window: Window, **_options: object) -> NDArray[np.uint16]:
        """Read a window; ReadError where that fails, without a cause, as the cause may tell the signed address."""
        if self.source.is_elsewhere(self.spec.epsg, self.spec.bounds):
            return self._nothing(window)
        return self._taken(lambda dataset, crs: self._pixels(dataset, crs, window))

    def check_opens(self) -> None:
        """Open the file and look at its header alone; ReadError where that fails."""
        self._taken(lambda dataset, _crs: dataset.shape)

    def _nothing(self, window: Window) -> NDArray[np.uint16]:
        return np.full((window.height, window.width), self.fill_value, np.uint16)

    def _taken(self, take: Callable[[DatasetReader, CRS], Found]) -> Found:
        """What is taken of the file, where need be with a fresh token; ReadError where that fails."""
        href, signing = self.source.asset.href, self.source.signing
        place = signing(href)
        why, found = self._tried(place, take, self.gdal_env)
        again = signing.renewed(href, place) if REFUSED.search(why) or CUT_OFF.search(why) else None
        if again is not None:
            why, found = self._tried(again, take, self.gdal_env)
        tries = 1
        for wait in waits() if "://" in href else ():
            if found is not None or not may_pass(why) or self.ended.wait(wait):
                break
            place, tries = signing(href), tries + 1
            why, found = self._tried(place, take, self.gdal_env.updated(UNCACHED))
        if found is None:
            raise self._error(why, place, tries)
        return found

    def _error(self, why: str, place: str, tries: int) -> ReadError:
        """What is said of a file that is not had, whatever is tried."""
        words, tried = in_words(why), f", tried {tries} times" if tries > 1 else ""
        if words == LOST:
            return self.source.lost(f"{words}{gdals_reason(why, place)}{tried}")
        cut = f"; where its connection is cut off{tried}, run again" if tried else ""
        return self.source.error(words, f"{gdals_reason(why, place) if words == UNREADABLE else ''}{cut}")

    def _tried(
        self, place: str, take: Callable[[DatasetReader, CRS], Found], env: LayeredEnv
    ) -> tuple[str, Found | None]:
        """What is taken of the file, or what GDAL said; nothing stays open."""
        try:
            with lost_directories() as lost:
                found = self._opened(place, take, env)
            return ("; ".join(lost), None) if lost else ("", found)
        except ReadError:
            raise
        except Exception as error:  # GDAL and rasterio raise many kinds; none may pass
            chain: list[BaseException] = [error]
            while (cause := chain[-1].__cause__) is not None:
                chain.append(cause)
            lack = next(filter(None, map(exhausted, chain)), None)
            if lack is not None:  # of the machine, and no fault of the file
                raise lack from error
        return "; ".join(map(repr, chain)), None

    def _opened(self, place: str, take: Callable[[DatasetReader, CRS], Found], env: LayeredEnv) -> Found:
        # one environment for all first tries: each new one searches the disk for GDAL's data
        with env.open, DatasetReader(gdal_name(place), driver=list(DRIVERS), sharing=False) as dataset:
            away = self.spec is not None and self.source.is_away_from(self.spec.epsg, self.spec.bounds)
            crs = self.source.check(dataset, away=away)
            rows, columns = dataset.block_shapes[0]
            with _large_blocks if rows * columns > LARGE_BLOCK_PIXELS else nullcontext():
                return take(dataset, crs)

    def _pixels(self, dataset: DatasetReader, crs: CRS, window: Window) -> NDArray[np.uint16]:
        lattice = lattice_of(dataset, crs, self.spec)
        values = Labels() if self.source.is_label else BandValues.of(dataset, self.source)
        if lattice is not None and (lattice.factor == 1 or self.resampling == Resampling.nearest):
            return self._copied(dataset, values, window, lattice)
        options = {"sharing": False, "src_crs": crs, **self._warp(dataset, crs, values)}
        with self._finest(dataset, crs, values, window) as pixels, WarpedVRT(pixels, **options) as vrt:
            found = vrt.read(window=window, masked=not self.source.is_label)
        # a second band is the alpha of a warped raster
        inside = found[1] != 0 if len(found) > 1 else ~np.ma.getmaskarray(found[0])
        return values.converted(np.ma.getdata(found[0]), inside)

    @property
    def _grid(self) -> Affine:
        return Affine(*self.spec.transform[:6])

    def _finest(
        self, dataset: DatasetReader, crs: CRS, values: "Labels | BandValues", window: Window
    ) -> AbstractContextManager[DatasetReader]:
        """The pixels that are warped: those of the file, or of an overview."""
        if isinstance(values, Labels) or not self.source.overviews:
            return nullcontext(dataset)
        return coarsest(dataset, crs, values, GridWindow(self.spec.epsg, self._grid, window))

    def _warp(self, dataset: DatasetReader, crs: CRS, values: "Labels | BandValues") -> dict[str, Any]:
        """Exact for every pixel, so that the result does not depend on how the grid is cut."""
        options: dict[str, Any] = {"resampling": self.resampling, "tolerance": EXACT_PIXELS, **self.spec.vrt_params}
        if self.resampling in {Resampling.bilinear, Resampling.cubic}:
            across, down = pixel_scales(dataset, crs, self.spec.epsg, self._grid)
            options |= {"XSCALE": across, "YSCALE": down}
        return (
            options | {"src_nodata": values.warped_nodata} | ({} if has_alpha(dataset) else {"add_alpha": values.alpha})
        )

    def _copied(
        self, dataset: DatasetReader, values: "Labels | BandValues", window: Window, lattice: Lattice
    ) -> NDArray[np.uint16]:
        """The file's pixels as they are, each so many times, the fill value outside."""
        place = lattice.placed(window, dataset.shape)
        return (
            self._nothing(window) if place is None else place.laid(values.read(dataset, place.window), self.fill_value)
        )
