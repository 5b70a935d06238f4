"""Programs in processes of their own, with the time they take and the memory they and their children reach."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import psutil

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Measured:
    """Seconds of the measured part, and the highest sum of resident memory in bytes; what is shared counts once."""

    seconds: float
    memory: int


def measured(module: str, **arguments: object) -> Measured:
    """Run `python -m module` with JSON arguments; its last line of output is the seconds that count."""
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
    while process.poll() is None:
        try:
            root = psutil.Process(process.pid)
            peak[0] = max(peak[0], sum(p.memory_full_info().pss for p in (root, *root.children(recursive=True))))
        except psutil.NoSuchProcess:
            pass
        time.sleep(POLL_SECONDS)
