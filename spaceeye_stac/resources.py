"""How much of the machine a run may use; no published pixel depends on it."""

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from spaceeye_stac.errors import InvalidInputError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
SHARE_OF_FREE = 0.5
LEAST_BYTES = 2**30
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LOCAL = ("threads", "processes")
M_ARENA_MAX, HEAPS = -8, 2  # of glibc's mallopt


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    memory
        Bytes, or text as "2GB", for all workers together; half of what is free when left out.
    workers
        How many tasks at once; the number of cores when left out. On a cluster it is the cluster's own.
    scheduler
        "threads", "processes", or the address of a dask.distributed scheduler ("tcp://..."). Left out, the
        `dask.distributed.Client` that is active, else threads.

    Raises InvalidInputError, with the value and the remedy.

    """

    memory: int | str | None = None
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", _bytes(self.memory))
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise InvalidInputError(f"workers {self.workers!r} is not allowed; give a whole number from 1.")
        if self.scheduler is not None and self.scheduler not in LOCAL and "://" not in self.scheduler:
            raise InvalidInputError(
                f"scheduler {self.scheduler!r} is not allowed; give threads, processes, or an address as "
                "tcp://127.0.0.1:8786."
            )

    @property
    def memory_bytes(self) -> int:
        """Bytes for all workers together."""
        return self.memory if isinstance(self.memory, int) else max(LEAST_BYTES, int(SHARE_OF_FREE * _free_bytes()))

    @property
    def local_workers(self) -> int:
        """Tasks at once on this machine."""
        return self.workers or len(os.sched_getaffinity(0))


def _bytes(value: int | str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", str(value).upper())
    size = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if size < 1 or isinstance(value, bool):
        raise InvalidInputError(f"memory {value!r} is not allowed; write it as 2GB.")
    return size


def _free_bytes() -> int:
    """Memory that is free now, or that the container still allows."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
        free = int(found[1]) * 1024 if found else free
    limits = [Path(path).read_text(encoding="ascii").strip() for path in CGROUP_LIMITS if Path(path).is_file()]
    return min([free, *(int(limit) for limit in limits if limit.isdecimal())])


@cache
def keep_few_heaps() -> None:
    """Let the threads of this process share two heaps: by default each keeps one, with what it once freed."""
    setting = _of_glibc("mallopt")
    if setting is not None:
        setting(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Give the system the memory that was freed, where more is not needed soon; glibc keeps what lies between."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:  # noqa: ANN401 - a function of C
    """One of its own functions; None elsewhere, as on some Linux, too."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
