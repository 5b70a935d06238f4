"""A run's documents in the version of STAC that a target reads; pure.

A run's folder holds STAC 1.1 with the fields of 1.0 beside those that took their place. Servers that check documents
strictly, as stac-fastapi-sqlalchemy does, take 1.0.0 alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spaceeye_stac.publishing.run_folder import RunFolder
from spaceeye_stac.query import Json

VERSIONS = ("1.1", "1.0")
NEW_IN_1_1 = frozenset({"bands", "proj:code", "data_type", "nodata", "unit"})
NEW_SCHEMAS = {"projection/v1.2.0": "projection/v1.1.0"}
ITEM_ASSETS = "https://stac-extensions.github.io/item-assets/v1.0.0/schema.json"


def in_version(run_folder: RunFolder, version: str) -> RunFolder:
    """The documents of a run in STAC "1.1", as they are, or "1.0"."""
    if version == VERSIONS[0]:
        return run_folder
    items = tuple(_item(item) for item in run_folder.items)
    return replace(run_folder, collection=_collection(run_folder.collection), items=items)


def _item(item: Json) -> Json:
    assets = {key: _asset(asset) for key, asset in item["assets"].items()}
    return {**_document(item), "properties": _older(item["properties"]), "assets": assets}


def _collection(collection: Json) -> Json:
    found = _document(collection)
    return {
        **found,
        "stac_extensions": [*found["stac_extensions"], ITEM_ASSETS],
        "summaries": _older(collection["summaries"]),
        "item_assets": {key: _asset(asset) for key, asset in collection["item_assets"].items()},
    }


def _document(document: Json) -> Json:
    """A document with the version and the extensions of 1.0."""
    declared = document["stac_extensions"]
    for new, old in NEW_SCHEMAS.items():
        declared = [uri.replace(new, old) for uri in declared]
    return {**document, "stac_version": "1.0.0", "stac_extensions": declared}


def _asset(asset: Json) -> Json:
    """An asset whose statistics stand where 1.0 has them."""
    found = _older(asset)
    if "raster:bands" in asset:
        statistics = [{k: v for k, v in band.items() if k == "statistics"} for band in asset["bands"]]
        pairs = zip(asset["raster:bands"], statistics, strict=True)
        found["raster:bands"] = [{**band, **known} for band, known in pairs]
    return found


def _older(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if name not in NEW_IN_1_1}
