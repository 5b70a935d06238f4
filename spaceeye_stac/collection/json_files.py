"""JSON files that are whole or not there."""

import json
from pathlib import Path

from spaceeye_stac.query import Json


def write_json(path: Path, document: Json) -> None:
    """Write JSON under another name and rename it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
