"""A frame of a film: the picture of a day, above it the date and how much was seen, below it the days and a scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from spaceeye_stac.viewing.pictures import ColourStretch, Image, colour_table, shown_shape
from spaceeye_stac.viewing.run_days import RunDay

PAPER, INK, QUIET, RULE = "#15181d", "#f3f1ec", "#a3a8b0", "#3a4048"
SEEN, MADE, NONE = "#4fc4a8", "#c79a52", "#5a606a"
NARROWEST = 384
WIDTHS_PER_UNIT = 46
SMALLEST_TEXT = 12
NICE = (1, 2, 5)
LONGEST_BAR = 0.25  # of the picture's width
COLOUR_BAR = 0.36
TICKS = 4
BOTH = 2
CREDIT = "Contains modified Copernicus Sentinel data"

Box = tuple[float, float, float, float]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def nice_length(longest: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is not above `longest`."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step * power for step in NICE if step * power <= longest * (1 + 1e-9)))


@dataclass(frozen=True)
class Captions:
    """What all frames of a film share: its days, the stretch, what is shown, and the size of its pictures."""

    days: Sequence[RunDay]
    stretch: ColourStretch
    subject: str
    edge: int

    @cached_property
    def drawn(self) -> tuple[int, int]:
        """Rows and columns of the picture; a small grid is enlarged by a whole factor, so that pixels stay squares."""
        height, width = shown_shape(self.days[0].shape, self.edge)
        factor = max(1, self.edge // max(height, width))
        return height * factor, width * factor

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame, both even, as video wants them."""
        height, width = self.drawn
        whole = max(width, NARROWEST)
        return whole + whole % BOTH, (tall := height + self._above + self._below) + tall % BOTH

    @cached_property
    def _unit(self) -> int:
        return max(SMALLEST_TEXT, round(max(self.drawn[1], NARROWEST) / WIDTHS_PER_UNIT))

    @property
    def _above(self) -> int:
        return 3 * self._unit

    @property
    def _below(self) -> int:
        return round(7.2 * self._unit)

    @property
    def _margin(self) -> int:
        return self._unit

    def frame(self, day: RunDay, picture: Image) -> Pillow.Image:
        """The frame of one day; nothing is drawn on the picture itself."""
        canvas = Pillow.new("RGB", self.size, PAPER)
        height, width = self.drawn
        shown = Pillow.fromarray(picture).resize((width, height), Pillow.Resampling.NEAREST)
        canvas.paste(shown, ((self.size[0] - width) // 2, self._above))
        draw = ImageDraw.Draw(canvas)
        self._heading(draw, day)
        self._timeline(draw, day)
        self._scale(canvas, draw)
        return canvas

    def _text(self, draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, anchor: str, *, large: bool) -> None:
        size = round(1.45 * self._unit) if large else self._unit
        draw.text(at, text, fill=INK if large else QUIET, font=_font(size), anchor=anchor)

    def _heading(self, draw: ImageDraw.ImageDraw, day: RunDay) -> None:
        """The date, and a bar of what was seen, reconstructed and is nodata."""
        unit, right = self._unit, self.size[0] - self._margin
        self._text(draw, (self._margin, 1.5 * unit), written(day.day), "lm", large=True)
        self._text(draw, (right, 1.0 * unit), seen_in_words(day), "rm", large=False)
        left, top, bottom = right - 15 * unit, 1.9 * unit, 2.4 * unit
        draw.rectangle((left, top, right, bottom), fill=MADE)
        seen, none = (15 * unit * day.share(name) for name in ("observed", "nodata"))
        if seen >= 1:
            draw.rectangle((left, top, left + seen, bottom), fill=SEEN)
        if none >= 1:
            draw.rectangle((right - none, top, right, bottom), fill=NONE)

    def _timeline(self, draw: ImageDraw.ImageDraw, day: RunDay) -> None:
        """A tick for each day on which something was seen, as high as its share, and a cursor on this day."""
        unit, base = self._unit, self.size[1] - self._below + 2.2 * self._unit
        for one in self.days:
            share = one.share("observed")
            if share > 0:
                x = self._place(one.day)
                draw.line((x, base, x, base - unit * (0.25 + 0.95 * share)), fill=SEEN, width=max(2, unit // 8))
        ends = self._margin, self.size[0] - self._margin
        draw.line((ends[0], base, ends[1], base), fill=RULE, width=max(1, unit // 10))
        x = self._place(day.day)
        draw.line((x, base - 1.5 * unit, x, base + 0.35 * unit), fill=INK, width=max(2, unit // 8))
        radius = 0.28 * unit
        draw.ellipse((x - radius, base - radius, x + radius, base + radius), fill=INK)
        for at, end, anchor in ((ends[0], self.days[0], "lt"), (ends[1], self.days[-1], "rt")):
            self._text(draw, (at, base + 0.6 * unit), end.day.isoformat(), anchor, large=False)
        self._text(draw, (self.size[0] / 2, base + 0.6 * unit), "days with clear looks", "mt", large=False)

    def _place(self, day: date) -> float:
        """Where a day stands on the timeline."""
        first, last = self.days[0].day, self.days[-1].day
        share = (day - first).days / max(1, (last - first).days)
        return self._margin + share * (self.size[0] - BOTH * self._margin)

    def _scale(self, canvas: Pillow.Image, draw: ImageDraw.ImageDraw) -> None:
        unit, base = self._unit, self.size[1] - 2 * self._unit
        if self.stretch.colours is None:
            self._bar_of_metres(draw, base)
        else:
            self._bar_of_colours(canvas, draw, base)
        right = self.size[0] - self._margin
        self._text(draw, (right, base), self.subject, "rb", large=False)
        draw.text((right, base + 0.4 * unit), CREDIT, fill=QUIET, font=_font(max(9, round(0.7 * unit))), anchor="rt")

    def _bar_of_metres(self, draw: ImageDraw.ImageDraw, base: float) -> None:
        width = self.drawn[1]
        metres = self.days[0].pixel_metres * self.days[0].shape[1] / width
        length = nice_length(LONGEST_BAR * width * metres)
        left, right, tick = self._margin, self._margin + length / metres, 0.25 * self._unit
        line = [(left, base - tick), (left, base), (right, base), (right, base - tick)]
        draw.line(line, fill=INK, width=max(2, self._unit // 9))
        text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"  # noqa: PLR2004
        self._text(draw, ((left + right) / 2, base + 0.4 * self._unit), text, "mt", large=False)

    def _bar_of_colours(self, canvas: Pillow.Image, draw: ImageDraw.ImageDraw, base: float) -> None:
        left, width, height = self._margin + self._unit // 2, round(COLOUR_BAR * self.size[0]), round(0.6 * self._unit)
        shades = colour_table(self.stretch.colours or "")[np.linspace(0, 255, width).astype(int)]
        canvas.paste(Pillow.fromarray(np.repeat(shades[None], height, axis=0)), (left, round(base) - height))
        low, high = self.stretch.low[0], self.stretch.high[0]
        for n in range(TICKS):
            x = left + width * n / (TICKS - 1)
            number = f"{low + (high - low) * n / (TICKS - 1):.1f}"
            self._text(draw, (x, base + 0.4 * self._unit), number, "mt", large=False)


def written(day: date) -> str:
    """A day as people read it: 4 May 2018."""
    return f"{day.day} {day:%B %Y}"


def seen_in_words(day: RunDay) -> str:
    """How much of the day was seen, and how much of it is reconstructed."""
    seen, made = (100 * day.share(name) for name in ("observed", "reconstructed"))
    return f"{seen:.0f} % seen, {made:.0f} % reconstructed"
