"""What was computed, as STAC 1.1 Items and a Collection; pure."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pystac
from odc.geo.geobox import GeoBox
from pystac.provider import ProviderRole
from shapely import Geometry

from spaceeye_stac.collection.assets import band_fields, classic_band, day_asset, described, projection, renders
from spaceeye_stac.collection.day import PROVISIONAL, DayImages, DayQuality, is_provisional
from spaceeye_stac.collection.flags import share_field
from spaceeye_stac.collection.folder import SCHEMA_FILE
from spaceeye_stac.model import Grid, GridJob, metres_per_pixel
from spaceeye_stac.outlines import bbox, right_handed, split, unwrapped
from spaceeye_stac.query import Json
from spaceeye_stac.settings import SMOOTH_METHODS, Settings

# versions that know the fields of STAC 1.1 and of 1.0, which odc-stac, stackstac and GDAL look for
ITEM_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.2.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/render/v2.0.0/schema.json",
]
COLLECTION_EXTENSIONS = [*ITEM_EXTENSIONS[:3], *ITEM_EXTENSIONS[-2:]]
GRID_EXTENSION = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
FOOTPRINT_POINTS = 16
FOOTPRINT_TOLERANCE_DEGREES = 1e-6
LICENSE = "other"
LICENSE_HREF = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
SOFTWARE = "spaceeye-stac"
PAPER = "https://arxiv.org/abs/2106.08408"
RUN_DIGITS = 16
SEEN_SHARE, LEAST_SHARE = 0.995, 0.01
NAMED = ("method", "mask_model")  # settings that may be callables, which stand by their names
LINEAGE = {
    "surface": f"Temporal damped interpolation ({PAPER}) with dampings and weights found from the looks themselves",
    "damped": f"Temporal damped interpolation, the exact minimiser of SpaceEye's objective ({PAPER})",
    "reference": f"SpaceEye's temporal damped interpolation ({PAPER}) as FarmVibes.AI iterates it",
}
AS_SEEN = ", acquisition days as they were seen"
CAUSAL = ", from looks up to each day alone"


def item_id(job: GridJob, day: date) -> str:
    """`<collection>_<YYYY-MM-DD>`, or `<collection>_<tile>_<YYYY-MM-DD>` where a run has a grid per tile."""
    return "_".join(filter(None, (job.settings.collection_id, job.grid.tile, day.isoformat())))


def day_item(job: GridJob, images: DayImages, folder: Path, created: datetime) -> pystac.Item:
    """Describe one day, whose files lie in `folder`, as an item with relative hrefs."""
    item = pystac.Item(
        id=item_id(job, images.day),
        **bounded(job.grid),
        datetime=datetime.combine(images.day, time(), UTC),
        properties=_properties(job, images, created),
        stac_extensions=[*ITEM_EXTENSIONS, *([GRID_EXTENSION] if job.grid.tile else [])],
        collection=job.settings.collection_id,
    )
    for key, file in images.written.files.items():
        item.add_asset(key, pystac.Asset.from_dict(day_asset(key, file, images, job)))
    item.add_link(_described_by(f"../{SCHEMA_FILE}"))
    for scene in images.scenes:
        item.add_link(_derived_from(scene.href, next(iter(scene.bands.values())).href, scene.id, folder))
        mask = scene.labels
        if mask is not None and mask.source is not None:
            item.add_link(_derived_from(mask.source.href, mask.href, mask.source.id, folder))
    return item


def bounded(grid: Grid) -> Json:
    """Geometry and bbox of what lies on a grid."""
    outline = _rounded(right_handed(grid.outline or split(_footprint(grid.geobox))))
    return {"geometry": outline, "bbox": list(bbox([outline]))}


def _footprint(geobox: GeoBox) -> Geometry:
    """Outline in degrees and one piece: the corners, and points on sides where a straight line is visibly off."""
    extent = geobox.extent
    spacing = max(extent.boundingbox.span_x, extent.boundingbox.span_y) / FOOTPRINT_POINTS
    return unwrapped(extent.to_crs("EPSG:4326", resolution=spacing).geom).simplify(FOOTPRINT_TOLERANCE_DEGREES)


def _rounded(geometry: Any) -> Any:  # noqa: ANN401 - GeoJSON coordinates nest to any depth
    if isinstance(geometry, dict):
        return {**geometry, "coordinates": _rounded(geometry["coordinates"])}
    if isinstance(geometry, list | tuple):
        return [_rounded(part) for part in geometry]
    return round(geometry, 7)


def _properties(job: GridJob, images: DayImages, created: datetime) -> Json:
    settings, day, quality = job.settings, images.day.isoformat(), images.quality
    return {
        "title": _title(day, quality),
        "start_datetime": f"{day}T00:00:00Z",
        "end_datetime": f"{day}T23:59:59.999Z",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": metres_per_pixel(job.grid.geobox),
        **({} if quality.doubted is None else {"eo:cloud_cover": round(100 * quality.doubted, 2)}),
        **projection(job.grid.epsg),
        **({"grid:code": _grid_code(job)} if job.grid.tile else {}),
        "processing:level": "L3",
        "processing:lineage": _lineage(settings, len(images.scenes)),
        "processing:software": {SOFTWARE: version(SOFTWARE)},
        "processing:datetime": created.isoformat().replace("+00:00", "Z"),
        "spaceeye:method": settings.method_name,
        **({"spaceeye:damping_factor": settings.damping_factor} if settings.method in SMOOTH_METHODS else {}),
        "spaceeye:duration": settings.window_days(job.days),
        "spaceeye:time_overlap": settings.time_overlap,
        "spaceeye:causal": settings.causal,
        PROVISIONAL: is_provisional(images.window.stop, created, settings),
        "spaceeye:window": [images.window.start.isoformat(), images.window.stop.isoformat()],
        **{share_field(flag): round(share, 4) for flag, share in quality.flagged.items()},
        "spaceeye:nodata_share": round(quality.nodata, 4),
        "spaceeye:median_clear_distance": quality.median_clear_distance,
        "spaceeye:scene_count": len(images.scenes),
        "spaceeye:scenes": [scene.id for scene in images.scenes],
        "renders": renders(images.written.files, images.written.rgb_bands),
    }


def _title(day: str, quality: DayQuality) -> str:
    """Whether the day was seen, and if not how near the looks are that it was made from."""
    seen = quality.observed / (1 - quality.nodata)
    if seen >= SEEN_SHARE:
        return f"Sentinel-2, {day}, seen"
    if seen > 0:
        percent = f"{100 * seen:.0f}" if seen >= LEAST_SHARE else "less than 1"
        return f"Sentinel-2, {day}, {percent} % seen, the rest reconstructed"
    distance = quality.median_clear_distance
    return f"Sentinel-2, {day}, reconstructed, nearest look {distance:g} day{'s' * (distance != 1)} away"


def _described_by(href: str) -> pystac.Link:
    return pystac.Link("describedby", href, "application/schema+json", "Schema of the spaceeye: fields")


def _grid_code(job: GridJob) -> str:
    return f"MGRS-{job.grid.tile}"


def _how(settings: Settings) -> str:
    """What the method does."""
    how = LINEAGE.get(settings.method_name, f"Temporal interpolation by the method {settings.method_name}")
    seen = settings.method == "surface" and settings.shows_looks
    return how + (AS_SEEN if seen else "") + (CAUSAL if settings.causal else "")


def _lineage(settings: Settings, scenes: int) -> str:
    """What was done, in a sentence."""
    model = f", clear pixels by the mask model {settings.mask_model_name}" if settings.mask_model is not None else ""
    with_masks = "" if not model or settings.mask_model_use == "instead" else f" {settings.mask_model_use} their masks"
    return f"{_how(settings)}, of {scenes} Sentinel-2 L2A scenes{model}{with_masks}."


def _derived_from(item: str | None, file: str, title: str, folder: Path) -> pystac.Link:
    """Link to a source item, or to one of its files where it has no address: for a local one the way from `folder`."""
    href = item or file
    if "://" not in href:
        href = Path(os.path.relpath(href, folder)).as_posix()
    return pystac.Link("derived_from", href, media_type="application/geo+json" if item else None, title=title)


def collection_of(
    jobs: Sequence[GridJob], items: Sequence[pystac.Item], rgb_bands: tuple[str, str, str]
) -> pystac.Collection:
    """Describe all days of all grids: extent, assets, summaries, providers, licence and links to the items."""
    job, settings = jobs[0], jobs[0].settings
    starts = [item.common_metadata.start_datetime for item in items]
    ends = [item.common_metadata.end_datetime for item in items]
    scenes = sum(len(one.scenes) for one in jobs)
    found = pystac.Collection(
        id=settings.collection_id,
        title=f"Cloud-free daily Sentinel-2, {job.days.start} to {job.days.stop}",
        description=(
            f"One cloud-free Sentinel-2 image a day, reconstructed from {scenes} scenes by the method "
            f"{settings.method_name}. {_how(settings)}. Surface reflectance as in Sentinel-2 L2A: uint16, scale "
            "0.0001, offset 0, nodata 0. `clear_distance` says how many days away the nearest clear look is.\n\n"
            "Contains modified Copernicus Sentinel data."
        ),
        extent=pystac.Extent(
            _spatial_extent(items), pystac.TemporalExtent([[min(filter(None, starts)), max(filter(None, ends))]])
        ),
        license=LICENSE,
        keywords=["Sentinel-2", "cloud-free", "daily", "surface reflectance", "SpaceEye"],
        providers=_providers(),
        stac_extensions=list(COLLECTION_EXTENSIONS),
        summaries=pystac.Summaries(_summaries(jobs)),
    )
    found.summaries.add(PROVISIONAL, sorted({item.properties[PROVISIONAL] for item in items}))
    found.extra_fields["spaceeye:run"] = run_id(jobs)
    found.extra_fields["item_assets"] = {
        key: {**described(key, rgb_bands, job.grid.geobox), "type": asset.media_type}
        for key, asset in items[0].assets.items()
    }
    found.add_link(pystac.Link("license", LICENSE_HREF, title="Copernicus Sentinel data legal notice"))
    found.extra_fields["renders"] = renders(items[0].assets, rgb_bands)
    found.add_link(_described_by(f"./{SCHEMA_FILE}"))
    found.add_link(pystac.Link("cite-as", PAPER, title="SpaceEye"))
    return found


def run_id(jobs: Sequence[GridJob]) -> str:
    """What tells one run from another, the same whatever days are asked for: where, which bands, from what, and how.

    Where there is a grid per tile, other days may bring other tiles: then the settings alone say where.
    """
    job = jobs[0]
    one_grid = [job.grid.epsg, *job.grid.shape, *job.grid.geobox.transform[:6]]
    settings = {f.name: str(getattr(job.settings, f.name)) for f in fields(job.settings) if f.name not in NAMED}
    facts = {
        **settings,
        "method": job.settings.method_name,
        "mask_model": job.settings.mask_model_name,
        "grid": one_grid if job.grid.tile is None else "tiles",
        "bands": list(job.bands),
        "profiles": sorted({scene.profile for one in jobs for scene in one.scenes}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:RUN_DIGITS]


def _providers() -> list[pystac.Provider]:
    return [
        pystac.Provider("ESA", roles=[ProviderRole.PRODUCER, ProviderRole.LICENSOR], url="https://sentinel.esa.int"),
        pystac.Provider(SOFTWARE, roles=[ProviderRole.PROCESSOR], extra_fields={"processing:level": "L3"}),
    ]


def _spatial_extent(items: Sequence[pystac.Item]) -> pystac.SpatialExtent:
    """Of everything, and where there are several grids also of each."""
    boxes = list(dict.fromkeys(tuple(item.bbox) for item in items if item.bbox))
    whole = bbox([item.geometry for item in items if item.geometry])
    return pystac.SpatialExtent([list(whole), *(list(one) for one in boxes if len(boxes) > 1)])


def _summaries(jobs: Sequence[GridJob]) -> Json:
    codes = [_grid_code(job) for job in jobs if job.grid.tile]
    bands = [band_fields(name) for name in jobs[0].bands]
    return {
        "constellation": ["sentinel-2"],
        "instruments": ["msi"],
        "gsd": sorted({metres_per_pixel(job.grid.geobox) for job in jobs}),
        "proj:code": sorted({f"EPSG:{job.grid.epsg}" for job in jobs}),
        **({"grid:code": codes} if codes else {}),
        "spaceeye:method": [jobs[0].settings.method_name],
        "bands": bands,
        "eo:bands": [classic_band(band) for band in bands],
        "spaceeye:causal": [jobs[0].settings.causal],
    }


def link_in_order(items: Iterable[pystac.Item]) -> None:
    """Add `prev` and `next` links between the items of consecutive days."""
    ordered = list(items)
    for item in ordered:
        item.clear_links("prev")
        item.clear_links("next")
    for before, after in pairwise(ordered):
        before.add_link(pystac.Link("next", f"../{after.id}/{after.id}.json", pystac.MediaType.GEOJSON))
        after.add_link(pystac.Link("prev", f"../{before.id}/{before.id}.json", pystac.MediaType.GEOJSON))
