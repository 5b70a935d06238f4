"""Film every day of two methods side by side: film.py CATALOG [--out FILE] [--field WEST,SOUTH,EAST,NORTH] ...

Each frame shows one day in true colour, above it its date and, from the item's own fields, how much of it was seen. One
stretch serves all frames of all methods, so that what flickers is the data. The ending of FILE says how it is written:
.webp and .gif are films, .png is a sheet of all days.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pystac
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import spaceeye_stac as se

TRUE_COLOUR = ("B04", "B03", "B02")
BLACK, WHITE = 0.5, 99.5  # percentiles of all days, band by band
GAMMA = 1.4
CAPTION, GAP = 14, 4
FRAME_MILLISECONDS = 250
SHEET_COLUMNS = 12
CREDIT = "Contains modified Copernicus Sentinel data"

Cube = NDArray[np.float32]  # (day, band, y, x), NaN where there is no data


def days_of(result: se.Result) -> tuple[list[str], Cube]:
    """Captions and reflectance of every published day, in order."""
    items = sorted(result.collection.get_items(), key=lambda item: str(item.datetime))
    return [caption(item) for item in items], np.stack([image_of(item) for item in items])


def caption(item: pystac.Item) -> str:
    """The date, the method, and how much of the day was seen."""
    facts = item.properties
    return f"{str(item.datetime)[:10]}  {facts['spaceeye:method']}, {100 * facts['spaceeye:observed_share']:.0f} % seen"


def image_of(item: pystac.Item) -> NDArray[np.float32]:
    """Reflectance `(band, y, x)` of one day."""
    bands = []
    for name in TRUE_COLOUR:
        with rasterio.open(str(item.assets[name].get_absolute_href())) as source:
            values = source.read(1)
        bands.append(np.where(values > 0, values * np.float32(1e-4), np.nan))
    return np.stack(bands)


def stretched(cubes: Sequence[Cube]) -> list[NDArray[np.uint8]]:
    """Bytes `(day, y, x, band)` of several cubes by one stretch."""
    low, high = np.nanpercentile(np.concatenate(cubes), (BLACK, WHITE), axis=(0, 2, 3))
    found = []
    for cube in cubes:
        share = (cube - low[:, None, None]) / (high - low)[:, None, None]
        bright = np.clip(np.nan_to_num(share), 0, 1) ** (1 / GAMMA)
        found.append(np.moveaxis((255 * bright).astype(np.uint8), 1, -1))
    return found


def frame(images: Sequence[NDArray[np.uint8]], titles: Sequence[str], enlarged: int) -> Image.Image:
    """Images beside each other, each under its title."""
    height, width = (enlarged * side for side in images[0].shape[:2])
    canvas = Image.new("RGB", (len(images) * (width + GAP) - GAP, height + CAPTION), "white")
    draw = ImageDraw.Draw(canvas)
    for n, (image, title) in enumerate(zip(images, titles, strict=True)):
        left = n * (width + GAP)
        draw.text((left + 2, 1), title, fill="black")
        canvas.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, CAPTION))
    return canvas


def sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """All frames below and beside each other."""
    width, height = frames[0].size
    rows = -(-len(frames) // SHEET_COLUMNS)
    canvas = Image.new("RGB", (min(SHEET_COLUMNS, len(frames)) * (width + GAP), rows * (height + GAP)), "white")
    for n, one in enumerate(frames):
        canvas.paste(one, (n % SHEET_COLUMNS * (width + GAP), n // SHEET_COLUMNS * (height + GAP)))
    return canvas


def main() -> None:
    """Run each method, and film what it publishes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog")
    parser.add_argument("--bbox", default="3.0194,50.8132,3.0283,50.8187")
    parser.add_argument("--datetime", default="2018-05-01/2018-07-31")
    parser.add_argument("--methods", default="damped,surface")
    parser.add_argument("--enlarged", type=int, default=4, help="Pixels of the film to one of the image.")
    parser.add_argument("--out", type=Path, default=Path("film.webp"))
    given = parser.parse_args()
    bbox = [float(part) for part in given.bbox.split(",")]
    # all bands: what tells haze and shadow from land is in the infrared as well
    query = se.Query(catalog=given.catalog, bbox=bbox, datetime=given.datetime)
    captions, cubes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for method in given.methods.split(","):
            result = se.run(query, settings=se.Settings(method=method), out=Path(folder) / method)
            titles, cube = days_of(result)
            captions.append(titles)
            cubes.append(cube)
    films = stretched(cubes)
    frames = [
        frame(images, titles, given.enlarged)
        for titles, images in zip(zip(*captions, strict=True), zip(*films, strict=True), strict=True)
    ]
    if given.out.suffix == ".png":
        sheet(frames).save(given.out, optimize=True)
    else:
        frames[0].save(
            given.out, save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0, quality=60
        )
    print(f"{given.out}: {len(frames)} days. {CREDIT}.")


if __name__ == "__main__":
    main()
