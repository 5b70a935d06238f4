"""The errors of each method on hidden pixels, summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from spaceeye_stac.display import card, paragraph, table
from spaceeye_stac.evaluation.baselines import QUANTILES, Bool, Float
from spaceeye_stac.evaluation.date_errors import DateErrors
from spaceeye_stac.evaluation.film_scores import FilmScores
from spaceeye_stac.evaluation.hidden import KIND_TITLES, KINDS
from spaceeye_stac.evaluation.likeness import LIKENESS
from spaceeye_stac.query import Json

BINS = ((1, 5), (6, 10), (11, 20), (21, None))
SHOWN_FIGURES = {"psnr": 1, "rmse": 4, "bias": 4}
FIGURES = ("psnr", "rmse", "mae", "bias")


@dataclass(frozen=True)
class Tally:
    """The errors of one method in one case, summed.

    Attributes
    ----------
    moments
        `(3, band, bin)` float64: sums of e, |e| and e^2 over the pixels whose nearest look falls into each of `BINS`.
    pixels
        `(bin,)` how many they are.
    inside
        `(len(QUANTILES),)` values with |e| <= z sd.
    with_sd
        Values with a standard deviation.
    likeness
        Each of `likeness.LIKENESS`.
    errors
        What `score` was asked to measure beside, if anything.

    """

    moments: NDArray[np.float64]
    pixels: NDArray[np.int64]
    inside: NDArray[np.int64]
    with_sd: int
    likeness: Mapping[str, float]
    errors: DateErrors | None = None


@dataclass(frozen=True)
class Case:
    """One target date with hidden pixels: its kind, index and day, and what each method made of it."""

    kind: str
    target: int
    day: int
    tallies: Mapping[str, Tally]


@dataclass(frozen=True)
class Example:
    """One case in full: `truth` and `estimates` `(band, y, x)`, NaN = none, and `hidden` `(y, x)`.

    `uncertainties` `(band, y, x)`: half widths of the 68 % intervals in reflectance, of the methods that give them.
    """

    kind: str
    day: int
    truth: Float
    hidden: Bool
    estimates: Mapping[str, Float]
    uncertainties: Mapping[str, Float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """Every case that was scored, how many of each kind were skipped, one worked example for a picture, and the film.

    `film`: figures of every day, where they were asked for. `start`: the date of day 0, where it is known.
    """

    bands: tuple[str, ...]
    methods: tuple[str, ...]
    cases: tuple[Case, ...]
    skipped: Mapping[str, int]
    example: Example = field(repr=False)
    film: FilmScores | None = field(default=None, repr=False)
    start: date | None = None

    def __repr__(self) -> str:
        return f"Scores({', '.join(self.methods)}; {len(self.cases)} cases; bands {', '.join(self.bands)})"

    def _repr_html_(self) -> str:
        found = self.as_json()
        rows = [
            (
                f"{title} ({row['n_dates']})",
                method,
                *(_shown(row[name], digits) for name, digits in SHOWN_FIGURES.items()),
            )
            for kind, title in KIND_TITLES.items()
            for method, row in found[kind].items()
        ]
        head = ("gap (dates)", "method", "PSNR dB", "RMSE", "bias")
        said = [] if self.film is None else [paragraph("as_json()['film'] has the figures of every day.")]
        return card("Hidden clear pixels, means over dates", table(head, rows, numbers=(2, 3, 4)), *said)

    def tallies(self, kind: str, method: str) -> dict[int, Tally]:
        """Return what a method made of each target date of a kind, by the date's index."""
        return {c.target: c.tallies[method] for c in self.cases if c.kind == kind and method in c.tallies}

    def errors(self, kind: str) -> list[dict[int, dict[str, DateErrors]]]:
        """Return what was measured of each case of a kind, by the date's index and by method."""
        return [
            {case.target: {name: one.errors for name, one in case.tallies.items() if one.errors is not None}}
            for case in self.cases
            if case.kind == kind
        ]

    def as_json(self) -> Json:
        """Return all figures as plain JSON; None stands for what is infinite or has no dates.

        `"cloud"`, `"date"` and `"edge"` hold, by method, the means over dates of psnr, rmse, mae and bias, of all bands
        and by band, with standard errors; of ssim, sam, rrmse and the errors of NDVI as `likeness` has them; `bins`,
        rmse of the pixels of all dates pooled by the days to their nearest clear look; and `paired`, this method's psnr
        less another's over the dates that both have. `"coverage"` holds the pooled share of values within z standard
        deviations, `"skipped"` the cases skipped. `"film"`, where every day was scored, is that of `FilmScores`.
        """
        kinds: Json = {kind: {method: self._summary(kind, method) for method in self.methods} for kind in KINDS}
        shares = {method: self._coverage(method) for method in self.methods}
        return kinds | {
            "coverage": {method: share for method, share in shares.items() if share},
            "skipped": dict(self.skipped),
            **({} if self.film is None else {"film": self.film.as_json()}),
        }

    def _summary(self, kind: str, method: str) -> Json:
        tallies = list(self.tallies(kind, method).values())
        means = _means(tallies, len(self.bands))
        figures = per_date(means.mean(axis=2))
        return {
            **{name: _mean(figures[name]) for name in FIGURES},
            **{name: _mean(np.array([tally.likeness[name] for tally in tallies])) for name in LIKENESS},
            "n_dates": len(tallies),
            "n_pixels": int(sum(tally.pixels.sum() for tally in tallies)),
            "psnr_se": _standard_error(figures["psnr"]),
            "rmse_se": _standard_error(figures["rmse"]),
            "bands": {
                band: {name: _mean(found) for name, found in per_date(means[:, :, i]).items()}
                for i, band in enumerate(self.bands)
            },
            "bins": [_bin(tallies, i) for i in range(len(BINS))],
            "paired": {other: self._paired(kind, method, other) for other in self.methods if other != method},
        }

    def _paired(self, kind: str, method: str, other: str) -> Json:
        mine, theirs = self.tallies(kind, method), self.tallies(kind, other)
        both = [target for target in mine if target in theirs]
        one, two = (_psnr([tallies[target] for target in both], len(self.bands)) for tallies in (mine, theirs))
        finite = np.isfinite(one) & np.isfinite(two)
        difference = one[finite] - two[finite]
        return {"psnr_difference": _mean(difference), "standard_error": _standard_error(difference)}

    def _coverage(self, method: str) -> Json:
        found: Json = {}
        for kind in KINDS:
            tallies = self.tallies(kind, method).values()
            count = sum(tally.with_sd for tally in tallies)
            if count:
                inside = np.sum([tally.inside for tally in tallies], axis=0) / count
                found[kind] = {name: float(share) for name, share in zip(QUANTILES, inside, strict=True)}
        return found


def _means(tallies: Sequence[Tally], bands: int) -> NDArray[np.float64]:
    """Mean e, |e| and e^2 over the pixels of each date, `(date, 3, band)`."""
    if not tallies:
        return np.zeros((0, 3, bands))
    return np.stack([tally.moments.sum(axis=2) / tally.pixels.sum() for tally in tallies])


def _psnr(tallies: Sequence[Tally], bands: int) -> NDArray[np.float64]:
    return per_date(_means(tallies, bands).mean(axis=2))["psnr"]


def per_date(means: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return psnr (dB, inf without error), rmse, mae and bias `(date,)` from mean e, |e| and e^2 `(date, 3)`."""
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(means[:, 2])
    return {"psnr": psnr, "rmse": np.sqrt(means[:, 2]), "mae": means[:, 1], "bias": means[:, 0]}


def _bin(tallies: Sequence[Tally], index: int) -> Json:
    count = int(sum(tally.pixels[index] for tally in tallies))
    squares = [tally.moments[2, :, index].mean() for tally in tallies]
    rmse = float(np.sqrt(np.sum(squares) / count)) if count else None
    return {"days": list(BINS[index]), "rmse": rmse, "n": count}


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) and np.isfinite(values).all() else None


def _standard_error(values: NDArray[np.float64]) -> float | None:
    if len(values) < 2 or not np.isfinite(values).all():  # noqa: PLR2004
        return None
    return float(values.std(ddof=1) / np.sqrt(len(values)))
