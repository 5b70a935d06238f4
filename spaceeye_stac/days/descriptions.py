"""What each file of a day says of itself, so that it is understood without its item: as TIFF and GDAL have it.

Pixels are not touched: scale and offset say what they mean. Units are those of UDUNITS, as in CF and in the cubes: "1"
for reflectance, which no table of units has by that name, and "d" for days, as xarray takes "days" for times.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from xml.sax.saxutils import escape

from spaceeye_stac.collection import UNCERTAINTY, Flag, band_words, colour_table, flag_name, picture_title

SCALE = 0.0001
IMAGERY = "IMAGERY"  # GDAL's domain for what sensors say
SOFTWARE = "spaceeye-stac"  # without its version, so that the same pixels are the same bytes; items have it


@dataclass(frozen=True)
class Description:
    """What a raster says of itself.

    `bands`: a text for each. `tags`: of the file; those that begin with TIFFTAG_ become TIFF tags. `imagery`: tags of
    GDAL's domain of that name. `band_tags`: of its first band. `scale`: DN times this are in `unit`; None where they
    are. `colours`: red, green and blue of each value from 0 to 255, or none.
    """

    bands: tuple[str, ...]
    tags: Mapping[str, str]
    imagery: Mapping[str, str]
    band_tags: Mapping[str, str] = field(default_factory=dict)
    scale: float | None = None
    unit: str = ""
    colours: tuple[tuple[int, int, int], ...] = ()


def description_of(key: str, day: date) -> Description:
    """Of the asset of a day that is no picture: a band, an uncertainty, `clear_distance` or `flags`."""
    if key == "clear_distance":
        return replace(_description(day, "days to the nearest clear look that was used, 255 = none"), unit="d")
    if key == "flags":
        # numbers in braces are a list to GDAL's netCDF driver and to rioxarray
        masks = ",".join(str(int(flag)) for flag in Flag)
        told = {"flag_masks": f"{{{masks}}}", "flag_meanings": " ".join(map(flag_name, Flag))}
        found = _description(day, "how each pixel was made, 0 = no data")
        return replace(found, band_tags=told, colours=colour_table())
    text = f"{band_words(key)}, surface reflectance"
    if key.startswith(UNCERTAINTY):
        name = key.removeprefix(UNCERTAINTY).removeprefix("_")
        of_which = band_words(name) if name else "the largest over bands"
        text = f"half width of the 68 % interval of surface reflectance, {of_which}"
    return replace(_description(day, text), scale=SCALE, unit="1")


def description_of_picture(rgb_bands: Sequence[str], day: date) -> Description:
    """Of `visual`, whose red, green and blue are these bands."""
    bands = tuple(f"{band_words(name)}, for display" for name in rgb_bands)
    return replace(_description(day, picture_title(rgb_bands)), bands=bands)


def description_of_keyframe(band: str, day: date, scale: float) -> Description:
    """Of the COG of a keyframe that virtual days read: `scale` is what its values are in."""
    text = f"{band_words(band)}, surface reflectance divided by the illuminance of its day"
    return replace(_description(day, text), scale=scale, unit="1")


def _description(day: date, text: str) -> Description:
    """One band of this text, with what all files of a day say."""
    tags = {
        "TIFFTAG_IMAGEDESCRIPTION": f"Daily Sentinel-2, {day}: {text}",
        "TIFFTAG_DATETIME": f"{day:%Y:%m:%d} 00:00:00",
        "TIFFTAG_SOFTWARE": SOFTWARE,
        "TIFFTAG_COPYRIGHT": f"Contains modified Copernicus Sentinel data {day.year}",
        "datetime": f"{day}T00:00:00Z",
    }
    return Description((text,), tags, {"ACQUISITIONDATETIME": f"{day} 00:00:00"})


def dataset_xml(said: Description) -> str:
    """The file's tags as a VRT has them."""
    return _metadata(said.tags, "") + _metadata(said.imagery, f' domain="{IMAGERY}"')


def band_xml(said: Description) -> str:
    """What the only band says, as a VRT has it."""
    lines = [f"<Description>{escape(said.bands[0])}</Description>"]
    lines += [f"<UnitType>{escape(said.unit)}</UnitType>"] if said.unit else []
    lines += ["<Offset>0</Offset>", f"<Scale>{said.scale!r}</Scale>"] if said.scale is not None else []
    return "".join(f"  {line}\n" for line in lines)


def _metadata(tags: Mapping[str, str], domain: str) -> str:
    lines: Iterator[str] = (f'  <MDI key="{name}">{escape(text)}</MDI>\n' for name, text in tags.items())
    return f" <Metadata{domain}>\n{''.join(lines)} </Metadata>\n"
