"""How each catalog names things: profiles read from catalogs/*.toml, and items mapped to scenes by them."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from spaceeye_stac.errors import CatalogError, ItemError, NoMaskError
from spaceeye_stac.query import MASK_KINDS, Json, MaskChoice
from spaceeye_stac.sources.asset_fields import resolution_of

RESOLUTION_SUFFIX = re.compile(r"_\d+m$")
OFFSET_RULES = ("declared", "baseline", "none")
NO_MASK = "it has no mask asset"
SIGNINGS = ("none", "planetary-computer")
PROPERTIES = ("tile", "baseline", "relative_orbit", "platform")
MASK_NODATA = {"scl": 0, "probability": 255, "boolean": 255}
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
            key=lambda key: (_is_not_cog(assets[key]), "_" in key, resolution_of(assets[key]) or 0, key),
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
    return inside if inside.is_dir() else Path(__file__).resolve().parents[2] / "catalogs"


@cache
def shipped_profiles() -> dict[str, Profile]:
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
        return shipped_profiles()[name]
    except KeyError:
        known = ", ".join(shipped_profiles())
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
    for profile in shipped_profiles().values() if item["assets"] else ():
        why = profile.misfit(item, choice)
        if why is None:
            return profile
        reason = why
    if any("zarr" in str(asset.get("type")) or ".zarr" in str(asset["href"]) for asset in item["assets"].values()):
        reason = "its bands are in Zarr, which is not read"
    lenient = replace(choice, unmasked="clear")
    otherwise_good = any(profile.misfit(item, lenient) is None for profile in shipped_profiles().values())
    kind = NoMaskError if reason.startswith(NO_MASK) and otherwise_good else ItemError
    raise kind(f"Item {item['id']} fits no profile ({', '.join(shipped_profiles())}): {reason}; name one with profile.")
