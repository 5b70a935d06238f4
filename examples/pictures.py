"""Draw the pictures of these pages: pictures.py [--catalog CATALOG] [--out FOLDER] [--method METHOD].

`zone_border.png` is made of a simulated region in two UTM zones. With `--catalog`, which leads to the chips of Belgian
cropland, `before_after.png` is made, too: scenes as they were acquired, and the days published from them.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pystac
import rasterio
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pyproj import Transformer

import spaceeye_stac as se
from spaceeye_stac.simulation import Simulation, write_catalog

Image = NDArray[np.float64]  # reflectance (band, y, x) of B04, B03, B02; NaN where there is no data

TRUE_COLOUR = ("B04", "B03", "B02")
PARTS = (0.5, 99.5)  # percentiles of the published days that become black and white, band by band
GAMMA = 1.5
DPI = 100
GAP = 10
ROW_GAP = 26
MARGIN = 16

BELGIUM = (3.0194, 50.8132, 3.0283, 50.8187)
SEASON = "2018-04-11/2018-10-05"
# a date with a scene, and a day after it without one
SHOWN = (
    ("2018-04-16", "2018-04-29"),
    ("2018-05-21", "2018-05-29"),
    ("2018-06-25", "2018-07-11"),
    ("2018-08-14", "2018-08-30"),
    ("2018-09-18", "2018-09-26"),
)
ENLARGED = 4
CREDIT = "Contains modified Copernicus Sentinel data 2018"

BORDER = (6.0, 50.81)
AROUND = (5.9865, 50.803, 6.0135, 50.817)
GROUND = Simulation(
    days=24, revisit=3, cloudiness=0.4, seed=11, world_epsg=32631, bands=TRUE_COLOUR[::-1], noise=0, label_errors=0
)
BETWEEN = 10  # a day of the simulation without a scene


@dataclass(frozen=True)
class Panel:
    """An image and the words above it; a border is ticked at `column`."""

    image: Image
    title: str
    column: int | None = None


def read(href: str, like: str | None = None) -> tuple[Image, str]:
    """Reflectance of the raster at `href`, cut to the extent of `like`, and its address."""
    with rasterio.open(href) as source:
        window = None
        if like is not None:
            with rasterio.open(like) as grid:
                window = source.window(*grid.bounds).round_offsets().round_lengths()
        values = source.read(1, window=window).astype(float)
    return np.where(values > 0, values * 1e-4, np.nan), href


def published(result: se.Result, day: str) -> tuple[Image, str]:
    """A published day, and the address of one of its files."""
    name = f"{result.collection.id}_{day}"
    item = pystac.Item.from_file(str(result.path / name / f"{name}.json"))
    hrefs = [str(item.assets[band].get_absolute_href()) for band in TRUE_COLOUR]
    return np.stack([read(href)[0] for href in hrefs]), hrefs[0]


def stretch(images: Sequence[Image]) -> tuple[Image, Image]:
    """What is black and what is white, band by band, for all pictures alike."""
    values = np.concatenate([image.reshape(3, -1) for image in images], axis=1)
    low, high = np.nanpercentile(values, PARTS, axis=1)
    return low[:, None, None], high[:, None, None]


def colours(image: Image, low: Image, high: Image) -> Image:
    """Red, green and blue `(y, x, 3)` from 0 to 1; what has no data is grey."""
    bright = np.clip((image - low) / (high - low), 0, 1) ** (1 / GAMMA)
    return np.nan_to_num(bright, nan=0.5).transpose(1, 2, 0)


class Sheet:
    """A white picture in which panels and words have their place in pixels, from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def text(self, x: float, y: float, words: str, size: float, **options: str) -> None:
        """Words whose upper left corner, unless `ha` or `va` say otherwise, is at x and y."""
        style = {"ha": "left", "va": "top", "color": "#222222"} | options
        points = size * 72 / DPI
        self.figure.text(x / self.width, 1 - y / self.height, words, fontsize=points, **style)  # type: ignore[arg-type]

    def panel(self, x: int, y: int, shown: Image, zoom: int) -> None:
        """An image whose pixels are squares of `zoom` pixels."""
        height, width = shown.shape[0] * zoom, shown.shape[1] * zoom
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.imshow(shown, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(color="#999999", linewidth=0.8)

    def tick(self, x: float, top: int, bottom: int) -> None:
        """A red line down at x."""
        line = mpl.lines.Line2D(
            [x / self.width] * 2, [1 - top / self.height, 1 - bottom / self.height], color="#d00000", linewidth=2.5
        )
        self.figure.add_artist(line)

    def save(self, path: Path) -> None:
        """Write a PNG of exactly this size."""
        self.figure.savefig(path, dpi=DPI, metadata={"Software": None})
        print(f"{path}: {self.width} x {self.height}, {path.stat().st_size / 1000:.0f} kB")


def words_for(day: str) -> str:
    """A date as 21 May 2018."""
    when = date.fromisoformat(day)
    return f"{when.day} {when:%b %Y}"


def before_after(catalog: str, method: str, out: Path, folder: Path) -> None:
    """Columns of dates: the scene, the day published for its date, a later day that has no scene."""
    query = se.Query(catalog=catalog, bbox=BELGIUM, datetime=SEASON)
    settings = se.Settings(method=method, appearance="smooth", mask_dilation=60, min_clear_ratio=0.5)
    result = se.run(query, settings, out=folder / "days")
    scenes = {str(scene.day): scene for scene in se.search(query)}
    rows: list[list[Panel]] = [[], [], []]
    for seen, unseen in SHOWN:
        same, grid = published(result, seen)
        scene = scenes[seen]
        looked = np.stack([read(scene.bands[band].href, like=grid)[0] for band in TRUE_COLOUR])
        rows[0].append(Panel(looked, words_for(seen)))
        rows[1].append(Panel(same, words_for(seen)))
        rows[2].append(Panel(published(result, unseen)[0], words_for(unseen)))
    names = (
        "Cloudy Sentinel-2 scenes, as acquired",
        "The days published for these dates",
        "Days published between them, on which there is no scene",
    )
    draw_rows(rows, names, out)


def draw_rows(rows: Sequence[Sequence[Panel]], names: Sequence[str], out: Path) -> None:
    """Rows of panels, each under its name; one stretch, that of all but the first row."""
    low, high = stretch([panel.image for row in rows[1:] for panel in row])
    _, tall, wide = rows[0][0].image.shape
    tall, wide = tall * ENLARGED, wide * ENLARGED
    head, label, foot = 48, 30, 44
    step = head + label + tall + ROW_GAP
    count = len(rows[0])
    sheet = Sheet(2 * MARGIN + count * wide + (count - 1) * GAP, MARGIN + len(rows) * step - ROW_GAP + foot)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = MARGIN + i * step
        sheet.text(MARGIN, top, name, 30, fontweight="bold")
        for j, panel in enumerate(row):
            x = MARGIN + j * (wide + GAP)
            sheet.text(x, top + head, panel.title, 21)
            sheet.panel(x, top + head + label, colours(panel.image, low, high), ENLARGED)
    sheet.text(MARGIN, sheet.height - foot + 12, f"{CREDIT}. B04, B03, B02 of 640 m at 10 m, one stretch.", 19)
    sheet.save(out)


def tile(epsg: int, name: str, columns: tuple[int, int], half: int) -> Simulation:
    """A simulated tile that reaches `columns` to the west and the east of the border, and `half` to north and south."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*BORDER)
    corner = 20 * round(x / 20) - 10 * columns[0], 20 * round(y / 20) + 10 * half
    return replace(GROUND, epsg=epsg, tile=name, shape=(2 * half, sum(columns)), origin=corner)


def zone_border(out: Path, folder: Path) -> None:
    """A day without a scene: from a tile on each side of a zone border, from one tile over it, and the truth."""
    west, east = tile(32631, "31UGS", (140, 40), 120), tile(32632, "32ULB", (24, 140), 120)
    one = tile(32631, "31UGS", (160, 160), 130)
    day = str(GROUND.start + timedelta(days=BETWEEN))
    season = f"{GROUND.start}/{GROUND.start + timedelta(days=GROUND.days - 1)}"
    images = []
    for name, tiles in (("two", [west, east]), ("one", [one])):
        query = se.Query(catalog=write_catalog(tiles, folder / name), bbox=AROUND, datetime=season)
        images.append(published(se.run(query, out=folder / f"days_{name}"), day))
    with rasterio.open(images[0][1]) as grid:
        (height, width), left, top = grid.shape, grid.transform.c, grid.transform.f
    column, row = round((left - one.origin[0]) / 10), round((one.origin[1] - top) / 10)
    truth = one.truth(BETWEEN)[::-1, row : row + height, column : column + width].astype(float)
    edge = round((west.origin[0] + 10 * west.shape[1] - left) / 10)
    titles = ("From two tiles, zones 31 and 32", "From one tile of zone 31", "Truth")
    panels = [
        Panel(image, title, edge) for image, title in zip([images[0][0], images[1][0], truth], titles, strict=True)
    ]
    draw_border(panels, out)


def draw_border(panels: Sequence[Panel], out: Path) -> None:
    """Panels beside each other, with red ticks where the first tile ends."""
    zoom, head, tick = 2, 40, 14
    low, high = np.array(0.0), np.array(0.2)
    _, tall, wide = panels[0].image.shape
    tall, wide = tall * zoom, wide * zoom
    count = len(panels)
    sheet = Sheet(2 * MARGIN + count * wide + (count - 1) * GAP, 2 * MARGIN + head + 2 * tick + tall)
    top = MARGIN + head + tick
    for j, panel in enumerate(panels):
        x = MARGIN + j * (wide + GAP)
        sheet.text(x, MARGIN, panel.title, 21, fontweight="bold")
        sheet.panel(x, top, colours(panel.image, low, high), zoom)
        if panel.column is not None:
            sheet.tick(x + panel.column * zoom, top - tick, top - 2)
            sheet.tick(x + panel.column * zoom, top + tall + 2, top + tall + tick)
    sheet.save(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the pictures of these pages.")
    parser.add_argument("--catalog", help="catalog.json of the Belgian chips; left out, before_after.png is not made")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    parser.add_argument("--method", default="surface", help="by which before_after.png is made")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        zone_border(given.out / "zone_border.png", Path(scratch))
        if given.catalog is not None:
            before_after(given.catalog, given.method, given.out / "before_after.png", Path(scratch))
