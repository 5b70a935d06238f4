"""Files of items as they are saved, and what Python holds of them: one document for each, whatever its form."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pystac
from pystac_client import Client, CollectionClient, ItemSearch

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.query import Json
from spaceeye_stac.sources.hrefs import as_path
from spaceeye_stac.sources.transport import UNREADABLE, ContentError, PatientFiles, check_file, reason

LFS_POINTER = "version https://git-lfs"
PARQUET = b"PAR1"
IN_PYTHON = "python:items"


def document_of(href: str, files: PatientFiles) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What a file or address holds: JSON, newline-delimited JSON, or stac-geoparquet on this machine."""
    path = as_path(href)
    if "://" not in path and _is_parquet(path):
        files.check(href)
        check_file(path, files.requests.limits)
        return _of_parquet(path)
    return _parsed(files.read_text(href))


def _is_parquet(path: str) -> bool:
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def _of_parquet(path: str) -> Json:
    import rustac  # noqa: PLC0415 - 30 MB that only such files need

    try:
        found = rustac.read_sync(path, format="geoparquet")
    except Exception as error:
        raise ContentError(f"it is no stac-geoparquet file ({type(error).__name__})") from error
    return dict(found)


def _parsed(text: str) -> Any:  # noqa: ANN401
    if text.startswith(LFS_POINTER):
        raise ContentError("it is a Git-LFS pointer; run git lfs pull")
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ContentError("it is nested too deeply") from None
    except ValueError:
        found = _lines(text)
        if found is None:
            raise
    return _collection(found) if isinstance(found, list) and found else found


def _lines(text: str) -> list[Any] | None:
    """The items of newline-delimited JSON, None for a line that is none; None where the first is no JSON."""
    lines = [_object(line) for line in text.removeprefix("\ufeff").splitlines() if line.strip()]
    return lines if lines and lines[0] is not None else None


def _object(line: str) -> Json | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _collection(items: Iterable[Any]) -> Json:
    return {"type": "FeatureCollection", "features": list(items)}


def address_of(catalog: object) -> str | None:
    """Address of what pystac-client has open, which is read anew from there; None for anything else."""
    if not isinstance(catalog, Client | CollectionClient):
        return None
    own, api = catalog.get_self_href(), catalog.get_root()
    above = None if api is None else api.get_self_href()
    return own or (f"{above.rstrip('/')}/collections/{catalog.id}" if above else None)


def held(catalog: object) -> tuple[str, Any]:
    """Where something of Python's is from, and the document it is: a pystac Catalog itself, or its items as JSON."""
    if isinstance(catalog, pystac.Catalog):
        return catalog.get_self_href() or IN_PYTHON, catalog
    if isinstance(catalog, ItemSearch):
        return str(catalog.url), _collection(_all_of(catalog))
    if isinstance(catalog, dict):
        return IN_PYTHON, catalog
    items = [catalog] if isinstance(catalog, pystac.Item) else catalog
    if not isinstance(items, Iterable):
        raise CatalogError(
            f"catalog is a {type(catalog).__name__}; give a profile's name, URL or path, or a pystac Catalog, "
            "ItemCollection, list of items or pystac-client search."
        )
    return IN_PYTHON, _collection(_plain(item) for item in items)


def _all_of(search: ItemSearch) -> list[Any]:
    try:
        return list(search.items_as_dicts())
    except UNREADABLE as error:
        raise CatalogError(f"The search in catalog failed: {reason(error)}; try again later.") from None


def _plain(item: object) -> object:
    return item.to_dict(transform_hrefs=False) if isinstance(item, pystac.Item) else item
