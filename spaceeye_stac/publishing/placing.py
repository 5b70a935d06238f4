"""Documents rewritten for the place where they will stand; pure.

Every href in a run's folder is relative. A `Placing` says what becomes of it: an href to a file of the folder gets the
address of its copy; one to a file of this machine is kept where it can still be followed, and else left out.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spaceeye_stac.collection import COLLECTION_FILE
from spaceeye_stac.outlines import bbox, footprint
from spaceeye_stac.publishing.run_folder import GEOJSON_TYPE, RunFolder, time_order
from spaceeye_stac.publishing.targets import base_url
from spaceeye_stac.query import Json

QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
STRUCTURE = frozenset({"self", "root", "parent", "collection", "item", "items", "child", "prev", "next", QUERYABLES})
JSON_TYPE = "application/json"
WEB_MAP_LINKS = "https://stac-extensions.github.io/web-map-links/v1.2.0/schema.json"
FILE_URL = "file:"
WARNINGS = "spaceeye:warnings"
LOCAL_FOLDER = re.compile(
    r"(?:\bfile://|(?<![\w:/.~-]))/(?:[^\s/'\",;:]+/)+"
)  # of a path of this machine, not of a URL
BBOX_NUMBERS = 4
UP = ("root", "parent", "collection")


@dataclass(frozen=True)
class Placing:
    """Where hrefs lead: to the folder's files under `base` (None: as they are, relative), and local ones if `local`.

    `tiles` makes the address of an item's tiles of its id, where there is a tile server.
    """

    run_folder: RunFolder
    base: str | None
    local: bool
    tiles: Callable[[str], str] | None = None

    def href(self, href: str, place: str) -> str | None:
        """An href of the document in the folder `place`, as it will be; None where it leads nowhere."""
        if href.startswith(FILE_URL):
            return href if self.local else None
        if "://" in href:
            return href
        path = Path(os.path.normpath(self.run_folder.folder.resolve() / place / href))
        if not path.is_relative_to(self.run_folder.folder.resolve()):
            return path.as_uri() if self.local else None
        if self.base is None:
            return href
        return f"{self.base}/{path.relative_to(self.run_folder.folder.resolve()).as_posix()}"

    def document(self, document: Json, place: str) -> Json:
        """Rewrite the hrefs of a document that lies in `place`, without the links that its server or catalog sets."""
        assets = {key: {**asset, "href": self.href(asset["href"], place)} for key, asset in _assets(document)}
        links = [
            {**link, "href": href}
            for link in document["links"]
            if link["rel"] not in STRUCTURE and (href := self.href(link["href"], place)) is not None
        ]
        placed = {**document, "links": links, **({"assets": assets} if "assets" in document else {})}
        if WARNINGS in document and not self.local:
            placed[WARNINGS] = _without_folders(document[WARNINGS])
        return placed

    def item(self, item: Json) -> Json:
        """An item as it will stand there."""
        placed = self.document(item, item["id"])
        if self.tiles is None:
            return placed
        link = {"rel": "tilejson", "href": self.tiles(item["id"]), "type": JSON_TYPE, "title": "Visual, as map tiles"}
        link["render"] = "visual"
        declared = [*placed["stac_extensions"], WEB_MAP_LINKS]
        return {**placed, "links": [*placed["links"], link], "stac_extensions": declared}


def without_local_paths(document: Json, place: str) -> Json:
    """A document that lies in the folder `place` below what others see, without links that lead out to this machine."""
    links = [link for link in document.get("links", ()) if not _leads_out(str(link.get("href")), place)]
    found = {**document, "links": links} if "links" in document else document
    return {**found, WARNINGS: _without_folders(document[WARNINGS])} if WARNINGS in document else found


def _leads_out(href: str, place: str) -> bool:
    if "://" in href:
        return href.startswith(FILE_URL)
    inside = posixpath.normpath(posixpath.join(place, href))
    return inside.startswith(("/", "../")) or href.startswith(FILE_URL)


def _without_folders(texts: Iterable[object]) -> list[str]:
    """Sentences that name files of this machine by their names alone."""
    return [LOCAL_FOLDER.sub("", str(text)) for text in texts]


def tilejson_url(tiles_url: str, item_url: str) -> str:
    """Address of titiler's TileJSON for `visual` of an item that it can read at `item_url`."""
    root = base_url(tiles_url, "tiles_url")
    return f"{root}/stac/WebMercatorQuad/tilejson.json?url={quote(item_url, safe='')}&assets=visual"


def _assets(document: Json) -> Iterable[tuple[str, Json]]:
    assets: dict[str, Json] = document.get("assets", {})
    return assets.items()


def lost_links(run_folder: RunFolder, placing: Placing) -> int:
    """Count the links to files of this machine that nobody could follow from there."""
    return sum(placing.href(link["href"], item["id"]) is None for item in run_folder.items for link in item["links"])


def with_extent(collection: Json, items: Iterable[Mapping[str, Any]]) -> Json:
    """A collection whose extent is that of these items, each with `bbox` and its times."""
    boxes: dict[tuple[float, ...], None] = {}
    starts, ends = [], []
    for item in items:
        facts = item["properties"]
        start = facts.get("start_datetime") or facts.get("datetime")
        if len(item["bbox"]) != BBOX_NUMBERS or not isinstance(start, str):
            continue  # an item of others, which says too little
        boxes[tuple(item["bbox"])] = None
        starts.append(start)
        ends.append(facts.get("end_datetime") or start)
    if not boxes:
        return collection
    whole = bbox(filter(None, (footprint({"bbox": box}) for box in boxes)))
    spatial = [list(whole), *(list(box) for box in boxes if len(boxes) > 1)]
    extent = {"spatial": {"bbox": spatial}, "temporal": {"interval": [[min(starts), max(ends)]]}}
    return {**collection, "extent": extent}


def static_items(items: Sequence[Json], base: str | None = None) -> list[Json]:
    """Items, in order of time, with the links of a static catalog: root, parent, collection and their neighbours.

    Each links to itself where `base` says under which address the catalog stands.
    """
    ordered = sorted(items, key=time_order)
    links = {item["id"]: [_link(rel, f"../{COLLECTION_FILE}", JSON_TYPE) for rel in UP] for item in ordered}
    for item in ordered if base is not None else ():
        links[item["id"]].append(_link("self", f"{base}/{item['id']}/{item['id']}.json", GEOJSON_TYPE))
    for grid in {_grid(item) for item in ordered}:
        for before, after in pairwise(item for item in ordered if _grid(item) == grid):
            links[before["id"]].append(_link("next", f"../{after['id']}/{after['id']}.json", GEOJSON_TYPE))
            links[after["id"]].append(_link("prev", f"../{before['id']}/{before['id']}.json", GEOJSON_TYPE))
    return [
        {**item, "links": links[item["id"]] + [link for link in item["links"] if link["rel"] not in STRUCTURE]}
        for item in ordered
    ]


def _grid(item: Json) -> str:
    """The id of an item without its day: the same for all days of one grid."""
    return str(item["id"])[: -len("-2018-04-11")]


def static_collection(collection: Json, items: Sequence[Json], base: str | None, others: Iterable[str] = ()) -> Json:
    """A collection that links to its items beside it, and to itself where `base` says under which address it stands.

    `others` are the hrefs of items of other makers, to which it goes on linking.
    """
    links = [_link("root", f"./{COLLECTION_FILE}", JSON_TYPE)]
    if base is not None:
        links.append(_link("self", f"{base}/{COLLECTION_FILE}", JSON_TYPE))
    links += [
        {**_link("item", f"./{item['id']}/{item['id']}.json", GEOJSON_TYPE), "title": item["properties"]["title"]}
        for item in sorted(items, key=time_order)
    ]
    links += [_link("item", href if "://" in href else f"./{href}", GEOJSON_TYPE) for href in others]
    own = [link for link in collection["links"] if link["rel"] not in STRUCTURE]
    return {**with_extent(collection, items), "links": links + own}


def _link(rel: str, href: str, media_type: str) -> Json:
    return {"rel": rel, "href": href, "type": media_type}
