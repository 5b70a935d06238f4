"""The CRS of items and their assets, in every spelling that catalogs have, as EPSG codes."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from spaceeye_stac.errors import ItemError
from spaceeye_stac.query import Json

NUMBERED = re.compile(r"(?:epsg(?:[:/]+[\d.]*)?[:/]+)?(\d{1,9})(?:\.0+)?(?:\+\d+)?", re.IGNORECASE)
NOTHING = re.compile(r"(?:epsg:*)?(?:none|null|nan|unknown)?", re.IGNORECASE)
PREFIX = re.compile(r"^(?:urn:(?:x-)?ogc:def:crs:|https?://(?:www\.)?opengis\.net/def/crs/)", re.IGNORECASE)
LON_LAT = {"OGC:CRS84": 4326, "OGC/1.3/CRS84": 4326, "OGC:1.3:CRS84": 4326, "OGC::CRS84": 4326}
DESCRIBED = re.compile(r"^\s*(?:[A-Za-z_0-9]+\s*\[|\{)|^[A-Z]{2,8}:\w+$")
NO_CODES = {0, 32767}  # what GeoTIFF says for "undefined" and "user-defined"
ABSURD = (CRSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError)


def epsg_of(item: Json, keys: Sequence[str]) -> int:
    """EPSG code of the assets of these keys, that of most of them, else of any asset, else of the item.

    ItemError where none is given, or one that nobody knows.
    """
    found = [code for key in keys if (code := asset_epsg(item, item["assets"][key])) is not None]
    if not found:
        raise ItemError(f"Item {item['id']} must give one EPSG code in proj:code or proj:epsg; it gives none.")
    return Counter(found).most_common(1)[0][0]


def asset_epsg(item: Json, asset: Json) -> int | None:
    """EPSG code of an asset's raster: its own, else the item's, as STAC says; None where neither gives one."""
    for place in (asset, item["properties"]):
        codes = _codes(place)
        if len(codes) > 1:
            named = ", ".join(map(str, sorted(codes)))
            raise ItemError(f"Item {item['id']} must give one EPSG code in proj:code or proj:epsg; it gives {named}.")
        for code in codes:
            if not _is_place(code):
                raise ItemError(f"Item {item['id']} gives EPSG:{code}, which is no CRS of a map; leave it out.")
            return code
    return None


def _codes(place: Json) -> set[int]:
    """What `proj:code` and `proj:epsg` say; else what the whole CRS in WKT2 or PROJJSON is known as."""
    named = {code for field in ("proj:code", "proj:epsg") if (code := _number(place.get(field))) is not None}
    whole = (_described(place.get(field)) for field in ("proj:wkt2", "proj:projjson"))
    return named or {code for code in whole if code is not None}


def _number(value: Any) -> int | None:  # noqa: ANN401 - STAC fields are of any type
    """EPSG code in one of its spellings; None for what says nothing."""
    if value is None or isinstance(value, bool | dict | list):
        return None
    text = PREFIX.sub("", str(value).strip())
    if NOTHING.fullmatch(text):
        return None
    match = NUMBERED.fullmatch(text)
    if match:
        return None if int(match[1]) in NO_CODES else int(match[1])
    return LON_LAT.get(text.upper()) or _described(text) or _refused(text)


def _refused(text: str) -> int | None:
    """None for a name that other fields may mend; a number that is no code is one all the same, and is refused."""
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None


@cache
def _is_place(code: int) -> bool:
    """Whether a code is that of a CRS on the ground."""
    try:
        crs = CRS.from_epsg(code)
    except CRSError:
        return False
    return bool(crs.is_projected or crs.is_geographic)


def _described(value: Any) -> int | None:  # noqa: ANN401 - STAC fields are of any type
    """EPSG code of a CRS that is described as a whole: in WKT, PROJJSON, or by a name such as ESRI:102001."""
    text = json.dumps(value) if isinstance(value, dict) else value
    known = isinstance(text, str) and DESCRIBED.search(text)
    return _parsed(text) if known else None  # PROJ would look for any other text among its names, which takes a second


@lru_cache(maxsize=256)
def _parsed(text: str) -> int | None:
    """EPSG code of a description; of one with heights, that of its plane."""
    try:
        crs = CRS.from_user_input(text)
        flat = crs.sub_crs_list[0] if crs.is_compound else crs
        code = (flat.source_crs or flat if flat.is_bound else flat).to_epsg()
    except ABSURD:
        return None
    return None if code is None else int(code)
