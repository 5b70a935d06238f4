"""A picture of one day: bands or an index, decimated, through one stretch that all days share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import DatasetReader, Env
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from spaceeye_stac.days import NODATA, SHADES, display_bands
from spaceeye_stac.errors import InvalidInputError, ReadError
from spaceeye_stac.viewing.indices import Index, check_bands, index_of
from spaceeye_stac.viewing.run_days import RunDay

SCALE = np.float32(1e-4)
NEUTRAL = 128  # of red, green and blue where there is no data
DRIVERS = ["GTiff", "VRT"]
ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}  # no other file belongs to one; halves the time of an open
NATURAL = SHADES["natural"]
LOWEST, HIGHEST = 2.0, 98.0  # percentiles of an index
LEAST_SPAN = 0.02
STRETCH_DAYS = 7
OF_PLANTS = ("NDVI", "EVI")  # whose colours and ends are those of the collection's `renders`
PLANTS_SPAN = (-0.2, 1.0)
MAPS = {"NDWI": "BrBG", "MNDWI": "BrBG", "NDMI": "BrBG"}
RGB = 3

Image = NDArray[np.uint8]  # (y, x, 3)
Values = NDArray[np.float32]  # (layer, y, x), NaN where there is no data


def shown_shape(shape: tuple[int, int], edge: int) -> tuple[int, int]:
    """Rows and columns of a picture whose longer side has at most `edge` pixels; never more than the grid has."""
    factor = min(1.0, edge / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


@dataclass(frozen=True)
class Subject:
    """What a picture shows: three bands as red, green and blue, or an index."""

    bands: tuple[str, ...]
    index: Index | None = None

    @property
    def name(self) -> str:
        """In words: the index, or the bands."""
        return self.index.name if self.index else ", ".join(dict.fromkeys(self.bands))

    def values(self, day: RunDay, edge: int) -> Values:
        """Reflectance of the bands `(3, y, x)`, or the index `(1, y, x)`, float32, NaN where there is no data.

        Pixels are averaged from the overview above, valid ones alone; an index is made of the averaged bands.
        """
        read = {band: reflectance(day.file(band), edge) for band in dict.fromkeys(self.bands)}
        return (
            np.stack([read[band] for band in self.bands])
            if self.index is None
            else self.index.values(read)[None].astype(np.float32)
        )


def subject_of(day: RunDay, bands: Sequence[str] | None, index: str | None) -> Subject:
    """What is asked for, or the bands that the run's `visual` shows; InvalidInputError where the run has them not."""
    if bands is not None and index is not None:
        raise InvalidInputError("bands and index exclude each other; give one.")
    if index is not None:
        found = index_of(index)
        check_bands(found, day.bands)
        return Subject(found.bands, found)
    wanted = display_bands(day.bands) if bands is None else tuple(band.strip() for band in bands)
    if len(wanted) not in {1, RGB}:
        raise InvalidInputError(f"bands {','.join(wanted)} are {len(wanted)}; give three, for red, green and blue.")
    return Subject(_known(wanted if len(wanted) == RGB else wanted * RGB, day))


def _known(bands: tuple[str, ...], day: RunDay) -> tuple[str, ...]:
    missing = [band for band in dict.fromkeys(bands) if band not in day.bands]
    if missing:
        raise InvalidInputError(f"Bands {','.join(missing)} are not in the run; it has {','.join(day.bands)}.")
    return bands


def reflectance(path: Path, edge: int) -> NDArray[np.float32]:
    """Reflectance `(y, x)` of a band's file, averaged to at most `edge` pixels a side; NaN where there is no data."""
    dn = _small(path, edge)[0]
    return np.where(dn == NODATA, np.float32(np.nan), dn * SCALE).astype(np.float32)


@dataclass(frozen=True)
class Visual:
    """What a run's own picture shows, in one file a day: quick to read, and of 255 shades."""

    name: str

    def image(self, day: RunDay, edge: int) -> Image:
        """Its colours `(y, x, 3)`, averaged to at most `edge` pixels a side; a neutral grey where there is no data."""
        shades = np.moveaxis(_small(day.file("visual"), edge), 0, -1)
        return np.where((shades == 0).any(axis=-1, keepdims=True), np.uint8(NEUTRAL), shades)


def _small(path: Path, edge: int) -> NDArray[Any]:
    """What a file holds `(layer, y, x)`, averaged to at most `edge` pixels a side; pixels of nodata have no part."""
    try:
        with Env(**ALONE), DatasetReader(str(path), driver=DRIVERS, sharing=False) as file:
            shape = shown_shape(file.shape, edge)
            resampling = Resampling.nearest if shape == file.shape else Resampling.average
            return np.asarray(file.read(out_shape=(file.count, *shape), resampling=resampling))
    except (RasterioError, OSError) as error:
        raise ReadError(f"File {path} of a day cannot be read; run again.", "cannot be read") from error


@dataclass(frozen=True)
class ColourStretch:
    """How values become colours, the same on every day: from `low` to `high` of each layer, by a map of matplotlib's.

    Without a map the layers are red, green and blue, brightened by the gamma of `visual`.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    colours: str | None = None

    def image(self, values: Values) -> Image:
        """Colours `(y, x, 3)` of values `(layer, y, x)`; a neutral grey where a layer has no data."""
        low, high = (np.asarray(end, np.float32)[:, None, None] for end in (self.low, self.high))
        share = np.clip((values - low) / (high - low), 0, 1)
        missing = np.isnan(values).any(axis=0)
        filled = np.where(missing, 0, share)
        if self.colours is None:
            shades = np.moveaxis(np.rint(255 * filled ** (1 / NATURAL.gamma)).astype(np.uint8), 0, -1)
        else:
            shades = colour_table(self.colours)[np.rint(255 * filled[0]).astype(np.uint8)]
        shades[missing] = NEUTRAL
        return shades


def colour_table(name: str) -> Image:
    """The 256 colours `(256, 3)` of a map of matplotlib's."""
    from matplotlib import colormaps  # noqa: PLC0415 - for an index alone

    return np.asarray(np.rint(255 * colormaps[name](np.arange(256))[:, :3]), np.uint8)


def stretch_of(days: Sequence[RunDay], subject: Subject, edge: int) -> ColourStretch:
    """One stretch for all days: of bands that of `visual`, of NDVI and EVI from -0.2 to 1.

    Other indices go from percentile 2 to 98 of seven of the days; InvalidInputError where no pixel of these is valid.
    """
    if subject.index is None:
        whites = tuple(float(SCALE) * NATURAL.white_of(band) for band in subject.bands)
        return ColourStretch((0.0,) * RGB, whites)
    name = subject.index.name
    if name in OF_PLANTS:
        return ColourStretch(PLANTS_SPAN[:1], PLANTS_SPAN[1:], "RdYlGn")
    values = np.concatenate([subject.values(day, edge).ravel() for day in spread(days, STRETCH_DAYS)])
    if np.isnan(values).all():
        raise InvalidInputError("No pixel is valid on the days that are shown; choose others.")
    low, high = map(float, np.nanpercentile(values, (LOWEST, HIGHEST)))
    return ColourStretch((low,), (max(high, low + LEAST_SPAN),), MAPS.get(name, "viridis"))


def spread(days: Sequence[RunDay], most: int) -> list[RunDay]:
    """At most so many days, evenly spread from the first to the last."""
    if len(days) <= most:
        return list(days)
    return [days[round(n * (len(days) - 1) / (most - 1))] for n in range(most)]
