"""What GDAL makes of other rasters as it is read: a band of a day from keyframes, and `visual` from bands; as VRTs."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.days.cog import NODATA, Moments, WrittenRaster, written_file
from spaceeye_stac.days.descriptions import Description, band_xml, dataset_xml
from spaceeye_stac.model import Grid

COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class KnotCog:
    """The COG of a band of a keyframe: `kind` of its image, index of its knot, what its values are in, and its file."""

    kind: str
    knot: int
    unit: float
    path: Path


@dataclass(frozen=True)
class Recipe:
    """What a day's band is made from: COGs, each with what its values are multiplied by to be DN.

    `between`: the first one's day, the days from there to the second's, and the day.
    """

    sources: tuple[tuple[KnotCog, float], ...]
    between: tuple[int, int, int] | None = None

    @property
    def weights(self) -> tuple[float, ...]:
        """What each source's values are multiplied by to be its part of the DN."""
        ratios = tuple(ratio for _, ratio in self.sources)
        if self.between is None:
            return ratios
        start, gap, day = self.between
        share = (day - start) / gap
        return ((1 - share) * ratios[0], share * ratios[1])


def vrt_of(found: Recipe, grid: Grid, folder: Path, said: Description) -> str:
    """Write a recipe down as a VRT that lies in `folder`: uint16, nodata 0, on the grid of its sources."""
    kind, function = "", ""
    if found.between:
        start, gap, day = found.between
        kind = ' subClass="VRTDerivedRasterBand"'
        function = (
            "  <PixelFunctionType>interpolate_linear</PixelFunctionType>\n"
            f'  <PixelFunctionArguments t0="{start}" dt="{gap}" t="{day}"/>\n'
            "  <SourceTransferType>Float64</SourceTransferType>\n"
        )
    sources = "".join(
        _source(
            os.path.relpath(cog.path, folder), f"<ScaleOffset>0</ScaleOffset><ScaleRatio>{ratio!r}</ScaleRatio>", grid
        )
        for cog, ratio in found.sources
    )
    return _dataset(grid, said, [_band(f'dataType="UInt16" band="1"{kind}', band_xml(said) + function + sources)])


def picture_vrt_of(names: Sequence[str], tables: Iterable[NDArray[np.uint8]], grid: Grid, said: Description) -> str:
    """Write `visual` down as a VRT: uint8 RGB, nodata 0, of the bands of these files beside it, each by its table."""
    bands = []
    for n, (name, table) in enumerate(zip(names, tables, strict=True)):
        one = band_xml(replace(said, bands=(said.bands[n],)))
        source = _source(name, f"<LUT>{_steps(table)}</LUT>", grid)
        colour = f"  <ColorInterp>{COLOURS[n]}</ColorInterp>\n"
        bands.append(_band(f'dataType="Byte" band="{n + 1}"', one + colour + source))
    return _dataset(grid, said, bands)


def _band(what: str, holds: str) -> str:
    return f" <VRTRasterBand {what}>\n  <NoDataValue>{NODATA}</NoDataValue>\n{holds} </VRTRasterBand>\n"


def _dataset(grid: Grid, said: Description, bands: Iterable[str]) -> str:
    height, width = grid.shape
    place = ", ".join(repr(float(value)) for value in grid.geobox.transform.to_gdal())
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">\n'
        f" <SRS>EPSG:{grid.epsg}</SRS>\n <GeoTransform>{place}</GeoTransform>\n{dataset_xml(said)}"
        f"{''.join(bands)}</VRTDataset>\n"
    )


def _source(name: str, how: str, grid: Grid) -> str:
    """One source; not shared, as readers of several threads would then share one file handle."""
    (height, width), file = grid.shape, escape(Path(name).as_posix())
    return (
        f'  <ComplexSource>\n   <SourceFilename relativeToVRT="1" shared="0">{file}</SourceFilename>\n'
        "   <SourceBand>1</SourceBand>\n"
        f'   <SourceProperties RasterXSize="{width}" RasterYSize="{height}" DataType="UInt16"/>\n'
        f"   <NODATA>{NODATA}</NODATA>\n   {how}\n  </ComplexSource>\n"
    )


def _steps(table: NDArray[np.uint8]) -> str:
    """Both ends of each run of DN that are shown alike, between which GDAL interpolates; nodata is none of them."""
    starts = np.concatenate([[NODATA + 1], np.flatnonzero(np.diff(table[NODATA + 1 :])) + NODATA + 2])
    ends = np.concatenate([starts[1:] - 1, [len(table) - 1]])
    pairs = zip(starts.tolist(), ends.tolist(), table[starts].tolist(), strict=True)
    return ",".join(f"{dn}:{shade}" for a, b, shade in pairs for dn in dict.fromkeys((a, b)))


class VirtualRaster:
    """A VRT in the place of a `Raster`: it is given the pixels that GDAL reads from it, for their statistics alone."""

    def __init__(self, path: Path, text: str, count: int = 1) -> None:
        self.path = path
        self._moments = [Moments(NODATA) for _ in range(count)]
        path.write_text(text, encoding="utf-8")

    def write(self, values: NDArray[np.unsignedinteger], _top: int) -> None:
        """Count `(y, x)` or `(layer, y, x)`."""
        layers = values if len(self._moments) > 1 else values[None]
        for moments, layer in zip(self._moments, layers, strict=True):
            moments.add(layer)

    def close(self) -> WrittenRaster:
        """Finish."""
        return WrittenRaster(written_file(self.path), tuple(moments.statistics() for moments in self._moments))
