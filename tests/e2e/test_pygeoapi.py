"""OGC API - Processes by a real pygeoapi: jobs from start to results, at once, dismissed, refused, and left behind."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pystac
import pytest
import requests
from pystac_client import Client
from pystac_client.warnings import FallbackToPystac, NoConformsTo

from tests.e2e.platform_environment import platform_python
from tests.support.loopback import serving
from tests.support.pygeoapi_server import JOB_SECONDS, PROCESS, Pygeoapi, pygeoapi_of
from tests.support.servers import running, serve_command
from tests.support.small_catalog import DAYS, SMALL, small_query
from tests.support.transactions_api import SmallApi

Json = dict[str, Any]
LONG = "2023-03-10/2023-05-20"
HOLD_SECONDS = 1.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is served: a catalog, what jobs make by value, and what they publish."""
    folder = tmp_path_factory.mktemp("served")
    SMALL.write(folder)
    return folder


@pytest.fixture(scope="module")
def files(place: Path) -> Iterator[str]:
    """Address of the folder."""
    with running(serve_command(place, place / "files.log", "catalog.json")) as process:
        yield process.address


@pytest.fixture(scope="module")
def stac_api() -> Iterator[SmallApi]:
    with serving(SmallApi()) as api:
        yield api


@pytest.fixture(scope="module")
def server(place: Path, files: str, stac_api: SmallApi) -> Iterator[Pygeoapi]:
    days = {"to": str(place / "published"), "asset_base_url": f"{files}/published"}
    api = {"to": stac_api.url, "assets_to": str(place / "assets"), "asset_base_url": f"{files}/assets"}
    options = {
        "work": str(place / "work"),
        "url": f"{files}/work/results",
        "trusted": [files],
        "targets": {"days": days, "api": api},
        "limits": {"area_days": 1000, "memory": "1GB", "workers": 1, "jobs": 3, "waiting": 4},
    }
    made = pygeoapi_of(platform_python(), place, options)
    with running(made.process):
        yield made


@pytest.fixture(autouse=True)
def _nothing_is_left(server: Pygeoapi) -> Iterator[None]:
    """Each test ends with the folders of the server as it found them."""
    before = server.leftovers()
    yield
    assert server.leftovers() == before


@pytest.fixture
def inputs(files: str) -> Json:
    query = small_query(Path())
    box = list(query.bbox or ())
    return {"catalog": f"{files}/catalog.json", "bbox": box, "datetime": DAYS, "bands": ["B02", "B04"]} | {
        "method": "damped"
    }


def test_the_process_is_described_with_the_inputs_that_this_server_takes(server: Pygeoapi) -> None:
    described = requests.get(f"{server.url}/processes/{PROCESS}?f=json", timeout=JOB_SECONDS).json()
    assert described["jobControlOptions"] == ["sync-execute", "async-execute"]
    assert described["inputs"]["publish_to"]["schema"]["enum"] == ["days", "api"]
    assert described["inputs"]["datetime"]["minOccurs"] == 1
    assert not {"allow_hrefs", "memory", "workers", "cache", "mask_model", "out"} & described["inputs"].keys()


def test_three_jobs_at_once_from_start_to_results(server: Pygeoapi, stac_api: SmallApi, inputs: Json) -> None:
    targets: list[Json] = [{}, {"publish_to": "days"}, {"publish_to": "api"}]
    jobs = [server.started({**inputs, **target}) for target in targets]
    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(server.waited, jobs))
    for statuses in seen:
        percent = [status["progress"] for status in statuses]
        assert statuses[-1]["status"] == "successful", statuses[-1]
        assert len(set(percent)) > 5
        assert percent[1:] == sorted(percent[1:])
    value, days, api = (server.results(job).json() for job in jobs)

    by_value = pystac.Collection.from_dict(value)
    items = list(by_value.get_items())
    assert [str(item.datetime)[:10] for item in items] == [f"2023-04-{day:02}" for day in range(1, 11)]
    band = items[3].get_assets()["B04"].get_absolute_href() or ""
    assert requests.get(band, timeout=JOB_SECONDS).content[:2] == b"II"
    folder = str(by_value.get_self_href()).rpartition("/")[0]
    assert requests.get(f"{folder}/run.json", timeout=JOB_SECONDS).status_code == 404
    with pytest.warns((NoConformsTo, FallbackToPystac)):  # it is no API
        assert len(list(Client.open(f"{folder}/catalog.json").get_items(recursive=True))) == 10

    assert len(list(pystac.Collection.from_file(days["href"]).get_items())) == 10
    assert api["href"] == f"{stac_api.url}/collections/{api['id']}"
    published = [item for item in stac_api.items.values() if item["collection"] == api["id"]]
    assert len(published) == 10
    assert requests.get(published[0]["assets"]["B02"]["href"], timeout=JOB_SECONDS).status_code == 200
    assert [name for name in server.leftovers() if any(job in name for job in jobs)] == [f"results/{jobs[0]}"]

    assert server.delete(jobs[0]).status_code == 200
    assert requests.get(band, timeout=JOB_SECONDS).status_code == 404


def test_a_job_is_dismissed_while_it_solves(server: Pygeoapi, inputs: Json) -> None:
    job = server.started({**inputs, "datetime": LONG})
    last = server.waited(job, percent=10)[-1]
    assert last["status"] == "running", last
    assert (server.work / "jobs" / job / ".days.partial").is_dir()
    start = time.monotonic()
    assert server.delete(job).json()["status"] == "dismissed"
    assert time.monotonic() - start < 20
    assert requests.get(f"{server.url}/jobs/{job}?f=json", timeout=JOB_SECONDS).status_code == 404
    assert not _processes_of(job)


def test_a_job_is_dismissed_while_it_publishes_and_is_withdrawn(
    server: Pygeoapi, stac_api: SmallApi, inputs: Json, place: Path
) -> None:
    begun = threading.Event()

    def hold(_number: int, _method: str, path: str) -> int:
        if path.endswith("/items"):
            begun.set()
            time.sleep(HOLD_SECONDS)
        return 0

    before, stac_api.fault = set(stac_api.collections), hold
    job = server.started({**inputs, "publish_to": "api"})
    assert begun.wait(JOB_SECONDS)
    stac_api.fault = lambda _number, _method, _path: 0
    assert any(name.endswith(job) for name in stac_api.collections)
    assert server.delete(job).status_code == 200
    assert set(stac_api.collections) == before
    assert not [item for item in stac_api.items.values() if item["collection"].endswith(job)]
    assert not list((place / "assets").glob(f"*{job}"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"catalog": "/etc"}, "catalog '/etc' is no https address of a catalog"),
        ({"catalog": "file:///etc/catalog.json"}, "is no https address of a catalog"),
        ({"catalog": "http://169.254.169.254/latest"}, "is no https address of a catalog"),
        ({"catalog": "https://169.254.169.254/latest"}, "is an address that only this machine reaches"),
        ({"catalog": "http://127.0.0.1/catalog.json"}, "is no https address of a catalog"),
        ({"catalog": "https://localhost/catalog.json"}, "is an address of this machine"),
        ({"catalog": "nobody"}, "name a profile (digital-earth-africa, "),
        ({"profile": "nobody"}, "profile 'nobody' is not known here; choose from "),
        ({"out": "/tmp/out"}, "'out' is no input of this server"),  # noqa: S108 - nothing is made there
        ({"publish_to": "/tmp/out"}, "publish_to '/tmp/out' is not known here; choose from days, api"),  # noqa: S108
        ({"bbox": [4.0, 51.0, 5.0, 52.4]}, "km2 in pixels of 10 m for 10 days are too much"),
        ({"bbox": "4,51,5,52"}, "bbox '4,51,5,52' is not allowed; give array of number"),
        ({"datetime": 2023}, "datetime 2023 is not allowed; give string"),
        ({"clip": "yes"}, "clip 'yes' is not allowed; give boolean"),
        ({"workers": 64}, "'workers' is no input of this server"),
        ({"allow_hrefs": ["/etc"]}, "'allow_hrefs' is no input of this server"),
        ({"mask_model": "os:system"}, "'mask_model' is no input of this server"),
        ({"method": "os:system"}, "method 'os:system' is not known here; choose from surface, damped, reference"),
    ],
)
def test_a_bad_request_is_400_with_a_sentence_and_nothing_is_done(
    server: Pygeoapi, inputs: Json, change: Json, said: str
) -> None:
    for prefer in ("respond-async", "wait"):
        answer = server.post({**inputs, **change}, prefer=prefer)
        assert answer.status_code == 400
        assert said in answer.json()["description"]
    assert "jobs" not in answer.headers.get("Location", "")


def test_addresses_to_be_told_are_400_as_they_could_be_of_the_servers_network(server: Pygeoapi, inputs: Json) -> None:
    answer = server.post(inputs, subscriber={"successUri": "http://127.0.0.1:1/"})
    assert (answer.status_code, answer.json()["description"]) == (
        400,
        "subscriber is not supported; ask for the status of the job.",
    )
    assert server.post([1]).json()["description"] == "inputs are no object; give each input by its name."


def test_a_region_without_scenes_fails_with_our_sentence(server: Pygeoapi, inputs: Json) -> None:
    answer = server.post({**inputs, "bbox": [10.0, 50.0, 10.001, 50.001]}, prefer="wait")
    assert answer.status_code == 400
    assert "No scene" in answer.json()["description"], answer.text


def test_a_run_that_fails_half_way_leaves_nothing(server: Pygeoapi, inputs: Json, place: Path) -> None:
    scene = sorted((place / "sentinel-2-l2a").glob("*/B08.tif"))[2]
    moved = scene.rename(scene.with_suffix(".away"))
    try:
        job = server.started({**inputs, "bands": ["B08"], "publish_to": "days"})
        last = server.waited(job)[-1]
    finally:
        moved.rename(scene)
    assert last["status"] == "failed"
    assert f"{scene.parent.name}/B08.tif" in last["message"]
    assert "leave the scene out" in last["message"]
    assert str(place) not in json.dumps(last)
    assert server.results(job).status_code == 400
    assert not list((place / "published").glob(f"*{job}"))


def test_a_server_that_is_killed_leaves_no_job_that_runs_for_ever(server: Pygeoapi, inputs: Json) -> None:
    job = server.started({**inputs, "datetime": LONG, "publish_to": "days"})
    server.waited(job, percent=10)
    server.process.stop(signal.SIGKILL)
    server.process.start()
    assert not _processes_of(job)
    status = server.status(job)
    assert (status["status"], status["message"]) == (
        "failed",
        "The server was stopped while the job was at work; ask for it again.",
    )


def _processes_of(job: str) -> list[str]:
    """Command lines of this machine that name a job."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text())
        except OSError:
            continue
    return [line for line in lines if job in line]
