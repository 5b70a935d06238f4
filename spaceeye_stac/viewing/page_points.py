"""One pixel of every day: its values, their uncertainty, and whether it was seen."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import DatasetReader
from rasterio.warp import transform
from rasterio.windows import Window

from spaceeye_stac.collection import UNCERTAINTY, uncertainty_of
from spaceeye_stac.days import SCALE
from spaceeye_stac.errors import InvalidInputError, ReadError
from spaceeye_stac.model import NO_LOOK
from spaceeye_stac.query import Json
from spaceeye_stac.viewing.indices import Index, check_bands
from spaceeye_stac.viewing.page_days import PageDay
from spaceeye_stac.viewing.pictures import ALONE, DRIVERS

THREADS = 4
TOGETHER = 16  # days that one thread reads
SIDE = 32
KEPT = 12_000  # squares, of 2 kB each
DISTANCE = "clear_distance"
DIGITS = 5


@dataclass(frozen=True)
class PointSeries:
    """A pixel on every day: `values` and half widths of each index by its name, NaN where there is nothing.

    `distance`: days to the nearest clear look `(day,)`, 0 = seen that day, NaN = none.
    """

    place: Json
    days: tuple[str, ...]
    distance: NDArray[np.float64]
    values: Mapping[str, NDArray[np.float64]]
    spreads: Mapping[str, NDArray[np.float64]]

    def as_json(self) -> Json:
        """For the page; null where there is nothing."""
        series = [
            {"name": name, "values": _plain(found), "spread": _plain(self.spreads[name])}
            for name, found in self.values.items()
        ]
        return {**self.place, "days": list(self.days), "distance": _plain(self.distance), "series": series}

    def as_csv(self) -> str:
        """A line for each day; nothing between the commas where there is nothing."""
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\n")
        names = [part for name in self.values for part in (_cell(name), f"{_cell(name)}_uncertainty")]
        lines.writerow(["day", "clear_distance", "seen", *names])
        columns = [part for name in self.values for part in (self.values[name], self.spreads[name])]
        for n, day in enumerate(self.days):
            distance = self.distance[n]
            known = ["", ""] if np.isnan(distance) else [int(distance), int(distance == 0)]
            lines.writerow([day, *known, *("" if np.isnan(one[n]) else round(one[n], DIGITS) for one in columns)])
        return out.getvalue()


def _cell(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@" else name


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(one) else round(float(one), DIGITS) for one in values]


def point_series(days: Sequence[PageDay], x: float, y: float, indices: Sequence[Index]) -> PointSeries:
    """The pixel of each day at coordinates of its CRS; InvalidInputError where that lies outside.

    The uncertainty of an index follows to first order from that of its bands, taken as independent; where there is none
    for each band, the largest over bands is taken for all.
    """
    grid = days[0].grid
    at = grid.pixel(x, y)
    if at is None:
        raise InvalidInputError(f"The point {x:g}, {y:g} lies outside of the days, whose CRS is {grid.code}.")
    for index in indices:
        check_bands(index, days[0].bands)
    bands = tuple(dict.fromkeys(band for index in indices for band in index.bands))
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(lambda n: _rows(days[n : n + TOGETHER], bands, at), range(0, len(days), TOGETHER))
        rows = [row for part in parts for row in part]
    distance, *found = np.array(rows, np.float64).reshape(len(days), -1).T
    reflectance = dict(zip(bands, found[: len(bands)], strict=True))
    widths = dict(zip(bands, found[len(bands) :], strict=True))
    made = {index.name: index.with_widths(reflectance, widths) for index in indices}
    (longitude,), (latitude,) = transform(grid.code, "EPSG:4326", [x], [y])
    place = {"x": x, "y": y, "crs": grid.code, "row": at[0], "column": at[1]}
    return PointSeries(
        {**place, "longitude": round(longitude, 6), "latitude": round(latitude, 6)},
        tuple(one.day for one in days),
        distance,
        {name: values for name, (values, _) in made.items()},
        {name: spread for name, (_, spread) in made.items()},
    )


def _rows(days: Sequence[PageDay], bands: Sequence[str], at: tuple[int, int]) -> list[list[float]]:
    """The pixels of some days, in one environment of GDAL, which takes a while to set up."""
    with rasterio.Env(**ALONE):
        return [_pixels(day, bands, at) for day in days]


def _pixels(day: PageDay, bands: Sequence[str], at: tuple[int, int]) -> list[float]:
    """Distance, reflectance of each band and its half width, of one pixel of one day."""
    own = [uncertainty_of(band) if uncertainty_of(band) in day.files else UNCERTAINTY for band in bands]
    known = {key: _pixel(day, key, at) for key in dict.fromkeys([DISTANCE, *bands, *own])}
    distance = known[DISTANCE]
    return [np.nan if distance == NO_LOOK else distance, *_scaled(known, bands), *_scaled(known, own)]


def _scaled(known: Mapping[str, float], keys: Sequence[str]) -> Iterator[float]:
    return (known[key] * SCALE if known[key] else np.nan for key in keys)


def _pixel(day: PageDay, key: str, at: tuple[int, int]) -> float:
    """The DN of one pixel; NaN of a file that the day does not have."""
    path = day.files.get(key)
    if path is None:
        return np.nan
    try:
        known = path.stat()
        square = _square(path, (known.st_mtime_ns, known.st_size), (at[0] // SIDE, at[1] // SIDE))
    except (OSError, rasterio.errors.RasterioError) as error:
        raise ReadError(f"File {path.name} cannot be read; run again.", "cannot be read") from error
    return float(square[at[0] % SIDE, at[1] % SIDE])


@lru_cache(maxsize=KEPT)
def _square(path: Path, _stamp: tuple[int, int], at: tuple[int, int]) -> NDArray[Any]:
    """The pixels around one, which cost no more to read, so that another index or point near it is there at once."""
    with DatasetReader(str(path), driver=DRIVERS, sharing=False) as file:
        row, column = at[0] * SIDE, at[1] * SIDE
        size = min(SIDE, file.width - column), min(SIDE, file.height - row)
        return np.asarray(file.read(1, window=Window(column, row, *size)))
