"""What a catalog may send us to: each test tries it."""

import json
import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError, InvalidInputError, ItemError
from spaceeye_stac.simulation.landscape import Simulation
from spaceeye_stac.sources.selection import search
from spaceeye_stac.sources.trust import Trust
from tests.support.command import command, options_of
from tests.support.failing_api import FlakyApi
from tests.support.loopback import serving

REMOTE = Trust("https://stac.example.org/v1")
HOME = Trust("http://127.0.0.1:8080/catalog.json")
INSIDE = (
    "http://127.0.0.1/x.tif",
    "http://127.1/x.tif",
    "http://127.255.255.254:99/x.tif",
    "https://localhost/x.tif",
    "https://LOCALHOST./x.tif",
    "http://a.localhost/x.tif",
    "http://[::1]/x.tif",
    "http://[0:0:0:0:0:0:0:1]/x.tif",
    "http://[::ffff:127.0.0.1]/x.tif",
    "http://[64:ff9b::7f00:1]/x.tif",
    "http://[2002:7f00:1::]/x.tif",
    "http://[::]/x.tif",
    "http://0.0.0.0/x.tif",
    "http://0/x.tif",
    "http://2130706433/x.tif",
    "http://0x7f000001/x.tif",
    "http://0x7f.0.0.1/x.tif",
    "http://0177.0.0.1/x.tif",
    "http://017700000001/x.tif",
    "http://user@127.0.0.1/x.tif",
    "HTTP://127.0.0.1/x.tif",
)
NEVER = (
    "http://169.254.169.254/latest/meta-data",
    "http://0xa9fea9fe/x.tif",
    "http://2852039166/x.tif",
    "http://[fe80::1]/x.tif",
    "http://[fe80::1%25eth0]/x.tif",
    "http://[::ffff:169.254.169.254]/x.tif",
    "http://[fd00:ec2::254]/x.tif",
    "http://100.100.100.200/x.tif",
    "http://example.org:80:81/x.tif",
    "http://[::1]example.org/x.tif",
    "http://exa[mple.org/x.tif",
    "http://example.org:port/x.tif",
    "http://metadata.google.internal/x.tif",
    "http://%31%32%37.0.0.1/x.tif",
    "http://①②⑦.0.0.1/x.tif",
    "http://127。0。0。1/x.tif",
    "http:///x.tif",
    "http://[::1/x.tif",
    "http://example.org\\@127.0.0.1/x.tif",
    "http://example.org /x.tif",
    "ht\ntp://example.org/x.tif",
    "ftp://example.org/x.tif",
    "zip://example.org/x.tif",
    "vrt://https://example.org/x.tif",
    "gs+x://bucket/x.tif",
    "javascript:alert(1)",
    "NETCDF:x.nc:y",
)
PRIVATE = (
    "http://10.0.0.1/x.tif",
    "http://172.16.5.4/x.tif",
    "http://172.31.255.255:8080/x.tif",
    "https://192.168.1.1/x.tif",
    "http://192.168.257/x.tif",
    "http://0xc0a80101/x.tif",
    "http://3232235777/x.tif",
    "http://100.64.0.1/x.tif",
    "http://198.18.0.1/x.tif",
    "http://224.0.0.1/x.tif",
    "http://255.255.255.255/x.tif",
    "http://[fc00::1]/x.tif",
    "http://[fd12:3456::1]:9000/x.tif",
    "http://[fec0::1]/x.tif",
    "http://[ff02::1]/x.tif",
    "http://[::ffff:10.0.0.1]/x.tif",
    "http://[::ffff:c0a8:101]/x.tif",
    "http://[64:ff9b::a00:1]/x.tif",
    "http://[2002:c0a8:101::]/x.tif",
    "http://user:word@192.168.1.1/x.tif",
)
ODD_FILES = (
    "file:///cat/a?/../../secret.tif",
    "file:///cat/a%3F?/../../../etc/passwd",
    "file:///cat/a#/../../secret.tif",
    "file:///cat/a;p?x/../../secret.tif",
    "file:///cat/x.tif?",
    "file:///cat/x.tif#",
    "file://host/cat/x.tif",
    "file://127.0.0.1/cat/x.tif",
    "file://..//cat/x.tif",
    "FILE://cat/../secret.tif",
    "file:cat/x.tif",
    "file:GTIFF_DIR:1:/etc/x.tif",
)
LOCAL = (
    "/etc/passwd",
    "../x.tif",
    "x.tif",
    "",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "/vsicurl/http://127.0.0.1/x.tif",
    "/vsimem/x",
    "GTIFF_DIR:1:/etc/x.tif",
)
PUBLIC = (
    "https://example.org/a/b.tif",
    "http://example.org:8080/x.tif?sig=y",
    "https://8.8.8.8/x.tif",
    "https://127.0.0.1.example.org/x.tif",
    "https://localhost.example.org/x.tif",
    "s3://bucket/x.tif",
    "az://container/x.tif",
    "gs://bucket/x.tif",
    "abfs://container@account.dfs.core.windows.net/x.tif",
    "abfss://container/x.tif",
)


@pytest.mark.parametrize("href", PUBLIC)
def test_public_stores_are_read_from_every_catalog(href: str, tmp_path: Path) -> None:
    for trust in (REMOTE, HOME, Trust(str(tmp_path / "catalog.json"))):
        assert trust.refusal(href) is None


@pytest.mark.parametrize("href", INSIDE)
def test_loopback_is_for_catalogs_of_this_machine(href: str, tmp_path: Path) -> None:
    assert REMOTE.refusal(href) == "an address of this machine, in a catalog from elsewhere"
    assert HOME.refusal(href) is None
    assert Trust(str(tmp_path / "catalog.json")).refusal(href) is None


@pytest.mark.parametrize("href", NEVER)
def test_some_addresses_are_for_none(href: str, tmp_path: Path) -> None:
    for trust in (REMOTE, HOME, Trust(str(tmp_path / "catalog.json"))):
        assert trust.refusal(href)


@pytest.mark.parametrize("href", PRIVATE)
def test_private_networks_are_for_none_but_what_is_allowed(href: str, tmp_path: Path) -> None:
    for trust in (REMOTE, HOME, Trust(str(tmp_path / "catalog.json"))):
        assert trust.refusal(href) == "an address of a private network"
        assert replace(trust, allowed=[href.rpartition("/")[0]]).refusal(href) is None


@pytest.mark.parametrize("href", PRIVATE)
def test_the_host_that_the_user_named_as_catalog_is_allowed_to_its_own_links(href: str) -> None:
    trust = Trust(f"{href.rpartition('/')[0]}/stac/catalog.json")
    assert trust.refusal(href) is None
    assert trust.refusal(f"{href}/y.json") is None
    assert trust.refusal("http://10.99.99.99/x.tif") == "an address of a private network"
    assert trust.refusal("http://127.0.0.1/x.tif")
    assert trust.refusal("/etc/passwd")


@pytest.mark.parametrize(
    ("name", "found", "why"),
    [
        ("nas.example.org", ["10.1.2.3"], "an address of a private network"),
        ("two.example.org", ["8.8.8.8", "192.168.0.9"], "an address of a private network"),
        ("own.example.org", ["::1"], "an address of this machine, in a catalog from elsewhere"),
        ("zone.example.org", ["fe80::1%eth0"], "an address that only this machine reaches"),
        ("mapped.example.org", ["::ffff:169.254.169.254"], "an address that only this machine reaches"),
        ("store.example.org", ["8.8.8.8", "2001:4860:4860::8888"], None),
        ("dns64.example.org", ["64:ff9b::808:808"], None),
    ],
)
def test_a_name_is_of_the_kind_of_its_worst_address(
    monkeypatch: pytest.MonkeyPatch, name: str, found: list[str], why: str | None
) -> None:
    answers = {name: [(0, 0, 0, "", (address, 0)) for address in found]}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_a, **_o: answers.get(host, []))
    trust = Trust("https://stac.example.org/v1")
    for spelling in (name, name.upper(), f"{name}.", f"user@{name}:8080"):
        assert trust.refusal(f"https://{spelling}/x.tif") == why
    assert Trust(f"https://{name}/v1").refusal(f"https://{name}/x.tif") is None


def test_names_of_this_machine_are_looked_up(tmp_path: Path) -> None:
    """As they really are here: by the resolver, which reads the machine's own list of names."""
    trust = Trust("https://stac.example.org/v1")
    for name in ("ip6-localhost", "ip6-loopback", "localhost.localdomain", socket.gethostname()):
        assert trust.refusal(f"http://{name}/x.tif") == "an address of this machine, in a catalog from elsewhere"
        assert Trust(str(tmp_path / "catalog.json")).refusal(f"http://{name}/x.tif") is None


def test_look_ups_end_and_a_name_without_an_address_is_left_to_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def slow(host: str, *_arguments: object, **_options: object) -> list[object]:
        asked.append(host)
        if host == socket.gethostname() or host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        time.sleep(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr("spaceeye_stac.sources.addresses.LOOKUP_SECONDS", 0.1)
    monkeypatch.setattr("spaceeye_stac.sources.addresses.ALL_LOOKUPS_SECONDS", 0.25)
    trust, start = Trust("https://stac.example.org/v1"), time.monotonic()
    assert [trust.refusal(f"https://none{n % 3}.example.org/{n}.tif") for n in range(30)] == [None] * 30
    assert asked.count("none1.example.org") == 1, "once a host"
    found = [trust.refusal(f"https://slow{n}.example.org/x.tif") for n in range(50)]
    assert time.monotonic() - start < 2
    assert found[0] is None
    assert "no time to look up" in str(found[-1])
    assert trust.refusal("https://stac.example.org/x.tif") is None


@pytest.mark.parametrize("href", ODD_FILES)
def test_a_file_url_is_a_path_and_nothing_else(href: str, tmp_path: Path) -> None:
    for trust in (REMOTE, HOME, Trust("/cat/catalog.json"), Trust(str(tmp_path / "c.json"), ["/", ".", "file:///"])):
        assert trust.refusal(href) == "no plain path, as a file: URL with a host, a query or a fragment"


@pytest.mark.parametrize("prefix", ["/", ".", "~"])
def test_names_that_only_gdal_knows_are_no_files(prefix: str) -> None:
    for href in ("GTIFF_DIR:1:/etc/x.tif", "J2K_SUBFILE:1,2,/etc/x.jp2", "x.tif", "/vsicurl/http://127.0.0.1/x.tif"):
        assert Trust("/cat/catalog.json", [prefix]).refusal(href)


@pytest.mark.parametrize("href", LOCAL)
def test_files_of_this_machine_are_for_local_catalogs(href: str, tmp_path: Path) -> None:
    for trust in (REMOTE, HOME):
        assert trust.refusal(href) in {
            "a file of this machine, in a catalog from elsewhere",
            "a name of GDAL's own, not an address",
            "of the kind 'gtiff_dir', and only abfs, abfss, az, gs, http, https, s3 are read",
        }
    assert Trust(str(tmp_path / "catalog.json")).refusal(href), "nor outside its folder"


@given(st.integers(0, 2**32 - 1))
def test_an_address_in_numbers_is_one_however_it_is_written(number: int) -> None:
    address = IPv4Address(number)
    a, b, c, d = address.packed
    spellings = [
        str(address),
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a:#x}.{b}.{c}.{d}",
    ]
    assert len({REMOTE.refusal(f"http://{host}/x.tif") for host in spellings}) == 1
    inside = not address.is_global or address.is_multicast or address.is_reserved
    assert (REMOTE.refusal(f"http://{address}/x.tif") is not None) == inside


@given(st.text())
def test_no_text_breaks_the_rule(href: str) -> None:
    for trust in (REMOTE, HOME, Trust("/data/catalog.json"), replace(REMOTE, allowed=["/x", "https://y.org/z"])):
        assert trust.refusal(href) is None or trust.refusal(href)


def test_local_files_lie_below_the_catalogs_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "a b" / "catalog", tmp_path / "a b" / "catalogue"
    (inside / "items").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.tif").touch()
    (inside / "link.tif").symlink_to(outside / "x.tif")
    (inside / "way").symlink_to(outside)
    trust = Trust(str(inside / "catalog.json"))
    for good in (inside / "items" / "x.tif", inside / "items" / ".." / "x.tif", inside / "x?y.tif"):
        assert trust.refusal(str(good)) is None
    assert trust.refusal((inside / "x.tif").as_uri()) is None
    for bad in (outside / "x.tif", inside / ".." / "x.tif", inside / "link.tif", inside / "way" / "x.tif"):
        assert trust.refusal(str(bad)) == f"outside the catalog's folder {inside}"
    assert trust.refusal((outside / "x.tif").as_uri()) is not None
    allowed = replace(trust, allowed=[str(outside)])
    assert allowed.refusal(str(inside / "link.tif")) is None
    assert allowed.refusal(str(outside / "x.tif")) is None
    assert allowed.refusal(str(outside / ".." / "x.tif")) is not None


@pytest.mark.parametrize(
    ("prefix", "href", "lifted"),
    [
        ("http://127.0.0.1:80/data", "http://127.0.0.1:80/data/x.tif", True),
        ("http://127.0.0.1:80/data/", "http://127.0.0.1:80/data/x.tif?sig=y", True),
        ("http://127.0.0.1:80", "http://127.0.0.1:80/data/x.tif", True),
        ("http://127.0.0.1:80/data", "http://127.0.0.1:80/database/x.tif", False),
        ("http://127.0.0.1:80/data", "http://127.0.0.1:80/data/../x.tif", False),
        ("http://127.0.0.1:80/data", "http://127.0.0.1:80/data/%2e%2e/x.tif", False),
        ("http://127.0.0.1:80/data", "http://127.0.0.1:81/data/x.tif", False),
        ("http://127.0.0.1:80/data", "https://127.0.0.1:80/data/x.tif", False),
        ("http://127.0.0.1:80/data", "http://u@127.0.0.1:80/data/x.tif", False),
        ("/data", "/data/x.tif", True),
        ("/data", "file:///data/x.tif", True),
        ("/data", "/data/../etc/passwd", False),
        ("/data", "/database/x.tif", False),
        ("/", "/vsicurl/http://127.0.0.1/x.tif", False),
        ("/", "http://127.0.0.1/x.tif", False),
    ],
)
def test_allow_hrefs_lifts_the_rule_below_a_prefix(prefix: str, href: str, lifted: bool) -> None:  # noqa: FBT001
    assert (replace(REMOTE, allowed=[prefix]).refusal(href) is None) == lifted


@pytest.mark.parametrize("bad", ["", "data", "http:", "http://", 7])
def test_allow_hrefs_are_folders_and_addresses(bad: object) -> None:
    with pytest.raises(InvalidInputError, match="allow_hrefs"):
        se.Query(catalog="x", bbox=(1, 1, 2, 2), datetime="2023", allow_hrefs=[bad])  # type: ignore[list-item]


def remote_items(simulated: Path, base: str) -> list[dict[str, Any]]:
    items = [json.loads(path.read_text()) for path in sorted(simulated.parent.glob("sentinel-2-l2a/*/*.json"))]
    for item in items:
        item["links"] = []
        for key, asset in item["assets"].items():
            asset["href"] = f"{base}/{item['id']}/{key}.tif"
    return items


@pytest.fixture
def elsewhere(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An API at http://stac.example.org, which a proxy on loopback answers for."""
    with serving(FlakyApi(remote_items(simulated, "https://example.org/data"))) as api:
        monkeypatch.setenv("http_proxy", api.url)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 0)
        api.url = "http://stac.example.org"
        yield api


@pytest.mark.parametrize("href", ["/etc/passwd", "http://127.0.0.1:9/x.tif?sig=secret", "http://169.254.169.254/x.tif"])
def test_an_item_of_a_remote_api_that_names_this_machine_is_left_out(
    elsewhere: FlakyApi, simulated_query: se.Query, href: str
) -> None:
    query = replace(simulated_query, catalog=elsewhere.url)
    bad = elsewhere.items[2]
    bad["assets"]["B04"]["href"] = href
    scenes = search(query)
    assert bad["id"] not in {scene.id for scene in scenes}
    assert len(scenes) == len(elsewhere.items) - 1
    assert scenes.left_out[0] == f"1 of {len(elsewhere.items)} items cannot be used."
    assert scenes.left_out[1].startswith(f"Item {bad['id']} left out: it names {href.partition('?')[0]}, which is a")
    assert scenes.left_out[1].endswith("leave it out, or, if you trust it, name its folder or address in allow_hrefs.")
    assert "secret" not in str(scenes)
    assert len(search(replace(query, allow_hrefs=[href.rpartition("/")[0]]))) == len(elsewhere.items)
    for item in elsewhere.items:
        item["assets"]["SCL"]["href"] = href
    with pytest.raises(ItemError, match=f"^Item {elsewhere.items[0]['id']} names "):
        search(query)


@pytest.mark.parametrize("next_page", ["http://127.0.0.1:9/search", "/etc/passwd", "file:///etc/passwd"])
def test_a_next_page_on_this_machine_is_not_asked_for(
    elsewhere: FlakyApi, simulated_query: se.Query, next_page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = elsewhere.page
    monkeypatch.setattr(
        elsewhere, "page", lambda *a: {**page(*a), "links": [{"rel": "next", "href": next_page, "method": "GET"}]}
    )
    with pytest.raises(CatalogError) as caught:
        search(replace(simulated_query, catalog=elsewhere.url))
    assert str(caught.value).startswith(f"Catalog {elsewhere.url} links to {next_page}, which is a")


def test_a_local_catalog_stays_in_its_folder(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path / "catalog")
    box = (3.0005, 50.8192, 3.004, 50.8214)
    query = se.Query(catalog=catalog, bbox=box, datetime="2023-04-01/2023-04-04", bands=["B02"])
    assert len(search(query)) >= 4
    item = sorted(catalog.parent.glob("sentinel-2-l2a/*/*.json"))[1]
    (tmp_path / "B02.tif").write_bytes((item.parent / "B02.tif").read_bytes())
    item.write_text(item.read_text().replace("./B02.tif", "../../../B02.tif"))
    (note,) = search(query).left_out[1:]
    assert f"names {tmp_path / 'B02.tif'}, which is outside the catalog's folder {catalog.parent}" in note
    assert search(replace(query, allow_hrefs=str(tmp_path))).left_out == ()
    asked = ("search", *options_of(query))
    assert "left out" in command(*asked).stdout
    assert "left out" not in command(*asked, "--allow-hrefs", f"https://example.org/x,{tmp_path}").stdout
    collection = catalog.parent / "sentinel-2-l2a" / "collection.json"
    collection.write_text(
        collection.read_text().replace('"links": [', '"links": [{"rel": "item", "href": "/etc/a.json"},')
    )
    with pytest.raises(CatalogError, match=r"links to /etc/a\.json, which is outside the catalog's folder"):
        search(query)


def test_catalogs_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path)
    query = se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01")
    expected = [scene.id for scene in search(query)]
    collection = tmp_path / "sentinel-2-l2a" / "collection.json"
    again = '"links": [{"rel": "child", "href": "../catalog.json"}, {"rel": "child", "href": "./collection.json"},'
    collection.write_text(collection.read_text().replace('"links": [', again))
    assert [scene.id for scene in search(query)] == expected


def test_names_of_a_source_never_become_paths(tmp_path: Path) -> None:
    """A whole run of items whose every name climbs out of its folder."""
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path / "in" / "catalog")
    items = []
    for number, path in enumerate(sorted(catalog.parent.glob("sentinel-2-l2a/*/*.json"))):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
            asset["title"] = "../../title"
        item |= {"id": f"../../../x{number}", "collection": "../../y", "links": []}
        item["properties"] |= {"platform": "../../z", "s2:processing_baseline": "03.01", "s2:product_uri": "/w/../v"}
        items.append(item)
    source = catalog.parent / "items.json"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    before = set(tmp_path.rglob("*"))
    query = se.Query(
        catalog=source,
        bbox=(3.0005, 50.8192, 3.004, 50.8214),
        datetime="2023-04-01/2023-04-02",
        bands=["B02", "B11"],
        profile="planetary-computer",
    )
    out = tmp_path / "deep" / "down" / "out"
    out.parent.mkdir(parents=True)
    se.run(query, out=out)
    made = set(tmp_path.rglob("*")) - before - {out.parent, out.parent.parent}
    assert made
    assert all(path.is_relative_to(out) for path in made)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"spaceeye_2023-04-01", "spaceeye_2023-04-02"}


def secret_catalog(tmp_path: Path) -> tuple[Path, Path]:
    """A catalog of real files, and a file beside its folder that none of its items may name."""
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(tmp_path / "a b" / "catalog")
    secret = tmp_path / "a b" / "secret.tif"
    secret.write_bytes(next(catalog.parent.glob("sentinel-2-l2a/*/B02.tif")).read_bytes())
    return catalog, secret


def items_below(catalog: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(catalog.parent.glob("sentinel-2-l2a/*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str((path.parent / asset["href"]).resolve())
        found.append({**item, "links": []})
    return found


def test_what_is_checked_is_what_is_opened(tmp_path: Path) -> None:
    """A file: URL as it should be is read, spaces and all; one that says two things is left out by name."""
    catalog, secret = secret_catalog(tmp_path)
    items = items_below(catalog)
    for asset in items[0]["assets"].values():
        asset["href"] = Path(asset["href"]).as_uri()
    bad = items[1]
    bad["assets"]["B02"]["href"] = f"{catalog.parent.as_uri()}/a?/../../{secret.name}"
    source = catalog.parent / "items.json"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    box = (3.0005, 50.8192, 3.004, 50.8214)
    query = se.Query(catalog=source, bbox=box, datetime="2023-04-01/2023-04-04", bands=["B02"])
    scenes = search(query)
    assert scenes[0].bands["B02"].href == str(catalog.parent / "sentinel-2-l2a" / items[0]["id"] / "B02.tif")
    assert bad["id"] not in {scene.id for scene in scenes}
    assert scenes.left_out[1].startswith(f"Item {bad['id']} left out: it names file://")
    found = se.interpolate(scenes, query).isel(time=0).reflectance.values
    usual = se.interpolate(search(replace(query, catalog=catalog))[:1] + scenes[1:], query)
    assert np.isfinite(found).any()
    np.testing.assert_array_equal(found, usual.isel(time=0).reflectance.values)


def test_scenes_that_no_search_has_found_are_checked_before_they_are_read(tmp_path: Path) -> None:
    catalog, secret = secret_catalog(tmp_path)
    items = items_below(catalog)
    query = se.Query(
        catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01/2023-04-04", bands=["B02"]
    )
    assert se.interpolate(narrow(items), query).sizes["time"] == 4
    for href in (str(secret), f"{catalog.parent.as_uri()}/a?/../../{secret.name}", "http://10.0.0.1/x.tif"):
        changed = json.loads(json.dumps(items))
        changed[0]["assets"]["B02"]["href"] = href
        with pytest.raises(ItemError, match=rf"^Item {items[0]['id']} names "):
            se.interpolate(narrow(changed), query)
    changed[0]["assets"]["B02"]["href"] = str(secret)
    assert se.interpolate(narrow(changed), replace(query, allow_hrefs=[str(tmp_path)])).sizes["time"] == 4
    with pytest.raises(ItemError, match="a file of this machine, in a catalog from elsewhere"):
        se.interpolate(narrow(items), replace(query, catalog="my own items"))
    told = replace(query, catalog="my own items", allow_hrefs=[str(catalog.parent)])
    assert se.interpolate(narrow(items), told).sizes["time"] == 4


def narrow(items: list[dict[str, Any]]) -> list[Any]:
    return [scene.with_bands(["B02"]) for scene in se.scenes_from_items(items)]


@pytest.mark.parametrize("host", ["10.0.0.1", "[fd00::1]", "[::ffff:169.254.169.254]", "printer.example.org"])
def test_a_redirect_into_a_private_network_is_not_followed(
    simulated: Path, simulated_query: se.Query, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo

    def private(name: str, *arguments: Any, **options: Any) -> Any:
        return (
            [(0, 0, 0, "", ("192.168.7.7", 0))] if name.startswith("printer") else look_up(name, *arguments, **options)
        )

    monkeypatch.setattr(socket, "getaddrinfo", private)
    catalog = f"/static/{simulated.name}"
    with serving(FlakyApi([], folder=simulated.parent)) as api:
        api.moved = {"/catalog.json": f"http://{host}{catalog}"}
        with pytest.raises(CatalogError, match=r"links to .*, which is an address") as caught:
            search(replace(simulated_query, catalog=f"{api.url}/catalog.json"))
        assert "allow_hrefs" in str(caught.value)
