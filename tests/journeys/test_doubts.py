"""Whole runs over files that are not what their items say: the pixels are right, and the collection names them."""

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, SourceWarning
from spaceeye_stac.pixels.loader import load
from spaceeye_stac.pixels.signing import signed
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.items import Json, edit, items_of

SMALL = Simulation(shape=(64, 64), days=8, revisit=2, seed=5, bands=("B04", "B11"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.write(tmp_path_factory.mktemp("plain"))


def query(catalog: Path) -> se.Query:
    box = SMALL.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox
    return se.Query(catalog=catalog, bbox=box.bbox, datetime="2023-04-01/2023-04-08", profile="planetary-computer")


def rasters(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as image:
            found[str(path.relative_to(folder))] = image.read().tobytes()
    return found


@pytest.fixture(scope="module")
def expected(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("expected") / "out"
    assert se.run(query(plain), out=out).warnings == ()
    return rasters(out)


def changed(plain: Path, folder: Path, change: Callable[[Json], None]) -> tuple[Path, str]:
    """A copy of the catalog with another first item; its id, too."""
    shutil.copytree(plain.parent, folder)
    name, path = next(iter(items_of(folder / plain.name).items()))
    edit(path, change)
    return folder / plain.name, name


def moved(*keys: str) -> Callable[[Json], None]:
    def change(item: Json) -> None:
        for key in keys:
            item["assets"][key]["proj:transform"][2] += 2e5

    return change


def wrong_crs(item: Json) -> None:
    item["assets"]["SCL"]["proj:code"] = "EPSG:32633"


@pytest.mark.parametrize("change", [moved("B04"), moved("SCL"), moved("B04", "B11", "SCL"), wrong_crs])
def test_a_scene_that_its_item_places_elsewhere_is_not_lost(
    change: Callable[[Json], None], plain: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    catalog, name = changed(plain, tmp_path / "catalog", change)
    found = se.run(query(catalog), out=tmp_path / "out")
    assert rasters(tmp_path / "out") == expected
    assert found.warnings
    assert all(doubt.startswith(f"Scene {name}: the file of ") for doubt in found.warnings)
    document = json.loads((tmp_path / "out" / "collection.json").read_text())
    assert document["spaceeye:warnings"] == list(found.warnings)


def test_doubts_come_back_from_worker_processes(plain: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    catalog, name = changed(plain, tmp_path / "catalog", moved("SCL"))
    settings, resources = se.Settings(), se.Resources(scheduler="processes", workers=2, memory="1.4GB")
    found = se.run(query(catalog), settings, out=tmp_path / "out", resources=resources)
    assert [doubt.split(": ")[0] for doubt in found.warnings] == [f"Scene {name}"]
    assert rasters(tmp_path / "out") == expected


@pytest.mark.parametrize("keep_keyframes", [True, False])
def test_doubts_survive_an_update_that_reads_nothing(keep_keyframes: bool, plain: Path, tmp_path: Path) -> None:  # noqa: FBT001
    catalog, _ = changed(plain, tmp_path / "catalog", moved("SCL"))
    kept = se.Output(keep_keyframes=keep_keyframes)
    first = se.run(query(catalog), out=tmp_path / "out", output=kept)
    again = se.run(query(catalog), out=tmp_path / "out", output=kept, update=True)
    assert again.kept == again.days
    assert again.warnings == first.warnings != ()


def test_doubts_of_files_that_are_put_right_are_gone_after_an_update(plain: Path, tmp_path: Path) -> None:
    catalog, name = changed(plain, tmp_path / "catalog", moved("SCL"))
    assert se.run(query(catalog), out=tmp_path / "out").warnings
    edit(items_of(catalog)[name], lambda item: item["assets"]["SCL"]["proj:transform"].__setitem__(2, 500_000))
    assert se.run(query(catalog), out=tmp_path / "out", update=True).warnings == ()


def test_interpolate_warns_when_it_is_computed(plain: Path, tmp_path: Path) -> None:
    catalog, name = changed(plain, tmp_path / "catalog", moved("B11"))
    asked = query(catalog)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SourceWarning)
        cube = se.interpolate(se.search(asked), asked)
    with pytest.warns(SourceWarning, match=f"^Scene {name}: the file of B11 has pixels of 20 m"):
        cube.reflectance[0].compute(scheduler="synchronous")


def in_degrees(plain: Path, folder: Path) -> Path:
    """The catalog on a grid in degrees, by nearest neighbour."""
    shutil.copytree(plain.parent, folder)
    size = 1e-4
    for path in items_of(folder / plain.name).values():
        item = json.loads(path.read_text())
        west, _, _, north = item["bbox"]
        for key, asset in item["assets"].items():
            step = size if key == "B04" else 2 * size
            grid = rasterio.transform.Affine(step, 0, round(west, 3), 0, -step, round(north, 3))
            shape = {"B04": (64, 90)}.get(key, (32, 45))
            with rasterio.open(path.parent / f"{key}.tif") as image:
                out = np.zeros(shape, image.dtypes[0])
                rasterio.warp.reproject(
                    rasterio.band(image, 1), out, dst_transform=grid, dst_crs="EPSG:4326", dst_nodata=0
                )
            with rasterio.open(
                path.parent / f"{key}.tif",
                "w",
                driver="GTiff",
                width=shape[1],
                height=shape[0],
                count=1,
                dtype=out.dtype,
                crs="EPSG:4326",
                transform=grid,
            ) as image:
                image.write(out, 1)
            asset |= {"proj:transform": list(grid)[:6], "proj:shape": list(shape)}
            asset.pop("gsd", None)
        item["properties"]["proj:code"] = "EPSG:4326"
        path.write_text(json.dumps(item))
    return folder / plain.name


def clear_share(day: Path) -> float:
    with rasterio.open(day / "clear_distance.tif") as image:
        return float((image.read(1) == 0).mean())


def test_a_run_in_degrees_publishes_the_pixels_of_its_sources(plain: Path, tmp_path: Path) -> None:
    catalog = in_degrees(plain, tmp_path / "catalog")
    asked = query(catalog)
    found = se.run(asked, se.Settings(mask_dilation=20), out=tmp_path / "out")
    assert found.warnings == ()
    day = max(found.days, key=lambda day: clear_share(tmp_path / "out" / f"spaceeye_{day}"))
    place = tmp_path / "out" / f"spaceeye_{day}"
    item = json.loads((place / f"{place.name}.json").read_text())
    assert item["properties"]["proj:code"] == "EPSG:4326"
    assert item["properties"]["gsd"] == pytest.approx(11.13, abs=0.01)
    source = next(path for path in items_of(catalog).values() if day.replace("-", "") in path.name).parent
    with (
        rasterio.open(place / "B04.tif") as image,
        rasterio.open(place / "clear_distance.tif") as distance,
        rasterio.open(source / "B04.tif") as own,
    ):
        window, seen = own.window(*image.bounds), distance.read(1) == 0
        off = image.read(1).astype(int) - own.read(1, window=window, boundless=True)
        assert seen.mean() > 0.3
        assert np.abs(off[seen]).mean() < 5, "the method smooths a little"
        (one,) = [scene for scene in se.search(asked) if day.replace("-", "") in scene.id]
        grid = GeoBox(image.shape, image.transform, image.crs)
        read = load([one], grid, resampling=dict.fromkeys(one.bands, "nearest"), sign=signed).values[0, 0]
        np.testing.assert_array_equal(read, own.read(1, window=window, boundless=True))
    metres = se.run(asked, se.Settings(crs="EPSG:32631"), out=tmp_path / "metres")
    assert metres.days == found.days
    with pytest.raises(InvalidInputError, match=r"resolution 10 is in degrees, .*give 8\.98e-05 for 10 m"):
        se.run(asked, se.Settings(resolution=10), out=tmp_path / "ten")


def test_labels_of_no_class_are_no_cloud_to_stay_away_from(plain: Path, tmp_path: Path) -> None:
    """255 is the nodata of some masks: the edge of a swath loses nothing to the dilation."""
    from spaceeye_stac.engine.jobs import grid_job  # noqa: PLC0415
    from spaceeye_stac.pixels.first_pass import observe_part  # noqa: PLC0415

    shutil.copytree(plain.parent, tmp_path / "catalog")
    for path in items_of(tmp_path / "catalog" / plain.name).values():
        with rasterio.open(path.parent / "SCL.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as image:
            labels = image.read(1)
            labels[:], labels[:, :8], labels[:4, 20:] = 4, 255, 12
            image.nodata = 255
            image.write(labels, 1)
    asked = replace(query(tmp_path / "catalog" / plain.name), bands=["B04"])
    scenes = se.search(asked)
    clear = []
    for metres in (0, 100):
        job = grid_job(scenes, asked, se.Settings(mask_dilation=metres))
        clear.append(observe_part(job, job.grid.geobox).clear)
    np.testing.assert_array_equal(clear[0], clear[1])
    assert 0.3 < clear[0].mean() < 0.9
