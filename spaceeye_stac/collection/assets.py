"""The assets of a day as STAC describes them: their roles, bands, units and classes, and how to show them; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from odc.geo.geobox import GeoBox

from spaceeye_stac.collection.day import DayImages, Statistics, WrittenFile
from spaceeye_stac.collection.flags import bitfields
from spaceeye_stac.collection.folder import COG_TYPE
from spaceeye_stac.model import GridJob, metres_per_pixel
from spaceeye_stac.query import Json

VRT_TYPE = "image/x-gdal-vrt"  # readers that look for images by type know them by "image/"
UNCERTAINTY = "uncertainty"
PICTURE = "Surface reflectance made bright enough to look at, alike on every day; measure on the bands."
NOT_RASTERS = ("thumbnail", "flags_style")
# name: (common name, title, centre wavelength and full width at half maximum in micrometres)
BAND_FACTS: dict[str, tuple[str, str, float, float]] = {
    "B01": ("coastal", "Coastal aerosol", 0.443, 0.027),
    "B02": ("blue", "Blue", 0.49, 0.098),
    "B03": ("green", "Green", 0.56, 0.045),
    "B04": ("red", "Red", 0.665, 0.038),
    "B05": ("rededge071", "Red edge 1", 0.704, 0.019),
    "B06": ("rededge075", "Red edge 2", 0.74, 0.018),
    "B07": ("rededge078", "Red edge 3", 0.783, 0.028),
    "B08": ("nir", "Near infrared", 0.842, 0.145),
    "B8A": ("nir08", "Near infrared, narrow", 0.865, 0.033),
    "B09": ("nir09", "Water vapour", 0.945, 0.026),
    "B11": ("swir16", "Short-wave infrared 1.6", 1.61, 0.143),
    "B12": ("swir22", "Short-wave infrared 2.2", 2.19, 0.242),
}


def uncertainty_of(band: str) -> str:
    """Key of the uncertainty of one band."""
    return f"{UNCERTAINTY}_{band}"


def renders(keys: Iterable[str], rgb_bands: Sequence[str]) -> Json:
    """Say how tile servers should show what there is: the visual, vegetation, an infrared view, and the quality."""
    have = set(keys)
    found: Json = {
        "visual": {"title": picture_title(rgb_bands), "assets": ["visual"]},
        "clear_distance": {
            "title": "Days to the nearest clear look",
            "assets": ["clear_distance"],
            "rescale": [[0, 30]],
            "colormap_name": "viridis",
        },
    }
    if {"B08", "B04"} <= have:
        found["ndvi"] = {
            "title": "Vegetation index (NDVI)",
            "assets": ["B08", "B04"],
            "expression": "(b1-b2)/(b1+b2)",
            "rescale": [[-0.2, 1]],
            "colormap_name": "rdylgn",
        }
    if {"B08", "B04", "B03"} <= have:
        found["infrared"] = {
            "title": "Infrared (B08, B04, B03)",
            "assets": ["B08", "B04", "B03"],
            "rescale": [[1, 6000], [1, 3558], [1, 3558]],
        }
    return found


def day_asset(key: str, file: WrittenFile, images: DayImages, job: GridJob) -> Json:
    """Describe one file of a day."""
    raster = key not in NOT_RASTERS
    return {
        "href": f"./{file.path.name}",
        **described(key, images.written.rgb_bands, job.grid.geobox),
        **({"type": VRT_TYPE} if file.path.suffix == ".vrt" else {}),
        **(_projection(job) if raster else {}),
        **({"bands": _bands(key, images.written.rgb_bands, images.written.statistics.get(key))} if raster else {}),
        "file:size": file.size,
        "file:checksum": file.checksum,
    }


def described(key: str, rgb_bands: Sequence[str], geobox: GeoBox) -> Json:
    """Return the fields of an asset that are the same on every day."""
    if key == "thumbnail":
        return {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]}
    if key == "flags_style":
        return {"title": "Style of the flags for QGIS", "type": "application/xml", "roles": ["style"]}
    common: Json = {"type": COG_TYPE, "nodata": 0, "data_type": "uint8", "gsd": metres_per_pixel(geobox)}
    if key == "visual":
        return {**common, "title": picture_title(rgb_bands), "description": PICTURE, "roles": ["visual", "overview"]}
    if key == "clear_distance":
        title = "Days to the nearest clear look that was used"
        return {**common, "title": title, "roles": ["metadata", "quality"], "nodata": 255, "unit": "d"}
    if key == "flags":
        fields = {"title": "How each pixel was made", "roles": ["metadata", "quality"]}
        return {**common, **fields, "classification:bitfields": bitfields()}
    title, roles = f"{BAND_FACTS.get(key, ('', ''))[1]} ({key})", ["data", "reflectance"]
    if key.startswith(UNCERTAINTY):
        of_which = key.removeprefix(UNCERTAINTY).removeprefix("_") or "the largest over bands"
        title = f"Half width of the 68 % interval of reflectance, {of_which}"
        roles = ["metadata", "quality", "uncertainty"]
    fields = {"title": title, "roles": roles, "data_type": "uint16"}
    return {**common, **fields, "raster:scale": 0.0001, "raster:offset": 0}


def _projection(job: GridJob) -> Json:
    transform = [*tuple(job.grid.geobox.transform)[:6]]
    return {"proj:code": f"EPSG:{job.grid.epsg}", "proj:shape": list(job.grid.shape), "proj:transform": transform}


def _bands(key: str, rgb_bands: Sequence[str], found: Sequence[Statistics] | None) -> list[Json]:
    """Bands of an asset; without statistics where a mean says nothing."""
    names = rgb_bands if key == "visual" else [key]
    facts = [band_fields(name) if name in BAND_FACTS else {"name": name} for name in names]
    if key in BAND_FACTS or key.startswith(UNCERTAINTY):
        facts[0] |= {"raster:scale": 0.0001, "raster:offset": 0}
    if found is None:
        return facts
    return [{**band, "statistics": asdict(stats)} for band, stats in zip(facts, found, strict=True)]


def band_words(name: str) -> str:
    """A band in words: "B04 red, 665 nm"."""
    facts = BAND_FACTS.get(name)
    return name if facts is None else f"{name} {facts[1][0].lower()}{facts[1][1:]}, {round(1000 * facts[2])} nm"


def picture_title(rgb_bands: Sequence[str]) -> str:
    """What `visual` is, made of these bands: "True colour (B04, B03, B02)"."""
    names = list(dict.fromkeys(rgb_bands))
    seen = [BAND_FACTS[name][0] if name in BAND_FACTS else name for name in names]
    kind = "True colour" if seen == ["red", "green", "blue"] else "False colour" if len(seen) > 1 else "Grey"
    return f"{kind} ({', '.join(names)})"


def band_fields(name: str) -> Json:
    """Return what the eo extension says of a band of Sentinel-2."""
    common, _, centre, width = BAND_FACTS[name]
    return {
        "name": name,
        "eo:common_name": common,
        "eo:center_wavelength": centre,
        "eo:full_width_half_max": width,
    }
