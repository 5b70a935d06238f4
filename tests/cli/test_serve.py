import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio

from spaceeye_stac.cli.server import browser_link, document_in
from spaceeye_stac.errors import OutputError
from tests.support.command import command
from tests.support.servers import running, serve_command


@pytest.fixture(scope="module")
def served(simulated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of a real server over the published folder, and what it printed."""
    with running(serve_command(simulated_run, tmp_path_factory.mktemp("log") / "log", "collection.json")) as server:
        yield server.address, server.log.read_text()


def test_link_opens_stac_browser_on_the_collection(served: tuple[str, str]) -> None:
    address, printed = served
    assert f"https://radiantearth.github.io/stac-browser/#/external/{address}/collection.json" in printed


def test_cors_and_range_are_there(served: tuple[str, str]) -> None:
    address, _ = served
    headers = {"Range": "bytes=0-99", "Origin": "https://radiantearth.github.io"}
    request = urllib.request.Request(f"{address}/spaceeye_2023-04-10/B04.tif", headers=headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert answer.status == 206
        assert len(answer.read()) == 100
        assert answer.headers["Content-Range"].startswith("bytes 0-99/")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]


def test_gdal_reads_the_served_files(served: tuple[str, str], simulated_run: Path) -> None:
    address, _ = served
    name = "spaceeye_2023-04-10/B04.tif"
    with rasterio.open(f"/vsicurl/{address}/{name}") as far, rasterio.open(simulated_run / name) as near:
        assert (far.read(1) == near.read(1)).all()


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"])
def test_no_path_leaves_the_folder(served: tuple[str, str], path: str, simulated_run: Path) -> None:
    (simulated_run.parent / "secret.txt").write_text("secret")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(served[0] + path)  # noqa: S310
    assert caught.value.code == 404
    caught.value.close()


def test_a_folder_without_a_collection_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no collection\.json"):
        document_in(tmp_path)
    done = command("serve", tmp_path)
    assert done.returncode == 2
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "collection.json").write_text("{}")
    assert browser_link(tmp_path, 8123).endswith("http://127.0.0.1:8123/days/collection.json")


def test_a_taken_port_is_named(served: tuple[str, str], simulated_run: Path) -> None:
    port = served[0].rsplit(":", 1)[1]
    done = command("serve", simulated_run, "--port", port)
    assert done.returncode == 2
    assert f"Port {port} is taken" in done.stderr


@pytest.fixture(scope="module")
def with_browser(simulated_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with a stac-browser's files beside the folder."""
    dist = tmp_path_factory.mktemp("browser") / "dist"
    dist.mkdir()
    (dist / "index.html").write_text("<title>STAC Browser</title>")
    (dist / "app.js").write_text("let x")
    (dist.parent / "secret.txt").write_text("secret")
    with running(serve_command(simulated_run, dist.parent / "log", "data/collection.json", "--browse", dist)) as server:
        catalog, link = server.log.read_text().splitlines()[:2]
        assert f"{server.address}/data/collection.json" in catalog
        assert (
            f"stac-browser: {server.address}/external/{server.address.replace('//', '/')}/data/collection.json" in link
        )
        yield server.address


def test_browser_and_folder_on_one_port(with_browser: str, simulated_run: Path) -> None:
    with urllib.request.urlopen(with_browser + "/") as answer:  # noqa: S310 - loopback
        assert answer.url == f"{with_browser}/external/{with_browser.replace('//', '/')}/data/collection.json"
        assert b"STAC Browser" in answer.read()
    with urllib.request.urlopen(with_browser + "/app.js") as answer:  # noqa: S310
        assert answer.read() == b"let x"
    with urllib.request.urlopen(with_browser + "/data/collection.json") as answer:  # noqa: S310
        assert answer.read() == (simulated_run / "collection.json").read_bytes()


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/data/../../secret.txt", "GET", 404),
        ("/%2e%2e/secret.txt", "GET", 404),
        ("/data/%2e%2e/%2e%2e/secret.txt", "GET", 404),
        ("/none.js", "GET", 404),
        ("/data/collection.json", "PUT", 405),
        ("/data/collection.json", "DELETE", 405),
        ("/external/x", "POST", 405),
    ],
)
def test_only_reading_and_only_there(with_browser: str, path: str, method: str, status: int) -> None:
    request = urllib.request.Request(with_browser + path, method=method)  # noqa: S310 - loopback
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)  # noqa: S310
    assert caught.value.code == status
    caught.value.close()


def test_a_folder_without_a_browser_is_named(simulated_run: Path, tmp_path: Path) -> None:
    done = command("serve", simulated_run, "--browse", tmp_path)
    assert done.returncode == 2
    assert "holds no built stac-browser (index.html)" in done.stderr
