"""A STAC API with the Transaction extension: create, update and delete, patiently; credentials from the environment."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.credentials import HEADER, PASSWORD, TOKEN, TOKEN_COMMAND, USER, Credentials
from spaceeye_stac.publishing.targets import Target, without_secrets
from spaceeye_stac.query import Json

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
EXPIRED = 401
EXISTS = 409
MISSING = frozenset({404, 410})
REFUSED = frozenset({401, 403})
TIMEOUT_SECONDS = 60.0
MAX_TRIES = 12
RETRY_SECONDS = 180.0
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 20.0
PAGE_SIZE = 500
BULK_ITEMS = 250
BULK_FROM = 20
BULK_TRIES = 3
CONNECTIONS = 8
MOVED = range(300, 400)
ITEM_FIELDS = {"include": ["id", "bbox", "properties"], "exclude": ["assets", "links", "geometry"]}


class _AnswerError(Exception):
    """An answer that is no success; `said` is what the server gave as its reason, without secrets."""

    def __init__(self, answer: requests.Response) -> None:
        self.status = answer.status_code
        self.retry_after = answer.headers.get("Retry-After", "")
        self.said = without_secrets(_reason(answer))
        super().__init__(f"{self.status} {self.said}".strip())


def _reason(answer: requests.Response) -> object:
    try:
        document = answer.json()
    except ValueError:
        return answer.reason or ""
    if isinstance(document, dict):
        return document.get("description") or document.get("detail") or document.get("message") or document
    return document


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _AnswerError):
        return error.status in TRY_AGAIN
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


class _ServerPace(wait_base):
    """As long as the server's Retry-After asks, else exponentially longer, at random."""

    def __call__(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", "")
        if asked.isdecimal():
            return float(asked)
        return FIRST_WAIT_SECONDS + wait_random_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)(state)


@dataclass(frozen=True)
class PublishedItem:
    """What an API holds of one item: enough to know whether it changed, and for the collection's extent."""

    id: str
    bbox: Sequence[float]
    properties: Mapping[str, Any]


class StacApi:
    """The collections and items of one API.

    Busy answers and failed connections are tried again for up to three minutes. TargetError where the API cannot be
    written to (address, credentials, no Transaction extension), PublishError for what it refuses or when it stays away.
    """

    def __init__(self, target: Target, retry_seconds: float = RETRY_SECONDS) -> None:
        self.url = target.address
        self._credentials = Credentials(target)
        self._session = requests.Session()
        self._session.auth = self._credentials
        self._session.mount("http", HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._session.mount("https", HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._retry_seconds = retry_seconds

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        known: frozenset[int] = frozenset(),
        tries: int | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON
        """JSON of the answer, or None for an answer without JSON or with a `known` status; never raises requests'."""
        patient = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(tries or MAX_TRIES) | stop_before_delay(self._retry_seconds),
            wait=_ServerPace(),
            reraise=True,
        )
        try:
            answer = patient(self._once, method, path, body, known)
        except _AnswerError as error:
            raise self._named(error) from None
        except requests.RequestException as error:
            raise PublishError(f"{self.url} cannot be reached: {_kind(error)}; try again later.") from None
        try:
            return None if answer.status_code in known else answer.json()
        except ValueError:
            return None

    def _once(self, method: str, path: str, body: Json | None, known: frozenset[int]) -> requests.Response:
        url = path if "://" in path else f"{self.url}/{path}".rstrip("/") + ("/" if not path else "")
        answer = self._session.request(method, url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=method == "GET")
        if answer.status_code == EXPIRED and self._credentials.renew(answer.request):
            answer = self._session.request(method, url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        if answer.status_code not in known and (not answer.ok or answer.status_code in MOVED):
            raise _AnswerError(answer)
        return answer

    def _named(self, error: _AnswerError) -> Exception:
        if error.status in REFUSED:
            why = "no" if not self._credentials.present else "these"
            return TargetError(
                f"{self.url} answers {error.status} with {why} credentials; set {TOKEN}, {TOKEN_COMMAND}, "
                f"{USER} and {PASSWORD}, or {HEADER} to what it wants."
            )
        return PublishError(f"{self.url} answers {self._credentials.hidden_in(str(error))}")

    @cached_property
    def _root(self) -> Json:
        found = self._call("GET", "", known=MISSING)
        if not isinstance(found, dict) or "links" not in found or "conformsTo" not in found:
            raise TargetError(f"{self.url} is no STAC API; give the address of its landing page.")
        return found

    def check(self) -> None:
        """Raise TargetError unless this is a STAC API that says it takes transactions."""
        if not any("transaction" in str(name) for name in self._root["conformsTo"]):
            raise TargetError(f"{self.url} takes no changes: it does not offer the Transaction extension.")

    @cached_property
    def _bulk(self) -> bool:
        """Whether its own description has the path for many items at once."""
        href = next((link["href"] for link in self._root["links"] if link.get("rel") == "service-desc"), None)
        if href is None:
            return False
        try:
            described = self._call("GET", urljoin(f"{self.url}/", href), known=MISSING)
        except (PublishError, TargetError):
            return False
        paths = described.get("paths", {}) if isinstance(described, dict) else {}
        return any(str(path).endswith("/bulk_items") for path in paths)

    def collection(self, name: str) -> Json | None:
        """Return a collection, or None where there is none."""
        found = self._call("GET", f"collections/{quote(name, safe='')}", known=MISSING)
        return found if isinstance(found, dict) else None

    def put_collection(self, document: Json) -> None:
        """Create a collection, or replace it."""
        self._put("collections", document)

    def put_item(self, item: Json) -> None:
        """Create an item, or replace it."""
        self._put(f"collections/{quote(item['collection'], safe='')}/items", item)

    def _put(self, path: str, document: Json) -> None:
        if self._call("POST", path, document, known=frozenset({EXISTS})) is None:
            self._call("PUT", f"{path}/{quote(document['id'], safe='')}", document)

    def put_items(self, items: Sequence[Json]) -> Iterator[tuple[str, str | None]]:
        """Create or replace items, many at once where the API offers it; gives each one's id, and why it failed.

        Raises TargetError, and nothing more is sent, when the API refuses the credentials.
        """
        many = len(items) >= BULK_FROM and self._bulk
        size = BULK_ITEMS if many else 1
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for found in pool.map(self._put_many if many else self._put_each, parts):
                    yield from found
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _put_many(self, items: Sequence[Json]) -> list[tuple[str, str | None]]:
        """At once; where the API refuses that, one by one, to know which."""
        path = f"collections/{quote(items[0]['collection'], safe='')}/bulk_items"
        try:
            body = {"items": {item["id"]: item for item in items}, "method": "upsert"}
            self._call("POST", path, body, tries=BULK_TRIES)
        except PublishError:
            return self._put_each(items)
        return [(item["id"], None) for item in items]

    def _put_each(self, items: Sequence[Json]) -> list[tuple[str, str | None]]:
        found: list[tuple[str, str | None]] = []
        for item in items:
            try:
                self.put_item(item)
                found.append((item["id"], None))
            except PublishError as error:
                found.append((item["id"], str(error)))
        return found

    def items(self, collection: str) -> dict[str, PublishedItem]:
        """Every item of a collection that the API holds, by id; PublishError when its paging goes round in circles."""
        body: Json | None = {"collections": [collection], "limit": PAGE_SIZE, "fields": ITEM_FIELDS}
        found: dict[str, PublishedItem] = {}
        method, path = "POST", "search"
        while True:
            page = self._call(method, path, body)
            if not isinstance(page, dict) or "features" not in page:
                raise PublishError(f"{self.url} does not list the items of {collection}; is its search in order?")
            before = len(found)
            found |= {
                f["id"]: PublishedItem(f["id"], f.get("bbox") or (), f.get("properties") or {})
                for f in page["features"]
            }
            onward = next((link for link in page.get("links", ()) if link.get("rel") == "next"), None)
            if onward is None:
                return found
            if len(found) == before:
                raise PublishError(f"{self.url} gives the same page of items again and again; its paging is broken.")
            method, path = onward.get("method", "GET"), self._own(onward["href"])
            body = {**body, **onward.get("body", {})} if onward.get("merge") and body else onward.get("body")

    def _own(self, href: str) -> str:
        """A link of the API under its own address: behind a proxy, servers write http: where they are https:."""
        parts, own = urlsplit(urljoin(f"{self.url}/", href)), urlsplit(self.url)
        return urlunsplit((own.scheme if parts.netloc == own.netloc else parts.scheme, *parts[1:]))

    def delete_item(self, collection: str, name: str) -> None:
        """Remove an item; well where there is none."""
        self._call("DELETE", f"collections/{quote(collection, safe='')}/items/{quote(name, safe='')}", known=MISSING)

    def delete_items(self, collection: str, names: Sequence[str]) -> None:
        """Remove items."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda name: self.delete_item(collection, name), names))

    def delete_collection(self, name: str) -> None:
        """Remove a collection; well where there is none."""
        self._call("DELETE", f"collections/{quote(name, safe='')}", known=MISSING)


def _kind(error: requests.RequestException) -> str:
    """What happened, in words without addresses."""
    for kind, words in (
        (requests.exceptions.SSLError, "its certificate is not trusted"),
        (requests.Timeout, "no answer in time"),
        (requests.ConnectionError, "no connection"),
    ):
        if isinstance(error, kind):
            return words
    return type(error).__name__
