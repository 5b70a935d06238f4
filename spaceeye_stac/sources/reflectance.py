"""How DN become reflectance: the scale and offset of a band, and the processing baseline that they follow from."""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from spaceeye_stac.errors import ItemError, redacted
from spaceeye_stac.query import Json
from spaceeye_stac.sources.asset_fields import declared
from spaceeye_stac.sources.profiles import Profile
from spaceeye_stac.sources.sensing import sensing_of, time_of

OFFSET_SINCE_BASELINE, OFFSET_SINCE = "04.00", datetime(2022, 1, 25, tzinfo=UTC)
MADE_FIELDS = ("s2:generation_time", "sentinel2:generation_time", "processing:datetime", "created")
BOA_OFFSET = -0.1
NO_OFFSET = 0.0
USUAL_SCALE = 0.0001
LARGEST_OFFSET = 1.0
LEAST_SCALE, LARGEST_SCALE = 1e-6, 1e-2
# of Level 2A; a lower number is the version of something else
FIRST_BASELINE, LAST_BASELINE, HUNDREDTHS = 2.0, 100.0, 100
PRODUCT_FIELDS = ("s2:product_uri", "s2:tile_id")
# ids that end in the baseline of the product they are of, as S2A_OPER_MSI_L2A_DS_..._N02.12
PART_FIELDS = tuple(
    f"{source}:{part}_id"
    for part in ("datastrip", "granule", "datatake")
    for source in ("s2", "sentinel2", "sentinel", "eopf")
)
IN_NAME = re.compile(r"_N(\d{2})\.?(\d{2})(?:[_.]|$)")
IN_HREF = re.compile(r"MSIL2A_\d{8}T\d{6}_N(\d{2})(\d{2})_R\d{3}_")


def products(item: Json, profile: Profile) -> list[str]:
    """What the item calls its ESA product: in its properties, then its own id."""
    fields = (*profile.properties["product"], *PRODUCT_FIELDS)
    return [str(item["properties"][field]) for field in fields if item["properties"].get(field)] + [item["id"]]


def baseline_of(item: Json, profile: Profile) -> str | None:
    """Processing baseline as "05.09": the item's own field, or what the names of its product and of its parts say.

    None where nothing says it, or where names that do fall on both sides of 04.00, since which the offset is.
    """
    fields = (item["properties"].get(field) for field in profile.properties["baseline"])
    own = next(filter(None, map(read_baseline, fields)), None)
    if own is not None:
        return own
    named = list(_named_baselines(item, profile))
    sides = {name >= OFFSET_SINCE_BASELINE for name in named}
    return named[0] if len(sides) == 1 else None


def read_baseline(value: object) -> str | None:
    """A baseline in any spelling ("05.09", "N0509", 5.09, 509, "5.1") as "05.09"; None for what is none."""
    if isinstance(value, str):
        exact = re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", value.strip())
        if exact:
            return f"{exact[1].zfill(2)}.{exact[2]}"
        number = float(value) if re.fullmatch(r"\s*\d{1,2}(\.\d)?\s*", value) else math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        return None
    if number >= FIRST_BASELINE * HUNDREDTHS:
        number /= HUNDREDTHS
    return f"{number:05.2f}" if FIRST_BASELINE <= number < LAST_BASELINE else None


def _named_baselines(item: Json, profile: Profile) -> Iterator[str]:
    parts = [str(item["properties"][field]) for field in PART_FIELDS if item["properties"].get(field)]
    hrefs = [str(asset["href"]) for asset in item["assets"].values()]
    found = [IN_NAME.search(text) for text in (*products(item, profile), *parts)]
    found += [IN_HREF.search(text) for text in hrefs]
    yield from (f"{match[1]}.{match[2]}" for match in found if match)


def offset_of(item: Json, asset: Json, profile: Profile) -> float:
    """Offset to add to `DN * scale`, decided from the item's own fields, never from its date.

    None is left to add where the item's flag says that its pixels have it, which is said of the COGs that a catalog
    made, not of ESA's own JPEG 2000 beside them. Else `declared` takes the asset's own; where there is none, and for
    `baseline`, it is -0.1 (-1000 DN) from processing baseline 04.00. Source: ESA's note on it. Without a baseline there
    is no offset where the item was made before that came, or where `is_taken_as_old`; else ItemError.
    """
    if profile.offset_rule == "none" or (_is_applied(item, profile.applied_flags) and not _is_jpeg_2000(asset)):
        return NO_OFFSET
    own, baseline = declared(asset, "offset"), baseline_of(item, profile)
    if own is not None and (profile.offset_rule == "declared" or baseline is None):
        return float(own)
    if baseline is None and (_is_old(item) or is_taken_as_old(item, profile)):
        return NO_OFFSET
    if baseline is None:
        raise ItemError(
            f"Item {item['id']} gives neither an offset nor a processing baseline, so reflectance is unknown; leave it "
            "out, or say it with offset_rule in a profile of your own."
        )
    return BOA_OFFSET if baseline >= OFFSET_SINCE_BASELINE else NO_OFFSET


def _is_old(item: Json) -> bool:
    """Whether the item was made before there was any product with an offset."""
    made = [made for name in MADE_FIELDS if (made := time_of(item["properties"].get(name))) is not None]
    return any(when < OFFSET_SINCE for when in made)


def is_taken_as_old(item: Json, profile: Profile) -> bool:
    """Whether an item has no field of a baseline, where the offset follows from it, and nothing says that it is new.

    It was sensed before there was any offset, and is not said to have been processed again. That is doubted by name.
    """
    properties, sensed = item["properties"], sensing_of(item).when
    silent = not any(name in properties for name in profile.properties["baseline"])
    again = any(time_of(properties.get(name)) is not None for name in MADE_FIELDS)
    unknown = baseline_of(item, profile) is None and not list(_named_baselines(item, profile)) and not _is_old(item)
    return profile.offset_rule == "baseline" and unknown and silent and not again and sensed < OFFSET_SINCE


def _is_applied(item: Json, flags: Sequence[str]) -> bool:
    """Whether a flag of the item says that its pixels have the offset, as JSON's true, or as a text or a number."""
    return any(str(item["properties"].get(flag)).strip().lower() in {"true", "1", "1.0"} for flag in flags)


def _is_jpeg_2000(asset: Json) -> bool:
    kind, path = str(asset.get("type") or "").lower(), redacted(str(asset.get("href"))).lower()
    return "jp2" in kind or path.endswith((".jp2", ".j2k"))


def scale_and_offset(item: Json, asset: Json, profile: Profile) -> tuple[float, float]:
    """Scale and offset of a band; ItemError where they cannot be those of reflectance, with what they look like."""
    own = declared(asset, "scale")
    scale, offset = float(profile.scale if own is None else own), offset_of(item, asset, profile)
    odd = _odd_scale(scale) or _odd_offset(offset)
    if odd is not None:
        raise ItemError(
            f"Item {item['id']} has {odd}, of {redacted(str(asset['href']))}; correct the item, or leave it out."
        )
    return scale, offset


def _odd_scale(scale: Any) -> str | None:  # noqa: ANN401 - as float makes it
    if LEAST_SCALE <= scale <= LARGEST_SCALE:
        return None
    if scale == 1:
        why = f"looks as if none were meant; that of reflectance is {USUAL_SCALE:g}"
    elif LEAST_SCALE <= 1 / (scale or math.inf) <= LARGEST_SCALE:
        why = f"looks like the number that DN are divided by, so {1 / scale:g} is meant"
    elif LEAST_SCALE <= math.sqrt(max(scale, 0)) <= LARGEST_SCALE:
        why = f"looks like {math.sqrt(scale):g} applied twice"
    else:
        why = f"is none of reflectance, from {LEAST_SCALE:g} to {LARGEST_SCALE:g}"
    return f"scale {scale:g}, which {why}"


def _odd_offset(offset: float) -> str | None:
    if abs(offset) <= LARGEST_OFFSET:
        return None
    if abs(offset) * USUAL_SCALE <= LARGEST_OFFSET:
        why = f"looks like one in DN; in reflectance it is {offset * USUAL_SCALE:g}"
    else:
        why = f"is none of reflectance, from {-LARGEST_OFFSET:g} to {LARGEST_OFFSET:g}"
    return f"offset {offset:g}, which {why}"
