"""Offline validation of STAC documents by pystac: the core, and every declared extension whose schema is at hand."""

import json
from pathlib import Path
from typing import Any

import pyproj
import pystac
from pystac.validation import JsonSchemaSTACValidator, RegisteredValidator

from tests.support.material import SHARED

OWN_SCHEMAS = Path(__file__).with_name("schemas")  # of the classification and projection extensions, Apache 2.0
MORE = {
    f"https://stac-extensions.github.io/{name}/{version}/schema.json": f"{name}-{version}.json"
    for name, version in (("classification", "v2.0.0"), ("projection", "v1.2.0"))
}


def extension_schemas() -> dict[str, Any]:
    """Schemas by URI from the reference material; empty where it is missing."""
    folder = SHARED / "schemas"
    if not folder.exists():
        return {}
    index = json.loads((folder / "index.json").read_text())
    found = {uri: json.loads((folder / name).read_text()) for uri, name in index.items()}
    found |= {uri: json.loads((OWN_SCHEMAS / name).read_text()) for uri, name in MORE.items()}
    projjson = Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json"
    found["https://proj.org/schemas/v0.7/projjson.schema.json"] = json.loads(projjson.read_text())
    return found


def validate(thing: pystac.STACObject) -> int:
    """Validate with pystac; returns how many schemas were applied."""
    validator, known = JsonSchemaSTACValidator(), extension_schemas()
    validator.schema_cache.update(known)
    RegisteredValidator.set_validator(validator)
    if known:
        assert set(thing.stac_extensions) <= set(known), "an extension is declared whose schema is not at hand"
        return len(thing.validate())
    bare = thing.clone()
    bare.stac_extensions = []
    return len(bare.validate())
