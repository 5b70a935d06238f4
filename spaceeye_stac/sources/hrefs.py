"""Hrefs as a catalog writes them, made absolute and brought into one spelling."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pystac.utils import make_absolute_href

from spaceeye_stac.query import Json

SAME_SCHEMES = {"gcs://": "gs://"}
THIS_MACHINE = frozenset({"", "localhost"})


def links_of(document: Json, *relations: str) -> Iterator[Json]:
    """The links of these relations; what is no link is passed over."""
    found = document.get("links")
    for link in found if isinstance(found, list) else []:
        if isinstance(link, dict) and link.get("rel") in relations and isinstance(link.get("href"), str):
            yield link


def absolute(href: str, base: str) -> str:
    """An href as seen from the document at `base`, a URL or the path of a file."""
    plain = as_path(href)
    if plain != href:  # a file: URL says the whole place, wherever the document is
        return plain
    for scheme, same in SAME_SCHEMES.items():
        if plain.startswith(scheme):
            return same + plain.removeprefix(scheme)
    if "://" in plain or ("://" not in base and plain.startswith("/")):
        return plain
    scheme, _, rest = base.partition("://")
    if rest and scheme not in {"http", "https"} and plain.startswith("/"):
        return f"{scheme}://{rest.partition('/')[0]}{plain}"  # from the root of a bucket
    if rest and plain.startswith("//"):
        return urljoin(base, plain)
    found = str(make_absolute_href(plain, base))
    return found if "://" in base else _as_on_disk(found)


def as_path(href: str) -> str:
    """The path that a file: URL stands for; anything else, and one that names more than a path, stays as it is."""
    if not href.lower().startswith("file:"):
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        return href
    return href if parts.netloc not in THIS_MACHINE or parts.query or parts.fragment else unquote(parts.path)


def _as_on_disk(path: str) -> str:
    """A path of this machine; where it is written as in a URL, with %20, and only the plain one is there, that."""
    plain = unquote(path)
    return plain if plain != path and "\0" not in plain and not _is_there(path) and _is_there(plain) else path


def _is_there(path: str) -> bool:
    try:
        return os.path.exists(path)  # noqa: PTH110 - never raises for a strange name
    except ValueError:
        return False


def _never(_href: str) -> bool:
    return False


def self_href(item: Json, base: str) -> str:
    """Where an item says it is; `base`, where it was read, if it does not say."""
    own = next(links_of(item, "self"), None)
    try:
        return base if own is None else absolute(own["href"], base)
    except ValueError:  # no address at all
        return base


def with_absolute_assets(item: Json, base: str, is_path: Callable[[str], bool] = _never) -> Json:
    """An item at `base`, its assets named by where they are; as it is where it is too malformed for that.

    An href from the root of a server, /x/B02.tif, is a path of this machine where `is_path` says so.
    """
    assets: Any = item.get("assets")
    if not isinstance(assets, dict):
        return item
    return {**item, "assets": {key: _placed(asset, base, is_path) for key, asset in assets.items()}}


def _placed(asset: Any, base: str, is_path: Callable[[str], bool]) -> Any:  # noqa: ANN401 - as a catalog has it
    if not isinstance(asset, dict) or not isinstance(asset.get("href"), str) or is_path(asset["href"]):
        return asset
    try:
        return {**asset, "href": absolute(asset["href"], base)}
    except ValueError:  # no address at all, which is refused where it is checked
        return asset


def next_href(href: str, base: str) -> str:
    """Where a link to a next page leads; a path of this machine stays one, and is refused where it is checked."""
    is_from_here = "://" not in href and (not href.startswith("/") or "?" in href)
    return absolute(href, base) if is_from_here else href
