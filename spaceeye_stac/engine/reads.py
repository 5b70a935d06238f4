"""What a run asks its sources for: of every file its header, and the tiles that hold pixels of the region.

Bytes of tiles are those of headers that were read of a few files, carried over to the others of the same band; where
none could be read, those of tiles as they are usual.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import zip_longest

from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.warp import transform_bounds

from spaceeye_stac.engine.costs import TYPICAL_LABEL_RATE, SourceRates
from spaceeye_stac.errors import redacted
from spaceeye_stac.keyframes import CellLayout
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import BandAsset, GridJob, Scene, metres_per_pixel, pixel_metres
from spaceeye_stac.pixels import (
    COARSER,
    HEADER_BYTES,
    LABELS,
    TileLevel,
    TilePart,
    TileTable,
    asked_share,
    model_bands,
    reads,
    tile_tables,
)

SAMPLES = 3  # files of a band of a tile of which the header is read
MOST_HEADERS = 132  # three scenes of four tiles with ten bands and a mask
USUAL_SIDE, USUAL_OVERVIEWS, WHOLE_TILE_METRES = 512, 5, 109_800
LARGER_SIDE, LARGER = 1024, "earth-search"
JPEG_2000 = ".jp2"
NEAR_PIXELS = 0.01
HEADER, CARRIED, ASSUMED = "header", "carried", "assumed"
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class FileRead:
    """What a run asks of one file.

    `bytes` with its header. `tiles`: first row and the one after the last, and so the columns, of those that are read;
    `level`: of which overview, 0 for the full image. `known`: their bytes are those of this file's header, carried over
    from files like it, or assumed; `ranges` `(start, stop)`: where they lie, known from the header alone.
    """

    scene: str
    asset: str
    href: str
    purpose: str
    bytes: int
    tiles: tuple[int, int, int, int]
    level: int
    known: str
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class KnownTables:
    """Headers that were read, by the href of their file, and by the kind of file."""

    own: Mapping[str, TileTable] = field(default_factory=dict)
    alike: Mapping[object, Sequence[TileTable]] = field(default_factory=dict)

    def of(self, scene: Scene, name: str, asset: BandAsset) -> tuple[Sequence[TileTable], str]:
        """What is known of a file's tiles, and from where."""
        if asset.href in self.own:
            return [self.own[asset.href]], HEADER
        like = self.alike.get(_kind(scene, name, asset), ())
        return like, CARRIED if like else ASSUMED


NO_TABLES = KnownTables()


def no_tables(_job: GridJob) -> KnownTables:
    """Read no header."""
    return NO_TABLES


def known_tables(job: GridJob) -> KnownTables:
    """Read the headers of a few files of every kind: of the first, the last and a scene between."""
    if find_spec("async_tiff") is None:
        return NO_TABLES
    kinds: dict[object, list[tuple[Scene, BandAsset]]] = {}
    for scene in job.scenes:
        for name, asset in _files(scene, _all_bands(job, scene)):
            kinds.setdefault(_kind(scene, name, asset), []).append((scene, asset))
    sampled = zip_longest(
        *([files[n] for n in sorted({0, len(files) - 1, len(files) // 2})] for files in kinds.values())
    )
    chosen = [file for files in sampled for file in files if file is not None][:MOST_HEADERS]
    own = {asset.href: table for (_, asset), table in zip(chosen, tile_tables(chosen), strict=True) if table}
    alike = {kind: _cut_alike([own[a.href] for _, a in files if a.href in own]) for kind, files in kinds.items()}
    return KnownTables(own, alike)


def _cut_alike(tables: Sequence[TileTable]) -> list[TileTable]:
    """Those that are cut into tiles as the first one is."""
    return [table for table in tables if table.cut == tables[0].cut]


def _kind(scene: Scene, name: str, asset: BandAsset) -> object:
    """What files have in common of which one stands for the others."""
    return scene.tile, scene.epsg, scene.profile, name, asset.shape


def _all_bands(job: GridJob, scene: Scene) -> Scene:
    """The scene with the bands of a mask model, too."""
    more = [name for name in model_bands(job) if name not in scene.bands]
    return scene.with_bands([*scene.bands, *more]) if more else scene


def _files(scene: Scene, named: Scene) -> Iterator[tuple[str, BandAsset]]:
    yield from named.bands.items()
    if scene.labels is not None:
        yield LABELS, scene.labels


def reads_of(job: GridJob, layout: CellLayout, tables: KnownTables) -> list[FileRead]:
    """Every file that a run reads, scene by scene: each tile once, whichever cells want it.

    Tiles of files in stores are kept while a run is at work, so that a survey of a region of several cells and a mask
    model get them from there. Other files they read by themselves.
    """
    reading = _Reading(job, tables, SourceRates(job))
    surveyed = len(layout.cells) > 1 and method_of(job.settings).normalised
    asked = asked_share(job, surveyed=surveyed)
    found = list[FileRead]()
    for scene in job.scenes:
        once = [one for name, asset in _files(scene, scene) if (one := reading.of(scene, name, asset)) is not None]
        found += once
        if surveyed:
            found += [replace(one, purpose="survey") for one in once if not _is_kept(one)]
        if asked:
            found += _asked_for(reading, scene, asked)
    return found


def _asked_for(reading: "_Reading", scene: Scene, share: float) -> Iterator[FileRead]:
    """What a mask model wants of a scene that it does not get from what is kept; `share`: see `asked_share`."""
    for name, asset in scene.with_bands(model_bands(reading.job)).bands.items():
        one = reading.of(scene, name, asset)
        if one is not None and not _is_kept(one):
            yield replace(one, purpose="mask model", bytes=round(share * one.bytes))
        elif one is not None and name not in scene.bands:
            yield replace(one, purpose="mask model")


def _is_kept(read: FileRead) -> bool:
    """Whether a file's tiles are kept while a run is at work: a tiled TIFF that is read by HTTP."""
    return reads(read.href) and not read.href.endswith(JPEG_2000)


@dataclass(frozen=True)
class _Reading:
    """What lies in a job's grid of its files."""

    job: GridJob
    tables: KnownTables
    rates: SourceRates

    def of(self, scene: Scene, name: str, asset: BandAsset) -> FileRead | None:
        """What is read of one file; None where its item says that it lies elsewhere."""
        known, how = self.tables.of(scene, name, asset)
        levels = known[0].levels if known else _usual_levels(scene, asset)
        level = self._level(scene, name, asset, levels)
        part = self._part(scene, (name, asset), known[0].transform if known else None, (levels[0], levels[level]))
        if part is None:
            return None
        size = self.rates.size_of(asset)
        header = min(_header_bytes(asset, known), size or HEADER_BYTES)
        if known:
            scales = [size / table.size if size and how == CARRIED else 1.0 for table in known]
            ranges = [part.ranges(table.levels[level], header) for table in known]
            each = [scale * sum(b - a for a, b in one) for scale, one in zip(scales, ranges, strict=True)]
            tiles = round(sum(each) / len(each))
        else:
            rate = TYPICAL_LABEL_RATE if name == LABELS else self.rates.of_band(name)
            tiles = round(rate * part.count * math.prod(levels[level].tile))
        return FileRead(
            scene=scene.id,
            asset=name,
            href=redacted(asset.href),
            purpose="pixels",
            bytes=header + tiles,
            tiles=(part.top, part.bottom, part.left, part.right),
            level=level,
            known=how,
            ranges=((0, header), *ranges[0]) if how == HEADER else (),
        )

    def _level(self, scene: Scene, name: str, asset: BandAsset, levels: Sequence[TileLevel]) -> int:
        """Which overview a band is averaged from: the coarsest that is not coarser than the grid; 0 for none."""
        metres, own = metres_per_pixel(self.job.grid.geobox), pixel_metres(asset, scene)
        if name == LABELS or own is None or own >= COARSER * metres:
            return 0
        factors = [levels[0].shape[0] / level.shape[0] for level in levels]
        return max(n for n, factor in enumerate(factors) if n == 0 or factor * own <= metres * (1 + NEAR_PIXELS))

    def _part(
        self, scene: Scene, file: tuple[str, BandAsset], said: Affine | None, levels: tuple[TileLevel, TileLevel]
    ) -> TilePart | None:
        """The tiles of a level that hold pixels of the grid; None where the file lies elsewhere."""
        name, asset = file
        full, level = levels
        transform = asset.transform or (None if said is None else tuple(said)[:6])
        bounds = self._bounds(name, asset.epsg or scene.epsg)
        if transform is None or bounds is None:
            own = pixel_metres(asset, scene) or metres_per_pixel(self.job.grid.geobox)
            pixels = metres_per_pixel(self.job.grid.geobox) / own * level.shape[0] / full.shape[0]
            return TilePart.anywhere([side * pixels for side in self.job.grid.shape], level)
        return TilePart.inside(Affine(*transform), bounds, full, level)

    def _bounds(self, name: str, epsg: int) -> Bounds | None:
        """Where the grid lies in a file's CRS, with what labels are read around it; None where it does not."""
        geobox = self.job.grid.geobox
        halo = math.ceil(self.job.settings.mask_dilation / metres_per_pixel(geobox)) if name == LABELS else 0
        bounds: Bounds = geobox.pad(halo).boundingbox.bbox
        if epsg == self.job.grid.epsg:
            return bounds
        try:
            there: Bounds = transform_bounds(self.job.grid.epsg, epsg, *bounds, densify_pts=21)
        except RasterioError:
            return None
        return there if all(map(math.isfinite, there)) else None


def _header_bytes(asset: BandAsset, known: Sequence[TileTable]) -> int:
    """What is asked for first of a file in a store; of one on this machine what stands before its tiles."""
    return min(HEADER_BYTES, known[0].first) if known and "://" not in asset.href else HEADER_BYTES


def _usual_levels(scene: Scene, asset: BandAsset) -> list[TileLevel]:
    """Tiles and overviews as such files have them, of which no header was read."""
    side = LARGER_SIDE if scene.profile.startswith(LARGER) or asset.href.endswith(JPEG_2000) else USUAL_SIDE
    shape = asset.shape or (WHOLE_TILE_METRES // round(pixel_metres(asset, scene) or 10),) * 2
    return [TileLevel.usual((-(-shape[0] // 2**n), -(-shape[1] // 2**n)), side) for n in range(USUAL_OVERVIEWS)]
