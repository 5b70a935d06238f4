"""Virtual days: a VRT a band and day over the COGs of the keyframes gives the pixels that a file would hold."""

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import stackstac
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import spaceeye_stac as se
from spaceeye_stac.collection.folder import KEYFRAME_COGS
from spaceeye_stac.days.cog import quantise
from spaceeye_stac.days.pictures import display_bands, visual
from spaceeye_stac.days.virtual import knot_cogs_of
from spaceeye_stac.days.vrt import Recipe, vrt_of
from spaceeye_stac.errors import InvalidInputError, OutputError
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.command import as_bbox, command, command_line, options_of
from tests.support.damped import BY_DAMPED, DAMPED
from tests.support.material import BE_BBOX, BE_DAYS
from tests.support.same_files import assert_same_files

VIRTUAL = se.Output(days="virtual")
BANDS = ("B02", "B04", "B11")


def read(path: Path) -> NDArray[np.int32]:
    with rasterio.open(path) as source:
        return np.asarray(source.read(1), np.int32)


def band_files(out: Path, suffix: str) -> dict[str, Path]:
    """Files of the bands by day and band."""
    return {f"{p.parent.name}/{p.stem}": p for p in sorted(out.glob(f"*_*/B*{suffix}"))}


def compare(files: Path, virtual: Path, suffix: str = ".vrt") -> int:
    """The largest difference in DN over every band of every day; nodata must be exactly the same."""
    one, other = band_files(files, ".tif"), band_files(virtual, suffix)
    assert one.keys() == other.keys()
    worst = 0
    for name, path in one.items():
        a, b = read(path), read(other[name])
        np.testing.assert_array_equal(a == 0, b == 0, err_msg=name)
        worst = max(worst, int(np.abs(a - b).max()))
    return worst


def bytes_in(folder: Path, *patterns: str) -> int:
    """Size of the files of the bands."""
    return sum(path.stat().st_size for pattern in patterns for path in folder.glob(pattern))


@pytest.fixture(scope="module", params=["damped", "surface", "as_seen", "blended"])
def pair(
    request: pytest.FixtureRequest, simulated_query: se.Query, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The same run with files and with virtual days: four ways that a day is made from keyframes."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = {
        "damped": se.Settings(method="damped", duration=12),
        "surface": se.Settings(),
        "as_seen": se.Settings(appearance="as_seen"),
        "blended": se.Settings(method=halves),
    }[request.param]
    for name in ("files", "virtual"):
        se.run(simulated_query, settings, out=folder / name, output=se.Output(days=name))
    return folder / "files", folder / "virtual"


def halves(values: Tensor, clear: Tensor, _days: Tensor) -> Tensor:
    """A model of a user: the mean of what is clear, and a little of each day's own."""
    seen = clear[None].float()
    mean = (values * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
    return torch.where(clear[None], (values + mean) / 2, mean)


def test_every_pixel_is_that_of_the_file_within_one_dn(pair: tuple[Path, Path]) -> None:
    assert compare(*pair) <= 1


def test_everything_but_pictures_is_the_same_file(pair: tuple[Path, Path]) -> None:
    for name in ("clear_distance.tif", "flags.tif", "uncertainty.tif", "flags.qml"):
        for path in pair[0].glob(f"*_*/{name}"):
            assert path.read_bytes() == (pair[1] / path.relative_to(pair[0])).read_bytes()


def test_pictures_are_those_of_files_within_a_shade(pair: tuple[Path, Path]) -> None:
    for path in pair[0].glob("*_*/visual.tif"):
        place = pair[1] / path.parent.name
        with rasterio.open(path) as file, rasterio.open(place / "visual.vrt") as virtual:
            one, other = file.read().astype(int), virtual.read().astype(int)
            assert (file.colorinterp, file.descriptions) == (virtual.colorinterp, virtual.descriptions)
            assert (file.nodatavals, file.dtypes) == (virtual.nodatavals, virtual.dtypes)
            assert file.tags(ns="IMAGERY") == virtual.tags(ns="IMAGERY")
        np.testing.assert_array_equal(one == 0, other == 0)
        assert np.abs(one - other).max() <= 1
        shown = display_bands(BANDS)
        expected = visual([read(place / f"{name}.vrt").astype(np.uint16) for name in shown], shown)
        np.testing.assert_array_equal(other, expected)
        small = [np.asarray(Image.open(folder / "thumbnail.png"), int) for folder in (path.parent, place)]
        assert np.abs(small[0] - small[1]).max() <= 1


def test_a_vrt_lies_where_the_file_would_and_says_so(pair: tuple[Path, Path]) -> None:
    for name, path in band_files(pair[1], ".vrt").items():
        with rasterio.open(path) as found, rasterio.open(band_files(pair[0], ".tif")[name]) as expected:
            assert (found.crs, found.transform, found.shape) == (expected.crs, expected.transform, expected.shape)
            assert (found.dtypes, found.nodata) == (expected.dtypes, expected.nodata)
        assert str(pair[1]) not in path.read_text(), "the folder can be moved"


def test_a_vrt_says_of_itself_what_the_file_says(pair: tuple[Path, Path]) -> None:
    for name, path in band_files(pair[1], ".vrt").items():
        with rasterio.open(path) as found, rasterio.open(band_files(pair[0], ".tif")[name]) as file:
            assert (found.scales, found.offsets, found.units) == (file.scales, file.offsets, file.units)
            assert found.scales == (0.0001,)
            assert found.descriptions == file.descriptions
            assert found.tags() == {k: v for k, v in file.tags().items() if k != "AREA_OR_POINT"}
            assert found.tags(ns="IMAGERY") == file.tags(ns="IMAGERY")
            assert found.tags()["datetime"].startswith(path.parent.name.removeprefix("spaceeye_"))


def test_statistics_are_those_of_the_pixels_as_read(pair: tuple[Path, Path]) -> None:
    for document in pair[1].glob("*_*/*.json"):
        for key, asset in json.loads(document.read_text())["assets"].items():
            if key in BANDS:
                values = read(document.parent / asset["href"])
                values = values[values > 0]
                told = asset["bands"][0]["statistics"]
                assert (told["minimum"], told["maximum"]) == (values.min(), values.max())
                assert told["mean"] == pytest.approx(values.mean(), abs=1e-3)
                assert (asset["roles"], asset["type"]) == (["data", "reflectance"], "image/x-gdal-vrt")


def test_two_loaders_read_the_items_as_they_read_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    odc_stac = pytest.importorskip("odc.stac")
    moved = shutil.copytree(pair[1], tmp_path / "moved")
    cubes = [_loaded(folder, odc_stac) for folder in (pair[0], moved)]
    for one, other in zip(*cubes, strict=True):
        np.testing.assert_array_equal(one == 0, other == 0)
        assert np.abs(one.astype(np.int32) - other).max() <= 1
        assert one.any()


def _loaded(folder: Path, odc_stac: Any) -> Sequence[NDArray[np.uint16]]:
    """Every band of every day by odc-stac and by stackstac."""
    items = list(pystac.Collection.from_file(str(folder / "collection.json")).get_items())
    for item in items:
        item.make_asset_hrefs_absolute()
    by_odc = odc_stac.load(items, bands=list(BANDS))
    by_stackstac = stackstac.stack(
        items,
        assets=list(BANDS),
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        rescale=False,
        epsg=int(items[0].properties["proj:code"].removeprefix("EPSG:")),
        resolution=items[0].properties["gsd"],
    )
    return [by_odc[name].to_numpy() for name in BANDS] + [by_stackstac.to_numpy()]


@pytest.mark.slow
def test_the_real_days_are_the_same_and_smaller(belgium: Path, belgium_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["run", "--catalog", belgium, "--bbox", as_bbox(BE_BBOX), "--datetime", BE_DAYS, *BY_DAMPED]
    done = command(*line, "--out", out, "--days", "virtual")
    assert done.returncode == 0, done.stderr
    worst = compare(belgium_run, out)
    keyframes = bytes_in(out, f"{KEYFRAME_COGS}/*/*.tif")
    files, virtual = bytes_in(belgium_run, "*_*/B*.tif"), bytes_in(out, "*_*/B*.vrt") + keyframes
    print(f"largest difference {worst} DN; {files} bytes of files, {virtual} virtual, {keyframes} of it keyframes")  # noqa: T201 - a figure to keep
    assert worst <= 1
    assert virtual < files


def test_brought_up_to_date_it_keeps_the_keyframes_of_the_days_it_keeps(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    def run(days: str, name: str, *, update: bool = False) -> se.Result:
        query = se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime=days, bands=["B04"])
        settings = se.Settings(method="damped", duration=8, normalize_illuminance=False)
        return se.run(query, settings, out=tmp_path / name, output=VIRTUAL, update=update)

    run("2023-04-01/2023-04-16", "out")
    before = {p.relative_to(tmp_path): p.stat().st_ino for p in (tmp_path / "out" / KEYFRAME_COGS).rglob("*.tif")}
    result = run("2023-04-01/2023-04-24", "out", update=True)
    assert result.kept
    after = {p.relative_to(tmp_path): p.stat().st_ino for p in (tmp_path / "out" / KEYFRAME_COGS).rglob("*.tif")}
    kept = {s.relative_to(tmp_path) for day in result.kept for s in knot_cogs_of(tmp_path / "out" / f"spaceeye_{day}")}
    assert kept
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}, "the very same files"
    run("2023-04-01/2023-04-24", "new")
    assert_same_files(tmp_path / "out", tmp_path / "new")


def test_a_day_whose_keyframes_were_lost_is_made_again(simulated_query: se.Query, tmp_path: Path) -> None:
    out = tmp_path / "out"
    se.run(simulated_query, DAMPED, out=out, output=VIRTUAL)
    whole = shutil.copytree(out, tmp_path / "whole")
    lost = sorted((out / KEYFRAME_COGS).glob("*/"))
    shutil.rmtree(lost[1])
    (lost[-1] / "B04.tif").unlink()
    result = se.run(simulated_query, DAMPED, out=out, output=VIRTUAL, update=True)
    assert 0 < len(result.kept) < len(result.days)
    assert_same_files(out, whole)


def test_a_run_that_breaks_off_goes_on_with_its_keyframes(simulated_query: se.Query, tmp_path: Path) -> None:
    se.run(simulated_query, DAMPED, out=tmp_path / "whole", output=VIRTUAL)
    out = tmp_path / "out"
    for broken in ("writing keyframes", "writing days"):

        def stop(stage: str, done: int, _total: int, at: str = broken) -> None:
            if stage == at and done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            se.run(simulated_query, DAMPED, out=out, output=VIRTUAL, progress=stop)
        assert not out.exists()
    se.run(simulated_query, DAMPED, out=out, output=VIRTUAL)
    assert_same_files(out, tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def gaps(values: Tensor, clear: Tensor, _days: Tensor) -> Tensor:
    """A model that leaves a pixel out on some days, is negative on one and far too bright on another."""
    out = halves(values, clear, _days)
    out[:, 5, :9] = torch.nan
    out[:, 8, 10:20] = -0.3
    out[:, 10, 30:40] = 9.0
    return out


def test_what_cannot_be_interpolated_from_whole_numbers_is_a_file(simulated_query: se.Query, tmp_path: Path) -> None:
    for name in ("files", "virtual"):
        se.run(simulated_query, se.Settings(method=gaps), out=tmp_path / name, output=se.Output(days=name))
    virtual = tmp_path / "virtual"
    real, vrts = band_files(virtual, ".tif"), band_files(virtual, ".vrt")
    assert real
    assert vrts
    assert not real.keys() & vrts.keys()
    for name, path in band_files(tmp_path / "files", ".tif").items():
        a, b = read(path), read((real | vrts)[name])
        np.testing.assert_array_equal(a == 0, b == 0)
        assert np.abs(a - b).max() <= 1


def test_where_gdal_reads_vrts_otherwise_days_are_files(
    simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen on the first band shown, it is so for all; days of one keyframe, which it reads rightly, stay virtual."""

    def another_day(made: Recipe, *others: Any) -> str:
        return vrt_of(made if made.between is None else replace(made, between=(*made.between[:2], -9)), *others)

    monkeypatch.setattr("spaceeye_stac.engine.writing.vrt_of", another_day)
    for name in ("files", "virtual"):
        se.run(simulated_query, DAMPED, out=tmp_path / name, output=se.Output(days=name))
    real, vrts = (band_files(tmp_path / "virtual", suffix) for suffix in (".tif", ".vrt"))
    expected = band_files(tmp_path / "files", ".tif")
    assert {Path(name).name for name in real} == {Path(name).name for name in vrts} == set(BANDS)
    assert real.keys() | vrts.keys() == expected.keys()
    for name, path in (real | vrts).items():
        assert np.abs(read(path) - read(expected[name])).max() <= 1
    assert all(path.read_bytes() == expected[name].read_bytes() for name, path in real.items())


def test_large_images_go_the_same_way(tmp_path: Path) -> None:
    simulation = Simulation(shape=(600, 560), days=9, revisit=4, seed=5)
    catalog = simulation.write(tmp_path / "catalog")
    box = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox.bbox
    query = se.Query(catalog=catalog, bbox=box, datetime="2023-04-01/2023-04-09", bands=["B04"])
    for name in ("files", "virtual"):
        se.run(query, se.Settings(appearance="as_seen"), out=tmp_path / name, output=se.Output(days=name))
    assert compare(tmp_path / "files", tmp_path / "virtual") <= 1
    vrt = next(iter(band_files(tmp_path / "virtual", ".vrt").values()))
    with rasterio.open(vrt) as source:
        assert source.read(1, out_shape=(100, 100)).any(), "a smaller picture, from the overviews of the keyframes"


def test_keyframes_are_kept_in_units_that_are_their_scale(pair: tuple[Path, Path]) -> None:
    cogs = sorted((pair[1] / KEYFRAME_COGS).rglob("*.tif"))
    assert cogs
    for path in cogs:
        with rasterio.open(path) as cog:
            assert (cog.dtypes, cog.nodata) == (("uint16",), 0)
            assert 0 < cog.scales[0] < 1
            assert cog.descriptions[0].endswith("surface reflectance divided by the illuminance of its day")
            assert (cog.units, cog.tags()["datetime"][:10]) == (("1",), path.parent.name[:10])
    assert not [path for path in (pair[1] / KEYFRAME_COGS).rglob("*") if "partial" in path.name]


def test_a_unit_rounds_to_its_multiples() -> None:
    values = np.array([np.nan, -1, 0.00002, 0.0001, 0.00014, 99], np.float32)
    assert quantise(values, 0.00005).tolist() == [0, 1, 1, 2, 3, 65535]


def test_a_method_that_keeps_every_day_has_no_virtual_days(simulated_query: se.Query, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'reference' keeps every day; choose another method, or days 'files'"):
        se.run(simulated_query, se.Settings(method="reference"), out=tmp_path / "out", output=VIRTUAL)
    assert not list(tmp_path.iterdir())


def test_virtual_days_are_not_published_without_what_they_read(simulated_query: se.Query, tmp_path: Path) -> None:
    result = se.run(simulated_query, DAMPED, out=tmp_path / "out", output=VIRTUAL)
    with pytest.raises(OutputError, match=r"spaceeye_2023-04-01 .* has virtual bands.* run with days 'files'"):
        se.publish(result, tmp_path / "www")
    assert not (tmp_path / "www").exists()
    line = ["run", *options_of(simulated_query), *BY_DAMPED, "--days", "virtual", "--out", tmp_path / "other"]
    done = command(*line, "--to", tmp_path / "www")
    assert done.returncode == 2
    assert "days 'virtual' cannot be published" in done.stderr
    assert not (tmp_path / "other").exists()


def test_worker_processes_write_the_same_bytes(simulated_query: se.Query, tmp_path: Path) -> None:
    se.run(simulated_query, DAMPED, out=tmp_path / "threads", output=VIRTUAL)
    crew = se.Resources(scheduler="processes", workers=2)
    se.run(simulated_query, DAMPED, out=tmp_path / "processes", output=VIRTUAL, resources=crew)
    assert_same_files(tmp_path / "threads", tmp_path / "processes")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(simulated_query: se.Query, tmp_path: Path) -> None:
    query = replace(simulated_query, bands=["B02", "B04"])
    line = ["run", *options_of(query), *BY_DAMPED, "--days", "virtual", "--quiet", "--out"]
    assert command(*line, tmp_path / "whole").returncode == 0
    moments = [("keyframe-cogs/.*/*", 1), ("keyframe-cogs/2*", 5), ("spaceeye_*", 1), ("spaceeye_*/*.json", 8)]
    killed = [_killed_at([*line, str(tmp_path / "out")], tmp_path / ".out.partial", *moment) for moment in moments]
    assert all(killed)
    assert not (tmp_path / "out").exists()
    assert command(*line, tmp_path / "out").returncode == 0
    assert_same_files(tmp_path / "out", tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def _killed_at(line: list[str], work: Path, pattern: str, count: int) -> bool:
    """Whether a run was killed, as soon as so many files or folders of that name were in its work folder."""
    process = subprocess.Popen(command_line(*line))
    while process.poll() is None:
        if len(list(work.glob(pattern))) >= count:
            process.kill()
            return process.wait() != 0
        time.sleep(0.001)
    return False


def test_clipped_days_are_nodata_outside_the_region(simulation: Simulation, simulated: Path, tmp_path: Path) -> None:
    west, south, east, north = simulation.geobox.extent.to_crs("EPSG:4326").buffer(-0.0005).boundingbox.bbox
    ring = [[west, south], [east, south], [west, north], [west, south]]
    triangle = {"type": "Polygon", "coordinates": [ring]}
    query = se.Query(catalog=simulated, intersects=triangle, datetime="2023-04-01/2023-04-09", bands=["B04"])
    for name in ("files", "virtual"):
        se.run(query, se.Settings(method="damped", clip=True), out=tmp_path / name, output=se.Output(days=name))
    assert compare(tmp_path / "files", tmp_path / "virtual") <= 1
    day = read(band_files(tmp_path / "virtual", ".vrt")["spaceeye_2023-04-05/B04"])
    assert 0.4 < (day > 0).mean() < 0.6
