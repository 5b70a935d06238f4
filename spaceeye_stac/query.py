"""What the user asks for: a Query and Settings, checked when they are made; the only I/O is a file of the region."""

import calendar
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines import checked_bbox

Json = dict[str, Any]
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
DEFAULT_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
MASK_KINDS = ("scl", "probability", "boolean")
UNMASKED = ("refuse", "clear", "drop")
UNREADABLE = ("refuse", "drop")
LABEL_VALUES = 65535
ALL_CLOUD = 100
UTM_ZONES = 60
RELATIVE_ORBITS = 143
LONGEST_BUFFER = 1_000_000.0


@dataclass(frozen=True)
class DateRange:
    """Calendar days from `start` to `stop`, both included."""

    start: date
    stop: date

    def __len__(self) -> int:
        return (self.stop - self.start).days + 1

    def __iter__(self) -> Iterator[date]:
        return (self.start + timedelta(days=i) for i in range(len(self)))

    def index(self, day: date) -> int:
        """Days from `start` to `day`; negative before it."""
        return (day - self.start).days

    def day(self, index: int) -> date:
        """Return the day `index` days after `start`."""
        return self.start + timedelta(days=index)

    def widened(self, days: int) -> "DateRange":
        """The range with `days` more at both ends."""
        return DateRange(self.start - timedelta(days=days), self.stop + timedelta(days=days))


def _end_of_range(text: str, *, last: bool) -> date:
    match = re.fullmatch(r"(\d{4})(?:-(\d{2}))?", text)
    try:
        if match is None:
            return datetime.fromisoformat(text).date()
        year, month = int(match[1]), int(match[2] or (12 if last else 1))
        return date(year, month, calendar.monthrange(year, month)[1] if last else 1)
    except (ValueError, calendar.IllegalMonthError) as error:
        msg = f"datetime {text!r} is not a date; write it as 2018-04-11, or a range as 2018-04-11/2018-08-08."
        raise InvalidInputError(msg) from error


def parse_datetime(text: str) -> DateRange:
    """`A/B`, or a single day, month (2018-04) or year (2018), as days; both ends are included.

    Raises InvalidInputError for anything malformed, open-ended or reversed.
    """
    ends = [part.strip() for part in str(text).split("/")]
    if any(end in {"", ".."} for end in ends):
        raise InvalidInputError(f"datetime {text!r} is open-ended; give both ends, as 2018-04-11/2018-08-08.")
    if len(ends) > 2:  # noqa: PLR2004
        raise InvalidInputError(f"datetime {text!r} has {len(ends)} parts; a range has two, as 2018-04-11/2018-08-08.")
    days = DateRange(_end_of_range(ends[0], last=False), _end_of_range(ends[-1], last=True))
    if days.stop < days.start:
        raise InvalidInputError(f"datetime {text!r} ends before it starts; swap its two ends.")
    return days


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
        Sentinel-2 names (B02 ... B12, B8A); left out, the 10 and 20 m bands that every scene has.
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
            object.__setattr__(self, "bands", _checked_bands(self.bands))
        if self.max_cloud_cover is not None:
            share = _number("max_cloud_cover", self.max_cloud_cover, ALL_CLOUD, "percent")
            object.__setattr__(self, "max_cloud_cover", share)
        kinds: Json = {"tiles": _tile, "platforms": _platform, "orbits": _orbit, "allow_hrefs": _prefix, "exclude": str}
        for name, read in kinds.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _each(name, getattr(self, name), read))
        self._check_mask()
        parse_datetime(self.datetime)

    def _check_mask(self) -> None:
        if self.mask is not None and self.mask not in MASK_KINDS:
            raise InvalidInputError(f"mask {self.mask!r} is not allowed; choose from {', '.join(MASK_KINDS)}.")
        for name, known in (("unmasked", UNMASKED), ("unreadable", UNREADABLE)):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise InvalidInputError(f"{name} {value!r} is not allowed; choose from {', '.join(known)}.")
        if self.mask_asset is not None and self.mask is None:
            raise InvalidInputError(f"mask_asset {self.mask_asset!r} needs its kind; give mask, {_either(MASK_KINDS)}.")
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


def _checked_bands(bands: Sequence[str]) -> tuple[str, ...]:
    names = tuple(bands.split(",") if isinstance(bands, str) else bands)
    unknown = [name for name in names if name not in BANDS]
    if unknown or not names:
        raise InvalidInputError(f"bands {','.join(unknown) or '(none)'}: choose from {','.join(BANDS)}.")
    if len(set(names)) < len(names):
        raise InvalidInputError(f"bands {','.join(names)} names a band twice.")
    return names


def _number(name: str, value: object, most: float, unit: str) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not 0 <= found <= most or isinstance(value, bool):
        raise InvalidInputError(f"{name} {value!r} is not allowed; give {unit}, from 0 to {most:.0f}.")
    return found


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


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
