"""The report of a run in a real headless browser, from its file; screenshots stay in .e2e/screenshots."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import services
from tests.support.shown_run import HOSTILE, shown_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

SCREENS = {"wide": (1200, 900), "phone": (375, 812)}


@dataclass
class Opened:
    """A page of the report, what its console said, and what it asked for."""

    page: "Page"
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def console(self, message: "ConsoleMessage") -> None:
        self.said.append(message.text)

    def dialog(self, dialog: "Dialog") -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    def request(self, request: "Request") -> None:
        if not request.url.startswith("data:"):
            self.asked.append(request.url)

    def date(self) -> str:
        return self.page.locator(".date").inner_text()

    def shown(self) -> str | None:
        """The day of the only frame that is to be seen."""
        frames = self.page.locator(".stage img:visible")
        assert frames.count() == 1
        return frames.get_attribute("data-day")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown_run(tmp_path_factory.mktemp("page")).path / "report.html"


def opened(browser: "Browser", report: Path, screen: str = "wide", scheme: str = "light") -> Opened:
    width, height = SCREENS[screen]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    found = Opened(page)
    page.on("console", found.console)
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("dialog", found.dialog)
    page.on("request", found.request)
    page.goto(report.as_uri())
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_it_opens_from_its_file_alone(chromium: "Browser", report: Path, screen: str, scheme: str) -> None:
    found = opened(chromium, report, screen, scheme)
    page = found.page
    assert "Cloud-free daily Sentinel-2" in page.locator("h1").inner_text()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SCREENS[screen][0], "nothing goes beyond the page's side"
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert HOSTILE in page.locator("table.data").first.inner_text()
    widths = page.locator(".stage img").evaluate_all(
        "all => Promise.all(all.map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(widths) == 10
    assert min(widths) > 50
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 29)"
    assert dark == (scheme == "dark")
    folder = services.CACHE / "screenshots"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"report-{screen}-{scheme}.png", full_page=True)
    assert found.said == []
    assert found.asked == [report.as_uri()]
    page.close()


def test_the_film_is_moved_by_hand_and_by_keys(chromium: "Browser", report: Path) -> None:
    found = opened(chromium, report)
    page = found.page
    assert (found.date(), found.shown()) == ("1 April 2023", "2023-04-01")
    page.get_by_label("Day after").click()
    assert found.shown() == "2023-04-02"
    page.get_by_label("Day", exact=True).fill("6")
    assert (found.date(), found.shown()) == ("7 April 2023", "2023-04-07")
    page.keyboard.press("ArrowLeft")  # the slider has the focus
    assert found.shown() == "2023-04-06"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert found.shown() == "2023-04-08"
    page.get_by_label("Day before").click()
    assert page.locator(".cal td.now").get_attribute("data-day") == "2023-04-07"
    page.locator('.cal td[data-day="2023-04-03"]').click()
    assert (found.date(), found.shown()) == ("3 April 2023", "2023-04-03")
    slider = page.get_by_label("Day", exact=True)
    assert slider.input_value() == "2"
    assert str(slider.get_attribute("aria-valuetext")).startswith("3 April 2023: ")
    assert found.said == []
    page.close()


def test_it_plays_and_pauses(chromium: "Browser", report: Path) -> None:
    found = opened(chromium, report)
    page = found.page
    first = found.date()
    page.keyboard.press("Space")
    page.wait_for_function("first => document.querySelector('.date').innerText !== first", arg=first, timeout=30_000)
    assert page.locator(".play").inner_text() == "Pause"
    page.locator(".play").click()
    stopped = found.shown()
    page.wait_for_timeout(500)
    assert found.shown() == stopped
    assert page.locator(".play").inner_text() == "Play"
    page.close()


def test_without_scripts_and_on_paper_it_is_whole(chromium: "Browser", report: Path, tmp_path: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".stage img:visible").count() == 1
    assert not page.locator(".controls").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".stage img:visible").count() == 10
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    context.close()
