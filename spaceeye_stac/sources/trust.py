"""What the hrefs of a catalog may point at; symbolic links are resolved, and names of hosts looked up.

A catalog is written by others. From afar it may send us to public stores alone: never to files of this machine, to
servers that only this machine or its network reaches, or to a cloud's metadata service. The one host that is always
allowed is the catalog's own, which the user has named. A name that stands for another address once it was looked up,
and a store that redirects GDAL to one, are not noticed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from posixpath import normpath
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from spaceeye_stac.errors import CatalogError, ItemError, redacted
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.query import Json
from spaceeye_stac.sources.addresses import Hosts, host_of

STORES = frozenset({"http", "https", "s3", "az", "gs", "abfs", "abfss"})
WEB = frozenset({"http", "https"})
REMEDY = "if you trust it, name its folder or address in allow_hrefs"
NOWHERE = "items:"  # the root of items that come from no catalog
Raster = TypeVar("Raster", bound=BandAsset)


@dataclass(frozen=True)
class Trust:
    """The rule for one catalog: `root` is its URL or the path of its file; `allowed` lifts the rule below prefixes."""

    root: str
    allowed: Sequence[str] = ()
    hosts: Hosts = field(default_factory=Hosts, compare=False, repr=False)

    def checked_scene(self, scene: Scene) -> Scene:
        """The scene with each href as it is read; ItemError with its id and the unsigned href where one may not be.

        A spare band at such a place is left out.
        """
        bands = {name: self.checked_asset(scene.id, asset) for name, asset in scene.bands.items()}
        labels = None if scene.labels is None else self.checked_asset(scene.id, scene.labels)
        moved = {old.href: bands[name].href for name, old in scene.bands.items() if old.href != bands[name].href}
        item = _with_hrefs(scene.item, moved) if moved else scene.item
        spare = {name: asset for name, asset in scene.spare.items() if self.refusal(asset.href) is None}
        spare = {name: self.checked_asset(scene.id, asset) for name, asset in spare.items()}
        return replace(scene, bands=bands, labels=labels, item=item, is_checked=True, spare=spare)

    def checked_asset(self, name: str, asset: Raster) -> Raster:
        """The asset, a file: URL in it turned into the path that was checked, which is what is opened then.

        Raises ItemError with the item's `name` where it is at a place that the item may not name.
        """
        why = self.refusal(asset.href)
        if why is not None:
            raise ItemError(f"Item {name} names {redacted(asset.href)}, which is {why}; leave it out, or, {REMEDY}.")
        path = local_path(asset.href)
        return asset if path in {None, asset.href} else replace(asset, href=path)

    def check_link(self, href: str) -> None:
        """Refuse to follow a link of the catalog: CatalogError with the unsigned href."""
        why = None if href == self.root else self.refusal(href)
        if why is not None:
            raise CatalogError(f"Catalog {redacted(self.root)} links to {redacted(href)}, which is {why}; {REMEDY}.")

    def refusal(self, href: str) -> str | None:
        """Why an absolute href is not followed, in words; None where it may be."""
        if _scheme(href) == "file" and not _is_plain_file(href):
            return "no plain path, as a file: URL with a host, a query or a fragment"
        if any(stands_under(href, prefix) for prefix in self.allowed):
            return None
        scheme, path = _scheme(href), local_path(href)
        if path is not None:
            return self._of_path(path)
        if not href.isprintable() or " " in href or "\\" in href:
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
    def _host(self) -> str | None:
        """The host of a catalog from elsewhere; None for one on this machine's disk."""
        return host_of(self.root) if self._folder is None else None

    @cached_property
    def _at_home(self) -> bool:
        """Whether the catalog is of this machine: a file, or served from loopback."""
        return self._folder is not None or (self._host is not None and self.hosts.kind(self._host) == "loopback")

    def _of_path(self, path: str) -> str | None:
        if path.startswith("/vsi"):
            return "a name of GDAL's own, not an address"
        if self._folder is None:
            return "a file of this machine, in a catalog from elsewhere"
        place = _resolved(path)
        inside = Path(path).is_absolute() and place is not None and place.is_relative_to(self._folder)
        return None if inside else f"outside the catalog's folder {self._folder}"

    def _of_host(self, href: str) -> str | None:
        host = host_of(href)
        if host is None:
            return "no plain address"
        kind = None if host == self._host else self.hosts.kind(host)
        if kind is None or (kind == "loopback" and self._at_home):
            return None
        return {
            "loopback": "an address of this machine, in a catalog from elsewhere",
            "link-local": "an address that only this machine reaches",
            "private": "an address of a private network",
            "unknown": "on a host that there was no time to look up, as the catalog names too many",
        }[kind]


def _with_hrefs(item: Json, moved: Mapping[str, str]) -> Json:
    """The item with other hrefs, by which its assets are found again."""
    assets = {key: {**asset, "href": moved.get(asset["href"], asset["href"])} for key, asset in item["assets"].items()}
    return {**item, "assets": assets}


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


def _is_plain_file(href: str) -> bool:
    """Whether a file: URL is a whole path and nothing else, which every reader takes for the same path."""
    parts = urlsplit(href)
    return parts.path.startswith("/") and not parts.netloc and "?" not in href and "#" not in href


def _resolved(path: str) -> Path | None:
    """Where a path leads, symbolic links followed; None where it can be none."""
    try:
        return Path(path).resolve()
    except (ValueError, OSError, RuntimeError):  # a zero byte, links in a circle
        return None


def stands_under(href: str, prefix: str) -> bool:
    """Whether an href lies in a folder or under an address, part by part of its path, dots resolved."""
    ours, theirs = local_path(href), local_path(prefix)
    if ours is not None and theirs is not None:
        place = _resolved(ours) if Path(ours).is_absolute() and not ours.startswith("/vsi") else None
        return place is not None and place.is_relative_to(Path(theirs).expanduser().resolve())
    if ours is not None or theirs is not None or _scheme(href) == "malformed":
        return False
    one, other = urlsplit(href), urlsplit(prefix)
    same = (one.scheme.lower(), one.netloc.lower()) == (other.scheme.lower(), other.netloc.lower())
    folder = normpath(unquote(other.path) or "/").rstrip("/")
    path = normpath(unquote(one.path) or "/")
    return same and (path == folder or path.startswith(f"{folder}/"))
