"""Indices of bands: a band, a name of the catalogue of spectral indices, or an expression; with their derivatives.

Expressions are read by Python's own parser and computed here: numbers, names of bands, + - * / **, signs and
parentheses are all there is, and nothing of a text is ever run.
"""

import ast
import math
import re
import sys
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.errors import InvalidInputError
from spaceeye_stac.query import BANDS

Values = NDArray[np.float64]
# of the catalogue's letters, those that are bands of Sentinel-2
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
LONGEST, DEEPEST, CLOSE_ONES = 500, 50, 3
EXPRESSION = re.compile(r"[\w.+\-*/()\s]+", re.ASCII)
# a kernel of two of the catalogue's letters, as kNR: exp(-(N - R)^2 / (2 sigma^2))
KERNEL = re.compile(r"\bk([A-Z])([A-Z])\b")
AS_KERNEL = rf"{math.e!r}**(-((\1-\2)**2)/(2*sigma**2))"


@dataclass(frozen=True)
class Dual:
    """Values, and their derivatives by the bands they depend on."""

    values: Values | float
    slopes: Mapping[str, Values | float]


@dataclass(frozen=True)
class Index:
    """What is made of the bands of one pixel: `tree` over names, each of a band or a constant in `meanings`."""

    name: str
    tree: ast.expr
    meanings: Mapping[str, str | float]

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """The bands it needs, each once, in the order of their names."""
        used = {self.meanings[node.id] for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        return tuple(band for band in BANDS if band in used)

    def values(self, bands: Mapping[str, NDArray[np.floating]]) -> Values:
        """Its values from those of its bands, all of one shape; NaN where it is no finite number."""
        return _finite(self._made(bands, by=frozenset()), bands)

    def of(self, bands: Mapping[str, Values]) -> tuple[Values, dict[str, Values]]:
        """Its values, as `values` has them, and its derivative by each band."""
        found = self._made(bands, by=self.meanings.keys())
        slopes = dict.fromkeys(self.bands, np.zeros(next(iter(bands.values())).shape))
        for name, slope in found.slopes.items():
            slopes[str(self.meanings[name])] = slopes[str(self.meanings[name])] + slope
        return _finite(found, bands), slopes

    def with_widths(self, bands: Mapping[str, Values], widths: Mapping[str, Values]) -> tuple[Values, Values]:
        """Its values, and half widths of their intervals to first order from those of its bands, independent ones."""
        values, slopes = self.of(bands)
        with np.errstate(all="ignore"):
            squares = sum((slopes[band] * widths[band]) ** 2 for band in self.bands)
        return values, np.where(np.isfinite(values), np.sqrt(squares), np.nan)

    def _made(self, bands: Mapping[str, NDArray[np.floating]], by: Container[str]) -> Dual:
        known = {name: bands[one] if isinstance(one, str) else one for name, one in self.meanings.items()}
        with np.errstate(all="ignore"):
            return _computed(self.tree, known, by)


def _finite(found: Dual, bands: Mapping[str, NDArray[np.floating]]) -> Values:
    values = np.broadcast_to(np.asarray(found.values, np.float64), next(iter(bands.values())).shape)
    return np.where(np.isfinite(values), values, np.nan)


@lru_cache(maxsize=256)
def index_of(text: str) -> Index:
    """The index that a name or an expression stands for.

    A name of a band of Sentinel-2 is that band. Names of the catalogue of awesome-spectral-indices (spyndex), in any
    case where that names one alone, have its formulas and the defaults of its constants. Raises InvalidInputError for
    all else, and for what needs other sensors.
    """
    name = text.strip()
    if name in BANDS:
        return Index(name, ast.Name(name), {name: name})
    if not re.fullmatch(r"\w+", name, re.ASCII):
        tree = _parsed(name)
        names = list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))
        for unknown in (one for one in names if one not in BANDS):
            raise InvalidInputError(f"Expression {_short(name)} has {unknown!r}, which is no band; write {_bands()}.")
        if not names:
            raise InvalidInputError(f"Expression {_short(name)} has no band in it; write one of {_bands()}.")
        return Index(name, tree, {one: one for one in names})
    return _from_catalogue(name)


def _from_catalogue(name: str) -> Index:
    import spyndex  # noqa: PLC0415 - takes a while to load

    alike = [one for one in spyndex.indices if one.upper() == name.upper()]
    if name not in spyndex.indices and len(alike) == 1:
        return _from_catalogue(alike[0])
    if name not in spyndex.indices:
        near = _close(name, [*spyndex.indices, *BANDS])
        hint = f"did you mean {', '.join(near)}?" if near else "see awesome-ee-spectral-indices.readthedocs.io."
        raise InvalidInputError(f"There is no index {_short(name)}; {hint}")
    tree = _parsed(KERNEL.sub(AS_KERNEL, spyndex.indices[name].formula))
    constants = {one: spyndex.constants[one].default for one in spyndex.constants}
    meanings: dict[str, str | float] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            meaning = LETTERS.get(node.id, constants.get(node.id))
            if meaning is None:
                raise InvalidInputError(
                    f"Index {name} needs {node.id!r}, which Sentinel-2 and the catalogue's defaults do not have; "
                    "write it as an expression of bands."
                )
            meanings[node.id] = meaning
    return Index(name, tree, meanings)


@lru_cache(maxsize=16)
def catalogue_for(bands: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Names and long names of the catalogue's indices that these bands allow."""
    import spyndex  # noqa: PLC0415 - takes a while to load

    found = []
    for name, known in spyndex.indices.items():
        try:
            check_bands(index_of(name), bands)
        except InvalidInputError:
            continue
        found.append((name, str(known.long_name)))
    return tuple(found)


def check_bands(index: Index, bands: Sequence[str]) -> None:
    """Raise InvalidInputError for an index that needs bands which are not there."""
    missing = [name for name in index.bands if name not in bands]
    if missing:
        raise InvalidInputError(
            f"Index {_short(index.name)} needs {', '.join(missing)}, which the run lacks: it has {', '.join(bands)}; "
            "run again with more bands, or choose another index."
        )


def _close(name: str, known: Sequence[str]) -> list[str]:
    by_capitals = {one.upper(): one for one in known}
    return [by_capitals[one] for one in get_close_matches(name.upper(), by_capitals, CLOSE_ONES)]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")  # noqa: PLR2004


def _bands() -> str:
    return f"{BANDS[0]} ... {BANDS[-1]}"


def _parsed(text: str) -> ast.expr:
    """Read an expression; InvalidInputError for anything but arithmetic of names and numbers."""
    wrong = f"Expression {_short(text)} cannot be read; write it as (B08-B04)/(B08+B04), with + - * / ** and numbers."
    if len(text) > LONGEST or not EXPRESSION.fullmatch(text):
        raise InvalidInputError(wrong)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, on numbers that run into names
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
            return not isinstance(number, bool) and abs(number) < sys.float_info.max
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=one):
            return depth > 0 and _is_arithmetic(one, depth - 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return depth > 0 and _is_arithmetic(left, depth - 1) and _is_arithmetic(right, depth - 1)
    return False


def _computed(node: ast.expr, names: Mapping[str, Any], by: Container[str]) -> Dual:
    """Values of what `_is_arithmetic` let pass, and by the chain rule its derivatives by the bands named in `by`."""
    match node:
        case ast.Name(id=name):
            known = names[name]
            return Dual(known, {name: 1.0} if name in by and isinstance(known, np.ndarray) else {})
        case ast.Constant(value=number):
            return Dual(np.float64(number), {})  # type: ignore[arg-type]
        case ast.UnaryOp(op=op, operand=one):
            found, sign = _computed(one, names, by), -1.0 if isinstance(op, ast.USub) else 1.0
            return Dual(sign * found.values, {name: sign * slope for name, slope in found.slopes.items()})
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATIONS[type(op)](_computed(left, names, by), _computed(right, names, by))
    raise AssertionError(node)


def _chained(values: Values | float, *parts: tuple[Dual, Callable[[], Values | float]]) -> Dual:
    """Values that depend on parts, each with the derivative by it, which is asked for where it matters."""
    slopes: dict[str, Values | float] = {}
    for part, by_it in parts:
        factor = by_it() if part.slopes else 0.0
        for name, slope in part.slopes.items():
            slopes[name] = slopes.get(name, 0.0) + factor * slope
    return Dual(values, slopes)


def _sum(a: Dual, b: Dual) -> Dual:
    return _chained(a.values + b.values, (a, lambda: 1.0), (b, lambda: 1.0))


def _difference(a: Dual, b: Dual) -> Dual:
    return _chained(a.values - b.values, (a, lambda: 1.0), (b, lambda: -1.0))


def _product(a: Dual, b: Dual) -> Dual:
    return _chained(a.values * b.values, (a, lambda: b.values), (b, lambda: a.values))


def _quotient(a: Dual, b: Dual) -> Dual:
    values = np.divide(a.values, b.values)
    return _chained(values, (a, lambda: np.divide(1, b.values)), (b, lambda: np.divide(-values, b.values)))


def _power(a: Dual, b: Dual) -> Dual:
    values = np.power(a.values, b.values)
    return _chained(
        values, (a, lambda: b.values * np.power(a.values, b.values - 1)), (b, lambda: values * np.log(a.values))
    )


OPERATIONS: Mapping[type[ast.operator], Callable[[Dual, Dual], Dual]] = {
    ast.Add: _sum,
    ast.Sub: _difference,
    ast.Mult: _product,
    ast.Div: _quotient,
    ast.Pow: _power,
}
