"""The frozen dataclasses that travel between the stages."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import IntFlag
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import DateRange, Json
from spaceeye_stac.settings import Settings

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


NO_LOOK = 255
NO_LABEL = 65535
# what items say of the scene classes 4 to 7, which are taken as clear
CLEAR_SHARES = tuple(f"s2:{name}_percentage" for name in ("vegetation", "not_vegetated", "water", "unclassified"))
UNKNOWN, CLEAR, CLOUD = range(3)  # what a mask model says of a pixel


class LookFlag(IntFlag):
    """What is kept of each pixel of each look: whether the method used it, and what its label says.

    SUSPECT: labelled clear, and not used; DOUBTED: used with less than its full weight; FEW: one of few looks that were
    used in its window. SNOW and WATER are scene classes.
    """

    USED = 1
    SUSPECT = 2
    DOUBTED = 4
    FEW = 8
    SNOW = 16
    WATER = 32


@dataclass(frozen=True)
class BandAsset:
    """One raster of a scene. Reflectance is `DN * scale + offset` where DN != nodata.

    `href` is never signed. `nodata` counts where the file declares none; what is read has 0 in its place. The rest is
    what the item says, where it does: `resolution` is the width of a pixel in units of its CRS, `height` its extent
    from row to row where that is not `-resolution`, `shear` the two numbers of a rotation, `origin` the corner of the
    first pixel, `shape` rows and columns, `dtype` the type of the pixels, `epsg` its CRS where that is not the scene's.
    """

    href: str
    scale: float
    offset: float
    nodata: int
    resolution: float | None
    origin: tuple[float, float] | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    height: float | None = None
    shear: tuple[float, float] = (0.0, 0.0)
    epsg: int | None = None

    @property
    def transform(self) -> tuple[float, float, float, float, float, float] | None:
        """The six numbers of `proj:transform`; None where the item does not give them."""
        if self.origin is None or self.resolution is None:
            return None
        height = -self.resolution if self.height is None else self.height
        return self.resolution, self.shear[0], self.origin[0], self.shear[1], height, self.origin[1]


@dataclass(frozen=True)
class SourceItem:
    """An item other than the scene's own: its id, its address, and the profile it was read by."""

    id: str
    href: str | None
    profile: str


@dataclass(frozen=True)
class Mask(BandAsset):
    """A raster that says which pixels are clear; `source` is the item it belongs to where that is not the scene's.

    `kind` "scl": scene classes. "probability": of cloud, `DN * scale` in percent. "boolean": `clear_values` are clear,
    other values cloud. `nodata` says nothing of its pixel, and neither does NO_LABEL, which stands outside the raster.
    """

    kind: str = "scl"
    clear_values: tuple[int, ...] = ()
    source: SourceItem | None = None


@dataclass(frozen=True)
class Scene:
    """One Sentinel-2 item, in the names of this package, paired with its cloud mask.

    Where `labels` is None there is no mask, and every pixel with data is taken as clear. `is_checked`: its hrefs were
    found to be such as its catalog may name. `spare`: the item's other bands, of which a mask model may want some.
    """

    id: str
    tile: str | None
    day: date
    datetime: datetime
    epsg: int
    baseline: str | None
    relative_orbit: int | None
    platform: str | None
    bands: Mapping[str, BandAsset] = field(repr=False)
    labels: Mask | None = field(repr=False)
    item: Json = field(repr=False)
    href: str | None = None
    profile: str = ""
    is_checked: bool = field(default=False, repr=False, compare=False)
    spare: Mapping[str, BandAsset] = field(default_factory=dict, repr=False, compare=False)

    @property
    def cloud_cover(self) -> float | None:
        """`eo:cloud_cover` of the source item, in percent; None where it says none, or what is no number."""
        return self._number("eo:cloud_cover")

    @property
    def clear_share(self) -> float | None:
        """Percent of the item's pixels in the scene classes 4 to 7; None where it does not say all of them."""
        shares = [self._number(name) for name in CLEAR_SHARES]
        known = [share for share in shares if share is not None]
        return min(sum(known), 100.0) if len(known) == len(CLEAR_SHARES) else None

    def _number(self, name: str) -> float | None:
        """A property of the source item that is a finite number."""
        value = self.item["properties"].get(name)
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        return found if math.isfinite(found) else None

    def with_bands(self, names: Sequence[str]) -> "Scene":
        """The scene with these bands, in this order; the others are spare."""
        known = {**self.spare, **self.bands}
        spare = {name: asset for name, asset in known.items() if name not in names}
        return replace(self, bands={name: known[name] for name in names}, spare=spare)


@dataclass(frozen=True)
class FilteredScene:
    """A scene that a filter of the query left out, and why."""

    scene: Scene
    reason: str


@dataclass(frozen=True)
class Window:
    """Days `read` (solved over) and `write` (published from it), as half-open ranges of day indices.

    Days that are written and not read are after those: there all stays as on the last that is read.
    """

    read: range
    write: range

    def knots(self, days: Sequence[int]) -> tuple[int, ...]:
        """Return the days on which the window keeps an image: its written ends, and the acquisition `days` between.

        None is after the days that it reads, where its last image stays.
        """
        ends = {day for day in (self.write.start, self.write.stop - 1) if day in self.read}
        return tuple(sorted(ends | {day for day in days if day in self.write}))


@dataclass(frozen=True)
class Block:
    """A part of a grid: rows and columns, half-open."""

    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def shared(self, other: "Block") -> "Block":
        """Return the part that two blocks share, empty (or less) where they share none."""
        return Block(
            slice(max(self.y.start, other.y.start), min(self.y.stop, other.y.stop)),
            slice(max(self.x.start, other.x.start), min(self.x.stop, other.x.stop)),
        )

    def within(self, outer: "Block") -> tuple[slice, slice]:
        """Where this block lies in an array of the `outer` one."""
        return (
            slice(self.y.start - outer.y.start, self.y.stop - outer.y.start),
            slice(self.x.start - outer.x.start, self.x.stop - outer.x.start),
        )


@dataclass(frozen=True)
class Cell:
    """A fixed part of a grid: its `core` tiles the grid, its result covers `reach`, it is computed from `view`."""

    index: tuple[int, int]
    core: Block
    reach: Block
    view: Block


@dataclass(frozen=True)
class Grid:
    """The output grid: an odc-geo geobox under a name.

    `tile` is the MGRS tile that it is made for, where it is for one; `outline` the GeoJSON geometry in degrees outside
    which nothing is published, where it is clipped.
    """

    name: str
    geobox: "GeoBox"
    tile: str | None = None
    outline: Json | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    @property
    def epsg(self) -> int:
        """EPSG code of the CRS."""
        code = self.geobox.crs.epsg if self.geobox.crs is not None else None
        if code is None:
            raise InvalidInputError(f"The CRS of grid {self.name} has no EPSG code; name one with crs.")
        return int(code)

    def cells(self, size: int, halo: int = 0, margin: int = 0, anchor: tuple[int, int] = (0, 0)) -> list["Cell"]:
        """Cut into fixed cells of `size` pixels a side, row by row; `anchor` pixels of the first lie outside."""
        height, width = self.shape
        rows, columns = (-(-(length + before) // size) for length, before in zip(self.shape, anchor, strict=True))
        return [
            Cell(
                (i, j),
                *(
                    Block(
                        _around(i * size - anchor[0], size, reach, height),
                        _around(j * size - anchor[1], size, reach, width),
                    )
                    for reach in (0, margin, halo)
                ),
            )
            for i in range(rows)
            for j in range(columns)
        ]

    def part(self, block: Block) -> "GeoBox":
        """The geobox of one block."""
        return self.geobox[block.y, block.x]


def _around(start: int, size: int, reach: int, length: int) -> slice:
    """ScenePixels of a cell along one axis with `reach` more on both sides, inside the grid."""
    return slice(max(start - reach, 0), min(start + size + reach, length))


def metres_per_pixel(geobox: "GeoBox") -> float:
    """Side of a pixel in metres of its CRS; of a pixel in degrees as it is from south to north."""
    units = 1.0 if geobox.crs is None else unit_metres(str(geobox.crs))
    return abs(float(geobox.resolution.x)) * units


def pixel_metres(asset: BandAsset, scene: Scene) -> float | None:
    """Width of a raster's pixels in metres, whatever its CRS; None where its item does not say it."""
    return None if asset.resolution is None else asset.resolution * unit_metres(asset.epsg or scene.epsg)


@cache
def unit_metres(crs: str | int) -> float:
    """Metres in a unit of a CRS; of a degree, on the equator."""
    from pyproj import CRS  # noqa: PLC0415 - only when pixels are placed

    found = CRS.from_user_input(crs)
    unit = float(found.axis_info[0].unit_conversion_factor)
    return unit * found.ellipsoid.semi_major_metre if found.is_geographic and found.ellipsoid else unit


@dataclass(frozen=True)
class Acquisition:
    """The scenes of one solar day, in merge order."""

    day: date
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class GridJob:
    """One run, decided before any pixel is read: what is solved where, from which scenes, and what is published."""

    days: DateRange
    grid: Grid
    bands: tuple[str, ...]
    acquisitions: tuple[Acquisition, ...]
    windows: tuple[Window, ...]
    settings: Settings

    @cached_property
    def acquisition_days(self) -> tuple[int, ...]:
        """Day index of each acquisition, from the first requested day; negative for context before it."""
        return tuple(self.days.index(acquisition.day) for acquisition in self.acquisitions)

    @property
    def scenes(self) -> list[Scene]:
        """All scenes in the order they are stacked."""
        return [scene for acquisition in self.acquisitions for scene in acquisition.scenes]

    @property
    def span(self) -> range:
        """Every day index that some window reads or writes."""
        ends = (stop for w in self.windows for stop in (w.read.stop, w.write.stop))
        return range(min(w.read.start for w in self.windows), max(ends))

    def window_of(self, day: int) -> Window:
        """Return the window that writes this day index."""
        return next(w for w in self.windows if day in w.write)


@dataclass(frozen=True)
class Illuminance:
    """`values` `(band, day)` float32 in reflectance from day index `first`; `used` `(time,)`: days that take part.

    `carried` `(band, time)`: what each acquisition day would have had from the others, over what it has.
    """

    values: NDArray[np.float32]
    used: NDArray[np.bool_]
    first: int
    carried: NDArray[np.float32] | None = None

    def at(self, day: int) -> NDArray[np.float32]:
        """Return `(band,)` of one day index."""
        return np.asarray(self.values[:, day - self.first])


Progress = Callable[[str, int, int], None]


def silent(_stage: str, _done: int, _total: int) -> None:
    """Report to nobody."""
