"""A finished run to a static, self-contained STAC collection, put in place at once or not at all."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pystac

from spaceeye_stac.errors import OutputError
from spaceeye_stac.geoparquet import PARQUET, table_of
from spaceeye_stac.query import Json

COLLECTION_FILE = "collection.json"
THUMBNAIL_FILE = "thumbnail.png"
SCHEMA_FILE = "spaceeye.schema.json"


@contextmanager
def staging(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder beside `out` that becomes `out` when the block ends well, and vanishes when it does not.

    Raises OutputError when `out` holds another run (unless `overwrite`) or anything that is not a run's.
    """
    _check(out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise OutputError(f"Output folder {out} cannot be made: {error.strerror}; choose another with out.") from error
    try:
        work.chmod(0o755)
        yield work
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"Output {out} is a file; name a folder.")
    entries = sorted(entry.name for entry in out.iterdir()) if out.exists() else []
    if not entries:
        return
    strangers = [name for name in entries if name not in _own_entries(out)]
    if strangers:
        raise OutputError(
            f"Output folder {out} holds {strangers[0]!r}, which is no part of a run; choose another folder."
        )
    if not overwrite:
        raise OutputError(f"Output folder {out} already holds a run; choose another folder, or overwrite it.")


def _own_entries(out: Path) -> set[str]:
    """Names in `out` that an earlier run of this package made."""
    try:
        document = json.loads((out / COLLECTION_FILE).read_text(encoding="utf-8"))
        items = {link["href"].split("/")[1] for link in document["links"] if link["rel"] == "item"}
        ours = any(name.startswith("spaceeye:") for name in document["summaries"])
    except (OSError, ValueError, KeyError, IndexError):
        return set()
    return {COLLECTION_FILE, THUMBNAIL_FILE, SCHEMA_FILE, PARQUET, *items} if ours else set()


def _swap(work: Path, out: Path) -> None:
    """Put `work` in the place of `out`; the old folder is deleted only once the new one stands."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_suffix(".old")
    out.rename(old)
    try:
        work.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


def write_static(folder: Path, collection: pystac.Collection, items: Sequence[pystac.Item]) -> None:
    """Write the documents of a self-contained collection into `folder`, where the assets already are.

    Beside them stand a stac-geoparquet table of the items and the schema of this package's own fields.
    """
    collection.set_self_href(str(folder / COLLECTION_FILE))
    for item in items:
        collection.add_item(item)
        item.set_self_href(str(folder / item.id / f"{item.id}.json"))
    collection.catalog_type = pystac.CatalogType.SELF_CONTAINED
    documents = [item.to_dict(include_self_link=False) for item in items]
    for document in documents:
        _write(folder / document["id"] / f"{document['id']}.json", document)
    (folder / PARQUET).write_bytes(table_of(documents))
    (folder / SCHEMA_FILE).write_bytes((files("spaceeye_stac") / "schemas" / "spaceeye.json").read_bytes())
    _write(folder / COLLECTION_FILE, collection.to_dict(include_self_link=False))


def _write(path: Path, document: Json) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
