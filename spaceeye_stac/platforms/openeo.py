"""The openEO process `fill_clouds`, for backends that are built on openeo-processes-dask."""

from collections.abc import MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.platforms.description import parameters_of
from spaceeye_stac.query import Json
from spaceeye_stac.settings import Settings

if TYPE_CHECKING:
    import xarray as xr

OPENEO_PROCESS = "fill_clouds"
OF_SETTINGS = (
    "method",
    "appearance",
    "duration",
    "time_overlap",
    "causal",
    "damping_factor",
    "min_clear_ratio",
    "clear_classes",
    "mask_dilation",
)
CUBE: Json = {
    "type": "object",
    "subtype": "datacube",
    "dimensions": [{"type": "spatial", "axis": ["x", "y"]}, {"type": "temporal"}, {"type": "bands"}],
}
TEMPORAL_EXTENT: Json = {
    "type": "array",
    "subtype": "temporal-interval",
    "minItems": 2,
    "maxItems": 2,
    "items": {"type": "string", "format": "date-time"},
}
OWN: Sequence[tuple[str, str, Json]] = (
    ("mask", "A cube without bands: what is not 0 is cloud. Without it and without `scl` all data is clear.", CUBE),
    ("scl", "Name of the band with the scene classification of Sentinel-2, which is not in the result.", {}),
    ("temporal_extent", "Days to give, the end not included; left out, those of the cube.", TEMPORAL_EXTENT),
)
UNITS: Sequence[tuple[str, str, float]] = (
    ("scale", "Reflectance is `value * scale + offset`: 0.0001 of Sentinel-2's DN, 1 of reflectance.", 0.0001),
    ("offset", "See `scale`: -0.1 of DN since January 2022 that nobody has corrected yet.", 0.0),
    ("nodata", "The value that stands where there is no data, beside null.", 0.0),
)


def openeo_process() -> Json:
    """The specification of `fill_clouds` as openEO's API publishes processes."""
    settings = {parameter.name: parameter for parameter in parameters_of(Settings)}
    own = [_optional(name, text, schema or {"type": "string"}, None) for name, text, schema in OWN]
    units = [_optional(name, text, {"type": "number"}, default) for name, text, default in UNITS]
    ours = [_of_settings(settings[name].schema, name) for name in OF_SETTINGS]
    return {
        "id": OPENEO_PROCESS,
        "summary": "Fill clouds, a cube of every day",
        "description": "Reconstructs what clouds hide, and the days between the dates: dates in, every day out.",
        "categories": ["cubes", "reducer"],
        "experimental": True,
        "parameters": [{"name": "data", "description": "The cube of dates.", "schema": CUBE}, *own, *units, *ours],
        "returns": {"description": "The cube of days, null where nothing was ever clear.", "schema": CUBE},
        "links": [{"rel": "about", "href": "https://arxiv.org/abs/2106.08408", "title": "SpaceEye"}],
    }


def _optional(name: str, text: str, schema: Json, default: object) -> Json:
    allowed = schema if default is not None else {"anyOf": [schema, {"type": "null"}]}
    return {"name": name, "description": text, "schema": allowed, "default": default, "optional": True}


def _of_settings(described: Json, name: str) -> Json:
    schema = {key: value for key, value in described.items() if key not in {"title", "description", "default"}}
    return _optional(name, str(described["description"]), schema, described.get("default"))


def run_openeo_process(
    data: "xr.DataArray",
    mask: "xr.DataArray | None" = None,
    scl: str | None = None,
    temporal_extent: Any = None,  # noqa: ANN401 - a list, or what the parser of process graphs makes of it
    **options: Any,  # noqa: ANN401 - JSON values
) -> "xr.DataArray":
    """Run `fill_clouds` by the names and values of `openeo_process`; see `platforms.fill_clouds`.

    Raises InvalidInputError for a name that it does not know.
    """
    from spaceeye_stac.platforms.cube_pixels import Units  # noqa: PLC0415 - the specification does without them,
    from spaceeye_stac.platforms.filling import fill_clouds  # noqa: PLC0415 - and they take seconds to import

    given = {name: value for name, value in options.items() if value is not None}
    units = {name: given.pop(name) for name, *_ in UNITS if name in given}
    unknown = given.keys() - set(OF_SETTINGS)
    if unknown:
        known = ", ".join(parameter["name"] for parameter in openeo_process()["parameters"])
        raise InvalidInputError(f"{', '.join(sorted(unknown))} is no parameter of {OPENEO_PROCESS}; it has {known}.")
    days = None if temporal_extent is None else _days(temporal_extent)
    return fill_clouds(data, mask=mask, scl=scl, datetime=days, units=Units(**units), settings=Settings(**given))


def _days(extent: Any) -> str:  # noqa: ANN401
    """First and last day of a half-open interval of openEO."""
    try:
        start, end = (datetime.fromisoformat(str(getattr(moment, "root", moment))) for moment in extent)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"temporal_extent {extent!r} is not allowed; give both ends, as 2023-04-01 and 2023-05-01."
        ) from None
    return f"{start.date()}/{(end - timedelta(microseconds=1)).date()}"


def register_openeo(registry: MutableMapping[Any, Any]) -> None:
    """Add `fill_clouds` to a process registry of openeo-pg-parser-networkx."""
    from openeo_pg_parser_networkx.process_registry import Process  # noqa: PLC0415 - an optional extra

    registry[OPENEO_PROCESS] = Process(spec=openeo_process(), implementation=run_openeo_process)
