"""The process of one job of a server: `python -m spaceeye_stac.platforms.service_run FOLDER`.

It reads what to do from its folder, and says on stdout, a line of JSON each, how far it is and what came of it. It ends
itself, and all processes that it started, when the job is cancelled or the server is there no more.
"""

import fcntl
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin

from spaceeye_stac import pipeline
from spaceeye_stac.collection import COLLECTION_FILE
from spaceeye_stac.errors import SpaceEyeError, UserError, exhausted
from spaceeye_stac.platforms.inputs import inputs_from
from spaceeye_stac.platforms.service import Service
from spaceeye_stac.platforms.service_jobs import CANCELLED, POLL_SECONDS, PUBLISHING, REQUEST, ServiceJob
from spaceeye_stac.platforms.service_requests import PIXEL_METRES, check_area
from spaceeye_stac.publishing import publish
from spaceeye_stac.query import Json

if TYPE_CHECKING:
    from spaceeye_stac.engine import Plan

DAYS = "days"
OF_THE_RUN = "run.json"  # which says what was asked of this machine
KM2 = 1e-6
# where the stages of a grid begin and end; what is between is by the stage's own count
STAGES = {"solving": (0.0, 0.6), "writing keyframes": (0.6, 0.65), "writing days": (0.65, 1.0)}
RUN, PUBLISHED = (10, 90), 94  # percent; the rest is the platform's own
WAITS, SEARCHES = (5, "waiting for its turn"), (6, "searching")
CREDENTIALS = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "GS_",
    "OSS_",
    "SWIFT_",
    "GDAL_HTTP_USERPWD",
    "GDAL_HTTP_HEADER",
    "GDAL_HTTP_BEARER",
)
UNSIGNED = {f"{store}_NO_SIGN_REQUEST": "YES" for store in ("AWS", "GS", "AZURE", "OSS")}
logger = logging.getLogger(__name__)


@dataclass
class Telling:
    """Says how far the job is, in percent that never go back; grids are made one after the other."""

    channel: IO[str]
    grids: int = 1
    said: int = 0
    seen: list[str] = field(default_factory=list)

    def say(self, **what: object) -> None:
        """Send one line to the server."""
        self.channel.write(json.dumps(what) + "\n")
        self.channel.flush()

    def at(self, percent: float, stage: str) -> None:
        """Say so many percent, unless as many were said already."""
        if int(percent) > self.said:
            self.said = int(percent)
            self.say(percent=self.said, stage=stage)

    def step(self, stage: str, done: int, total: int) -> None:
        """One step of a stage of a run, which may be of one of several grids, as "31UDS solving"."""
        name = next((name for name in STAGES if stage.endswith(name)), None)
        if name is None or not total:
            return
        if stage.removesuffix(name) not in self.seen:
            self.seen.append(stage.removesuffix(name))
        begin, end = STAGES[name]
        share = begin + (end - begin) * done / total
        self.at(RUN[0] + (RUN[1] - RUN[0]) * (len(self.seen) - 1 + share) / max(self.grids, len(self.seen)), stage)

    def publishing(self, _stage: str, done: int, total: int) -> None:
        """One step of a publication."""
        self.at(RUN[1] + (PUBLISHED - RUN[1]) * done / max(1, total), "publishing")


def main(folder: Path) -> int:
    """Do the job of a folder; gives the exit code."""
    told = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no line of ours
    Thread(target=_end_when_unwanted, args=(folder / CANCELLED, int(told["server"])), daemon=True).start()
    telling, service = Telling(channel), Service.of(told["service"])
    try:
        with _turn(service, telling):
            telling.say(result=_done(ServiceJob(service.work, folder.name), told["request"], service, telling))
    except BaseException as found:
        error = found if isinstance(found, SpaceEyeError) else exhausted(found)
        logger.exception("Job %s failed", folder.name)
        text = "The run failed; the server's log says why." if error is None else str(error)
        for place in (folder, service.work):
            text = text.replace(str(place), "the server's folder")
        telling.say(**{"refused" if isinstance(error, UserError) else "failed": text})
        return 1
    return 0


def _end_when_unwanted(cancelled: Path, server: int) -> None:
    """Kill this process and those that it started when the job is cancelled or the server has died."""
    while os.getppid() == server and not cancelled.exists():
        time.sleep(POLL_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


@contextmanager
def _turn(service: Service, telling: Telling) -> Iterator[None]:
    """Wait until fewer jobs run than may; the system gives the turn on when this process ends."""
    telling.at(*WAITS)
    folder = service.work / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    turns = [(folder / str(number)).open("w") for number in range(service.limits.jobs)]
    while not any(map(_is_free, turns)):
        time.sleep(POLL_SECONDS)
    telling.at(*SEARCHES)
    yield


def _is_free(turn: IO[str]) -> bool:
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _done(job: ServiceJob, request: Json, service: Service, telling: Telling) -> Json:
    """Run, and give the collection, or say where it was published."""
    inputs = inputs_from({**request["inputs"], "memory": service.limits.memory, "workers": service.limits.workers})
    name = f"{inputs.settings.collection_id[:80]}-{job.name}"  # no other's, whoever publishes to the same place
    settings = replace(inputs.settings, collection_id=name)
    out = job.folder / DAYS

    def announce(plan: "Plan") -> None:
        telling.grids = len(plan.grids)
        days = (plan.days[1] - plan.days[0]).days + 1
        area = sum(grid.shape[0] * grid.shape[1] for grid in plan.grids) * PIXEL_METRES**2 * KM2
        check_area(area, days, service)

    with nullcontext() if request["trusted"] else withheld_credentials():
        pipeline.run(
            inputs.query,
            settings,
            out=out,
            output=inputs.output,
            resources=inputs.resources,
            progress=telling.step,
            announce=announce,
        )
    if request["publish_to"] is not None:
        return _published(job, request["publish_to"], name, service, telling)
    job.result.parent.mkdir(parents=True, exist_ok=True)
    (out / OF_THE_RUN).unlink(missing_ok=True)
    out.rename(job.result)
    return _by_value(job, f"{service.url}".rstrip("/"))


def _published(job: ServiceJob, target: str, name: str, service: Service, telling: Telling) -> Json:
    """Publish what was made; it is withdrawn if this process does not come to its end."""
    place = service.targets[target]
    begun = json.dumps({"target": target, "collection": name})
    (job.folder / PUBLISHING).write_text(begun, encoding="utf-8")
    publish(job.folder / DAYS, place.place(name), **place.options(name), progress=telling.publishing)  # type: ignore[arg-type]
    return {"id": name, "href": place.href(name), "type": "application/json"}


def _by_value(job: ServiceJob, url: str) -> Json:
    """The collection, with links that lead to what it made from wherever they are followed."""
    here = f"{url}/{job.name}/{COLLECTION_FILE}"
    document: dict[str, Any] = json.loads((job.result / COLLECTION_FILE).read_text(encoding="utf-8"))
    for link in [*document["links"], *document.get("assets", {}).values()]:
        link["href"] = urljoin(here, link["href"])
    own = {"rel": "self", "href": here, "type": "application/json"}
    return document | {"links": [own, *(link for link in document["links"] if link["rel"] != "self")]}


@contextmanager
def withheld_credentials() -> Iterator[None]:
    """Hide what the environment and the home folder hold of credentials from a run that reads a catalog of anyone.

    Its items could name files that the server alone may read.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(CREDENTIALS):
            del os.environ[name]
    os.environ.update({**UNSIGNED, "HOME": "/nonexistent", "NETRC": os.devnull})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr)
    sys.exit(main(Path(sys.argv[1])))
