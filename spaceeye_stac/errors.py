"""Every error this package raises on purpose: one sentence that names the value and says what to do."""

import errno
import logging
import re
import resource
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit


class SpaceEyeError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line ends with."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UserError(SpaceEyeError):
    """Something the user can mend: an argument, a path, a region."""

    exit_code = 2


class InvalidInputError(UserError):
    """A query or a setting has a value that makes no sense."""


class CatalogError(UserError):
    """The catalog or profile is unknown, is no STAC, or lacks what was asked for."""


class TooMuchError(CatalogError):
    """The catalog goes beyond a bound; the message says which, and how it is raised."""


class ItemError(UserError):
    """An item cannot be mapped to a scene."""


class NoMaskError(ItemError):
    """An item has no mask, and nothing says that it may be without."""


class NoScenesError(UserError):
    """The search left no scene; the message says how many there were before each filter."""


class NoClearLookError(UserError):
    """There are scenes, but no pixel of the region is ever clear."""


class OutputError(UserError):
    """The output folder cannot be used as it is."""


class DamagedCellError(OutputError):
    """What was kept of one cell cannot be read back; `cell`: its row and column, by which a run can make it again."""

    def __init__(self, message: str, cell: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.cell = cell


class ReadError(SpaceEyeError):
    """A scene's asset is missing or unreadable; nothing is published in its place. `reason`: that part of the text."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class TargetError(UserError):
    """The place to publish to cannot be used as it is: its address, the credentials, or what is there already."""


class PublishError(SpaceEyeError):
    """A target could not be reached or refused a part; `report`, where there is one, says what was published."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class WorkerError(SpaceEyeError):
    """A worker process died or a cluster was lost; what is finished is kept."""


MANY_FILES = ("TooManyOpenFiles", "Too many open files")
NO_PROJ_DATA, USUAL_FILES = "Cannot find proj.db", 256


def exhausted(error: BaseException) -> SpaceEyeError | None:
    """Return a sentence for what a library says when the machine has no more memory, threads or files; None else."""
    text = str(error)
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or "can't allocate" in text:
        return SpaceEyeError("The memory of this machine is used up; run again with less memory or fewer workers.")
    # the last are what obstore and rustac say when they start their threads, in a panic that is no Exception
    many = getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE} or any(said in text for said in MANY_FILES)
    # PROJ takes a file of its own that it cannot open for one that is not there
    if many or (NO_PROJ_DATA in text and resource.getrlimit(resource.RLIMIT_NOFILE)[0] < USUAL_FILES):
        return SpaceEyeError("Too many files are open; run again with fewer workers, or raise the limit (ulimit -n).")
    if "can't start new thread" in text or "kind: WouldBlock" in text:
        return SpaceEyeError(
            "No more threads can be started; run again with fewer workers, or raise the limit (ulimit -u)."
        )
    return None


def printable(text: str) -> str:
    """Return a text with what a terminal could act on escaped: control characters, line ends, marks of direction.

    What catalogs and servers name themselves is printed this way alone. Lone surrogates, which no file takes, too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SourceWarning(UserWarning):
    """A file is not what its item says, and was read all the same; a run puts it into its collection instead."""


def redacted(href: str) -> str:
    """Return a path as it is, and a URL without user, password, query and fragment, any of which may be secret."""
    if "://" not in href:
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return href.partition("://")[0] + "://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _WithoutSecrets(logging.Filter):
    """Takes the queries of addresses and the headers of requests out of a log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        safe = re.sub(r"\?[^\s'\",]+", "", re.sub(r"Headers: \{.*?\}", "", text))
        if safe != text:
            record.msg, record.args = safe, ()
        return True


def keep_secrets_from(loggers: Iterable[str]) -> None:
    """Let these loggers of other libraries, which name what they open with its token, name it without."""
    for name in loggers:
        logging.getLogger(name).addFilter(_WithoutSecrets())
