"""What a finished piece was made from, as one hash: settings, scenes, illuminance, grid and this package's code."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from functools import cache, partial
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import numpy as np

from spaceeye_stac.model import BandAsset, GridJob, Illuminance, Scene, Window, pixel_metres
from spaceeye_stac.query import Json
from spaceeye_stac.settings import MASK_GROUP, Settings, name_of

NOT_OF_THE_PIXELS = ("duration", "time_overlap", "collection_id")
PACKAGE = Path(__file__).resolve().parents[1]
MODEL_ATTRIBUTES = ("bands", "halo", "side", "coarsest", "version")  # of a class as well as of what is made of it
LEARNING = ("training",)  # of a module: how it is used, not what it is
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
    """Return the settings as plain values; a callable stands with a hash of what it is."""
    found = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for name in ("method", "mask_model"):
        if callable(found[name]):
            found[name] = [name_of(found[name]), callable_key(found[name])]
    if isinstance(settings.mask_model, str):
        found["mask_model"] = [settings.mask_model, _release_of(MASK_GROUP, settings.mask_model)]
    return dict(json.loads(json.dumps(found, default=str)))


def callable_key(model: Callable[..., Any]) -> str:
    """Hash of what a callable is: its source, its plain public attributes, and the weights of a module.

    What it holds otherwise, as a file that it reads, is not seen: an attribute `version` tells that.
    """
    if isinstance(model, partial):
        return digest(callable_key(model.func), [_plain(one) for one in model.args], _plain(model.keywords))
    known = {key: value for key, value in getattr(model, "__dict__", {}).items() if key not in LEARNING}
    own = {key: getattr(type(model), key, None) for key in MODEL_ATTRIBUTES}
    return digest(_source_of(model), _plain(known), _plain(own), _weights(model))


def _source_of(model: object) -> str:
    try:
        return digest(inspect.getsource(model if inspect.isroutine(model) else type(model)))
    except (OSError, TypeError):
        return "unknown"


def _plain(value: object) -> object:
    """What of a value is plain, public and so the same in every process; the rest by its type alone."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items() if not str(key).startswith("_")}
    return type(value).__name__


def _weights(model: object) -> list[tuple[str, str]]:
    """Hashes of a torch module's tensors, by name; none of anything else."""
    state: Mapping[str, Any] = getattr(model, "state_dict", dict)()
    tensors = ((key, value.detach().cpu().double()) for key, value in state.items() if hasattr(value, "detach"))
    return [(key, digest(tensor.numpy().tobytes())) for key, tensor in tensors]


def _release_of(group: str, name: str) -> str:
    """The package that an entry point is of, and its version."""
    found = [entry.dist for entry in entry_points(group=group, name=name) if entry.dist is not None]
    return ", ".join(f"{one.name} {one.version}" for one in found) or "unknown"


def scene_key(scene: Scene, *, spare: bool = False) -> str:
    """Hash of what a scene's pixels are: its assets, how they are scaled, and when they were last made or changed.

    `spare`: those of its spare bands, too, as a mask model may read them.
    """
    changed = [scene.item["properties"].get(name) for name in CHANGED_FIELDS]
    assets: list[tuple[str, BandAsset | None]] = [*scene.bands.items(), ("labels", scene.labels)]
    assets += scene.spare.items() if spare else ()
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
    common, scenes = _common_key(job, cut), _keys_of_scenes(job)
    return [digest(common, *_window_parts(job, illuminance, window, scenes)) for window in job.windows]


def totals_keys(job: GridJob, how: str) -> list[str]:
    """Hash of all that the sums over the pixels of each acquisition are made from; `how` these are read."""
    common = _common_key(job, [how])
    return [digest(common, scenes) for scenes in _keys_of_scenes(job)]


def _common_key(job: GridJob, how: Sequence[object]) -> str:
    """Hash of all but days, scenes and illuminance: code, settings, bands and grid."""
    settings = {k: v for k, v in settings_record(job.settings).items() if k not in NOT_OF_THE_PIXELS}
    grid = job.grid.epsg, list(job.grid.geobox.transform), job.grid.shape
    return digest(code_version(), settings, job.bands, *grid, _finest_pixels(job), list(map(str, how)))


def _finest_pixels(job: GridJob) -> dict[str, float]:
    """The finest pixels of each band over all scenes, which decide how every scene gets onto the grid."""
    found: dict[str, float] = {}
    for scene in job.scenes:
        for name, asset in {**scene.spare, **scene.bands}.items():
            metres = pixel_metres(asset, scene)
            if metres is not None:
                found[name] = min(metres, found.get(name, metres))
    return {name: metres for name, metres in found.items() if name in job.bands or job.settings.mask_model is not None}


def _keys_of_scenes(job: GridJob) -> list[list[str]]:
    """The scenes of each acquisition."""
    spare = job.settings.mask_model is not None
    return [[scene_key(scene, spare=spare) for scene in acquisition.scenes] for acquisition in job.acquisitions]


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
