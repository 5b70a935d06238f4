"""Requests that are patient but end, for catalogs, APIs and token services; every href they follow is checked."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pystac
import requests
from pystac.cache import CollectionCache
from pystac.serialization import (
    identify_stac_object,
    identify_stac_object_type,
    merge_common_properties,
    migrate_to_latest,
)
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

from spaceeye_stac.errors import TooMuchError, keep_secrets_from, redacted
from spaceeye_stac.sources.deadline import within
from spaceeye_stac.sources.hrefs import as_path, links_of
from spaceeye_stac.sources.limits import Limits

TIMEOUT_SECONDS = 60.0
MAX_RETRIES = 5
RETRY_SECONDS = 180.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
ACCEPTED = 202
CHUNK_BYTES = 1 << 16
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


keep_secrets_from(["pystac_client.stac_api_io", "urllib3.connectionpool"])
# headers that every request has; any other may be a key, which is for the host that it was given for
PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"})


Check = Callable[[str], None]


class ContentError(ValueError):
    """A file or an answer that is not what it should be; it says why in words."""


class NotYetError(requests.RequestException):
    """An answer without what was asked for, which the server still works on."""


def _anything(_href: str) -> None:
    """Follow every href."""


def reason(error: BaseException) -> str:
    """What went wrong, without a URL that might be signed and without what a server echoes."""
    if isinstance(error, pystac.STACError) and error.__cause__ is not None:
        return reason(error.__cause__)
    if isinstance(error, APIError):
        status = getattr(error, "status_code", None)
        return f"the server answers {status}" if status else _lost(error.__context__)
    if isinstance(error, (ContentError, TooMuchError)):
        return str(error).rstrip(".")
    if isinstance(error, json.JSONDecodeError):
        return "the answer is not JSON"
    text = str(error.args[0]) if error.args else ""
    return re.sub(r"\?\S*", "", f"{type(error).__name__} {text}".split("http")[0]).strip().rstrip(":(. ")


def _lost(error: BaseException | None) -> str:
    """What happened to a request that was never answered in full."""
    text = f"{error!r}"
    if isinstance(error, requests.Timeout) or "ReadTimeout" in text:
        return "no answer in time"
    if isinstance(error, NotYetError):
        return "the server answers 202, and goes on working"
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
        self.limits = Limits.of_environment()
        self.retry_after = ""
        self.session.stream = True  # so that the hook reads the answer, as far as is allowed
        self.session.hooks["response"].append(self._look_at)
        self.session.rebuild_auth = self._without_keys  # type: ignore[method-assign]
        self._patiently = retry(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(MAX_RETRIES + 1) | stop_before_delay(retry_seconds),
            wait=_RetryAfterWait(self),
            reraise=True,
        )

    def _without_keys(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take all headers that may be keys from a request that follows a redirect to another host."""
        if self.session.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            for name in [name for name in prepared_request.headers if name.lower() not in PLAIN_HEADERS]:
                del prepared_request.headers[name]

    def read_text(self, source: pystac.link.HREF, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        """Return the text of a link, URL or file."""
        if not isinstance(source, pystac.Link):
            self.check(str(source))
        return super().read_text(source, *arguments, **options)

    def request(self, href: str, *arguments: Any, **options: Any) -> str:  # noqa: ANN401 - as pystac-client's own
        """Return the text of an answer; APIError when there is none, CatalogError when it goes beyond a bound."""
        self.check(href)
        return self._patiently(self._once)(href, *arguments, **options)

    def _once(self, href: str, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
        """One try, in a thread that is left alone when it takes too long: a server may drip, byte by byte, for ever."""
        seconds = self.limits.request_seconds
        try:
            return within(seconds, lambda: super(PatientIO, self).request(href, *arguments, **options))
        except APIError as error:
            if isinstance(error.__context__, TooMuchError):
                raise error.__context__ from None
            raise
        except TimeoutError:
            raise self.limits.beyond("request_seconds", redacted(href)) from None

    def _look_at(self, response: requests.Response, **_options: object) -> None:
        self.retry_after = response.headers.get("Retry-After", "")
        try:
            if response.is_redirect:
                self.check(urljoin(response.url, response.headers["location"]))
            _read_within(response, self.limits)
        except BaseException:
            response.close()
            raise
        if response.status_code == ACCEPTED and not _is_object(response.content):
            raise NotYetError


def _read_within(response: requests.Response, limits: Limits) -> None:
    """Read an answer's body, unpacked, no farther and no longer than is allowed."""
    body, start = bytearray(), time.monotonic()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        limits.check("answer_bytes", len(body), redacted(response.url))
        limits.check("request_seconds", time.monotonic() - start, redacted(response.url))
    response._content = bytes(body)  # noqa: SLF001 - what `content` gives from now on


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


class PatientFiles(DefaultStacIO):
    """pystac's reader of a static catalog's files, whose requests are patient and whose every href is checked."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        self.check = check
        self.requests = patient(check=check)
        self._collections: dict[str, Any] = {}

    def read_text_from_href(self, href: str) -> str:
        """Return the text of a file or URL; APIError, OSError or what `check` raises when it cannot be had."""
        self.check(href)
        path = as_path(href)
        if "://" in path:
            return self.requests.request(path)
        check_file(path, self.requests.limits)
        return super().read_text_from_href(path)

    def stac_object_from_dict(
        self,
        d: dict[str, Any],
        href: pystac.link.HREF | None = None,
        root: pystac.Catalog | None = None,
        preserve_dict: bool = True,  # noqa: FBT001, FBT002 - as pystac's own
    ) -> pystac.STACObject:
        """Make a STAC object; what its collection says of items before 1.0 is read as patiently as all else."""
        if identify_stac_object_type(d) != pystac.STACObjectType.ITEM:
            return super().stac_object_from_dict(d, href, root, preserve_dict)
        item = {**d, "properties": {**d["properties"]}}
        merge_common_properties(item, self._collection_of(item, str(href)), str(href))
        item = migrate_to_latest(item, identify_stac_object(item))
        return pystac.Item.from_dict(item, str(href), root, migrate=False, preserve_dict=preserve_dict)

    def _collection_of(self, item: dict[str, Any], href: str) -> CollectionCache:
        """The collection of an item before 1.0, or one that says nothing, so that pystac looks for none itself."""
        if str(item.get("stac_version", "0")) >= "1":
            return CollectionCache()
        link = next(links_of(item, "collection"), None)
        place = "" if link is None else make_absolute_href(link["href"], href)
        if place not in self._collections:
            try:
                found = self.read_json(place) if place else {}
            except UNREADABLE:
                found = {}
            self._collections[place] = {"id": None, **(found if isinstance(found, dict) else {})}
        return CollectionCache(cached_hrefs={place: self._collections[place]})


def check_file(path: str, limits: Limits) -> None:
    """Refuse what is no regular file, as a pipe that never ends, and a file that is too large."""
    place = Path(path)
    if place.exists() and not place.is_file():
        raise ContentError("it is no regular file")
    if place.is_file():
        limits.check("answer_bytes", place.stat().st_size, path)


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
    lost = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, NotYetError)
    return getattr(error, "status_code", None) in TRY_AGAIN or isinstance(error.__context__, lost)
