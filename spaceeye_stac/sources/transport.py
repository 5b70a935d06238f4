"""Requests that are patient but end, for catalogs, APIs and token services; every href they follow is checked."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pystac
import requests
from pystac.stac_io import DefaultStacIO
from pystac.utils import make_absolute_href
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import DoesNotConformTo
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_exponential
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from spaceeye_stac.errors import keep_secrets_from

TIMEOUT_SECONDS = 60.0
MAX_RETRIES = 5
RETRY_SECONDS = 180.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
UNREADABLE = (
    OSError,
    APIError,
    ClientTypeError,
    DoesNotConformTo,
    requests.RequestException,
    pystac.STACError,
    pystac.STACTypeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
)


keep_secrets_from(["pystac_client.stac_api_io"])


Check = Callable[[str], None]


def _anything(_href: str) -> None:
    """Follow every href."""


def reason(error: BaseException) -> str:
    """What went wrong, without a URL that might be signed and without what a server echoes."""
    if isinstance(error, pystac.STACError) and error.__cause__ is not None:
        return reason(error.__cause__)
    if isinstance(error, APIError):
        status = getattr(error, "status_code", None)
        return f"the server answers {status}" if status else _lost(error.__context__)
    if isinstance(error, json.JSONDecodeError):
        return "the answer is not JSON"
    text = str(error.args[0]) if error.args else ""
    return re.sub(r"\?\S*", "", f"{type(error).__name__} {text}".split("http")[0]).strip().rstrip(":(. ")


def _lost(error: BaseException | None) -> str:
    """What happened to a request that was never answered in full."""
    text = f"{error!r}"
    if isinstance(error, requests.Timeout) or "ReadTimeout" in text:
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__


def patient(timeout: float | None = None, retry_seconds: float | None = None, check: Check = _anything) -> "PatientIO":
    """Requests with these bounds in seconds; `check` raises where an href, a redirect's too, is not to be followed."""
    return PatientIO(timeout or TIMEOUT_SECONDS, retry_seconds or RETRY_SECONDS, check)


class PatientIO(StacApiIO):
    """pystac-client's requests, tried again when the server is busy or the connection fails, GET and POST alike.

    Bounded by `MAX_RETRIES` and by `retry_seconds`; a Retry-After that goes beyond ends it at once.
    """

    def __init__(self, timeout: float, retry_seconds: float, check: Check) -> None:
        super().__init__(timeout=timeout, max_retries=None)
        self.check = check
        self.retry_after = ""
        self.session.hooks["response"].append(self._look_at)
        self._patiently = retry(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(MAX_RETRIES + 1) | stop_before_delay(retry_seconds),
            wait=_RetryAfterWait(self),
            reraise=True,
        )

    def read_text(self, source: pystac.link.HREF, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        """Return the text of a link, URL or file."""
        if not isinstance(source, pystac.Link):
            self.check(str(source))
        return super().read_text(source, *arguments, **options)

    def request(self, href: str, *arguments: Any, **options: Any) -> str:  # noqa: ANN401 - as pystac-client's own
        """Return the text of an answer; APIError when there is none."""
        self.check(href)
        return self._patiently(super().request)(href, *arguments, **options)

    def _look_at(self, response: requests.Response, **_options: object) -> None:
        self.retry_after = response.headers.get("Retry-After", "")
        if response.is_redirect:
            try:
                self.check(urljoin(response.url, response.headers["location"]))
            except BaseException:
                response.close()
                raise


class PatientFiles(DefaultStacIO):
    """pystac's reader of a static catalog's files, whose requests are patient and whose every href is checked."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        self.check = check
        self.requests = patient(check=check)

    def read_text_from_href(self, href: str) -> str:
        """Return the text of a file or URL; APIError, OSError or what `check` raises when it cannot be had."""
        self.check(href)
        return self.requests.request(href) if "://" in href else super().read_text_from_href(href)

    def stac_object_from_dict(
        self,
        d: dict[str, Any],
        href: pystac.link.HREF | None = None,
        root: pystac.Catalog | None = None,
        preserve_dict: bool = True,  # noqa: FBT001, FBT002 - as pystac's own
    ) -> pystac.STACObject:
        """Make a STAC object; of items before 1.0 pystac follows the link to their collection, so that is checked."""
        if str(d.get("stac_version", "0")) < "1":
            for link in d.get("links", ()):
                if link.get("rel") == "collection":
                    self.check(make_absolute_href(str(link["href"]), None if href is None else str(href)))
        return super().stac_object_from_dict(d, href, root, preserve_dict)


class _RetryAfterWait(wait_base):
    """As long as the server asks for, at least as long as exponential backoff."""

    def __init__(self, io: PatientIO) -> None:
        self.io = io
        self.backoff = wait_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        asked, self.io.retry_after = self.io.retry_after, ""
        try:
            seconds = Retry().parse_retry_after(asked) if asked else 0.0
        except InvalidHeader:
            seconds = 0.0
        return max(seconds, self.backoff(retry_state))


def _may_pass(error: BaseException) -> bool:
    """Whether another try could succeed: a busy server, no connection, a cut one, or no answer in time."""
    if not isinstance(error, APIError):
        return False
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return getattr(error, "status_code", None) in TRY_AGAIN or isinstance(error.__context__, lost)
