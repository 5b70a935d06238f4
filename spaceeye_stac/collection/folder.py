"""The documents of a self-contained collection in its folder, and what else lies there."""

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pystac

from spaceeye_stac.collection.geoparquet import PARQUET, table_of
from spaceeye_stac.collection.json_files import write_json
from spaceeye_stac.query import Json

KEYFRAME_COGS = "keyframe-cogs"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
FINGERPRINT = "spaceeye:fingerprint"  # of an item: what its day is made from
COLLECTION_FILE = "collection.json"
CATALOG_FILE = "catalog.json"  # which platforms look for in what a process leaves
THUMBNAIL_FILE = "thumbnail.png"
SCHEMA_FILE = "spaceeye.schema.json"
REPORT_FILE = "report.html"
KEYFRAMES = "keyframes"
SCRATCH = ".keyframes"  # where they are while a run is at work
REPLACED_FILE = ".replaced"  # in the old run, from the moment when a new one takes its place
TILES = ".tiles"  # parts of files from stores, while a run is at work
DAY_TOTALS = "day-totals"  # what a run that brings this one up to date need not read again
OTHER_ENTRIES = ("run.json", CATALOG_FILE, SCHEMA_FILE, PARQUET, REPORT_FILE, KEYFRAMES, KEYFRAME_COGS, DAY_TOTALS)


def write_static(folder: Path, collection: pystac.Collection, items: Sequence[pystac.Item]) -> None:
    """Write the documents of a self-contained collection into `folder`, where the assets already are.

    Beside them stand a catalog that leads to the collection, a stac-geoparquet table of the items, and the schema of
    this package's own fields.
    """
    collection.set_self_href(str(folder / COLLECTION_FILE))
    for item in items:
        collection.add_item(item, title=str(item.properties["title"]))
        item.set_self_href(str(folder / item.id / f"{item.id}.json"))
    collection.catalog_type = pystac.CatalogType.SELF_CONTAINED
    documents = [item.to_dict(include_self_link=False) for item in items]
    for document in documents:
        write_json(folder / document["id"] / f"{document['id']}.json", document)
    (folder / PARQUET).write_bytes(table_of(documents))
    (folder / SCHEMA_FILE).write_bytes((files(__package__) / SCHEMA_FILE).read_bytes())
    write_json(folder / CATALOG_FILE, _catalog_of(collection))
    write_json(folder / COLLECTION_FILE, collection.to_dict(include_self_link=False))


def _catalog_of(collection: pystac.Collection) -> Json:
    """The catalog whose only child is a collection."""
    catalog = pystac.Catalog(id=f"{collection.id}-catalog", description=collection.description, title=collection.title)
    child = {"rel": "child", "href": f"./{COLLECTION_FILE}", "type": pystac.MediaType.JSON}
    root = {"rel": "root", "href": f"./{CATALOG_FILE}", "type": pystac.MediaType.JSON}
    return {**catalog.to_dict(include_self_link=False), "links": [root, child]}


def read_item(place: Path) -> pystac.Item:
    """Read the item of a day's folder, without the links that make it part of a collection."""
    document = json.loads((place / f"{place.name}.json").read_text(encoding="utf-8"))
    item = pystac.Item.from_dict(document, migrate=False)  # as it was written
    for rel in ("self", "root", "parent", "collection"):
        item.clear_links(rel)
    return item


def is_ours(collection: Mapping[str, Any]) -> bool:
    """Whether this package made a collection."""
    return any(str(name).startswith("spaceeye:") for name in collection.get("summaries") or {})


def drop_strangers(folder: Path, ids: set[str]) -> None:
    """Remove from a finished work folder what is no part of the collection."""
    ours = {COLLECTION_FILE, THUMBNAIL_FILE, *OTHER_ENTRIES, *ids}
    for entry in folder.iterdir():
        if entry.name not in ours:
            shutil.rmtree(entry, ignore_errors=True)
