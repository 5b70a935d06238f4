"""Servers shared by the end-to-end tests, and a real 120-day run whose sources are served over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import services
from tests.support.command import as_bbox, command
from tests.support.material import BE_BBOX, BE_DAYS
from tests.support.servers import Process, running, serve_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(autouse=True)
def _proxyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def database() -> Iterator[dict[str, str]]:
    with services.postgres() as clients:
        yield clients


@pytest.fixture(scope="session")
def api_process(database: dict[str, str], logs: Path) -> Iterator[Process]:
    with running(services.stac_api(database, logs / "api.log")) as process:
        yield process


@pytest.fixture(scope="session")
def api(api_process: Process) -> str:
    """Address of a real STAC API with transactions."""
    return api_process.address


@pytest.fixture(scope="session")
def source(belgium: Path, logs: Path) -> Iterator[str]:
    """Address of the source catalog, served over HTTP."""
    with running(serve_command(belgium.parent, logs / "source.log", "catalog.json")) as process:
        yield f"{process.address}/catalog.json"


@pytest.fixture(scope="session")
def finished(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a 120-day run of four bands."""
    out = tmp_path_factory.mktemp("e2e") / "days"
    options = [
        "--bbox",
        as_bbox(BE_BBOX),
        "--datetime",
        BE_DAYS,
        "--bands",
        "B02,B03,B04,B08",
        "--collection-id",
        "field",
    ]
    options += ["--allow-hrefs", source.removesuffix("/catalog.json")]  # a remote catalog may not name this machine
    done = command("run", "--catalog", source, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Put a measured figure into the run's output."""

    def write(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201

    return write


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    services.need(services.CHROMIUM, "Chromium")
    services.need_module("playwright")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the extra e2e

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(services.CHROMIUM), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
