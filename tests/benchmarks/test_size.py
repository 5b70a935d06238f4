"""What a run takes as the region and the days grow: seconds, memory, files and bytes, and the line through them."""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import spaceeye_stac as se
from tests.benchmarks.catalogs import START
from tests.benchmarks.large import Large
from tests.benchmarks.measured import Measured, measured
from tests.benchmarks.test_run_speed import PROGRAMS, THREADS, as_json

FOUR = ("B02", "B03", "B04", "B08")
REVISIT = 5
SIDES, LENGTHS = (1024, 2048, 4096), (10, 30, 60)
TILE = 10980
MEMORY, BUDGET = "4GB", 4e9
HEADER = "         pixels  days     form  seconds    CPU s    GB  files       MB MB/Mpx/day"


@dataclass(frozen=True)
class Run:
    """A run of so many pixels a side and days, what it took, and what it left."""

    side: int
    days: int
    form: str
    took: Measured
    files: int
    size: int

    @property
    def megapixels(self) -> float:
        """Pixels of a band and day."""
        return self.side**2 / 1e6

    def __str__(self) -> str:
        rate = self.size / 1e6 / self.megapixels / self.days
        return (
            f"{self.side:6} x {self.side:6} {self.days:5} {self.form:>8} {self.took.seconds:8.1f} {self.took.cpu:8.1f} "
            f"{self.took.memory / 1e9:5.2f} {self.files:6} {self.size / 1e6:8.0f} {rate:10.2f}"
        )


def run(folder: Path, side: int, days: int, form: str, method: str) -> Run:
    """Make the catalog, run it in processes of its own, count what is there, and take it away again."""
    tile = Large(shape=(side, side), start=START, days=days, revisit=REVISIT, bands=FOUR)
    region = tile.geobox.extent.buffer(-5).to_crs("EPSG:4326").json
    until = START + timedelta(days=days - 1)
    query = se.Query(catalog=tile.write(folder / "catalog"), intersects=region, datetime=f"{START}/{until}", bands=FOUR)
    resources, out = {"workers": THREADS, "memory": MEMORY}, folder / "out"
    settings = {"method": method}
    took = measured(
        PROGRAMS, program="ours", query=as_json(query), settings=settings, resources=resources, out=str(out), days=form
    )
    paths = [path for path in out.rglob("*") if path.is_file()]
    found = Run(side, days, form, took, len(paths), sum(path.stat().st_size for path in paths))
    shutil.rmtree(folder)
    print(found, flush=True)
    return found


def line(runs: list[Run]) -> np.ndarray:
    """CPU seconds of the start, of an acquisition and of a day of a megapixel: the least squares of what was taken."""
    rows = [[1, one.megapixels * len(range(0, one.days, REVISIT)), one.megapixels * one.days] for one in runs]
    weights = [1 / one.took.cpu for one in runs]  # of the part, not of the seconds: small runs count as large ones
    wanted = [one.took.cpu for one in runs]
    found, *_ = np.linalg.lstsq(np.multiply(rows, np.transpose([weights])), np.multiply(wanted, weights), rcond=None)
    return np.asarray(found)


@pytest.mark.benchmark
@pytest.mark.parametrize("form", ["files", "virtual"])
@pytest.mark.parametrize("method", ["damped", "surface"])
def test_what_a_run_takes_is_a_line_in_pixels_and_days(form: str, method: str, tmp_path: Path) -> None:
    print(f"\n{method}, 4 bands, an acquisition every {REVISIT} days, {THREADS} workers, memory {MEMORY}\n{HEADER}")
    found = [run(tmp_path / f"{side}-{days}", side, days, form, method) for side in SIDES for days in LENGTHS]
    start, look, day = line(found)
    print(f"CPU seconds: {start:.1f} + {look:.2f} an acquisition and megapixel + {day:.2f} a day and megapixel")
    assert max(one.took.memory for one in found) <= BUDGET
    for one in found:
        assert one.files <= 20 * one.days + 200


@pytest.mark.benchmark
@pytest.mark.parametrize(("days", "form"), [(10, "files"), (60, "virtual")])
def test_a_whole_tile(days: int, form: str, tmp_path: Path) -> None:
    print(f"\ndamped, 4 bands, an acquisition every {REVISIT} days, {THREADS} workers, memory {MEMORY}\n{HEADER}")
    assert run(tmp_path / "tile", TILE, days, form, "damped").took.memory <= BUDGET
