"""How each catalog names things: profiles read from catalogs/*.toml, and items mapped to scenes by them."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaceeye_stac.errors import CatalogError, ItemError
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.query import Json

if TYPE_CHECKING:
    import pystac

OFFSET_SINCE_BASELINE = [4, 0]
BOA_OFFSET = -0.1
NO_OFFSET = 0.0
DEGREES_PER_HOUR = 15.0


@dataclass(frozen=True)
class Profile:
    """One source catalog: where it is and how it names bands, labels and properties."""

    name: str
    title: str
    url: str
    collection: str
    signing: str
    bands: Mapping[str, str]
    labels: str
    properties: Mapping[str, Sequence[str]]
    scale: float
    nodata: int
    offset_rule: str
    applied_flag: str | None

    def fits(self, item: Json) -> bool:
        """Whether the item has this profile's label asset and at least one of its bands."""
        return self.labels in item["assets"] and any(key in item["assets"] for key in self.bands.values())


def _folder() -> Traversable:
    """The profiles' folder: inside an installed package, or beside it in a checkout."""
    inside = files("spaceeye_stac") / "catalogs"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "catalogs"


@cache
def profiles() -> dict[str, Profile]:
    """All shipped profiles by name."""
    found = [_parse(entry.read_text(encoding="utf-8")) for entry in _folder().iterdir() if entry.name.endswith(".toml")]
    return {profile.name: profile for profile in sorted(found, key=lambda p: p.name)}


def _parse(text: str) -> Profile:
    raw = tomllib.loads(text)
    reflectance = raw["reflectance"]
    return Profile(
        **{key: raw[key] for key in ("name", "title", "url", "collection", "signing", "bands", "properties")},
        labels=raw["labels"]["asset"],
        scale=float(reflectance["scale"]),
        nodata=int(reflectance["nodata"]),
        offset_rule=reflectance["offset_rule"],
        applied_flag=reflectance.get("applied_flag"),
    )


def profile_named(name: str) -> Profile:
    """Return the profile of that name; CatalogError lists the known ones."""
    try:
        return profiles()[name]
    except KeyError:
        raise CatalogError(f"Profile {name!r} is unknown; choose from {', '.join(profiles())}.") from None


def recognise(item: Json) -> Profile:
    """Return the first profile that fits the item; ItemError names the item when none does."""
    for profile in profiles().values():
        if profile.fits(item):
            return profile
    raise ItemError(f"Item {item['id']} fits no profile ({', '.join(profiles())}); name one with profile.")


def scenes_from_items(
    items: "Iterable[Json | pystac.Item]", profile: str | None = None, *, lon: float | None = None
) -> list[Scene]:
    """Map items to scenes without any network.

    Parameters
    ----------
    items
        STAC items, as dicts (as served, or as pystac migrates them) or `pystac.Item`.
    profile
        How the catalog names things; recognised from each item when left out.
    lon
        Longitude whose solar day counts, in degrees; each item's own centre when left out.

    Returns scenes with their bands, scale, offset and mask, in the order given. Raises ItemError with the item's id.

    """
    known = profile_named(profile) if profile else None
    return [
        _scene(item if isinstance(item, dict) else item.to_dict(transform_hrefs=False), known, lon) for item in items
    ]


def _scene(item: Json, profile: Profile | None, lon: float | None) -> Scene:
    profile = profile or recognise(item)
    if profile.labels not in item["assets"]:
        raise ItemError(f"Item {item['id']} has no mask asset {profile.labels!r} (profile {profile.name}).")
    when = _datetime(item)
    bands = {
        name: _band(item, item["assets"][key], profile) for name, key in profile.bands.items() if key in item["assets"]
    }
    orbit = _first(item, profile.properties["relative_orbit"])
    return Scene(
        id=item["id"],
        tile=_tile(item, profile),
        day=solar_day(when, _centre_lon(item) if lon is None else lon),
        datetime=when,
        epsg=_epsg(item, profile),
        baseline=_baseline(item, profile),
        relative_orbit=None if orbit is None else int(orbit),
        platform=_first(item, profile.properties["platform"]),
        bands=bands,
        labels=_labels(item["assets"][profile.labels]),
        item=item,
        href=next((link["href"] for link in item.get("links", ()) if link["rel"] == "self"), None),
        profile=profile.name,
    )


def _first(item: Json, names: Sequence[str]) -> Any | None:  # noqa: ANN401 - STAC properties are of any type
    return next((item["properties"][n] for n in names if item["properties"].get(n) is not None), None)


def _datetime(item: Json) -> datetime:
    text = item["properties"].get("datetime") or item["properties"].get("start_datetime")
    try:
        when = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ItemError(f"Item {item['id']} has datetime {text!r}, which is no RFC 3339 time.") from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def solar_day(when: datetime, lon: float) -> date:
    """Calendar date of the local solar time, UTC + lon/15 hours, so that one overpass falls on one day everywhere."""
    return (when.astimezone(UTC) + timedelta(hours=lon / DEGREES_PER_HOUR)).date()


def _centre_lon(item: Json) -> float:
    bbox = item.get("bbox")
    if not bbox:
        raise ItemError(f"Item {item['id']} has no bbox, so its solar day is unknown.")
    west, east = bbox[0], bbox[len(bbox) // 2]
    return float(west + east + (360 if west > east else 0)) / 2


def _tile(item: Json, profile: Profile) -> str | None:
    text = _first(item, profile.properties["tile"])
    if text is not None:
        return re.sub(r"^(MGRS-|T(?=\d))", "", str(text))
    found = re.search(r"_T(\d{2}[A-Z]{3})(?:_|$)", _product(item))
    return found[1] if found else None


def _baseline(item: Json, profile: Profile) -> str | None:
    """Processing baseline as "05.09": the item's own field, or what its product name says."""
    text = _first(item, profile.properties["baseline"])
    if text is not None:
        return str(text)
    found = re.search(r"_N(\d{2})(\d{2})_", _product(item))
    return f"{found[1]}.{found[2]}" if found else None


def _product(item: Json) -> str:
    """ESA's product name where the item has it, else its id."""
    return str(item["properties"].get("s2:product_uri") or item["id"])


def _epsg(item: Json, profile: Profile) -> int:
    keys = [profile.labels, *profile.bands.values()]
    places = [item["properties"], *(item["assets"][key] for key in keys if key in item["assets"])]
    codes = {place["proj:epsg"] for place in places if place.get("proj:epsg")}
    codes |= {int(place["proj:code"].removeprefix("EPSG:")) for place in places if place.get("proj:code")}
    if len(codes) != 1:
        found = "none" if not codes else ", ".join(map(str, sorted(codes)))
        raise ItemError(f"Item {item['id']} must give one EPSG code in proj:code or proj:epsg; it gives {found}.")
    return int(codes.pop())


def declared(asset: Json, name: str) -> Any | None:  # noqa: ANN401 - STAC fields are of any type
    """A raster field of an asset, wherever the STAC version at hand puts it (1.1 `bands`, 1.0 `raster:bands`)."""
    places = [asset, *asset.get("bands", ())[:1], *asset.get("raster:bands", ())[:1]]
    return next(
        (place[key] for place in places for key in (f"raster:{name}", name) if place.get(key) is not None), None
    )


def offset_of(item: Json, asset: Json, profile: Profile) -> float:
    """Offset to add to `DN * scale`, decided from the item's own fields, never from its date.

    `declared`: the asset's offset, unless the item's flag says that its pixels have it already. `baseline`: -0.1
    (-1000 DN) from processing baseline 04.00, else 0. Source: ESA's Processing Baseline 04.00 note.
    """
    if profile.offset_rule == "declared":
        applied = profile.applied_flag is not None and item["properties"].get(profile.applied_flag) is True
        return NO_OFFSET if applied else float(declared(asset, "offset") or NO_OFFSET)
    parts = [int(part) for part in re.findall(r"\d+", _baseline(item, profile) or "0")]
    return BOA_OFFSET if parts >= OFFSET_SINCE_BASELINE else NO_OFFSET


def _resolution(asset: Json) -> float | None:
    transform = asset.get("proj:transform")
    found = transform[0] if transform else (asset.get("gsd") or declared(asset, "spatial_resolution"))
    return None if found is None else float(found)


def _origin(asset: Json) -> tuple[float, float] | None:
    transform = asset.get("proj:transform")
    return (float(transform[2]), float(transform[5])) if transform else None


def _band(item: Json, asset: Json, profile: Profile) -> BandAsset:
    nodata = declared(asset, "nodata")
    return BandAsset(
        href=str(asset["href"]),
        scale=float(declared(asset, "scale") or profile.scale),
        offset=offset_of(item, asset, profile),
        nodata=profile.nodata if nodata is None else int(nodata),
        resolution=_resolution(asset),
        origin=_origin(asset),
    )


def _labels(asset: Json) -> BandAsset:
    return BandAsset(href=str(asset["href"]), scale=1.0, offset=0.0, nodata=0, resolution=_resolution(asset))
