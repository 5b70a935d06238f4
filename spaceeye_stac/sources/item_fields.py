"""What an item says of itself: tile, baseline, CRS, and the scale and offset of its bands."""

import math
import re
from collections.abc import Sequence
from typing import Any

from spaceeye_stac.errors import ItemError
from spaceeye_stac.model import BandAsset
from spaceeye_stac.query import Json
from spaceeye_stac.sources.asset_fields import declared, raster_of
from spaceeye_stac.sources.crs_fields import asset_epsg
from spaceeye_stac.sources.profiles import Profile

OFFSET_SINCE_BASELINE = "04.00"
BOA_OFFSET = -0.1
NO_OFFSET = 0.0
PRODUCT_FIELDS = ("s2:product_uri", "s2:tile_id")


def first_property(item: Json, names: Sequence[str]) -> Any | None:  # noqa: ANN401 - STAC properties are of any type
    """Return the first of the named properties that the item gives; None where it gives none."""
    return next((item["properties"][n] for n in names if item["properties"].get(n) is not None), None)


def _products(item: Json, profile: Profile) -> list[str]:
    """What the item calls its ESA product: in its properties, then its own id."""
    fields = (*profile.properties["product"], *PRODUCT_FIELDS)
    return [str(item["properties"][field]) for field in fields if item["properties"].get(field)] + [item["id"]]


def tile_of(item: Json, profile: Profile) -> str | None:
    """MGRS tile as "01CCV"; ItemError where the item's id, product and properties name different ones."""
    texts = [str(item["properties"].get(field) or "") for field in profile.properties["tile"]]
    found = [re.fullmatch(r"(?:MGRS-|T)?(\d{1,2}[A-Z]{3})", text) for text in texts]
    found += [re.search(r"_T(\d{2}[A-Z]{3})(?:[_.]|$)", text) for text in _products(item, profile)]
    found.append(re.match(r"S2[A-D]?_T?(\d{1,2}[A-Z]{3})_", item["id"]))
    tiles = sorted({match[1].zfill(5) for match in found if match})
    if len(tiles) > 1:
        raise ItemError(f"Item {item['id']} names different tiles ({', '.join(tiles)}); leave it out or correct it.")
    return tiles[0] if tiles else None


def baseline_of(item: Json, profile: Profile) -> str | None:
    """Processing baseline as "05.09": the item's own field, or what its product name says."""
    texts = [str(item["properties"].get(field) or "") for field in profile.properties["baseline"]]
    found = [re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", text) for text in texts]
    found += [re.search(r"_N(\d{2})\.?(\d{2})(?:[_.]|$)", text) for text in _products(item, profile)]
    return next((f"{match[1].zfill(2)}.{match[2]}" for match in found if match), None)


def offset_of(item: Json, asset: Json, profile: Profile) -> float:
    """Offset to add to `DN * scale`, decided from the item's own fields, never from its date.

    None is left to add where the item's flag says that its pixels have it. Else `declared` takes the asset's own; where
    there is none, and for `baseline`, it is -0.1 (-1000 DN) from processing baseline 04.00. Source: ESA's note on it.
    """
    if profile.offset_rule == "none" or any(item["properties"].get(flag) is True for flag in profile.applied_flags):
        return NO_OFFSET
    own = declared(asset, "offset") if profile.offset_rule == "declared" else None
    if own is not None:
        return float(own)
    baseline = baseline_of(item, profile)
    if baseline is None and profile.offset_rule == "declared":
        raise ItemError(
            f"Item {item['id']} gives neither an offset nor a processing baseline, so reflectance is unknown."
        )
    return BOA_OFFSET if (baseline or "") >= OFFSET_SINCE_BASELINE else NO_OFFSET


def band_asset(item: Json, asset: Json, profile: Profile) -> BandAsset:
    """One band's asset with its scale, offset and nodata; ValueError where scale or offset are absurd."""
    scale, offset = float(declared(asset, "scale") or profile.scale), offset_of(item, asset, profile)
    if not (math.isfinite(offset) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale {scale} and offset {offset} must be finite and scale positive")
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
