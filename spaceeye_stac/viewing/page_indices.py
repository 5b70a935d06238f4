"""Indices that the page shows: names of the catalogue of spectral indices, bands, or arithmetic of bands.

An expression is read by Python's own parser and computed here from numbers, names of bands, + - * / ** and parentheses:
nothing of a text is ever run.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import BANDS

LETTERS = {
    "A": "B01",
    "B": "B02",
    "G": "B03",
    "R": "B04",
    "RE1": "B05",
    "RE2": "B06",
    "RE3": "B07",
    "N": "B08",
    "N2": "B8A",
    "WV": "B09",
    "S1": "B11",
    "S2": "B12",
}
LONGEST, DEEPEST, LARGEST = 300, 40, 1e9
ALLOWED = re.compile(r"[\w.+\-*/()\s]+", re.ASCII)
STEP = 1e-6  # of reflectance, for slopes
OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Pow: np.power,
}


@dataclass(frozen=True)
class PageIndex:
    """Arithmetic over `names`, each the name of a band or a constant."""

    name: str
    tree: ast.expr
    names: Mapping[str, str | float]

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands it needs, in the order of Sentinel-2."""
        return tuple(band for band in BANDS if band in self.names.values())

    def of(self, bands: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float64]:
        """Its values from the reflectance of its bands, all of one shape; NaN where it is no finite number."""
        known = {name: bands[one] if isinstance(one, str) else np.float64(one) for name, one in self.names.items()}
        with np.errstate(all="ignore"):
            found = np.asarray(_computed(self.tree, known), np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    def spread(
        self, bands: Mapping[str, NDArray[np.floating]], spreads: Mapping[str, NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Its half width to first order, from those of its bands taken as independent."""
        found = np.zeros(next(iter(bands.values())).shape)
        for band in self.bands:
            ahead, behind = ({**bands, band: bands[band] + sign * STEP} for sign in (1, -1))
            found += ((self.of(ahead) - self.of(behind)) / (2 * STEP) * spreads[band]) ** 2
        return np.asarray(np.sqrt(found))


@lru_cache(maxsize=256)
def page_index(text: str) -> PageIndex:
    """The index of a name, a band or an expression; InvalidInputError where it is none that Sentinel-2 has."""
    name = text.strip()
    if name in BANDS:
        return PageIndex(name, ast.Name(name), {name: name})
    if not re.fullmatch(r"\w{1,40}", name, re.ASCII):
        tree = _parsed(name)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        unknown = sorted(used - set(BANDS))
        if unknown or not used:
            raise InvalidInputError(f"Expression {_short(name)} names {unknown or 'no band'}; {_how()}")
        return PageIndex(name, tree, {one: one for one in used})
    return _of_catalogue(name)


def _of_catalogue(name: str) -> PageIndex:
    import spyndex  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - takes a while to load

    if name not in spyndex.indices:
        raise InvalidInputError(f"There is no index {_short(name)}; choose one of the list, or {_how()}")
    tree = _parsed(str(spyndex.indices[name].formula))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names: dict[str, str | float] = {one: LETTERS[one] for one in used if one in LETTERS}
    for one in used - names.keys():
        default = spyndex.constants[one].default if one in spyndex.constants else None
        if default is None:
            raise InvalidInputError(f"Index {name} needs {one!r}, which Sentinel-2 does not have; choose another.")
        names[one] = float(default)
    if not any(isinstance(one, str) for one in names.values()):
        raise InvalidInputError(f"Index {name} has no band of Sentinel-2 in it; choose another.")
    return PageIndex(name, tree, names)


def check_index(index: PageIndex, bands: Sequence[str]) -> None:
    """Raise InvalidInputError for an index of bands that are not there."""
    missing = [band for band in index.bands if band not in bands]
    if missing:
        raise InvalidInputError(f"{_short(index.name)} needs {', '.join(missing)}; this day has {', '.join(bands)}.")


@lru_cache(maxsize=16)
def indices_of(bands: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Names and long names of the catalogue's indices that these bands allow."""
    import spyndex  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415 - takes a while to load

    found = []
    for name, known in spyndex.indices.items():
        try:
            check_index(page_index(name), bands)
        except InvalidInputError:
            continue
        found.append((name, str(known.long_name)))
    return tuple(found)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")  # noqa: PLR2004


def _how() -> str:
    return f"write arithmetic of {BANDS[0]} ... {BANDS[-1]}, as (B08-B04)/(B08+B04)."


def _parsed(text: str) -> ast.expr:
    wrong = f"Expression {_short(text)} cannot be read; {_how()}"
    if len(text) > LONGEST or not ALLOWED.fullmatch(text):
        raise InvalidInputError(wrong)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInputError(wrong) from error
    if not _is_arithmetic(tree, DEEPEST):
        raise InvalidInputError(wrong)
    return tree


def _is_arithmetic(node: ast.expr, depth: int) -> bool:
    match node:
        case ast.Name():
            return True
        case ast.Constant(value=int() | float() as number):
            return not isinstance(number, bool) and abs(number) < LARGEST
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=one):
            return depth > 0 and _is_arithmetic(one, depth - 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return depth > 0 and _is_arithmetic(left, depth - 1) and _is_arithmetic(right, depth - 1)
    return False


def _computed(node: ast.expr, known: Mapping[str, Any]) -> Any:  # noqa: ANN401 - arrays and numbers
    """The value of what `_is_arithmetic` let pass; every number is of NumPy, so that none grows without end."""
    match node:
        case ast.Name(id=name):
            return known[name]
        case ast.Constant(value=number):
            return np.float64(number)  # type: ignore[arg-type]
        case ast.UnaryOp(op=op, operand=one):
            return -_computed(one, known) if isinstance(op, ast.USub) else _computed(one, known)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATIONS[type(op)](_computed(left, known), _computed(right, known))
    raise AssertionError(node)
