import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import planetary_computer.sas
import pytest
import rasterio
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import BandAsset, Scene
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.signing import AzureTokens, PlainHrefs, signed
from spaceeye_stac.simulation.landscape import Simulation
from spaceeye_stac.sources.selection import search
from tests.support.failing_api import FlakyApi
from tests.support.image_store import ACCOUNT, SECRET, Store
from tests.support.loopback import serving
from tests.support.stored_scenes import moved, read

BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/a/B02.tif"


@pytest.fixture
def scenes(simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """Scenes of the Planetary Computer's kind, with no token in its cache."""
    monkeypatch.setattr(planetary_computer.sas, "TOKEN_CACHE", {})
    monkeypatch.setattr("spaceeye_stac.pixels.signing._asked", {})
    monkeypatch.setattr("spaceeye_stac.sources.transport.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(planetary_computer.sas.Settings.get(), "subscription_key", SECRET)
    found = list(search(simulated_query))[:3]
    assert {scene.profile for scene in found} == {"planetary-computer"}
    return found


@pytest.fixture
def sign(scenes: list[Scene]) -> AzureTokens | PlainHrefs:
    return signed(scenes[0])


def use_service(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planetary_computer.sas.Settings.get(), "sas_url", url)


def test_local_hrefs_are_read_as_they_are(scenes: list[Scene]) -> None:
    href = scenes[0].bands["B02"].href
    for scene in (scenes[0], replace(scenes[0], profile="earth-search"), replace(scenes[0], profile="")):
        assert signed(scene)(href) == href
        assert signed(scene).renewed(href, href) is None


def test_only_unsigned_azure_hrefs_are_signed(sign: AzureTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FlakyApi([])) as api:
        use_service(f"{api.url}/token", monkeypatch)
        public = "https://ai4edatasetspublicassets.blob.core.windows.net/a/b.png"
        for href in ("/a/b.tif", "https://example.org/b.tif", f"{BLOB}?se=1&sig=x", f"{BLOB}?sig=x", public):
            assert sign(href) == href
            assert sign.renewed(href, href) is None
        assert api.paths == []
        assert [sign(BLOB), sign(BLOB)] == [f"{BLOB}?sig=secret"] * 2
        assert api.paths == ["/token/sentinel2l2a01/sentinel2-l2"]


OLD = "st=2020-01-01T00%3A00%3A00Z&se=2020-01-02T00%3A00%3A00Z&sp=rl&sig=old"


@pytest.mark.parametrize("old", [OLD, "se=2020-01-02&sig=old", "sv=2021&se=2020-01-02T00:00:00Z&sr=c&sig=old#x"])
def test_the_old_token_of_a_saved_item_is_replaced(
    old: str, sign: AzureTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(FlakyApi([])) as api:
        use_service(f"{api.url}/token", monkeypatch)
        assert sign(f"{BLOB}?{old}") == f"{BLOB}?sig=secret"
        for valid in (f"{BLOB}?{OLD.replace('2020', '2999')}", f"https://example.org/b.tif?{OLD}"):
            assert sign(valid) == valid


def test_signing_without_an_answer_ends(sign: AzureTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceeye_stac.pixels.signing.TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("spaceeye_stac.pixels.signing.RETRY_SECONDS", 0.5)
    said = r"^Assets in sentinel2l2a01/sentinel2-l2 cannot be signed: no answer in time; check the network"
    with serving(FlakyApi([])) as api:
        use_service(f"{api.url}/stall/secret", monkeypatch)
        start = time.monotonic()
        with pytest.raises(ReadError, match=said) as caught:
            sign(BLOB)
        assert time.monotonic() - start < 3
        asked = len(api.paths)
        with pytest.raises(ReadError, match=said):
            sign(BLOB)
        assert len(api.paths) == asked, "threads that waited for the same token do not wait once more each"
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_signing_without_a_network_ends(sign: AzureTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    use_service("http://127.0.0.1:9/token", monkeypatch)
    start = time.monotonic()
    with pytest.raises(ReadError, match=r"cannot be signed: no connection; check the network and try again\."):
        sign(BLOB)
    assert time.monotonic() - start < 5


Stores = Callable[..., Store]


@pytest.fixture
def azure(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """A store that wants tokens and the service that issues them, reached by Azure's own addresses through a proxy."""
    with serving(Store(simulated.parent, tokens=set())) as store:
        use_service(f"{store.url}/token", monkeypatch)
        monkeypatch.setenv("GDAL_HTTP_PROXY", store.url.removeprefix("http://"))
        monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
        monkeypatch.setattr("spaceeye_stac.pixels.patience.FIRST_WAIT_SECONDS", 0.01)

        def changed(**changes: Any) -> Store:
            for name, value in changes.items():
                setattr(store, name, value)
            return store

        yield changed


def there(scene: Scene, folder: Path) -> Scene:
    """The scene with its assets at ACCOUNT."""
    return moved(scene, lambda href: f"{ACCOUNT}/{Path(href).relative_to(folder)}")


@pytest.fixture
def remote(scenes: list[Scene], simulated: Path) -> list[Scene]:
    return [there(scene, simulated.parent) for scene in scenes]


def test_files_that_want_a_token_are_read_with_one(
    azure: Stores, scenes: list[Scene], remote: list[Scene], simulation: Simulation
) -> None:
    store = azure()
    found, expected = read(remote, simulation), read(scenes, simulation)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert len(store.issued) == 1
    assert {status for _, _, status in store.requests} == {200}


def test_a_refused_token_is_renewed_once_for_all(
    azure: Stores, scenes: list[Scene], remote: list[Scene], simulation: Simulation
) -> None:
    store = azure()
    read(remote[:1], simulation)
    store.tokens = set()  # it ends before its time
    found = read(remote[1:], simulation)
    np.testing.assert_array_equal(found.values, read(scenes[1:], simulation).values)
    assert len(store.issued) == 2
    refused = [path for _, path, status in store.requests if status == 403]
    assert refused
    assert len(set(refused)) == len(refused), "each address is refused once and then asked with the new token"


@pytest.mark.parametrize("status", [401, 403])
def test_a_second_refusal_is_an_error_that_names_the_unsigned_href(
    azure: Stores, remote: list[Scene], simulation: Simulation, status: int
) -> None:
    href = remote[0].bands["B04"].href
    store = azure(answers={href.removeprefix(f"{ACCOUNT}/"): status})
    with pytest.raises(ReadError) as caught:
        read(remote[:1], simulation)
    said = f"Scene {remote[0].id}: asset {href} is refused by its store; mend the source, or leave the scene out"
    assert str(caught.value).startswith(said)
    asked = [path for _, path, answer in store.requests if answer == status]
    assert len(asked) == 2
    assert len(set(asked)) == 2
    assert len(store.issued) == 2


def test_the_same_token_again_is_not_tried(azure: Stores, remote: list[Scene], simulation: Simulation) -> None:
    href = remote[0].bands["B04"].href
    store = azure(answers={href.removeprefix(f"{ACCOUNT}/"): 403}, same_token=True)
    with pytest.raises(ReadError, match="is refused by its store"):
        read(remote[:1], simulation)
    assert sum(status == 403 for _, _, status in store.requests) == 1


@pytest.mark.parametrize("files", [1, 2, 5])
def test_a_token_that_ends_while_files_are_read_is_renewed(
    azure: Stores, scenes: list[Scene], tmp_path: Path, files: int
) -> None:
    """Each file has 1 MB, of which the first request brings the header alone."""
    geobox = GeoBox.from_bbox((500_000, 5_600_000, 507_680, 5_607_680), "EPSG:32631", resolution=10, tight=True)
    image = np.random.default_rng(5).integers(1, 60_000, geobox.shape, dtype=np.uint16)
    options = {"height": 768, "width": 768, "count": 1, "dtype": "uint16", "crs": "EPSG:32631", "nodata": 0}
    bands = {f"B{n:02}": BandAsset(f"{ACCOUNT}/{n}.tif", 1e-4, 0.0, 0, 10.0) for n in range(files)}
    for n in range(files):
        place = {"tiled": True, "transform": geobox.affine}
        with rasterio.open(tmp_path / f"{n}.tif", "w", driver="GTiff", **place, **options) as file:
            file.write(image, 1)
    store = azure(root=tmp_path, ends_at=2 * files - 1)  # the second request of a file is refused at least
    found = load(
        [replace(scenes[0], bands=bands, labels=None)], geobox, resampling=dict.fromkeys(bands, "nearest"), sign=signed
    )
    for band in range(files):
        np.testing.assert_array_equal(found.values[0, band], image)
    assert any(status == 403 for _, _, status in store.requests)
    assert len(store.issued) == 2, "one request renews it for all"


def test_a_token_is_renewed_before_it_ends(
    azure: Stores, remote: list[Scene], simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = azure(lifetime=timedelta(minutes=4))
    read(remote[:1], simulation)
    assert len(store.issued) == 1, "it is valid, and used though less than five minutes remain"
    store.lifetime = timedelta(minutes=45)
    monkeypatch.setattr("spaceeye_stac.pixels.signing.AGAIN_SECONDS", 0.0)
    read(remote[1:], simulation)
    assert len(store.issued) == 2, "one request renews it for all"


def test_a_token_that_is_valid_is_used_when_the_service_is_gone(
    sign: AzureTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.pixels.signing.AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("spaceeye_stac.pixels.signing.RETRY_SECONDS", 0.2)
    ends = datetime.now(UTC) + timedelta(minutes=2)
    token = planetary_computer.sas.SASToken(**{"msft:expiry": ends.isoformat(), "token": "sig=valid"})
    use_service("http://127.0.0.1:9/token", monkeypatch)
    place = "http://127.0.0.1:9/token/sentinel2l2a01/sentinel2-l2"
    monkeypatch.setattr(planetary_computer.sas, "TOKEN_CACHE", {place: token})
    assert sign(BLOB) == f"{BLOB}?sig=valid"


def test_a_hundred_reads_that_are_refused_ask_once(azure: Stores, remote: list[Scene], sign: AzureTokens) -> None:
    store = azure()
    href = remote[0].bands["B04"].href
    old = sign(href)
    with ThreadPoolExecutor(20) as pool:
        again = set(pool.map(lambda _: sign.renewed(href, old), range(100)))
    assert len(again) == 1
    assert old not in again
    assert len(store.issued) == 2
    store.same_token = True
    store.issued[0] = store.issued[-1]
    current = sign(href)
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: sign.renewed(href, current), range(100))) == {None}
    assert len(store.issued) == 3, "the same token once more, which is not asked for a hundred times"


@pytest.mark.parametrize("damage", ["404", "500", "truncated", "gone"])
def test_files_that_cannot_be_had_stop_the_read(
    azure: Stores, remote: list[Scene], simulation: Simulation, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is logged on the way, by GDAL, rasterio or stackstac, tells no token."""
    caplog.set_level(logging.DEBUG)
    asset = remote[1].bands["B02"]
    name = asset.href.removeprefix(f"{ACCOUNT}/")
    store = azure()
    if damage == "truncated":
        store.parts = {name: (store.root / name).stat().st_size // 2}
    elif damage == "gone":
        missing = replace(asset, href=f"{ACCOUNT}/no/such.tif")
        remote[1] = replace(remote[1], bands={**remote[1].bands, "B02": missing})
    else:
        store.answers = {name: int(damage)}
    with pytest.raises(ReadError) as caught:
        read(remote, simulation)
    said = {
        "truncated": "cannot be read; ",
        "500": "could not be had from its store (GDAL: HTTP response code: 500), tried 5 times; check the network",
    }
    expected = f"asset {remote[1].bands['B02'].href} {said.get(damage, 'does not exist; ')}"
    assert str(caught.value).startswith(f"Scene {remote[1].id}: {expected}")
    if damage == "truncated":
        assert "where its connection is cut off, tried 5 times, run again" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert SECRET not in told
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_nothing_signed_is_written(
    azure: Stores, simulated: Path, simulated_query: se.Query, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole run from a signed source; every byte of what it writes is looked at, before and after inflation."""
    caplog.set_level(logging.DEBUG)
    store = azure()
    items = [json.loads(path.read_text()) for path in sorted(simulated.parent.glob("sentinel-2-l2a/*/*.json"))]
    for item in items:
        place = f"sentinel-2-l2a/{item['id']}"
        item["links"] = [{"rel": "self", "href": f"https://me:{SECRET}@example.org/{item['id']}?sig={SECRET}"}]
        for key, asset in item["assets"].items():
            asset["href"] = f"{ACCOUNT}/{place}/{key}.tif"
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    query = replace(simulated_query, catalog=tmp_path / "items.json", datetime="2023-04-08/2023-04-10")
    result = se.run(query, out=tmp_path / "out")
    assert store.issued
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) >= 3 * 6
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
        if path.suffix == ".tif":
            with rasterio.open(path) as image:
                assert SECRET not in str([image.tags(), image.tags(1), image.tags(ns="IMAGE_STRUCTURE"), image.files])
    links = [
        link["href"]
        for item in files
        if item.suffix == ".json"
        for link in json.loads(item.read_text()).get("links", ())
    ]
    assert {f"https://example.org/{item['id']}" for item in items} & set(links)
    assert "Dataset <" in caplog.text, "rasterio does log what it opens"
    assert SECRET not in caplog.text + repr(result) + str(result.collection.to_dict())
