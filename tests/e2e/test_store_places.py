"""Runs into real servers of S3 and of Azure: the same files as in a folder, and a server that stops for a while."""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

import spaceeye_stac as se
from tests.e2e import services
from tests.support.damped import DAMPED
from tests.support.servers import Process, running
from tests.support.small_catalog import small_items, small_query, written

ACCOUNT = "devstoreaccount1"  # of every Azurite, with its key
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"
MAKE_BUCKET = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket=sys.argv[2])"
LONGER = "2023-04-01/2023-04-12"
STOPPED_SECONDS = 10


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> se.Query:
    folder = tmp_path_factory.mktemp("scenes")
    return small_query(written(small_items(folder), folder))


@pytest.fixture(scope="module")
def local(query: se.Query, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a folder that was brought up to date."""
    out = tmp_path_factory.mktemp("local") / "out"
    se.run(replace(query, datetime=LONGER), DAMPED, out=out)
    return out


@pytest.fixture(params=["s3", "azure"])
def place(request: pytest.FixtureRequest, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Process]]:
    """The address of an empty place in a store, and its server."""
    if request.param == "s3":
        with running(services.object_store(logs / "moto_places.log")) as server:
            variables = {"AWS_ENDPOINT_URL": server.address, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
            variables |= {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "hunter22secret"}
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            line = [str(services.SERVICES / "python"), "-c", MAKE_BUCKET, server.address, "places"]
            subprocess.run(line, check=True, timeout=60, env=os.environ)
            yield "s3://places/run", server
        return
    with running(services.blob_store(logs / "azurite.log")) as server:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        monkeypatch.setenv("AZURE_ENDPOINT", f"{server.address}/{ACCOUNT}")
        monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
        make_container(server.address, "places")
        yield "az://places/run", server


def make_container(address: str, name: str) -> None:
    """A new container, asked for as Azure has it: with the request signed by the account's key."""
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = f"x-ms-date:{date}\nx-ms-version:{VERSION}"
    text = "PUT" + "\n" * 12 + f"{headers}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{address}/{ACCOUNT}/{name}?restype=container",
        method="PUT",
        headers={"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        | dict(line.split(":", 1) for line in headers.split("\n")),
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def checksums(address: str) -> dict[str, str]:
    """Of every file that an item in the store names, by the item's id and the asset's key, as the bytes there are."""
    store = from_url(address)
    names = [str(meta["path"]) for page in obstore.list(store) for meta in page]
    assert not [name for name in names if name.startswith((".keyframes", ".run"))], "nothing is left of the work"
    found = {}
    for name in (name for name in names if name.count("/") == 1 and name.endswith(".json")):
        item = hrefs_of(bytes(obstore.get(store, name).bytes()))
        for key, href in item.items():
            content = bytes(obstore.get(store, f"{name.partition('/')[0]}/{href}").bytes())
            found[f"{name.partition('/')[0]} {key}"] = hashlib.sha256(content).hexdigest()
    return found


def hrefs_of(content: bytes) -> dict[str, str]:
    """Hrefs of an item's assets."""
    return {key: asset["href"].removeprefix("./") for key, asset in json.loads(content)["assets"].items()}


def local_checksums(folder: Path) -> dict[str, str]:
    return {
        f"{path.parent.name} {key}": hashlib.sha256((path.parent / href).read_bytes()).hexdigest()
        for path in folder.glob("*/*.json")
        for key, href in hrefs_of(path.read_bytes()).items()
    }


def test_a_run_and_its_update_are_those_of_a_folder(place: tuple[str, Process], query: se.Query, local: Path) -> None:
    address, server = place
    stopped: list[str] = []

    def stop(stage: str, _done: int, _total: int) -> None:
        """Let the server stand still once, in the middle of the writing, while the run goes on asking it."""
        if stage == "writing days" and not stopped:
            stopped.append(stage)
            running_server = server._running  # noqa: SLF001 - its process
            assert running_server is not None
            running_server.send_signal(signal.SIGSTOP)
            threading.Timer(STOPPED_SECONDS, running_server.send_signal, [signal.SIGCONT]).start()

    start = time.monotonic()
    assert len(se.run(query, DAMPED, out=address, progress=stop).days) == 10
    assert time.monotonic() - start > STOPPED_SECONDS
    found = se.run(replace(query, datetime=LONGER), DAMPED, out=address, update=True)
    assert (len(found.days), found.address) == (12, address)
    assert checksums(address) == local_checksums(local)
