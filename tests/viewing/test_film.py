"""Frames against a plain computation, and films that are decoded again."""

import json
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import rasterio
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, ReadError, SpaceEyeError
from spaceeye_stac.viewing.captions import MADE, NONE, SEEN, Captions, nice_length
from spaceeye_stac.viewing.pictures import NEUTRAL, ColourStretch, reflectance, stretch_of, subject_of
from spaceeye_stac.viewing.run_days import RunDay, run_days
from tests.support.command import command
from tests.support.shown_run import shown_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown_run(tmp_path_factory.mktemp("film"), report=False).path


@pytest.fixture(scope="module")
def days(run: Path) -> list[RunDay]:
    return run_days(run)


def dn(day: RunDay, band: str) -> NDArray[np.float64]:
    with rasterio.open(day.file(band)) as source:
        return np.asarray(source.read(1), float)


def overlaps(many: int, few: int) -> NDArray[np.float64]:
    """How much of each of `many` pixels lies in each of `few` on the same line `(few, many)`."""
    ends, start = np.arange(few + 1) * many / few, np.arange(many)
    shared = np.minimum(ends[1:, None], start + 1) - np.maximum(ends[:-1, None], start)
    return np.asarray(np.clip(shared, 0, None), float)


@pytest.mark.parametrize("edge", [29, 20])
def test_a_smaller_picture_is_the_mean_of_the_valid_pixels_by_their_area(days: list[RunDay], edge: int) -> None:
    values = dn(days[4], "B04")
    valid = values > 0
    assert 0 < (~valid).sum() < 100
    found = reflectance(days[4].file("B04"), edge)
    assert max(found.shape) == edge
    rows, columns = overlaps(values.shape[0], found.shape[0]), overlaps(values.shape[1], found.shape[1])
    mean = (rows @ values @ columns.T) / (rows @ valid @ columns.T)
    assert np.allclose(found, 1e-4 * mean, rtol=0, atol=0.51e-4)


def test_bands_are_shown_as_the_run_shows_them(days: list[RunDay]) -> None:
    subject = subject_of(days[0], None, None)
    assert subject.bands == ("B04", "B03", "B02")
    image = stretch_of(days, subject, 960).image(subject.values(days[2], 960))
    with rasterio.open(days[2].file("visual")) as file:
        visual = np.moveaxis(file.read().astype(int), 0, -1)
    valid = dn(days[2], "B04") > 0
    assert np.abs(image.astype(int) - visual)[valid].max() <= 1
    assert (image[~valid] == NEUTRAL).all()


def test_an_index_has_its_colours(days: list[RunDay]) -> None:
    subject = subject_of(days[0], None, "ndvi")
    red, infrared = dn(days[3], "B04"), dn(days[3], "B08")
    valid = (red > 0) & (infrared > 0)
    ndvi = (infrared[valid] - red[valid]) / (infrared[valid] + red[valid])
    wanted = 255 * colormaps["RdYlGn"](np.clip((ndvi + 0.2) / 1.2, 0, 1))[:, :3]
    image = stretch_of(days, subject, 960).image(subject.values(days[3], 960))
    assert np.abs(image[valid] - wanted).max() < 6  # a step of the 256 colours
    assert np.abs(image[valid] - wanted).mean() < 1
    assert (image[~valid] == NEUTRAL).all()


def test_other_indices_are_those_of_spyndex(days: list[RunDay]) -> None:
    blue, green, red, infrared = (1e-4 * dn(days[3], band) for band in ("B02", "B03", "B04", "B08"))
    with np.errstate(divide="ignore", invalid="ignore"):
        water = (green - infrared) / (green + infrared)
        evi = 2.5 * (infrared - red) / (infrared + 6 * red - 7.5 * blue + 1)
    for name, wanted in (("NDWI", water), ("EVI", evi)):
        (found,) = subject_of(days[0], None, name).values(days[3], 960)
        valid = red > 0
        assert np.allclose(found[valid], wanted[valid], atol=1e-5), name
        assert np.isnan(found[~valid]).all()


def test_nothing_is_drawn_on_the_picture(days: list[RunDay]) -> None:
    subject = subject_of(days[0], None, None)
    captions = Captions(days, stretch_of(days, subject, 200), subject.name, 200)
    picture = captions.stretch.image(subject.values(days[5], 200))
    frame = np.asarray(captions.frame(days[5], picture))
    height, width = captions.drawn
    assert (height, width) == (3 * picture.shape[0], 3 * picture.shape[1])  # the whole factor that fits
    enlarged = picture.repeat(3, axis=0).repeat(3, axis=1)
    left = (captions.size[0] - width) // 2
    rows = [
        top for top in range(len(frame) - height) if (frame[top : top + height, left : left + width] == enlarged).all()
    ]
    assert len(rows) == 1


def coloured(frame: NDArray[np.uint8], colour: str) -> int:
    """Pixels of exactly this colour in the heading."""
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return int((frame[:36] == wanted).all(axis=-1).sum())


def test_the_bar_shows_the_shares_of_the_day(days: list[RunDay]) -> None:
    subject = subject_of(days[0], None, None)
    captions = Captions(days, ColourStretch((0, 0, 0), (1, 1, 1)), subject.name, 200)
    shares = []
    for day in days:
        frame = np.asarray(captions.frame(day, np.zeros((*day.shape, 3), np.uint8)))
        seen, made, none = (coloured(frame, colour) for colour in (SEEN, MADE, NONE))
        assert abs(seen / (seen + made + none) - day.share("observed")) < 0.01
        shares.append(day.share("observed"))
    assert min(shares) == 0
    assert max(shares) > 0.3


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as file:
            return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in file.decode(video=0)]
    with Image.open(path) as film:
        frames = []
        for n in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(n)
            frames.append(np.asarray(film.convert("RGB")))
        return frames


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp"])
def test_a_film_has_a_frame_for_each_day(run: Path, days: list[RunDay], tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"film.{kind}"
    found = se.film(run, out, edge=232, fps=4)
    assert found.days == tuple(str(day.day) for day in days)
    frames = decoded(out)
    assert len(frames) == 10
    assert {frame.shape for frame in frames} == {(found.size[1], found.size[0], 3)}
    assert found.size[0] % 2 == found.size[1] % 2 == 0
    subject = subject_of(days[0], None, None)
    captions = Captions(days, stretch_of(days, subject, 232), subject.name, 232)
    for day, frame in zip(days, frames, strict=True):
        wanted = np.asarray(captions.frame(day, captions.stretch.image(subject.values(day, 232))), float)
        assert np.abs(frame - wanted).mean() < 6, day.day


def test_video_is_such_as_browsers_play(run: Path, tmp_path: Path) -> None:
    se.film(run, tmp_path / "film.mp4", edge=101, fps=2.5, datetime="2023-04-03/2023-04-05")
    with av.open(str(tmp_path / "film.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name in {"h264", "vp9", "av1"}
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 2.5
        assert len(list(file.decode(stream))) == 3


def test_a_day_that_is_not_there_has_no_frame(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "days")
    document = json.loads((copy / "collection.json").read_text())
    document["links"] = [link for link in document["links"] if "2023-04-04" not in link["href"]]
    (copy / "collection.json").write_text(json.dumps(document))
    found = se.film(copy, tmp_path / "film.webp", edge=58)
    assert len(found.days) == 9
    assert "2023-04-04" not in found.days
    (copy / "spaceeye_2023-04-06" / "B03.tif").write_bytes(b"torn")
    with pytest.raises(ReadError, match=r"B03\.tif of a day cannot be read"):
        se.film(copy, tmp_path / "film.webp", edge=58)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bands": ["B11", "B04", "B03"]}, "Bands B11 are not in the run; it has B02"),
        ({"bands": ["B04", "B03"]}, "give three"),
        ({"index": "NDMI"}, "needs B11, which the run lacks"),
        ({"index": "GREENNESS"}, "There is no index 'GREENNESS'"),
        ({"index": "NDVI", "bands": ["B04"]}, "exclude each other"),
        ({"datetime": "2024"}, "has no day of datetime '2024'; it has 2023-04-01 to 2023-04-10"),
        ({"tile": "31UDS"}, "tile '31UDS' is not in the run"),
        ({"fps": 0}, "fps 0 is not allowed"),
        ({"edge": 1}, "edge 1 is not allowed"),
        ({"out": "film.avi"}, "name a file of .mp4, .gif, .webp"),
        ({"out": "no/film.gif"}, "does not exist"),
    ],
)
def test_what_cannot_be_filmed_is_said(run: Path, tmp_path: Path, options: dict[str, object], said: str) -> None:
    out = tmp_path / str(options.pop("out", "film.webp")) if "out" in options else tmp_path / "film.webp"
    with pytest.raises(InvalidInputError) as caught:
        se.film(run, out, **options)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_film_needs_a_run_and_for_video_its_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpaceEyeError, match="name a folder that a run has made"):
        se.film(tmp_path, tmp_path / "film.webp")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InvalidInputError, match=r'pip install "spaceeye-stac\[film\]"'):
        se.film(run, tmp_path / "film.mp4")


def test_the_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "ndvi.gif"
    done = command("film", str(run), "--out", str(out), "--index", "NDVI", "--edge", "58", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "10 days of NDVI" in done.stdout.replace("\n", " ")
    with Image.open(out) as film:
        assert film.n_frames == 10  # type: ignore[attr-defined]


@pytest.mark.parametrize(("longest", "length"), [(249, 200), (99, 50), (1000, 1000), (0.3, 0.2), (4999, 2000)])
def test_scale_bars_have_short_numbers(longest: float, length: float) -> None:
    assert nice_length(longest) == pytest.approx(length)
