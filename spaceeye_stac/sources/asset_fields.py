"""What an asset says of its raster, in any version of STAC."""

from typing import Any

from spaceeye_stac.query import Json

FINEST_METRES, COARSEST_METRES = 1.0, 1000.0


def declared(asset: Json, name: str) -> Any | None:  # noqa: ANN401 - STAC fields are of any type
    """A raster field of an asset, wherever the STAC version at hand puts it (1.1 `bands`, 1.0 `raster:bands`)."""
    places = [asset, *(asset.get("bands") or [])[:1], *(asset.get("raster:bands") or [])[:1]]
    return next(
        (place[key] for place in places for key in (f"raster:{name}", name) if place.get(key) is not None), None
    )


def resolution_of(asset: Json) -> float | None:
    """Metres a pixel; an absurd one, which would lay an absurd grid, is a ValueError."""
    transform = asset.get("proj:transform")
    found = transform[0] if transform else (asset.get("gsd") or declared(asset, "spatial_resolution"))
    if found is not None and not FINEST_METRES <= float(found) <= COARSEST_METRES:
        raise ValueError(f"a pixel of {float(found):g} m is no Sentinel-2 pixel")
    return None if found is None else float(found)


def origin_of(asset: Json) -> tuple[float, float] | None:
    """Upper left corner, in the CRS; None where the asset has no `proj:transform`."""
    transform = asset.get("proj:transform")
    return (float(transform[2]), float(transform[5])) if transform else None


def shape_of(asset: Json) -> tuple[int, int] | None:
    """Rows and columns; None where the asset has no `proj:shape`."""
    found = asset.get("proj:shape")
    return (int(found[0]), int(found[1])) if found else None


def dtype_of(asset: Json) -> str | None:
    """Type of the pixels; None where the asset does not say it."""
    found = declared(asset, "data_type")
    return None if found is None else str(found)
