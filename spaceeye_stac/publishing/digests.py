"""What a document is by its content, and whether this package made it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaceeye_stac.collection import FINGERPRINT
from spaceeye_stac.query import Json

SHA256 = "1220"
DIGEST = "spaceeye:digest"


def with_digest(document: Json) -> Json:
    """A document that says what it is by its content, so that an unchanged one is known without comparing it."""
    plain = {**document, "properties": {k: v for k, v in document["properties"].items() if k != DIGEST}}
    return {**plain, "properties": {**plain["properties"], DIGEST: document_digest(plain)}}


def document_digest(document: Json) -> str:
    """Multihash (sha2-256) of a document, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return SHA256 + hashlib.sha256(text.encode()).hexdigest()


def content_digest(content: bytes | Path) -> str:
    """Multihash (sha2-256) of bytes or of a file."""
    if isinstance(content, bytes):
        return SHA256 + hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return SHA256 + hashlib.file_digest(file, "sha256").hexdigest()


def is_our_item(properties: object) -> bool:
    """Whether an item of these properties is one that this package made."""
    return isinstance(properties, Mapping) and any(_text(properties, name) for name in (FINGERPRINT, DIGEST))


def _text(properties: Mapping[str, Any], name: str) -> bool:
    return isinstance(properties.get(name), str) and bool(properties[name])
