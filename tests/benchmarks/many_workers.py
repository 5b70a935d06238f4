"""Many dask workers of one thread each in one process: `python -m tests.benchmarks.many_workers ADDRESS COUNT`."""

import asyncio
import sys

import dask
from distributed import Worker

# what a worker alone in a process looks at many times a second; of two hundred it would be all that the process does
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "1 minute",
    "distributed.admin.tick.interval": "1 minute",
    "distributed.admin.tick.limit": "1 hour",
}


async def work(address: str, count: int) -> None:
    """Start so many, say so, and end with the scheduler."""
    workers = [Worker(address, nthreads=1, dashboard=False, memory_limit=0) for _ in range(count)]
    await asyncio.gather(*workers)
    print("ready", flush=True)
    await asyncio.gather(*(worker.finished() for worker in workers))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    dask.config.set(QUIET)
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
