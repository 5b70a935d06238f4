"""A real pygeoapi on loopback with our process, and what a client of OGC API - Processes asks of it."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.servers import Process, free_port

Json = dict[str, Any]
PROCESS = "cloudless"
JOB_SECONDS = 300.0
POLL_SECONDS = 0.2


@dataclass
class Pygeoapi:
    """A server, with the folder its jobs work in."""

    process: Process
    work: Path

    @property
    def url(self) -> str:
        return self.process.address

    def post(self, inputs: object, *, prefer: str = "respond-async", **more: object) -> requests.Response:
        address = f"{self.url}/processes/{PROCESS}/execution"
        body: Any = {"inputs": inputs, **more}
        return requests.post(address, json=body, headers={"Prefer": prefer}, timeout=JOB_SECONDS)

    def started(self, inputs: Json) -> str:
        """Id of a job that runs on its own."""
        answer = self.post(inputs)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"].rpartition("/")[2]

    def status(self, job: str) -> Json:
        answer = requests.get(f"{self.url}/jobs/{job}?f=json", timeout=JOB_SECONDS)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def waited(self, job: str, percent: int = 101) -> list[Json]:
        """Every status of a job until it ends, or has come so far."""
        seen = [self.status(job)]
        end = time.monotonic() + JOB_SECONDS
        while seen[-1]["status"] in {"accepted", "running"} and seen[-1]["progress"] < percent:
            assert time.monotonic() < end, seen[-1]
            time.sleep(POLL_SECONDS)
            seen.append(self.status(job))
        return seen

    def results(self, job: str) -> requests.Response:
        return requests.get(f"{self.url}/jobs/{job}/results?f=json", timeout=JOB_SECONDS)

    def delete(self, job: str) -> requests.Response:
        return requests.delete(f"{self.url}/jobs/{job}", timeout=JOB_SECONDS)

    def leftovers(self) -> list[str]:
        """What stands in the folders of jobs and of results."""
        return sorted(str(path.relative_to(self.work)) for path in self.work.glob("[jr]*/*"))


def pygeoapi_of(python: Path, folder: Path, options: Json) -> Pygeoapi:
    """A server with its configuration in `folder`; not yet started."""
    port = free_port()
    url, person = f"http://127.0.0.1:{port}", {"name": "Nobody", "url": "https://example.org"}
    manager = {"name": "spaceeye_stac.platforms.pygeoapi.Manager", "connection": str(folder / "jobs.json")}
    configuration = {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": url,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "map": {"url": "https://tile.example/{z}/{x}/{y}.png", "attribution": "none"},
            "manager": {**manager, "output_dir": str(folder)},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {
                "title": "Test",
                "description": "On loopback.",
                "keywords": ["test"],
                "terms_of_service": "none",
                **person,
            },
            "license": person,
            "provider": person,
            "contact": person,
        },
        "resources": {
            PROCESS: {"type": "process", "processor": {"name": "spaceeye_stac.platforms.pygeoapi.Processor", **options}}
        },
    }
    written, api = folder / "pygeoapi.yml", folder / "openapi.json"
    written.write_text(json.dumps(configuration))  # YAML, too
    line = [str(python), "-c", "import pygeoapi; pygeoapi.cli()", "openapi", "generate", str(written)]
    line += ["--output-file", str(api), "--format", "json"]
    environment = {"PYGEOAPI_CONFIG": str(written), "PYGEOAPI_OPENAPI": str(api), "PYTHONUNBUFFERED": "1"}
    made = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    serve = [str(python), "-m", "flask", "--app", "pygeoapi.flask_app:APP", "run", "--port", str(port)]
    return Pygeoapi(Process(serve, url, "/conformance", folder / "server.log", environment), Path(options["work"]))
