"""What is asked before anything is loaded, and what is loaded meanwhile."""

import sys
from contextlib import suppress
from multiprocessing import current_process, forkserver, set_forkserver_preload

from spaceeye_stac.resources import Resources

PRELOADED = ("spaceeye_stac.engine.cluster", "spaceeye_stac.engine.solving", "spaceeye_stac.engine.writing")


def leave_to_main() -> None:
    """End a worker process that is only starting, and for that runs the script of the main one once more.

    It says nothing: the main process will, of what it cannot start.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself tells
        raise SystemExit(1)


def start_early(resources: Resources) -> None:
    """Load what processes of this machine need in one that they are forked from, while the main one loads the same.

    Which takes seconds. That one starts no thread, and stays for later runs until the main one ends.
    """
    if resources.scheduler == "processes":
        set_forkserver_preload(list(PRELOADED))
        start_method()


def start_method() -> str:
    """How processes of this machine are started: forked from the one that `start_early` starts, where that is safe."""
    if sys.platform == "linux":
        with suppress(OSError):  # its socket has no place where the path of TMPDIR is long
            forkserver.ensure_running()
            return "forkserver"
    return "spawn"
