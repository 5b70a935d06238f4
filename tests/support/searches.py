"""Searches of the same region and days in another catalog."""

from typing import Any

import spaceeye_stac as se


def at(catalog: object, query: se.Query, **changes: Any) -> se.Query:
    fields = {"bbox": query.bbox, "datetime": query.datetime, "bands": query.bands, "allow_hrefs": ["/"]}
    return se.Query(**{"catalog": catalog, **fields, **changes})


def ids(scenes: list[Any]) -> list[str]:
    return [scene.id for scene in scenes]
