"""One asset to read, and what its file's header must be."""

from dataclasses import dataclass
from typing import Protocol

from rasterio import DatasetReader
from rasterio.coords import disjoint_bounds
from rasterio.enums import Resampling
from rasterio.warp import transform_bounds

from spaceeye_stac.errors import ReadError, redacted
from spaceeye_stac.model import BandAsset, Mask, Scene

LABELS = "labels"
BAND_TYPES = ("uint16", "int16")
LABEL_TYPES = ("uint8", "uint16", "int16")
SAME_PIXELS = 0.01
MAX_SIDE = 110_000
MAX_BLOCK_PIXELS = 2**27


class Signing(Protocol):
    """What makes the hrefs of a scene readable."""

    def __call__(self, href: str) -> str:
        """Return the href with whatever it needs to be read now."""

    def renewed(self, href: str, refused: str) -> str | None:
        """Return the href with a fresh token where the store refused `refused`; None where there is no fresh one."""


@dataclass(frozen=True, eq=False)
class AssetToRead:
    """One asset to read, and how its href is signed."""

    scene: Scene
    name: str
    asset: BandAsset
    signing: Signing
    resampling: Resampling

    @property
    def is_label(self) -> bool:
        """Whether it tells what a pixel shows, not how bright it is."""
        return self.name == LABELS

    @property
    def epsg(self) -> int | None:
        """The CRS that the item says; None where it says none of a mask that is an item of its own."""
        own = self.asset.epsg
        apart = isinstance(self.asset, Mask) and self.asset.source is not None
        return own if own is not None or apart else self.scene.epsg

    def is_away_from(self, epsg: int, bounds: tuple[float, float, float, float]) -> bool:
        """Whether the item says that the raster lies wholly outside of what is read."""
        asset = self.asset
        if asset.origin is None or asset.shape is None or asset.resolution is None or self.epsg is None:
            return False
        (left, top), (rows, columns), size = asset.origin, asset.shape, asset.resolution
        here = (left, top - rows * size, left + columns * size, top)
        if self.epsg != epsg:
            here = transform_bounds(self.epsg, epsg, *here, densify_pts=21)
        return bool(disjoint_bounds(here, bounds))

    def error(self, why: str) -> ReadError:
        """Return the error that names scene and unsigned href."""
        return ReadError(
            f"Scene {self.scene.id}: asset {redacted(self.asset.href)} {why}; "
            "mend the source, or leave the scene out with exclude, or with unreadable drop where it cannot even be "
            "opened, and run again.",
            f"asset {redacted(self.asset.href)} {why}",
        )

    def check(self, header: DatasetReader) -> None:
        """Compare a file's header with what the item says of it; ReadError names both."""
        why = next(filter(None, (_absurd(header), _misfit(header, self))), None)
        if why is not None:
            raise self.error(why)


def _absurd(header: DatasetReader) -> str | None:
    """Why a file cannot be a Sentinel-2 band whatever its item says, before anything is allocated for it."""
    if header.count != 1:
        return f"has {header.count} bands, and a band's file has one"
    if max(header.shape) > MAX_SIDE:
        return f"claims {header.height} x {header.width} pixels, and at most {MAX_SIDE} a side are read"
    rows, columns = header.block_shapes[0]
    if rows * columns > MAX_BLOCK_PIXELS:
        return f"is in blocks of {rows} x {columns} pixels, which is too much to read at once"
    return None


def _misfit(header: DatasetReader, source: AssetToRead) -> str | None:
    """How a file differs from what its item says."""
    asset, types = source.asset, LABEL_TYPES if source.is_label else BAND_TYPES
    epsg = header.crs.to_epsg() if header.crs else None
    if epsg is None or source.epsg not in {None, epsg}:
        return f"is in {f'EPSG:{epsg}' if epsg else 'no known CRS'}, its item says EPSG:{source.epsg}"
    if asset.shape is not None and header.shape != asset.shape:
        return f"has {_by(header.shape)} pixels, its item says {_by(asset.shape)}"
    if asset.origin is not None and asset.resolution is not None:
        here, said = header.transform, (asset.resolution, *asset.origin)
        found = (here.a, here.c, here.f)
        off = max(abs(a - b) for a, b in zip(found, said, strict=True)) / asset.resolution
        if off > SAME_PIXELS:
            return f"has {_lies(*found)}, its item says {_lies(*said)}"
    kind = header.dtypes[0]
    if asset.dtype is not None and kind != asset.dtype:
        return f"holds {kind}, its item says {asset.dtype}"
    return None if kind in types else f"holds {kind}, and {' or '.join(types)} is read"


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _lies(size: float, left: float, top: float) -> str:
    return f"pixels of {size:g} m from ({left:.10g}, {top:.10g})"
