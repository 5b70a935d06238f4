"""Many dask workers of one thread each in one process: `python -m tests.benchmarks.many_workers ADDRESS COUNT`."""

import asyncio
import sys

from distributed import Worker


async def work(address: str, count: int) -> None:
    """Start so many, say so, and end with the scheduler."""
    workers = [Worker(address, nthreads=1, dashboard=False, memory_limit=0) for _ in range(count)]
    await asyncio.gather(*workers)
    print("ready", flush=True)
    await asyncio.gather(*(worker.finished() for worker in workers))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
