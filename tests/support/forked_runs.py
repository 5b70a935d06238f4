"""Runs in processes of their own that have everything imported already: what disturbs one meets its work.

This is a program of its own: for each line of JSON it reads it forks a child, while no library has threads at work,
that makes the run; it writes, as lines of JSON, what the child tells and how it ended.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spaceeye_stac as se
from spaceeye_stac.errors import SpaceEyeError
from spaceeye_stac.pipeline import run
from spaceeye_stac.resources import Resources


@dataclass
class Starter:
    """The program, as a test talks to it."""

    process: subprocess.Popen[str]

    def start(self, query: se.Query, out: Path, **options: Any) -> int:
        """Start a run; gives the process's id.

        Options: those of Resources, `kill_after` seconds, `file_bytes`; `kill_at`: SIGKILL at the n-th time that a file
        is opened, renamed or removed beside `out` (0: never, and their number is reported as the stage "touches");
        `update` as of `run`.
        """
        asked = {"catalog": str(query.catalog), "bbox": query.bbox, "datetime": query.datetime, "bands": query.bands}
        assert self.process.stdin is not None
        print(json.dumps({"query": asked, "out": str(out), **options}), file=self.process.stdin, flush=True)
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
        self.count, self._folder, self._last = 0, f"{folder}/", last
        if last is not None:
            sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.events and str(arguments[0]).startswith(self._folder):
            self.count += 1
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)


def _run(asked: dict[str, Any]) -> None:
    query, out, limit = asked.pop("query"), asked.pop("out"), asked.pop("file_bytes", None)
    update, touches = asked.pop("update", False), _Touches(Path(out).parent, asked.pop("kill_at", None))
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write that is too long is an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    code = 3
    try:
        run(se.Query(**query), out=out, update=update, resources=Resources(**asked), progress=_tell)
        code = 0
        _tell("touches", touches.count, touches.count)
    except SpaceEyeError as error:
        code = error.exit_code
        _tell("error", type(error).__name__, code, str(error))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _tell(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


if __name__ == "__main__":
    main()
