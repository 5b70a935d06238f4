"""Where to publish: an API, a GeoCatalog, an object store or a folder, read from one text; texts without secrets."""

import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from spaceeye_stac.errors import TargetError

STORES = ("s3", "gs", "az")
GEOCATALOG = "geocatalog+"  # before the address of one
LOOPBACK_NAMES = {"localhost"}
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|_KEY|SAS|SIGNATURE|API_?KEY", re.IGNORECASE)
SHORTEST_SECRET = 6
LONGEST_REASON = 300


@dataclass(frozen=True)
class Target:
    """A place to publish to: `address` is the root URL of an API, a store's URL, or a folder's path."""

    kind: Literal["api", "geocatalog", "store", "folder"]
    address: str

    @property
    def loopback(self) -> bool:
        """Whether nothing leaves this machine."""
        return self.kind == "folder" or is_loopback(self.address)

    @property
    def has_api(self) -> bool:
        """Whether it is written to by requests about collections and items, not as files."""
        return self.kind in {"api", "geocatalog"}


def target_of(text: str | Path) -> Target:
    """Read a target; TargetError where it is none, or holds what belongs into the environment."""
    address = str(text).strip()
    if address.startswith(GEOCATALOG):
        return _geocatalog(address.removeprefix(GEOCATALOG))
    parts = _parts(address)
    if "://" not in address:
        if not address or address.startswith("-"):
            raise TargetError(
                f"The target {address!r} is none; give the URL of a STAC API, s3://, az:// or gs://, or a folder."
            )
        return Target("folder", address)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise TargetError(
            f"Target {without_query(address)} holds a user, a password or a query; "
            "credentials come from the environment alone."
        )
    if parts.scheme == "file":
        return Target("folder", url2pathname(parts.path))
    if parts.scheme not in {"http", "https", *STORES} or not parts.netloc:
        raise TargetError(f"Target {address} is none of https://, s3://, az://, gs:// and a folder.")
    return Target("store" if parts.scheme in STORES else "api", address.rstrip("/"))


def _geocatalog(address: str) -> Target:
    place = target_of(address)
    if place.kind != "api" or urlsplit(place.address).path:
        raise TargetError(
            f"Target {GEOCATALOG}{place.address} is no GeoCatalog; give its address without a path, as "
            f"{GEOCATALOG}https://NAME.geocatalog.spatio.azure.com."
        )
    return Target("geocatalog", place.address)


def _parts(address: str) -> SplitResult:
    """The parts of an address; TargetError where it is none, as with a port that is no number."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise TargetError(f"Address {without_query(address)} is no URL; see its host and its port.") from None
    return parts


def base_url(text: str, option: str) -> str:
    """Check the public address under which something is read, and give it without its last slash."""
    parts = _parts(text)
    if parts.scheme not in {"http", "https", *STORES} or not parts.netloc or "@" in parts.netloc or parts.query:
        raise TargetError(f"{option} {without_query(text)} is no address without user and query, as https://host/days.")
    return text.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host in LOOPBACK_NAMES or ip_address(host).is_loopback
    except ValueError:
        return False


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port; ValueError where one is no URL."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def without_query(url: str) -> str:
    """A URL without user, password, query and fragment."""
    return re.sub(r"(://)[^/\s@]*@|[?#][^\s'\"<>)]*", r"\1", url)


def without_secrets(text: object) -> str:
    """One short line of what a server or library said, without queries and without any secret of the environment."""
    line = without_query(" ".join(str(text).split()))
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            line = line.replace(value, "***")
    line = re.sub(r"(?i)\b(bearer|basic|AWS4-HMAC-SHA256|credential\W|signature\W)\s*\S+", r"\1 ***", line)
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
