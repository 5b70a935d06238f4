"""The days of a finished run as what is shown of each: its date, its files, and how much of it was seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from spaceeye_stac.collection import crs_code
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.model import unit_metres
from spaceeye_stac.publishing import read_run_folder
from spaceeye_stac.query import Json, parse_datetime

DATE = "2018-04-11"


@dataclass(frozen=True)
class RunDay:
    """One item of a run whose assets lie below `folder`."""

    folder: Path
    item: Json

    @property
    def day(self) -> date:
        """The day it shows."""
        return date.fromisoformat(str(self.item["properties"]["datetime"])[: len(DATE)])

    @property
    def tile(self) -> str:
        """The MGRS tile of its grid, or nothing where the run has one grid."""
        return str(self.item["properties"].get("grid:code", "")).removeprefix("MGRS-")

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that it has as reflectance."""
        assets: dict[str, Json] = self.item["assets"]
        return tuple(key for key, asset in assets.items() if "reflectance" in asset.get("roles", ()))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its grid."""
        height, width = self.item["assets"][self.bands[0]]["proj:shape"]
        return int(height), int(width)

    @property
    def pixel_metres(self) -> float:
        """Width of a pixel of its grid in metres."""
        asset = self.item["assets"][self.bands[0]]
        return abs(float(asset["proj:transform"][0])) * unit_metres(crs_code(asset))

    def share(self, name: str) -> float:
        """A share of its pixels, from 0 to 1: "observed", "reconstructed", "nodata" and so on."""
        return float(self.item["properties"].get(f"spaceeye:{name}_share") or 0)

    def file(self, key: str) -> Path:
        """The file of an asset."""
        return self.folder / str(self.item["id"]) / str(self.item["assets"][key]["href"])


def run_days(folder: Path, datetime: str | None = None, tile: str | None = None) -> list[RunDay]:
    """The days of the run in a folder in order, one each; those of `datetime` alone, and of one tile where it has some.

    Raises OutputError where `folder` is no run's, InvalidInputError where there is no such day or tile.
    """
    found = [RunDay(folder, item) for item in read_run_folder(folder).items]
    return _of_datetime(_of_tile(found, tile), datetime, folder)


def _of_tile(found: Sequence[RunDay], tile: str | None) -> list[RunDay]:
    tiles = sorted({day.tile for day in found})
    if tile is None and len(tiles) > 1:
        raise InvalidInputError(f"The run has the tiles {', '.join(tiles)}; name one of them with tile.")
    if tile is not None and tile not in tiles:
        raise InvalidInputError(f"tile {tile!r} is not in the run; it has {', '.join(filter(None, tiles)) or 'none'}.")
    return [day for day in found if tile in {None, day.tile}]


def _of_datetime(found: list[RunDay], datetime: str | None, folder: Path) -> list[RunDay]:
    if datetime is None:
        return found
    days = parse_datetime(datetime)
    wanted = [day for day in found if days.start <= day.day <= days.stop]
    if not wanted:
        raise InvalidInputError(
            f"The run in {folder} has no day of datetime {datetime!r}; it has {found[0].day} to {found[-1].day}."
        )
    return wanted
