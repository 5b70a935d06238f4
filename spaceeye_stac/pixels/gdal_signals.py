"""Errors of GDAL that rasterio only writes to its log, thread by thread.

Where a further directory of a TIFF cannot be fetched, GDAL goes on as if it were not there, and a file has no mask any
more: what it covers would pass for data.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

LOST_DIRECTORY = re.compile(r"(TIFF(?:Read|Fetch|Set)Directory:.*?)'?$")
LOGGER = logging.getLogger("rasterio._env")


class _Said(local):
    """What GDAL has said in this thread; None while nobody listens."""

    messages: list[str] | None = None


_said = _Said()


class _Listener(logging.Filter):
    """Takes down errors, and lets through what would be logged without it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _said.messages is not None:
            _said.messages.append(record.getMessage())
        above = LOGGER.parent or LOGGER
        return above.isEnabledFor(record.levelno)


LOGGER.addFilter(_Listener())
if LOGGER.level == logging.NOTSET:
    LOGGER.setLevel(logging.INFO)  # rasterio writes errors that it does not raise at this level


@contextmanager
def lost_directories() -> Iterator[list[str]]:
    """What GDAL says in this thread, meanwhile, of parts of TIFFs that it goes on without; filled at the end."""
    before, _said.messages, found = _said.messages, [], list[str]()
    try:
        yield found
    finally:
        found += [match[1] for match in map(LOST_DIRECTORY.search, _said.messages or ()) if match]
        _said.messages = before
