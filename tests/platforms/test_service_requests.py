"""What a request over a network may name, and what it is told where it may not."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.platforms.service import Service, ServiceTarget
from spaceeye_stac.platforms.service_requests import check_area, checked_request, offered_inputs
from spaceeye_stac.platforms.service_run import withheld_credentials
from tests.support.material import ROOT

Json = dict[str, Any]
ASKED: Json = {"catalog": "earth-search", "bbox": [4.6, 51.0, 4.7, 51.1], "datetime": "2024-05-01/2024-05-31"}
SQUARE = {"type": "Polygon", "coordinates": [[[4.6, 51.0], [4.7, 51.0], [4.7, 51.1], [4.6, 51.1], [4.6, 51.0]]]}


def service(**options: object) -> Service:
    return Service.of({"name": "x", "work": "/srv/jobs", "url": "https://example.com/results", **options})


def refusal(**change: object) -> str:
    with pytest.raises(InvalidInputError) as caught:
        checked_request({**ASKED, **change}, service())
    return str(caught.value)


def test_a_request_keeps_what_it_may_name() -> None:
    found = checked_request({**ASKED, "method": "damped", "crs": "EPSG:32631", "clip": None}, service())
    assert found.inputs == {**ASKED, "method": "damped", "crs": "EPSG:32631"}
    assert (found.publish_to, found.trusted) == (None, True)
    region = {name: value for name, value in ASKED.items() if name != "bbox"} | {"intersects": SQUARE}
    assert checked_request(region, service()).inputs["intersects"] == SQUARE


@pytest.mark.parametrize("name", ["catalog", "mask_catalog"])
@pytest.mark.parametrize(
    "catalog",
    [
        "/etc",
        "~/catalog.json",
        "generic",
        "catalogs/earth-search.toml",
        "https://example.com/x.toml",
        "file:///etc/catalog.json",
        "FILE:/etc/catalog.json",
        "http://example.com/catalog.json",
        "s3://bucket/catalog.json",
        "/vsicurl/https://example.com/",
        "https://10.0.0.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
        "https://metadata.google.internal/",
        "https://example.com\\@127.0.0.1/",
        "https://user:word@example.com/",
        "https://browser.example.com/#/external/http:/127.0.0.1/catalog.json",
    ],
)
def test_catalogs_are_profiles_or_public_https(name: str, catalog: str) -> None:
    assert refusal(**{"catalog": "https://example.com/stac", name: catalog}).startswith(name)


def test_a_catalog_below_a_trusted_address_may_be_anywhere_and_only_then_are_its_items_trusted() -> None:
    own = service(trusted=["http://127.0.0.1:8080/stac"])
    found = checked_request({**ASKED, "catalog": "http://127.0.0.1:8080/stac/catalog.json"}, own)
    assert found.inputs["allow_hrefs"] == ["http://127.0.0.1:8080/stac"]
    for other in ("http://127.0.0.1:8080/stac/../x", "http://127.0.0.1:8081/stac/x", "http://127.0.0.1:8080/stack"):
        with pytest.raises(InvalidInputError, match="https"):
            checked_request({**ASKED, "catalog": other}, own)
    public = checked_request({**ASKED, "catalog": "https://example.com/stac"}, own)
    assert "allow_hrefs" not in public.inputs
    assert not public.trusted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intersects": "/etc/passwd"}, "give GeoJSON in degrees, as an object"),
        ({"intersects": {**SQUARE, "crs": "+proj=longlat"}}, "give GeoJSON in degrees, as an object"),
        ({"crs": "+proj=utm +zone=31 +nadgrids=/etc/passwd"}, "give an EPSG code"),
        ({"profile": "/tmp/mine.toml"}, "choose from"),  # noqa: S108 - nothing is there
        ({"mask_model": "omnicloudmask"}, "'mask_model' is no input of this server"),
        ({"method": "os:system"}, "choose from surface, damped, reference"),
        ({"resolution": 0.001}, "are too much"),
        ({"datetime": "1900-01-01/2100-01-01"}, "are too much"),
        ({"crs": "EPSG:2277", "resolution": 1.0}, "are too much"),  # feet
        ({"publish_to": "s3://bucket"}, "'publish_to' is no input of this server"),
        ({"catalog": "B" * 10_000}, "..."),
    ],
)
def test_nothing_else_that_is_the_servers_can_be_named(change: Json, said: str) -> None:
    text = refusal(**change)
    assert said in text
    assert len(text) < 1000


def test_every_option_of_the_resources_is_the_servers_and_no_input() -> None:
    offered = offered_inputs(service(methods=["mine"], mask_models=["theirs"]))
    assert not {"memory", "workers", "scheduler", "connections", "loader", "cache", "allow_hrefs"} & offered.keys()
    assert "mine" in offered["method"]["enum"]
    assert offered["mask_model"]["enum"] == ["theirs"]


def test_area_is_that_of_the_box_around_the_region_over_the_antimeridian_too() -> None:
    # 0.2 x 0.1 degrees at the equator: 22.26 km by 11.06 km on the ellipsoid
    for box in ([179.9, 0.0, -179.9, 0.1], [10.0, 0.0, 10.2, 0.1]):
        with pytest.raises(InvalidInputError, match=r"^24[67] km2 in pixels of 10 m for 1 days"):
            checked_request(
                {**ASKED, "bbox": box, "datetime": "2024-05-01"}, service(limits={"area_days": 240, "memory": "1GB"})
            )
    with pytest.raises(InvalidInputError, match="too much"):
        check_area(10.0, 11, service(limits={"area_days": 100}))
    check_area(10.0, 10, service(limits={"area_days": 100}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": None}, "needs an url for its results, or targets"),
        ({"limit": {}}, "'limit' of the processor is no option"),
        ({"limits": {"memory": "much"}}, "memory 'much' is not allowed"),
        ({"limits": {"jobs": 0}}, "must be above 0"),
        ({"targets": {"here": {"to": "/srv/days"}}}, "give its public address as asset_base_url"),
        ({"targets": {"here": "/srv/days"}}, "target here is no table"),
        ({"targets": {"here": {}}}, "target here is not complete"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_said_when_the_server_starts(options: Json, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        service(**options)


def test_the_configuration_of_the_page_is_one() -> None:
    page = (ROOT / "examples" / "platforms.md").read_text()
    block = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "Processor" in block)
    written = yaml.safe_load(block)["resources"]["cloudless"]["processor"]
    assert Service.of(written).targets["archive"].href("a") == "https://days.example.com/a/collection.json"


def test_a_configuration_comes_through_json() -> None:
    made = service(targets={"here": {"to": "s3://bucket/days"}}, trusted=["http://127.0.0.1/"])
    assert Service.of(made.as_json()) == made


def test_collections_of_a_target_lie_apart_and_their_address_names_no_folder_of_the_server() -> None:
    folder = ServiceTarget(to="/srv/days", asset_base_url="https://example.com/days/")
    assert (folder.place("a"), folder.href("a")) == ("/srv/days/a", "https://example.com/days/a/collection.json")
    assert folder.folders("a") == [Path("/srv/days/a")]
    api = ServiceTarget(to="https://stac.example.com/", assets_to="s3://bucket")
    assert (api.place("a"), api.href("a")) == (
        "https://stac.example.com/",
        "https://stac.example.com/collections/a",
    )
    assert (api.options("a"), api.folders("a")) == ({"assets_to": "s3://bucket/a"}, [])


def test_a_geocatalog_holds_many_collections_as_any_api_does() -> None:
    target = ServiceTarget(to="geocatalog+https://x.geocatalog.spatio.azure.com", assets_to="az://days")
    assert target.place("a") == target.to
    assert target.href("a") == "https://x.geocatalog.spatio.azure.com/stac/collections/a"


def test_a_catalog_of_anyone_is_read_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST", raising=False)
    before = dict(os.environ)
    with withheld_credentials():
        assert "geheim" not in os.environ.values()
        assert os.environ["AWS_NO_SIGN_REQUEST"] == "YES"
        assert not (Path.home() / ".netrc").exists()
    assert dict(os.environ) == before
