"""How much a catalog may make us read: bounds that are far above what good catalogs need, each raised by its name."""

import os
from dataclasses import dataclass, fields

from spaceeye_stac.errors import InvalidInputError, TooMuchError

PREFIX = "SPACEEYE_STAC_MAX_"


@dataclass(frozen=True)
class Limits:
    """Bounds of one search; the environment's SPACEEYE_STAC_MAX_ANSWER_BYTES and so on go first.

    `answer_bytes` of a file or an answer after unpacking; `request_seconds` of a request as a whole; `pages` and
    `items` of a search; `depth` and `files` of a static catalog.
    """

    answer_bytes: float = 200_000_000
    request_seconds: float = 300
    pages: float = 1000
    items: float = 200_000
    depth: float = 20
    files: float = 200_000

    @classmethod
    def of_environment(cls) -> "Limits":
        """The bounds as the environment sets them."""
        return cls(**{one.name: _value(one.name, one.default) for one in fields(cls)})  # type: ignore[arg-type]

    def check(self, name: str, reached: float, where: str) -> None:
        """Raise TooMuchError where more is reached than the bound of this name allows."""
        if reached > getattr(self, name):
            raise self.beyond(name, where)

    def beyond(self, name: str, where: str) -> TooMuchError:
        """The error that says which bound is reached, where, and how it is raised."""
        return TooMuchError(
            f"{where} goes beyond {getattr(self, name):,.0f} {name.replace('_', ' ')}; "
            f"if that is right, set {variable(name)} to more."
        )


def variable(name: str) -> str:
    """The environment variable that sets a bound."""
    return PREFIX + name.upper()


def _value(name: str, default: float) -> float:
    text = os.environ.get(variable(name), "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = 0
    if not found > 0:
        raise InvalidInputError(f"{variable(name)} {text!r} is no number above 0.")
    return found
