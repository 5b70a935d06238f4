"""JSON files that are whole or not there."""

import json
from pathlib import Path

from spaceeye_stac.collection.durable import write_whole
from spaceeye_stac.query import Json


def write_json(path: Path, document: Json) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, document_bytes(document))


def document_bytes(document: Json) -> bytes:
    """A document as it stands in a file."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
