"""Scenes and a geobox to DN and labels on one grid; with `reader`, the only module that imports stackstac."""

import os
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import stackstac
from dask import threaded
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from stackstac.rio_env import LayeredEnv
from stackstac.rio_reader import DEFAULT_GDAL_ENV

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import NO_LABEL, BandAsset, Scene, metres_per_pixel, pixel_metres
from spaceeye_stac.pixels.assets import LABELS, AssetToRead, Signing
from spaceeye_stac.pixels.network import STACKSTAC, files_at_once, network_use
from spaceeye_stac.pixels.overviews import OVERVIEWS
from spaceeye_stac.pixels.reader import Opaque, Readers, Sources
from spaceeye_stac.query import Json
from spaceeye_stac.sources import profile_named

# Of its older calls of pandas and pyproj; for good, since catch_warnings changes the whole process, threads and all.
for category in (DeprecationWarning, FutureWarning):
    warnings.filterwarnings("ignore", category=category, module="stackstac")

READ_THREADS = 8
COARSER = 0.75
# a store that is busy is asked again; one that does not answer is not waited for without end
PATIENCE = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}
Signer = Callable[[Scene], Signing]


@dataclass(frozen=True)
class Stacked:
    """DN `(scene, band, y, x)` uint16, 0 where there is no data, and labels `(scene, y, x)`, NO_LABEL where none is.

    `doubts`: of each scene, sentences on files that are not what their item says, and were read all the same.
    """

    values: NDArray[np.uint16]
    labels: NDArray[np.uint16]
    doubts: Sequence[tuple[str, ...]] = ()


def resampling_of(scenes: Sequence[Scene], geobox: GeoBox, choice: str, *, coarser: str = "average") -> dict[str, str]:
    """Return how each band gets onto the grid: by `coarser` where that is coarser than its pixels, else by `choice`.

    `coarser` is `average`, of full pixels, or OVERVIEWS.
    """
    size = metres_per_pixel(geobox)
    return {
        name: coarser if any(_is_finer(scene.bands[name], scene, size) for scene in scenes) else choice
        for name in scenes[0].bands
    }


def load(
    scenes: Sequence[Scene], geobox: GeoBox, *, resampling: Mapping[str, str], sign: Signer, label_halo: int = 0
) -> Stacked:
    """Read every band and the labels of the scenes on the grid of `geobox`, labels with `label_halo` pixels around it.

    Bands on that grid already are copied bit for bit; others are warped as `resampling` says for each, by a method of
    GDAL or OVERVIEWS (nodata never mixes in), labels always by nearest neighbour from full pixels. Hrefs are signed
    here, at read time. Raises ReadError with the scene's id and the unsigned href when an asset is missing or
    unreadable: a failed read is never nodata.
    """
    padded = geobox.pad(label_halo)
    found = Stacked(
        np.empty((len(scenes), len(resampling), *geobox.shape), np.uint16),
        np.full((len(scenes), *padded.shape), NO_LABEL, np.uint16),
    )
    read: list[AssetToRead] = []
    for names, box, sources in _parts(scenes, geobox, resampling, sign, label_halo):
        had = _read_tiles(sources, box)
        for place, image in had.items():
            scene, name = map(int, place.split("-"))
            (found.labels[scene] if sources[place].is_label else found.values[scene, name])[:] = image
        left = {place: source for place, source in sources.items() if place not in had}
        if left:
            _read(_Into(found, left), scenes, names, box)
        read += sources.values()
    return replace(found, doubts=[_doubts(scene, read) for scene in scenes])


def load_ahead(
    scenes: Sequence[Scene], geobox: GeoBox, *, resampling: Mapping[str, str], sign: Signer, label_halo: int = 0
) -> "Iterator[Coroutine[Any, Any, int]]":
    """Give work for the network: what `load` would read by async-tiff goes into the cache; each gives its bytes."""
    for _, box, sources in _parts(scenes, geobox, resampling, sign, label_halo):
        wanted = _for_tiles(sources, box)
        if wanted:
            from spaceeye_stac.pixels.tiles import tiles_kept  # noqa: PLC0415 - only where it is there

            yield tiles_kept(wanted, box)


def _parts(
    scenes: Sequence[Scene], geobox: GeoBox, resampling: Mapping[str, str], sign: Signer, label_halo: int
) -> Iterator[tuple[list[str], GeoBox, Sources]]:
    """Names, where they are read, and their assets: labels with the bands, or on a part of their own."""
    how, bands = {**resampling, LABELS: "nearest"}, list(resampling)
    wide = ([LABELS], geobox.pad(label_halo))
    for names, box in [(bands, geobox), wide] if label_halo else [([*bands, LABELS], geobox)]:
        yield names, box, _sources(scenes, {name: how[name] for name in names}, sign)


def _read_tiles(sources: Sources, geobox: GeoBox) -> Mapping[str, NDArray[np.uint16]]:
    """What async-tiff reads of them."""
    wanted = _for_tiles(sources, geobox)
    if not wanted:
        return {}
    from spaceeye_stac.pixels.tiles import read_tiles  # noqa: PLC0415 - only where it is there

    return read_tiles(wanted, geobox)


def _for_tiles(sources: Sources, geobox: GeoBox) -> Sources:
    """What async-tiff may read, where it is installed and wanted.

    Averages of finer pixels are left to GDAL at once, so that no header of theirs is read twice.
    """
    if network_use().loader == STACKSTAC or find_spec("async_tiff") is None:
        return {}
    size = metres_per_pixel(geobox)
    return {
        place: source
        for place, source in sources.items()
        if source.resampling == Resampling.nearest or not _is_finer(source.asset, source.scene, size)
    }


def _is_finer(asset: BandAsset, scene: Scene, size: float) -> bool:
    """Whether a file's pixels are much smaller than those of a grid, of so many metres."""
    return (pixel_metres(asset, scene) or size) < COARSER * size


def _doubts(scene: Scene, read: Sequence[AssetToRead]) -> tuple[str, ...]:
    """Sentences on the files of a scene, one for all of which the same is said."""
    files: dict[str, list[str]] = {}
    for source in read:
        if source.scene is scene:
            for doubt in source.doubts:
                files.setdefault(doubt, []).append("mask" if source.is_label else source.name)
    return tuple(f"Scene {scene.id}: the file of {', '.join(names)} {doubt}." for doubt, names in files.items())


def first_unreadable(scene: Scene, sign: Signer) -> str | None:
    """Which file of a scene cannot be opened, and why; None where all can be. No pixel is read."""
    readers = Readers(_sources([scene], dict.fromkeys([*scene.bands, LABELS], "nearest"), sign))
    how = {"dtype": np.dtype("uint16"), "fill_value": 0, "scale_offset": (1, 0), "gdal_env": _environment([scene])}
    for place in readers.sources:
        try:
            readers(url=place, spec=None, resampling=Resampling.nearest, **how).check_opens()
        except ReadError as error:
            return error.reason
    return None


def _sources(scenes: Sequence[Scene], resampling: Mapping[str, str], sign: Signer) -> Sources:
    """Assets to read; not every scene has labels."""
    found = {}
    for i, scene in enumerate(scenes):
        signing = sign(scene)
        for n, (name, method) in enumerate(resampling.items()):
            asset = scene.labels if name == LABELS else scene.bands[name]
            if asset is not None:
                known = Resampling["average" if method == OVERVIEWS else method]
                found[place_name(i, n)] = AssetToRead(scene, name, asset, signing, known, overviews=method == OVERVIEWS)
    return found


class _Into(Opaque):
    """Arrays of bands and labels, as what is read of some sources is put there."""

    def __init__(self, found: Stacked, sources: Sources) -> None:
        self.found, self.sources = found, sources
        # stackstac leaves out names that no scene has an asset of
        self.numbers = sorted({int(place.split("-")[1]) for place in sources})

    def __setitem__(self, at: tuple[slice, ...], chunk: NDArray[np.uint16]) -> None:
        scene = at[0].start
        for name, image in zip(self.numbers[at[1]], chunk[0], strict=True):
            source = self.sources.get(place_name(scene, name))
            if source is not None:
                target = self.found.labels[scene] if source.is_label else self.found.values[scene, name]
                target[at[2:]] = image


def _read(into: _Into, scenes: Sequence[Scene], names: Sequence[str], geobox: GeoBox) -> None:
    """Read by stackstac: local files scene by scene, those in stores all bands at once."""
    box = geobox.boundingbox
    remote = any("://" in source.asset.href for source in into.sources.values())
    threads = files_at_once(geobox.shape, network_use().connections) if remote else READ_THREADS
    readers = Readers(into.sources)
    array = stackstac.stack(
        _plain_items(into.sources, scenes, names, geobox),
        assets=[names[number] for number in into.numbers],
        epsg=geobox.crs.epsg if geobox.crs else None,
        bounds=(box.left, box.bottom, box.right, box.top),
        resolution=(abs(geobox.resolution.x), abs(geobox.resolution.y)),
        snap_bounds=False,
        chunksize=(1, 1 if remote else -1, -1, -1),
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        rescale=False,
        sortby_date=False,
        xy_coords="center",
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=readers,
        gdal_env=_environment(scenes),
    )
    with _pool(readers, threads) as pool:
        array.data.store(into, lock=False, scheduler=threaded.get, pool=pool)


@contextmanager
def _pool(readers: Readers, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that read; after an error none of them goes on behind the caller's back."""
    with ThreadPoolExecutor(threads, "read") as pool:
        try:
            yield pool
        except BaseException:
            readers.ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _environment(scenes: Sequence[Scene]) -> LayeredEnv:
    """Return stackstac's GDAL settings with those of the scenes' profiles; what the environment sets goes before both.

    Credentials (AWS_ACCESS_KEY_ID ...) are GDAL's own affair, which finds them in the environment.
    """
    options = dict(PATIENCE)
    masks = [scene.labels for scene in scenes if scene.labels is not None]
    names = {scene.profile for scene in scenes} | {mask.source.profile for mask in masks if mask.source is not None}
    for name in sorted(names - {""}):
        options |= profile_named(name).gdal_env
    return DEFAULT_GDAL_ENV.updated(always={key: value for key, value in options.items() if key not in os.environ})


def _plain_items(sources: Sources, scenes: Sequence[Scene], names: Sequence[str], geobox: GeoBox) -> list[Json]:
    """Return what stackstac needs and nothing it could misread: places instead of hrefs, no scale.

    Every item is said to lie on the grid, as stackstac drops those that do not, and the rest would change places.
    """
    grid = {"proj:epsg": geobox.crs.epsg if geobox.crs else None, "proj:bbox": geobox.boundingbox.bbox}
    return [
        {
            "id": scene.id,
            "properties": {"datetime": scene.datetime.isoformat(), **grid},
            "assets": {
                name: {"href": place_name(i, n), "type": "image/tiff"}
                for n, name in enumerate(names)
                if place_name(i, n) in sources
            },
        }
        for i, scene in enumerate(scenes)
    ]


def place_name(scene: int, name: int) -> str:
    """What stackstac takes for the URL of the asset in this place."""
    return f"{scene}-{name}"
