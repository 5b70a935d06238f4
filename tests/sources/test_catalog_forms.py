"""What a catalog may be: collections, lists of items, searches, saved files, and what pystac has open."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pystac
import pystac_client
import pytest
import rustac

import spaceeye_stac as se
from spaceeye_stac.errors import CatalogError
from spaceeye_stac.sources.selection import search
from tests.support.failing_api import COLLECTION, FlakyApi
from tests.support.items import absolute_items, items_of
from tests.support.loopback import serving
from tests.support.searches import at, ids
from tests.support.servers import rustac_api


@pytest.fixture
def api(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyApi]:
    monkeypatch.setattr("spaceeye_stac.sources.transport.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("spaceeye_stac.sources.transport.MAX_RETRIES", 1)
    with serving(FlakyApi(absolute_items(simulated), page_size=3)) as served:
        yield served


@pytest.mark.parametrize("with_root", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        f"/collections/{COLLECTION}",
        f"/collections/{COLLECTION}/items",
        f"/collections/{COLLECTION}/items?limit=3",
        f"/collections/{COLLECTION}/items?filter=true",
        f"/search?collections={COLLECTION}",
        f"/search?collections={COLLECTION}&limit=2",
    ],
)
def test_the_address_of_a_collection_its_items_and_a_search(
    path: str,
    with_root: bool,  # noqa: FBT001
    api: FlakyApi,
    simulated_query: se.Query,
) -> None:
    api.with_root = with_root
    scenes = search(at(api.url + path, simulated_query))
    assert (ids(scenes), scenes.left_out) == (ids(search(simulated_query)), ())


def test_the_address_that_a_browser_shows(api: FlakyApi, simulated_query: se.Query) -> None:
    shown = f"https://browser.example.org/#/external/{api.url}/collections/{COLLECTION}"
    assert ids(search(at(shown, simulated_query))) == ids(search(simulated_query))


def test_a_list_is_asked_for_the_region_and_days_alone(api: FlakyApi, simulated_query: se.Query) -> None:
    search(at(f"{api.url}/search?collections={COLLECTION}&datetime=2023", simulated_query))
    _, _, asked = api.searches[0]
    assert (asked["collections"], asked["datetime"]) == (COLLECTION, "2023"), "what the address says stays"
    assert [float(side) for side in asked["bbox"].split(",")] == pytest.approx(simulated_query.bbox)


def test_a_real_servers_collection_and_items(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    collection = simulated.parent / "sentinel-2-l2a" / "collection.json"
    with rustac_api(tmp_path, [collection], absolute_items(simulated)) as url:
        name = json.loads(collection.read_text())["id"]
        for path in (f"/collections/{name}", f"/collections/{name}/items", f"/search?collections={name}"):
            assert ids(search(at(url.rstrip("/") + path, simulated_query))) == ids(search(simulated_query)), path


def test_a_collection_is_named_where_an_api_has_ids_of_its_own(api: FlakyApi, simulated_query: se.Query) -> None:
    assert ids(search(at(api.url, simulated_query, collection=COLLECTION))) == ids(search(simulated_query))
    api.items = []
    with pytest.raises(CatalogError, match=f"has no collection S2; it has {COLLECTION}"):
        search(at(api.url, simulated_query, collection="S2"))


def test_a_collection_among_those_of_a_static_catalog(simulated: Path, simulated_query: se.Query) -> None:
    name = json.loads(next(iter(items_of(simulated).values())).read_text())["collection"]
    assert ids(search(at(simulated, simulated_query, collection=name))) == ids(search(simulated_query))


def saved(items: list[Any], path: Path, **more: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items, **more}))
    return path


def test_one_page_of_a_search_is_followed_to_the_others(
    api: FlakyApi, simulated_query: se.Query, tmp_path: Path
) -> None:
    items = list(api.items)
    follow = [{"rel": "next", "href": f"{api.url}/search?start=2"}]
    page = saved(items[:2], tmp_path / "page.json", links=follow)
    scenes = search(at(page, simulated_query))
    assert (ids(scenes), scenes.left_out) == (ids(search(simulated_query)), ())
    body = [{"rel": "next", "method": "POST", "href": f"{api.url}/search", "body": {"start": 2}}]
    assert ids(search(at(saved(items[:2], page, links=body), simulated_query))) == ids(scenes)


@pytest.mark.parametrize("more", [{"numberMatched": 99}, {"context": {"matched": 99}}])
def test_what_is_missing_of_a_saved_search_is_said(
    more: dict[str, Any], api: FlakyApi, simulated_query: se.Query, tmp_path: Path
) -> None:
    page = saved(list(api.items[:2]), tmp_path / "page.json", **more)
    scenes = search(at(page, simulated_query))
    assert scenes.left_out == (f"Catalog {page} counts 99 items and gave 2; search again to be sure.",)
    gone = saved(list(api.items[:2]), page, links=[{"rel": "next", "href": "http://127.0.0.1:9/?token=secret"}], **more)
    (said,) = search(at(gone, simulated_query)).left_out
    assert said == (
        f"Catalog {page} is one page of a search, 2 of 99 items, and the next cannot be had (no connection); "
        "save all pages, or name the search's address."
    )


def test_files_of_items_in_every_form(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    items = absolute_items(simulated)
    lines = "\n".join(json.dumps(item) for item in items)
    (tmp_path / "items.ndjson").write_text(lines + "\n\n")
    (tmp_path / "list.json").write_text("\ufeff" + json.dumps(items))
    rustac.write_sync(str(tmp_path / "items.parquet"), items)
    (tmp_path / "other.geoparquet").write_bytes((tmp_path / "items.parquet").read_bytes())
    expected = search(simulated_query)
    for name in ("items.ndjson", "list.json", "items.parquet", "other.geoparquet"):
        scenes = search(at(tmp_path / name, simulated_query))
        assert [(s.id, s.day, s.bands, s.labels) for s in scenes] == [
            (s.id, s.day, s.bands, s.labels) for s in expected
        ], name
        assert scenes.left_out == ()
    (tmp_path / "items.ndjson").write_text(lines.replace('{"', "{", 1).replace("\n", "\nbroken\n", 1)[1:])
    (tmp_path / "broken.ndjson").write_text(json.dumps(items[0]) + "\nbroken\n" + "\n".join(lines.splitlines()[1:]))
    scenes = search(at(tmp_path / "broken.ndjson", simulated_query))
    assert (ids(scenes), scenes.left_out) == (ids(expected), ("Feature 2 left out: it is no item.",))
    (tmp_path / "half.parquet").write_bytes((tmp_path / "items.parquet").read_bytes()[:500])
    with pytest.raises(CatalogError, match="it is no stac-geoparquet file"):
        search(at(tmp_path / "half.parquet", simulated_query))


def test_what_pystac_has_open(simulated: Path, simulated_query: se.Query, api: FlakyApi) -> None:
    catalog = pystac.Catalog.from_file(str(simulated))
    items = [pystac.Item.from_dict(item) for item in absolute_items(simulated)]
    client = pystac_client.Client.open(api.url)
    resolved = pystac.Catalog.from_file(str(simulated))
    assert list(resolved.get_items(recursive=True))
    made = pystac.Catalog("made", "In memory alone.")
    made.add_items(items)
    expected = ids(search(simulated_query))
    for source in (
        catalog,
        resolved,
        made,
        items,
        tuple(absolute_items(simulated)),
        pystac.ItemCollection(items),
        pystac.ItemCollection(items).to_dict(),
        client,
        client.search(collections=[COLLECTION]),
        client.get_collection(COLLECTION),
    ):
        scenes = search(at(source, simulated_query))
        assert (ids(scenes), scenes.left_out) == (expected, ()), type(source)
    assert ids(search(at(items[0], simulated_query))) == [items[0].id]
    with pytest.raises(CatalogError, match="catalog is a int; give a profile's name"):
        search(at(7, simulated_query))


def test_items_of_python_may_name_no_file_of_this_machine(simulated: Path, simulated_query: se.Query) -> None:
    with pytest.raises(se.SpaceEyeError, match="a file of this machine, in a catalog from elsewhere"):
        search(at(absolute_items(simulated), simulated_query, allow_hrefs=None))
    assert search(at(pystac.Catalog.from_file(str(simulated)), simulated_query, allow_hrefs=None))


def test_items_without_an_address_have_none(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    items = [item | {"links": []} for item in absolute_items(simulated)]
    query = at(items, simulated_query, bands=["B04"])
    assert {scene.href for scene in search(query)} == {None}
    se.run(query, se.Settings(method="damped"), out=tmp_path / "out")
    days = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json")).get_items()
    links = [link for item in days for link in item.get_links("derived_from")]
    assert links
    for link in links:
        assert Path(str(link.get_absolute_href()).removeprefix("file://")).is_file()
        assert (Path(link.href).name, link.media_type) == ("B04.tif", None)


def test_addresses_of_files_and_names_with_spaces(simulated_query: se.Query, tmp_path: Path) -> None:
    from spaceeye_stac.simulation.landscape import Simulation  # noqa: PLC0415

    folder = tmp_path / "my data"
    catalog = Simulation(shape=(32, 32), days=4, revisit=2).write(folder)
    query = at(catalog, simulated_query, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01", bands=None)
    expected = search(query)
    (folder / "sentinel-2-l2a").rename(folder / "sentinel 2")
    document = catalog.read_text()
    catalog.write_text(document.replace("sentinel-2-l2a/", "sentinel%202/"))
    for path in (folder / "sentinel 2").glob("*/*.json"):
        (path.parent / "B02.tif").rename(path.parent / "B 02.tif")
        uri = (path.parent / "B03.tif").as_uri()
        path.write_text(path.read_text().replace("./B02.tif", "./B%2002.tif").replace("./B03.tif", uri))
    for name in (catalog, catalog.as_uri()):
        scenes = search(at(name, query, bands=None, datetime="2023-04-01", allow_hrefs=None))
        assert ids(scenes) == ids(expected)
        assert all(Path(scene.bands[band].href).is_file() for scene in scenes for band in ("B02", "B03"))


def broken_item(name: str, path: Path) -> None:
    """What may become of one item's file."""
    if name == "missing":
        path.unlink()
    elif name == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_text(BROKEN[name])


BROKEN = {
    "lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n",
    "list": "[1, 2]",
    "null": "null",
    "empty": "",
    "half": '{"type": "Feature", "id": "x',
    "nested": "[" * 100_000,
    "no type": '{"id": "x"}',
    "no assets": json.dumps({"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": {"datetime": None}}),
    "links null": json.dumps({"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": {}, "links": None}),
    "old": json.dumps({"type": "Feature", "stac_version": "0.6.0", "id": "x", "properties": {}, "links": [None]}),
}
SAID = {
    "lfs": "it is a Git-LFS pointer; run git lfs pull",
    "missing": "there is no such file",
    "list": "it is no object",
}


@pytest.mark.parametrize("name", ["missing", "pipe", *BROKEN])
def test_one_broken_file_of_a_static_catalog_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    from spaceeye_stac.simulation.landscape import Simulation  # noqa: PLC0415

    catalog = Simulation(shape=(16, 16), days=6, revisit=2).write(tmp_path)
    query = se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04")
    first, *others = search(query)
    broken_item(name, items_of(catalog)[first.id])
    scenes = search(query)
    assert ids(scenes) == ids(others)
    told = " ".join(scenes.left_out)
    assert "left out" in told
    assert first.id in told or "Item x" in told
    assert SAID.get(name, "") in told
    for path in items_of(catalog).values():
        if path.exists() and path.is_file():
            broken_item(name, path)
    with pytest.raises(se.SpaceEyeError, match=r"left out|malformed|no geometry") as caught:
        search(query)
    assert "an empty catalog" not in str(caught.value)


@pytest.mark.parametrize("links", [None, {}, "x"])
def test_a_catalog_without_links_is_no_traceback(
    links: Any, simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    document = json.loads(simulated.read_text()) | {"links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(document))
    with pytest.raises(CatalogError, match="it has no list of links"):
        search(at(tmp_path, simulated_query))


def test_broken_links_and_features_are_left_out(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    collection = simulated.parent / "sentinel-2-l2a" / "collection.json"
    document = json.loads(collection.read_text())
    for link in document["links"]:
        link["href"] = str((collection.parent / link["href"]).resolve())
    document["links"] += [None, 7, {"rel": "item"}, {"rel": "item", "href": 7}, {"rel": "item", "href": "http://["}]
    (tmp_path / "collection.json").write_text(json.dumps(document))
    scenes = search(at(tmp_path, simulated_query))
    assert ids(scenes) == ids(search(simulated_query))
    assert scenes.left_out == (
        f"4 links of {tmp_path / 'collection.json'} left out: they name no file.",
        f"A link of {tmp_path / 'collection.json'} left out: it is no address.",
    )
    features = saved([None, *absolute_items(simulated), "x"], tmp_path / "items.json")
    scenes = search(at(features, simulated_query))
    assert ids(scenes) == ids(search(simulated_query))
    assert [text.partition(" left")[0] for text in scenes.left_out] == ["Feature 1", f"Feature {len(scenes) + 2}"]


@pytest.mark.parametrize(
    ("name", "most", "said"), [("DEPTH", "1", "depth"), ("FILES", "3", "files"), ("ANSWER_BYTES", "99", "answer bytes")]
)
def test_bounds_of_static_catalogs_name_themselves(
    name: str, most: str, said: str, simulated_query: se.Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SPACEEYE_STAC_MAX_{name}", most)
    with pytest.raises(CatalogError, match=f"goes beyond {most} {said}; .* set SPACEEYE_STAC_MAX_{name} to more"):
        search(simulated_query)
