"""A small run to look at: ten days of 64 x 64 pixels, made once for a file of tests."""

from pathlib import Path

import spaceeye_stac as se
from tests.support.small_catalog import small_items, small_query, written

BANDS = ["B02", "B03", "B04", "B08"]
HOSTILE = "<script>alert(1)</script>"


def shown_run(folder: Path, **options: object) -> se.Result:
    """The run, whose first scene has a hostile id, and whose second is cloudier than the query wants."""
    items = small_items(folder / "catalog")
    items[0]["id"] = HOSTILE
    items[1]["properties"]["eo:cloud_cover"] = 99.0
    catalog = written(items, folder)
    query = small_query(catalog, bands=BANDS, max_cloud_cover=98)
    settings = se.Settings(method="damped", damping_factor=0.2)
    return se.run(query, settings, out=folder / "days", **options)  # type: ignore[arg-type]
