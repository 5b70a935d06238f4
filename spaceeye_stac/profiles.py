"""How each catalog names things: profiles read from catalogs/*.toml, and items mapped to scenes by them."""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaceeye_stac.errors import CatalogError, ItemError
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.query import Json
from spaceeye_stac.region import footprint, middle

if TYPE_CHECKING:
    import pystac

OFFSET_SINCE_BASELINE = "04.00"
BOA_OFFSET = -0.1
NO_OFFSET = 0.0
DEGREES_PER_HOUR = 15.0
UTM_NORTH, UTM_SOUTH = 32600, 32700
RESOLUTION_SUFFIX = re.compile(r"_\d+m$")
LEVEL_FIELDS = ("s2:product_type", "sentinel2:product_type", "product:type", "oseo:productType", "processing:level")
PRODUCT_FIELDS = ("s2:product_uri", "s2:tile_id")
OFFSET_RULES = ("declared", "baseline", "none")
SIGNINGS = ("none", "planetary-computer")
PROPERTIES = ("tile", "baseline", "relative_orbit", "platform")


@dataclass(frozen=True)
class Profile:
    """One source catalog: where it is and how it names bands, labels and properties."""

    name: str
    title: str
    url: str
    collection: str
    signing: str
    bands: Mapping[str, Sequence[str]]
    labels: Sequence[str]
    label_roles: Sequence[str]
    properties: Mapping[str, Sequence[str]]
    scale: float
    nodata: int
    offset_rule: str
    applied_flags: Sequence[str]
    gdal_env: Mapping[str, str]
    collections: Sequence[str]
    marks: Sequence[str]
    by_name: bool
    order: int

    def band_key(self, item: Json, band: str) -> str | None:
        """Key of the item's asset that holds the band."""
        found = self._by_name if self.by_name else _first_key
        return found(item["assets"], self.bands[band])

    def label_key(self, item: Json) -> str | None:
        """Key of the item's scene classification."""
        assets = item["assets"]
        found = self._by_name(assets, self.labels) if self.by_name else _first_key(assets, self.labels)
        roles = set(self.label_roles)
        return found or next((key for key, asset in assets.items() if roles & set(asset.get("roles") or ())), None)

    def misfit(self, item: Json) -> str | None:
        """Why the item is not of this profile; None when it is."""
        if self.label_key(item) is None:
            return f"it has no mask asset {' or '.join(self.labels)!r}"
        if not any(self.band_key(item, band) for band in self.bands):
            return "it has no asset with a known band"
        known = not (self.collections or self.marks) or item.get("collection") in self.collections
        return None if known or any(mark in item["properties"] for mark in self.marks) else "it is of another catalog"

    @staticmethod
    def _by_name(assets: Json, names: Sequence[str]) -> str | None:
        """Key of the best asset of that name: a COG, then the plain key, then the finest resolution."""
        wanted = {name.lower() for name in names}
        found = [key for key, asset in assets.items() if wanted & _names(key, asset)]
        return min(
            found,
            key=lambda key: (_is_not_cog(assets[key]), "_" in key, _resolution(assets[key]) or 0, key),
            default=None,
        )


def _first_key(assets: Json, names: Sequence[str]) -> str | None:
    return next((key for key in names if key in assets), None)


def _names(key: str, asset: Json) -> set[str]:
    """What an asset's only band is called, in lower case: by itself, by its common name, and by the asset's key."""
    bands = asset.get("eo:bands") or asset.get("bands") or ()
    if {"overview", "thumbnail", "visual"} & set(asset.get("roles") or ()) or len(bands) > 1:
        return set()
    fields = ("name", "common_name", "eo:common_name")
    inside = {str(band[field]) for band in bands if isinstance(band, dict) for field in fields if band.get(field)}
    return {name.lower() for name in inside | {RESOLUTION_SUFFIX.sub("", key)}}


def _is_not_cog(asset: Json) -> bool:
    return "tif" not in str(asset.get("type") or asset["href"])


def _folder() -> Traversable:
    """The profiles' folder: inside an installed package, or beside it in a checkout."""
    inside = files("spaceeye_stac") / "catalogs"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "catalogs"


@cache
def profiles() -> dict[str, Profile]:
    """All shipped profiles by name, the most specific first."""
    found = [_parse(entry.read_text(encoding="utf-8")) for entry in _folder().iterdir() if entry.name.endswith(".toml")]
    return {profile.name: profile for profile in sorted(found, key=lambda p: p.order)}


def _parse(text: str) -> Profile:
    raw = tomllib.loads(text)
    reflectance, labels, match = raw["reflectance"], raw["labels"], raw.get("match", {})
    _one_of("offset_rule", reflectance["offset_rule"], OFFSET_RULES)
    _one_of("signing", raw["signing"], SIGNINGS)
    return Profile(
        **{key: str(raw[key]) for key in ("name", "title", "url", "collection", "signing")},
        bands={band: _texts(keys) for band, keys in raw["bands"].items()},
        labels=_texts(labels["assets"]),
        label_roles=_texts(labels.get("roles", [])),
        properties={name: _texts(raw["properties"][name]) for name in PROPERTIES}
        | {"product": _texts(raw["properties"].get("product", []))},
        scale=float(reflectance["scale"]),
        nodata=int(reflectance["nodata"]),
        offset_rule=reflectance["offset_rule"],
        applied_flags=_texts(reflectance.get("applied_flags", [])),
        gdal_env={key: str(value) for key, value in raw.get("gdal", {}).items()},
        collections=_texts(match.get("collections", [])),
        marks=_texts(match.get("properties", [])),
        by_name=bool(match.get("by_name", False)),
        order=int(match.get("order", 0)),
    )


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _texts(value: object) -> tuple[str, ...]:
    """One name or a list of names, as a tuple."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in found):
        raise TypeError(f"{value!r} must be a text or a list of texts")
    return tuple(found)


def profile_named(name: str) -> Profile:
    """Return the shipped profile of that name, or the one in that .toml file; CatalogError lists the known ones."""
    if str(name).endswith(".toml"):
        return _from_file(Path(name))
    try:
        return profiles()[name]
    except KeyError:
        known = ", ".join(profiles())
        raise CatalogError(f"Profile {name!r} is unknown; choose from {known}, or give a .toml file.") from None


def _from_file(path: Path) -> Profile:
    """A user's own profile; its name is the file's path, by which it is found again."""
    try:
        return replace(_parse(path.read_text(encoding="utf-8")), name=str(path))
    except OSError as error:
        raise CatalogError(f"Profile file {str(path)!r} cannot be read: {error.strerror}.") from error
    except KeyError as error:
        raise CatalogError(
            f"Profile file {str(path)!r} lacks {error}; see the shipped profiles for its place."
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CatalogError(f"Profile file {str(path)!r} is malformed: {error}.") from error


def recognise(item: Json) -> Profile:
    """Return the first profile that fits the item; ItemError names the item and says why none does."""
    reason = "it has no assets"
    for profile in profiles().values() if item["assets"] else ():
        why = profile.misfit(item)
        if why is None:
            return profile
        reason = why
    if any("zarr" in str(asset.get("type")) or ".zarr" in str(asset["href"]) for asset in item["assets"].values()):
        reason = "its bands are in Zarr, which is not read"
    raise ItemError(f"Item {item['id']} fits no profile ({', '.join(profiles())}): {reason}; name one with profile.")


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
    """The item's scene; whatever is of the wrong type in the item ends as an ItemError with its id."""
    try:
        _check_shape(item)
        return _mapped(item, profile or recognise(item), lon)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise ItemError(
            f"Item {item.get('id')!r} is malformed ({type(error).__name__}: {error}); leave it out."
        ) from error


def _check_shape(item: Json) -> None:
    """Refuse what is no item with properties and assets, and what is Level-1C."""
    name = item["id"]
    if not isinstance(name, str) or not isinstance(item["properties"], dict) or not isinstance(item["assets"], dict):
        raise TypeError("id must be a text, properties and assets objects")
    for key, asset in item["assets"].items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise TypeError(f"asset {key!r} has no href")
    levels = [item["properties"].get(field) for field in LEVEL_FIELDS]
    if any(re.search("L1C|MSI1C|l1c", str(text)) for text in (*levels, name, item.get("collection"))):
        raise ItemError(f"Item {name} is Level-1C, which has no mask; search the Level-2A collection.")


def _mapped(item: Json, profile: Profile, lon: float | None) -> Scene:
    mask = profile.label_key(item)
    if mask is None:
        raise ItemError(
            f"Item {item['id']} has no mask asset {' or '.join(profile.labels)!r} (profile {profile.name})."
        )
    assets, when = item["assets"], _datetime(item)
    keys = {name: key for name in profile.bands if (key := profile.band_key(item, name)) is not None}
    epsg, tile = _epsg(item, [mask, *keys.values()]), _tile(item, profile)
    _check_zone(item, tile, epsg)
    orbit = _first(item, profile.properties["relative_orbit"])
    platform = _first(item, profile.properties["platform"])
    return Scene(
        id=item["id"],
        tile=tile,
        day=solar_day(when, _centre_lon(item) if lon is None else lon),
        datetime=when,
        epsg=epsg,
        baseline=_baseline(item, profile),
        relative_orbit=None if orbit is None else int(orbit),
        platform=None if platform is None else str(platform),
        bands={name: _band(item, assets[key], profile) for name, key in keys.items()},
        labels=_labels(assets[mask]),
        item=item,
        href=next((str(link["href"]) for link in item.get("links") or () if link["rel"] == "self"), None),
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
    place = footprint(item)
    if place is None:
        raise ItemError(f"Item {item['id']} has no geometry and no bbox, so its solar day is unknown.")
    return middle(place)


def _products(item: Json, profile: Profile) -> list[str]:
    """What the item calls its ESA product: in its properties, then its own id."""
    fields = (*profile.properties["product"], *PRODUCT_FIELDS)
    return [str(item["properties"][field]) for field in fields if item["properties"].get(field)] + [item["id"]]


def _tile(item: Json, profile: Profile) -> str | None:
    """MGRS tile as "01CCV"; ItemError where the item's id, product and properties name different ones."""
    texts = [str(item["properties"].get(field) or "") for field in profile.properties["tile"]]
    found = [re.fullmatch(r"(?:MGRS-|T)?(\d{1,2}[A-Z]{3})", text) for text in texts]
    found += [re.search(r"_T(\d{2}[A-Z]{3})(?:[_.]|$)", text) for text in _products(item, profile)]
    found.append(re.match(r"S2[A-D]?_T?(\d{1,2}[A-Z]{3})_", item["id"]))
    tiles = sorted({match[1].zfill(5) for match in found if match})
    if len(tiles) > 1:
        raise ItemError(f"Item {item['id']} names different tiles ({', '.join(tiles)}); leave it out or correct it.")
    return tiles[0] if tiles else None


def _check_zone(item: Json, tile: str | None, epsg: int) -> None:
    if tile is None:
        return
    zone = (UTM_NORTH if tile[2] >= "N" else UTM_SOUTH) + int(tile[:2])
    if zone != epsg:
        raise ItemError(
            f"Item {item['id']} has tile {tile}, which is in EPSG:{zone}, but says EPSG:{epsg}; leave it out."
        )


def _baseline(item: Json, profile: Profile) -> str | None:
    """Processing baseline as "05.09": the item's own field, or what its product name says."""
    texts = [str(item["properties"].get(field) or "") for field in profile.properties["baseline"]]
    found = [re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", text) for text in texts]
    found += [re.search(r"_N(\d{2})\.?(\d{2})(?:[_.]|$)", text) for text in _products(item, profile)]
    return next((f"{match[1].zfill(2)}.{match[2]}" for match in found if match), None)


def _epsg(item: Json, keys: Sequence[str]) -> int:
    places = [item["properties"], *(item["assets"][key] for key in keys)]
    codes = {int(place["proj:epsg"]) for place in places if place.get("proj:epsg")}
    codes |= {int(place["proj:code"].removeprefix("EPSG:")) for place in places if place.get("proj:code")}
    if len(codes) != 1:
        found = "none" if not codes else ", ".join(map(str, sorted(codes)))
        raise ItemError(f"Item {item['id']} must give one EPSG code in proj:code or proj:epsg; it gives {found}.")
    return codes.pop()


def declared(asset: Json, name: str) -> Any | None:  # noqa: ANN401 - STAC fields are of any type
    """A raster field of an asset, wherever the STAC version at hand puts it (1.1 `bands`, 1.0 `raster:bands`)."""
    places = [asset, *(asset.get("bands") or [])[:1], *(asset.get("raster:bands") or [])[:1]]
    return next(
        (place[key] for place in places for key in (f"raster:{name}", name) if place.get(key) is not None), None
    )


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
    baseline = _baseline(item, profile)
    if baseline is None and profile.offset_rule == "declared":
        raise ItemError(
            f"Item {item['id']} gives neither an offset nor a processing baseline, so reflectance is unknown."
        )
    return BOA_OFFSET if (baseline or "") >= OFFSET_SINCE_BASELINE else NO_OFFSET


def _resolution(asset: Json) -> float | None:
    transform = asset.get("proj:transform")
    found = transform[0] if transform else (asset.get("gsd") or declared(asset, "spatial_resolution"))
    return None if found is None else float(found)


def _origin(asset: Json) -> tuple[float, float] | None:
    transform = asset.get("proj:transform")
    return (float(transform[2]), float(transform[5])) if transform else None


def _band(item: Json, asset: Json, profile: Profile) -> BandAsset:
    scale, offset = float(declared(asset, "scale") or profile.scale), offset_of(item, asset, profile)
    if not (math.isfinite(offset) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale {scale} and offset {offset} must be finite and scale positive")
    return BandAsset(
        href=asset["href"],
        scale=scale,
        offset=offset,
        nodata=_nodata(asset, profile),
        resolution=_resolution(asset),
        origin=_origin(asset),
    )


def _nodata(asset: Json, profile: Profile) -> int:
    """The declared nodata; the profile's where there is none, or "nan", which no whole number can be."""
    value = float(profile.nodata if (own := declared(asset, "nodata")) is None else own)
    return profile.nodata if math.isnan(value) else int(value)


def _labels(asset: Json) -> BandAsset:
    return BandAsset(href=str(asset["href"]), scale=1.0, offset=0.0, nodata=0, resolution=_resolution(asset))
