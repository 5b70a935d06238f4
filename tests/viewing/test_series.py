"""Series of zones, against the written rasters read a second way."""

import json
import shutil
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from PIL import Image
from shapely import Geometry

import spaceeye_stac as se
from spaceeye_stac.cli.printing import print_series
from spaceeye_stac.collection import Flag
from spaceeye_stac.errors import InvalidInputError, OutputError
from spaceeye_stac.viewing import check_files, plot_series, write_csv, write_parquet
from spaceeye_stac.viewing.indices import index_of
from spaceeye_stac.viewing.zone_statistics import Weighted
from tests.support.command import command
from tests.support.damped import DAMPED
from tests.support.small_catalog import small_items, small_query, written
from tests.support.small_cells import solve_in_cells

DAYS = [f"2023-04-{day:02}" for day in range(1, 11)]
NDVI, BOTH = "(B08-B04)/(B08+B04)", "NDVI,B04"
FLAGS = [str(flag.name).lower() for flag in Flag]


@dataclass(frozen=True)
class Runs:
    """The same days in cells of 24 pixels: as files with keyframes kept, as files alone, and virtual."""

    kept: Path
    files: Path
    virtual: Path
    raster: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    query = small_query(written(small_items(folder / "source"), folder / "source"), bands=["B04", "B08"])
    with pytest.MonkeyPatch.context() as patch:
        solve_in_cells(patch, DAMPED, cell=24, halo=8, margin=4)
        output = se.Output(keep_keyframes=True, uncertainty="bands")
        se.run(query, DAMPED, out=folder / "kept", output=output)
        se.run(query, DAMPED, out=folder / "virtual", output=se.Output(days="virtual"))
    shutil.copytree(folder / "kept", folder / "files")
    shutil.rmtree(folder / "files" / "keyframes")
    return Runs(folder / "kept", folder / "files", folder / "virtual", raster_of(folder / "kept", DAYS[0], "B04"))


def raster_of(run: Path, day: str, name: str) -> Path:
    return run / f"spaceeye_{day}" / f"{name}.tif"


def fields(raster: Path) -> dict[str, Geometry]:
    """Slanted fields in the CRS of a raster: inside, on its border, outside, below a pixel, around what has no data."""
    with rasterio.open(raster) as file:
        left, _, right, top = bounds = file.bounds
        gap = file.xy(*np.argwhere(file.read(1) == 0)[0])
    return {
        "inside": shapely.affinity.rotate(shapely.box(left + 95, top - 333, left + 402, top - 128), 17),
        "border": shapely.affinity.rotate(shapely.box(right - 83, top - 171, right + 222, top - 55), 9),
        "outside": shapely.box(right + 500, top - 100, right + 600, top),
        "tiny": shapely.box(left + 211, top - 214, left + 214, top - 211),
        "gap": shapely.Point(gap).buffer(37).intersection(shapely.box(*bounds)),
    }


@dataclass(frozen=True)
class Table:
    """What a GeoDataFrame says of itself."""

    shapes: dict[str, Geometry]
    crs: str = "EPSG:32631"

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        features = [
            {"type": "Feature", "id": str(n), "properties": {"name": name}, "geometry": shapely.geometry.mapping(one)}
            for n, (name, one) in enumerate(self.shapes.items())
        ]
        return {"type": "FeatureCollection", "features": features}


@pytest.fixture(scope="module")
def zones(runs: Runs) -> Table:
    return Table(fields(runs.raster))


@pytest.fixture(scope="module")
def found(runs: Runs, zones: Table) -> pd.DataFrame:
    return se.series(runs.kept, BOTH, zones, zone_name="name")


def test_there_is_a_row_a_day_zone_and_index(found: pd.DataFrame) -> None:
    assert list(found.zone.unique()) == ["inside", "border", "outside", "tiny", "gap"]
    assert list(found["index"].unique()) == ["NDVI", "B04"]
    assert len(found) == 10 * 5 * 2
    first = found[(found.zone == "tiny") & (found["index"] == "B04")]
    assert list(first.date.dt.strftime("%Y-%m-%d")) == DAYS
    statistics = ["mean", "median", "std", "q25", "q75", "valid", "uncertainty"]
    assert list(found) == ["date", "zone", "index", *statistics, *FLAGS]


def test_keyframes_give_what_the_files_hold_and_no_day_is_read(
    runs: Runs, zones: Table, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = se.series(runs.files, BOTH, zones, zone_name="name")
    pd.testing.assert_frame_equal(found, files, check_exact=True)
    whole = se.series(runs.files)
    monkeypatch.setattr("spaceeye_stac.days.published_pixels.read_day_blocks", None)
    pd.testing.assert_frame_equal(se.series(runs.kept / "keyframes"), whole, check_exact=True)


def test_virtual_days_differ_by_a_step_of_their_rounding(runs: Runs, zones: Table, found: pd.DataFrame) -> None:
    virtual = se.series(runs.virtual, BOTH, zones, zone_name="name")
    for name in ("mean", "median", "q25", "q75"):
        here, there = (one[name][one["index"] == "B04"] for one in (virtual, found))
        np.testing.assert_allclose(here, there, rtol=0, atol=1.001e-4)
    pd.testing.assert_frame_equal(virtual[["valid", *FLAGS]], found[["valid", *FLAGS]], check_exact=True)


def test_a_published_collection_is_read_by_its_address(runs: Runs, zones: Table, found: pd.DataFrame) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(runs.files)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/collection.json"
    there = se.series(address, BOTH, zones, zone_name="name")
    server.shutdown()
    server.server_close()
    pd.testing.assert_frame_equal(there, found, check_exact=True)


def test_days_read_in_parts_are_the_same(
    runs: Runs, zones: Table, found: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceeye_stac.viewing.zone_series.AT_ONCE", 1)
    pd.testing.assert_frame_equal(se.series(runs.kept, BOTH, zones, zone_name="name"), found, check_exact=True)
    some = se.series(runs.kept, BOTH, zones, "2023-04-04/2023-04-20", zone_name="name")
    expected = found[found.date >= "2023-04-04"].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, expected, check_exact=True)


def ndvi_raster(run: Path, day: str, folder: Path) -> tuple[Path, Path]:
    """Rasters of NDVI and B04 as float64, NaN where there is no data."""
    bands = {}
    for name in ("B04", "B08"):
        with rasterio.open(raster_of(run, day, name)) as file:
            dn, profile = file.read(1), file.profile
        bands[name] = np.where(dn == 0, np.nan, dn * 1e-4)
    profile = {"driver": "GTiff", "dtype": "float64", "nodata": np.nan, "count": 1} | {
        key: profile[key] for key in ("width", "height", "crs", "transform")
    }
    images = {"NDVI": (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"]), "B04": bands["B04"]}
    for name, image in images.items():
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
            file.write(image, 1)
    return folder / "NDVI.tif", folder / "B04.tif"


def test_statistics_are_those_of_the_written_days(
    runs: Runs, zones: Table, found: pd.DataFrame, tmp_path: Path
) -> None:
    days_with_nodata = 0
    for day in DAYS:
        for raster in ndvi_raster(runs.kept, day, tmp_path):
            for zone, area in zones.shapes.items():
                feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(area)}
                (one,) = exact_extract(str(raster), [feature], ["mean", "stdev", "count"])
                row = found[(found.date == day) & (found.zone == zone) & (found["index"] == raster.stem)].iloc[0]
                mean, std, count = (one["properties"][key] for key in ("mean", "stdev", "count"))
                assert row.valid == pytest.approx(count / (area.area / 100), abs=1e-6)
                days_with_nodata += 0 < row.valid < 0.999 and zone == "gap"
                if zone == "outside":
                    assert count == 0
                    assert np.isnan(row["mean"])
                else:
                    np.testing.assert_allclose(row[["mean", "std"]].to_list(), [mean, std], rtol=1e-9, atol=1e-12)
                    with rasterio.open(raster) as file:
                        values, weights = file.read(1), coverage(area, file.shape, file.transform)
                    for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
                        least, most = quantile_bounds(values, weights, q)
                        assert least <= row[name] <= most
    assert days_with_nodata > 0


def quantile_bounds(values: NDArray[np.float64], weights: NDArray[np.float64], q: float) -> tuple[float, float]:
    """Between what a quantile lies: equal values of unequal weights may stand in any order, which moves it."""
    there = (weights > 0) & np.isfinite(values)
    ends = []
    for sign in (-1, 1):
        order = np.lexsort((sign * weights[there], values[there]))
        x, w = values[there][order], weights[there][order]
        places = np.arange(len(x)) * w + (len(x) - 1) * (np.cumsum(w) - w)
        ends.append(float(np.interp(q * (len(x) - 1) * w.sum(), places, x)))
    return ends[0] - 1e-6, ends[1] + 1e-6  # coverage is float32


def test_shares_of_flags_are_those_of_shapely_and_the_written_flags(
    runs: Runs, zones: Table, found: pd.DataFrame
) -> None:
    for day in (DAYS[0], DAYS[4]):
        with rasterio.open(raster_of(runs.kept, day, "flags")) as file:
            flags, transform = file.read(1), file.transform
        for zone in ("inside", "border", "tiny", "gap"):
            weights = coverage(zones.shapes[zone], flags.shape, transform)
            row = found[(found.date == day) & (found.zone == zone)].iloc[0]
            for flag, name in zip(Flag, FLAGS, strict=True):
                expected = weights[(flags & flag) != 0].sum() / weights[flags != 0].sum()
                assert row[name] == pytest.approx(expected, abs=1e-5)
            assert row.valid == pytest.approx(weights[flags != 0].sum() * 100 / zones.shapes[zone].area, abs=1e-5)
    border = found[found.zone == "border"]
    assert border.valid.between(0.2, 0.35).all()


def coverage(area: Geometry, shape: tuple[int, int], transform: rasterio.Affine) -> NDArray[np.float64]:
    """Share of each pixel that lies in an area, by shapely."""
    rows, columns = np.indices(shape)
    x, y = transform.c + 10 * columns, transform.f - 10 * rows
    return np.asarray(shapely.area(shapely.intersection(shapely.box(x, y - 10, x + 10, y), area)) / 100)


@pytest.mark.parametrize("seed", range(20))
def test_weighted_statistics_with_missing_values(seed: int) -> None:
    """Whole weights are values that stand there several times."""
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=(6, 9)), np.full(9, 0.37)
    values[rng.random(values.shape) < 0.4] = np.nan
    values[0], values[1, 1:] = np.nan, np.nan
    found = Weighted(values, weights)
    for day, row in enumerate(values):
        there = row[np.isfinite(row)]
        expected = [there.mean(), there.std(), *np.quantile(there, [0.25, 0.5, 0.75])] if len(there) else [np.nan] * 5
        got = [
            found.mean()[day],
            found.std()[day],
            *(found.quantiles()[name][day] for name in ("q25", "median", "q75")),
        ]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert np.allclose(Weighted(np.ones((2, 3)), np.array([0.2, 0.3, 0.5])).total(), 1)


def test_weighted_statistics_are_those_of_exactextract() -> None:
    """To the last digits, where no two values are equal."""
    values = np.random.default_rng(8).normal(size=(2, 50, 60))
    area = shapely.affinity.rotate(shapely.box(10.3, 12.2, 38.1, 30.7), 17)
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(area)}
    operations = ["cell_id", "coverage", "mean", "median", "stdev", "quantile(q=0.25)", "quantile(q=0.75)"]
    for image in values:
        (one,) = exact_extract(NumPyRasterSource(image, 0, 0, 60, 50), [feature], operations)
        expected = one["properties"]
        found = Weighted(image.reshape(1, -1)[:, expected["cell_id"]], expected["coverage"])
        got = [found.mean(), found.std(), *(found.quantiles()[name] for name in ("q25", "median", "q75"))]
        names = "mean", "stdev", "quantile_25", "median", "quantile_75"
        np.testing.assert_allclose(np.ravel(got), [expected[name] for name in names], rtol=1e-12)


def test_uncertainty_is_that_of_many_random_errors(runs: Runs, zones: Table, found: pd.DataFrame) -> None:
    """Errors of a band that all pixels share, in units of each one's uncertainty, and of two bands apart."""
    rng, shared = np.random.default_rng(5), {}
    for name in ("B04", "B08"):
        with rasterio.open(raster_of(runs.kept, DAYS[2], name)) as file:
            dn, transform = file.read(1), file.transform
        with rasterio.open(raster_of(runs.kept, DAYS[2], f"uncertainty_{name}")) as file:
            width = file.read(1)
        shared[name] = dn * 1e-4, 0.02 * width * 1e-4  # so small that first order holds
    weights = coverage(zones.shapes["inside"], dn.shape, transform)
    pixels = (weights > 0) & (dn > 0)
    means = []
    for _ in range(4000):
        one, other = rng.normal(size=2)
        red, nir = (
            shared[name][0][pixels] + shared[name][1][pixels] * error for name, error in (("B04", one), ("B08", other))
        )
        means.append(np.average((nir - red) / (nir + red), weights=weights[pixels]))
    row = found[(found.date == DAYS[2]) & (found.zone == "inside") & (found["index"] == "NDVI")].iloc[0]
    # every pixel's own errors of two bands add up in squares, those of pixels in a line: an upper bound of both at once
    assert 0.8 * row.uncertainty < np.std(means) / 0.02 < 1.03 * row.uncertainty


def test_uncertainty_of_one_pixel_is_that_of_many_random_errors() -> None:
    rng = np.random.default_rng(6)
    values, widths = {"B04": 0.06, "B08": 0.35}, {"B04": 0.002, "B08": 0.005}
    drawn = {band: rng.normal(values[band], widths[band], (1, 200_000)) for band in values}
    many, _ = index_of(NDVI).of(drawn)
    _, slopes = index_of(NDVI).of({band: np.array([[value]]) for band, value in values.items()})
    expected = np.sqrt(sum((float(slopes[band][0, 0]) * widths[band]) ** 2 for band in values))
    assert many.std() == pytest.approx(expected, rel=0.01)


def test_a_run_without_uncertainty_of_each_band_takes_the_largest(runs: Runs, zones: Table) -> None:
    largest = se.series(runs.virtual, "B04", zones, zone_name="name")
    of_band = se.series(runs.kept, "B04", zones, zone_name="name")
    known = np.isfinite(of_band.uncertainty)
    assert known.any()
    assert (largest.uncertainty[known] >= of_band.uncertainty[known] - 1e-9).all()


def in_degrees(zones: Table) -> dict[str, Any]:
    import pyproj  # noqa: PLC0415

    there = pyproj.Transformer.from_crs(zones.crs, 4326, always_xy=True)
    carried = {name: shapely.transform(one, there.transform, interleaved=False) for name, one in zones.shapes.items()}
    return Table(carried).__geo_interface__


def test_zones_in_degrees_are_carried_over(runs: Runs, zones: Table, found: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "fields.geojson"
    path.write_text(json.dumps(in_degrees(zones)))
    for source in (path, str(path), path.read_text(), in_degrees(zones)):
        here = se.series(runs.kept, BOTH, source, zone_name="name")
        numbers = ["mean", "median", "q25", "q75", "valid", "seen"]
        np.testing.assert_allclose(here[numbers], found[numbers], rtol=0, atol=1e-3)


def test_zones_are_named_by_their_id_or_their_number(runs: Runs, zones: Table) -> None:
    assert list(se.series(runs.kept, "B04", zones).zone.unique()) == ["0", "1", "2", "3", "4"]
    alone = se.series(runs.kept, "B04", in_degrees(zones)["features"][0]["geometry"])
    assert list(alone.zone.unique()) == ["1"]
    assert list(se.series(runs.kept, "B04").zone.unique()) == ["region"]


POINT = {"type": "Point", "coordinates": [3.0, 50.8]}
BOW = {"type": "Polygon", "coordinates": [[[3, 50.8], [3.1, 50.9], [3.1, 50.8], [3, 50.9], [3, 50.8]]]}
FAR = shapely.geometry.mapping(shapely.box(12, 41, 12.1, 41.1))


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        (FAR, r"All zones lie outside the grid of the run; check their place and CRS\."),
        (POINT, "Zone '1' is a Point without an area"),
        (BOW, "Zone '1' is no valid polygon: Self-intersection"),
        ({"type": "FeatureCollection", "features": []}, "zones holds no feature"),
        ({"type": "Feature", "geometry": None}, "Zone '1' has no geometry"),
        ({"hello": 1}, "no GeoJSON geometry, feature or feature collection"),
        ("nowhere.geojson", "zones file nowhere.geojson cannot be read: No such file"),
        ('{"type":', "is no GeoJSON"),
        (7, "no GeoJSON geometry"),
        ({**FAR, "crs": {"type": "name", "properties": {"name": "EPSG:1"}}}, "CRS 'EPSG:1', which is not known"),
    ],
)
def test_what_are_no_zones_is_said_in_a_sentence(runs: Runs, zones: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        se.series(runs.kept, "B04", zones)


def test_names_that_do_not_tell_zones_apart_are_refused(runs: Runs, zones: Table) -> None:
    with pytest.raises(InvalidInputError, match=r"Zone 1 has no property 'crop' .* its properties are name\."):
        se.series(runs.kept, "B04", zones, zone_name="crop")
    document = in_degrees(zones)
    for feature in document["features"]:
        feature["id"] = 5
    with pytest.raises(InvalidInputError, match="Several zones have the same name by their id"):
        se.series(runs.kept, "B04", document)


def test_what_a_run_lacks_is_said_in_a_sentence(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'NDWI' needs B03, which the run lacks: it has B04, B08;"):
        se.series(runs.kept, ["B04", "NDWI"])
    with pytest.raises(InvalidInputError, match="no day in 2022; it has 2023-04-01 to 2023-04-10"):
        se.series(runs.kept, "B04", datetime="2022")
    with pytest.raises(OutputError, match="There is no"):
        se.series(tmp_path / "nowhere")


def test_csv_and_parquet_come_back(found: pd.DataFrame, tmp_path: Path) -> None:
    write_csv(found, tmp_path / "a.csv")
    write_parquet(found, tmp_path / "a.parquet")
    back = pd.read_csv(tmp_path / "a.csv", parse_dates=["date"], date_format="%Y-%m-%d")
    pd.testing.assert_frame_equal(back, found, rtol=1e-8, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), found, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("count", [4, 12])
def test_a_picture_has_a_colour_for_each_zone_or_the_median_of_many(
    found: pd.DataFrame, tmp_path: Path, count: int
) -> None:
    inside = found[found.zone == "inside"]
    many = pd.concat([inside.assign(zone=f"field {n}", mean=inside["mean"] + n / 20) for n in range(count)])
    plot_series(many, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        colours = np.unique(np.asarray(image.convert("RGB"), np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32))
    assert np.isin([0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7], colours).sum() == (4 if count == 4 else 1)


def test_the_command_writes_files(runs: Runs, zones: Table, tmp_path: Path) -> None:
    path = tmp_path / "fields.geojson"
    path.write_text(json.dumps(in_degrees(zones)))
    options = "--index", BOTH, "--zones", path, "--zone-name", "name"
    files = [tmp_path / f"series.{kind}" for kind in ("csv", "parquet", "png")]
    done = command("series", runs.kept, *options, "--csv", files[0], "--parquet", files[1], "--plot", files[2])
    assert done.stdout.splitlines() == [f"100 rows in {files[0]}", f"100 rows in {files[1]}", f"Picture: {files[2]}"]
    assert all(file.stat().st_size > 1000 for file in files)
    assert len(pd.read_csv(files[0])) == 100
    with pytest.raises(InvalidInputError, match="cannot be written: make its folder"):
        check_files([None, tmp_path / "nowhere" / "a.csv"])


def test_a_table_shows_the_first_rows(found: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    print_series(found.assign(zone="[red]a\x1b[2J"))
    said = capsys.readouterr().out
    assert "2023-04-01   [red]a\\x1b[2J   NDVI" in said
    assert "80 more rows: --csv FILE writes all of them" in said
    assert said.count("2023-04") == 20
