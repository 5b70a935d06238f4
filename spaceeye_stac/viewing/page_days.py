"""The days of a run as the page of the server needs them: what each is called, how much was seen, and its files.

A file is one of the run's own: what an item names outside of the folder, or at an address, is left out.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from affine import Affine

from spaceeye_stac.collection import crs_code
from spaceeye_stac.days import knot_cogs_of
from spaceeye_stac.query import BANDS, Json
from spaceeye_stac.viewing.served_files import document_in, read_document

SHARES = ("observed", "reconstructed", "suspect", "extrapolated", "nodata")
LEVELS = 4  # of catalogs in catalogs
REPORT = "report"


@dataclass(frozen=True)
class PageGrid:
    """Where the pixels of a day lie."""

    code: str
    shape: tuple[int, int]
    transform: tuple[float, ...]

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the pixel at coordinates of the grid's CRS; None outside."""
        column, row = ~Affine(*self.transform) * (x, y)
        inside = 0 <= row < self.shape[0] and 0 <= column < self.shape[1]
        return (int(row), int(column)) if inside else None


@dataclass(frozen=True)
class PageDay:
    """One item: its day and title, shares of its pixels, and the path of each file by the key of its asset."""

    id: str
    day: str
    title: str
    tile: str | None
    href: str
    grid: PageGrid
    shares: Mapping[str, float]
    distance: float | None
    files: Mapping[str, Path]

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Bands of which it has a file, in the order of Sentinel-2."""
        return tuple(band for band in BANDS if band in self.files)

    def described(self) -> Json:
        """What the page is told of it."""
        base = PurePosixPath(self.href).parent
        return {
            "id": self.id,
            "day": self.day,
            "title": self.title,
            "tile": self.tile,
            "href": self.href,
            "grid": {"code": self.grid.code, "shape": self.grid.shape, "transform": self.grid.transform},
            "shares": dict(self.shares),
            "distance": self.distance,
            "files": {key: (base / path.name).as_posix() for key, path in self.files.items()},
        }


@dataclass(frozen=True)
class RunPage:
    """What the page shows of a folder: its title, its days in order, and the hrefs of its documents."""

    title: str
    id: str
    document: str
    days: tuple[PageDay, ...]
    documents: tuple[str, ...]
    report: str | None = None
    by_id: Mapping[str, PageDay] = field(default_factory=dict)

    def of_tile(self, tile: str | None) -> tuple[PageDay, ...]:
        """The days of a tile, or of a run with one grid."""
        return tuple(one for one in self.days if one.tile == tile)

    @property
    def tiles(self) -> tuple[str, ...]:
        """The tiles of a run that has a grid for each."""
        return tuple(sorted({one.tile for one in self.days if one.tile}))

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that every day has."""
        return tuple(band for band in BANDS if self.days and all(band in one.files for one in self.days))


def run_page(folder: Path) -> RunPage:
    """Read the documents of a folder; OutputError where there is none.

    Items that are no days of this package, or say too little of themselves, are left to their documents.
    """
    name = document_in(folder)
    document = _object(folder / name)
    links = list(_documents(folder, name, LEVELS))
    found = [_day(folder, href) for href in links]
    days = tuple(sorted((one for one in found if one is not None), key=lambda one: (one.day, one.tile or "")))
    return RunPage(
        title=str(document.get("title") or document.get("id") or name),
        id=str(document.get("id") or ""),
        document=name,
        days=days,
        documents=tuple(links),
        report=_report(folder, name, document),
        by_id={one.id: one for one in days},
    )


def _object(path: Path) -> Json:
    found = read_document(path)
    return found if isinstance(found, dict) else {}


def _dicts(found: Any) -> list[Json]:  # noqa: ANN401 - any JSON
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _documents(folder: Path, name: str, levels: int) -> Iterator[str]:
    """Names of the items below a document, and of the catalogs below it that hold none."""
    links = _dicts(_object(folder / name).get("links"))
    for link in links:
        href = _name_in(folder, name, link.get("href"))
        if href is None or link.get("rel") not in {"item", "child"}:
            continue
        below = list(_documents(folder, href, levels - 1)) if link["rel"] == "child" and levels else []
        yield from below or [href]


def _name_in(folder: Path, document: str, href: object) -> str | None:
    """The name from the folder of what a document in it names; None where that is elsewhere."""
    if not isinstance(href, str) or ":" in href or "\\" in href or href.startswith("/"):
        return None
    name = os.path.normpath(PurePosixPath(document).parent / unquote(href))
    return None if name.startswith("..") or not _is_inside(folder, folder / name) else PurePosixPath(name).as_posix()


def _is_inside(folder: Path, path: Path) -> bool:
    root = _real(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) == root


@lru_cache(maxsize=8)
def _real(folder: Path) -> str:
    return os.path.realpath(folder)


def _report(folder: Path, name: str, document: Json) -> str | None:
    """The run's report in the folder, where its collection has one as an asset or it stands beside it."""
    assets = document.get("assets")
    asset = assets.get(REPORT) if isinstance(assets, dict) else None
    href = asset.get("href") if isinstance(asset, dict) else f"{REPORT}.html"
    found = _name_in(folder, name, href)
    return found if found is not None and (folder / found).is_file() else None


def _day(folder: Path, name: str) -> PageDay | None:
    """The day that an item describes; None where it is none of this package."""
    item = _object(folder / name)
    try:
        facts, assets = item["properties"], item["assets"]
        if not any(key.startswith("spaceeye:") for key in facts):
            return None
        files = dict(_files(folder, name, assets))
        placed = next(asset for key, asset in assets.items() if key in files and "proj:transform" in asset)
        rows, columns = placed["proj:shape"]
        grid = PageGrid(
            crs_code(placed), (int(rows), int(columns)), tuple(float(n) for n in placed["proj:transform"][:6])
        )
        distance = facts.get("spaceeye:median_clear_distance")
        return PageDay(
            id=str(item["id"]),
            day=str(facts["start_datetime"])[: len("2018-04-11")],
            title=str(facts.get("title") or item["id"]),
            tile=str(facts.get("grid:code", "")).removeprefix("MGRS-") or None,
            href=name,
            grid=grid,
            shares={key: float(facts.get(f"spaceeye:{key}_share") or 0) for key in SHARES},
            distance=None if distance is None else float(distance),
            files=files,
        )
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
        return None


def _files(folder: Path, name: str, assets: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """The files of an item that are in the folder; of virtual ones, those that read nothing else."""
    place = (folder / name).parent
    virtual = any(str(asset.get("href")).endswith(".vrt") for asset in assets.values())
    allowed = not virtual or all(_is_inside(folder, source) for source in knot_cogs_of(place))
    for key, asset in assets.items():
        found = _name_in(folder, name, asset.get("href"))
        if found is not None and (allowed or not found.endswith(".vrt")):
            yield key, folder / found
