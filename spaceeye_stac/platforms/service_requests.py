"""What comes over a network, checked before anything is done: it may name nothing that only the server should know.

A request names profiles, public https catalogs and the targets of the configuration; never a path or an address of the
server or its network, nor what the run may use, nor code. A name of a host is looked up here and again by what reads
it, and may stand for another address by then: a server that minds also keeps its own network from its runs.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any
from urllib.parse import urlsplit

from pyproj import CRS

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.outlines import joined
from spaceeye_stac.platforms.description import process_description
from spaceeye_stac.platforms.inputs import ProcessInputs, inputs_from
from spaceeye_stac.platforms.service import Service
from spaceeye_stac.query import Json
from spaceeye_stac.resources import Resources
from spaceeye_stac.settings import METHOD_DURATION
from spaceeye_stac.sources import NOWHERE, Trust, shipped_profiles, stands_under

CATALOGS = ("catalog", "mask_catalog")
OF_THE_SERVER = frozenset({"allow_hrefs"}) | {f.name for f in fields(Resources)}
EPSG = re.compile(r"(?:EPSG:)?\d{4,6}", re.IGNORECASE)
EARTH_RADIUS_KM = 6371.0088
PIXEL_METRES = 10.0
LONGEST_SHOWN = 120
INTERSECTS: Json = {"type": "object", "format": "geojson-geometry"}
PUBLISH_TO: Json = {
    "title": "Publish to",
    "description": "Name of a target of this server; the result is the address of the collection there.",
    "type": "string",
}


@dataclass(frozen=True)
class ServiceRequest:
    """A request that has been checked: the inputs of the run as JSON, the target's name, and how far it is trusted.

    `trusted`: its catalogs are profiles' or below an address that the configuration trusts.
    """

    inputs: Json
    publish_to: str | None
    trusted: bool

    def as_json(self) -> Json:
        """All of it, to be read by the process of the run."""
        return asdict(self)


def offered_inputs(service: Service) -> dict[str, Json]:
    """The JSON Schema of each input that a server takes, by name."""
    inputs = process_description()["inputs"]["properties"]
    offered: dict[str, Json] = {name: dict(schema) for name, schema in inputs.items() if name not in OF_THE_SERVER}
    offered["intersects"] |= INTERSECTS
    offered["method"] |= {"enum": [*METHOD_DURATION, *service.methods]}
    offered["profile"] |= {"enum": list(shipped_profiles())}
    if service.mask_models:
        offered["mask_model"] |= {"enum": list(service.mask_models)}
    else:
        del offered["mask_model"], offered["mask_model_use"]
    if service.targets:
        offered["publish_to"] = {**PUBLISH_TO, "enum": list(service.targets)}
    return offered


def checked_request(values: object, service: Service) -> ServiceRequest:
    """What a request asks for; InvalidInputError, in a sentence for whoever sent it, where it may not have that."""
    if not isinstance(values, Mapping):
        raise InvalidInputError("inputs are no object; give each input by its name.")
    given = {name: value for name, value in values.items() if value is not None}
    offered = offered_inputs(service)
    for name, value in given.items():
        if name not in offered:
            raise InvalidInputError(f"{_short(name)} is no input of this server; choose from {', '.join(offered)}.")
        known = offered[name].get("enum")
        if known is not None and value not in known:
            raise InvalidInputError(f"{name} {_short(value)} is not known here; choose from {', '.join(known)}.")
    publish_to = given.pop("publish_to", None)
    if publish_to is None and service.url is None:
        raise InvalidInputError(f"publish_to must be given; choose from {', '.join(service.targets)}.")
    judged = [_is_trusted(name, given[name], service) for name in CATALOGS if name in given]  # each of them
    trusted = all(judged)
    _check_geometry_and_crs(given)
    if trusted and service.trusted:
        given["allow_hrefs"] = list(service.trusted)
    _check_size(inputs_from(given), service)
    return ServiceRequest(given, publish_to, trusted)


def _is_trusted(name: str, catalog: object, service: Service) -> bool:
    """Whether a catalog is a profile's, or where the configuration trusts it; InvalidInputError where none may be."""
    if not isinstance(catalog, str):
        raise InvalidInputError(f"{name} {_short(catalog)} is no text; {_remedy()}.")
    if catalog in _catalogs():
        return True
    plain = "#" not in catalog and not catalog.endswith(".toml")
    if plain and any(stands_under(catalog, prefix) for prefix in service.trusted):
        return True
    if not plain or not catalog.lower().startswith("https://"):
        raise InvalidInputError(f"{name} {_short(catalog)} is no https address of a catalog; {_remedy()}.")
    why = Trust(NOWHERE).refusal(catalog)
    if why is not None:
        raise InvalidInputError(f"{name} {_short(catalog)} is {why.partition(',')[0]}; {_remedy()}.")
    if "@" in urlsplit(catalog).netloc:
        raise InvalidInputError(f"{name} holds a user or a password, which are not taken here; {_remedy()}.")
    return False


def _catalogs() -> list[str]:
    """Names of the profiles that say where their catalog is."""
    return [name for name, profile in shipped_profiles().items() if profile.url]


def _remedy() -> str:
    return f"name a profile ({', '.join(_catalogs())}) or the https address of a public catalog"


def _check_geometry_and_crs(given: Mapping[str, Any]) -> None:
    """Refuse texts, which may name files: a region is an object in degrees, a CRS its EPSG code."""
    region, crs = given.get("intersects"), given.get("crs")
    if region is not None and (not isinstance(region, dict) or "crs" in region):
        raise InvalidInputError(f"intersects {_short(region)} is not allowed; give GeoJSON in degrees, as an object.")
    if crs is not None and not EPSG.fullmatch(str(crs)):
        raise InvalidInputError(f"crs {_short(crs)} is not allowed; give an EPSG code, as EPSG:32631.")


def _check_size(inputs: ProcessInputs, service: Service) -> None:
    """Refuse what is too large, by the box around the region."""
    west, south, east, north = (math.radians(corner) for corner in joined(inputs.query.geometry).bounds)
    area = EARTH_RADIUS_KM**2 * (east - west) * (math.sin(north) - math.sin(south))
    settings = inputs.settings
    unit = CRS.from_user_input(settings.crs).axis_info[0].unit_conversion_factor if settings.crs is not None else 1.0
    pixel = min(PIXEL_METRES, (settings.resolution or PIXEL_METRES) * unit)
    check_area(area * (PIXEL_METRES / pixel) ** 2, len(inputs.query.days), service)


def check_area(area: float, days: int, service: Service) -> None:
    """Refuse so many square kilometres of 10 m pixels for so many days, where the limit is below that."""
    most = service.limits.area_days
    if area * days > most:
        raise InvalidInputError(
            f"{area:,.0f} km2 in pixels of 10 m for {days} days are too much, as this server takes {most:,.0f} km2 x "
            "days; ask for a smaller region or for fewer days."
        )


def _short(value: object) -> str:
    """A value as it was sent, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
