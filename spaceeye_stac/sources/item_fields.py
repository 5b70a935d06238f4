"""What an item says of itself: its tile, its CRS, and the rasters of its bands."""

import re
from collections.abc import Sequence
from typing import Any

from spaceeye_stac.errors import ItemError
from spaceeye_stac.model import BandAsset
from spaceeye_stac.query import Json
from spaceeye_stac.sources.asset_fields import declared, raster_of
from spaceeye_stac.sources.crs_fields import asset_epsg
from spaceeye_stac.sources.profiles import Profile
from spaceeye_stac.sources.reflectance import products, scale_and_offset


def first_property(item: Json, names: Sequence[str]) -> Any | None:  # noqa: ANN401 - STAC properties are of any type
    """Return the first of the named properties that the item gives; None where it gives none."""
    return next((item["properties"][n] for n in names if item["properties"].get(n) is not None), None)


def tile_of(item: Json, profile: Profile) -> str | None:
    """MGRS tile as "01CCV"; ItemError where the item's id, product and properties name different ones."""
    texts = [str(item["properties"].get(field) or "") for field in profile.properties["tile"]]
    found = [re.fullmatch(r"(?:MGRS-|T)?(\d{1,2}[A-Z]{3})", text) for text in texts]
    found += [re.search(r"_T(\d{2}[A-Z]{3})(?:[_.]|$)", text) for text in products(item, profile)]
    found.append(re.match(r"S2[A-D]?_T?(\d{1,2}[A-Z]{3})_", item["id"]))
    tiles = sorted({match[1].zfill(5) for match in found if match})
    if len(tiles) > 1:
        raise ItemError(f"Item {item['id']} names different tiles ({', '.join(tiles)}); leave it out or correct it.")
    return tiles[0] if tiles else None


def band_asset(item: Json, asset: Json, profile: Profile) -> BandAsset:
    """One band's asset with its scale, offset and nodata; ItemError where scale or offset are absurd."""
    scale, offset = scale_and_offset(item, asset, profile)
    return BandAsset(
        href=asset["href"],
        scale=scale,
        offset=offset,
        nodata=_nodata(asset, profile),
        **raster_of(asset, asset_epsg(item, asset)),
    )


def _nodata(asset: Json, profile: Profile) -> int:
    """The declared nodata; the profile's where there is none, or "nan" or 0.5, which no whole number can be."""
    value = float(profile.nodata if (own := declared(asset, "nodata")) is None else own)
    return int(value) if value.is_integer() else profile.nodata
