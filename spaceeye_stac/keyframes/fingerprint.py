"""What a finished piece was made from, as one hash: settings, scenes, illuminance, grid and this package's code."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spaceeye_stac.model import BandAsset, GridJob, Illuminance, Scene, Window
from spaceeye_stac.query import Json
from spaceeye_stac.settings import Settings

NOT_OF_THE_PIXELS = ("duration", "time_overlap", "collection_id")
PACKAGE = Path(__file__).resolve().parents[1]
CHANGED_FIELDS = ("updated", "processing:datetime", "s2:generation_time", "created")


def digest(*parts: Any) -> str:  # noqa: ANN401 - whatever is plain JSON, or bytes
    """Hash of plain values, in hexadecimal."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode())
        found.update(b"\0")
    return found.hexdigest()


@cache
def code_version() -> str:
    """Hash of the code that makes pixels: this package's modules and the libraries that compute."""
    return digest(code_hash(PACKAGE), [version(name) for name in ("torch", "numpy", "rasterio", "stackstac")])


def code_hash(package: Path) -> str:
    """Hash of every module of a package, in all its rooms: their names and their text."""
    modules = sorted(package.rglob("*.py"))
    return digest(*(part for path in modules for part in (path.relative_to(package).as_posix(), path.read_bytes())))


def settings_record(settings: Settings) -> Json:
    """Return the settings as plain values; a callable stands with the hash of its source."""
    found = {field.name: getattr(settings, field.name) for field in fields(settings)}
    if callable(settings.method):
        found["method"] = [settings.method_name, _source_of(settings.method)]
    return dict(json.loads(json.dumps(found, default=str)))


def _source_of(method: object) -> str:
    try:
        return digest(inspect.getsource(method if inspect.isroutine(method) else type(method)))
    except (OSError, TypeError):
        return "unknown"


def scene_key(scene: Scene) -> str:
    """Hash of what a scene's pixels are: its assets, how they are scaled, and when they were last made or changed."""
    changed = [scene.item["properties"].get(name) for name in CHANGED_FIELDS]
    assets: list[tuple[str, BandAsset | None]] = [*scene.bands.items(), ("labels", scene.labels)]
    return digest(
        scene.id,
        scene.day,
        changed,
        [[name, repr(asset), _on_disk(asset.href)] for name, asset in assets if asset is not None],
    )


def _on_disk(href: str) -> list[int]:
    """Size and time of change of a local file; nothing for a remote one."""
    if "://" in href:
        return []
    try:
        found = Path(href).stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def window_keys(job: GridJob, illuminance: Illuminance, cut: Sequence[object]) -> list[str]:
    """Hash of all that the keyframes of each window are made from; `cut`: how the grid is cut into cells."""
    settings = {k: v for k, v in settings_record(job.settings).items() if k not in NOT_OF_THE_PIXELS}
    geobox = job.grid.geobox
    common = digest(
        code_version(), settings, job.bands, job.grid.epsg, list(geobox.transform), job.grid.shape, list(map(str, cut))
    )
    scenes = [[scene_key(scene) for scene in acquisition.scenes] for acquisition in job.acquisitions]
    return [digest(common, *_window_parts(job, illuminance, window, scenes)) for window in job.windows]


def _window_parts(job: GridJob, illuminance: Illuminance, window: Window, scenes: Sequence[Sequence[str]]) -> list[Any]:
    """Dates, scenes and illuminance of one window; days as dates, so that a longer request changes nothing."""
    inside = [n for n, day in enumerate(job.acquisition_days) if day in window.read]
    lit = range(
        max(window.read.start, illuminance.first),
        min(window.read.stop, illuminance.first + illuminance.values.shape[1]),
    )
    used = [bool(illuminance.used[n]) for n in inside]
    carried = b"" if illuminance.carried is None else np.ascontiguousarray(illuminance.carried[:, inside]).tobytes()
    values = np.ascontiguousarray(
        illuminance.values[:, lit.start - illuminance.first : lit.stop - illuminance.first]
    ).tobytes()
    ends = [_date(job, window.read.start), _date(job, window.read.stop), _date(job, lit.start)]
    return [ends, [scenes[n] for n in inside], used, values, carried]


def _date(job: GridJob, day: int) -> str:
    return job.days.day(day).isoformat()


def day_key(window_key: str, day: date, *how: object) -> str:
    """Hash of what one published day is made from; `how` it is written."""
    return digest(window_key, day, [str(part) for part in how])
