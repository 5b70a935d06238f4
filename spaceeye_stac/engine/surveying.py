"""The illuminance of a job's days; sums of days that were read stay in the run's folder, and are not read again."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spaceeye_stac.collection import DAY_TOTALS, write_json
from spaceeye_stac.keyframes import CellLayout, totals_keys
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import GridJob, Illuminance
from spaceeye_stac.pixels import CachedPixels, DayTotals, KeptTotals, StreamedPixels, survey
from spaceeye_stac.query import Json

FORMAT = 1
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


def surveyed(job: GridJob, layout: CellLayout, cached: CachedPixels | None, folders: Sequence[Path]) -> Illuminance:
    """Illuminance of a job's days; see `survey`. Of days whose sums one of the `folders` has nothing is read.

    The first folder is that of the run, where the sums of all days are put as soon as they are known; the others are of
    earlier ones. A run that was killed reads its scenes again: what is said of their files is known from that alone.
    """
    if not method_of(job.settings).normalised:
        return survey(job)
    several = len(layout.cells) > 1
    keys = totals_keys(job, "decimated" if several else "whole")
    # no .json, which whoever lists a folder's items would take for one
    files = [folder / DAY_TOTALS / f"{job.grid.name}.totals" for folder in folders]
    kept = FiledTotals(path=files[0], keys=keys)
    kept.keep({n: total for path in files[1:] for n, total in _read(path, keys, len(job.bands)).items()})
    return survey(job, None if several else cached or StreamedPixels(job), kept)


@dataclass
class FiledTotals(KeptTotals):
    """Totals that stand in a file, too; `keys` say what those of each acquisition are made from."""

    path: Path = field(kw_only=True)
    keys: Sequence[str] = field(kw_only=True)

    def keep(self, found: Mapping[int, DayTotals]) -> None:
        """Add totals, and write the file anew, whole or not at all."""
        super().keep(found)
        days = {self.keys[n]: _plain(total) for n, total in sorted(self.known.items())}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"spaceeye:totals": FORMAT, "check": _check(days), "days": days})


def _read(path: Path, keys: Sequence[str], bands: int) -> dict[int, DayTotals]:
    """Totals of a file that are made from the same; none where there is no file, or one that is not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["spaceeye:totals"] != FORMAT or found["check"] != _check(found["days"]):
            return {}
        return {n: _total(found["days"][key], bands) for n, key in enumerate(keys) if key in found["days"]}
    except UNREADABLE:
        return {}


def _plain(total: DayTotals) -> Json:
    """Totals of one day as plain JSON, in which a float64 is every bit of it."""
    return {"observed": int(total.observed[0]), "clear": int(total.clear[0]), "sums": total.sums[:, 0].tolist()}


def _total(found: Json, bands: int) -> DayTotals:
    """Read `_plain` back."""
    sums = np.array(found["sums"], np.float64).reshape(bands, 1)
    return DayTotals(np.array([found["observed"]], np.int64), np.array([found["clear"]], np.int64), sums)


def _check(days: Json) -> int:
    return zlib.crc32(json.dumps(days, sort_keys=True).encode())
