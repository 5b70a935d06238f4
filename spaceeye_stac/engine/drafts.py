"""A day on its way to its place, what is known of its pixels, and whether a day that is there is whole."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.collection import FINGERPRINT, FLAGS_STYLE, DayQuality, Flag, qgis_style
from spaceeye_stac.days import (
    Quality,
    Raster,
    VirtualRaster,
    WrittenRaster,
    drop_torn_knot_cogs,
    histogram,
    knot_cogs_of,
    write_thumbnail,
    written_file,
)
from spaceeye_stac.model import NO_LOOK
from spaceeye_stac.query import Json


def drop_torn(folder: Path) -> None:
    """Remove from a run's folder what an interrupted run left that is not what it wrote."""
    drop_torn_knot_cogs(folder)


def finished(place: Path, key: str) -> bool:
    """Whether a day's folder holds the item of this key and all its files, by size, and what its VRTs read is there.

    It is quick, and enough for what this run has written itself; `intact` says it of what an earlier one has left.
    """
    try:
        item = _document(place)
        sizes = {asset["href"]: asset["file:size"] for asset in item["assets"].values()}
        return (
            item["properties"].get(FINGERPRINT) == key
            and all((place / href).stat().st_size == size for href, size in sizes.items())
            and all(source.is_file() for source in knot_cogs_of(place))
        )
    except (OSError, ValueError, KeyError):
        return False


def intact(place: Path, key: str) -> bool:
    """Whether a day's folder is `finished` and each file has the checksum that its item says."""
    if not finished(place, key):
        return False
    item = _document(place)
    files = [(place / asset["href"], asset["file:checksum"]) for asset in item["assets"].values()]
    return all(written_file(path).checksum == checksum for path, checksum in files)


def _document(place: Path) -> Json:
    """The item in a day's folder."""
    return dict(json.loads((place / f"{place.name}.json").read_text(encoding="utf-8")))


@dataclass
class Seen:
    """How many pixels are so many days from a clear look, how many have which flags, and how many are doubted."""

    distances: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NO_LOOK + 1, np.int64))
    flags: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NO_LOOK + 1, np.int64))
    doubted: int = 0

    def add(self, found: Quality, outside: int) -> None:
        """Count a part, of which so many pixels are not of the region."""
        self.distances += histogram(found.distance)
        self.flags += histogram(found.flags)
        self.doubted += int(np.count_nonzero(found.doubted))
        self.distances[NO_LOOK] -= outside

    @property
    def any_look(self) -> bool:
        """Whether a look of any pixel was used."""
        return bool(self.distances[:NO_LOOK].any())

    def quality(self, *, doubts: bool) -> DayQuality:
        """What is said of the day; whether its looks are doubted where the method does that."""
        everywhere, with_data = int(self.distances.sum()), int(self.distances[:NO_LOOK].sum())
        return DayQuality(
            flagged={flag: self._flagged(flag) / everywhere for flag in Flag},
            nodata=1 - with_data / everywhere,
            doubted=self.doubted / with_data if doubts else None,
            median_clear_distance=self._median,
        )

    def _flagged(self, flag: Flag) -> int:
        return int(self.flags[(np.arange(len(self.flags)) & flag) != 0].sum())

    @property
    def _median(self) -> float:
        """Median distance of the pixels with a look, the mean of the middle two where there are two."""
        ends = np.cumsum(self.distances[:NO_LOOK])
        middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
        return float(np.searchsorted(ends, middle, side="right").mean())


class Draft:
    """One day on its way: a hidden folder beside its place, removed unless it is put there."""

    def __init__(self, place: Path, cleaning: ExitStack) -> None:
        self.place, self.folder = place, place.with_name(f".{place.name}.partial")
        self.seen, self.written = Seen(), dict[str, WrittenRaster]()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        cleaning.callback(shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def is_empty(self) -> bool:
        """Whether some raster that every day must have holds nothing."""
        return any(one.is_empty for one in self.written.values())

    def close(self, key: str, raster: "Raster | VirtualRaster") -> None:
        """Finish a raster of this day."""
        self.written[key] = raster.close()

    def add_pictures(self, written: dict[str, WrittenRaster]) -> None:
        """A thumbnail, and how QGIS is to show the flags."""
        written["thumbnail"] = WrittenRaster(
            write_thumbnail(self.folder / "thumbnail.png", written["visual"].file.path), ()
        )
        style = self.folder / FLAGS_STYLE
        style.write_bytes(qgis_style())
        written["flags_style"] = WrittenRaster(written_file(style), ())

    def put_in_place(self) -> None:
        """Replace what is there by the finished day."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.folder.rename(self.place)
