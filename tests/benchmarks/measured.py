"""Programs in processes of their own, with the time they take and the memory they and their children reach."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil

POLL_SECONDS = 0.04
FAMILY_POLLS = 10  # between two looks at which children there are
HIGHER = 1.01


@dataclass(frozen=True)
class Measured:
    """Seconds of the measured part, and the highest sum of resident memory in bytes; what is shared counts once.

    `cpu` are the seconds that the program and its children took of the cores, its start included.
    """

    seconds: float
    memory: int
    cpu: float


def measured(module: str, **arguments: object) -> Measured:
    """Run `python -m module` with JSON arguments; its last line of output is the seconds that count."""
    os.sync()  # what was written before is not to be waited for
    before = _cpu_of_children()
    line = [sys.executable, "-m", module, json.dumps(arguments, default=str)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    assert process.returncode == 0
    return Measured(float(out.split()[-1]), peak[0], _cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(process: "subprocess.Popen[str]", peak: list[int]) -> None:
    """Keep the highest sum; what is shared is only looked at where the plain sum is a new high, as it takes long."""
    highest, polls, family = 0.0, 0, [psutil.Process(process.pid)]
    while process.poll() is None:
        try:
            if polls % FAMILY_POLLS == 0:
                family = [family[0], *family[0].children(recursive=True)]
            polls += 1
            plain = sum(p.memory_info().rss for p in family)
            if plain > HIGHER * highest:
                highest = plain
                peak[0] = max(peak[0], sum(p.memory_full_info().pss for p in family))
        except psutil.NoSuchProcess:
            polls = 0
        time.sleep(POLL_SECONDS)
