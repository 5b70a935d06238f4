"""What the hrefs of a catalog may point at; pure, but for symbolic links that are resolved.

A catalog is written by others. From afar it may send us to public stores alone: never to files of this machine, to
servers that only this machine reaches, or to a cloud's metadata service. Names are not looked up: a public name that
stands for a private address, and a store that redirects to one, are not noticed here.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from spaceeye_stac.errors import CatalogError, ItemError, redacted
from spaceeye_stac.model import BandAsset, Scene

STORES = frozenset({"http", "https", "s3", "az", "gs", "abfs", "abfss"})
WEB = frozenset({"http", "https"})
METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
METADATA_ADDRESSES = frozenset({ip_address("100.100.100.200"), ip_address("fd00:ec2::254")})
NAT64 = IPv6Network("64:ff9b::/96")
THIS_HOST = IPv4Network("0.0.0.0/8")
REMEDY = "if you trust it, name its folder or address in allow_hrefs"


@dataclass(frozen=True)
class Trust:
    """The rule for one catalog: `root` is its URL or the path of its file; `allowed` lifts the rule below prefixes."""

    root: str
    allowed: Sequence[str] = ()

    def check_scene(self, scene: Scene) -> None:
        """Refuse a scene that names a place it may not: ItemError with its id and the unsigned href."""
        own = [asset for asset in (scene.labels, *scene.bands.values()) if asset is not None]
        self.check_assets(scene.id, own)

    def check_assets(self, name: str, assets: Sequence[BandAsset]) -> None:
        """Refuse an item of which one of these assets is at a place it may not name: ItemError."""
        for asset in assets:
            why = self.refusal(asset.href)
            if why is not None:
                raise ItemError(
                    f"Item {name} names {redacted(asset.href)}, which is {why}; leave it out, or, {REMEDY}."
                )

    def check_link(self, href: str) -> None:
        """Refuse to follow a link of the catalog: CatalogError with the unsigned href."""
        why = None if href == self.root else self.refusal(href)
        if why is not None:
            raise CatalogError(f"Catalog {redacted(self.root)} links to {redacted(href)}, which is {why}; {REMEDY}.")

    def refusal(self, href: str) -> str | None:
        """Why an absolute href is not followed, in words; None where it may be."""
        if any(_stands_under(href, prefix) for prefix in self.allowed):
            return None
        scheme, path = _scheme(href), local_path(href)
        if path is not None:
            return self._of_path(path)
        if any(c.isspace() or not c.isprintable() or c == "\\" for c in href):
            return "no plain address"
        if scheme not in STORES:
            return f"of the kind {scheme!r}, and only {', '.join(sorted(STORES))} are read"
        return self._of_host(href) if scheme in WEB else None

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of a catalog on this machine; None for one from elsewhere."""
        path = local_path(self.root)
        return None if path is None else Path(path).resolve().parent

    @cached_property
    def _at_home(self) -> bool:
        """Whether the catalog is of this machine: a file, or served from loopback."""
        return self._folder is not None or _kind_of_host(self.root) == "loopback"

    def _of_path(self, path: str) -> str | None:
        if path.startswith("/vsi"):
            return "a name of GDAL's own, not an address"
        if self._folder is None:
            return "a file of this machine, in a catalog from elsewhere"
        place = _resolved(path)
        inside = Path(path).is_absolute() and place is not None and place.is_relative_to(self._folder)
        return None if inside else f"outside the catalog's folder {self._folder}"

    def _of_host(self, href: str) -> str | None:
        kind = _kind_of_host(href)
        if kind is None or (kind == "loopback" and self._at_home):
            return None
        return {
            "loopback": "an address of this machine, in a catalog from elsewhere",
            "link-local": "an address that only this machine reaches",
            "malformed": "no plain address",
        }[kind]


def _scheme(href: str) -> str:
    try:
        return urlsplit(href).scheme.lower()
    except ValueError:
        return "malformed"


def local_path(href: str) -> str | None:
    """Path of this machine that an href stands for; None where it is an address."""
    scheme = _scheme(href)
    if scheme == "file":
        return unquote(urlsplit(href).path)
    return None if len(scheme) > 1 else href  # one letter is a drive


def _kind_of_host(href: str) -> str | None:
    """Return "loopback", "link-local", "malformed", or None for a host that others reach too."""
    try:
        host = (urlsplit(href).hostname or "").removesuffix(".")
    except ValueError:
        host = ""
    if not host or not host.isascii() or "%" in host:
        return "malformed"
    address = _address(host)
    if address is None:
        named_here = host == "localhost" or host.endswith(".localhost")
        return "loopback" if named_here else "link-local" if host in METADATA_NAMES else None
    if address.is_loopback or address.is_unspecified or address in THIS_HOST:
        return "loopback"
    return "link-local" if address.is_link_local or address in METADATA_ADDRESSES else None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is in numbers, in whatever spelling (0x7f.1, 2130706433); None for a name."""
    try:
        found = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, IPv6Address):
        inside = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        nat64 = IPv4Address(found.packed[12:]) if found in NAT64 else None
        return inside or nat64 or found
    return found


def _resolved(path: str) -> Path | None:
    """Where a path leads, symbolic links followed; None where it can be none."""
    try:
        return Path(path).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero byte, links in a circle
        return None


def _stands_under(href: str, prefix: str) -> bool:
    """Whether an href lies in a folder or under an address, part by part of its path, dots resolved."""
    ours, theirs = local_path(href), local_path(prefix)
    if ours is not None and theirs is not None:
        place = None if ours.startswith("/vsi") else _resolved(ours)
        return place is not None and place.is_relative_to(Path(theirs).expanduser().resolve())
    if ours is not None or theirs is not None or _scheme(href) == "malformed":
        return False
    one, other = urlsplit(href), urlsplit(prefix)
    same = (one.scheme.lower(), one.netloc.lower()) == (other.scheme.lower(), other.netloc.lower())
    folder = normpath(unquote(other.path) or "/").rstrip("/")
    path = normpath(unquote(one.path) or "/")
    return same and (path == folder or path.startswith(f"{folder}/"))
