"""The programs that the benchmarks run in processes of their own: `python -m tests.benchmarks.programs JSON`."""

import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rasterio

import spaceeye_stac as se

OPTIONS = {"driver": "COG", "compress": "DEFLATE", "level": 1, "predictor": "STANDARD", "overviews": "AUTO"}


def ours(query: dict[str, Any], settings: dict[str, Any], resources: dict[str, Any], out: str, **output: Any) -> None:
    """A whole run of this package."""
    used, form = se.Resources(**resources), se.Output(**output)
    se.run(se.Query(**query), se.Settings(**settings), out=out, resources=used, output=form)


def writing(query: dict[str, Any], days: str, out: str) -> float:
    """A whole run whose days are "files" or "virtual"; the processor's seconds from keyframes to days alone."""
    marks = {}

    def note(stage: str, _done: int, _total: int) -> None:
        marks["solving" if stage == "solving" else "writing"] = _processor_seconds()

    se.run(se.Query(**query), se.Settings(method="damped"), out=out, output=se.Output(days=days), progress=note)
    return marks["writing"] - marks["solving"]


def _processor_seconds() -> float:
    """Of this process, and of those it has started that are still there."""
    me = psutil.Process()
    return float(sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True))))


def floor(query: dict[str, Any], days: str, out: str, threads: int) -> float:
    """Read every source file once and write the same daily COGs; the seconds of reading and writing alone."""
    sources = sorted(Path(query["catalog"]).parent.glob("sentinel-2-l2a/*/*.tif"))
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_read, sources))
    seconds = time.perf_counter() - start
    for day in sorted(Path(days).glob("spaceeye_*")):
        rasters = []
        for path in sorted(day.glob("*.tif")):
            with rasterio.open(path) as source:
                profile = {k: source.profile[k] for k in ("count", "height", "width", "dtype", "crs", "nodata")}
                rasters.append((Path(out) / path.name, source.read(), {**profile, "transform": source.transform}))
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_write, rasters))
        seconds += time.perf_counter() - start
    return seconds


def _read(path: Path) -> int:
    with rasterio.open(path) as source:
        return int(source.read(1).size)


def _write(raster: tuple[Path, np.ndarray, dict[str, Any]]) -> None:
    path, values, profile = raster
    kind = "average" if values.dtype == np.uint16 else "nearest"
    with rasterio.open(path, "w", **OPTIONS, overview_resampling=kind, **profile) as target:
        target.write(values)


def naive(query: dict[str, Any], out: str) -> None:
    """What one would write instead: stackstac, mask, reindex to days, interpolate_na, one COG per band and day."""
    cube, clear = _stacked(query)
    _write_bands(_filled(cube, clear, query), query, (out, cube.transform))


def naive_files(query: dict[str, Any], out: str) -> None:
    """The same with the other rasters of a day: the days to the nearest clear look, and a picture."""
    cube, clear = _stacked(query)
    filled = _filled(cube, clear, query)
    _write_bands(filled, query, (out, cube.transform))
    for day, distance in zip(filled.time.to_numpy(), _distances(clear, filled.time), strict=True):
        rgb = np.nan_to_num(filled.sel(time=day, band=["B04", "B03", "B02"]).to_numpy())
        picture = np.where(rgb > 0, np.clip(rgb / 3558 * 254 + 1, 1, 255), 0).astype(np.uint8)
        _write_one(Path(out) / f"{str(day)[:10]}_visual.tif", picture, cube.transform, 0)
        _write_one(Path(out) / f"{str(day)[:10]}_clear_distance.tif", distance[None], cube.transform, 255)


def _stacked(query: dict[str, Any]) -> Any:
    """The cube of bands, and where it is clear, one step a day."""
    import pystac  # noqa: PLC0415
    import stackstac  # noqa: PLC0415
    from shapely.geometry import shape  # noqa: PLC0415

    items = [
        pystac.Item.from_file(str(path)).to_dict()
        for path in sorted(Path(query["catalog"]).parent.glob("sentinel-2-l2a/*/*.json"))
    ]
    for item in items:
        item["properties"]["proj:epsg"] = 32631
        for key, asset in item["assets"].items():
            asset["href"] = str(Path(query["catalog"]).parent / f"sentinel-2-l2a/{item['id']}/{key}.tif")
    names = [*query["bands"], "SCL"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube = stackstac.stack(
            items, assets=names, bounds_latlon=shape(query["intersects"]).bounds, epsg=32631, resolution=10
        )
    cube = cube.assign_coords(time=cube.time.dt.floor("D"))
    return cube, cube.sel(band="SCL").isin([4, 5, 6, 7])


def _filled(cube: Any, clear: Any, query: dict[str, Any]) -> Any:
    import pandas as pd  # noqa: PLC0415

    start, stop = query["datetime"].split("/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = cube.sel(band=list(query["bands"])).where(clear).chunk(time=-1, x=256, y=256)
        return seen.reindex(time=pd.date_range(start, stop)).chunk(time=-1).interpolate_na("time").compute()


def _distances(clear: Any, days: Any) -> Any:
    """Days to the nearest clear look `(day, y, x)`, 255 where there is none."""
    seen = clear.compute().reindex(time=days, fill_value=False).to_numpy()
    index = np.arange(len(seen), dtype=np.int16)[:, None, None]
    last = np.maximum.accumulate(np.where(seen, index, np.int16(-999)))
    following = np.minimum.accumulate(np.where(seen, index, np.int16(999))[::-1])[::-1]
    gap = np.minimum(index - last, following - index)
    return np.where(gap > 254, 255, gap).astype(np.uint8)


def _write_bands(filled: Any, query: dict[str, Any], place: tuple[str, Any]) -> None:
    out, transform = place
    for day in filled.time.to_numpy():
        for band in query["bands"]:
            values = np.nan_to_num(filled.sel(time=day, band=band).to_numpy()).round().astype(np.uint16)
            _write_one(Path(out) / f"{str(day)[:10]}_{band}.tif", values[None], transform, 0)


def _write_one(path: Path, values: np.ndarray, transform: Any, nodata: int) -> None:
    size = dict(zip(("count", "height", "width"), values.shape, strict=True))
    place = {"dtype": values.dtype, "crs": "EPSG:32631", "transform": transform, "nodata": nodata}
    with rasterio.open(path, "w", **OPTIONS, **size, **place) as target:
        target.write(values)


PROGRAMS: dict[str, Callable[..., float | None]] = {
    "ours": ours,
    "writing": writing,
    "floor": floor,
    "naive": naive,
    "naive_files": naive_files,
}


def main() -> None:
    """Run the program that the arguments name, and print its seconds."""
    arguments = json.loads(sys.argv[1])
    start = time.perf_counter()
    own = PROGRAMS[arguments.pop("program")](**arguments)
    print(time.perf_counter() - start if own is None else own)


if __name__ == "__main__":
    main()
