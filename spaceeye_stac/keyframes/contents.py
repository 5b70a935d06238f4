"""What keyframes there are: of which grid, bands and days, on which knots of each window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from spaceeye_stac.keyframes.cells import CellLayout
from spaceeye_stac.model import Grid, GridJob, Illuminance, Window
from spaceeye_stac.query import DateRange, Json


@dataclass(frozen=True)
class Contents:
    """What keyframes there are: of which grid, bands and days, on which days (`knots`) of each window.

    `acquired`: indices of the days that were used; `scene_days`: the day's index of each scene of the job, used or not;
    `as_seen`: acquisition days have an image of their own;
    `damping_factor`: of the method, for the spread between knots. `illuminance`: illuminance of every day.
    """

    layout: CellLayout
    bands: tuple[str, ...]
    days: DateRange
    windows: tuple[Window, ...]
    knots: tuple[tuple[int, ...], ...]
    acquired: tuple[int, ...]
    scene_days: tuple[int, ...]
    illuminance: Illuminance
    damping_factor: float
    as_seen: bool
    truncates: bool

    @property
    def grid(self) -> Grid:
        """The output grid."""
        return self.layout.grid

    @property
    def cut(self) -> Json:
        """Grid, cells and bands, as plain JSON: what the chunks of two stores must have in common."""
        found = self.as_json()
        return {name: found[name] for name in ("grid", "layout", "bands", "as_seen")}

    @cached_property
    def first_knots(self) -> tuple[int, ...]:
        """Where each window's knots begin among those of all windows, and their number at the end."""
        return tuple(int(n) for n in np.cumsum([0, *map(len, self.knots)]))

    @cached_property
    def first_looks(self) -> tuple[int, ...]:
        """Where each window's looks begin among those of all windows, and their number at the end."""
        return tuple(int(n) for n in np.cumsum([0, *(len(self.looked(w)) for w in range(len(self.windows)))]))

    def looked(self, window: int) -> list[int]:
        """Return the used acquisition days of a window."""
        return [day for day in self.acquired if day in self.windows[window].read]

    def scenes_in(self, window: int) -> list[int]:
        """Return where the scenes of a window stand among those of the job."""
        return [n for n, day in enumerate(self.scene_days) if day in self.windows[window].read]

    def knot_dates(self, window: int) -> list[date]:
        """Return the days of a window's knots."""
        return [self.days.day(knot) for knot in self.knots[window]]

    def as_json(self) -> Json:
        """Everything but the illuminance, as plain JSON."""
        geobox = self.grid.geobox
        return {
            "grid": {
                "name": self.grid.name,
                "tile": self.grid.tile,
                "outline": self.grid.outline,
                "crs": f"EPSG:{self.grid.epsg}",
                "shape": list(self.grid.shape),
                "transform": list(geobox.transform)[:6],
            },
            "layout": {
                "size": self.layout.size,
                "halo": self.layout.halo,
                "margin": self.layout.margin,
                "anchor": list(self.layout.anchor),
            },
            "bands": list(self.bands),
            "days": [self.days.start.isoformat(), self.days.stop.isoformat()],
            "windows": [
                [window.read.start, window.read.stop, window.write.start, window.write.stop] for window in self.windows
            ],
            "knots": [list(knots) for knots in self.knots],
            "acquired": list(self.acquired),
            "scene_days": list(self.scene_days),
            "illuminance_from": self.illuminance.first,
            "damping_factor": self.damping_factor,
            "as_seen": self.as_seen,
            "truncates": self.truncates,
        }

    @classmethod
    def from_json(cls, found: Json, illuminance: NDArray[np.float32]) -> "Contents":
        """Read `as_json` back, with the illuminance `(band, day)`."""
        from affine import Affine  # noqa: PLC0415

        place, cut = found["grid"], found["layout"]
        geobox = GeoBox(tuple(place["shape"]), Affine(*place["transform"]), place["crs"])
        start, stop = (date.fromisoformat(text) for text in found["days"])
        layout = CellLayout(
            Grid(place["name"], geobox, place["tile"], place["outline"]),
            cut["size"],
            cut["halo"],
            cut["margin"],
            tuple(cut["anchor"]),
        )
        return cls(
            layout=layout,
            bands=tuple(found["bands"]),
            days=DateRange(start, stop),
            windows=tuple(Window(range(a, b), range(c, d)) for a, b, c, d in found["windows"]),
            knots=tuple(tuple(knots) for knots in found["knots"]),
            acquired=tuple(found["acquired"]),
            scene_days=tuple(found["scene_days"]),
            illuminance=Illuminance(illuminance, np.zeros(0, bool), found["illuminance_from"]),
            damping_factor=found["damping_factor"],
            as_seen=found["as_seen"],
            truncates=found["truncates"],
        )


@dataclass(frozen=True)
class Retention:
    """What a method keeps of a window: knots on `every_day` or on acquisition days, an image `as_seen` on those."""

    every_day: bool
    as_seen: bool
    damping_factor: float
    truncates: bool


def contents_of(job: GridJob, illuminance: Illuminance, layout: CellLayout, kept: Retention) -> Contents:
    """What the keyframes of a job will be."""
    used = tuple(day for day, ok in zip(job.acquisition_days, illuminance.used, strict=True) if ok)
    days = tuple(job.span) if kept.every_day else used
    return Contents(
        layout=layout,
        bands=job.bands,
        days=job.days,
        windows=job.windows,
        knots=tuple(window.knots([day for day in days if day in window.read]) for window in job.windows),
        acquired=used,
        scene_days=tuple(
            day for day, one in zip(job.acquisition_days, job.acquisitions, strict=True) for _ in one.scenes
        ),
        illuminance=illuminance,
        damping_factor=kept.damping_factor,
        as_seen=kept.as_seen,
        truncates=kept.truncates,
    )


def keyframe_bytes(layout: CellLayout, knots: Sequence[Sequence[int]], looks: int, bands: int, images: int) -> int:
    """Size of a store on the disk: `images` per knot and band (with `as_seen` two), spread, and flags of `looks`."""
    rows, columns = layout.counts
    height, width = layout.tile
    core = rows * columns * min(layout.size, layout.grid.shape[0]) * min(layout.size, layout.grid.shape[1])
    tile = rows * columns * height * width
    return sum(map(len, knots)) * (images * bands + 1) * 4 * tile + looks * core
