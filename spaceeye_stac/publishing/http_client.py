"""Requests to one API: patient with a busy server, never away from its host, and what was only accepted is awaited."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.credentials import HEADER, PASSWORD, TOKEN, TOKEN_COMMAND, USER, Credentials
from spaceeye_stac.publishing.targets import Target, same_origin, without_query, without_secrets
from spaceeye_stac.publishing.threads import CONNECTIONS
from spaceeye_stac.query import Json

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
EXPIRED = 401
MISSING = frozenset({404, 410})
REFUSED = frozenset({401, 403})
MOVED = range(300, 400)
KEEP_METHOD = frozenset({307, 308})
PENDING = frozenset(
    {"accepted", "pending", "queued", "notstarted", "running", "inprogress", "in progress", "updating", "canceling"}
)
FAILED = frozenset({"failed", "failure", "error", "canceled", "cancelled", "dismissed", "rejected"})
TIMEOUT_SECONDS = 60.0
MAX_TRIES = 12
DOCUMENT_TRIES = 8
RETRY_SECONDS = 180.0
OPERATION_SECONDS = 60.0
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 20.0
DOCUMENT_WAIT_SECONDS = 2.0
MOST_REDIRECTS = 5
READING = "GET"


class _AnswerError(Exception):
    """An answer that is no success; `said` is what the server gave as its reason, secrets included."""

    def __init__(self, answer: requests.Response, *, document: bool) -> None:
        self.status = answer.status_code
        self.retry_after = answer.headers.get("Retry-After", "")
        self.document = document
        self.said = str(_reason(_json(answer)) or answer.reason or "")
        super().__init__(f"{self.status} {self.said}".strip())


@dataclass(frozen=True)
class Reply:
    """An answer that is no failure: its status, its JSON (None where it is none), and its type of content.

    `note` says what became of what the server has only accepted, where that is not known to be done.
    """

    status: int
    document: Any
    kind: str
    note: str = ""

    def __str__(self) -> str:
        said = f"{self.status} with {self.kind}" if self.kind else str(self.status)
        return (said if self.document is None else str(self.status)) + self.note


def _json(answer: requests.Response) -> Any:  # noqa: ANN401 - any JSON
    try:
        return answer.json()
    except ValueError:
        return None


def _reason(document: object) -> object:
    if isinstance(document, dict):
        named = (document.get(name) for name in ("description", "detail", "message", "error"))
        found = next(filter(None, named), None)
        if found and found == document.get("message") and isinstance(document.get("code"), str):
            return f"{document['code']}: {found}"
        return _reason(found) if found else document
    return document


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _AnswerError):
        return error.status in TRY_AGAIN
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _about_document(error: BaseException | None) -> bool:
    """Whether the server failed at one document, rather than being busy or away."""
    return isinstance(error, _AnswerError) and error.document and error.status == HTTPStatus.INTERNAL_SERVER_ERROR


class _ServerPace(wait_base):
    """As long as the server's Retry-After asks, else exponentially longer, at random."""

    def __call__(self, state: RetryCallState) -> float:
        error = _error_of(state)
        asked = getattr(error, "retry_after", "")
        if asked.isdecimal():
            return float(asked)
        longest = DOCUMENT_WAIT_SECONDS if _about_document(error) else LONGEST_WAIT_SECONDS
        return FIRST_WAIT_SECONDS + wait_random_exponential(FIRST_WAIT_SECONDS, longest)(state)


class _Patience(stop_base):
    """Some seconds for a document at which the server fails, else minutes."""

    def __init__(self, tries: int, seconds: float) -> None:
        self._tries, self._seconds = tries, seconds

    def __call__(self, state: RetryCallState) -> bool:
        tries = min(self._tries, DOCUMENT_TRIES) if _about_document(_error_of(state)) else self._tries
        return state.attempt_number >= tries or (state.seconds_since_start or 0) + state.upcoming_sleep >= self._seconds


class HttpClient:
    """Requests to the paths of one API.

    Busy answers and failed connections are tried again for up to three minutes, a server that fails at one document
    for some seconds. TargetError where the API cannot be written to (address, credentials), PublishError for what it
    refuses or when it stays away.
    """

    login: ClassVar[str] = f"set {TOKEN}, {TOKEN_COMMAND}, {USER} and {PASSWORD}, or {HEADER} to what it wants"

    def __init__(self, target: Target, retry_seconds: float, operation_seconds: float) -> None:
        self.url = target.address
        self._credentials = Credentials(target)
        self._session = requests.Session()
        self._session.auth = self._credentials
        self._session.mount("http", HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._session.mount("https", HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._retry_seconds, self._operation_seconds = retry_seconds, operation_seconds
        self._lock = Lock()
        self.failures = 0

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        known: frozenset[int] = frozenset(),
        tries: int | None = None,
    ) -> Reply:
        """Send a request; an answer with a `known` status is no failure. Never raises what requests raises."""
        patient = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=_Patience(tries or MAX_TRIES, self._retry_seconds),
            wait=_ServerPace(),
            reraise=True,
        )
        try:
            answer = patient(self._once, method, self.address_of(path), body, known)
        except (_AnswerError, requests.RequestException) as error:
            self._count(failed=_may_pass(error))
            raise self._named(error) from None
        self._count(failed=False)
        accepted = answer.status_code == HTTPStatus.ACCEPTED and method != READING
        note = self._await(answer) if accepted else ""
        kind = answer.headers.get("Content-Type", "").partition(";")[0] if answer.content else ""
        return Reply(answer.status_code, _json(answer), kind, note)

    def address_of(self, path: str) -> str:
        """The address of one of the API's paths; an address stays what it is."""
        return path if "://" in path else f"{self.url}/{path}"

    def _count(self, *, failed: bool) -> None:
        """Count the failures in a row that are the server's own."""
        with self._lock:
            self.failures = self.failures + 1 if failed else 0

    def _once(self, method: str, url: str, body: Json | None, known: frozenset[int]) -> requests.Response:
        for _ in range(MOST_REDIRECTS):
            answer = self._sent(method, url, body)
            if answer.status_code not in MOVED or "Location" not in answer.headers:
                break
            url = self._onward(answer, method)
        if answer.status_code not in known and (not answer.ok or answer.status_code in MOVED):
            raise _AnswerError(answer, document=method != READING and body is not None)
        return answer

    def _sent(self, method: str, url: str, body: Json | None) -> requests.Response:
        answer = self._session.request(method, url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        if answer.status_code == EXPIRED and self._credentials.renew(answer.request):
            answer = self._session.request(method, url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        return answer

    def _onward(self, answer: requests.Response, method: str) -> str:
        """Where a redirect leads; TargetError for another host, or where the request would become another one."""
        href = self.within(answer.headers["Location"], answer.url)
        if href is not None and (method == READING or answer.status_code in KEEP_METHOD):
            return href
        raise TargetError(
            f"{self.url} sends {method} on to {without_secrets(answer.headers['Location'])} ({answer.status_code}); "
            "give the address of the API itself as the target."
        )

    def within(self, href: str, base: str | None = None) -> str | None:
        """A link of the API as an absolute address, or None where it leads to another host.

        Behind a proxy, servers write http: where they are https:.
        """
        try:
            whole = urljoin(base or f"{self.url}/", href)
            if self.url.startswith("https:") and whole.startswith("http:"):
                whole = f"https:{whole.removeprefix('http:')}"
            return whole if same_origin(whole, self.url) else None
        except ValueError:
            return None

    def operation_of(self, named: str, base: str) -> str | None:
        """Where to ask how far the server is with what it has accepted; None where it names another host."""
        return self.within(named, base)

    def _await(self, answer: requests.Response) -> str:
        """Wait until an operation that the server has only accepted is done; PublishError where it failed.

        Where the server names none, or it does not end in time, which is said, what is read back afterwards decides.
        """
        named = answer.headers.get("Operation-Location") or answer.headers.get("Location")
        href = self.operation_of(named, answer.url) if named else None
        end, pause = time.monotonic() + self._operation_seconds, FIRST_WAIT_SECONDS
        while href is not None and time.monotonic() < end:
            reply = self.call(READING, href, known=MISSING)
            state = str(reply.document.get("status", "")).lower() if isinstance(reply.document, dict) else ""
            if state in FAILED:
                raise PublishError(f"{self.url} accepted it and then gave up: {self._safe(_reason(reply.document))}")
            if reply.status not in {HTTPStatus.ACCEPTED, *MISSING} and state not in PENDING:
                return ""
            time.sleep(pause)
            pause = min(2 * pause, DOCUMENT_WAIT_SECONDS)
        self._count(failed=href is not None)
        return "" if href is None else f", was not done with it after {self._operation_seconds:g} s"

    def _named(self, error: _AnswerError | requests.RequestException) -> Exception:
        if not isinstance(error, _AnswerError):
            return PublishError(f"{self.url} cannot be reached: {_kind(error)}; try again later.")
        if error.status in REFUSED:
            why = "no" if not self._credentials.present else "these"
            return TargetError(f"{self.url} answers {error.status} with {why} credentials; {self.login}.")
        return PublishError(f"{self.url} answers {self._safe(error)}")

    def _safe(self, said: object) -> str:
        """What a server said, on one line and without what was sent to it as credentials."""
        return without_secrets(without_query(self._credentials.hidden_in(str(said))))


def _kind(error: requests.RequestException) -> str:
    """What happened, in words without addresses."""
    kinds: Mapping[type[Exception], str] = {
        requests.exceptions.SSLError: "its certificate is not trusted",
        requests.Timeout: "no answer in time",
        requests.ConnectionError: "no connection",
        requests.exceptions.ChunkedEncodingError: "the connection was cut",
    }
    return next((words for kind, words in kinds.items() if isinstance(error, kind)), type(error).__name__)
