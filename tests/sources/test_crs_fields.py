"""EPSG codes in every spelling that catalogs have, and what is none."""

from typing import Any

import pytest
from pyproj import CRS

from spaceeye_stac.errors import ItemError
from spaceeye_stac.sources.asset_fields import resolution_of
from spaceeye_stac.sources.crs_fields import asset_epsg, epsg_of
from tests.support.items import Json

UTM = CRS.from_epsg(32631)
SPELLINGS: list[Json] = [
    {"proj:code": "EPSG:32631"},
    {"proj:code": "epsg:32631"},
    {"proj:code": " EPSG:32631 "},
    {"proj:code": 32631},
    {"proj:code": 32631.0},
    {"proj:code": "32631"},
    {"proj:code": "EPSG:32631+5773"},
    {"proj:code": "urn:ogc:def:crs:EPSG::32631"},
    {"proj:code": "urn:ogc:def:crs:EPSG:9.9.1:32631"},
    {"proj:code": "http://www.opengis.net/def/crs/EPSG/0/32631"},
    {"proj:code": "https://www.opengis.net/def/crs/EPSG/9.9.1/32631"},
    {"proj:code": "EPSG:None", "proj:epsg": 32631},
    {"proj:code": "None", "proj:epsg": 32631},
    {"proj:code": "", "proj:epsg": "32631"},
    {"proj:code": None, "proj:epsg": "EPSG:32631"},
    {"proj:code": "my own", "proj:epsg": 32631},
    {"proj:code": "EPSG:32631", "proj:epsg": None},
    {"proj:code": "EPSG:32631", "proj:epsg": 32631},
    {"proj:epsg": 32767, "proj:wkt2": UTM.to_wkt()},
    {"proj:epsg": 0, "proj:wkt2": UTM.to_wkt("WKT1_GDAL")},
    {"proj:epsg": None, "proj:projjson": UTM.to_json_dict()},
    {"proj:projjson": UTM.to_json()},
    {"proj:wkt2": CRS.from_user_input("EPSG:32631+5773").to_wkt()},
    {"proj:wkt2": "nonsense", "proj:projjson": UTM.to_json_dict()},
    {"proj:code": "EPSG:32631", "proj:wkt2": CRS.from_epsg(32632).to_wkt()},
]


def of(properties: Json, *assets: Json) -> Json:
    return {"id": "X", "properties": properties, "assets": {str(n): asset for n, asset in enumerate(assets)}}


@pytest.mark.parametrize("said", SPELLINGS, ids=lambda said: str(said)[:60])
def test_every_spelling_is_read(said: Json) -> None:
    assert epsg_of(of(said, {}), ["0"]) == 32631
    assert epsg_of(of({"proj:epsg": 32632}, said), ["0"]) == 32631, "the asset goes before the item"


def test_degrees_have_names_of_their_own() -> None:
    for name in (
        "OGC:CRS84",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "EPSG:4326",
    ):
        assert epsg_of(of({"proj:code": name}, {}), ["0"]) == 4326


def test_assets_may_differ_and_most_of_the_bands_decide() -> None:
    item = of({"proj:epsg": 32633}, {"proj:code": "EPSG:32631"}, {"proj:epsg": 32632}, {"proj:epsg": 32631}, {})
    assert epsg_of(item, ["0", "1", "2", "3"]) == 32631
    assert [asset_epsg(item, asset) for asset in item["assets"].values()] == [32631, 32632, 32631, 32633]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "it gives none"),
        ({"proj:code": "EPSG:None"}, "it gives none"),
        ({"proj:code": "ESRI:54009"}, "it gives none"),
        ({"proj:code": ["EPSG:32631"]}, "it gives none"),
        ({"proj:code": True}, "it gives none"),
        ({"proj:wkt2": "PROJCS["}, "it gives none"),
        ({"proj:projjson": {"type": "ProjectedCRS"}}, "it gives none"),
        ({"proj:code": "EPSG:32631", "proj:epsg": 32632}, "it gives 32631, 32632"),
        ({"proj:epsg": -1}, "gives EPSG:-1, which is no CRS of a map"),
        ({"proj:epsg": 99999}, "gives EPSG:99999, which is no CRS of a map"),
        ({"proj:epsg": 5773}, "gives EPSG:5773, which is no CRS of a map"),
        ({"proj:epsg": 4978}, "gives EPSG:4978, which is no CRS of a map"),
    ],
)
def test_what_is_no_crs_is_refused_by_name(said: Json, why: str) -> None:
    with pytest.raises(ItemError, match=f"^Item X .*{why}"):
        epsg_of(of(said, {}), ["0"])


@pytest.mark.parametrize(
    ("asset", "epsg", "size"),
    [
        ({"proj:transform": [10, 0, 0, 0, -10, 0]}, 32631, 10),
        ({"proj:transform": [1e-4, 0, 3, 0, -1e-4, 50]}, 4326, 1e-4),
        ({"proj:transform": [1e-4, 0, 3, 0, -1e-4, 50]}, None, 1e-4),
        ({"gsd": 10}, 32631, 10),
        ({"gsd": 10}, 4326, pytest.approx(8.983e-5, rel=1e-3)),
        ({"gsd": 10}, 2225, pytest.approx(32.808, rel=1e-3)),  # in feet
        ({"raster:spatial_resolution": 20}, 3857, 20),
        ({}, 4326, None),
    ],
)
def test_sizes_are_in_units_of_the_crs(asset: Json, epsg: int | None, size: Any) -> None:
    assert resolution_of(asset, epsg) == size


@pytest.mark.parametrize(
    ("transform", "epsg", "said"),
    [
        ([1e-4, 0, 3, 0, -1e-4, 50], 32631, "a pixel of 0.0001 m is"),
        ([10, 0, 3, 0, -10, 50], 4326, "a pixel of 10 degrees is"),
        ([1e-6, 0, 3, 0, -1e-6, 50], 4326, "a pixel of 1e-06 degrees is"),
        ([float("nan"), 0, 3, 0, -1e-6, 50], 32631, "is not of six numbers"),
        ([10, 0, float("inf"), 0, -10, 50], 32631, "is not of six numbers"),
    ],
)
def test_absurd_sizes_name_their_unit(transform: list[float], epsg: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        resolution_of({"proj:transform": transform}, epsg)
