"""What the days of a collection can be searched by: queryables, as OGC API Features (part 3) and pgstac have them."""

import json
from importlib.resources import files

from spaceeye_stac import collection
from spaceeye_stac.query import Json

DRAFT = "https://json-schema.org/draft/2019-09/schema"
NOT_SEARCHED = frozenset({"spaceeye:fingerprint", "spaceeye:digest", "spaceeye:scenes", "spaceeye:window"})
OF_STAC: Json = {
    "eo:cloud_cover": {"description": "Share of what is shown that may still be cloud, in percent.", "type": "number"},
    "gsd": {"description": "Width of a pixel in metres.", "type": "number"},
    "proj:code": {"description": "CRS of the files.", "type": "string"},
    "grid:code": {"description": "MGRS tile, in runs with tiling.", "type": "string"},
}


def queryables() -> Json:
    """A JSON Schema of the fields by which days can be searched; `pypgstac load_queryables` reads it."""
    schema = json.loads((files(collection.__name__) / collection.SCHEMA_FILE).read_text(encoding="utf-8"))
    own = {k: v for k, v in schema["definitions"]["item"]["properties"].items() if k not in NOT_SEARCHED}
    return {
        "$schema": DRAFT,
        "type": "object",
        "title": "Queryables of a cloud-free daily collection",
        "properties": {**OF_STAC, **own},
        "additionalProperties": True,
    }
