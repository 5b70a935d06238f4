"""One scene in the words of every catalog: the pixels that come out are the same, to the last bit."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import spaceeye_stac as se
from spaceeye_stac.simulation.landscape import Simulation

Json = dict[str, Any]
BOA = 1000
BANDS = ("B02", "B04", "B08", "B11")
COMMON = {"B02": "blue", "B04": "red", "B08": "nir", "B11": "swir16"}
CENTRE = {"B02": 0.49, "B04": 0.665, "B08": 0.842, "B11": 1.61}
DAYS = "2023-04-01/2023-04-06"


@dataclass(frozen=True)
class Source:
    """A simulated catalog twice: `plain`, as ESA delivered it before baseline 04.00, and `shifted` by 1000 since."""

    items: list[Json]
    plain: Path
    shifted: Path
    bbox: tuple[float, ...]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    simulation = Simulation(shape=(48, 64), days=6, revisit=2, seed=11, bands=BANDS)
    plain, shifted = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("shifted")
    simulation.write(plain)
    items = []
    for path in sorted(plain.glob("sentinel-2-l2a/*/*.json")):
        items.append(json.loads(path.read_text()))
        copy = shifted / path.parent.relative_to(plain)
        copy.mkdir(parents=True)
        for name in (*BANDS, "SCL"):
            with rasterio.open(path.parent / f"{name}.tif") as image:
                pixels, profile = image.read(1), image.profile
            with rasterio.open(copy / f"{name}.tif", "w", **profile) as image:
                image.write(pixels if name == "SCL" else pixels + np.uint16(BOA) * (pixels > 0), 1)
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0003).boundingbox
    return Source(items, plain, shifted, box.bbox)


def asset(item: Json, name: str, folder: Path, **fields: Any) -> Json:
    """An asset of the scene in a folder, by what every dialect says of it."""
    own = item["assets"][name]
    href = str(folder / "sentinel-2-l2a" / item["id"] / f"{name}.tif")
    place = {"proj:shape": own["proj:shape"], "proj:transform": own["proj:transform"]}
    return {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"], **place, **fields}


def scene(item: Json, version: str, name: str, collection: str, assets: Json, **properties: Any) -> Json:
    """An item of those assets."""
    said = {"datetime": item["properties"]["datetime"], "platform": "sentinel-2a", **properties}
    kept = {key: item[key] for key in ("type", "geometry", "bbox")}
    return {
        **kept,
        "stac_version": version,
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "properties": said,
        "assets": assets,
        "links": [],
    }


def stamp(item: Json) -> str:
    return str(item["properties"]["datetime"])[:10].replace("-", "")


def planetary_computer(item: Json, source: Source, baseline: str) -> Json:
    """Neither scale nor offset in the item: the baseline alone says."""
    folder = source.shifted if baseline >= "04.00" else source.plain
    assets = {name: asset(item, name, folder) for name in (*BANDS, "SCL")}
    name = f"S2A_MSIL2A_{stamp(item)}T105031_R051_T31UDS"
    told = {"proj:epsg": 32631, "s2:mgrs_tile": "31UDS", "s2:processing_baseline": baseline}
    return scene(item, "1.0.0", name, "sentinel-2-l2a", assets, **told)


def pc_old(item: Json, source: Source) -> Json:
    return planetary_computer(item, source, "03.01")


def pc_new(item: Json, source: Source) -> Json:
    return planetary_computer(item, source, "05.09")


def raster_1_0(offset: float, kind: str = "uint16") -> Json:
    return {"raster:bands": [{"nodata": 0, "data_type": kind, "scale": 0.0001, "offset": offset}]}


def element84(item: Json, folder: Path, offset: float, collection: str, **properties: Any) -> Json:
    bands = {
        COMMON[name]: asset(
            item,
            name,
            folder,
            **raster_1_0(offset),
            **{"eo:bands": [{"name": COMMON[name], "common_name": COMMON[name]}]},
        )
        for name in BANDS
    }
    labels = asset(item, "SCL", folder, **{"raster:bands": [{"nodata": 0, "data_type": "uint8"}]})
    told = {"proj:epsg": 32631, "grid:code": "MGRS-31UDS", "s2:processing_baseline": "05.09", **properties}
    return scene(item, "1.0.0", f"S2A_31UDS_{stamp(item)}_0_L2A", collection, {**bands, "scl": labels}, **told)


def earth_search_applied(item: Json, source: Source) -> Json:
    """It declares -0.1, and that the pixels have it already."""
    flag = {"earthsearch:boa_offset_applied": True}
    return element84(item, source.plain, -0.1, "sentinel-2-l2a", **flag)


def earth_search_declared(item: Json, source: Source) -> Json:
    """Not applied: what it declares counts."""
    flag = {"earthsearch:boa_offset_applied": False}
    return element84(item, source.shifted, -0.1, "sentinel-2-l2a", **flag)


def earth_search_c1(item: Json, source: Source) -> Json:
    return element84(item, source.shifted, -0.1, "sentinel-2-c1-l2a")


def earth_search_v0(item: Json, source: Source) -> Json:
    """No scale and no offset; its pixels are as before baseline 04.00, as its flag says."""
    bands = {name: asset(item, name, source.plain) for name in (*BANDS, "SCL")}
    told = {"proj:epsg": 32631, "sentinel:utm_zone": 31, "sentinel:latitude_band": "U", "sentinel:grid_square": "DS"}
    flag = {"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "04.00"}
    name = f"S2A_31UDS_{stamp(item)}_0_L2A"
    return scene(item, "1.0.0-beta.2", name, "sentinel-s2-l2a-cogs", bands, **told, **flag)


def deafrica(item: Json, source: Source) -> Json:
    return element84(item, source.shifted, -0.1, "s2_l2a_c1")


def cdse(item: Json, source: Source) -> Json:
    """STAC 1.1: the offset stands on the asset, as raster:offset."""
    size = {"B02": "10m", "B04": "10m", "B08": "10m", "B11": "20m", "SCL": "20m"}
    said = {
        "raster:scale": 0.0001,
        "raster:offset": -0.1,
        "data_type": "uint16",
        "nodata": 0,
        "proj:code": "EPSG:32631",
    }
    bands = {f"{name}_{size[name]}": asset(item, name, source.shifted, **said) for name in BANDS}
    labels = asset(item, "SCL", source.shifted, data_type="uint8")
    name = f"S2A_MSIL2A_{stamp(item)}T105031_N0511_R051_T31UDS_20240101T000000"
    told = {"grid:code": "MGRS-31UDS", "processing:version": "05.11", "proj:code": "EPSG:32631"}
    return scene(item, "1.1.0", name, "sentinel-2-l2a", {**bands, "SCL_20m": labels}, **told)


def generic_1_0(item: Json, source: Source) -> Json:
    bands = {
        f"file{i}": asset(
            item,
            name,
            source.shifted,
            **raster_1_0(-0.1),
            **{"eo:bands": [{"name": name, "common_name": COMMON[name], "center_wavelength": CENTRE[name]}]},
        )
        for i, name in enumerate(BANDS)
    }
    labels = asset(item, "SCL", source.shifted, **{"eo:bands": [{"name": "SCL"}]})
    return scene(item, "1.0.0", f"a-{stamp(item)}", "mine", {**bands, "classes": labels}, **{"proj:epsg": 32631})


def generic_1_1(item: Json, source: Source) -> Json:
    bands = {
        f"file{i}": asset(
            item,
            name,
            source.shifted,
            bands=[
                {
                    "name": name,
                    "eo:common_name": COMMON[name],
                    "data_type": "uint16",
                    "nodata": 0,
                    "raster:scale": 0.0001,
                    "raster:offset": -0.1,
                }
            ],
        )
        for i, name in enumerate(BANDS)
    }
    labels = asset(item, "SCL", source.shifted, bands=[{"name": "SCL", "data_type": "uint8"}])
    told = {"proj:code": "EPSG:32631"}
    return scene(item, "1.1.0", f"a-{stamp(item)}", "mine", {**bands, "classes": labels}, **told)


DIALECTS: dict[str, tuple[Callable[[Json, Source], Json], str]] = {
    "planetary-computer before 04.00": (pc_old, "planetary-computer"),
    "planetary-computer": (pc_new, "planetary-computer"),
    "earth-search, applied": (earth_search_applied, "earth-search"),
    "earth-search, declared": (earth_search_declared, "earth-search"),
    "earth-search-c1": (earth_search_c1, "earth-search-c1"),
    "earth-search-v0": (earth_search_v0, "earth-search-v0"),
    "digital-earth-africa": (deafrica, "digital-earth-africa"),
    "cdse": (cdse, "cdse"),
    "generic, STAC 1.0": (generic_1_0, "generic"),
    "generic, STAC 1.1": (generic_1_1, "generic"),
}


def published(source: Source, speak: Callable[[Json, Source], Json], place: Path) -> dict[str, bytes]:
    """Every raster of a whole run on the dialect's items, as pixels."""
    items = [speak(item, source) for item in source.items]
    place.mkdir()
    (place / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    query = se.Query(
        catalog=place / "items.json",
        bbox=source.bbox,
        datetime=DAYS,
        bands=BANDS,
        allow_hrefs=[str(source.plain), str(source.shifted)],
    )
    assert len(se.search(query)) == len(items)
    se.run(query, out=place / "out")
    rasters = {}
    for path in sorted((place / "out").rglob("*.tif")):
        with rasterio.open(path) as image:
            rasters[str(path.relative_to(place))] = image.read().tobytes() + str(image.transform).encode()
    return rasters


@pytest.fixture(scope="module")
def expected(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the simulated catalog itself gives: there is no offset in it at all."""

    def untouched(item: Json, source: Source) -> Json:
        assets = {
            name: {**item["assets"][name], "href": asset(item, name, source.plain)["href"]} for name in item["assets"]
        }
        return {**item, "assets": assets, "links": []}

    return published(source, untouched, tmp_path_factory.mktemp("expected") / "x")


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_same_pixels(
    name: str, source: Source, expected: dict[str, bytes], tmp_path: Path
) -> None:
    speak, profile = DIALECTS[name]
    spoken = [speak(item, source) for item in source.items]
    assert {found.profile for found in se.scenes_from_items(spoken)} == {profile}
    found = published(source, speak, tmp_path / "x")
    assert len(found) == 6 * (len(BANDS) + 4)
    assert found == expected


def test_a_wrong_offset_would_show(source: Source, expected: dict[str, bytes], tmp_path: Path) -> None:
    def wrong(item: Json, source: Source) -> Json:
        return element84(item, source.shifted, 0.0, "sentinel-2-c1-l2a")

    found = published(source, wrong, tmp_path / "x")
    assert found.keys() == expected.keys()
    assert all(found[key] != expected[key] for key in found if key.endswith("B02.tif"))
