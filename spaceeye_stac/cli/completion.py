"""What a shell completes: the words of an option, also after a comma, and the names of catalogs and methods."""

from collections.abc import Callable, Sequence

from spaceeye_stac.platforms import Parameter
from spaceeye_stac.query import BANDS, COMMON_NAMES
from spaceeye_stac.settings import MASK_GROUP, installed, method_names

Complete = Callable[[str], list[str]]


def completion_of(found: Parameter) -> Complete | None:
    """What completes the values of a parameter; None where they are not known beforehand."""
    words = KNOWN.get(found.name) or ((lambda: found.choices) if found.choices else None)
    if words is None:
        return None
    several = found.schema.get("type") == "array"

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        return [f"{before}{comma}{word}" for word in words() if word.lower().startswith(last.lower())]

    return complete


def _catalogs() -> Sequence[str]:
    from spaceeye_stac.sources import shipped_profiles  # noqa: PLC0415 - pystac, which --help does not wait for

    return [*shipped_profiles()]


KNOWN: dict[str, Callable[[], Sequence[str]]] = {
    "catalog": _catalogs,
    "mask_catalog": _catalogs,
    "profile": _catalogs,
    "bands": lambda: [*BANDS, *COMMON_NAMES],
    "method": method_names,
    "mask_model": lambda: installed(MASK_GROUP),
}
