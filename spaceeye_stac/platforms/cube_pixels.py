"""The pixels of a cube that a platform holds, in the form in which those of scenes are read."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401 - tells where a cube lies
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import Acquisition, BandAsset, Block, Grid, Mask, Scene
from spaceeye_stac.pixels import ScenePixels

DN_SCALE, NO_DATA, MOST = 0.0001, 0, 65535
NAMES = {"time": ("t", "time"), "bands": ("bands", "band", "b"), "y": ("y", "latitude", "lat"), "x": ("x", "lon")}
CLEAR = 1  # of labels that are no classes
NO_PLACE = "EPSG:3857"  # of a cube without CRS: the solver asks for the width of a pixel alone


@dataclass(frozen=True)
class Units:
    """What the numbers of a cube mean: reflectance is `value * scale + offset` where value is not NaN and not `nodata`.

    A cube of Sentinel-2's DN has the scale 0.0001, one of reflectance 1.
    """

    scale: float = DN_SCALE
    offset: float = 0.0
    nodata: float | None = NO_DATA

    def dn(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """DN of 0.0001, from 1; 0 where there is no data."""
        exact = np.asarray(values, np.float64)
        missing = np.isnan(exact) | (exact == self.nodata)
        rounded = np.rint((np.where(missing, 0, exact) * self.scale + self.offset) / DN_SCALE)
        return np.where(missing, NO_DATA, np.clip(rounded, 1, MOST)).astype(np.uint16)

    def values(self, reflectance: xr.DataArray) -> xr.DataArray:
        """Reflectance in these units, float32."""
        return ((reflectance - self.offset) / self.scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class CubePixels:
    """The dates of a cube as scenes; its dimensions are time, bands, y and x, in this order.

    `labels` `(time, y, x)` are SCL classes where `has_classes`, else 1 = clear; without them all data is clear.
    """

    data: xr.DataArray
    labels: xr.DataArray | None
    units: Units
    has_classes: bool

    @classmethod
    def of(cls, data: xr.DataArray, mask: xr.DataArray | None, scl: str | None, units: Units) -> "CubePixels":
        """Check and order what a platform hands over; InvalidInputError where that is no such cube."""
        ordered = _ordered(data, ("time", "bands", "y", "x"))
        names = [str(name) for name in ordered[ordered.dims[1]].values]
        if scl is not None and mask is not None:
            raise InvalidInputError("scl and mask exclude each other; give one.")
        if scl is not None and scl not in names:
            raise InvalidInputError(f"scl {scl!r} is no band of the cube; it has {', '.join(names)}.")
        if not set(names) - {scl}:
            raise InvalidInputError("The cube has no band to fill; give it bands of reflectance beside scl.")
        kept = ordered.isel({ordered.dims[1]: [n for n, name in enumerate(names) if name != scl]})
        if scl is not None:
            return cls(kept, ordered.isel({ordered.dims[1]: names.index(scl)}), units, has_classes=True)
        labels = None if mask is None else _matching(mask, kept)
        return cls(kept, labels, units, has_classes=False)

    @property
    def dims(self) -> tuple[Hashable, ...]:
        """Names of time, bands, y and x."""
        return self.data.dims

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands to fill."""
        return tuple(str(name) for name in self.data[self.dims[1]].values)

    @cached_property
    def grid(self) -> Grid:
        """Where the cube lies; any place of pixels of its size where it does not say it."""
        found = self.data.odc.geobox
        if isinstance(found, GeoBox) and found.crs is not None:
            return Grid("cube", found)
        placed = found.transform if isinstance(found, GeoBox) else Affine.scale(1, -1)
        return Grid("cube", GeoBox((self.data.shape[2], self.data.shape[3]), placed, NO_PLACE))

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self._times, kind="stable")

    @property
    def _times(self) -> NDArray[np.datetime64]:
        return np.asarray(self.data[self.dims[0]].values, "datetime64[us]")

    @cached_property
    def acquisitions(self) -> tuple[Acquisition, ...]:
        """The dates by day, in order of time."""
        scenes = [self._scene(int(n)) for n in self._order]
        return tuple(Acquisition(day, tuple(found)) for day, found in groupby(scenes, key=lambda scene: scene.day))

    def _scene(self, index: int) -> Scene:
        moment: datetime = self._times[index].item().replace(tzinfo=UTC)
        name = f"{moment.isoformat()}_{index}"
        href, kind = f"cube:{name}", "scl" if self.has_classes else "boolean"
        return Scene(
            id=name,
            tile=None,
            day=date(moment.year, moment.month, moment.day),
            datetime=moment,
            epsg=self.grid.epsg,
            baseline=None,
            relative_orbit=None,
            platform=None,
            bands={band: BandAsset(href, DN_SCALE, 0.0, NO_DATA, None) for band in self.bands},
            labels=Mask(href, 1.0, 0.0, NO_DATA, None, kind=kind, clear_values=(CLEAR,)),
            item={"id": name, "properties": {}},
            is_checked=True,
        )

    def pixels(self, scenes: Sequence[int], block: Block) -> ScenePixels:
        """See PixelSource; what is on dask is computed here, a part at a time."""
        dates = [int(self._order[n]) for n in scenes]
        part = dict(zip((self.dims[0], *self.dims[2:]), (dates, block.y, block.x), strict=True))
        values = self.units.dn(self.data.isel(part).to_numpy())
        if self.labels is None:
            labels = np.full((len(dates), *block.shape), CLEAR, np.uint16)
        else:
            labels = np.nan_to_num(self.labels.isel(part).to_numpy()).astype(np.uint16)
        return ScenePixels(list(values), list(labels))


def _ordered(data: xr.DataArray, wanted: Sequence[str]) -> xr.DataArray:
    """A cube with these dimensions alone, in this order."""
    if not isinstance(data, xr.DataArray):
        raise InvalidInputError(f"A {type(data).__name__} is no cube; give an xarray.DataArray.")
    found = {kind: next((name for name in NAMES[kind] if name in data.dims), None) for kind in wanted}
    lacking = [kind for kind, name in found.items() if name is None]
    if lacking or len(data.dims) != len(wanted):
        raise InvalidInputError(
            f"The cube has dimensions {', '.join(map(str, data.dims))}; give one with {', '.join(wanted)} and no other."
        )
    return data.transpose(*found.values())


def _matching(mask: xr.DataArray, data: xr.DataArray) -> xr.DataArray:
    """Labels of a mask, in which what is not 0 is not clear; InvalidInputError where it is not of the cube's shape."""
    ordered = _ordered(mask, ("time", "y", "x"))
    expected = data.shape[0], *data.shape[2:]
    if ordered.shape != expected:
        raise InvalidInputError(f"mask has shape {ordered.shape}, and the cube {expected}; give one like the cube.")
    places = dict(zip(ordered.dims, (data.dims[0], *data.dims[2:]), strict=True))
    return (ordered.rename(places) == 0).astype(np.uint16)
