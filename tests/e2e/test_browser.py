"""The published collection in stac-browser, in a real headless browser; screenshots stay in .e2e/screenshots."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import spaceeye_stac as se
from tests.e2e import services
from tests.support.servers import Process, running, serve_command

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Response

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ITEM = "field_2018-05-08"
PATIENCE = 30_000


@dataclass
class Seen:
    """A page, and what went wrong in it that comes from this machine's documents."""

    page: "Page"
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def console(self, message: "ConsoleMessage") -> None:
        where = str((message.location or {}).get("url", ""))
        elsewhere = "https://" in where + message.text  # basemap tiles and schemas, which tests do not reach
        if message.type == "error" and not elsewhere:
            self.faults.append(f"{message.text} ({where})")

    def response(self, response: "Response") -> None:
        if response.status >= 400 and "127.0.0.1" in response.url:
            self.faults.append(f"{response.status} {response.url}")

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.page.locator("h1").first.wait_for(timeout=PATIENCE)

    def shot(self, name: str) -> Path:
        folder = services.CACHE / "screenshots"
        folder.mkdir(exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")
        return folder / f"{name}.png"


@pytest.fixture
def seen() -> Iterator[Seen]:
    services.need(services.CHROMIUM, "Chromium")
    services.need_module("playwright")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra e2e

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(services.CHROMIUM), args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        found = Seen(page)
        page.on("console", found.console)
        page.on("pageerror", lambda error: found.faults.append(str(error)))
        page.on("response", found.response)
        page.on("request", lambda request: found.asked.append(request.url))
        yield found
        browser.close()


@pytest.fixture(scope="module")
def static(finished: Path, logs: Path) -> Iterator[Process]:
    """The run's folder and a built stac-browser on one port."""
    build = services.need(services.BROWSER_BUILD, "stac-browser")
    with running(serve_command(finished, logs / "static.log", "data/collection.json", "--browse", build)) as process:
        yield process


def map_picture(seen: Seen) -> np.ndarray:
    """The map's pixels `(y, x, 3)` once it has drawn."""
    place = seen.page.locator(".map-container canvas").first
    place.wait_for(timeout=PATIENCE)
    seen.page.wait_for_timeout(4000)
    path = services.CACHE / "screenshots" / "map.png"
    seen.page.locator(".map-container").first.screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"))


def check_collection(seen: Seen, address: str, name: str, least: int) -> None:
    seen.open(address)
    cards = seen.page.locator(".items .card:visible")
    cards.first.wait_for(timeout=PATIENCE)
    seen.page.wait_for_timeout(1000)
    text = seen.page.locator("body").inner_text()
    assert "Cloud-free daily Sentinel-2, 2018-04-11 to 2018-08-08" in text
    assert cards.count() >= least
    cards.first.scroll_into_view_if_needed()
    pictures = seen.page.locator(".items .card:visible img")
    pictures.first.wait_for(timeout=PATIENCE)
    seen.page.wait_for_timeout(2000)
    sizes = pictures.evaluate_all("images => images.filter(i => i.complete).map(i => i.naturalWidth)")
    assert len([size for size in sizes if size > 100]) >= 3, sizes
    seen.shot(f"{name}-items")
    seen.page.evaluate("window.scrollTo(0, 0)")
    seen.shot(f"{name}-collection")
    assert seen.faults == []


def check_item(seen: Seen, address: str, name: str, source: str) -> None:
    seen.open(address)
    seen.page.get_by_text("Red (B04)").first.wait_for(timeout=PATIENCE)
    picture = map_picture(seen)
    assert any(url.endswith("visual.tif") for url in seen.asked), "the map shows the COG"
    height, width = picture.shape[:2]
    middle = picture[height // 2 - 60 : height // 2 + 60, width // 2 - 60 : width // 2 + 60].astype(float)
    assert middle.std(axis=(0, 1)).mean() > 8, "the image is on the map, not a plain outline"
    seen.shot(f"{name}-item")
    for title in ("True colour (B04, B03, B02)", "Blue (B02)", "Near infrared (B08)", "Thumbnail"):
        assert seen.page.get_by_text(title).count(), title
    links = seen.page.locator('a[href*="S2_MSIL2A"]')
    assert links.count() >= 5
    seen.page.get_by_text("Red (B04)").first.scroll_into_view_if_needed()
    seen.shot(f"{name}-assets")
    links.first.click()
    seen.page.wait_for_function("document.title.includes('S2_MSIL2A')", timeout=PATIENCE)
    assert seen.page.url.count("S2_MSIL2A") >= 1
    assert re.sub(r"^https?://", "", source).split("/")[0] in seen.page.url
    assert seen.faults == []


def test_a_static_folder(seen: Seen, static: Process, source: str) -> None:
    check_collection(seen, f"{static.address}/", "static", 120)
    data = f"{static.address}/external/{static.address.replace('//', '/')}/data"
    check_item(seen, f"{data}/{ITEM}/{ITEM}.json", "static", source)


def test_an_api(seen: Seen, static: Process, api: str, finished: Path, source: str) -> None:
    se.publish(finished, api, asset_base_url=f"{static.address}/data")
    root = f"{static.address}/external/{api.replace('//', '/')}"
    check_collection(seen, f"{root}/collections/field", "api", 10)
    check_item(seen, f"{root}/collections/field/items/{ITEM}", "api", source)
