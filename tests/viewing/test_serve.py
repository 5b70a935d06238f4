import contextlib
import json
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio

from spaceeye_stac.errors import OutputError
from spaceeye_stac.publishing import without_local_paths
from spaceeye_stac.viewing import browser_link, document_in
from tests.support.command import command
from tests.support.servers import Process, free_port, running, serve_command


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


def raw(address: str, head: str, seconds: float = 5) -> bytes:
    """What a server answers to these lines on a connection of its own."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(head.replace("PORT", port).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 200),
        ("localhost:PORT", 200),
        ("LOCALHOST:PORT", 200),
        ("rebound.example:PORT", 421),
        ("127.0.0.1", 421),
        ("127.0.0.1:1", 421),
        ("localhost.rebound.example:PORT", 421),
        ("127.0.0.1:PORT.rebound.example", 421),
        ("me@127.0.0.1:PORT", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/collection.json", "/"])
def test_only_its_own_name_is_answered(served: tuple[str, str], host: str, status: int, path: str) -> None:
    found = raw(served[0], f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    assert found.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"spaceeye" in found) == (status == 200)


def read(url: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - loopback
        return answer.headers["Content-Type"], answer.read()


def test_the_root_leads_to_the_days(served: tuple[str, str]) -> None:
    kind, page = read(f"{served[0]}/")
    assert kind == "text/html; charset=utf-8"
    without_scripts = page.decode().split("<noscript>")[1].split("</noscript>")[0]
    hrefs = re.findall(r'href="([^"]+)"', without_scripts)
    assert hrefs[0] == "/collection.json"
    assert len(hrefs) == 25
    for href in hrefs[:3]:
        assert json.loads(read(f"{served[0]}{href}")[1])["stac_version"] == "1.1.0"


def test_the_page_of_a_hostile_collection_is_harmless(tmp_path: Path) -> None:
    odd, folder = '"><script>alert(1)</script>', tmp_path / "hostile"
    folder.mkdir()
    hrefs = (f"./{odd}/{odd}.json", "javascript:alert(1)", "../../../etc/passwd", "/etc/passwd", 3, None)
    links = [{"rel": "item", "href": href} for href in hrefs]
    (folder / "collection.json").write_text(json.dumps({"id": odd, "links": links}))
    with running(serve_command(folder, tmp_path / "log", "collection.json")) as server:
        page = read(f"{server.address}/")[1].decode()
        assert "<script>" not in page
        assert "javascript:" not in page
        assert "passwd" not in page
        assert json.loads(read(f"{server.address}/api/days")[1])["days"] == []
        (folder / "collection.json").write_text("no JSON")
        assert "0 documents" in read(f"{server.address}/")[1].decode()


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("https://host.example/x.json", True),
        ("../x/x.json", True),
        ("../../source/scene.json", True),
        ("../../../source/scene.json", False),
        ("/srv/scene.json", False),
        ("file:///srv/scene.json", False),
        ("file:/srv/scene.json", False),
    ],
)
def test_links_stay_inside_of_what_is_served(href: str, *, kept: bool) -> None:
    document = {"links": [{"rel": "derived_from", "href": href}]}
    assert without_local_paths(document, "days/spaceeye_2023-04-10") == (document if kept else {"links": []})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spaceeye_2023-04-10/spaceeye_2023-04-10.json", "application/geo+json"),
        ("collection.json", "application/json"),
        ("spaceeye.schema.json", "application/json"),
        ("spaceeye_2023-04-10/B04.tif", "image/tiff; application=geotiff; profile=cloud-optimized"),
        ("spaceeye_2023-04-10/thumbnail.png", "image/png"),
        ("items.parquet", "application/vnd.apache.parquet"),
    ],
)
def test_every_file_has_its_type(served: tuple[str, str], name: str, kind: str) -> None:
    assert read(f"{served[0]}/{name}")[0] == kind


def test_paths_of_this_machine_are_not_served(served: tuple[str, str], simulated_run: Path, simulated: Path) -> None:
    name = "spaceeye_2023-04-10/spaceeye_2023-04-10.json"
    own = json.loads((simulated_run / name).read_text())
    kind, content = read(f"{served[0]}/{name}")
    found = json.loads(content)
    assert kind == "application/geo+json"
    assert [link for link in own["links"] if link["rel"] == "derived_from"]
    assert [link for link in found["links"] if link["rel"] == "derived_from"] == []
    assert {**found, "links": []} == {**own, "links": []}
    assert simulated.parent.name.encode() not in content
    for hidden in ("run.json", ".lock", "./run.json", "%2elock", "keyframes/../run.json"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            read(f"{served[0]}/{hidden}")
        assert caught.value.code == 404
        caught.value.close()


def test_slow_clients_end(simulated_run: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    shutil.copytree(simulated_run, large, ignore=shutil.ignore_patterns("spaceeye_2023*"))
    (large / "large.bin").write_bytes(bytes(64 * 2**20))
    line = [sys.executable, "-c", SHORT_LIVED, str(large), str(port := free_port())]
    with running(Process(line, f"http://127.0.0.1:{port}", "/collection.json", tmp_path / "log")) as server:
        start = time.monotonic()
        assert raw(server.address, "GET /collection.json HT", seconds=20) == b""
        assert raw(server.address, "", seconds=20) == b""
        assert time.monotonic() - start < 15
        with socket.create_connection(("127.0.0.1", port), timeout=20) as stalled:
            stalled.sendall(f"GET /large.bin HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            time.sleep(4)
            received = 0
            with contextlib.suppress(ConnectionError):
                while part := stalled.recv(2**20):
                    received += len(part)
            assert received < 64 * 2**20
        assert read(f"{server.address}/collection.json")


SHORT_LIVED = """
import sys
from pathlib import Path
from spaceeye_stac.viewing import connections, serving
connections.REQUEST_SECONDS = connections.STALL_SECONDS = 1.0
serving.serve(Path(sys.argv[1]), int(sys.argv[2]))
"""
