"""The film within a report: some of the days as small pictures, in the page itself, as many bytes as there is room."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from io import BytesIO

from PIL import Image as Pillow

from spaceeye_stac.days import display_bands
from spaceeye_stac.viewing.captions import written
from spaceeye_stac.viewing.pictures import STRETCH_DAYS, Image, Visual, shown_shape, spread
from spaceeye_stac.viewing.report_charts import summed_up
from spaceeye_stac.viewing.run_days import RunDay

MOST_FRAMES = 120
EDGES = (480, 400, 320, 240, 160, 96)
SMALL = 320  # below it pixels are shown as squares
QUALITY = 72
WEBP_METHOD = 4
SHEET_FRAMES = 24  # on paper
BASE64 = 4 / 3


@dataclass(frozen=True)
class ReportFrames:
    """The frames of a report: the days that have one, and each as a WebP file."""

    days: tuple[RunDay, ...]
    files: tuple[bytes, ...]
    subject: str
    shape: tuple[int, int]

    @property
    def dates(self) -> set[date]:
        """The days that have a frame."""
        return {day.day for day in self.days}

    def html(self, note: str) -> str:
        """The player; without scripts it shows the first day, on paper a sheet of some."""
        on_paper = {day.day for day in spread(self.days, SHEET_FRAMES)}
        images = "".join(
            self._image(n, day, file, in_sheet=day.day in on_paper)
            for n, (day, file) in enumerate(zip(self.days, self.files, strict=True))
        )
        small = " small" if max(self.shape) < SMALL else ""
        return (
            f'<div class="player"><div class="stage{small}">{images}</div><div class="side">'
            f'<output class="date">{written(self.days[0].day)}</output>'
            f'<output class="share">{summed_up(self.days[:1])}</output>'
            '<meter min="0" max="1" value="0" aria-label="Share of the pixels that was seen"></meter>'
            '<div class="controls" hidden>'
            f'<input type="range" min="0" max="{len(self.days) - 1}" value="0" step="1" aria-label="Day">'
            '<div class="buttons"><button type="button" class="previous" aria-label="Day before">←</button>'
            '<button type="button" class="play">Play</button>'
            '<button type="button" class="next" aria-label="Day after">→</button></div></div>'
            f'<p class="note">{escape(note)}</p></div></div>'
        )

    def _image(self, number: int, day: RunDay, file: bytes, *, in_sheet: bool) -> str:
        title, share = written(day.day), summed_up([day])
        kind, hidden = (' class="sheet"' if in_sheet else ""), (" hidden" if number else "")
        return (
            f'<img{kind}{hidden} width="{self.shape[1]}" height="{self.shape[0]}" alt="{title}: {share}" '
            f'data-day="{day.day}" data-date="{title}" data-share="{share}" data-seen="{day.share("observed"):.4f}" '
            f'src="data:image/webp;base64,{b64encode(file).decode()}">'
        )


def report_frames(days: Sequence[RunDay], room: int) -> ReportFrames:
    """At most 120 days, evenly spread, as pictures of at most 480 pixels a side that take `room` bytes of a page.

    They are the run's own pictures. Seven of them are tried first: where all would not fit, all are smaller.
    """
    visual, shown = Visual(", ".join(dict.fromkeys(display_bands(days[0].bands)))), spread(days, MOST_FRAMES)
    tried = spread(shown, STRETCH_DAYS)
    for edge in EDGES:
        known = {day.day: _webp(visual.image(day, edge)) for day in tried}
        if _in_page(known.values()) * len(shown) / len(known) > room and edge != EDGES[-1]:
            continue
        files = tuple(known.get(day.day) or _webp(visual.image(day, edge)) for day in shown)
        if _in_page(files) <= room:
            break
    return ReportFrames(tuple(shown), files, visual.name, shown_shape(days[0].shape, edge))


def _in_page(files: Iterable[bytes]) -> float:
    return BASE64 * sum(map(len, files))


def _webp(image: Image) -> bytes:
    file = BytesIO()
    Pillow.fromarray(image).save(file, "WEBP", quality=QUALITY, method=WEBP_METHOD)
    return file.getvalue()
