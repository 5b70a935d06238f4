"""Virtual days that are copied by their documents, as `stac copy` does it, are read from the keyframes beside them."""

import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio

import spaceeye_stac as se
from tests.support.damped import DAMPED
from tests.support.small_catalog import small_items, small_query, written
from tests.support.stac_validation import validate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual")
    query = small_query(written(small_items(folder / "scenes"), folder / "scenes"))
    return se.run(query, DAMPED, out=folder / "run" / "out", output=se.Output(days="virtual")).path


def copied(document: Path, target: Path) -> pystac.Catalog:
    """A copy as stactools makes it: documents by the layout of pystac, each asset beside the item that names it."""
    catalog = pystac.read_file(str(document))
    assert isinstance(catalog, pystac.Catalog)
    found = catalog.full_copy()
    found.make_all_asset_hrefs_absolute()
    found.normalize_hrefs(str(target))
    owners: list[pystac.Item | pystac.Collection] = [*found.get_items(recursive=True), *found.get_all_collections()]
    for owner in owners:
        for asset in owner.assets.values():
            place = Path(owner.self_href).parent / Path(asset.href).name
            assert not place.exists(), "each file is copied once"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(asset.href, place)
            asset.href = f"./{place.name}"
    found.save(pystac.CatalogType.SELF_CONTAINED)
    return found


@pytest.mark.parametrize(("document", "below"), [("collection.json", ""), ("catalog.json", "spaceeye")])
def test_a_copy_is_read_without_the_run(run: Path, tmp_path: Path, document: str, below: str) -> None:
    copied(run / document, tmp_path / "copy")
    hidden = run.with_name("hidden")
    paths = sorted(run.rglob("*.vrt"))
    assert len(paths) == 3 * 10, "two bands and the picture of ten days"
    before = {path.relative_to(run): rasterio.open(path).read() for path in paths}
    run.rename(hidden)
    try:
        for name, values in before.items():
            with rasterio.open(tmp_path / "copy" / below / name) as found:
                assert np.array_equal(found.read(), values)
        with se.open(tmp_path / "copy" / below) as cube, se.open(hidden) as own:
            assert np.array_equal(cube.reflectance.values, own.reflectance.values, equal_nan=True)
    finally:
        hidden.rename(run)


def test_keyframes_are_described_in_a_collection_of_their_own(run: Path) -> None:
    whole = pystac.Collection.from_file(str(run / "collection.json"))
    (keyframes,) = whole.get_children()
    assert isinstance(keyframes, pystac.Collection)
    folders = {path.name for path in (run / "keyframe-cogs").iterdir() if path.is_dir()}
    items = {item.id: item for item in keyframes.get_items()}
    assert items.keys() == folders
    for item in items.values():
        assert validate(item)
        for asset in item.assets.values():
            with rasterio.open(asset.get_absolute_href()) as cog:
                assert asset.extra_fields["bands"][0]["raster:scale"] == pytest.approx(cog.scales[0], rel=1e-12)
                assert asset.extra_fields["proj:shape"] == list(cog.shape)
    read = {link.get_absolute_href() for day in whole.get_items() for link in day.get_links("related")}
    assert {Path(str(href)).stem for href in read} == folders
    assert all(Path(str(href)).is_file() for href in read)
