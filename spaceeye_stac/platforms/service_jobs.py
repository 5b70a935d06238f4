"""The jobs of a server, each in a folder and a process of its own, so that it can be ended at any moment.

Below the folder `work` of the configuration stand `jobs/ID`, where a job works, and `results/ID`, which holds what it
made where that is a result by value. A job is alive as long as the lock in its folder is held, by the process of the
server that waits for it or by the job's own; both give it back however they end. So any process of a server, also one
that was started again, can tell a job that is at work from one that was left behind.
"""

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from spaceeye_stac.errors import SpaceEyeError, TargetError, UserError
from spaceeye_stac.platforms.service import Service
from spaceeye_stac.platforms.service_requests import ServiceRequest
from spaceeye_stac.publishing import unpublish
from spaceeye_stac.query import Json

LOCK, CANCELLED, REQUEST, PUBLISHING = "lock", "cancelled", "request.json", "publishing.json"
END_SECONDS = 20.0
POLL_SECONDS = 0.05
PROGRAM = "spaceeye_stac.platforms.service_run"
Report = Callable[[int, str], None]
logger = logging.getLogger(__name__)


class JobError(SpaceEyeError):
    """A run that failed for a reason that is the server's; its log says more."""


class JobRefusedError(UserError):
    """A run that failed for a reason that whoever asked for it can mend."""


class JobCancelledError(UserError):
    """A run that was cancelled."""


@dataclass(frozen=True)
class ServiceJob:
    """One job of a server: `name` is its identifier."""

    work: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.work / "jobs" / self.name

    @property
    def result(self) -> Path:
        """What it made, where that is a result by value."""
        return self.work / "results" / self.name

    @contextmanager
    def held(self, lock: IO[str]) -> Iterator[None]:
        """Give the lock back at the end; what is left of the job has vanished then, but for its result."""
        with lock:
            try:
                yield
            finally:
                shutil.rmtree(self.folder, ignore_errors=True)

    def acquired(self) -> IO[str]:
        """Make the folder and hold its lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock

    def run(self, request: ServiceRequest, service: Service, lock: IO[str], report: Report) -> Json:
        """Run it to its end; gives the result. Nothing is left of one that fails, here or where it was publishing.

        Raises JobRefusedError, JobCancelledError and JobError.
        """
        told = {"request": request.as_json(), "service": service.as_json(), "server": os.getpid()}
        (self.folder / REQUEST).write_text(json.dumps(told), encoding="utf-8")
        try:
            return self._outcome(lock, report)
        except BaseException:
            self.discard(service)
            raise

    def _outcome(self, lock: IO[str], report: Report) -> Json:
        """Start the process of the run and listen to it."""
        line = [sys.executable, "-m", PROGRAM, str(self.folder)]
        said: Json = {}
        with subprocess.Popen(  # noqa: S603 - this package's own module
            line, stdout=subprocess.PIPE, text=True, pass_fds=[lock.fileno()], start_new_session=True
        ) as process:
            for one in process.stdout or ():
                said = json.loads(one)
                if "percent" in said:
                    report(said["percent"], said["stage"])
        if "result" in said and process.returncode == 0:
            return dict(said["result"])
        if (self.folder / CANCELLED).exists():
            raise JobCancelledError("The job was cancelled.")
        if "refused" in said:
            raise JobRefusedError(said["refused"])
        raise JobError(said.get("failed", "The run was ended by the server's system, perhaps for want of memory."))

    def is_alive(self) -> bool:
        """Whether it is at work, or waits for its turn."""
        try:
            with (self.folder / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def ended(self, seconds: float) -> bool:
        """Wait until it is no longer alive; whether that was so in time."""
        end = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def cancel(self, service: Service) -> bool:
        """End it, wherever it stands, and remove all that it made by value; whether that is done."""
        with suppress(FileNotFoundError):
            (self.folder / CANCELLED).touch()
        done = self.ended(END_SECONDS)
        if done:
            self.discard(service)
        return done

    def discard(self, service: Service) -> None:
        """Remove what it made, and withdraw what of it was published; whoever calls knows that it is at an end."""
        with suppress(FileNotFoundError):
            begun: dict[str, Any] = json.loads((self.folder / PUBLISHING).read_text(encoding="utf-8"))
            self._withdraw(service, begun["target"], begun["collection"])
        shutil.rmtree(self.result, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _withdraw(self, service: Service, target: str, collection: str) -> None:
        """Take back a publication that was begun; where the target stays away, the log says so."""
        place = service.targets.get(target)
        if place is None:
            logger.error("Target %s is configured no more; collection %s may stand there in part", target, collection)
            return
        try:
            unpublish(collection, place.place(collection))
        except TargetError:  # it had not come so far
            pass
        except SpaceEyeError:
            logger.exception("Collection %s of job %s could not be withdrawn from %s", collection, self.name, target)
        for folder in place.folders(collection):
            shutil.rmtree(folder, ignore_errors=True)


def at_work(service: Service) -> int:
    """How many jobs are at work or wait for their turn."""
    folder = service.work / "jobs"
    return len(list(folder.iterdir())) if folder.is_dir() else 0
