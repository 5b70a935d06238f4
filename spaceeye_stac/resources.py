"""How much of the machine a run may use; no published pixel depends on it."""

import os
import re
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from spaceeye_stac.errors import InvalidInputError

HIGHEST_LEVEL = {"deflate": 12, "zstd": 22}
DEFAULT_LEVEL = {"deflate": 1, "zstd": 1}
FORMS = ("files", "virtual")
UNCERTAINTIES = ("max", "bands")
STRETCHES = ("natural", "tci")


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a run writes its days.

    Parameters
    ----------
    compress
        "deflate", which every reader has, or "zstd", which is three to four times as fast to encode but which viewers
        in browsers and some builds of GDAL lack; `visual` is "deflate" all the same.
    level
        Of the compression, 1 and up; 1 when left out, which is fastest by far and a few percent larger.
    days
        "files": a COG per band and day. "virtual": COGs of the keyframes, and one small VRT per band and day that GDAL
        interpolates as it is read, within 1 DN of the file, and one that shows them; bands that cannot be had so on
        some day are COGs there.
    uncertainty
        "max": one file a day, the largest over bands. "bands": one of each band besides, `uncertainty_B04` and so on.
    stretch
        How reflectance is shown in `visual` and the thumbnails, alike on every day and everywhere. "natural": gamma
        1.6, white at 0.34 in true colour and at 0.64 in other bands, so that dark land is seen. "tci": straight to
        0.3558 and 0.6, as in the true colour image of L2A.
    keep_keyframes
        Leave the keyframe store in the collection's folder, for `open` and `open_keyframes`.

    Raises InvalidInputError, with the value and the remedy.

    """

    compress: Annotated[str, {"enum": list(HIGHEST_LEVEL)}] = "deflate"
    level: int | None = None
    days: Annotated[str, {"enum": list(FORMS)}] = "files"
    uncertainty: Annotated[str, {"enum": list(UNCERTAINTIES)}] = "max"
    stretch: Annotated[str, {"enum": list(STRETCHES)}] = "natural"
    keep_keyframes: bool = False

    def __post_init__(self) -> None:
        if self.compress not in HIGHEST_LEVEL:
            raise InvalidInputError(f"compress {self.compress!r} is not allowed; choose from deflate, zstd.")
        if self.level is not None and not 1 <= self.level <= HIGHEST_LEVEL[self.compress]:
            raise InvalidInputError(
                f"level {self.level!r} is not allowed; {self.compress} has 1 to {HIGHEST_LEVEL[self.compress]}."
            )
        if self.days not in FORMS:
            raise InvalidInputError(f"days {self.days!r} is not allowed; choose from {', '.join(FORMS)}.")
        for name, choices in {"uncertainty": UNCERTAINTIES, "stretch": STRETCHES}.items():
            if getattr(self, name) not in choices:
                given = getattr(self, name)
                raise InvalidInputError(f"{name} {given!r} is not allowed; choose from {', '.join(choices)}.")

    @property
    def compression_level(self) -> int:
        """The level asked for, or the default of the compression."""
        return self.level or DEFAULT_LEVEL[self.compress]


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
SHARE_OF_FREE = 0.5
LEAST_BYTES = 2**30
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
STATM = Path("/proc/self/statm")
LOCAL = ("threads", "processes")
LOADERS = ("auto", "stackstac")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    memory
        Bytes, or text as "2GB", for all workers together; half of what is free when left out. On a cluster, three
        quarters of what each of its workers is allowed, and never more.
    workers
        How many tasks at once; the number of cores when left out. On a cluster it is the cluster's own.
    scheduler
        "threads", "processes", or the address of a dask.distributed scheduler ("tcp://..."). Left out, threads; in
        Python the `dask.distributed.Client` that is active, where there is one.
    client
        In Python alone: a `dask.distributed.Client`, whose cluster is used.
    connections
        Requests for parts of files that are in flight at once, whatever `workers` is.
    loader
        "auto": async-tiff reads what it can of files in stores, stackstac the rest and local files. "stackstac": all.
    cache
        Folder where parts of files in stores are kept for later runs; only until the end of the run when left out.
    cache_size
        Bytes that are kept at most, or text as "8GB"; what was not used for longest goes first.

    Raises InvalidInputError, with the value and the remedy.

    """

    memory: int | str | None = None
    workers: int | None = None
    scheduler: str | None = None
    client: Any = field(default=None, metadata={"json": False})
    connections: int = 32
    loader: Annotated[str, {"enum": list(LOADERS)}] = "auto"
    cache: str | Path | None = None
    cache_size: int | str = "8GB"

    def __post_init__(self) -> None:
        if self.memory is not None:
            object.__setattr__(self, "memory", _bytes(self.memory, "memory"))
        object.__setattr__(self, "cache_size", _bytes(self.cache_size, "cache_size"))
        if self.cache is not None and Path(self.cache).exists() and not Path(self.cache).is_dir():
            raise InvalidInputError(f"cache {str(self.cache)!r} is a file; name a folder.")
        if not isinstance(self.connections, int) or isinstance(self.connections, bool) or self.connections < 1:
            raise InvalidInputError(f"connections {self.connections!r} is not allowed; give a whole number from 1.")
        if self.loader not in LOADERS:
            raise InvalidInputError(f"loader {self.loader!r} is not allowed; choose from {', '.join(LOADERS)}.")
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise InvalidInputError(f"workers {self.workers!r} is not allowed; give a whole number from 1.")
        if self.scheduler is not None and self.client is not None:
            raise InvalidInputError(f"scheduler {self.scheduler!r} and client exclude each other; give one.")
        if self.scheduler is not None and self.scheduler not in LOCAL and "://" not in self.scheduler:
            raise InvalidInputError(
                f"scheduler {self.scheduler!r} is not allowed; give threads, processes, or an address as "
                "tcp://127.0.0.1:8786."
            )

    @property
    def memory_bytes(self) -> int:
        """Bytes for all workers together."""
        if isinstance(self.memory, int):
            return self.memory
        return min(max(LEAST_BYTES, int(SHARE_OF_FREE * _free_bytes())), _allowed_bytes())

    @property
    def cache_bytes(self) -> int:
        """Bytes that are kept of files in stores."""
        return int(self.cache_size)

    @property
    def local_workers(self) -> int:
        """Tasks at once on this machine."""
        return self.workers or len(os.sched_getaffinity(0))


def _bytes(value: int | str, name: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", str(value).upper())
    size = int(float(found[1]) * UNITS[found[2] or ""]) if found else 0
    if size < 1 or isinstance(value, bool):
        raise InvalidInputError(f"{name} {value!r} is not allowed; write it as 2GB.")
    return size


def _allowed_bytes() -> int:
    """What the limit of this process (ulimit -v) leaves it, with what it has; libraries crash for want of more."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or not STATM.is_file():
        return sys.maxsize
    addresses, resident = (int(pages) * resource.getpagesize() for pages in STATM.read_text("ascii").split()[:2])
    return max(1, limit - addresses + resident)


def _free_bytes() -> int:
    """Memory that is free now, or that the container still allows."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"))
        free = int(found[1]) * 1024 if found else free
    limits = [Path(path).read_text(encoding="ascii").strip() for path in CGROUP_LIMITS if Path(path).is_file()]
    return min([free, *(int(limit) for limit in limits if limit.isdecimal())])
