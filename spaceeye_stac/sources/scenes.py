"""Items mapped to scenes and masks, by the profile that names what they hold."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from spaceeye_stac.errors import ItemError, NoMaskError, NoScenesError, printable, redacted
from spaceeye_stac.model import FilteredScene, Mask, Scene, SourceItem
from spaceeye_stac.outlines import MALFORMED, footprint, middle
from spaceeye_stac.query import Json, MaskChoice
from spaceeye_stac.sources.asset_fields import raster_of
from spaceeye_stac.sources.crs_fields import asset_epsg, epsg_of
from spaceeye_stac.sources.duplicates import strip_start, version_of
from spaceeye_stac.sources.item_fields import band_asset, first_property, tile_of
from spaceeye_stac.sources.pairing import MaskItem
from spaceeye_stac.sources.profiles import MaskRule, Profile, profile_named, recognise
from spaceeye_stac.sources.reflectance import baseline_of
from spaceeye_stac.sources.sensing import sensing_of

if TYPE_CHECKING:
    import pystac


@dataclass(frozen=True)
class Unreadable:
    """A scene of which a file cannot be opened, and the sentence that names both and says why."""

    scene: Scene
    note: str


class SceneList(list[Scene]):
    """A list of scenes that prints as a table, with what the search left out and why.

    `doubts`: sentences on what is taken for granted of the scenes, which a plan says; `gone`: scenes that are left out
    as a file of theirs cannot be opened; `contested`: ids of those of whose acquisition there is an older version;
    `filtered`: those that a filter left out, which `left_out` only counts.
    """

    def __init__(
        self,
        scenes: Sequence[Scene] = (),
        left_out: Sequence[str] = (),
        *,
        doubts: Sequence[str] = (),
        gone: "Sequence[Unreadable]" = (),
        contested: Sequence[str] = (),
        filtered: Sequence[FilteredScene] = (),
        chosen: "Callable[[Sequence[Unreadable]], SceneList] | None" = None,
    ) -> None:
        super().__init__(scenes)
        self.left_out, self.gone, self.contested = tuple(left_out), tuple(gone), tuple(contested)
        self.doubts, self.filtered, self._chosen = tuple(doubts), tuple(filtered), chosen

    def without(self, unreadable: "Sequence[Unreadable]") -> "SceneList":
        """Choose again without these, so that older versions of them are used; without a search they only go."""
        if self._chosen is not None:
            return self._chosen(unreadable)
        gone, notes = {id(one.scene.item) for one in unreadable}, [one.note for one in unreadable]
        if unreadable and not [scene for scene in self if id(scene.item) not in gone]:
            raise NoScenesError(f"No scene is left: {notes[0]}")
        left = [scene for scene in self if id(scene.item) not in gone]
        return SceneList(left, [*self.left_out, *notes], doubts=self.doubts, gone=unreadable, filtered=self.filtered)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """A sentence on each scene that is left out as a file of it cannot be opened."""
        return tuple(one.note for one in self.gone)

    def __str__(self) -> str:
        rows = [f"{'day':10}  {'tile':6} {'epsg':>5}  {'cloud':>5}  id"]
        for s in self:
            cloud = "" if s.cloud_cover is None else f"{s.cloud_cover:4.0f}%"
            rows.append(f"{s.day}  {s.tile or '':6} {s.epsg:>5}  {cloud:>5}  {s.id}")
        return "\n".join(printable(row) for row in [*rows, f"{len(self)} scenes", *self.left_out])

    __repr__ = __str__


Found = TypeVar("Found")
LEVEL_FIELDS = ("s2:product_type", "sentinel2:product_type", "product:type", "oseo:productType", "processing:level")
IMAGE_TYPES = re.compile(r"tiff?|jp2|jpeg2000", re.IGNORECASE)
NO_IMAGE_ROLES = frozenset({"thumbnail", "overview", "visual", "metadata"})


@dataclass(frozen=True)
class _Mapping:
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
    how = _Mapping(profile_named(profile) if profile else None, lon, mask)
    return [_safely(_scene, _as_dict(item), how) for item in items]


def masks_from_items(
    items: Iterable[Json], profile: str | None = None, *, lon: float | None = None, mask: MaskChoice
) -> list[MaskItem]:
    """Map the items of a collection of masks, as `scenes_from_items` does scenes; the profile is "generic" if None."""
    how = _Mapping(profile_named(profile or "generic"), lon, mask)
    return [_safely(_mask_item, _as_dict(item), how) for item in items]


def _as_dict(item: "Json | pystac.Item") -> Json:
    return item if isinstance(item, dict) else item.to_dict(transform_hrefs=False)


def _safely(read: Callable[[Json, _Mapping], Found], item: Json, how: _Mapping) -> Found:
    """What `read` makes of the item; whatever is of the wrong type in it ends as an ItemError with its id."""
    try:
        _check_shape(item)
        return read(item, how)
    except MALFORMED as error:
        raise ItemError(
            f"Item {item.get('id')!r} is malformed ({type(error).__name__}: {error}); leave it out."
        ) from error


def _check_shape(item: Json) -> None:
    """Refuse what is no item with properties and assets."""
    name = item["id"]
    if (
        not isinstance(name, str)
        or not name
        or not isinstance(item["properties"], dict)
        or not isinstance(item["assets"], dict)
    ):
        raise TypeError("id must be a text, properties and assets objects")
    name.encode()  # ValueError for half a character, which no file takes
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


def _scene(item: Json, how: _Mapping) -> Scene:
    _check_level(item)
    profile, lon = how.profile or recognise(item, how.choice), how.lon
    assets, sensing = item["assets"], sensing_of(item)
    keys = {name: key for name in profile.bands if (key := profile.band_key(item, name)) is not None}
    if not keys:
        raise ItemError(f"Item {item['id']} has {_no_band(item, profile, how.choice)}; leave it out.")
    mask = None if how.choice.separate else _own_mask(item, profile, how.choice)
    masked = [] if mask is None else [key for key, asset in assets.items() if asset["href"] == mask.href]
    epsg, tile = epsg_of(item, [*keys.values(), *masked]), tile_of(item, profile)
    orbit = first_property(item, profile.properties["relative_orbit"])
    platform = first_property(item, profile.properties["platform"])
    return Scene(
        id=item["id"],
        tile=tile,
        day=sensing.solar_day(_centre_lon(item) if lon is None else lon),
        datetime=sensing.when,
        epsg=epsg,
        baseline=baseline_of(item, profile),
        relative_orbit=None if orbit is None else int(orbit),
        platform=None if platform is None else str(platform),
        bands={name: band_asset(item, assets[key], profile) for name, key in keys.items()},
        labels=mask,
        item=item,
        href=_address(item),
        profile=profile.name,
    )


def _no_band(item: Json, profile: Profile, choice: MaskChoice) -> str:
    """What an item that is no image of a profile's lacks."""
    names = " or ".join(map(repr, profile.mask_rule(choice).assets))
    mask = "" if profile.mask_key(item, choice) or not names else f"no mask asset {names} and "
    return f"{mask}no asset with a known band (profile {profile.name})"


def _address(item: Json) -> str | None:
    """The item's own address, where it gives one that can be written down."""
    links = [link for link in item.get("links") or () if isinstance(link, dict) and link.get("rel") == "self"]
    found = next((redacted(str(link.get("href"))) for link in links), None)
    return None if found is None else found.encode("utf-8", "replace").decode()


def _own_mask(item: Json, profile: Profile, choice: MaskChoice) -> Mask | None:
    """The scene's mask among its own assets; None where it has none and may be without."""
    key = profile.mask_key(item, choice)
    if key is not None:
        return _mask(item, key, profile.mask_rule(choice))
    if choice.unmasked != "refuse":
        return None
    rule = profile.mask_rule(choice)
    names = " or ".join(map(repr, rule.assets)) or repr(f"of the kind {rule.kind}")
    raise NoMaskError(
        f"Item {item['id']} has no mask asset {names} (profile {profile.name}); name another with mask and "
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
        **raster_of(asset, asset_epsg(item, asset)),
        kind=rule.kind,
        clear_values=rule.clear_values or (),
    )


def _mask_item(item: Json, how: _Mapping) -> MaskItem:
    """An item that is the mask of a scene: by its asset of that kind, or by its only image."""
    profile, choice, sensing = how.profile or profile_named("generic"), how.choice, sensing_of(item)
    rule, assets = profile.mask_rule(choice), item["assets"]
    images = [key for key, asset in assets.items() if _is_image(asset)]
    named = choice.asset is None and (choice.kind is not None or not profile.by_name)
    key = profile.mask_key(item, choice) or (images[0] if named and len(images) == 1 else None)
    if key is None:
        raise ItemError(
            f"Mask item {item['id']} has no asset {' or '.join(rule.assets) or rule.kind!r} among "
            f"{', '.join(assets) or '(none)'}; name its kind with mask and its asset with mask_asset."
        )
    source = SourceItem(item["id"], _address(item), profile.name)
    day = sensing.solar_day(_centre_lon(item) if how.lon is None else how.lon)
    mask = replace(_mask(item, key, rule), source=source)
    version = version_of(item, baseline_of(item, profile))
    return MaskItem(tile_of(item, profile), day, sensing.when, mask, source, sensing, version, strip_start(item))


def _is_image(asset: Json) -> bool:
    known = IMAGE_TYPES.search(str(asset.get("type") or asset["href"]))
    return known is not None and not NO_IMAGE_ROLES & set(asset.get("roles") or ())


def _centre_lon(item: Json) -> float:
    place = footprint(item)
    if place is None:
        raise ItemError(f"Item {item['id']} has no geometry and no bbox, so its solar day is unknown.")
    return middle(place)
