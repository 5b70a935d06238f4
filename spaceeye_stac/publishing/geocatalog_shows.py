"""How a GeoCatalog shows a collection: its render options, from the collection's `renders`, and its mosaic; pure."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from spaceeye_stac.query import Json

RENDER_OPTIONS = "render-options"
MOSAICS = "mosaics"
LATEST: Json = {
    "id": "latest",
    "name": "Latest day",
    "description": "The latest of all days, as the newest item is shown first.",
    "cql": [],
}
OPTIONS = ("nodata", "resampling", "color_formula", "colormap_name")  # titiler's own names


def render_options(collection: Json) -> list[Json]:
    """A collection's `renders` as render options, whose `options` are a query of titiler's parameters."""
    renders: dict[str, Json] = collection.get("renders", {})
    return [
        {
            "id": name,
            "name": render.get("title", name),
            "type": "raster-tile",
            "options": urlencode(list(_parameters(render)), quote_via=quote, safe=",/()"),
        }
        for name, render in renders.items()
    ]


def _parameters(render: Json) -> Iterator[tuple[str, str]]:
    if "expression" in render:  # there it names the assets themselves, not their numbers
        assets = render["assets"]
        yield "expression", re.sub(r"\bb(\d+)\b", lambda found: assets[int(found[1]) - 1], render["expression"])
        yield "asset_as_band", "true"
    else:
        yield from (("assets", asset) for asset in render["assets"])
    yield from (("rescale", f"{low:g},{high:g}") for low, high in render.get("rescale", ()))
    yield from ((name, str(render[name])) for name in OPTIONS if render.get(name) is not None)
    if "colormap" in render:
        yield "colormap", json.dumps(render["colormap"], separators=(",", ":"))
