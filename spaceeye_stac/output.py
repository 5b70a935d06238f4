"""How the days are written; no value depends on it."""

from dataclasses import dataclass

from spaceeye_stac.errors import InvalidInputError

HIGHEST_LEVEL = {"deflate": 12, "zstd": 22}
DEFAULT_LEVEL = {"deflate": 1, "zstd": 1}
FORMS = ("files", "virtual")
KEYFRAME_COGS = "keyframe-cogs"


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a run writes its days.

    Parameters
    ----------
    compress
        "deflate" or "zstd" (smaller machines' GDAL may lack it; faster to write).
    level
        Of the compression, 1 and up; 1 when left out, which is fastest by far and a few percent larger.
    days
        "files": a COG per band and day. "virtual": COGs of the keyframes, and one small VRT per band and day that GDAL
        interpolates as it is read, within 1 DN of the file; a band that cannot be had so on some day is a COG there.
    keep_keyframes
        Leave the keyframe store in the collection's folder, for `open_keyframes`.

    Raises InvalidInputError, with the value and the remedy.

    """

    compress: str = "deflate"
    level: int | None = None
    days: str = "files"
    keep_keyframes: bool = False

    def __post_init__(self) -> None:
        if self.compress not in HIGHEST_LEVEL:
            raise InvalidInputError(f"compress {self.compress!r} is not allowed; choose from deflate, zstd.")
        if self.level is not None and not 1 <= self.level <= HIGHEST_LEVEL[self.compress]:
            raise InvalidInputError(
                f"level {self.level!r} is not allowed; {self.compress} has 1 to {HIGHEST_LEVEL[self.compress]}."
            )
        if self.days not in FORMS:
            raise InvalidInputError(f"days {self.days!r} is not allowed; choose from {', '.join(FORMS)}.")

    @property
    def compression_level(self) -> int:
        """The level asked for, or the default of the compression."""
        return self.level or DEFAULT_LEVEL[self.compress]
