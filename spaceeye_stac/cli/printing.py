"""What the commands print: progress, tables, results and reports."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from spaceeye_stac.errors import PublishError

if TYPE_CHECKING:
    from spaceeye_stac.engine import Result
    from spaceeye_stac.publishing import Report

NAMED_NAMES = 5
out_console = Console(soft_wrap=True, highlight=False)
err_console = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Progress]:
    """Progress bars on a terminal; nothing where stderr is none, or `quiet`."""
    columns = TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    off = quiet or not err_console.is_terminal
    with Progress(*columns, console=err_console, disable=off, transient=True) as bars:
        yield bars


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


def print_result(result: "Result", out: Path) -> None:
    """Say what a run made and what it left out, and its warnings."""
    out_console.print(f"{len(result.days)} days, {result.days[0]} to {result.days[-1]}, in {out / 'collection.json'}")
    if result.kept:
        redone = [day for day in result.days if day not in result.kept]
        out_console.print(f"{len(result.kept)} days were there already; made now: {', '.join(redone) or 'none'}")
    if result.skipped:
        out_console.print(
            f"{len(result.skipped)} days hold no clear look in their window and are left out: "
            f"{', '.join(result.skipped)}"
        )
    for warning in result.warnings:
        err_console.print(f"Warning: {warning}", markup=False)


def score_table(found: dict[str, Any]) -> Table:
    """A row for each kind of gap and method: PSNR, RMSE, bias and coverage."""
    from spaceeye_stac.evaluation import KIND_TITLES  # noqa: PLC0415 - numpy, which --help does not wait for

    table = Table(title="Hidden clear pixels, mean ± standard error over dates")
    for name in ("gap", "method", "PSNR dB", "RMSE", "bias", "68/90 % hold"):
        table.add_column(name, justify="left" if name in {"gap", "method"} else "right")
    for kind, title in KIND_TITLES.items():
        for i, (method, row) in enumerate(found[kind].items()):
            gap = f"{title} ({row['n_dates']})" if i == 0 else ""
            table.add_row(gap, method, *_cells(row, found["coverage"].get(method, {}).get(kind, {})))
        table.add_section()
    return table


def _cells(row: dict[str, Any], covered: dict[str, float | None]) -> tuple[str, str, str, str]:
    if row["psnr"] is None:
        return "-", "-", "-", "-"
    spread = "" if row["psnr_se"] is None else f" ± {row['psnr_se']:.1f}"
    shares = [share for share in covered.values() if share is not None]
    coverage = "/".join(f"{100 * share:.0f}" for share in shares) or "-"
    return f"{row['psnr']:.1f}{spread}", f"{row['rmse']:.4f}", f"{row['bias']:+.4f}", coverage


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
    out_console.print(
        f"{report.target}: {said}" + (f"; {report.files} files copied" if report.files else ""), markup=False
    )
    for name, why in report.failed.items():
        out_console.print(f"  {name}: {why}", markup=False)
    if report.stale:
        out_console.print(
            f"{len(report.stale)} items there are not in this run: {', '.join(report.stale)}; --prune removes them."
        )
    if report.foreign:
        more = f" and {len(report.foreign) - NAMED_NAMES} more" if len(report.foreign) > NAMED_NAMES else ""
        out_console.print(
            f"{len(report.foreign)} items or files there are not of this package and stay: "
            f"{', '.join(report.foreign[:NAMED_NAMES])}{more}.",
            markup=False,
        )
    if report.lost_links:
        out_console.print(f"{report.lost_links} links to source scenes on this machine are left out.")
