"""How each catalog names things: profiles read from catalogs/*.toml, and items mapped to scenes by them."""

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spaceeye_stac.errors import CatalogError, ItemError, NoMaskError, shown
from spaceeye_stac.model import BandAsset, Mask, MaskItem, Scene, Source
from spaceeye_stac.query import MASK_KINDS, Json, MaskChoice
from spaceeye_stac.region import footprint, middle

if TYPE_CHECKING:
    import pystac

Found = TypeVar("Found")
OFFSET_SINCE_BASELINE = "04.00"
BOA_OFFSET = -0.1
NO_OFFSET = 0.0
DEGREES_PER_HOUR = 15.0
UTM_NORTH, UTM_SOUTH = 32600, 32700
FINEST_METRES, COARSEST_METRES = 1.0, 1000.0
RESOLUTION_SUFFIX = re.compile(r"_\d+m$")
LEVEL_FIELDS = ("s2:product_type", "sentinel2:product_type", "product:type", "oseo:productType", "processing:level")
PRODUCT_FIELDS = ("s2:product_uri", "s2:tile_id")
OFFSET_RULES = ("declared", "baseline", "none")
NO_MASK = "it has no mask asset"
SIGNINGS = ("none", "planetary-computer")
PROPERTIES = ("tile", "baseline", "relative_orbit", "platform")
MASK_NODATA = {"scl": 0, "probability": 255, "boolean": 255}
IMAGE_TYPES = re.compile(r"tiff?|jp2|jpeg2000", re.IGNORECASE)
NO_IMAGE_ROLES = frozenset({"thumbnail", "overview", "visual", "metadata"})
OTHER_BANDS = re.compile(r"HLS([LS]30|\.[LS]30\.)")


@dataclass(frozen=True)
class MaskRule:
    """A kind of mask that a source has: its asset, by key or role, and how its values are meant (see `model.Mask`).

    `clear_values` is None where the source does not say; the raster's own nodata is not believed, as files and items
    declare 0, which is a probability, too.
    """

    kind: str
    assets: Sequence[str] = ()
    roles: Sequence[str] = ()
    clear_values: tuple[int, ...] | None = None
    scale: float = 1.0
    nodata: int = 0


@dataclass(frozen=True)
class Profile:
    """One source catalog: where it is and how it names bands, labels and properties."""

    name: str
    title: str
    url: str
    collection: str
    signing: str
    bands: Mapping[str, Sequence[str]]
    masks: Sequence[MaskRule]
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

    def mask_rule(self, choice: MaskChoice) -> MaskRule:
        """How the chosen kind of mask, else the profile's first, is named and meant."""
        kind = choice.kind or self.masks[0].kind
        rule = next((rule for rule in self.masks if rule.kind == kind), MaskRule(kind, nodata=MASK_NODATA[kind]))
        if choice.asset is not None:
            rule = replace(rule, assets=(choice.asset,), roles=())
        return rule if choice.clear_values is None else replace(rule, clear_values=choice.clear_values)

    def mask_key(self, item: Json, choice: MaskChoice) -> str | None:
        """Key of the item's asset that is the chosen mask."""
        assets, rule = item["assets"], self.mask_rule(choice)
        by_name = self.by_name and choice.asset is None
        found = self._by_name(assets, rule.assets) if by_name else _first_key(assets, rule.assets)
        roles = set(rule.roles)
        return found or next((key for key, asset in assets.items() if roles & set(asset.get("roles") or ())), None)

    def misfit(self, item: Json, choice: MaskChoice) -> str | None:
        """Why the item is not of this profile; None when it is."""
        if choice.is_own and self.mask_key(item, choice) is None:
            return f"{NO_MASK} {' or '.join(self.masks[0].assets)!r}"
        if OTHER_BANDS.match(item["id"]) or OTHER_BANDS.match(str(item.get("collection"))):
            return "it is of the Harmonized Landsat Sentinel-2 data, whose bands have other names"
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
        masks=tuple(_mask_rule(table) for table in (labels, *raw.get("masks", []))),
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


def _mask_rule(table: Json) -> MaskRule:
    kind = table.get("kind", MASK_KINDS[0])
    _one_of("kind", kind, MASK_KINDS)
    values = table.get("clear_values")
    return MaskRule(
        kind=kind,
        assets=_texts(table["assets"]),
        roles=_texts(table.get("roles", [])),
        clear_values=None if values is None else tuple(int(value) for value in values),
        scale=float(table.get("scale", 1)),
        nodata=int(table.get("nodata", MASK_NODATA[kind])),
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


def recognise(item: Json, choice: MaskChoice = MaskChoice()) -> Profile:  # noqa: B008 - frozen
    """Return the first profile that fits the item; ItemError names the item and says why none does."""
    reason = "it has no assets"
    for profile in profiles().values() if item["assets"] else ():
        why = profile.misfit(item, choice)
        if why is None:
            return profile
        reason = why
    if any("zarr" in str(asset.get("type")) or ".zarr" in str(asset["href"]) for asset in item["assets"].values()):
        reason = "its bands are in Zarr, which is not read"
    kind = NoMaskError if reason.startswith(NO_MASK) else ItemError
    raise kind(f"Item {item['id']} fits no profile ({', '.join(profiles())}): {reason}; name one with profile.")


@dataclass(frozen=True)
class _Reading:
    """How items are mapped: by which profile (None: recognised), on which longitude's solar day, with which mask."""

    profile: Profile | None
    lon: float | None
    choice: MaskChoice


def scenes_from_items(
    items: "Iterable[Json | pystac.Item]",
    profile: str | None = None,
    *,
    lon: float | None = None,
    mask: MaskChoice = MaskChoice(),  # noqa: B008 - frozen
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
    mask
        Which mask is used (`Query.mask_choice`); a scene may lack it where it is to be cleared, dropped or paired.

    Returns scenes with their bands, scale, offset and mask, in the order given. Raises ItemError with the item's id.

    """
    how = _Reading(profile_named(profile) if profile else None, lon, mask)
    return [_safely(_scene, _as_dict(item), how) for item in items]


def masks_from_items(
    items: Iterable[Json], profile: str | None = None, *, lon: float | None = None, mask: MaskChoice
) -> list[MaskItem]:
    """Map the items of a collection of masks, as `scenes_from_items` does scenes; the profile is "generic" if None."""
    how = _Reading(profile_named(profile or "generic"), lon, mask)
    return [_safely(_mask_item, _as_dict(item), how) for item in items]


def _as_dict(item: "Json | pystac.Item") -> Json:
    return item if isinstance(item, dict) else item.to_dict(transform_hrefs=False)


def _safely(read: Callable[[Json, _Reading], Found], item: Json, how: _Reading) -> Found:
    """What `read` makes of the item; whatever is of the wrong type in it ends as an ItemError with its id."""
    try:
        _check_shape(item)
        return read(item, how)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise ItemError(
            f"Item {item.get('id')!r} is malformed ({type(error).__name__}: {error}); leave it out."
        ) from error


def _check_shape(item: Json) -> None:
    """Refuse what is no item with properties and assets."""
    name = item["id"]
    if not isinstance(name, str) or not isinstance(item["properties"], dict) or not isinstance(item["assets"], dict):
        raise TypeError("id must be a text, properties and assets objects")
    for key, asset in item["assets"].items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise TypeError(f"asset {key!r} has no href")


def _check_level(item: Json) -> None:
    """Refuse Level-1C, whose reflectance is not that of the surface, whatever mask it could be given."""
    name = item["id"]
    levels = [item["properties"].get(field) for field in LEVEL_FIELDS]
    if any(re.search("L1C|MSI1C|l1c", str(text)) for text in (*levels, name, item.get("collection"))):
        raise ItemError(
            f"Item {name} is Level-1C, which has no mask and no surface reflectance; search the Level-2A collection."
        )


def _scene(item: Json, how: _Reading) -> Scene:
    _check_level(item)
    profile, lon = how.profile or recognise(item, how.choice), how.lon
    mask = None if how.choice.separate else _own_mask(item, profile, how.choice)
    assets, when = item["assets"], _datetime(item)
    keys = {name: key for name in profile.bands if (key := profile.band_key(item, name)) is not None}
    masked = [] if mask is None else [key for key, asset in assets.items() if asset["href"] == mask.href]
    epsg, tile = _epsg(item, [*masked, *keys.values()]), _tile(item, profile)
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
        labels=mask,
        item=item,
        href=_address(item),
        profile=profile.name,
    )


def _address(item: Json) -> str | None:
    return next((shown(str(link["href"])) for link in item.get("links") or () if link["rel"] == "self"), None)


def _own_mask(item: Json, profile: Profile, choice: MaskChoice) -> Mask | None:
    """The scene's mask among its own assets; None where it has none and may be without."""
    key = profile.mask_key(item, choice)
    if key is not None:
        return _mask(item, key, profile.mask_rule(choice))
    if choice.unmasked != "refuse":
        return None
    names = " or ".join(profile.mask_rule(choice).assets) or f"of the kind {profile.mask_rule(choice).kind}"
    raise NoMaskError(
        f"Item {item['id']} has no mask asset {names!r} (profile {profile.name}); name another with mask and "
        "mask_asset, or say with unmasked whether such scenes are clear or dropped."
    )


def _mask(item: Json, key: str, rule: MaskRule) -> Mask:
    if rule.kind == "boolean" and not rule.clear_values:
        raise ItemError(
            f"Item {item['id']} has the boolean mask {key!r}, but nothing says which of its values are clear; "
            "give mask_clear_values."
        )
    asset = item["assets"][key]
    return Mask(
        href=str(asset["href"]),
        scale=rule.scale,
        offset=0.0,
        nodata=rule.nodata,
        resolution=_resolution(asset),
        origin=_origin(asset),
        shape=_shape(asset),
        dtype=_dtype(asset),
        kind=rule.kind,
        clear_values=rule.clear_values or (),
    )


def _mask_item(item: Json, how: _Reading) -> MaskItem:
    """An item that is the mask of a scene: by its asset of that kind, or by its only image."""
    profile, choice, when = how.profile or profile_named("generic"), how.choice, _datetime(item)
    rule, assets = profile.mask_rule(choice), item["assets"]
    images = [key for key, asset in assets.items() if _is_image(asset)]
    named = choice.asset is None and (choice.kind is not None or not profile.by_name)
    key = profile.mask_key(item, choice) or (images[0] if named and len(images) == 1 else None)
    if key is None:
        raise ItemError(
            f"Mask item {item['id']} has no asset {' or '.join(rule.assets) or rule.kind!r} among "
            f"{', '.join(assets) or '(none)'}; name its kind with mask and its asset with mask_asset."
        )
    source = Source(item["id"], _address(item), profile.name)
    day = solar_day(when, _centre_lon(item) if how.lon is None else how.lon)
    return MaskItem(_tile(item, profile), day, when, replace(_mask(item, key, rule), source=source), source)


def _is_image(asset: Json) -> bool:
    known = IMAGE_TYPES.search(str(asset.get("type") or asset["href"]))
    return known is not None and not NO_IMAGE_ROLES & set(asset.get("roles") or ())


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
    """Metres a pixel; an absurd one, which would lay an absurd grid, is a ValueError."""
    transform = asset.get("proj:transform")
    found = transform[0] if transform else (asset.get("gsd") or declared(asset, "spatial_resolution"))
    if found is not None and not FINEST_METRES <= float(found) <= COARSEST_METRES:
        raise ValueError(f"a pixel of {float(found):g} m is no Sentinel-2 pixel")
    return None if found is None else float(found)


def _origin(asset: Json) -> tuple[float, float] | None:
    transform = asset.get("proj:transform")
    return (float(transform[2]), float(transform[5])) if transform else None


def _shape(asset: Json) -> tuple[int, int] | None:
    found = asset.get("proj:shape")
    return (int(found[0]), int(found[1])) if found else None


def _dtype(asset: Json) -> str | None:
    found = declared(asset, "data_type")
    return None if found is None else str(found)


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
        shape=_shape(asset),
        dtype=_dtype(asset),
    )


def _nodata(asset: Json, profile: Profile) -> int:
    """The declared nodata; the profile's where there is none, or "nan", which no whole number can be."""
    value = float(profile.nodata if (own := declared(asset, "nodata")) is None else own)
    return profile.nodata if math.isnan(value) else int(value)
