"""What the commands print: progress, tables, results and reports."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from spaceeye_stac.errors import PublishError, printable

if TYPE_CHECKING:
    import pandas as pd

    from spaceeye_stac.engine import Result
    from spaceeye_stac.publishing import Report
    from spaceeye_stac.simulation import ErrorSummary

NAMED_NAMES, SERIES_ROWS = 5, 20
out_console = Console(soft_wrap=True, highlight=False)
err_console = Console(stderr=True, soft_wrap=True, highlight=False)


def print_text(text: str, console: Console = out_console) -> None:
    """Print lines as they are: no markup in them counts, and no terminal acts on what a catalog or server named so."""
    console.print("\n".join(printable(line) for line in text.split("\n")), markup=False, emoji=False)


def print_any_character() -> None:
    """Let no character end the command that the terminal's or file's encoding lacks: it is escaped instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Progress]:
    """Progress bars on a terminal; nothing where stderr is none, or `quiet`."""
    columns = TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    off = quiet or not err_console.is_terminal
    with Progress(*columns, console=err_console, disable=off, transient=True) as bars:
        yield bars


def log_to_stderr(verbose: int) -> None:
    """Show the package's log on stderr: a line a stage at 1, a line a cell and day at 2, nothing at 0."""
    if verbose:
        from rich.logging import RichHandler  # noqa: PLC0415 - only who asks for the log waits for it

        logger = logging.getLogger("spaceeye_stac")
        logger.addHandler(RichHandler(console=err_console, show_path=False, markup=False))
        logger.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


class BarProgress:
    """Turns the pipeline's progress calls into one bar a stage."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._ids: dict[str, object] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """See `model.Progress`."""
        if stage not in self._ids:
            self._ids[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(cast("int", self._ids[stage]), completed=done, total=total)  # type: ignore[arg-type]


def print_result(result: "Result") -> None:
    """Say what a run made and what it left out, and its warnings."""
    print_text(f"{len(result.days)} days, {result.days[0]} to {result.days[-1]}, in {result.place}/collection.json")
    if result.kept:
        redone = [day for day in result.days if day not in result.kept]
        print_text(f"{len(result.kept)} days were there already; made now: {', '.join(redone) or 'none'}")
        if not redone:
            print_text("Nothing to do: the run there is what was asked for.")
    if result.new_scenes:
        names = ", ".join(result.new_scenes)
        print_text(f"{len(result.new_scenes)} scenes are new since, which --update uses: {names}")
    if result.skipped:
        print_text(
            f"{len(result.skipped)} days hold no clear look in their window and are left out: "
            f"{', '.join(result.skipped)}"
        )
    for warning in result.warnings:
        print_text(f"Warning: {warning}", err_console)


def print_series(found: "pd.DataFrame") -> None:
    """Print the first rows of a series, and say how many there are."""
    from rich.text import Text  # noqa: PLC0415 - in which no markup counts

    table, numbers = Table(box=SIMPLE_HEAD), ("mean", "uncertainty", "median", "valid", "seen")
    for name in ("date", "zone", "index"):
        table.add_column(name, no_wrap=name == "date")
    for name in numbers:
        table.add_column("±" if name == "uncertainty" else name, justify="right", no_wrap=True)
    for row in found.head(SERIES_ROWS).to_dict("records"):
        named = (Text(printable(row[name])) for name in ("zone", "index"))
        said = ("-" if row[name] != row[name] else f"{row[name]:.3f}" for name in numbers)
        table.add_row(f"{row['date']:%Y-%m-%d}", *named, *said)
    out_console.print(table)
    if len(found) > SERIES_ROWS:
        print_text(f"{len(found) - SERIES_ROWS} more rows: --csv FILE writes all of them, --plot FILE draws them.")


def print_scores(found: dict[str, Any]) -> None:
    """Print the tables of an evaluation."""
    out_console.print(_score_table(found))
    out_console.print(_likeness_table(found))
    if not found["film"]["index"]:
        print_text("No NDVI, which needs B04 and B08, or B05 and B8A: reflectance alone is scored.")
    for table in _film_tables(found["film"]):
        out_console.print(table)


def _score_table(found: dict[str, Any]) -> Table:
    """A row for each kind of gap and method: PSNR, RMSE, bias and coverage."""
    names = ("gap", "method", "PSNR dB", "RMSE", "bias", "68/90 % hold")
    table = _table("Hidden clear pixels, mean ± standard error over dates", names)
    return _by_gap(table, found, lambda kind, method, row: _cells(row, found["coverage"].get(method, {}).get(kind, {})))


def _likeness_table(found: dict[str, Any]) -> Table:
    """The same: structural similarity, spectral angle, RMSE over mean reflectance, and errors of NDVI."""
    names = ("gap", "method", "SSIM", "SAM °", "rRMSE %", "MAE", "RMSE", "bias")
    table = _table("Hidden clear pixels: SSIM, spectral angle, relative RMSE, errors of NDVI", names)
    return _by_gap(
        table,
        found,
        lambda _kind, _method, row: (
            _number(row, "ssim", 3),
            _number(row, "sam", 2),
            "-" if row["rrmse"] is None else f"{100 * row['rrmse']:.1f}",
            _number(row, "ndvi_mae", 3),
            _number(row, "ndvi_rmse", 3),
            "-" if row["ndvi_bias"] is None else f"{row['ndvi_bias']:+.3f}",
        ),
    )


def _by_gap(table: Table, found: dict[str, Any], cells: Callable[[str, str, dict[str, Any]], Sequence[str]]) -> Table:
    """Fill a table with a row for each kind of gap and method."""
    from spaceeye_stac.evaluation import KIND_TITLES  # noqa: PLC0415 - numpy, which --help does not wait for

    for kind, title in KIND_TITLES.items():
        for i, (method, row) in enumerate(found[kind].items()):
            gap = f"{title} ({row['n_dates']})" if i == 0 else ""
            table.add_row(gap, method, *cells(kind, method, row))
        table.add_section()
    return table


def truth_table(errors: Mapping[str, "ErrorSummary"]) -> Table:
    """A row for each group of days and pixels: median and 90th percentile of the errors against the known surface."""
    from spaceeye_stac.simulation import GROUPS  # noqa: PLC0415 - numpy, which --help does not wait for

    table = Table(title="Error of every day against the known surface")
    for name in ("NDVI of", "median", "90 % below", "values"):
        table.add_column(name, justify="left" if name == "NDVI of" else "right")
    for group, title in GROUPS.items():
        table.add_row(title, *_of_errors(errors[group]))
    table.add_section()
    table.add_row("B02 on undetected cloud", *_of_errors(errors["blue"]))
    return table


def _of_errors(found: "ErrorSummary") -> tuple[str, str, str]:
    return (f"{found.median:.4f}", f"{found.p90:.4f}", f"{found.count:,}") if found.count else ("-", "-", "0")


def _cells(row: dict[str, Any], covered: dict[str, float | None]) -> tuple[str, str, str, str]:
    if row["psnr"] is None:
        return "-", "-", "-", "-"
    spread = "" if row["psnr_se"] is None else f" ± {row['psnr_se']:.1f}"
    shares = [share for share in covered.values() if share is not None]
    coverage = "/".join(f"{100 * share:.0f}" for share in shares) or "-"
    return f"{row['psnr']:.1f}{spread}", f"{row['rmse']:.4f}", f"{row['bias']:+.4f}", coverage


def _film_tables(film: dict[str, Any]) -> list[Table]:
    """Figures of every day: hidden dates and runs of them, the film itself, planted clouds and planted events."""
    return [_hidden_table(film), _consistency_table(film), _cloud_table(film), _event_table(film)]


def _hidden_table(film: dict[str, Any]) -> Table:
    by, what = _measured(film)
    table = _table(
        f"Hidden dates: error of {what}, PSNR in dB, intervals; {film['dates']['good']} of {film['dates']['clear']} "
        "clear dates are good",
        ("figure", "method", "cloud", "edge", "1 date", "2", "3", "4"),
    )
    figures: dict[str, Callable[[dict[str, Any]], str]] = {
        "median": lambda row: _number(row[by], "median", 3),
        "90th percentile": lambda row: _number(row[by], "p90", 3),
        "PSNR": lambda row: _number(row, "psnr", 1),
        "68/90 % hold": lambda row: _percents(row["coverage"]),
    }
    for title, cell in figures.items():
        for which in ("all", "good"):
            for i, method in enumerate(film["windows"]):
                rows = [kind[which][method] for kind in film["hidden"].values()]
                cells = ["-" if row is None else cell(row) for row in rows]
                table.add_row(f"{title}, {which}" if i == 0 else "", method, *cells)
        table.add_section()
    return table


def _consistency_table(film: dict[str, Any]) -> Table:
    by, what = _measured(film)
    names = ("method", "window", "jump", "largest", "a year", "> 0.05 %", "> 0.10 %", "off looks", "p90")
    table = _table(f"The film: jumps and roughness of {what}, days outside their bracket, off good looks", names)
    for method, days in film["windows"].items():
        row, near = film["consistency"][method] or {}, film["fidelity"][method][by]
        jump = row.get("jump")
        shares = [row.get(name) for name in ("outside_005", "outside_010")]
        table.add_row(
            method,
            f"{days} d",
            _number(jump, "median", 4),
            _number(jump, "max", 3),
            _number(row, "roughness", 2),
            *("-" if share is None else f"{100 * share:.1f}" for share in shares),
            _number(near, "median", 4),
            _number(near, "p90", 4),
        )
    return table


def _cloud_table(film: dict[str, Any]) -> Table:
    by, what = _measured(film)
    names = ("method", "planted", "that day", "p90", "near days", "off clean", "68/90 % hold", "AUC")
    table = _table(f"Planted thin clouds and shadows: how much of them is left in {what}", names)
    for method, row in film["clouds"].items():
        if row is None:
            table.add_row(method, *["-"] * (len(names) - 1))
            continue
        cells = [_number(row[name][by], "median", 3) for name in ("planted", "day", "near", "against_clean")]
        cells.insert(2, _number(row["day"][by], "p90", 3))
        table.add_row(method, *cells, _percents(row["against_clean"]["coverage"]), _number(row["suspect"], "auc", 3))
    return table


def _event_table(film: dict[str, Any]) -> Table:
    names = ("event", "method", "1 look", "2", "3", "all", "leak", "delay", "flagged", "all")
    table = _table(
        "Planted events: share kept on the first of 1, 2, 3 or all looks; delay in days; flagged in 1 look, in all",
        names,
    )
    for kind, seen in film["events"].items():
        for i, method in enumerate(film["windows"]):
            rows = [one[method] for one in seen.values()]
            if not any(rows):
                continue  # causal methods, which are not asked
            kept = [_number(row, "kept", 2) for row in rows]
            late = _number(rows[-1], "leak", 2), _number(rows[-1], "delay", 1)
            flagged = [_number(row, "flagged", 2) for row in (rows[0], rows[-1])]
            table.add_row(kind if i == 0 else "", method, *kept, *late, *flagged)
        table.add_section()
    return table


def _measured(film: dict[str, Any]) -> tuple[str, str]:
    """Key and name of what errors are told of: the index, where there is one."""
    return ("index", f"NDVI ({', '.join(film['index'])})") if film["index"] else ("bands", "reflectance")


def _table(title: str, names: Sequence[str]) -> Table:
    """Without lines between columns, so that it fits into 80 characters."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(
            name, justify="left" if name in {"figure", "method", "event", "gap"} else "right", overflow="fold"
        )
    return table


def _number(found: dict[str, Any] | None, name: str, digits: int) -> str:
    value = None if found is None else found.get(name)
    return "-" if value is None else f"{value:.{digits}f}"


def _percents(shares: dict[str, float] | None) -> str:
    return "-" if shares is None else "/".join(f"{100 * share:.0f}" for share in shares.values())


@contextmanager
def printed_failures(*, as_json: bool) -> Iterator[None]:
    """Print the report of a publication that is not whole, before its error ends the command."""
    try:
        yield
    except PublishError as error:
        if error.report is not None:
            print_report(cast("Report", error.report), as_json=as_json)
        raise


def print_report(report: "Report", *, as_json: bool) -> None:
    """Print what became of each item."""
    if as_json:
        print(json.dumps(report.as_json(), indent=1))  # noqa: T201 - data goes to stdout unstyled
        return
    counts = {
        "sent": report.sent,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "failed": report.failed,
    }
    said = ", ".join(f"{len(ids)} {name}" for name, ids in counts.items() if ids) or "nothing to do"
    print_text(f"{report.target}: {said}" + (f"; {report.files} files copied" if report.files else ""))
    for name, why in report.failed.items():
        print_text(f"  {name}: {why}")
    if report.stale:
        stale = ", ".join(report.stale)
        print_text(f"{len(report.stale)} items there are not in this run: {stale}; --prune removes them.")
    if report.foreign:
        more = f" and {len(report.foreign) - NAMED_NAMES} more" if len(report.foreign) > NAMED_NAMES else ""
        names = ", ".join(report.foreign[:NAMED_NAMES])
        print_text(f"{len(report.foreign)} items or files there are not of this package and stay: {names}{more}.")
    if report.lost_links:
        print_text(f"{report.lost_links} links to source scenes on this machine are left out.")
