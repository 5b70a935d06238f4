"""Days from keyframes: I[band, day] * lerp(keyframes)(day), row of cells by row of cells."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.days.cog import NODATA, quantise, truncate
from spaceeye_stac.days.quality import NearLooks, Quality
from spaceeye_stac.keyframes import Contents, Tiles, cores_of
from spaceeye_stac.methods import bridged
from spaceeye_stac.model import NO_LOOK, Cell
from spaceeye_stac.pixels import Clip


@dataclass(frozen=True)
class DayGroup:
    """Consecutive written days of a window on or after its knot `knot`, and before the next if there is one."""

    window: int
    knot: int
    days: range


def day_groups(contents: Contents) -> list[DayGroup]:
    """Every requested day once, in order."""
    groups = []
    for w, (window, knots) in enumerate(zip(contents.windows, contents.knots, strict=True)):
        stops = [*knots[1:], window.write.stop]
        groups += [DayGroup(w, k, range(a, b)) for k, (a, b) in enumerate(zip(knots, stops, strict=True))]
    return groups


class DayView:
    """The days of one group, for any run of cells of one row; what two days share is read once."""

    def __init__(self, tiles: Tiles, group: DayGroup) -> None:
        self.tiles, self.group = tiles, group
        self.contents = tiles.contents

    @cached_property
    def knots(self) -> tuple[int, ...]:
        """Knot days of the group's window."""
        return self.contents.knots[self.group.window]

    def reflectance(self, days: Sequence[int], band: int, cells: Sequence[Cell]) -> Iterator[NDArray[np.float32]]:
        """Yield `(y, x)` over the cores of `cells`, one array for each of the `days`, NaN where there is nothing.

        An array is good until the next is asked for.
        """
        known, knot = self.contents, self.group.knot
        left = step = None
        for day in days:
            illuminance = known.illuminance.at(day)[band]
            if known.as_seen and day in known.acquired:
                seen = self.image("as_seen", self.knots.index(day), band, cells)
                seen *= illuminance
                yield seen
                continue
            if left is None:
                left = self.image("images", knot, band, cells)
            share = self._share(day)
            if share and step is None:
                step = self.image("images", knot + 1, band, cells)
                step -= left
            yield _blended_day(left, step, share, illuminance)

    def lit(self, images: Sequence[NDArray[np.float32]], day: int, band: int) -> NDArray[np.float32]:
        """Reflectance on a day from normalised pixels of what it is made from: one image, or one to either side."""
        step = images[1] - images[0] if len(images) > 1 else None
        return _blended_day(images[0], step, self._share(day), self.contents.illuminance.at(day)[band])

    def _share(self, day: int) -> float:
        """How far a day is on the way from its knot to the next, 0 to 1; after the last all stays as on that."""
        start = self.knots[self.group.knot]
        return 0.0 if day == start or self.is_after(day) else (day - start) / (self.knots[self.group.knot + 1] - start)

    def is_after(self, day: int) -> bool:
        """Whether a day is after the last knot of its window."""
        return day > self.knots[-1]

    def image(self, name: str, knot: int, band: int, cells: Sequence[Cell]) -> NDArray[np.float32]:
        """Give `images` or `as_seen` of a knot `(y, x)` over the cores of `cells`, normalised."""
        window = self.group.window
        return self.blended(cells, lambda cell: self.tiles.tile(name, window, knot, cell, band))

    def blended(self, cells: Sequence[Cell], tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Give `(y, x)` over the cores of `cells` of what `tile` gives over a cell's reach."""
        return self.contents.layout.blend(cells, tile)

    def quality(self, days: Sequence[int], cells: Sequence[Cell]) -> Iterator[Quality]:
        """Yield how far to trust each of the `days` over the cores of `cells`."""
        looked = self.contents.looked(self.group.window)
        near = NearLooks.of(lambda index: self.look(index, cells), looked, self.group.days, self.shape(cells))
        return (near.on(day) for day in days)

    def shape(self, cells: Sequence[Cell]) -> tuple[int, int]:
        """Rows and columns of what is made over the cores of `cells`."""
        return cores_of(cells).shape

    def look(self, index: int, cells: Sequence[Cell]) -> NDArray[np.uint8]:
        """Give the flags of one of the window's looks `(y, x)` over the cores of `cells`."""
        whole = cores_of(cells)
        out = np.empty(whole.shape, np.uint8)
        for cell in cells:
            out[cell.core.within(whole)] = self.tiles.tile("look_flags", self.group.window, index, cell)
        return out

    @property
    def has_uncertainty(self) -> bool:
        """Whether the method says how far to trust it."""
        return self.tiles.noise(self.group.window, self.group.knot, self.contents.layout.cells[0]) is not None

    def uncertainty(self, cells: Sequence[Cell]) -> "Uncertainty":
        """Of the days over the cores of `cells`."""
        return Uncertainty(self, cells)


class FilePixels:
    """DN of one band on some days of a group as files hold them; none is ever `wrong` or `misread`."""

    wrong: frozenset[int] = frozenset()
    misread = False

    def __init__(self, view: DayView, band: int, days: Sequence[int], clip: Clip) -> None:
        self._view, self._band, self._days, self._clip = view, band, days, clip

    def rows(self, cells: Sequence[Cell]) -> Iterator[NDArray[np.uint16]]:
        """Yield `(y, x)` over the cores of `cells`, one array for each day."""
        to_dn = truncate if self._view.contents.truncates else quantise
        outside = self._clip.outside(cores_of(cells))
        for image in self._view.reflectance(self._days, self._band, cells):
            values = to_dn(image)
            if outside is not None:
                values[outside] = NODATA
            yield values


class Uncertainty:
    """68 % half width of the error of a group's days over a run of cells; what two days share is assembled once.

    Of one `band`, by index, or of that which has the largest.

    It is noise * sqrt(1 + spread^2); where the day itself was seen, the noise of one look. NaN where there is no data,
    and where no look was left out to learn it from.
    """

    def __init__(self, view: DayView, cells: Sequence[Cell]) -> None:
        self._view, self._cells = view, cells
        self._ends: dict[int, NDArray[np.float32]] = {}
        self._unseen_of: dict[int | None, NDArray[np.float32]] = {}

    def of(self, day: int, distance: NDArray[np.uint8], band: int | None = None) -> NDArray[np.float32]:
        """`(y, x)` in reflectance, on a day of that `clear_distance`: of a band, the largest over bands without one."""
        knots = self._view.knots
        if day in knots:
            index = knots.index(day)
            spread, noise = self._spread(index).copy(), self._noise(index, band)
        else:
            spread, noise = self._between(day), self._unseen(band)
        with np.errstate(invalid="ignore"):  # no noise times no information, at pixels that are masked below
            np.multiply(spread, spread, out=spread)
            spread += 1
            np.sqrt(spread, out=spread)
            spread[distance == 0] = 1
            spread *= noise
        spread[(distance == NO_LOOK) | ~(noise > 0)] = np.nan
        return spread

    def _between(self, day: int) -> NDArray[np.float32]:
        """Spread on a day without a knot: between two, or after the last, from which the land drifts away."""
        knots, index = self._view.knots, self._view.group.knot
        if self._view.is_after(day):
            return np.asarray(np.sqrt(self._spread(index) ** 2 + (day - knots[index]) / self._alpha), np.float32)
        gaps = day - knots[index], knots[index + 1] - day
        return bridged(self._spread(index), self._spread(index + 1), gaps, self._alpha)

    def _spread(self, knot: int) -> NDArray[np.float32]:
        """Spread of the group's own knot, or the next, over the cells."""
        if knot not in self._ends:
            tiles, window = self._view.tiles, self._view.group.window
            self._ends[knot] = self._blended(lambda cell: tiles.tile("spread", window, knot, cell))
        return self._ends[knot]

    def _unseen(self, band: int | None) -> NDArray[np.float32]:
        if band not in self._unseen_of:
            self._unseen_of[band] = self._noise(-1, band)
        return self._unseen_of[band]

    @cached_property
    def _alpha(self) -> NDArray[np.float32] | float:
        """Damping factor between the knots: one for all cells, or blended where each has its own."""
        tiles, window, layout = self._view.tiles, self._view.group.window, self._view.contents.layout
        own = {tiles.damping_factor(window, near) for cell in self._cells for near in layout.near(cell)}
        if len(own) == 1:
            return own.pop()
        return self._blended(
            lambda cell: np.broadcast_to(np.float32(tiles.damping_factor(window, cell)), cell.reach.shape)
        )

    def _noise(self, index: int, band: int | None) -> NDArray[np.float32]:
        tiles, window = self._view.tiles, self._view.group.window

        def tile(cell: Cell) -> NDArray[np.float32]:
            found = tiles.noise(window, index, cell)
            if found is None:
                return np.full(cell.reach.shape, np.nan, np.float32)
            return np.broadcast_to(found.max() if band is None else found[band], cell.reach.shape)

        return self._blended(tile)

    def _blended(self, tile: Callable[[Cell], NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._view.blended(self._cells, tile)


def _blended_day(
    left: NDArray[np.float32], step: NDArray[np.float32] | None, share: float, illuminance: np.float32
) -> NDArray[np.float32]:
    """Return (left + share * step) * illuminance, exact at share 0; NaN stays NaN."""
    if step is None or not share:
        return left * illuminance
    out = step * np.float32(share)
    out += left
    out *= illuminance
    return out
