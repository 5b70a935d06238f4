"""The bits of the asset `flags`: what they mean, as STAC classification and as a style for QGIS."""

from collections.abc import Iterator
from enum import IntFlag
from functools import cache
from itertools import product
from xml.etree.ElementTree import Element, SubElement, tostring

from spaceeye_stac.query import Json

FLAGS_STYLE = "flags.qml"
QML_VERSION = "3.22"


class Flag(IntFlag):
    """Bits of the asset `flags`; where none is set there is no data.

    SEEN: by a look of that day, which was used. RECONSTRUCTED: not seen. SUSPECT: a look of that day was labelled clear
    and left out, as it contradicts those around it. EXTRAPOLATED: reconstructed without a used look on one side within
    the window. DISTANT: the nearest used look is more than 15 days away. FEW_LOOKS: fewer than three were used in the
    window. SNOW, WATER: scene class of the nearest look that was used, or that is labelled snow.
    """

    SEEN = 1
    RECONSTRUCTED = 2
    SUSPECT = 4
    EXTRAPOLATED = 8
    DISTANT = 16
    FEW_LOOKS = 32
    SNOW = 64
    WATER = 128


MEANINGS = {
    Flag.SEEN: ("seen that day and used", "1a9850"),
    Flag.RECONSTRUCTED: ("reconstructed", "fee08b"),
    Flag.SUSPECT: ("suspect look of that day left out", "d73027"),
    Flag.EXTRAPOLATED: ("no used look on one side within the window", "7b3294"),
    Flag.DISTANT: ("nearest used look more than 15 days away", "f46d43"),
    Flag.FEW_LOOKS: ("fewer than three used looks in the window", "878787"),
    Flag.SNOW: ("snow in the nearest look", "80ffff"),
    Flag.WATER: ("water in the nearest look", "2166ac"),
}
# whose colour a pixel has, the first that is set
COLOUR_ORDER = (
    Flag.SUSPECT,
    Flag.EXTRAPOLATED,
    Flag.DISTANT,
    Flag.FEW_LOOKS,
    Flag.SNOW,
    Flag.WATER,
    Flag.SEEN,
    Flag.RECONSTRUCTED,
)


def share_field(flag: Flag) -> str:
    """The item's field that says which share of the pixels has a flag."""
    return f"spaceeye:{'observed' if flag is Flag.SEEN else flag_name(flag)}_share"


def flag_name(flag: Flag) -> str:
    """Its name in lower case."""
    return str(flag.name).lower()


def bitfields() -> list[Json]:
    """`classification:bitfields` of the asset (STAC classification extension 2.0)."""
    return [
        {
            "name": flag_name(flag),
            "description": meaning,
            "offset": int(flag).bit_length() - 1,
            "length": 1,
            "classes": [
                {"value": 0, "name": f"not_{flag_name(flag)}"},
                {"value": 1, "name": flag_name(flag), "color_hint": colour.upper()},
            ],
        }
        for flag, (meaning, colour) in MEANINGS.items()
    ]


def possible_values() -> Iterator[Flag]:
    """Every value that a pixel with data can have."""
    grounds, few = (Flag(0), Flag.SNOW, Flag.WATER), (Flag(0), Flag.FEW_LOOKS)
    made = product((Flag(0), Flag.SUSPECT), (Flag(0), Flag.EXTRAPOLATED), (Flag(0), Flag.DISTANT))
    kinds = [Flag.SEEN, *(Flag.RECONSTRUCTED | a | b | c for a, b, c in made)]
    return (kind | one | ground for kind, one, ground in product(kinds, few, grounds))


@cache
def colour_table() -> tuple[tuple[int, int, int], ...]:
    """Red, green and blue of every value of the asset from 0 to 255: the colours of its style, black without data."""
    return ((0, 0, 0), *(_rgb(MEANINGS[_shown(Flag(value))][1]) for value in range(1, 256)))


def _shown(value: Flag) -> Flag:
    """The flag whose colour a pixel of this value has."""
    return next(flag for flag in COLOUR_ORDER if flag in value)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


@cache
def qgis_style() -> bytes:
    """A QGIS layer style (QML) of the asset: a colour and a label for every value, no data left out."""
    root = Element("qgis", version=QML_VERSION, styleCategories="Symbology")
    renderer = SubElement(SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1")
    palette = SubElement(renderer, "colorPalette")
    for value in sorted(possible_values()):
        first = _shown(value)
        label = ", ".join(meaning for flag, (meaning, _) in MEANINGS.items() if flag in value)
        SubElement(
            palette, "paletteEntry", value=str(int(value)), color=f"#{MEANINGS[first][1]}", alpha="255", label=label
        )
    return b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + tostring(root)
