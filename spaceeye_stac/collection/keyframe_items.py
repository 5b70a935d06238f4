"""The keyframes that virtual days are read from, as a collection within that of the days.

Whoever copies or moves the days by their documents so brings along what they are read from, to the same place.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pystac

from spaceeye_stac.collection.assets import BAND_FACTS, projected
from spaceeye_stac.collection.day import WrittenFile
from spaceeye_stac.collection.folder import COG_TYPE, COLLECTION_FILE, KEYFRAME_COGS
from spaceeye_stac.collection.items import ITEM_EXTENSIONS, LICENSE, bounded
from spaceeye_stac.collection.json_files import write_json
from spaceeye_stac.model import GridJob, metres_per_pixel
from spaceeye_stac.query import Json

ABOUT = (
    "Keyframes: surface reflectance divided by the illuminance of its day, from which GDAL interpolates the daily "
    "images as they are read. Each band has a scale of its own."
)


def keyframe_item(job: GridJob, name: str, day: date, files: Mapping[str, tuple[WrittenFile, float]]) -> Json:
    """Describe the COGs of one keyframe, in the folder of that name: of each key its file and the unit of its values.

    It is the same for the same keyframe, whichever run makes it.
    """
    return {
        "type": "Feature",
        "stac_version": pystac.get_stac_version(),
        "stac_extensions": ITEM_EXTENSIONS[1:4],  # of the projection, rasters and files
        "id": name,
        **bounded(job.grid),
        "properties": {
            "title": f"Keyframe of {day}",
            "datetime": f"{day}T00:00:00Z",
            "gsd": metres_per_pixel(job.grid.geobox),
        },
        "assets": {key: _asset(job, key, file, unit) for key, (file, unit) in files.items()},
        "links": [
            _link("root", f"../../{COLLECTION_FILE}"),
            _link("parent", f"../{COLLECTION_FILE}"),
            _link("collection", f"../{COLLECTION_FILE}"),
        ],
        "collection": KEYFRAME_COGS,
    }


def _asset(job: GridJob, key: str, file: WrittenFile, unit: float) -> Json:
    band, _, kind = key.partition("-")
    return {
        "href": f"./{file.path.name}",
        "title": f"{BAND_FACTS[band][1]} ({band}){', as it was seen' if kind else ''}, of a keyframe",
        "type": COG_TYPE,
        "roles": ["data", "keyframe"],
        "nodata": 0,
        "data_type": "uint16",
        "bands": [{"name": band, "raster:scale": unit, "raster:offset": 0}],
        **projected(job),
        "file:size": file.size,
        "file:checksum": file.checksum,
    }


def add_keyframes(folder: Path, collection: pystac.Collection, names: Sequence[str]) -> None:
    """Write the collection of the keyframes of these names into a run's folder, and link to it."""
    document = {
        "type": "Collection",
        "stac_version": pystac.get_stac_version(),
        "id": KEYFRAME_COGS,
        "title": f"Keyframes of {collection.title}",
        "description": ABOUT,
        "license": LICENSE,
        "extent": collection.extent.to_dict(),
        "links": [
            _link("root", f"../{COLLECTION_FILE}"),
            _link("parent", f"../{COLLECTION_FILE}"),
            *(_link("item", f"./{name}/{name}.json", pystac.MediaType.GEOJSON) for name in names),
        ],
    }
    (folder / KEYFRAME_COGS).mkdir(exist_ok=True)
    write_json(folder / KEYFRAME_COGS / COLLECTION_FILE, document)
    href = f"./{KEYFRAME_COGS}/{COLLECTION_FILE}"
    collection.add_link(pystac.Link("child", href, pystac.MediaType.JSON, "Keyframes"))


def link_keyframes(item: pystac.Item, names: Sequence[str]) -> None:
    """Let a day's item say which keyframes it is read from."""
    item.clear_links("related")
    for name in names:
        href = f"../{KEYFRAME_COGS}/{name}/{name}.json"
        item.add_link(pystac.Link("related", href, pystac.MediaType.GEOJSON, f"Keyframe {name}"))


def _link(rel: str, href: str, media_type: str = pystac.MediaType.JSON) -> Json:
    return {"rel": rel, "href": href, "type": media_type}
