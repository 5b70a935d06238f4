"""Programs in processes of their own, with the time they take and the memory they and their children reach."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil

POLL_SECONDS = 0.1
HIGHER = 1.01


@dataclass(frozen=True)
class Measured:
    """Seconds of the measured part, and the highest sum of resident memory in bytes; what is shared counts once."""

    seconds: float
    memory: int


def measured(module: str, **arguments: object) -> Measured:
    """Run `python -m module` with JSON arguments; its last line of output is the seconds that count."""
    os.sync()  # what was written before is not to be waited for
    line = [sys.executable, "-m", module, json.dumps(arguments, default=str)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    assert process.returncode == 0
    return Measured(float(out.split()[-1]), peak[0])


def _watch(process: "subprocess.Popen[str]", peak: list[int]) -> None:
    """Keep the highest sum; what is shared is only looked at where the plain sum is a new high, as it takes long."""
    highest = 0.0
    while process.poll() is None:
        try:
            root = psutil.Process(process.pid)
            family = (root, *root.children(recursive=True))
            plain = sum(p.memory_info().rss for p in family)
            if plain > HIGHER * highest:
                highest = plain
                peak[0] = max(peak[0], sum(p.memory_full_info().pss for p in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(POLL_SECONDS)
