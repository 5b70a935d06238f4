"""How to compute: Settings, checked when they are made."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from spaceeye_stac.display import call, card, folded, given, plainly, table
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import ALL_CLOUD, DateRange

TILINGS = (None, "mgrs")
RESAMPLING = ("nearest", "bilinear", "cubic")
DEFAULT_METHOD = "surface"
METHOD_DURATION = {"surface": 96, "damped": 48, "reference": 48}
REPLACED = {"guided": "method surface with appearance as_seen (--method surface --appearance as_seen) replaces it"}
SMOOTH_METHODS = ("damped", "reference")
OTHER_DURATION = 48
METHOD_GROUP = "spaceeye_stac.methods"
MASK_GROUP = "spaceeye_stac.masks"
MASK_MODEL_USES = ("and", "or", "instead")
APPEARANCES = ("as_seen", "smooth")
MethodCallable = Callable[..., Any]
MaskCallable = Callable[..., Any]
MAX_DURATION = 3660
LAST_SCL_CLASS = 11
MAX_DILATION = 5000.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to compute; the names and defaults of SpaceEye's workflow are kept where it has them.

    Parameters
    ----------
    method
        "surface", "damped", "reference", or the name of an installed method. "surface": the ground without haze,
        undetected cloud and shadow of single dates, with a damping for each band that is found from the looks.
        "damped": the exact minimiser of SpaceEye's objective. "reference": FarmVibes.AI's iterate, number for number.
        Installed methods are in the entry-point group `spaceeye_stac.methods`. In Python also a callable
        `(values, clear, days) -> values` on torch tensors `(band, time, y, x)`, `(time, y, x)`, `(time,)`.
    duration
        Days per window; "all" is one window over the whole range; left out, the method's own (surface 96, others
        48).
    time_overlap
        Share of a window that overlaps the next, in [0, 1).
    causal
        No look after a day has a part in it, as on the day itself: every acquisition is solved with those of the
        `duration` days that end with it, and shown until the next. `time_overlap` has no part in that.
    damping_factor
        For damped and reference: the weight alpha of the smoothness term, > 0. Method surface finds its own.
    min_clear_ratio
        A day takes part where more than this share of its observed pixels is clear, in [0, 1).
    normalize_illuminance
        Divide each day by its mean over clear pixels before the solve and multiply back after it.
    clear_classes
        SCL classes taken as clear.
    max_cloud_probability
        For masks of cloud probability: pixels up to this, in percent, are clear (40, as s2cloudless has it).
    mask_dilation
        Pixels within this distance of a cloud, in metres, are not clear either.
    mask_model
        Name of an installed model that tells clear pixels from cloud (entry-point group `spaceeye_stac.masks`). In
        Python also a callable `(bands, resolution) -> mask`. `bands` `(band, y, x)` is float32 reflectance, 0 where
        there is no data, as an array or, for a `torch.nn.Module`, a tensor; `resolution` is in metres. The mask
        `(y, x)` is bool, True where clear, or float: the probability of cloud from 0 to 1, which is clear up to
        `max_cloud_probability` percent. Its attributes say what it wants: `bands` (those of the query when left out),
        `halo` and `side` in pixels, `coarsest` in metres, `version`.
    mask_model_use
        With the scene's own mask: "and" is clear where both say clear, "or" where one does, "instead" where the model
        does, whatever the mask says.
    appearance
        For surface, on acquisition days: the "smooth" state, also when left out, or "as_seen", the observation where
        clear, and where not what the date would have shown.
    tolerance, max_iterations, check_interval
        For reference: its stopping rule.
    resolution
        Pixel size of the output in units of the crs; left out, that of the finest band.
    crs
        Of the output, as EPSG:32631; left out, that of the scenes.
    resampling
        "nearest", "bilinear" or "cubic" for bands that are not on the output grid; labels are always nearest. On a
        coarser grid bands are averaged, from twice the pixel on from an overview where one can be believed.
    tiling
        "mgrs": one grid, and one item a day, per MGRS tile in its own zone; left out, one grid over the envelope.
    clip
        Pixels with their centre outside the region are nodata in everything published.
    collection_id
        Id of the published collection.

    Raises InvalidInputError, with the value and the remedy.

    """

    method: Annotated[str | MethodCallable, {"examples": list(METHOD_DURATION)}] = DEFAULT_METHOD
    duration: int | Literal["all"] | None = None
    time_overlap: float = 0.5
    causal: bool = False
    damping_factor: float = 0.1
    min_clear_ratio: float = 0.1
    normalize_illuminance: bool = True
    clear_classes: Sequence[int] = (4, 5, 6, 7)
    max_cloud_probability: float = 40.0
    mask_dilation: float = 0.0
    mask_model: str | MaskCallable | None = None
    mask_model_use: Annotated[str, {"enum": list(MASK_MODEL_USES)}] = "and"
    appearance: Annotated[str | None, {"enum": list(APPEARANCES)}] = None
    tolerance: float = 1e-3
    max_iterations: int = 200
    check_interval: int = 5
    resolution: float | None = None
    crs: str | int | None = None
    resampling: Annotated[str, {"enum": list(RESAMPLING)}] = "nearest"
    tiling: Literal["mgrs"] | None = None
    clip: bool = False
    collection_id: str = "spaceeye"

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear_classes", tuple(sorted(set(self.clear_classes))))
        for name, ok, remedy in self._rules():
            if not ok:
                raise InvalidInputError(f"{name} {getattr(self, name)!r} is not allowed; {remedy}.")

    def __repr__(self) -> str:
        return call("Settings", given(self))

    def _repr_html_(self) -> str:
        own = given(self)
        usual = {one.name: one.default for one in fields(self) if one.name not in {"method", *own}}
        chosen = table((), plainly({"method": self.method, **own}))
        return card("Settings", chosen, folded("the rest, as usual", table((), plainly(usual))))

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        whole = isinstance(self.duration, int) and 1 <= self.duration <= MAX_DURATION
        named = method_names()
        known = callable(self.method) or self.method in named
        yield "method", known, REPLACED.get(str(self.method), f"choose from {', '.join(named)}, or bring a callable")
        yield (
            "appearance",
            self.appearance is None or self.appearance in APPEARANCES,
            f"choose from {', '.join(APPEARANCES)}",
        )
        can = self.appearance != "as_seen" or keeps_looks(self.method)
        yield "appearance", can, f"method {self.method_name} cannot keep looks; leave it out, or choose method surface"
        yield "tolerance", 0 <= self.tolerance < math.inf, "give a number from 0"
        yield "max_iterations", self.max_iterations >= 1, "give a whole number from 1"
        yield "check_interval", self.check_interval >= 1, "give a whole number from 1"
        yield (
            "duration",
            self.duration in (None, "all") or whole,
            f'give whole days from 1 to {MAX_DURATION}, or "all"',
        )
        yield "time_overlap", 0 <= self.time_overlap < 1, "give a share of the window from 0 to below 1"
        yield (
            "causal",
            not self.causal or self.method != "reference",
            "method reference solves all days of a window at once, those after a day, too; choose surface or damped",
        )
        yield "damping_factor", 0 < self.damping_factor < math.inf, "give a number above 0"
        yield "min_clear_ratio", 0 <= self.min_clear_ratio < 1, "give a share from 0 to below 1"
        labels = bool(self.clear_classes) and all(0 <= c <= LAST_SCL_CLASS for c in self.clear_classes)
        yield "clear_classes", labels, "name SCL classes from 0 to 11"
        yield "max_cloud_probability", 0 <= self.max_cloud_probability <= ALL_CLOUD, "give percent, from 0 to 100"
        yield "mask_dilation", 0 <= self.mask_dilation <= MAX_DILATION, f"give metres, from 0 to {MAX_DILATION:g}"
        yield "mask_model", *self._mask_model_rule()
        yield "mask_model_use", self.mask_model_use in MASK_MODEL_USES, f"choose from {', '.join(MASK_MODEL_USES)}"
        yield (
            "resolution",
            self.resolution is None or 0 < self.resolution < math.inf,
            "give the pixel size in units of the crs, above 0",
        )
        yield (
            "crs",
            self.crs is None or _is_projected(self.crs),
            "name a projected CRS with an EPSG code, as EPSG:32631",
        )
        yield "resampling", self.resampling in RESAMPLING, f"choose from {', '.join(RESAMPLING)}"
        yield "tiling", self.tiling in TILINGS, "give mgrs, or leave it out for one grid"
        own_zone = self.tiling is None or self.crs is None
        yield "crs", own_zone, "tiling mgrs keeps each tile in its own zone, so leave out one of the two"
        safe = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", self.collection_id) is not None
        yield "collection_id", safe, "use letters, digits, dots, dashes and underscores"

    def _mask_model_rule(self) -> tuple[bool, str]:
        if self.mask_model is None or callable(self.mask_model):
            return True, ""
        named = installed(MASK_GROUP)
        known = f"choose from {', '.join(named)}" if named else "no installed package names any"
        return self.mask_model in named, f"{known}, or bring a callable"

    @property
    def shows_looks(self) -> bool:
        """Whether acquisition days have the look of their date, where the method can do that."""
        return self.appearance == "as_seen"

    @property
    def method_name(self) -> str:
        """Name of the method, that of the callable where one is given."""
        return name_of(self.method)

    @property
    def mask_model_name(self) -> str | None:
        """Name of the mask model, that of the callable where one is given; None without one."""
        return None if self.mask_model is None else name_of(self.mask_model)

    def window_days(self, days: DateRange) -> int:
        """Length of a window, in days, for a request of `days`."""
        if self.duration == "all":
            return len(days)
        return self.duration or METHOD_DURATION.get(self.method_name, OTHER_DURATION)

    def context_days(self, days: DateRange) -> int:
        """Days outside the request whose scenes serve as context: half a window, or none for "all".

        In causal mode these are before it alone: all of a window that ends with the first day.
        """
        if self.duration == "all":
            return 0
        return self.window_days(days) - 1 if self.causal else self.window_days(days) // 2

    def context_of(self, days: DateRange) -> DateRange:
        """Days whose scenes are searched: those requested, and the context around them."""
        around = days.widened(self.context_days(days))
        return DateRange(around.start, days.stop) if self.causal else around


def method_names() -> list[str]:
    """Names of the built-in and the installed methods."""
    return [*METHOD_DURATION, *installed(METHOD_GROUP)]


def installed(group: str) -> list[str]:
    """Names that installed packages have in an entry-point group."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - only when settings are made

    return sorted(entry.name for entry in entry_points(group=group))


def name_of(chosen: str | Callable[..., Any]) -> str:
    """Name of what the settings name or bring along."""
    return chosen if isinstance(chosen, str) else str(getattr(chosen, "__name__", type(chosen).__name__))


def _is_projected(crs: str | int) -> bool:
    from pyproj import CRS  # noqa: PLC0415 - only when a CRS is given
    from pyproj.exceptions import CRSError  # noqa: PLC0415

    try:
        found = CRS.from_user_input(crs)
    except CRSError:
        return False
    return bool(found.is_projected) and found.to_epsg() is not None


def keeps_looks(method: str | MethodCallable) -> bool:
    """Whether acquisition days of a method can be as they were seen; all that others have is what they solve."""
    return isinstance(method, str) and method not in SMOOTH_METHODS
