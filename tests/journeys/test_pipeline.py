import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

import spaceeye_stac as se
from spaceeye_stac.errors import InvalidInputError, NoClearLookError, NoScenesError, OutputError, ReadError
from spaceeye_stac.methods.reference import iterate
from spaceeye_stac.query import DEFAULT_BANDS
from spaceeye_stac.simulation.landscape import Simulation
from tests.support.damped import DAMPED
from tests.support.material import BE_BBOX
from tests.support.plain_computation import Chip, day_of
from tests.support.same_files import assert_same_files
from tests.support.small_cells import solve_in_cells

FIRST = date(2018, 4, 11)
SPAN = range(-24, 144)
WINDOWS = [
    (range(start - 24, start + 24), write)
    for start, write in zip(
        range(0, 144, 24),
        [range(12), range(12, 36), range(36, 60), range(60, 84), range(84, 108), range(108, 120)],
        strict=True,
    )
]


def published(out: Path, day: int, band: str) -> np.ndarray:
    name = f"spaceeye_{day_of(FIRST, day)}"
    with rasterio.open(out / name / f"{band}.tif") as source:
        return np.asarray(source.read(1))


def chip(catalog: Path, out: Path) -> Chip:
    """The Belgian chip, cut to the grid of a published run."""
    found = Chip(catalog, FIRST, SPAN)
    with rasterio.open(out / "spaceeye_2018-05-10" / "B04.tif") as source:
        row, column = round((5629680 - source.transform.f) / 10), round((source.transform.c - 501360) / 10)
        found.crop(slice(row, row + source.height), slice(column, column + source.width))
    return found


def test_belgium_gives_120_days_of_ten_bands_on_the_sources_grid(belgium_run: Path) -> None:
    collection = pystac.Collection.from_file(str(belgium_run / "collection.json"))
    items = list(collection.get_items())
    days = [item.datetime.date() for item in items if item.datetime]
    assert days == [FIRST + timedelta(days=i) for i in range(120)]
    assert days[-1] == date(2018, 8, 8)
    for item in items:
        assert [key for key in item.assets if key.startswith("B")] == list(DEFAULT_BANDS)
        for band in DEFAULT_BANDS:
            assert item.assets[band].extra_fields["bands"][0]["statistics"]["valid_percent"] > 99
    for path in sorted((belgium_run / "spaceeye_2018-06-01").glob("*.tif")):
        assert cog_validate(path)[0]
        with rasterio.open(path) as source:
            assert source.crs.to_epsg() == 32631
            assert source.res == (10, 10)
            assert (source.transform.c % 10, source.transform.f % 10) == (0, 0)


def test_a_second_way_agrees_within_one_dn(belgium: Path, belgium_run: Path) -> None:
    second = chip(belgium, belgium_run)
    illuminance, used = second.illuminance(SPAN)
    rng = np.random.default_rng(20180411)
    height, width = second.clear.shape[1:]
    pixels = list(zip(rng.integers(0, height, 50), rng.integers(0, width, 50), strict=True))
    rows, columns = map(list, zip(*pixels, strict=True))
    found = np.stack([[published(belgium_run, t, b)[rows, columns] for b in DEFAULT_BANDS] for t in range(120)])
    for p, (y, x) in enumerate(pixels):
        for read, write in WINDOWS:
            expected = second.pixel(y, x, read, illuminance, used, SPAN, 0.1)
            mine = found[write.start : write.stop, :, p].T.astype(float)
            if expected is None:
                assert (mine == 0).all()
                continue
            dn = np.clip(expected[:, write.start - read.start : write.stop - read.start] * 1e4, 1, 65535)
            assert np.abs(mine - dn).max() <= 1


def test_nothing_is_lost_at_clear_pixels_of_clear_days(belgium: Path, tmp_path: Path) -> None:
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime="2018-04-20/2018-05-20", bands=["B04", "B11"])
    se.run(query, se.Settings(method="damped", damping_factor=1e-6), out=tmp_path / "out")
    for band in (2, 8):
        second = Chip(belgium, FIRST, range(9, 40))
        name = DEFAULT_BANDS[band]
        with rasterio.open(tmp_path / "out" / "spaceeye_2018-05-01" / f"{name}.tif") as source:
            row, column = round((5629680 - source.transform.f) / 10), round((source.transform.c - 501360) / 10)
            second.crop(slice(row, row + source.height), slice(column, column + source.width))
        clear_days = [n for n, day in enumerate(second.days) if second.clear[n].mean() > 0.9]
        assert len(clear_days) >= 4
        for n in clear_days:
            mine = published(tmp_path / "out", second.days[n], name).astype(int)
            source_dn = second.values[n, band].astype(int)
            assert np.abs(mine - source_dn)[second.clear[n]].max() <= 1


def test_clear_distance_counts_days_to_the_nearest_look(belgium: Path, belgium_run: Path) -> None:
    second = chip(belgium, belgium_run)
    _, used = second.illuminance(SPAN)
    for read, write in WINDOWS:
        day = write[len(write) // 2]
        inside = [n for n in used if second.days[n] in read]
        gaps = np.array([abs(second.days[n] - day) for n in inside])[:, None, None]
        expected = np.where(second.clear[inside], gaps, 255).min(axis=0)
        np.testing.assert_array_equal(published(belgium_run, day, "clear_distance"), expected)


def test_same_run_twice_gives_the_same_bytes(simulated_query: se.Query, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for out in runs:
        se.run(simulated_query, out=out)
    assert_same_files(*runs)


def test_tanzania_with_its_naming_gaps_double_days_and_flags(tanzania: Path, tmp_path: Path) -> None:
    query = se.Query(catalog=tanzania, bbox=(36.8475, -3.66, 36.853, -3.6545), datetime="2019-11-01/2020-02-15")
    scenes = se.search(query, DAMPED)
    assert {scene.profile for scene in scenes} == {"earth-search"}
    assert {asset.offset for scene in scenes for asset in scene.bands.values()} == {0.0}
    assert len({scene.day for scene in scenes}) == len(scenes) - 2
    result = se.run(query, DAMPED, out=tmp_path / "out")
    item = next(iter(result.collection.get_items()))
    bands = [key for key in item.assets if key.startswith("B")]
    assert bands == ["B05", "B06", "B07", "B8A", "B11", "B12"]
    with rasterio.open(tmp_path / "out" / item.id / "B11.tif") as source:
        assert source.crs.to_epsg() == 32737
        assert source.res == (20, 20)
        image = source.read(1)
    assert 500 < np.median(image[image > 0]) < 5000
    means = [day.assets["B8A"].extra_fields["bands"][0]["statistics"]["mean"] for day in result.collection.get_items()]
    assert max(np.abs(np.diff(means))) < 900, "an offset applied twice would step by 1000"
    assert len(result.days) + len(result.skipped) == 107


def test_lazy_cube_equals_the_published_days(simulated_query: se.Query, tmp_path: Path) -> None:
    scenes = se.search(simulated_query)
    cube = se.interpolate(scenes, simulated_query, se.Settings())
    assert cube.reflectance.dims == ("time", "band", "y", "x")
    assert cube.sizes["time"] == 24
    assert cube.reflectance.chunks is not None
    assert cube.odc.crs.epsg == 32631
    out = tmp_path / "out"
    result = se.run(simulated_query, out=out)
    loaded = cube.compute()
    for day in (0, 7, 23):
        for i, band in enumerate(["B02", "B04", "B11"]):
            with rasterio.open(out / f"spaceeye_{result.days[day]}" / f"{band}.tif") as source:
                image = source.read(1)
                assert source.transform == loaded.odc.geobox.transform
            lazy = np.nan_to_num(np.rint(loaded.reflectance.values[day, i].astype(float) * 1e4)).astype(int)
            np.testing.assert_array_equal(np.where(image > 0, np.maximum(lazy, 1), 0), image)


def test_blocks_do_not_change_the_result(
    simulated_query: se.Query, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With illuminance off, where nothing is estimated over the region, the cut of the work is invisible."""
    settings = se.Settings(method="damped", normalize_illuminance=False)
    se.run(simulated_query, settings, out=tmp_path / "one")
    solve_in_cells(monkeypatch, settings, cell=40)
    se.run(simulated_query, settings, out=tmp_path / "many")
    for path in sorted((tmp_path / "one").rglob("*.tif")):
        if path.stem == "uncertainty":
            continue  # its scale is learnt within a cell
        assert path.read_bytes() == (tmp_path / "many" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_a_single_day_and_a_single_scene_work(simulated: Path, simulated_query: se.Query, tmp_path: Path) -> None:
    query = se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2023-04-13", bands=["B04"])
    assert se.run(query, out=tmp_path / "day").days == ("2023-04-13",)
    result = se.run(query, se.Settings(duration=1, min_clear_ratio=0), out=tmp_path / "scene")
    (item,) = result.collection.get_items()
    assert item.properties["spaceeye:scene_count"] == 1


def test_one_window_over_everything(simulated_query: se.Query, tmp_path: Path) -> None:
    result = se.run(simulated_query, se.Settings(duration="all"), out=tmp_path / "out")
    assert {tuple(i.properties["spaceeye:window"]) for i in result.collection.get_items()} == {
        ("2023-04-01", "2023-04-24")
    }


def test_days_without_any_look_are_left_out_and_said(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=10, revisit=5, cloudiness=0.01).write(tmp_path / "c")
    query = se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01/2023-05-20")
    result = se.run(query, se.Settings(duration=6, time_overlap=0), out=tmp_path / "out")
    assert result.days[0] == "2023-04-01"
    assert result.skipped[-1] == "2023-05-20"
    assert len(result.days) + len(result.skipped) == 50
    folders = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert folders == {f"spaceeye_{day}" for day in result.days}


def test_never_a_clear_look_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    catalog = Simulation(shape=(32, 32), days=6, revisit=2).write(tmp_path / "c")
    for path in tmp_path.glob("c/*/*/SCL.tif"):
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as labels:
            labels.write(np.full((1, 16, 16), 9, np.uint8))
    query = se.Query(catalog=catalog, bbox=(3.0005, 50.8192, 3.004, 50.8214), datetime="2023-04-01/2023-04-06")
    with pytest.raises(NoClearLookError, match=r"min_clear_ratio 0\.1 \(the best has 0\.000\)"):
        se.run(query, se.Settings(method="damped"), out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]
    with pytest.raises(NoClearLookError, match="No requested day has a clear look in its window"):
        se.run(query, out=tmp_path / "out")


def test_unreadable_scene_stops_the_run_and_leaves_nothing(
    simulated: Path, simulated_query: se.Query, tmp_path: Path
) -> None:
    shutil.copytree(simulated.parent, tmp_path / "c")
    gone = sorted(tmp_path.glob("c/*/*/B04.tif"))[5]
    gone.unlink()
    query = se.Query(catalog=tmp_path / "c", bbox=simulated_query.bbox, datetime=simulated_query.datetime)
    with pytest.raises(ReadError, match=f"Scene {gone.parent.name}: asset {gone} does not exist"):
        se.run(query, out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_scenes_outside_the_windows_are_an_error(simulated_query: se.Query, simulated: Path) -> None:
    scenes = se.search(simulated_query)
    later = se.Query(catalog=simulated, bbox=simulated_query.bbox, datetime="2029-01-01")
    with pytest.raises(NoScenesError, match="none in the windows"):
        se.interpolate(scenes, later)
    with pytest.raises(InvalidInputError, match="at least one"):
        se.interpolate([], later)


def test_a_folder_with_another_run_is_kept_unless_overwritten(simulated_query: se.Query, tmp_path: Path) -> None:
    query = se.Query(catalog=simulated_query.catalog, bbox=simulated_query.bbox, datetime="2023-04-01/2023-04-03")
    out = tmp_path / "out"
    se.run(query, out=out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match="already holds a run"):
        se.run(query, se.Settings(method="damped", damping_factor=0.2), out=out)
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    shorter = se.Query(catalog=query.catalog, bbox=query.bbox, datetime="2023-04-02")
    se.run(shorter, out=out, overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == [
        "catalog.json",
        "collection.json",
        "items.parquet",
        "report.html",
        "run.json",
        "spaceeye.schema.json",
        "spaceeye_2023-04-02",
        "thumbnail.png",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_overwrite_that_fails_keeps_what_was_published(simulated_query: se.Query, tmp_path: Path) -> None:
    query = se.Query(catalog=simulated_query.catalog, bbox=simulated_query.bbox, datetime="2023-04-01/2023-04-02")
    out = tmp_path / "out"
    se.run(query, out=out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    nothing = se.Query(catalog=query.catalog, bbox=query.bbox, datetime="2030-01-01")
    with pytest.raises(NoScenesError):
        se.run(nothing, out=out, overwrite=True)
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_progress_is_reported_to_the_end(simulated_query: se.Query, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    se.run(simulated_query, out=tmp_path / "out", progress=lambda *step: seen.append(step))
    last = {stage: (done, total) for stage, done, total in seen}
    assert last.keys() == {"solving", "writing days"}
    assert all(done == total > 0 for done, total in last.values())


@pytest.mark.parametrize("method", ["damped", "surface"])
def test_uncertainty_is_there_on_every_day_and_grows_away_from_looks(
    method: str, simulated_query: se.Query, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = se.run(simulated_query, se.Settings(method=method), out=out)
    seen, near, far = [], [], []
    for day in result.days:
        place = out / f"spaceeye_{day}"
        layers = {}
        for name in ("uncertainty", "clear_distance", "B04"):
            with rasterio.open(place / f"{name}.tif") as source:
                layers[name] = source.read(1)
        assert ((layers["uncertainty"] > 0) == (layers["B04"] > 0)).all()
        sd, distance = layers["uncertainty"].astype(float), layers["clear_distance"]
        seen.append(sd[distance == 0])
        near.append(sd[(distance > 0) & (distance <= 3)])
        far.append(sd[(distance > 6) & (distance < 255)])
    typical = [np.median(np.concatenate(part)) for part in (seen, near, far)]
    assert 1 < typical[0] < typical[1] < typical[2] < 3000


def test_reference_publishes_its_own_numbers_truncated(belgium: Path, tmp_path: Path) -> None:
    """Every day of the window by the iterate on the chip, times illuminance, cut to whole DN."""
    query = se.Query(catalog=belgium, bbox=BE_BBOX, datetime="2018-04-11/2018-05-28", bands=["B04"])
    settings = se.Settings(method="reference", duration="all")
    se.run(query, settings, out=tmp_path / "out")
    second = Chip(belgium, FIRST, range(48))
    with rasterio.open(tmp_path / "out" / "spaceeye_2018-05-10" / "B04.tif") as source:
        row, column = round((5629680 - source.transform.f) / 10), round((source.transform.c - 501360) / 10)
        second.crop(slice(row, row + source.height), slice(column, column + source.width))
    illuminance, used = second.illuminance(range(48))
    days = [second.days[n] for n in used]
    values = (second.values[used, 2] * 1e-4 / illuminance[2, days][:, None, None])[None].astype(np.float32)
    expected = iterate(values, second.clear[used], days, 48).numpy()[0] * illuminance[2][:, None, None]
    found = np.stack([published(tmp_path / "out", day, "B04") for day in range(48)]).astype(int)
    valid = np.isfinite(expected)
    off = found[valid] - np.maximum(np.floor(expected[valid] * 1e4), 1)
    assert np.abs(off).max() <= 1
    assert (off != 0).mean() < 0.002
