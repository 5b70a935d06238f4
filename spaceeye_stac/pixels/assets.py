"""One asset to read, what its file's header may be, and what of it looks wrong."""

import os
from dataclasses import dataclass, field
from typing import Protocol

from rasterio import DatasetReader
from rasterio.crs import CRS
from rasterio.enums import Resampling

from spaceeye_stac.errors import ReadError, redacted
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.pixels.headers import (
    BAND_TYPES,
    LABEL_TYPES,
    Bounds,
    footprint_meets,
    has_alpha,
    is_said_away,
    judged,
    type_doubt,
)

LABELS = "labels"
MAX_SIDE = 110_000
MAX_BLOCK_PIXELS = 2**27
BLOCK_BOUND = "SPACEEYE_MAX_BLOCK_PIXELS"
LARGE_BLOCK_PIXELS = 2**23


class Signing(Protocol):
    """What makes the hrefs of a scene readable."""

    def __call__(self, href: str) -> str:
        """Return the href with whatever it needs to be read now."""

    def renewed(self, href: str, refused: str) -> str | None:
        """Return the href with a fresh token where the store refused `refused`; None where there is no fresh one."""


@dataclass(frozen=True, eq=False)
class AssetToRead:
    """One asset to read, and how its href is signed; `doubts` are sentences on it, in the order they arose.

    `overviews`: an average may be taken of one of the file's overviews.
    """

    scene: Scene
    name: str
    asset: BandAsset
    signing: Signing
    resampling: Resampling
    doubts: dict[str, None] = field(default_factory=dict)
    overviews: bool = False

    @property
    def is_label(self) -> bool:
        """Whether it tells what a pixel shows, not how bright it is."""
        return self.name == LABELS

    def is_away_from(self, epsg: int, bounds: Bounds) -> bool:
        """Whether the item says that the raster lies wholly outside of what is read; see `judged`."""
        return is_said_away(self.asset, self.scene, epsg, bounds)

    def is_elsewhere(self, epsg: int, bounds: Bounds) -> bool:
        """Whether that is so and the scene's footprint, too, is elsewhere, so that no header need be read."""
        return self.is_away_from(epsg, bounds) and not footprint_meets(self.scene, epsg, bounds)

    def error(self, why: str, more: str = "") -> ReadError:
        """Return the error that names scene and unsigned href."""
        return ReadError(
            f"Scene {self.scene.id}: asset {redacted(self.asset.href)} {why}; "
            "mend the source, or leave the scene out with exclude, or with unreadable drop where it cannot even be "
            f"opened, and run again{more}.",
            f"asset {redacted(self.asset.href)} {why}",
        )

    def lost(self, why: str) -> ReadError:
        """Return the error that blames the connection, not the source."""
        href = redacted(self.asset.href)
        said = f"Scene {self.scene.id}: asset {href} {why}; check the network, and run again: what is finished is kept."
        return ReadError(said, f"asset {href} {why}")

    def changed(self) -> ReadError:
        """Return the error of a file that another one has taken the place of while it was read."""
        why = f"asset {redacted(self.asset.href)} was changed in its store while it was read"
        return ReadError(f"Scene {self.scene.id}: {why}; run again, with overwrite where days of it are finished.", why)

    def check(self, header: DatasetReader, *, away: bool) -> CRS:
        """Compare a file's header with what the item says of it; the CRS to read it in, or ReadError that names both.

        `away`: the item says that the raster is outside of what is read.
        """
        why = self._absurd(header)
        if why is not None:
            raise self.error(*why)
        found = judged(header, self.asset, self.scene, away=away)
        if found.refusal is not None or found.crs is None:
            raise self.error(found.refusal or "has no CRS")
        types, kind = LABEL_TYPES if self.is_label else BAND_TYPES, header.dtypes[0]
        if kind not in types:
            raise self.error(f"holds {kind}, and {', '.join(types[:-1])} or {types[-1]} is read")
        alpha = "has a second band that says where the first holds data" if has_alpha(header) else None
        for doubt in (*found.doubts, type_doubt(header, self.asset), alpha):
            if doubt is not None:
                self.doubts[doubt] = None
        return found.crs

    def _absurd(self, header: DatasetReader) -> tuple[str, str] | None:
        """Why a file is no Sentinel-2 band whatever its item says, and what can be done about it."""
        if header.count != 1 and not has_alpha(header):
            return f"has {header.count} bands, and a band's file has one", ""
        if max(header.shape) > MAX_SIDE:
            return f"claims {header.height} x {header.width} pixels, and at most {MAX_SIDE} a side are read", ""
        rows, columns = header.block_shapes[0]
        if rows * columns > max_block_pixels():
            why = f"is in blocks of {rows} x {columns} pixels, which is too much to read at once"
            return why, f"; {BLOCK_BOUND} in the environment, now {max_block_pixels()}, is the bound"
        return None


def max_block_pixels() -> int:
    """Pixels of the largest block of a file that is read at once."""
    given = os.environ.get(BLOCK_BOUND, "")
    return int(given) if given.isdigit() else MAX_BLOCK_PIXELS
