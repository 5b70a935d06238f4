"""The page of the server in a real headless browser; screenshots stay in .e2e/screenshots."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import services
from tests.support.servers import running, serve_command
from tests.viewing.test_page import without_rio_tiler

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = {"wide": (1360, 860), "phone": (390, 844)}
PATIENCE = 60_000
PIXELS = "canvas => canvas.toDataURL()"


@pytest.fixture(scope="module")
def address(simulated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("page") / "log"
    with running(serve_command(simulated_run, log, "collection.json")) as server:
        yield server.address


def opened(browser: "Browser", address: str, size: str = "wide", scheme: str = "light") -> tuple["Page", list[str]]:
    """The page once it shows a day, and what goes wrong in it."""
    width, height = SIZES[size]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith((address, "blob:")) else faults.append(asked.url))
    page.goto(address)
    page.locator("#now[data-day]").wait_for(timeout=PATIENCE)
    return page, faults


def shot(page: "Page", name: str) -> None:
    folder = services.CACHE / "screenshots"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"page-{name}.png")


def click_map(page: "Page") -> None:
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.locator("#chart svg").wait_for(timeout=PATIENCE)


def test_days_are_stepped_through_without_a_jump(chromium: "Browser", address: str) -> None:
    page, faults = opened(chromium, address)
    shown = "['#now', '#date', '#day', '#next', '#view'].map(name => document.querySelector(name))"
    places = f"() => {shown}.map(one => one.getBoundingClientRect().y)"
    picture, first = page.locator("#now"), page.locator("#now").evaluate(PIXELS)
    before = page.evaluate(places)
    page.keyboard.press("ArrowRight")
    page.locator("#now[data-day='2023-04-02']").wait_for(timeout=PATIENCE)
    assert picture.evaluate(PIXELS) != first
    assert "2 April 2023" in page.locator("#date").inner_text()
    page.locator("#next").click()
    page.locator("#now[data-day='2023-04-03']").wait_for(timeout=PATIENCE)
    page.locator("#day").fill("9")
    page.locator("#now[data-day='2023-04-10']").wait_for(timeout=PATIENCE)
    assert page.evaluate(places) == before
    page.locator("#previous").click()
    page.locator("#now[data-day='2023-04-09']").wait_for(timeout=PATIENCE)
    page.locator("#stage").focus()
    page.keyboard.press("Space")
    page.locator("#now[data-day='2023-04-12']").wait_for(timeout=PATIENCE)
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-pressed") == "false"
    page.keyboard.press("Home")
    page.locator("#now[data-day='2023-04-01']").wait_for(timeout=PATIENCE)
    assert picture.evaluate(PIXELS) == first
    assert faults == []
    page.close()


def test_two_days_are_swiped(chromium: "Browser", address: str) -> None:
    page, faults = opened(chromium, address)
    page.locator("#swipe").click()
    divider, then = page.locator("#divider"), page.locator("#then")
    page.locator("#now[data-day='2023-04-24']").wait_for(timeout=PATIENCE)
    assert then.evaluate(PIXELS) != page.locator("#now").evaluate(PIXELS)
    cut = then.evaluate("one => one.style.clipPath")
    divider.focus()
    page.keyboard.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "52"
    assert then.evaluate("one => one.style.clipPath") != cut
    assert page.locator("#now").get_attribute("data-day") == "2023-04-24"
    box, stage = divider.bounding_box(), page.locator("#stage").bounding_box()
    assert box is not None
    assert stage is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] / 4, box["y"] + 200, steps=4)
    page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "25"
    assert page.locator("#pin").is_hidden()
    page.locator("#swipe").click()
    assert divider.is_hidden()
    assert faults == []
    page.close()


def test_a_click_draws_the_series_of_the_point(chromium: "Browser", address: str) -> None:
    page, faults = opened(chromium, address)
    click_map(page)
    assert page.locator("#chart .curve").count() >= 1
    assert page.locator("#chart .dot").count() >= 3
    with page.expect_download() as download:
        page.locator("#csv").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 25
    assert lines[0].startswith("day,clear_distance,seen,")
    page.locator("#view").select_option("own")
    page.locator("#expression").fill("(B11-B04)/(B11+B04)")
    before = page.locator("#now").evaluate(PIXELS)
    page.keyboard.press("Enter")
    page.locator("#legend .ramp").wait_for(timeout=PATIENCE)
    page.locator("#chart", has_text="(B11-B04)/(B11+B04)").wait_for(timeout=PATIENCE)
    page.wait_for_function(
        f"before => ({PIXELS})(document.querySelector('#now')) !== before", arg=before, timeout=PATIENCE
    )
    assert faults == []
    page.locator("#expression").fill("__import__('os')")
    page.keyboard.press("Enter")
    page.locator("#expression-said", has_text="cannot be read").wait_for(timeout=PATIENCE)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_window(chromium: "Browser", address: str, size: str, scheme: str) -> None:
    page, faults = opened(chromium, address, size, scheme)
    click_map(page)
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= SIZES[size][0], "nothing is wider than the window"
    if size == "wide":
        assert page.evaluate("() => document.documentElement.scrollHeight") <= SIZES[size][1]
    shot(page, f"{size}-{scheme}")
    page.locator("#view").select_option(label="Flags: how each pixel was made")
    page.locator("#legend li").first.wait_for(timeout=PATIENCE)
    page.wait_for_timeout(500)
    shot(page, f"{size}-{scheme}-flags")
    assert faults == []
    page.close()


def test_without_rio_tiler_thumbnails_are_shown(chromium: "Browser", simulated_run: Path, tmp_path: Path) -> None:
    with running(without_rio_tiler(simulated_run, tmp_path / "log")) as server:
        page, faults = opened(chromium, server.address)
        assert 'pip install "spaceeye-stac[serve]"' in page.locator("#note").inner_text()
        first = page.locator("#now").evaluate(PIXELS)
        page.keyboard.press("End")
        page.locator("#now[data-day='2023-04-24']").wait_for(timeout=PATIENCE)
        assert page.locator("#now").evaluate(PIXELS) != first
        shot(page, "without-rio-tiler")
        assert faults == []
        page.close()
