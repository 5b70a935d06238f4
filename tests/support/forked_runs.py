"""Runs and publications in processes of their own that have all imported already: what disturbs one meets its work.

This is a program of its own: for each line of JSON it reads it forks a child, while no library has threads at work,
that does it; it writes, as lines of JSON, what the child tells and how it ended.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import obstore

import spaceeye_stac as se
import spaceeye_stac.engine.phases  # with which all is imported that runs need
from spaceeye_stac.errors import SpaceEyeError, exhausted
from spaceeye_stac.pipeline import run
from spaceeye_stac.publishing import DayStream, PublishOptions
from spaceeye_stac.resources import Resources
from tests.support.damped import DAMPED


@dataclass
class Starter:
    """The program, as a test talks to it."""

    process: subprocess.Popen[str]

    def start(self, query: se.Query, out: Path, **options: Any) -> int:
        """Start a damped run; gives the process's id.

        Options: those of Resources, `kill_after` seconds, `file_bytes`, the `limits` of the process by their names;
        `kill_at`: SIGKILL at the n-th time that a file is opened, renamed or removed beside `out` (0: never, and their
        number is reported as the stage "touches"); `update` and `output` as of `run`, `profile` as of the query;
        `to`: days are published there as they are made, and at the end the run is.
        """
        asked = {"catalog": str(query.catalog), "bbox": query.bbox, "datetime": query.datetime, "bands": query.bands}
        asked |= {"profile": query.profile}
        return self._asked(query=asked, out=str(out), **options)

    def publish(self, run_folder: Path, target: str | Path, **options: Any) -> int:
        """Start a publication; gives the process's id.

        Options: `kill_after`, `kill_at` for files below the target's parent, and the calls of obstore besides, at their
        beginning and their end; `dies_at_bytes`: the process ends as it writes so much of a file; `prune`.
        """
        return self._asked(publish=[str(run_folder), str(target)], **options)

    def _asked(self, **asked: Any) -> int:
        assert self.process.stdin is not None
        print(json.dumps({**asked, "environment": dict(os.environ)}), file=self.process.stdin, flush=True)
        name, pid = next(self._lines())
        assert name == "started"
        return int(pid)

    def told(self) -> Iterator[list[Any]]:
        """What the run tells: stage, steps done, steps; the end is left to `end`."""
        for line in self._lines():
            yield line
            if line[0] == "ended":
                return

    def end(self) -> list[Any]:
        """Wait for the end: exit code, negative for a signal, then class, exit code and message of the error."""
        error: list[Any] = []
        for line in self.told():
            if line[0] == "ended":
                return [line[1], *error]
            error = line[1:] if line[0] == "error" else error
        raise AssertionError("the program ended")

    def _lines(self) -> Iterator[list[Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)


@contextmanager
def starting() -> Iterator[Starter]:
    """Start the program."""
    line = [sys.executable, "-m", "tests.support.forked_runs"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Starter(process)
        finally:
            process.kill()


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        kill_after = asked.pop("kill_after", None)
        child = os.fork()
        if child == 0:
            _run(asked)
        _tell("started", child)
        if kill_after is not None:
            _kill(child, kill_after)
        _tell("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _kill(child: int, seconds: float) -> None:
    """SIGKILL after some seconds, unless the child has ended; it is not yet waited for, so that its id is its own."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)


class _Touches:
    """Counts what is done to files below a folder, and ends the process at the n-th of them."""

    events = frozenset({"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"})

    def __init__(self, folder: Path, last: int | None) -> None:
        self.count, self._folder, self._last, self._lock = 0, f"{folder}/", last, Lock()
        if last is not None:
            sys.addaudithook(self)
            for name in ("put", "delete", "get", "head", "list", "list_with_delimiter"):
                setattr(obstore, name, self._counted(getattr(obstore, name)))

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.events and str(arguments[0]).startswith(self._folder):
            self._touch()

    def _touch(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A function of obstore, which no hook sees at work: it counts as it begins and as it ends."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self._touch()
            found = call(*arguments, **options)
            self._touch()
            return found

        return counted


def _run(asked: dict[str, Any]) -> None:
    _limit(asked)
    place = Path(asked["publish"][1] if "publish" in asked else asked["out"])
    touches, code = _Touches(place.parent, asked.pop("kill_at", None)), 3
    try:
        if "publish" in asked:
            se.publish(*asked["publish"], prune=asked.get("prune", False))
        else:
            _make(**asked)
        code = 0
        _tell("touches", touches.count, touches.count)
    except BaseException as found:
        error = found if isinstance(found, SpaceEyeError) else exhausted(found)
        if error is None:
            raise
        code = error.exit_code
        _tell("error", type(error).__name__, code, str(error))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _limit(asked: dict[str, Any]) -> None:
    """Set what this process may have, and what becomes of it where it wants more."""
    for name, value in asked.pop("limits", {}).items():
        if name == "RLIMIT_NPROC" and os.getuid() == 0:
            _become_limited()
        resource.setrlimit(getattr(resource, name), (value, value))
    still, dies = asked.pop("file_bytes", None), asked.pop("dies_at_bytes", None)
    if still or dies:
        # a write that is too long is an error, as on a full disk, or the end
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if dies else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (still or dies, still or dies))
    os.environ.update(asked.pop("environment"))
    tempfile.tempdir = None


def _become_limited() -> None:
    """Count the threads of this process, which root's are not, and give up what lets it have more than it may."""
    os.setreuid(65534, 0)
    header, facts = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    libc.capget(header, facts)
    for n in (0, 1):
        facts[n] &= ~(1 << 21 | 1 << 24)  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
    assert libc.capset(header, facts) == 0


def _make(
    query: dict[str, Any],
    out: str,
    *,
    update: bool = False,
    output: dict[str, Any] | None = None,
    to: str | None = None,
    **resources: Any,
) -> None:
    stream = None if to is None else DayStream(to, PublishOptions())
    run(
        se.Query(**query),
        DAMPED,
        out=out,
        update=update,
        output=se.Output(**(output or {})),
        resources=Resources(**resources),
        progress=_tell,
        each_day=stream.day if stream else None,
    )
    if to is not None:
        se.publish(out, to)


def _tell(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


if __name__ == "__main__":
    main()
