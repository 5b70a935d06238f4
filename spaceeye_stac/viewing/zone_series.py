"""Series of zones: statistics of indices on every day of a run, from its keyframes or its files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import COLLECTION_FILE, KEYFRAMES, Flag, check_finished, flag_name
from spaceeye_stac.days import SCALE, DaySource, FileDays, PixelDays, Pixels, StoredDays, days_of_items, store_in
from spaceeye_stac.errors import InvalidInputError, OutputError
from spaceeye_stac.query import parse_datetime
from spaceeye_stac.sources import all_items
from spaceeye_stac.viewing.indices import Index, check_bands, index_of
from spaceeye_stac.viewing.zone_statistics import Weighted
from spaceeye_stac.viewing.zones import Zone, whole_grid, zones_of

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 2_000_000  # pixels times days times bands that are held together
Columns = dict[str, NDArray[Any]]


def series(
    place: str | Path,
    index: str | Sequence[str] = "NDVI",
    zones: object = None,
    datetime: str | None = None,
    *,
    zone_name: str | None = None,
    tile: str | None = None,
) -> "pd.DataFrame":
    """Statistics of indices over zones, on every day of a run.

    A run that keeps its keyframes is read from these, no day's file, and gives the same numbers; other runs, virtual
    ones and published collections from the files of days, of each the blocks that zones lie in. Memory grows with the
    pixels in all zones together, not with the region or the number of days.

    Parameters
    ----------
    place
        A run's folder, its `keyframes`, or the address of a collection that was published.
    index
        One or several (a list, or with commas): a band (B04), a name of the catalogue of awesome-spectral-indices with
        its constants at their defaults (NDVI, EVI2, NDMI), or an expression of bands: "(B08-B04)/(B08+B04)".
    zones
        Polygons as GeoJSON (a file, a text, a dict), or anything with `__geo_interface__` as a GeoDataFrame, whose CRS
        counts; left out, the whole grid is one zone, "region".
    datetime
        "A/B": these days alone, both included.
    zone_name
        Property that names the zones; left out, a feature's `id`, or else its number, from 1.
    tile
        Of a run with tiling: the MGRS tile.

    Returns a DataFrame of a row for each zone, index and day, in this order: `date` (datetime64), `zone`, `index`;
    `mean`, `median`, `std`, `q25` and `q75` of the pixels' values, each weighted by the share of the pixel that the
    zone covers (`std` is that of the values themselves); `valid`, the share of the zone's area in which the index has a
    value, where what lies outside the grid has none; `uncertainty`; and a share of the area with data for each bit of
    the flags: `seen`, `reconstructed`, `suspect`, `extrapolated`, `distant`, `few_looks`, `snow`, `water`. NaN where no
    pixel has a value; such days have `valid` 0.

    `uncertainty` is half the width of the 68 % interval of the mean, in units of the index. That of a pixel follows
    from its bands' by the law of propagation of uncertainty to first order (JCGM 100:2008, equation 10), in which
    errors of bands are taken as independent: of a ratio or a difference that is too wide where an error, as haze,
    shifts all bands alike; of a sum too narrow. That of a zone is the weighted mean of its pixels', as if their errors
    were fully correlated (equation 16 there with r = 1), as those of a date's atmosphere are over a field; of
    independent ones it would be smaller by the square root of the number of pixels. From keyframes, and from files of
    `Output(uncertainty="bands")`, it is that of each band; else the largest over bands stands for each of them. NaN
    where the method does not know it.

    Raises InvalidInputError for an index that is not known or needs bands that the run lacks, for zones that cannot be
    read or all lie outside, and for days that the run does not have; OutputError and CatalogError for a place that is
    no run; ReadError for files that cannot be read.

    """
    names = index.split(",") if isinstance(index, str) else index
    indices = list({one.name: one for one in map(index_of, names)}.values())
    source = _source(str(place), tile)
    for one in indices:
        check_bands(one, source.bands)
    areas = whole_grid(source.grid) if zones is None else zones_of(zones, source.grid, zone_name)
    return _table(_Request(source, indices, areas, _days(source, datetime)))


def _source(place: str, tile: str | None) -> DaySource:
    """What the days of a place are read from: its keyframes where they are there and can be read, else its files."""
    path = Path(place)
    if "://" not in place:
        check_finished(path)
        if path.is_dir() and not (path / COLLECTION_FILE).is_file():
            return StoredDays(store_in(path, tile))
        if (path / KEYFRAMES).is_dir():
            try:
                return StoredDays(store_in(path / KEYFRAMES, tile))
            except OutputError:
                pass  # of several grids, or of another version of this package: the files say it, or have it
    return FileDays(days_of_items(all_items(place), tile))


def _days(source: DaySource, datetime: str | None) -> range:
    """The days that are asked for, by index."""
    count = len(source.days)
    if datetime is None:
        return range(count)
    wanted = parse_datetime(datetime)
    first, last = source.days.index(wanted.start), source.days.index(wanted.stop)
    if last < 0 or first >= count:
        raise InvalidInputError(f"The run has no day in {datetime}; it has {source.days.start} to {source.days.stop}.")
    return range(max(first, 0), min(last + 1, count))


@dataclass(frozen=True)
class _Request:
    """What is asked for, decided before a pixel is read."""

    source: DaySource
    indices: Sequence[Index]
    zones: Sequence[Zone]
    days: range

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that the indices need, each once."""
        return tuple(dict.fromkeys(band for one in self.indices for band in one.bands))

    @property
    def parts(self) -> Iterator[range]:
        """The days, as many at a time as are held together."""
        pixels = sum(len(zone.pixels) for zone in self.zones)
        step = max(AT_ONCE // (pixels * len(self.bands)), 1)
        return (self.days[n : n + step] for n in range(0, len(self.days), step))


def _table(asked: _Request) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - takes a while to load

    places = Pixels(
        *(np.concatenate([getattr(one.pixels, axis) for one in asked.zones]) for axis in ("rows", "columns"))
    )
    ends = np.cumsum([0, *(len(zone.pixels) for zone in asked.zones)])
    parts: dict[tuple[int, int], list[Columns]] = {}
    for days in asked.parts:
        read = asked.source.pixels_of(days, asked.bands, places)
        for z, zone in enumerate(asked.zones):
            of_zone = _ZoneDays(zone, asked.bands, read, slice(ends[z], ends[z + 1]))
            for i, index in enumerate(asked.indices):
                parts.setdefault((z, i), []).append(of_zone.columns(index))
    date = np.array([asked.source.days.day(day) for day in asked.days], "datetime64[s]")
    tables = [
        pd.DataFrame(
            {
                "date": date,
                "zone": asked.zones[z].name,
                "index": asked.indices[i].name,
                **{name: np.concatenate([part[name] for part in found]) for name in found[0]},
            }
        )
        for (z, i), found in parts.items()
    ]
    return pd.concat(tables, ignore_index=True)


class _ZoneDays:
    """Some days of one zone: the `place` of its pixels among those that were read."""

    def __init__(self, zone: Zone, bands: Sequence[str], read: PixelDays, place: slice) -> None:
        self._zone = zone
        dn, widths = read.dn[:, :, place], read.uncertainty[:, :, place]
        self._values = {band: _reflectance(dn[:, n]) for n, band in enumerate(bands)}
        self._widths = {band: _reflectance(widths[:, n]) for n, band in enumerate(bands)}
        self._flags = read.flags[:, place]

    def columns(self, index: Index) -> Columns:
        """What is said of an index, `(day,)` each."""
        values, widths = index.with_widths({band: self._values[band] for band in index.bands}, self._widths)
        found = Weighted(values, self._zone.weights)
        quantiles = found.quantiles()
        return {
            "mean": found.mean(),
            "median": quantiles["median"],
            "std": found.std(),
            "q25": quantiles["q25"],
            "q75": quantiles["q75"],
            "valid": found.total() / self._zone.area,
            "uncertainty": Weighted(widths, self._zone.weights).mean(),
            **self._shares,
        }

    @cached_property
    def _shares(self) -> Columns:
        """Of the area with data, the share that has each flag."""
        known = np.where(self._flags == 0, np.nan, 1.0)
        return {
            flag_name(flag): Weighted(np.where(self._flags & flag, known, known - 1), self._zone.weights).mean()
            for flag in Flag
        }


def _reflectance(dn: NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.where(dn == 0, np.nan, dn * SCALE)
