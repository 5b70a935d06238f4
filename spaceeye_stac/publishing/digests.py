"""What a document is by its content."""

import hashlib
import json

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
