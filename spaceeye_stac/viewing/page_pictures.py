"""Pictures of a day in its own grid or as map tiles, read and coloured by rio-tiler (the extra `serve`)."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio import DatasetReader

from spaceeye_stac.collection import colour_table
from spaceeye_stac.days import SCALE
from spaceeye_stac.errors import InvalidInputError, ReadError
from spaceeye_stac.query import Json
from spaceeye_stac.viewing.page_days import PageDay
from spaceeye_stac.viewing.page_views import (
    BRIGHTEST,
    FLAGS,
    USUAL_BRIGHTEST,
    VISUAL,
    View,
    flag_classes,
)
from spaceeye_stac.viewing.pictures import ALONE, DRIVERS

if TYPE_CHECKING:
    from rio_tiler.models import ImageData

INSTALL = (
    'Thumbnails only: indices, quality layers and sharp pictures need rio-tiler, pip install "spaceeye-stac[serve]".'
)
LARGEST = 2048
TILE = 256
DEEPEST_ZOOM = 24
STOPS = 12
TAG_DIGITS = 20
KEPT = 256  # pictures of the last requests
AT_ONCE = BoundedSemaphore(4)  # so that a page that asks for much cannot take all memory


@dataclass(frozen=True)
class PicturePlace:
    """Which part of a day: all of it with at most `size` pixels on its longer side, or a map tile `(z, x, y)`."""

    size: int = TILE
    tile: tuple[int, int, int] | None = None


def can_draw() -> bool:
    """Whether rio-tiler is installed."""
    return find_spec("rio_tiler") is not None


def load_rio_tiler() -> None:
    """Import what takes seconds to import, before the first picture is asked for; nothing where it is not installed."""
    if can_draw():
        import_module("rio_tiler.io")
        import_module("rio_tiler.colormap")


def picture_tag(day: PageDay, view: View, place: PicturePlace) -> str:
    """What changes when a picture does: its files, as they are now, and what is asked of them."""
    name = view.index.name if view.index else ""
    asked = repr((name, view.bands, view.layer, place, [_stamp(day, key) for key in view.needs]))
    return hashlib.sha256(asked.encode()).hexdigest()[:TAG_DIGITS]


def _stamp(day: PageDay, key: str) -> tuple[str, int, int]:
    try:
        known = day.files[key].stat()
    except OSError as error:
        raise ReadError(f"File {key} of {day.id} is missing; run again.", "is missing") from error
    return str(day.files[key]), known.st_mtime_ns, known.st_size


class Pictures:
    """Pictures in PNG, of which the last are kept by their tags."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def draw(self, day: PageDay, view: View, place: PicturePlace) -> bytes:
        """A picture; ReadError where a file cannot be read, InvalidInputError for a tile that lies outside."""
        tag = picture_tag(day, view, place)
        found = self._kept.get(tag)
        if found is None:
            with AT_ONCE:
                found = drawn(day, view, place)
            self._kept[tag] = found
            for old in list(self._kept)[:-KEPT]:
                self._kept.pop(old, None)
        return found


def drawn(day: PageDay, view: View, place: PicturePlace) -> bytes:
    """Read and colour one picture: PNG with an alpha channel, clear where there is no data."""
    smooth = view.layer in {"", VISUAL}
    images = [_read(day.files[key], place, "average" if smooth else "nearest") for key in view.needs]
    if view.layer == VISUAL:
        return bytes(images[0].render(img_format="PNG"))
    if view.layer == FLAGS:
        return bytes(images[0].render(img_format="PNG", colormap=_flag_colours()))
    if view.bands:
        return _composite(view.bands, images)
    low, high, colours = view.ramp
    if view.index is not None:
        bands = dict(zip(view.needs, (_reflectance(one) for one in images), strict=True))
        values = view.index.values(bands)
    else:
        values = _reflectance(images[0]) / (1 if images[0].array.dtype == np.uint16 else SCALE)
    found = _like(images[0], np.ma.masked_invalid(values))
    found.rescale(in_range=((low, high),))
    return bytes(found.render(img_format="PNG", colormap=_colours(colours)))


def _read(path: Path, place: PicturePlace, resampling: str) -> "ImageData":
    from rio_tiler.errors import TileOutsideBounds  # noqa: PLC0415 - of an extra
    from rio_tiler.io import Reader  # noqa: PLC0415

    asked: dict[str, Any] = {"resampling_method": resampling}
    try:
        with ExitStack() as opened:
            opened.enter_context(rasterio.Env(**ALONE))
            file = opened.enter_context(DatasetReader(str(path), driver=DRIVERS, sharing=False))
            reader = opened.enter_context(Reader(None, dataset=file))
            if place.tile is None:
                found: ImageData = reader.preview(max_size=place.size, **asked)
            else:
                z, x, y = place.tile
                found = reader.tile(x, y, z, tilesize=TILE, **asked)
            return found
    except TileOutsideBounds as error:
        raise InvalidInputError("That tile lies outside of the day.") from error
    except (OSError, rasterio.errors.RasterioError) as error:
        raise ReadError(f"File {path.name} cannot be read; run again.", "cannot be read") from error


def _reflectance(image: "ImageData") -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values `(y, x)`, NaN where there is no data."""
    return np.asarray(image.array[0].astype(np.float64).filled(np.nan) * SCALE)


def _like(image: "ImageData", array: "np.ma.MaskedArray[Any, Any]") -> "ImageData":
    from rio_tiler.models import ImageData  # noqa: PLC0415 - of an extra

    return ImageData(array if array.ndim == 3 else array[np.newaxis], bounds=image.bounds, crs=image.crs)  # noqa: PLR2004


def _composite(bands: tuple[str, ...], images: list["ImageData"]) -> bytes:
    values = np.ma.masked_invalid(np.stack([_reflectance(one) for one in images]))
    found = _like(images[0], values)
    found.rescale(in_range=tuple((0.0, BRIGHTEST.get(band, USUAL_BRIGHTEST)) for band in bands))
    return bytes(found.render(img_format="PNG"))


def _colours(name: str) -> dict[int, tuple[int, int, int, int]]:
    from rio_tiler.colormap import cmap  # noqa: PLC0415 - of an extra

    return cmap.get(name)  # type: ignore[return-value]


def _flag_colours() -> dict[int, tuple[int, int, int, int]]:
    """The colour of every value, as the flags' own file has it; clear where there is no data."""
    return {value: (*colour, 255 if value else 0) for value, colour in enumerate(colour_table())}


def legend(view: View) -> Json | None:
    """How the colours of a view are read: classes, or a ramp between two values; None of a picture."""
    if view.layer == FLAGS:
        return {"classes": flag_classes()}
    if view.layer == VISUAL or view.bands:
        return None
    low, high, name = view.ramp
    colours = _colours(name)
    stops = [colours[round(255 * n / (STOPS - 1))] for n in range(STOPS)]
    unit = "days" if view.layer == "clear_distance" else ""
    return {"low": low, "high": high, "unit": unit, "stops": [f"rgb({r} {g} {b})" for r, g, b, _ in stops]}
