"""What the user asks for: a Query and Settings, checked when they are made; the only I/O is a file of the region."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

from spaceeye_stac.display import call, card, given, plainly, table
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines import checked_bbox
from spaceeye_stac.query.bands import BANDS, checked_bands, either
from spaceeye_stac.query.dates import DateRange, parse_datetime

Json = dict[str, Any]
MASK_KINDS = ("scl", "probability", "boolean")
UNMASKED = ("refuse", "clear", "drop")
UNREADABLE = ("refuse", "drop")
LABEL_VALUES = 65535
ALL_CLOUD = 100
UTM_ZONES = 60
RELATIVE_ORBITS = 143
LONGEST_BUFFER = 1_000_000.0


def _geometry(source: object, buffer: float | None) -> Json:
    """The GeoJSON geometry of a region in any of the ways in which it may be written."""
    from shapely.geometry import mapping  # noqa: PLC0415 - shapely is not needed for a bbox

    from spaceeye_stac.outlines import region_of  # noqa: PLC0415

    area = region_of(source, None if buffer is None else _number("buffer", buffer, LONGEST_BUFFER, "metres"))
    checked_bbox(area.bounds)
    return dict(mapping(area))


@dataclass(frozen=True)
class MaskChoice:
    """Which of an item's masks is used, what to do without one, and whether masks are items of their own.

    `kind`, `asset` and `clear_values` are the profile's where they are None.
    """

    kind: str | None = None
    asset: str | None = None
    clear_values: tuple[int, ...] | None = None
    unmasked: str = "refuse"
    separate: bool = False

    @property
    def is_own(self) -> bool:
        """Whether every item must have the mask that its profile names first, as is usual."""
        return self == MaskChoice()


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for: where, when, which bands, in which catalog.

    The types, with what else JSON Schema can say of them, and these texts describe the process everywhere.

    Parameters
    ----------
    catalog
        Profile name ("planetary-computer"), URL or path. A URL is that of a STAC API, a collection, its items, a search
        or a static catalog; a path is a catalog or collection file, the folder it is in, or a file of items. In Python
        also a pystac Catalog, ItemCollection, list of items or pystac-client search.
    datetime
        The days to publish: "A/B" with both days included; a single day, month or year also works.
    bbox
        West, south, east, north in degrees. Exactly one of `bbox` and `intersects` is given. West > east crosses the
        antimeridian.
    intersects
        The region as GeoJSON, WKT, or a file of either or of a GIS; the grid covers its envelope. A file of a GIS needs
        pyogrio or fiona. In Python also a dict, or anything with `__geo_interface__`, whose `crs` counts.
    buffer
        Metres around `intersects` that belong to the region too; a point or a line needs them.
    collection
        Collection to search; left out, the one that a profile knows.
    bands
        Sentinel-2 names (B02 ... B12, B8A), also as b2 or by their common names, as red, nir and swir16; left out, the
        10 and 20 m bands that every scene has.
    profile
        How the catalog names things; left out, it is recognised from the items.
    max_cloud_cover
        Scenes with more cloud than this, in percent, are left out; those that do not say it stay.
    tiles
        MGRS tiles to use alone, as 31UDS.
    platforms
        Satellites to use alone, as sentinel-2a or S2A.
    orbits
        Relative orbits to use alone, from 1 to 143.
    allow_hrefs
        Folders and URL prefixes that items may name though their catalog is not trusted to. Not trusted are files
        outside a local catalog's folder, any file or loopback address in a remote one, hosts of private networks.
    mask
        Kind of mask to use: "scl" (classes), "probability" (of cloud) or "boolean"; left out, the profile's first.
    mask_asset
        Key of the mask's asset; left out, the one that the profile names for the kind.
    mask_clear_values
        For "boolean": the values that mean clear; left out, the profile's.
    mask_collection
        Collection whose items are the masks; they are paired with the scenes by tile and time.
    mask_catalog
        Where that collection is, as `catalog`; left out, in the same catalog.
    unmasked
        What becomes of a scene without its mask: "refuse" it with an error, take every pixel as "clear", or "drop" it.
    exclude
        Ids of items not to use.
    unreadable
        What becomes of a scene with a file that cannot be opened: "refuse" it with an error, or "drop" it and warn.

    Raises InvalidInputError, with the value and the remedy.

    """

    catalog: Annotated[object, {"type": "string"}]
    datetime: str
    bbox: Annotated[Sequence[float] | None, {"minItems": 4, "maxItems": 4}] = None
    intersects: Annotated[object | None, {"anyOf": [{"type": "object"}, {"type": "string"}]}] = None
    buffer: float | None = None
    collection: str | None = None
    bands: Annotated[Sequence[str] | None, {"items": {"type": "string", "enum": list(BANDS)}}] = None
    profile: str | None = None
    max_cloud_cover: float | None = None
    tiles: Sequence[str] | None = None
    platforms: Sequence[str] | None = None
    orbits: Sequence[int] | None = None
    allow_hrefs: Sequence[str] | None = None
    mask: Annotated[str | None, {"enum": list(MASK_KINDS)}] = None
    mask_asset: str | None = None
    mask_clear_values: Sequence[int] | str | None = None
    mask_collection: str | None = None
    mask_catalog: str | Path | None = None
    unmasked: Annotated[str, {"enum": list(UNMASKED)}] = "refuse"
    exclude: Sequence[str] | None = None
    unreadable: Annotated[str, {"enum": list(UNREADABLE)}] = "refuse"

    def __post_init__(self) -> None:
        if (self.bbox is None) == (self.intersects is None):
            raise InvalidInputError("Give exactly one of bbox and intersects.")
        if self.bbox is not None:
            if self.buffer is not None:
                raise InvalidInputError(f"buffer {self.buffer!r} is around intersects; give that instead of bbox.")
            object.__setattr__(self, "bbox", checked_bbox(self.bbox))
        else:
            object.__setattr__(self, "intersects", _geometry(self.intersects, self.buffer))
            object.__setattr__(self, "buffer", None)  # the region has it now, and a copy must not widen it again
        if self.bands is not None:
            object.__setattr__(self, "bands", checked_bands(self.bands))
        if self.max_cloud_cover is not None:
            share = _number("max_cloud_cover", self.max_cloud_cover, ALL_CLOUD, "percent")
            object.__setattr__(self, "max_cloud_cover", share)
        kinds: Json = {"tiles": _tile, "platforms": _platform, "orbits": _orbit, "allow_hrefs": _prefix, "exclude": str}
        for name, read in kinds.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _each(name, getattr(self, name), read))
        self._check_mask()
        parse_datetime(self.datetime)

    def __repr__(self) -> str:
        return call("Query", given(self))

    def _repr_html_(self) -> str:
        from spaceeye_stac.display import map_of  # noqa: PLC0415 - shapely

        return card("Query", map_of(self.geometry), table((), plainly(given(self))))

    def _check_mask(self) -> None:
        if self.mask is not None and self.mask not in MASK_KINDS:
            raise InvalidInputError(f"mask {self.mask!r} is not allowed; choose from {', '.join(MASK_KINDS)}.")
        for name, known in (("unmasked", UNMASKED), ("unreadable", UNREADABLE)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise InvalidInputError(f"{name} {value!r} is not allowed; choose from {', '.join(known)}.")
        if self.mask_asset is not None and self.mask is None:
            raise InvalidInputError(f"mask_asset {self.mask_asset!r} needs its kind; give mask, {either(MASK_KINDS)}.")
        if self.mask_clear_values is not None:
            values = _each("mask_clear_values", self.mask_clear_values, _label_value)
            if self.mask != "boolean":
                raise InvalidInputError(f"mask_clear_values {values!r} are those of a boolean mask; give mask boolean.")
            object.__setattr__(self, "mask_clear_values", values)

    @property
    def mask_choice(self) -> MaskChoice:
        """The options on masks, together."""
        separate = self.mask_collection is not None or self.mask_catalog is not None
        values = cast("tuple[int, ...] | None", self.mask_clear_values)  # since the query was made
        return MaskChoice(self.mask, self.mask_asset, values, self.unmasked, separate)

    @property
    def days(self) -> DateRange:
        """The days to publish."""
        return parse_datetime(self.datetime)

    @cached_property
    def geometry(self) -> Json:
        """The region as a GeoJSON geometry in degrees, cut at 180 degrees where it crosses them."""
        if self.bbox is None:
            return self.intersects  # type: ignore[return-value]
        west, south, east, north = self.bbox
        sides = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
        rings = [[[w, south], [e, south], [e, north], [w, north], [w, south]] for w, e in sides if w < e]
        if len(rings) == 1:
            return {"type": "Polygon", "coordinates": rings}
        return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}


def _number(name: str, value: object, most: float, unit: str) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found <= most or isinstance(value, bool):
        raise InvalidInputError(f"{name} {value!r} is not allowed; give {unit}, from 0 to {most:.0f}.")
    return found


def _label_value(value: object) -> int:
    text = str(value).strip()
    if not text.isdecimal() or int(text) >= LABEL_VALUES:
        raise InvalidInputError(f"mask_clear_values {value!r} is no value of a mask; give whole numbers from 0.")
    return int(text)


def _each(name: str, values: object, read: Callable[[object], Any]) -> tuple[Any, ...]:
    """Every value of a filter as `read` writes it; text may hold several, with commas between."""
    parts = [part.strip() for part in values.split(",")] if isinstance(values, str) else values
    if not isinstance(parts, Iterable):
        parts = [parts]
    found = tuple(dict.fromkeys(read(part) for part in parts))
    if not found:
        raise InvalidInputError(f"{name} names nothing; name one or leave {name} out.")
    return found


def _tile(value: object) -> str:
    found = re.fullmatch(r"(?:MGRS-|T)?(\d{1,2})([C-HJ-NP-X][A-HJ-NP-Z]{2})", str(value).strip().upper())
    if found is None or not 1 <= int(found[1]) <= UTM_ZONES:
        raise InvalidInputError(f"tiles {value!r} is no MGRS tile; write it as 31UDS.")
    return f"{int(found[1]):02}{found[2]}"


def _platform(value: object) -> str:
    found = re.fullmatch(r"(?:sentinel-?|s)2([a-z])", str(value).strip().lower())
    if found is None:
        raise InvalidInputError(f"platforms {value!r} is no Sentinel-2 satellite; write it as sentinel-2a or S2A.")
    return f"sentinel-2{found[1]}"


def _orbit(value: object) -> int:
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= int(text) <= RELATIVE_ORBITS:
        raise InvalidInputError(f"orbits {value!r} is no relative orbit; give whole numbers, 1 to {RELATIVE_ORBITS}.")
    return int(text)


def _prefix(value: object) -> str:
    text = str(value).strip()
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]|/|~|\.", text):
        raise InvalidInputError(
            f"allow_hrefs {value!r} is no folder and no URL; write it as /data or https://host/path."
        )
    return text
