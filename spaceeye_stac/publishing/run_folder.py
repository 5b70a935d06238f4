"""The folder of a run, read as plain documents."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from spaceeye_stac.collection import COG_TYPE, COLLECTION_FILE, is_ours
from spaceeye_stac.errors import OutputError
from spaceeye_stac.publishing.digests import content_digest
from spaceeye_stac.query import Json

RUN = "spaceeye:run"
NO_NAMES = frozenset({"", ".", ".."})
VRT_SUFFIX = ".vrt"
GEOJSON_TYPE = "application/geo+json"
MEDIA_TYPES = {
    ".json": "application/json",
    ".tif": COG_TYPE,
    ".png": "image/png",
    ".html": "text/html",
    ".parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class LocalFile:
    """A file of a run's folder: `path` on this machine, `name` from the folder, and what its item says of it."""

    path: Path
    name: str
    size: int | None = None
    checksum: str | None = None

    @property
    def damage(self) -> str | None:
        """Say what is wrong with it on the disk, by reading it whole."""
        if self.fault or self.checksum is None or content_digest(self.path) == self.checksum:
            return self.fault
        return f"file {self.path} is damaged on this disk: it does not have the checksum that its item says"

    @property
    def fault(self) -> str | None:
        """Say what is wrong with it on the disk, without reading it whole."""
        if not self.path.is_file():
            return f"file {self.path} is missing"
        if self.size is not None and self.path.stat().st_size != self.size:
            return f"file {self.path} has {self.path.stat().st_size} bytes, its item says {self.size}"
        return None


@dataclass(frozen=True)
class RunFolder:
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
        return is_day_of(self.id, name)

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


def read_run_folder(folder: Path) -> RunFolder:
    """Read what a run left in `folder`; OutputError where that is no folder of a run."""
    document = _json(folder / COLLECTION_FILE)
    if not is_ours(document):
        raise OutputError(f"Folder {folder} holds a collection that this package did not make; name a run's folder.")
    hrefs = [link["href"] for link in document["links"] if link["rel"] == "item"]
    items = [_json(folder / href) for href in hrefs]
    if not items:
        raise OutputError(f"Folder {folder} holds a collection without a day; name the folder of a finished run.")
    odd = next((item for item in items if not is_plain_name(item.get("id"))), None)
    if odd is not None:
        raise OutputError(f"Folder {folder} has an item {odd.get('id')!r}, which is no name of a day; run again.")
    outside = [item["id"] for item in items for file in _hrefs(item) if "://" in file or file.startswith(("/", "../"))]
    if outside:
        raise OutputError(
            f"Item {outside[0]} in {folder} has assets elsewhere; publish the folder that a run has made."
        )
    return RunFolder(folder, document, tuple(sorted(items, key=time_order)))


def is_day_of(collection: str, name: str) -> bool:
    """Whether a folder's name is that of a day of a collection."""
    return re.fullmatch(rf"{re.escape(collection)}_(.+_)?\d{{4}}-\d{{2}}-\d{{2}}", name) is not None


def is_plain_name(name: object) -> bool:
    """Whether an id or a file's name is one part of a path or URL, and no way out of it."""
    return isinstance(name, str) and name not in NO_NAMES and name.isprintable() and not set("/\\") & set(name)


def is_item_name(name: str) -> bool:
    """Whether a file's name is that of an item's document: `<id>/<id>.json`."""
    path = PurePosixPath(name)
    return path.suffix == ".json" and path.parent.name == path.stem


def media_type_of(name: str) -> str | None:
    """Media type of a published file by its name; None for a file of no kind that a run makes."""
    return GEOJSON_TYPE if is_item_name(name) else MEDIA_TYPES.get(PurePosixPath(name).suffix)


def time_order(item: Json) -> tuple[str, str]:
    """By what items are sorted: their datetime, then their id."""
    return str(item["properties"]["datetime"]), str(item["id"])


def check_files(run_folder: RunFolder) -> None:
    """Raise OutputError where a band is a VRT, which reads files outside the item's folder."""
    virtual = [item["id"] for item in run_folder.items for href in _hrefs(item) if href.endswith(VRT_SUFFIX)]
    if virtual:
        raise OutputError(
            f"Item {virtual[0]} in {run_folder.folder} has virtual bands, which only a folder can hold; "
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
