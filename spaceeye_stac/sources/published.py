"""Everything that a catalog holds, whenever and wherever: what a published collection of days is read from."""

from collections.abc import Sequence

from shapely.geometry import shape

from spaceeye_stac.errors import CatalogError
from spaceeye_stac.query import Json, Query
from spaceeye_stac.sources.apis import from_api
from spaceeye_stac.sources.catalog import open_catalog
from spaceeye_stac.sources.folders import from_static

EVERYWHERE, EVER = (-180.0, -90.0, 180.0, 90.0), "1900-01-01/2200-01-01"


def all_items(catalog: object, allow_hrefs: Sequence[str] = ()) -> list[Json]:
    """Every item of a catalog, its assets' hrefs absolute and such as it may name.

    Raises CatalogError where it cannot be read, or not in full, or names what it may not, and NoScenesError where it is
    empty.
    """
    query = Query(catalog=catalog, datetime=EVER, bbox=EVERYWHERE, allow_hrefs=allow_hrefs or None)
    root = open_catalog(query)
    if root.is_api:
        items, _, notes = from_api(root, query, query.days)
    else:
        items, _, notes = from_static(root, shape(query.geometry))
    if notes:
        raise CatalogError(f"Catalog {root.redacted} cannot be read in full: {notes[0]}")
    for item in items:
        for asset in item["assets"].values():
            root.trust.check_link(asset["href"])
    return items
