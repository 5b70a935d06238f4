"""How often, and after how long, a read is tried again that failed for a reason that may pass."""

import random
from collections.abc import Iterator

RETRIES = 4
FIRST_WAIT_SECONDS = 0.5
JITTER = 0.5  # of each wait, so that those who failed together do not come back together
# of a file that is tried again, as from its cache GDAL gives the short block of an answer that was cut once more
UNCACHED = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsiaz/:/vsigs/:/vsiadls/:/vsioss/:/vsiswift/"}


def waits() -> Iterator[float]:
    """Seconds before each further try: twice as long each time, and up to half as much more."""
    for n in range(RETRIES):
        yield FIRST_WAIT_SECONDS * 2**n * (1 + JITTER * random.random())  # noqa: S311 - no secret
