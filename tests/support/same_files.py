"""Two published folders compared, byte by byte."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rustac

from spaceeye_stac.collection import Flag


def assert_same_files(one: Path, other: Path) -> None:
    """The same files with the same bytes; documents but for when they were made."""
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    for name in names:
        if name.name == "run.json":
            continue
        if name.suffix == ".json":
            assert _timeless(one / name) == _timeless(other / name), name
        elif name.suffix == ".parquet":
            assert _rows(one / name) == _rows(other / name), name
        else:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_same_rasters(one: Path, other: Path) -> None:
    """Every published raster of two runs of many days is the same, bit for bit."""
    paths = sorted(one.rglob("*.tif"))
    assert len(paths) > 100
    for path in paths:
        assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path


def assert_same_but_for_classes(one: Path, other: Path) -> None:
    """The same rasters, but that masks without classes say nothing of snow and water in the flags."""
    paths = sorted(one.rglob("*.tif"))
    assert len(paths) > 60
    for path in paths:
        if path.name == "flags.tif":
            with rasterio.open(path) as mine, rasterio.open(other / path.relative_to(one)) as its:
                assert not ((mine.read() ^ its.read()) & ~np.uint8(Flag.SNOW | Flag.WATER)).any(), path
        else:
            assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path


def _rows(path: Path) -> Any:
    rows = rustac.read_sync(str(path))["features"]
    for row in rows:
        del row["properties"]["processing:datetime"]
    return rows


def _timeless(path: Path) -> Any:
    document = json.loads(path.read_text())
    document.get("properties", {}).pop("processing:datetime", None)
    return document
