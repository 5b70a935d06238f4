"""The illuminance of a job's days; sums of days that were read stay in the run's folder, and are not read again."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spaceeye_stac.collection import DAY_TOTALS, write_json
from spaceeye_stac.keyframes import CellLayout, totals_keys
from spaceeye_stac.methods import method_of
from spaceeye_stac.model import GridJob, Illuminance
from spaceeye_stac.pixels import CachedPixels, DayTotals, StreamedPixels, survey
from spaceeye_stac.query import Json

FORMAT = 1
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)


def surveyed(
    job: GridJob, layout: CellLayout, cached: CachedPixels | None, folder: Path, earlier: Path | None
) -> Illuminance:
    """Illuminance of a job's days; see `survey`. Of days whose sums the folder of an `earlier` run has nothing is read.

    The sums of all days are put into the run's own folder. A run that was killed reads its scenes again: what is said
    of their files is known from that alone.
    """
    if not method_of(job.settings).normalised:
        return survey(job)
    several = len(layout.cells) > 1
    keys = totals_keys(job, "decimated" if several else "whole")
    known = {} if earlier is None else _read(_file(earlier, job), keys, len(job.bands))
    illuminance = survey(job, None if several else cached or StreamedPixels(job), known)
    _write(_file(folder, job), {keys[n]: _plain(total) for n, total in sorted(known.items())})
    return illuminance


def _file(folder: Path, job: GridJob) -> Path:
    """Where the sums of a grid are; no .json, which whoever lists a folder's items would take for one."""
    return folder / DAY_TOTALS / f"{job.grid.name}.totals"


def _write(path: Path, days: Json) -> None:
    """Write the sums of days, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"spaceeye:totals": FORMAT, "check": _check(days), "days": days})


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
