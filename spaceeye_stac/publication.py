"""A published folder read as plain documents, and rewritten for the place where they will stand; pure but for reading.

Every href in a run's folder is relative. A `Placing` says what becomes of it: an href to a file of the folder gets the
address of its copy; one to a file of this machine is kept where it can still be followed, and else left out.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spaceeye_stac.errors import OutputError, TargetError
from spaceeye_stac.query import Json
from spaceeye_stac.region import bbox, footprint
from spaceeye_stac.targets import base_url

COLLECTION_FILE = "collection.json"
ITEMS_TABLE = "items.parquet"
VRT_SUFFIX = ".vrt"
SHA256 = "1220"
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
STRUCTURE = frozenset({"self", "root", "parent", "collection", "item", "items", "child", "prev", "next", QUERYABLES})
GEOJSON = "application/geo+json"
JSON_TYPE = "application/json"
DIGEST = "spaceeye:digest"
RUN = "spaceeye:run"

WEB_MAP_LINKS = "https://stac-extensions.github.io/web-map-links/v1.2.0/schema.json"
UP = ("root", "parent", "collection")


@dataclass(frozen=True)
class LocalFile:
    """A file of a run's folder: `path` on this machine, `name` from the folder, and what its item says of it."""

    path: Path
    name: str
    size: int | None = None
    checksum: str | None = None

    @property
    def fault(self) -> str | None:
        """Say what is wrong with it on the disk, without reading it whole."""
        if not self.path.is_file():
            return f"file {self.path} is missing"
        if self.size is not None and self.path.stat().st_size != self.size:
            return f"file {self.path} has {self.path.stat().st_size} bytes, its item says {self.size}"
        return None


@dataclass(frozen=True)
class Publication:
    """A run's folder: its collection and its items, in order of time, as they stand in the files."""

    folder: Path
    collection: Json
    items: tuple[Json, ...]

    @property
    def id(self) -> str:
        """Id of the collection."""
        return str(self.collection["id"])

    @property
    def run(self) -> str:
        """What tells this run from another that made a collection of the same id."""
        return str(self.collection.get(RUN, ""))

    def is_day(self, name: str) -> bool:
        """Whether a folder's name is that of a day of this collection, of any publication of it."""
        return re.fullmatch(rf"{re.escape(self.id)}_(.+_)?\d{{4}}-\d{{2}}-\d{{2}}", name) is not None

    def files_of(self, item: Json) -> list[LocalFile]:
        """Every asset file of an item."""
        return [_file(self.folder, Path(item["id"]), asset) for asset in item["assets"].values()]

    @property
    def own_files(self) -> list[LocalFile]:
        """The files that belong to the collection itself."""
        assets = [_file(self.folder, Path(), asset) for asset in self.collection.get("assets", {}).values()]
        linked = [self.folder / link["href"] for link in self.collection["links"] if link["rel"] == "describedby"]
        return assets + [LocalFile(path, path.name) for path in linked if path.is_file()]


def _file(folder: Path, place: Path, asset: Json) -> LocalFile:
    name = Path(os.path.normpath(place / asset["href"])).as_posix()
    return LocalFile(folder / name, name, asset.get("file:size"), asset.get("file:checksum"))


def read_publication(folder: Path) -> Publication:
    """Read what a run left in `folder`; OutputError where that is no folder of a run."""
    document = _json(folder / COLLECTION_FILE)
    if not is_ours(document):
        raise OutputError(f"Folder {folder} holds a collection that this package did not make; name a run's folder.")
    hrefs = [link["href"] for link in document["links"] if link["rel"] == "item"]
    items = [_json(folder / href) for href in hrefs]
    outside = [item["id"] for item in items for file in _hrefs(item) if "://" in file or file.startswith(("/", "../"))]
    if outside:
        raise OutputError(
            f"Item {outside[0]} in {folder} has assets elsewhere; publish the folder that a run has made."
        )
    return Publication(folder, document, tuple(sorted(items, key=_time)))


def check_files(publication: Publication) -> None:
    """Raise OutputError where a band is a VRT, which reads files outside the item's folder."""
    virtual = [item["id"] for item in publication.items for href in _hrefs(item) if href.endswith(VRT_SUFFIX)]
    if virtual:
        raise OutputError(
            f"Item {virtual[0]} in {publication.folder} has virtual bands, which only a folder can hold; "
            "run with days 'files' to publish, or copy the folder as a whole."
        )


def _hrefs(item: Json) -> list[str]:
    return [asset["href"] for asset in item["assets"].values()]


def _json(path: Path) -> Json:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise OutputError(
            f"File {path} cannot be read: {error.strerror}; name a folder that a run has made."
        ) from error
    except (ValueError, TypeError):
        raise OutputError(f"File {path} is no JSON document; name a folder that a run has made.") from None


def _time(item: Json) -> tuple[str, str]:
    return str(item["properties"]["datetime"]), str(item["id"])


def is_ours(collection: Mapping[str, Any]) -> bool:
    """Whether this package made a collection."""
    return any(str(name).startswith("spaceeye:") for name in collection.get("summaries") or {})


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to publish.

    Parameters
    ----------
    asset_base_url
        Public address under which the asset files are read.
    assets_to
        For an API: the store or folder to which the files go first.
    tiles_url
        Root of a titiler that shows the items as tiles.
    prune
        Whether items that the run no longer has are removed.
    overwrite
        Whether a collection of the same id from another run is replaced.

    """

    asset_base_url: str | None = None
    assets_to: str | None = None
    tiles_url: str | None = None
    prune: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Report:
    """What became of each item: ids `sent`, `unchanged`, `removed`, `stale` (there, in the run no longer), `failed`.

    `files` were copied; `lost_links` led to files of this machine and were left out.
    """

    target: str
    sent: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    lost_links: int = 0

    def as_json(self) -> Json:
        """Plain values."""
        return asdict(self)


def check_owner(there: Json | None, publication: Publication, target: str, *, overwrite: bool) -> None:
    """Raise TargetError where a collection of this id stands that is not this run's, and may not be replaced."""
    if there is None:
        return
    name = f"Collection {publication.id} at {target}"
    if not is_ours(there):
        raise TargetError(f"{name} was not made by this package; publish under another collection_id.")
    if there.get("id") != publication.id:
        raise TargetError(f"{target} holds collection {there.get('id')}, not {publication.id}; choose another place.")
    if there.get(RUN) != publication.run and not overwrite:
        raise TargetError(
            f"{name} is of another run ({there.get(RUN)}, this is {publication.run}): other region, bands or settings; "
            "publish under another collection_id, or replace it with overwrite."
        )


@dataclass(frozen=True)
class Placing:
    """Where hrefs lead: to the folder's files under `base` (None: as they are, relative), and local ones if `local`.

    `tiles` makes the address of an item's tiles of its id, where there is a tile server.
    """

    publication: Publication
    base: str | None
    local: bool
    tiles: Callable[[str], str] | None = None

    def href(self, href: str, place: str) -> str | None:
        """An href of the document in the folder `place`, as it will be; None where it leads nowhere."""
        if "://" in href:
            return href
        path = Path(os.path.normpath(self.publication.folder.resolve() / place / href))
        if not path.is_relative_to(self.publication.folder.resolve()):
            return path.as_uri() if self.local else None
        if self.base is None:
            return href
        return f"{self.base}/{path.relative_to(self.publication.folder.resolve()).as_posix()}"

    def document(self, document: Json, place: str) -> Json:
        """Rewrite the hrefs of a document that lies in `place`, without the links that its server or catalog sets."""
        assets = {key: {**asset, "href": self.href(asset["href"], place)} for key, asset in _assets(document)}
        links = [
            {**link, "href": href}
            for link in document["links"]
            if link["rel"] not in STRUCTURE and (href := self.href(link["href"], place)) is not None
        ]
        return {**document, "links": links, **({"assets": assets} if "assets" in document else {})}

    def item(self, item: Json) -> Json:
        """An item as it will stand there."""
        placed = self.document(item, item["id"])
        if self.tiles is None:
            return placed
        link = {"rel": "tilejson", "href": self.tiles(item["id"]), "type": JSON_TYPE, "title": "Visual, as map tiles"}
        link["render"] = "visual"
        declared = [*placed["stac_extensions"], WEB_MAP_LINKS]
        return {**placed, "links": [*placed["links"], link], "stac_extensions": declared}


def tilejson_url(tiles_url: str, item_url: str) -> str:
    """Address of titiler's TileJSON for `visual` of an item that it can read at `item_url`."""
    root = base_url(tiles_url, "tiles_url")
    return f"{root}/stac/WebMercatorQuad/tilejson.json?url={quote(item_url, safe='')}&assets=visual"


def _assets(document: Json) -> Iterable[tuple[str, Json]]:
    assets: dict[str, Json] = document.get("assets", {})
    return assets.items()


def lost_links(publication: Publication, placing: Placing) -> int:
    """Count the links to files of this machine that nobody could follow from there."""
    return sum(placing.href(link["href"], item["id"]) is None for item in publication.items for link in item["links"])


def with_digest(document: Json) -> Json:
    """A document that says what it is by its content, so that an unchanged one is known without comparing it."""
    plain = {**document, "properties": {k: v for k, v in document["properties"].items() if k != DIGEST}}
    return {**plain, "properties": {**plain["properties"], DIGEST: digest(plain)}}


def digest(document: Json) -> str:
    """Multihash (sha2-256) of a document, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return SHA256 + hashlib.sha256(text.encode()).hexdigest()


def with_extent(collection: Json, items: Iterable[Mapping[str, Any]]) -> Json:
    """A collection whose extent is that of these items, each with `bbox` and its times."""
    boxes: dict[tuple[float, ...], None] = {}
    starts, ends = [], []
    for item in items:
        facts = item["properties"]
        boxes[tuple(item["bbox"])] = None
        starts.append(facts.get("start_datetime") or facts["datetime"])
        ends.append(facts.get("end_datetime") or facts["datetime"])
    if not boxes:
        return collection
    whole = bbox(filter(None, (footprint({"bbox": box}) for box in boxes)))
    spatial = [list(whole), *(list(box) for box in boxes if len(boxes) > 1)]
    extent = {"spatial": {"bbox": spatial}, "temporal": {"interval": [[min(starts), max(ends)]]}}
    return {**collection, "extent": extent}


def static_items(items: Sequence[Json]) -> list[Json]:
    """Items, in order of time, with the links of a static catalog: root, parent, collection and their neighbours."""
    ordered = sorted(items, key=_time)
    links = {item["id"]: [_link(rel, f"../{COLLECTION_FILE}", JSON_TYPE) for rel in UP] for item in ordered}
    for grid in {_grid(item) for item in ordered}:
        for before, after in pairwise(item for item in ordered if _grid(item) == grid):
            links[before["id"]].append(_link("next", f"../{after['id']}/{after['id']}.json", GEOJSON))
            links[after["id"]].append(_link("prev", f"../{before['id']}/{before['id']}.json", GEOJSON))
    return [
        {**item, "links": links[item["id"]] + [link for link in item["links"] if link["rel"] not in STRUCTURE]}
        for item in ordered
    ]


def _grid(item: Json) -> str:
    """The id of an item without its day: the same for all days of one grid."""
    return str(item["id"])[: -len("-2018-04-11")]


def static_collection(collection: Json, items: Sequence[Json], base: str | None) -> Json:
    """A collection that links to its items beside it, and to itself where `base` says under which address it stands."""
    links = [_link("root", f"./{COLLECTION_FILE}", JSON_TYPE)]
    if base is not None:
        links.append(_link("self", f"{base}/{COLLECTION_FILE}", JSON_TYPE))
    links += [_link("item", f"./{item['id']}/{item['id']}.json", GEOJSON) for item in sorted(items, key=_time)]
    own = [link for link in collection["links"] if link["rel"] not in STRUCTURE]
    return {**with_extent(collection, items), "links": links + own}


def _link(rel: str, href: str, media_type: str) -> Json:
    return {"rel": rel, "href": href, "type": media_type}
