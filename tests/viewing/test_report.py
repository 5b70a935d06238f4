"""The page that a run leaves: what stands in it, what must not, and what becomes of it."""

import base64
import hashlib
import json
import logging
import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

import spaceeye_stac as se
from spaceeye_stac.collection import RunFacts
from spaceeye_stac.publishing import read_run_folder
from spaceeye_stac.viewing import draw_report
from spaceeye_stac.viewing.report_charts import Chart, nice_top
from spaceeye_stac.viewing.report_frames import report_frames
from spaceeye_stac.viewing.report_tables import safe
from spaceeye_stac.viewing.run_days import RunDay, run_days
from tests.support.shown_run import HOSTILE, shown_run
from tests.support.small_catalog import small_query

REASON = "not at max_cloud_cover 98 or below"


class Page(HTMLParser):
    """The elements of a page: names and attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.found if found == tag and (not name or name in attributes)]


@pytest.fixture(scope="module")
def facts() -> list[RunFacts]:
    return []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, facts: list[RunFacts]) -> se.Result:
    """A run, with what its report was drawn from."""

    def draw(known: RunFacts) -> bytes:
        facts.append(known)
        return draw_report(known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spaceeye_stac.viewing.draw_report", draw)
        return shown_run(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def known(made: se.Result, facts: list[RunFacts]) -> RunFacts:
    return replace(facts[0], folder=made.path)


@pytest.fixture(scope="module")
def text(made: se.Result) -> str:
    return (made.path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_is_an_asset_of_the_collection(made: se.Result) -> None:
    asset = made.collection.assets["report"]
    assert (asset.href, asset.media_type, asset.roles) == ("./report.html", "text/html", ["metadata", "overview"])
    assert (made.path / "report.html").stat().st_size < 5_000_000


def test_it_reads_nothing_from_anywhere(text: str, page: Page) -> None:
    """All that could be loaded is in the page, and its policy allows nothing else but the script and style it has."""
    for tag in ("iframe", "object", "embed", "base", "form", "video", "audio", "source"):
        assert not page.all(tag)
    assert {link["rel"]: link["href"] for link in page.all("link")} == {"icon": "data:,"}
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in page.all("img"))
    assert not [script for script in page.all("script") if script]
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [str(meta["content"]) for meta in page.all("meta", "http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind, tag in (("style", "style"), ("script", "script")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not page.all("div", "style")
    assert not [attributes for _, attributes in page.found if any(name.startswith("on") for name in attributes)]


def test_what_items_and_settings_bring_is_escaped(text: str, known: RunFacts) -> None:
    assert HOSTILE in [scene.id for scene in known.scenes]
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    worse = replace(
        known,
        collection={**known.collection, "title": f"T {HOSTILE}", "spaceeye:warnings": [HOSTILE], "id": HOSTILE},
        asked={**known.asked, "mask_asset": f'"{HOSTILE}', HOSTILE: [HOSTILE]},
        left_out=[f"Scene {HOSTILE} left out."],
        skipped=[HOSTILE],
    )
    drawn = draw_report(replace(worse, collection={**worse.collection, "spaceeye:holdout": hostile_scores()})).decode()
    assert drawn.count("<script>") == 1
    assert drawn.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10
    links = [str(link["href"]) for link in Page(drawn).all("a")]
    assert all(link.startswith("https://") for link in links)


def hostile_scores() -> dict[str, object]:
    return {HOSTILE: {HOSTILE: {"psnr": 30.0, "rmse": "<b>"}}, "coverage": {"a": 1}}


def test_no_path_and_no_token_is_in_it(made: se.Result, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert str(made.path) not in text
    assert str(tmp_path_factory.getbasetemp()) not in text
    said = ["File /data/mine/B04.tif is torn.", "https://x.org/a.tif?sig=SECRET is gone, file:///home/me/b.tif too"]
    assert safe(said) == ["File B04.tif is torn.", "https://x.org/a.tif is gone, b.tif too"]


def test_every_day_has_a_frame_and_a_cell(made: se.Result, page: Page) -> None:
    images = page.all("img")
    assert [image["data-day"] for image in images] == list(made.days)
    assert ["hidden" in image for image in images] == [False, *[True] * 9]
    items = {str(item.datetime)[:10]: item.properties for item in made.collection.get_items()}
    cells = {str(cell["data-day"]): cell for cell in page.all("td", "data-day")}
    assert list(cells) == list(made.days)
    for day, facts in items.items():
        seen = facts["spaceeye:observed_share"]
        assert cells[day]["class"] == f"s{round(10 * seen)}"
        assert f"{100 * seen:.0f} % seen" in str(cells[day]["title"])
    assert all(image["alt"] for image in images)


def test_frames_are_the_pictures_of_the_days(made: se.Result, page: Page) -> None:
    days = run_days(made.path)
    for day, image in zip(days, page.all("img"), strict=True):
        file = base64.b64decode(str(image["src"]).partition(",")[2])
        found = np.asarray(Image.open(BytesIO(file)), float)
        assert found.shape == (int(str(image["height"])), int(str(image["width"])), 3) == (*day.shape, 3)
        with rasterio.open(day.file("visual")) as source:
            shown = np.moveaxis(source.read(), 0, -1)
        shown[(shown == 0).any(axis=-1)] = 128
        assert np.abs(found - shown).mean() < 9


def test_scenes_are_named_with_why_they_were_left_out(text: str, known: RunFacts) -> None:
    (one,) = known.filtered
    assert one.reason == REASON
    assert f"<td>{one.scene.id}</td><td>{REASON}</td>" in text
    assert one.scene.id not in [scene.id for scene in known.scenes]
    assert "1 of 4 scenes left out" in text
    assert f"{len(known.scenes)} scenes of {len({scene.day for scene in known.scenes})} days were used" in text


def test_settings_that_are_no_defaults_come_first(text: str) -> None:
    changed, _, rest = text[text.index('id="settings"') :].partition("<details>")
    names = re.findall(r"<code>(\w+)</code>", changed)
    assert set(names) == {"bands", "max_cloud_cover", "method", "damping_factor"}
    assert "<code>time_overlap</code>" in rest


def test_scores_stand_in_it_where_they_are_known(text: str, known: RunFacts) -> None:
    assert "--evaluate" in text
    scored = {"date": {"damped": {"psnr": 31.25, "rmse": 0.0123, "n_dates": 7}}, "coverage": {"damped": 0.7}}
    drawn = draw_report(replace(known, collection={**known.collection, "spaceeye:holdout": scored})).decode()
    assert "This run was not scored" not in drawn
    assert all(f">{value}</td>" in drawn for value in ("Whole dates", "damped", "31.25", "0.0123", "7"))


def test_it_is_the_same_for_the_same_run(known: RunFacts, made: se.Result, tmp_path: Path) -> None:
    again = shown_run(tmp_path)
    texts = [(result.path / "report.html").read_text(encoding="utf-8") for result in (made, again)]
    assert len({re.sub(r"on \d{4}-\d\d-\d\d\.", "", text) for text in texts}) == 1
    assert draw_report(known) == draw_report(known)


def noisy_days(folder: Path, count: int) -> list[RunDay]:
    """Days of one picture that no encoder makes small."""
    noise = np.random.default_rng(5).integers(1, 256, (3, 600, 500), np.uint8)
    (folder / "a").mkdir()
    options = {"driver": "GTiff", "width": 500, "height": 600, "count": 3, "dtype": "uint8", "nodata": 0}
    with rasterio.open(folder / "a" / "visual.tif", "w", **options) as file:
        file.write(noise)
    band = {"roles": ["reflectance"], "proj:shape": [600, 500]}
    assets = {"B04": band, "visual": {"href": "visual.tif"}}
    dates = (date(2023, 1, 1) + timedelta(n) for n in range(count))
    items = [{"id": "a", "properties": {"datetime": f"{day}T00:00:00Z"}, "assets": assets} for day in dates]
    return [RunDay(folder, item) for item in items]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_it_fits_however_long_the_run(tmp_path: Path) -> None:
    """More than 120 days are so many of them, and what would not fit is smaller."""
    days = noisy_days(tmp_path, 239)
    found = report_frames(days, 1_500_000)
    assert [day.day for day in found.days[:3]] == [days[n].day for n in (0, 2, 4)]
    assert (len(found.days), found.days[-1].day) == (120, days[-1].day)
    assert 600_000 < 4 / 3 * sum(map(len, found.files)) <= 1_500_000
    (some,) = {Image.open(BytesIO(file)).size for file in found.files}
    assert some == found.shape[::-1]
    assert max(some) in {160, 240, 320}
    (largest,) = {Image.open(BytesIO(file)).size for file in report_frames(days[:3], 1_500_000).files}
    assert largest == (400, 480)


def test_a_report_that_cannot_be_drawn_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def torn(_facts: RunFacts) -> bytes:
        raise ValueError("no ink")

    monkeypatch.setattr("spaceeye_stac.viewing.draw_report", torn)
    with caplog.at_level(logging.WARNING, "spaceeye_stac"):
        result = shown_run(tmp_path)
    said = "The report could not be drawn (ValueError: no ink); the run stands without it."
    assert said in caplog.text
    assert result.warnings[-1] == said
    assert result.collection.extra_fields["spaceeye:warnings"] == list(result.warnings)
    assert len(result.days) == 10
    assert "report" not in result.collection.assets
    assert not (result.path / "report.html").exists()


def test_an_update_draws_it_anew_and_publishing_takes_it_along(tmp_path: Path) -> None:
    first = shown_run(tmp_path, report=False)
    assert "report" not in first.collection.assets
    assert not (first.path / "report.html").exists()
    query = small_query(tmp_path / "items.json", bands=["B02", "B03", "B04", "B08"], max_cloud_cover=98)
    wider = replace(query, datetime="2023-04-01/2023-04-11")
    settings = se.Settings(method="damped", damping_factor=0.2)
    updated = se.run(wider, settings, out=first.path, update=True)
    assert len(Page((first.path / "report.html").read_text()).all("img")) == 11
    se.publish(updated, tmp_path / "published")
    copies = list((tmp_path / "published").rglob("report.html"))
    assert [copy.read_bytes() for copy in copies] == [(first.path / "report.html").read_bytes()]
    document = json.loads((copies[0].parent / "collection.json").read_text())
    assert document["assets"]["report"]["href"].endswith("report.html")
    assert read_run_folder(first.path).own_files
    report = se.publish(updated, tmp_path / "published")
    assert not report.sent


@pytest.mark.parametrize(("most", "top"), [(0, 1), (6, 10), (0.095, 0.1), (0.013, 0.02), (36, 40), (10, 10), (41, 50)])
def test_axes_end_at_short_numbers(most: float, top: float) -> None:
    assert nice_top(most) == pytest.approx(top)


def test_a_line_is_broken_where_nothing_is_known() -> None:
    values = {date(2023, 4, day): value for day, value in ((1, 0.0), (2, 5.0), (3, None), (4, 10.0), (5, 2.5))}
    svg = Chart("Distance", "days", values).svg([date(2023, 4, 2)])
    assert (
        'class="line" vector-effect="non-scaling-stroke" d="M0.0 200.0h.1L250.0 100.0M750.0 0.0h.1L1000.0 150.0"' in svg
    )
    assert 'd="M250.0 200v-9"' in svg
    assert "0 to 10, median 3.75" in svg
    assert "Not known" in Chart("Distance", "days", {date(2023, 4, 1): None}).svg([])
