"""A dask cluster whose workers share nothing with the program that uses it: each has a folder of its own."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from distributed import Client, LocalCluster

from spaceeye_stac.collection.durable import TEMPORARY

WAIT_SECONDS = 90
# what each worker runs as it starts: the client's folder is not there for it
APART = """
import os, sys
def look(event, arguments):
    if event in {"open", "os.listdir", "os.mkdir", "os.rename", "os.remove"}:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        if path.startswith(FORBIDDEN):
            raise PermissionError(13, "not on this machine", path)
sys.addaudithook(look)
"""


@dataclass
class ApartWorkers:
    """Worker processes, each started again by its nanny when it dies."""

    address: str
    folders: list[Path]
    nannies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill_one(self, chance: random.Random) -> bool:
        """SIGKILL a worker process at work, not its nanny; whether there was one."""
        children = [child for nanny in self.nannies for child in _children(nanny.pid)]
        if not children:
            return False
        os.kill(chance.choice(children), signal.SIGKILL)
        return True

    def left(self) -> list[Path]:
        """What is left in the folders of the workers, but for what dask itself has there."""
        return [path for folder in self.folders for path in folder.rglob(f"{TEMPORARY}*")]


def _children(pid: int) -> list[int]:
    """Processes that a nanny has started as workers."""
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]
    return []


@contextmanager
def apart_workers(count: int, client_folder: Path) -> Iterator[ApartWorkers]:
    """So many worker processes of one thread, which cannot open what is in the folder of the client."""
    quiet = {"scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None, **quiet) as cluster:
        found = ApartWorkers(cluster.scheduler_address, [])
        try:
            for number in range(count):
                folder = Path(tempfile.mkdtemp(prefix=f"worker-{number}-", dir=client_folder.parent))
                found.folders.append(folder)
                found.nannies.append(_started(cluster.scheduler_address, folder, client_folder))
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                client.wait_for_workers(count, WAIT_SECONDS)
            yield found
        finally:
            for nanny in found.nannies:
                nanny.terminate()
            for nanny in found.nannies:
                nanny.wait(30)
            for folder in found.folders:
                shutil.rmtree(folder, ignore_errors=True)


def _started(address: str, folder: Path, client_folder: Path) -> subprocess.Popen[bytes]:
    (folder / "sitecustomize.py").write_text(APART.replace("FORBIDDEN", repr(str(client_folder))))
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    own = {"TMPDIR": str(folder), "HOME": str(folder), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    line += ["--no-dashboard", "--local-directory", str(folder)]
    with (folder / "worker.log").open("wb") as log:
        return subprocess.Popen(line, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log)
