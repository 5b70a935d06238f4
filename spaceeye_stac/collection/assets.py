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
SCALE = 0.0001
NOT_RASTERS: dict[str, Json] = {
    "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
    "flags_style": {"title": "Style of the flags for QGIS", "type": "application/xml", "roles": ["style"]},
}
PICTURE = "Surface reflectance made bright enough to look at, alike on every day; measure on the bands."
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
    written = images.written
    fields = described(key, written.rgb_bands, job.grid.geobox)
    return {
        "href": f"./{file.path.name}",
        **fields,
        **({"type": VRT_TYPE} if file.path.suffix == ".vrt" else {}),
        **(projected(job) if "bands" in fields else {}),
        **({"bands": _with_statistics(fields["bands"], written.statistics.get(key))} if "bands" in fields else {}),
        "file:size": file.size,
        "file:checksum": file.checksum,
    }


def described(key: str, rgb_bands: Sequence[str], geobox: GeoBox) -> Json:
    """Return the fields of an asset that are the same on every day.

    Bands stand there three times: as STAC 1.1 has them, and as `eo:bands` and `raster:bands`, by which odc-stac,
    stackstac and other readers find a band's common name, its type, its nodata and its scale.
    """
    if key in NOT_RASTERS:
        return dict(NOT_RASTERS[key])
    fields = _raster(key, rgb_bands, metres_per_pixel(geobox))
    names = rgb_bands if key == "visual" else [key]
    bands = [band_fields(name) if name in BAND_FACTS else {"name": name} for name in names]
    classic = [classic_band(band) for band in bands if "eo:common_name" in band]
    values = {"data_type": fields["data_type"], "nodata": fields["nodata"], "spatial_resolution": fields["gsd"]}
    if "unit" in fields:
        values["unit"] = fields["unit"]
    if "reflectance" in fields["roles"] or key.startswith(UNCERTAINTY):
        bands[0] |= {"raster:scale": SCALE, "raster:offset": 0}
        values |= {"scale": SCALE, "offset": 0}
    return {
        **fields,
        "bands": bands,
        **({"eo:bands": classic} if classic else {}),
        "raster:bands": [dict(values) for _ in bands],
    }


def _raster(key: str, rgb_bands: Sequence[str], metres: float) -> Json:
    """What an asset of pixels is."""
    common: Json = {"type": COG_TYPE, "nodata": 0, "data_type": "uint8", "gsd": metres}
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
    return {**common, "title": title, "roles": roles, "data_type": "uint16"}


def projection(epsg: int) -> Json:
    """The CRS, by both fields of the projection extension 1.2, of which older readers know the second alone."""
    return {"proj:code": f"EPSG:{epsg}", "proj:epsg": epsg}


def crs_code(asset: Json) -> str:
    """The CRS of an asset, as EPSG:32631, in STAC 1.1 or 1.0; LookupError where it has none."""
    return str(asset.get("proj:code") or f"EPSG:{asset['proj:epsg']}")


def projected(job: GridJob) -> Json:
    """The grid of a job's rasters, by the projection extension."""
    transform = [*tuple(job.grid.geobox.transform)[:6]]
    return {**projection(job.grid.epsg), "proj:shape": list(job.grid.shape), "proj:transform": transform}


def _with_statistics(bands: Sequence[Json], found: Sequence[Statistics] | None) -> list[Json]:
    """Bands of an asset with their statistics; without, where a mean says nothing."""
    if found is None:
        return [*bands]
    return [{**band, "statistics": asdict(stats)} for band, stats in zip(bands, found, strict=True)]


def classic_band(band: Json) -> Json:
    """A band as `eo:bands` of the eo extension 1.1 has it, which knows one red edge."""
    found = {name.removeprefix("eo:"): value for name, value in band.items()}
    return {**found, "common_name": "rededge"} if found["common_name"].startswith("rededge") else found


def band_words(name: str) -> str:
    """A band in words: "B04 red, 665 nm"."""
    facts = BAND_FACTS.get(name)
    return name if facts is None else f"{name} {facts[1][0].lower()}{facts[1][1:]}, {round(1000 * facts[2])} nm"


def picture_title(rgb_bands: Sequence[str]) -> str:
    """What `visual` is, made of these bands: "True colour (B04, B03, B02)"."""
    names = list(dict.fromkeys(rgb_bands))
    if len(names) == 1:
        return f"Grey ({names[0]})"
    true = [BAND_FACTS[name][0] if name in BAND_FACTS else name for name in names] == ["red", "green", "blue"]
    return f"{'True' if true else 'False'} colour ({', '.join(names)})"


def band_fields(name: str) -> Json:
    """Return what the eo extension says of a band of Sentinel-2."""
    common, _, centre, width = BAND_FACTS[name]
    return {
        "name": name,
        "eo:common_name": common,
        "eo:center_wavelength": centre,
        "eo:full_width_half_max": width,
    }
