"""Items as one stac-geoparquet table; the only module that knows rustac."""

import logging
import posixpath
from collections.abc import Sequence

from spaceeye_stac.collection.durable import temporary_folder
from spaceeye_stac.query import Json

PARQUET = "items.parquet"
# it writes whole items at INFO, which a user who asks for ours would not want
logging.getLogger("stac_io").setLevel(logging.WARNING)


def table_of(items: Sequence[Json]) -> bytes:
    """The bytes of a stac-geoparquet file of these items; asset hrefs are relative to the folder it lies in."""
    import rustac  # noqa: PLC0415 - 30 MB that only publishing needs

    with temporary_folder() as folder:
        path = folder / PARQUET
        rustac.write_sync(str(path), [_from_outside(item) for item in items])
        return path.read_bytes()


def _from_outside(item: Json) -> Json:
    """An item as seen from the collection's folder."""
    assets = {key: {**asset, "href": _moved(asset["href"], item["id"])} for key, asset in item["assets"].items()}
    links = [{**link, "href": _moved(link["href"], item["id"])} for link in item["links"]]
    return {**item, "assets": assets, "links": links}


def _moved(href: str, place: str) -> str:
    if "://" in href:
        return href
    path = posixpath.normpath(posixpath.join(place, href))
    return path if path.startswith("../") else f"./{path}"
