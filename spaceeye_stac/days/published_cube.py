"""The days of a published collection as a lazy cube, on the files of its items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.collection import FINGERPRINT, UNCERTAINTY, crs_code, uncertainty_of
from spaceeye_stac.days.cog import BLOCK, NODATA
from spaceeye_stac.days.cube import dataset
from spaceeye_stac.days.daily_array import DailyArray, lazily
from spaceeye_stac.days.descriptions import SCALE
from spaceeye_stac.errors import CatalogError, InvalidInputError
from spaceeye_stac.model import NO_LOOK, Block, Grid
from spaceeye_stac.pixels import read_day_file
from spaceeye_stac.query import DateRange, Json

SIDE = 4 * BLOCK
OURS = (FINGERPRINT, "spaceeye:digest")
REFLECTANCE = {"scale_factor": np.float32(SCALE), "_FillValue": np.uint16(NODATA)}


class FileArray(DailyArray):
    """Files of days: for each band the href of each day; `nothing` stands on a day without one."""

    def __init__(self, hrefs: Sequence[Mapping[int, str]], shape: tuple[int, ...], nothing: np.unsignedinteger) -> None:
        super().__init__(shape, nothing.dtype)
        self.hrefs, self.nothing = hrefs, nothing

    def images(self, days: Sequence[int], band: int, block: Block) -> Iterator[NDArray[Any]]:
        """See DailyArray."""
        for day in days:
            href = self.hrefs[band].get(day)
            yield np.full(block.shape, self.nothing) if href is None else read_day_file(href, block)


@dataclass(frozen=True)
class PublishedDay:
    """One item: its day, the grid that its files lie on, and the href of each asset."""

    day: date
    grid: Grid
    hrefs: Mapping[str, str]
    bands: tuple[str, ...]

    @classmethod
    def of(cls, item: Json) -> "PublishedDay":
        """Read an item of this package; CatalogError where it lacks what its files need to be placed."""
        assets, properties = item["assets"], item["properties"]
        bands = tuple(key for key, asset in assets.items() if "reflectance" in asset.get("roles", ()))
        try:
            placed = assets[bands[0]]
            code = crs_code(placed)
            shape, transform = placed["proj:shape"], placed["proj:transform"]
            tile = properties.get("grid:code", "").removeprefix("MGRS-") or None
            grid = Grid(tile or code.replace(":", ""), GeoBox(tuple(shape), Affine(*transform[:6]), code), tile)
            day = date.fromisoformat(properties["start_datetime"][: len("2018-04-11")])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CatalogError(
                f"Item {item.get('id')} does not say where its files lie ({error!r}); publish it again."
            ) from None
        return cls(day, grid, {key: str(asset["href"]) for key, asset in assets.items()}, bands)


@dataclass(frozen=True)
class PublishedDays:
    """The days of one grid, each once."""

    found: Sequence[PublishedDay]

    @cached_property
    def days(self) -> DateRange:
        """From the first to the last, with those between that were not published."""
        return DateRange(min(one.day for one in self.found), max(one.day for one in self.found))

    @property
    def grid(self) -> Grid:
        """The grid that all files lie on."""
        return self.found[0].grid

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Bands that some day has."""
        return tuple(dict.fromkeys(band for one in self.found for band in one.bands))

    def hrefs(self, key: str) -> dict[int, str]:
        """Href of an asset by day's index; nothing of days without it."""
        return {self.days.index(one.day): one.hrefs[key] for one in self.found if key in one.hrefs}

    def cube(self) -> xr.Dataset:
        """The DN of all days as the files hold them, with `scale_factor` and `_FillValue` of CF."""
        bands = self.bands
        have = {key for one in self.found for key in one.hrefs}
        arrays = {"reflectance": self._variable(bands, np.uint16(NODATA), banded=True)}
        if UNCERTAINTY in have:
            arrays["uncertainty"] = self._variable([UNCERTAINTY], np.uint16(NODATA))
        if have & set(map(uncertainty_of, bands)):
            arrays["band_uncertainty"] = self._variable([*map(uncertainty_of, bands)], np.uint16(NODATA), banded=True)
        arrays["clear_distance"] = self._variable(["clear_distance"], np.uint8(NO_LOOK))
        arrays["flags"] = self._variable(["flags"], np.uint8(NODATA))
        return dataset(self.grid, self.days, bands, arrays)

    def _variable(self, keys: Sequence[str], nothing: np.unsignedinteger, *, banded: bool = False) -> xr.Variable:
        shape = len(self.days), *((len(keys),) if banded else ()), *self.grid.shape
        variable = lazily(FileArray([self.hrefs(key) for key in keys], shape, nothing), SIDE)
        variable.attrs = dict(REFLECTANCE) if nothing.dtype == np.uint16 else {}
        return variable


def published_days(items: Sequence[Json], tile: str | None = None) -> xr.Dataset:
    """The days of some items as a lazy cube of DN; see `days_of_items`."""
    return days_of_items(items, tile).cube()


def days_of_items(items: Sequence[Json], tile: str | None = None) -> PublishedDays:
    """The days of some items; of one `tile` where there are several.

    Raises CatalogError where no item is of this package, and InvalidInputError where they lie on several grids.
    """
    found = [PublishedDay.of(item) for item in items if any(name in item["properties"] for name in OURS)]
    if not found:
        raise CatalogError("No item there is a day of this package; name a run's folder, or a collection it published.")
    names = ", ".join(sorted({one.grid.name for one in found}))
    chosen = found if tile is None else [one for one in found if tile in {one.grid.tile, one.grid.name}]
    if not chosen:
        raise InvalidInputError(f"There is no day of tile {tile!r}; the tiles there are {names}.")
    if len({one.grid.geobox for one in chosen}) > 1:
        raise InvalidInputError(f"The days lie on several grids, {names}; name one of them with tile.")
    ordered = sorted(chosen, key=lambda one: one.day)
    for before, after in pairwise(ordered):
        if before.day == after.day:
            raise CatalogError(f"There are two items of {after.day}; name the collection of one run.")
    _check_virtual(ordered)
    return PublishedDays(ordered)


def _check_virtual(days: Sequence[PublishedDay]) -> None:
    """Raise CatalogError for a virtual raster at an address, as it may name any file."""
    for one in days:
        for href in one.hrefs.values():
            if "://" in href and href.endswith(".vrt"):
                raise CatalogError(
                    f"{one.day} is a virtual day at an address, and such are read from a folder alone; open the run's "
                    "folder, or publish days that are files."
                )
