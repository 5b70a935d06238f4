"""What of a day the page can show: pictures of bands, indices and quality layers, each with its range and legend."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spaceeye_stac.collection import COLOUR_ORDER, MEANINGS, UNCERTAINTY
from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import BANDS, Json
from spaceeye_stac.viewing.indices import Index, catalogue_for, check_bands, index_of
from spaceeye_stac.viewing.page_days import PageDay, RunPage

VISUAL, DISTANCE, FLAGS = "visual", "clear_distance", "flags"
MOST_BANDS = 12
PICTURE_BANDS = (1, 3)
BRIGHTEST: Mapping[str, float] = {"B08": 0.5, "B8A": 0.5, "B11": 0.4, "B12": 0.35}
USUAL_BRIGHTEST = 0.3
# indices that the page offers first, with the range and the colours they are usually shown in
RAMPS: Mapping[str, tuple[float, float, str]] = {
    "NDVI": (-0.2, 1.0, "rdylgn"),
    "EVI2": (-0.2, 1.0, "rdylgn"),
    "NDREI": (-0.2, 0.8, "rdylgn"),
    "NDWI": (-0.8, 0.5, "brbg"),
    "NDMI": (-0.4, 0.6, "brbg"),
    "NBR": (-0.5, 0.9, "rdylgn"),
    "BI": (-0.5, 0.5, "puor_r"),
    "NDSI": (-0.5, 1.0, "blues"),
}
USUAL_RAMP = (-1.0, 1.0, "rdylgn")
COMPOSITES = (
    ("Infrared", ("B08", "B04", "B03")),
    ("Short-wave infrared", ("B12", "B8A", "B04")),
    ("Agriculture", ("B11", "B08", "B02")),
)
LAYERS: Mapping[str, tuple[str, float, float, str]] = {
    DISTANCE: ("Days to the nearest clear look", 0.0, 30.0, "viridis"),
    UNCERTAINTY: ("Uncertainty of reflectance", 0.0, 0.05, "magma"),
}


@dataclass(frozen=True)
class View:
    """What is shown of a day: an `index` of the bands, up to three `bands` as a picture, or one `layer`."""

    index: Index | None = None
    bands: tuple[str, ...] = ()
    layer: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the assets it is made from."""
        if self.index is not None:
            return self.index.bands
        return self.bands or (self.layer,)

    @property
    def ramp(self) -> tuple[float, float, str]:
        """Lowest and highest value, and the colours between."""
        if self.index is not None:
            return RAMPS.get(self.index.name, (*_range_of(self.index), USUAL_RAMP[2]))
        _, low, high, colours = LAYERS[UNCERTAINTY if self.layer.startswith(UNCERTAINTY) else self.layer]
        return low, high, colours


def _range_of(index: Index) -> tuple[float, float]:
    """The range of a band alone is that of reflectance; that of an index is -1 to 1."""
    return (0.0, BRIGHTEST.get(index.name, USUAL_BRIGHTEST)) if index.name in BANDS else USUAL_RAMP[:2]


def view_of(day: PageDay, asked: Mapping[str, str]) -> View:
    """The view that `index`, `bands` or `layer` of a request names; InvalidInputError where the day has no such."""
    named = [key for key in ("index", "bands", "layer") if asked.get(key)]
    if len(named) > 1:
        raise InvalidInputError(f"A picture has one of index, bands and layer, not {' and '.join(named)}.")
    if named == ["index"]:
        index = index_of(asked["index"])
        check_bands(index, day.bands)
        return View(index=index)
    if named == ["bands"]:
        bands = bands_of(asked["bands"], day.bands)
        if len(bands) not in PICTURE_BANDS:
            raise InvalidInputError(f"A picture has one band or three, not {len(bands)}.")
        return View(bands=bands)
    layer = asked.get("layer") or VISUAL
    layers = [key for key in day.files if key in {VISUAL, DISTANCE, FLAGS} or key.startswith(UNCERTAINTY)]
    if layer not in layers:
        raise InvalidInputError(f"There is no layer {layer[:60]!r}; this day has {', '.join(layers)}.")
    return View(layer=layer)


def bands_of(text: str, have: tuple[str, ...]) -> tuple[str, ...]:
    """Names of bands in a list with commas; InvalidInputError where one is not there, or there are too many."""
    names = tuple(text.split(","))
    for name in names:
        if name not in have:
            raise InvalidInputError(f"There is no band {name[:20]!r}; this day has {', '.join(have)}.")
    if len(names) > MOST_BANDS:
        raise InvalidInputError(f"{len(names)} bands are too many; name up to {MOST_BANDS}.")
    return names


def offered(page: RunPage) -> list[Json]:
    """The views of a run that the page offers, in groups; what the bands of every day allow."""
    have, first = set(page.bands), page.days[0]
    found: list[Json] = []
    if VISUAL in first.files:
        found.append({"group": "Picture", "label": "True colour", "query": {"layer": VISUAL}})
    for label, bands in COMPOSITES:
        if set(bands) <= have:
            found.append(
                {"group": "Picture", "label": f"{label} ({', '.join(bands)})", "query": {"bands": ",".join(bands)}}
            )
    known = dict(catalogue_for(page.bands))
    found += [_index(name, known[name], "Index") for name in RAMPS if name in known]
    found += list(_layers(first))
    found += [_index(name, "", "Band") for name in page.bands]
    found += [_index(name, long, "More indices") for name, long in known.items() if name not in RAMPS]
    return found


def _index(name: str, long: str, group: str) -> Json:
    label = f"{name}: {long}" if long else name
    return {"group": group, "label": label, "short": name, "query": {"index": name}}


def _layers(day: PageDay) -> Iterator[Json]:
    for key, (label, *_) in LAYERS.items():
        if key in day.files:
            yield {"group": "Quality", "label": label, "query": {"layer": key}}
    if FLAGS in day.files:
        yield {"group": "Quality", "label": "Flags: how each pixel was made", "query": {"layer": FLAGS}}


def flag_classes() -> list[Json]:
    """Colour and meaning of each flag, for a legend."""
    named = (MEANINGS[flag] for flag in COLOUR_ORDER)
    return [{"colour": f"#{colour}", "label": label} for label, colour in named]
